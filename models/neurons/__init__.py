"""Spiking neurons: a pure function for one time step, under a module that runs a sequence.

One module each: QIF in root, Euler and canonical form, LIF, PLIF, IF and linear LIF, and the peers
CLIF, GLIF and AR-LIF. The array runs those that have a `canonical()` form: all QIF, LIF, IF, linear
LIF, and PLIF with one time constant per layer.
"""

from typing import Any

from quadfire.models.neurons.arlif import ARLIF, arlif_step
from quadfire.models.neurons.base import SpikingNeuron
from quadfire.models.neurons.clif import CLIF, clif_step
from quadfire.models.neurons.glif import GLIF, glif_step
from quadfire.models.neurons.integrate_and_fire import IF, ConstantLeakIF, constant_leak_step
from quadfire.models.neurons.lif import LIF, lif_step
from quadfire.models.neurons.plif import PLIF
from quadfire.models.neurons.qif import (
    QIF, QIFCanonical, QIFEuler, canonical_step, euler_to_root, qif_euler_step, qif_step,
    root_to_euler,
)

__all__ = ["ARLIF", "CLIF", "GLIF", "IF", "KINDS", "LIF", "PLIF", "QIF", "ConstantLeakIF",
           "QIFCanonical", "QIFEuler", "SpikingNeuron", "arlif_step", "canonical_step",
           "clif_step", "euler_to_root", "glif_step", "lif_step", "constant_leak_step",
           "make_neuron", "qif_euler_step", "qif_step", "root_to_euler"]

#: All neurons by the name that `make_neuron` and checkpoints use.
KINDS: dict[str, type[SpikingNeuron]] = {cls.kind: cls for cls in (
    QIF, LIF, IF, QIFEuler, QIFCanonical, PLIF, ConstantLeakIF, CLIF, GLIF, ARLIF)}


def make_neuron(kind: str, **options: Any) -> SpikingNeuron:
    """A new neuron from its `config()`. Raises ValueError for a kind or option there is not."""
    if kind not in KINDS:
        raise ValueError(f"no neuron is called {kind!r}; there are {', '.join(KINDS)}")
    try:
        return KINDS[kind](**options)
    except TypeError as error:
        raise ValueError(f"neuron {kind!r}: {error}") from None
