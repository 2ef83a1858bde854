"""A copy of a user's network, in which every neuron is where it starts."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from quadfire.models.frontends import neurons
from quadfire.models.neurons import SpikingNeuron

__all__ = ["fresh_copy"]


def fresh_copy(module: nn.Module) -> nn.Module:
    """A copy of a network, also of one that was run: nothing is left of its states.

    PyTorch refuses to copy tensors that are results of a computation with gradients, which is what
    training leaves in every neuron. They are copied as the numbers that they are.
    """
    memo = {id(tensor): tensor.detach().clone() for each in module.modules()
            for tensor in _tensors(vars(each)) if not tensor.is_leaf}
    made = copy.deepcopy(module, memo)
    for each in made.modules():
        if isinstance(each, SpikingNeuron):
            each.reset()
        elif neurons.is_neuron(each):
            neurons.reset_state(each)
    return made


def _tensors(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _tensors(each)
