"""The fully connected spiking network."""

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from quadfire.models.integer.encoding import present
from quadfire.models.networks.layers import DenseLayer, check_step_mode
from quadfire.models.neurons import SpikingNeuron, make_neuron

__all__ = ["SpikingMLP"]


class SpikingMLP(nn.Module):
    """Fully connected spiking network; its logits are the readout's mean over time.

    | argument   | meaning |
    |------------|---|
    | sizes      | numbers of inputs, of neurons in each hidden layer, of classes |
    | neuron     | copied for every hidden layer |
    | steps      | time steps T |
    | input_bits | 1..8: pixels [N, inputs] of that many bits; 0: spikes [T, N, inputs] |
    | alpha      | scale of the currents, see `TDBatchNorm` |

    `forward` raises the errors of `encoding.present`. The constructor raises ValueError for fewer
    than two sizes, a size below 1, or steps or input_bits out of range.
    """

    def __init__(self, sizes: Sequence[int], neuron: SpikingNeuron, steps: int = 4, *,
                 input_bits: int = 8, alpha: float = 1.0):
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be at least two numbers above 0, not {sizes!r}")
        if steps < 1 or not 0 <= input_bits <= 8:
            raise ValueError("steps must be above 0 and input_bits in 0..8, not "
                             f"{steps!r} and {input_bits!r}")
        check_step_mode(neuron)
        self.sizes = tuple(sizes)
        self.steps = steps
        self.input_bits = input_bits
        self.alpha = alpha
        self.neuron_config = neuron.config()
        self.hidden = nn.ModuleList(
            DenseLayer(inputs, outputs, copy.deepcopy(neuron), steps, alpha)
            for inputs, outputs in pairwise(sizes[:-1]))
        self.readout = nn.Linear(sizes[-2], sizes[-1])

    def config(self) -> dict[str, Any]:
        """The arguments from which `from_config` builds this network again."""
        return {"sizes": list(self.sizes), "neuron": self.neuron_config, "steps": self.steps,
                "input_bits": self.input_bits, "alpha": self.alpha}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "SpikingMLP":
        """An untrained network from its `config()`."""
        return cls(**{**config, "neuron": make_neuron(**config["neuron"])})

    @property
    def layers(self) -> list[DenseLayer]:
        """The hidden layers."""
        return [*self.hidden]  # pyright: ignore[reportReturnType]

    @property
    def rates(self) -> list[float]:
        """Spikes per neuron and time step in the last call, one value per hidden layer."""
        return [layer.neuron.rate for layer in self.layers]

    def forward(self, x: Tensor, every_step: bool = False) -> Tensor:
        """Logits [N, classes]; with `every_step` those of each time step, [T, N, classes]."""
        x = present(x, inputs=self.sizes[0], steps=self.steps, input_bits=self.input_bits)
        x = x.to(self.readout.weight.dtype) / (1 << self.input_bits)
        for layer in self.layers:
            x = layer(x)
        logits = self.readout(x)
        return logits if every_step else logits.mean(0)
