"""Fake quantisation: a network that computes with the integers of the array and can be trained.

The *grid* is the set of numbers that the array can hold: integer weights, biases, currents and
states, each in LSBs of a power of two.

Forward, a network on the grid equals the integer reference bit for bit. Backward, rounding counts
as the identity and a spike as its surrogate. A layer with `rounded` = False computes the same in
real numbers, which is the network as it was trained.

The integers are held in float64, where matrix products are fast. They are exact: an accumulator
stays below 2^28, w * w below 2^36, and float64 holds all integers up to 2^53.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.data.spikes import check_spikes
from quadfire.models import kernels
from quadfire.models.integer import INPUT, MembraneAnswer, Shape
from quadfire.models.integer.branches import IDENTITY_BITS
from quadfire.models.integer.encoding import present_maps
from quadfire.models.neurons.canonical import Canonical
from quadfire.models.neurons.surrogate import spike
from quadfire.models.quantize.folded import FoldedBranch
from quadfire.rtl.contract.numerics import Neuron

__all__ = ["GridAnswer", "GridBranch", "GridLayer", "GridNetwork", "GridNeuron", "round_half_up"]

#: Octaves that a learnt scale moves per unit of its parameter. Adam moves a parameter by about the
#: learning rate per step, so at a rate of 3e-4 a scale can change once in some tens of steps.
SCALE_SPEED = 32.0


class _RoundHalfUp(torch.autograd.Function):
    """Half up forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x + 0.5).floor()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def round_half_up(x: Tensor) -> Tensor:
    """floor(x + 1/2); its derivative counts as 1."""
    return _RoundHalfUp.apply(x)  # pyright: ignore[reportReturnType]


class GridBranch(nn.Module):
    """A `ConvBranch` or `IdentityBranch` on the grid.

    weight: float64 [outputs, C, kh, kw], or [outputs] of an identity, in units of the canonical
    state w per input of 1.0. The integer weight is round(weight 2^exponent / gain), saturated to
    `weight_bits`, or to 20 bits for an identity.
    """

    def __init__(self, folded: FoldedBranch, weight: Tensor, weight_bits: int):
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.source = folded.source
        self.stride, self.padding, self.pool = folded.stride, folded.padding, folded.pool
        self.gain, self.gain_is_fixed = folded.gain or 1, bool(folded.gain)
        self.bits = IDENTITY_BITS if self.is_identity else weight_bits

    @property
    def is_identity(self) -> bool:
        """Whether it is an `IdentityBranch`."""
        return self.weight.ndim == 1

    @property
    def count(self) -> int:
        """How often one weight may count in a sum, as in `ConvBranch.sum_range`."""
        return self.gain * (1 if self.pool is None else self.pool.count)

    def scaled(self, exponent: Tensor) -> Tensor:
        """The weights before rounding, in LSBs of accumulator / gain."""
        factor = torch.exp2(exponent).view(-1, *[1] * (self.weight.ndim - 1))
        return self.weight * factor / self.gain

    def integer_weight(self, exponent: Tensor) -> Tensor:
        """The weights as integers."""
        limit = 1 << (self.bits - 1)
        return round_half_up(self.scaled(exponent)).clamp(-limit, limit - 1)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """Sums [B, outputs, H, W] of a map x [B, C, H', W'].

        weight: what `scaled` or `integer_weight` gives.
        """
        if self.is_identity:
            return x * weight[:, None, None]
        if self.pool is not None:
            p = self.pool
            x = functional.max_pool2d(x, p.size, p.stride, p.padding) if p.kind == "max" else \
                functional.avg_pool2d(x, p.size, p.stride, p.padding, divisor_override=1)
        if x.shape[2:] == weight.shape[2:] and not any(self.padding):
            sums = (x.flatten(1) @ weight.flatten(1).T)[:, :, None, None]
        else:
            sums = kernels.convolve_exactly(x, weight, self.stride, self.padding)
        return sums if self.gain == 1 else sums * self.gain


@dataclass(frozen=True)
class GridNeuron:
    """A neuron as integers, and the real numbers that they round.

    window: half-width of the surrogate in state LSBs. surrogate: its shape.
    """

    integer: Neuron
    real: Canonical
    fraction_bits: int
    window: float
    surrogate: str

    def values(self, rounded: bool, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
        """Its values in state LSBs, rounded or not; a factor of None is the state itself.

        A strict threshold that is not rounded is the next number of `dtype` above it.
        """
        if rounded:
            n = self.integer
            return {"factor": None if n.square else n.factor, "theta": n.theta, "lo": n.lo,
                    "hi": n.hi, "initial": n.initial, "reset": n.reset, "delta": n.delta}
        one, c = 1 << self.fraction_bits, self.real
        values = {"factor": None if c.factor is None else c.factor * one} | {
            name: getattr(c, name) * one
            for name in ("theta", "lo", "hi", "initial", "reset", "delta")}
        if c.strict:
            theta = torch.tensor(values["theta"], dtype=dtype)
            values["theta"] = torch.nextafter(theta, theta.new_tensor(torch.inf)).item()
        return values


@dataclass(frozen=True)
class GridAnswer:
    """Logits that are membrane potentials of the last layer: a `MembraneAnswer` on the grid.

    | field | meaning |
    |---|---|
    | integer | the answer in state LSBs |
    | delta | its delta in real numbers, in units of w |
    | scale, center | w = scale (u - center), see `Canonical` |
    | fraction_bits | of w |
    """

    integer: MembraneAnswer
    delta: float
    scale: float
    center: float
    fraction_bits: int

    def logits(self, membranes: Tensor, spikes: Tensor, rounded: bool) -> Tensor:
        """[N, outputs] in units of u, of states in LSBs and spikes [T, N, outputs]."""
        one = 1 << self.fraction_bits
        delta = self.integer.delta if rounded else self.delta * one
        u = (membranes + delta * spikes) / one / self.scale + self.center
        return {"last": lambda: u[-1], "max": lambda: u.amax(0), "sum": lambda: u.sum(0),
                "mean": lambda: u.mean(0)}[self.integer.over]()


class GridLayer(nn.Module):
    """A layer on the grid: its weights and bias are parameters, its currents those of the array.

    | argument | meaning |
    |---|---|
    | branches | at least one |
    | bias | float64 [outputs], in units of w |
    | exponent | [outputs], scales of the weights, see `GridBranch` |
    | neuron | None for the readout |
    | weight_bits, fraction_bits | as in `IntegerLayer` and `IntegerNetwork` |
    | input_bits | bits of the pixels that it reads, 0 where it reads spikes |
    | exponent_range | lowest and highest exponent |
    | learn_scales | exponents move by whole octaves, straight through (arXiv:1903.08066) |
    | exact | its integers are exact: calibration leaves its bias alone |

    A call with neurons sets `rate`, the share of neurons that spiked in a time step. A call in eval
    mode also sets `saturation`, the share of states that lo and hi clamped, and `reach`, the lowest
    and highest current in state LSBs. `watch`, if set, is called with the potentials of every time
    step in state LSBs, before they are clamped and reset.
    """

    start: Tensor

    def __init__(self, name: str, branches: list[GridBranch], bias: Tensor, exponent: Tensor,
                 neuron: GridNeuron | None, *, weight_bits: int, fraction_bits: int,
                 input_bits: int, exponent_range: tuple[int, int], learn_scales: bool = False,
                 exact: bool = False):
        super().__init__()
        self.name = name
        self.branches = nn.ModuleList(branches)
        self.bias = nn.Parameter(bias)
        self.register_buffer("start", exponent.to(bias.dtype))
        self.octaves = nn.Parameter(torch.zeros_like(bias)) if learn_scales else None
        self.exponent_range = exponent_range
        self.neuron = neuron
        self.weight_bits = weight_bits
        self.fraction_bits = fraction_bits
        self.input_bits = input_bits
        self.rounded = True
        self.exact = exact
        self.watch: Callable[[Tensor], None] | None = None
        self.rate = self.saturation = 0.0
        self.reach = (0.0, 0.0)

    def __iter__(self) -> Iterator[GridBranch]:
        return iter(self.branches)  # pyright: ignore[reportReturnType]

    @property
    def exponent(self) -> Tensor:
        """Scale of every channel's weights: 2^exponent LSBs of the accumulator are 1.0."""
        if self.octaves is None:
            return self.start
        return (self.start + round_half_up(SCALE_SPEED * self.octaves)).clamp(
            *self.exponent_range)

    @property
    def shift(self) -> Tensor:
        """J = acc 2^-shift, as acc has an LSB of 2^-(exponent + input_bits) and J one of 2^-F."""
        return self.exponent + self.input_bits - self.fraction_bits

    def integer_bias(self) -> Tensor:
        """The bias in state LSBs."""
        return round_half_up(self.bias * (1 << self.fraction_bits))

    def current(self, map_of: Callable[[int], Tensor]) -> Tensor:
        """J [T, N, outputs, H, W] of integer maps [T, N, C, H, W], in state LSBs."""
        exponent, acc, times = self.exponent, None, (1, 1)
        for branch in self:
            x = map_of(branch.source)
            times = x.shape[:2]
            weight = branch.integer_weight(exponent) if self.rounded else branch.scaled(exponent)
            part = branch(x.flatten(0, 1), weight)
            acc = part if acc is None else acc + part
        assert acc is not None
        scale = torch.exp2(-self.shift)[:, None, None]
        if self.rounded:
            j = round_half_up(acc * scale) + self.integer_bias()[:, None, None]
        else:
            j = acc * scale + (self.bias * (1 << self.fraction_bits))[:, None, None]
        if not self.training and j.numel():
            self.reach = (j.min().item(), j.max().item())
        return j.unflatten(0, times)

    def spikes(self, currents: Tensor, neuron: GridNeuron,
               membranes: list[Tensor] | None = None) -> Tensor:
        """Spikes of currents, both [T, N, outputs, H, W]: `neuron_step` through time.

        membranes: a list that takes the states after every time step, in state LSBs.
        """
        values = neuron.values(self.rounded, currents.dtype)
        if self.training and self.watch is None and membranes is None \
                and kernels.fusible(currents):
            return self._fused(currents, neuron, values)
        theta, lo, hi = values["theta"], values["lo"], values["hi"]
        w = torch.full_like(currents[0], values["initial"])
        spikes, clamped = [], 0
        for j in currents:
            x = w if values["factor"] is None else values["factor"]
            product = w * x / (1 << self.fraction_bits)
            v = (round_half_up(product) if self.rounded else product) + j
            fired = spike(v - theta, neuron.window, neuron.surrogate)
            if self.watch is not None:
                self.watch(v)
            if not self.training:
                clamped += int(((v < lo) | (v > hi)).sum())
            v = v.clamp(lo, hi)
            after = v - values["delta"] if neuron.integer.soft else values["reset"]
            w = v + fired * (after - v)
            if membranes is not None:
                membranes.append(w)
            spikes.append(fired)
        result = torch.stack(spikes)
        self.rate = result.detach().mean().item()
        self.saturation = clamped / max(result.numel(), 1)
        return result


    def _fused(self, currents: Tensor, neuron: GridNeuron, values: dict[str, Any]) -> Tensor:
        """`spikes` in training, as one operation."""
        one, square = 1 << self.fraction_bits, values["factor"] is None
        given = currents[:1] if not currents.stride(0) else currents        # a constant current
        run = kernels.fused([kernels.Affine.identity(given)], kernels.Quadratic(
            1 / one if square else 0.0, 0.0 if square else values["factor"] / one, 0.0, 1.0,
            values["theta"], neuron.window, values["initial"],
            None if neuron.integer.soft else values["reset"], values["delta"],
            (values["lo"], values["hi"]), neuron.surrogate, rounded=self.rounded), len(currents))
        self.rate, self.saturation = float(run.rate), 0.0
        return run.spikes


class GridNetwork(nn.Module):
    """A network on the grid; `to_grid` makes one, `to_integer` turns it into integers.

    It takes what the integer reference takes, uint8 pixels [N, C, H, W] or spikes [T, N, C, H, W],
    or flat. Frames in floating point must hold 0 and 1, or ValueError is raised; or counts where
    it takes counts. The logits [N, classes] are the mean current of the readout over time, in units
    of w; without a readout, the rates of the last neurons, or their membrane potentials in units as
    trained, where `answer` says so.

    | argument | meaning |
    |---|---|
    | layers | in order |
    | input_shape, steps, input_bits, count_bits | as in `IntegerNetwork` |
    | state_bits, fraction_bits | as there |
    | answer | None, or which potentials of the last layer are the logits |
    | about | what `to_integer` writes into the network's `about` |

    `float()` makes it compute in float32, several times faster; it is exact where `fits_float32`.
    """

    def __init__(self, layers: list[GridLayer], *, input_shape: Shape, steps: int,
                 input_bits: int, state_bits: int, fraction_bits: int, count_bits: int = 0,
                 answer: GridAnswer | None = None, about: dict[str, Any] | None = None):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.input_shape, self.steps, self.input_bits = input_shape, steps, input_bits
        self.count_bits, self.answer, self.about = count_bits, answer, about or {}
        self.state_bits, self.fraction_bits = state_bits, fraction_bits
        self._last_reader = {branch.source: index for index, layer in enumerate(layers)
                             for branch in layer}

    def __iter__(self) -> Iterator[GridLayer]:
        return iter(self.layers)  # pyright: ignore[reportReturnType]

    @property
    def rates(self) -> list[float]:
        """Share of neurons that spiked in a time step, per layer of neurons, in the last call."""
        return [layer.rate for layer in self if layer.neuron is not None]

    @property
    def fits_float32(self) -> bool:
        """Whether float32 holds every sum, state and product of states, whatever the weights are.

        Currents are assumed to fit in 23 bits.
        """
        def largest(layer: GridLayer) -> int:
            inputs = (1 << max(layer.input_bits, 1)) - 1
            return inputs * sum((branch.weight[0].numel() << (branch.bits - 1)) * branch.count
                                for branch in layer)

        return self.state_bits <= 12 and all(largest(layer) < 1 << 23 for layer in self)

    def run(self, x: Tensor, adjust: Callable[[GridLayer, Tensor], Tensor] | None = None,
            membranes: list[Tensor] | None = None) -> Iterator[Tensor]:
        """The map of every layer in turn: spikes [T, N, C, H, W], or the currents of the readout.

        adjust: called with a layer and its currents [1 or T, N, C, H, W]; returns the currents to
        go on with. membranes: a list that takes the states of the last layer, step by step.
        """
        if not self.input_bits and not self.count_bits and x.is_floating_point():
            x = check_spikes(x)
        x = present_maps(x, shape=self.input_shape, steps=self.steps, input_bits=self.input_bits,
                         count_bits=self.count_bits)
        first, *_ = self
        maps = {INPUT: x.to(first.bias.dtype)}
        for index, layer in enumerate(self):
            currents = layer.current(maps.__getitem__)
            if adjust is not None:
                currents = adjust(layer, currents)
            result = currents.expand(self.steps, *currents.shape[1:])
            if layer.neuron is not None:
                last = index == len(self.layers) - 1
                result = layer.spikes(result, layer.neuron, membranes if last else None)
            yield result
            maps[index] = result
            for source in {branch.source for branch in layer}:
                if self._last_reader[source] == index:
                    del maps[source]

    def forward(self, x: Tensor) -> Tensor:
        *_, layer = self
        membranes = None if self.answer is None else []
        last = deque(self.run(x, membranes=membranes), maxlen=1).pop().flatten(2)
        if self.answer is not None:
            assert membranes is not None
            return self.answer.logits(torch.stack(membranes).flatten(2), last, layer.rounded)
        last = last.mean(0)
        return last / (1 << self.fraction_bits) if layer.neuron is None else last
