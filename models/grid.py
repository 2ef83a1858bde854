"""A network on the grid of the hardware: every number an integer, gradients straight through.

All values are float64 that hold integers, so products and sums are exact and a matrix product is
fast: an accumulator stays below 2^28, w * w below 2^36, and float64 is exact up to 2^53. In the
forward direction this is the integer reference to the bit (a test holds them to it); in the
backward direction rounding counts as the identity and a spike as the rectangle of `surrogate`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rtl.numerics import Neuron

from .encoding import present
from .surrogate import rectangular

__all__ = ["GridLayer", "GridNetwork", "round_half_up"]


class _RoundHalfUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x + 0.5).floor()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def round_half_up(x: Tensor) -> Tensor:
    """floor(x + 1/2); its derivative counts as 1."""
    return _RoundHalfUp.apply(x)  # pyright: ignore[reportReturnType]


class GridLayer(nn.Module):
    """Weights and bias to learn, and the currents and neurons that the hardware makes of them.

    weight: float64 [outputs, inputs], in units of the canonical state w per input of 1.0.
    bias: float64 [outputs], in units of w. exponent: int64 [outputs], the integer weight is
    round(weight * 2^exponent), saturated to weight_bits. neuron: None for the readout.
    window: half-width of the surrogate in units of w. fraction_bits, input_bits: as in
    `models.integer.IntegerNetwork`; input_bits is 0 from the second layer on.
    """

    exponent: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, exponent: Tensor, neuron: Neuron | None, *,
                 weight_bits: int, fraction_bits: int, input_bits: int, window: float):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)
        self.register_buffer("exponent", exponent)
        self.neuron = neuron
        self.weight_bits = weight_bits
        self.fraction_bits = fraction_bits
        self.input_bits = input_bits
        self.window = window * (1 << fraction_bits)
        self.rate = 0.0

    @property
    def shift(self) -> Tensor:
        """J = acc * 2^-shift: the accumulator is in 2^-(exponent + input_bits), J in 2^-F."""
        return self.exponent + self.input_bits - self.fraction_bits

    def integer_weight(self) -> Tensor:
        limit = 1 << (self.weight_bits - 1)
        return round_half_up(self.weight * torch.exp2(self.exponent)[:, None]).clamp(
            -limit, limit - 1)

    def integer_bias(self) -> Tensor:
        return round_half_up(self.bias * (1 << self.fraction_bits))

    def current(self, x: Tensor) -> Tensor:
        """J [T, N, outputs] of integers x [T, N, inputs], in state LSBs."""
        acc = x @ self.integer_weight().T
        return round_half_up(acc * torch.exp2(-self.shift)) + self.integer_bias()

    def spikes(self, currents: Tensor, neuron: Neuron) -> Tensor:
        """`rtl.numerics.neuron_step` through time, currents to spikes [T, N, outputs]."""
        w = torch.full_like(currents[0], neuron.initial)
        spikes = []
        for j in currents:
            x = w if neuron.square else neuron.factor
            v = round_half_up(w * x / (1 << self.fraction_bits)) + j
            spike = rectangular(v - neuron.theta, self.window)
            v = v.clamp(neuron.lo, neuron.hi)
            after = v - neuron.delta if neuron.soft else neuron.reset
            w = v + spike * (after - v)
            spikes.append(spike)
        result = torch.stack(spikes)
        self.rate = result.detach().mean().item()
        return result


class GridNetwork(nn.Module):
    """Layers on the grid; logits [N, classes] are the readout's mean current, in units of w.

    Takes what `SpikingMLP` and the integer reference take: uint8 pixels [N, inputs] or spikes
    [T, N, inputs]. Made by `quantize.to_grid`, turned into integers by `quantize.to_integer`.
    """

    def __init__(self, layers: list[GridLayer], *, steps: int, state_bits: int):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.steps = steps
        self.state_bits = state_bits

    def __iter__(self) -> Iterator[GridLayer]:
        return iter(self.layers)  # pyright: ignore[reportReturnType]

    @property
    def rates(self) -> list[float]:
        """Share of neurons that spiked in a time step, per layer of neurons, in the last call."""
        return [layer.rate for layer in self if layer.neuron is not None]

    def forward(self, x: Tensor) -> Tensor:
        first, *_ = self
        x = present(x, inputs=first.weight.shape[1], steps=self.steps,
                    input_bits=first.input_bits).double()
        for layer in self:
            x = layer.current(x).expand(self.steps, -1, -1)
            if layer.neuron is not None:
                x = layer.spikes(x, layer.neuron)
        return x.mean(0) / (1 << first.fraction_bits)
