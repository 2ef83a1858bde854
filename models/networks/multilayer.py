"""Spiking networks in floating point."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from quadfire.models.integer.encoding import present
from quadfire.models.neurons import SpikingNeuron, make_neuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["SpikingLayer", "SpikingMLP", "check_neuron"]


def check_neuron(neuron: SpikingNeuron) -> None:
    """Raises ValueError for a neuron of single steps: to it, time would be one more batch axis."""
    if neuron.step_mode != "m":
        raise ValueError("the neurons of a network run sequences: step_mode must be 'm', not "
                         f"{neuron.step_mode!r}")


class SpikingLayer(nn.Module):
    """linear -> tdBN -> neuron, [T, N, inputs] to spikes [T, N, outputs].

    A constant input comes as [1, N, inputs]: its current is computed once for all `steps`.
    """

    def __init__(self, inputs: int, outputs: int, neuron: SpikingNeuron, steps: int, alpha: float):
        super().__init__()
        self.steps = steps
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = TDBatchNorm(outputs, alpha, neuron.v_threshold)
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        self.neuron.reset()
        return self.neuron(self.norm(self.linear(x)).expand(self.steps, -1, -1))


class SpikingMLP(nn.Module):
    """Fully connected spiking network; logits [N, sizes[-1]] are the readout's mean over time.

    sizes: inputs, hidden layers, classes. neuron: copied for every hidden layer. steps: T.
    input_bits: 1..8 for pixels [N, inputs] of that many bits, the same in every step; 0 for spikes
    [T, N, inputs]; see `encoding.present`, whose errors `forward` raises. alpha: see `TDBatchNorm`.
    Raises ValueError for sizes without input or output.
    """

    def __init__(self, sizes: Sequence[int], neuron: SpikingNeuron, steps: int = 4, *,
                 input_bits: int = 8, alpha: float = 1.0):
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two numbers above 0, not {sizes!r}")
        if steps < 1 or not 0 <= input_bits <= 8:
            raise ValueError("steps must be above 0 and input_bits in 0..8, not "
                             f"{steps!r} and {input_bits!r}")
        check_neuron(neuron)
        self.sizes = tuple(sizes)
        self.steps = steps
        self.input_bits = input_bits
        self.alpha = alpha
        self.neuron_config = neuron.config()
        self.hidden = nn.ModuleList(
            SpikingLayer(inputs, outputs, copy.deepcopy(neuron), steps, alpha)
            for inputs, outputs in pairwise(sizes[:-1]))
        self.readout = nn.Linear(sizes[-2], sizes[-1])

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again, see `from_config`."""
        return {"sizes": list(self.sizes), "neuron": self.neuron_config, "steps": self.steps,
                "input_bits": self.input_bits, "alpha": self.alpha}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpikingMLP":
        """An untrained network from its `config()`."""
        return cls(**{**config, "neuron": make_neuron(**config["neuron"])})

    @property
    def layers(self) -> list[SpikingLayer]:
        """The hidden layers."""
        return [*self.hidden]  # pyright: ignore[reportReturnType]

    @property
    def rates(self) -> list[float]:
        """Share of neurons that spiked in a time step, per hidden layer, in the last call."""
        return [layer.neuron.rate for layer in self.layers]

    def forward(self, x: Tensor, every_step: bool = False) -> Tensor:
        """Logits [N, classes]; with every_step [T, N, classes], whose mean they are."""
        x = present(x, inputs=self.sizes[0], steps=self.steps, input_bits=self.input_bits)
        x = x.to(self.readout.weight.dtype) / (1 << self.input_bits)
        for layer in self.layers:
            x = layer(x)
        logits = self.readout(x)
        return logits if every_step else logits.mean(0)
