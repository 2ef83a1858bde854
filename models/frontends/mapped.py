"""What a frontend says of one neuron of another library: how the array runs it, and how exactly."""

import math
from dataclasses import dataclass, replace

from torch import nn

from quadfire.models.neurons.canonical import Canonical, Value

__all__ = ["MappedNeuron"]


@dataclass(frozen=True, kw_only=True)
class MappedNeuron:
    """A neuron of another library in the canonical form.

    | field | meaning |
    |---|---|
    | form | the map w' = w x + J in real numbers, which the array runs |
    | text | the neuron as read, for people: "Leaky(beta=0.9, threshold=1), subtract, delayed" |
    | condition | under which the spikes are the same; empty: always |
    | spiking | False: a leaky integrator that answers with its potential and has no threshold |
    | before | a linear layer inside of the module, which the input goes through first |
    | spike_value | what a spike is worth to the layers that read it |
    | membrane_delta | after a spike the library's potential, in units of w, is w + that: 0, |
    |  | or delta where the library subtracts in the next step; None: it cannot be had from w |
    | window, surrogate | of the spike's derivative, in units of u, for training on |
    """

    form: Canonical
    text: str
    condition: str = ""
    spiking: bool = True
    before: nn.Linear | None = None
    spike_value: Value = 1.0
    membrane_delta: float | None = 0.0
    window: float = 1.0
    surrogate: str = "rectangular"

    def canonical(self) -> Canonical:
        """The neuron in canonical form, as the neurons of `quadfire.models.neurons` answer it."""
        if self.spiking:
            return self.form
        return replace(self.form, theta=math.inf, strict=False, soft=True, delta=0.0)
