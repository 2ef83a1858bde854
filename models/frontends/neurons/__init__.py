"""Neurons of other libraries: which one a module is, and how the array runs it.

| file | holds |
|---|---|
| snntorch.py, spikingjelly.py, norse.py, sinabs.py | the neurons of a library, by the same calls |
| common.py | what these share: values of channels, refusals, how one asks a spike function |

No library is imported here: a module that arrives has brought its own. ../CONFORMANCE.md lists the
neurons and settings that were compared with their libraries, spike by spike.
"""

from types import ModuleType
from typing import Any

from torch import nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons import norse, sinabs, snntorch, spikingjelly
from quadfire.models.frontends.neurons.common import CallForm

__all__ = ["CallForm", "call_form", "check_states", "is_neuron", "read", "reset_state"]

_LIBRARIES = (snntorch, spikingjelly, norse, sinabs)


def is_neuron(module: nn.Module) -> bool:
    """Whether the module is a neuron of one of the libraries, one that can be read or not."""
    return any(library.is_neuron(module) for library in _LIBRARIES)


def read(module: nn.Module, shape: tuple[int, ...] | None = None) -> MappedNeuron:
    """The neuron as the array runs it, with the values that it has now.

    shape: of one sample of its input, [C] or [C, H, W], over which its tensors broadcast; None: a
    tensor's first axis is that of channels. Learnt values are read as they stand, clamped where the
    library clamps.

    Raises ValueError, saying what was found, why not, and what to do, for a neuron or an attribute
    that the array cannot honour, and for a module that is no neuron of these libraries.
    """
    return _library(module).read(module, shape)


def call_form(module: nn.Module) -> CallForm:
    """How the neuron's module is called. Raises ValueError for a module that is no neuron."""
    return _library(module).call_form(module)


def check_states(module: nn.Module, *states: Any) -> None:
    """Raise ValueError unless states passed to a neuron's first call are those it would start with.

    states: what the call was given after the input.
    """
    _library(module).check_states(module, *states)


def reset_state(module: nn.Module) -> None:
    """Forget what earlier calls left in the neuron's module: its next call is a first one."""
    _library(module).reset_state(module)


def _library(module: nn.Module) -> ModuleType:
    for library in _LIBRARIES:
        if library.is_neuron(module):
            return library
    raise ValueError(f"{type(module).__module__}.{type(module).__qualname__} is no neuron of "
                     "snnTorch, SpikingJelly, Norse or Sinabs")
