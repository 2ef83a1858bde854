"""Spiking neurons: a pure function of one time step, and a module that runs sequences with it.

In the order in which a current becomes a spike, and then the array's integers:

| file                       | holds |
|----------------------------|---|
| tdbn.py                    | tdBN, which gives the input currents their mean and deviation |
| qif.py                     | QIF in root, Euler and canonical form |
| lif.py, plif.py            | LIF, and PLIF, which learns its time constant |
| integrate_and_fire.py      | IF, and IF with a constant leak |
| clif.py, glif.py, arlif.py | neurons with further state: CLIF, GLIF, AR-LIF |
| renewed.py                 | refuses weights of neurons whose equations have changed |
| firing.py, surrogate.py    | threshold and reset; the derivative of a spike in training |
| spiking_neuron.py          | the module: state, sequences, learnt parameters |
| canonical.py               | the form w' = w x + J in real numbers, which the array runs |

The array runs every neuron with a `canonical()` form: all forms of QIF, LIF, IF, ConstantLeakIF,
and PLIF with one time constant per layer.
"""

from typing import Any

from quadfire.models.neurons.arlif import ARLIF, arlif_step
from quadfire.models.neurons.clif import CLIF, clif_step
from quadfire.models.neurons.glif import GLIF, glif_step
from quadfire.models.neurons.integrate_and_fire import IF, ConstantLeakIF, constant_leak_step
from quadfire.models.neurons.lif import LIF, lif_step
from quadfire.models.neurons.plif import PLIF
from quadfire.models.neurons.qif import (
    QIF,
    QIFCanonical,
    QIFEuler,
    canonical_step,
    euler_to_root,
    qif_euler_step,
    qif_step,
    root_to_euler,
)
from quadfire.models.neurons.spiking_neuron import SpikingNeuron

__all__ = ["ARLIF", "CLIF", "GLIF", "IF", "KINDS", "LIF", "PLIF", "QIF", "ConstantLeakIF",
           "QIFCanonical", "QIFEuler", "SpikingNeuron", "arlif_step", "canonical_step",
           "clif_step", "constant_leak_step", "euler_to_root", "glif_step", "lif_step",
           "make_neuron", "qif_euler_step", "qif_step", "root_to_euler"]

#: The neurons by their name in `make_neuron`, checkpoints and the command line.
KINDS: dict[str, type[SpikingNeuron]] = {cls.kind: cls for cls in (
    QIF, LIF, IF, QIFEuler, QIFCanonical, PLIF, ConstantLeakIF, CLIF, GLIF, ARLIF)}


def make_neuron(kind: str, **options: Any) -> SpikingNeuron:
    """A new neuron from its `config()`. Raises ValueError for an unknown kind or option."""
    if kind not in KINDS:
        raise ValueError(f"no neuron is called {kind!r}; there are {', '.join(KINDS)}")
    try:
        return KINDS[kind](**options)
    except TypeError as error:
        raise ValueError(f"neuron {kind!r}: {error}") from None
