"""Random valid networks for an array: what the tests of compiler and hardware run. numpy only."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import Neuron, round_shift

from quadfire.models.integer.branches import (
    IDENTITY_BITS, INPUT, ConvBranch, IdentityBranch, Pool, Shape,
)
from quadfire.models.integer.checks import NetworkError
from quadfire.models.integer.layer import IntegerLayer, dense
from quadfire.models.integer.network import IntegerNetwork

__all__ = ["random_conv_network", "random_inputs", "random_network", "random_neuron"]


def random_neuron(rng: np.random.Generator, config: ArrayConfig, *, kind: str | None = None,
                  soft: bool | None = None) -> Neuron:
    """A neuron of any kind ("qif", "lif", "if"): half of its values are ordinary, half extreme."""
    kind = kind or str(rng.choice(["qif", "lif", "if"]))
    soft = bool(rng.integers(2)) if soft is None else soft
    one = 1 << config.fraction_bits

    def pick(low: int, high: int, usual: int) -> int:
        """In low..high: near `usual`, or an end, or anything."""
        near = int(np.clip(usual + rng.integers(-one // 8, one // 8 + 1), low, high))
        return int(rng.choice([near, near, near, low, high,
                               int(rng.integers(low, high + 1))]))

    lo = pick(config.state_min, -1, config.state_min)
    hi = pick(1, config.state_max, config.state_max)
    theta = pick(lo + 1, hi, one // 2)
    return Neuron(
        square=kind == "qif", soft=soft,
        factor={"qif": 0, "if": one}.get(kind, pick(config.state_min, config.state_max, one // 2)),
        theta=theta, lo=lo, hi=hi, initial=pick(lo, hi, 0), reset=pick(lo, hi, 0),
        delta=pick(0, min(theta - lo, config.state_max), theta) if soft else 0)


def _weight(rng: np.random.Generator, outputs: int, inputs: int, bits: int,
            largest: int) -> np.ndarray:
    """Channels of random, all highest, all lowest, zero or alternating extreme weights, int8.

    The magnitudes of a channel add up to `largest` at most.
    """
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    weight = rng.integers(low, high + 1, (outputs, inputs))
    style = rng.integers(8, size=outputs)
    for index, value in enumerate((high, low, 0)):
        weight[style == index] = value
    weight[style == 3] = np.where(np.arange(inputs) % 2, low, high)
    total = np.maximum(np.abs(weight).sum(1, keepdims=True), 1)
    return np.where(total > largest, np.trunc(weight * (largest / total)), weight).astype(np.int8)


class _Draw:
    """What a network draws for its layers, from one generator and for one array."""

    def __init__(self, rng: np.random.Generator, config: ArrayConfig, *, weight_bits: int | None,
                 kind: str | None, soft: bool | None):
        self.rng, self.config = rng, config
        self._weight_bits, self.kind, self.soft = weight_bits, kind, soft
        self.bound = (1 << (config.current_bits - 1)) - 1       # of a current
        self.highest_shift = 31 - config.fraction_bits
        # an identity has a row of a group's weights to itself, beside the number of its lane
        row = config.group_lanes * config.weight_bits - (config.group_lanes - 1).bit_length()
        self.identity_limit = (1 << (min(row, IDENTITY_BITS) - 1)) - 1

    def steps(self) -> int:
        return int(self.rng.integers(1, min(8, self.config.slots) + 1))

    def input_bits(self) -> int:
        most = min(8, self.config.slots)
        return int(self.rng.choice([0, most, int(self.rng.integers(1, most + 1))]))

    def weight_bits(self) -> int:
        return self._weight_bits or int(self.rng.choice(
            [b for b in (4, 8) if b <= self.config.weight_bits]))

    def neuron(self) -> Neuron:
        return random_neuron(self.rng, self.config, kind=self.kind, soft=self.soft)

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def size(self, largest: int) -> int:
        """1..largest, small ones as likely as large ones by their logarithm."""
        return int(np.exp(self.rng.uniform(0, np.log(largest + 1))))

    def largest_sum(self, value: int) -> int:
        """What an accumulator may reach, where inputs reach `value`."""
        return min((1 << (self.config.accumulator_bits - 1)) - 1,
                   (self.bound << self.highest_shift) // value)

    def channel(self, acc: int, value: int) -> tuple[int, int]:
        """(shift, bias) with |J| in `bound`, where |acc sum| is at most acc * value."""
        rng, one = self.rng, 1 << self.config.fraction_bits
        usual = (acc * value).bit_length() - self.config.fraction_bits - int(rng.integers(-1, 3))
        anything = int(rng.integers(-self.config.fraction_bits, self.highest_shift + 1))
        shift = int(rng.choice([usual, usual, usual, anything]))
        shift = min(max(shift, -self.config.fraction_bits), self.highest_shift)
        while round_shift(acc * value, shift) > self.bound:
            shift += 1
        room = self.bound - round_shift(acc * value, shift)
        near = int(rng.integers(-one, one + 1))
        return shift, int(np.clip(rng.choice([near, near, near, 0, -room, room]), -room, room))

    def channels(self, totals: np.ndarray, value: int) -> dict[str, Any]:
        """shift and bias of a layer whose channels have sums of at most `totals` in magnitude."""
        shift, bias = np.array([self.channel(int(acc), value) for acc in totals]).T
        return {"shift": shift.astype(np.int8), "bias": bias.astype(np.int32)}


def random_network(rng: np.random.Generator, config: ArrayConfig, *,
                   sizes: Sequence[int] | None = None, largest_size: int = 700,
                   steps: int | None = None, input_bits: int | None = None,
                   weight_bits: int | None = None, readout: bool | None = None,
                   kind: str | None = None, soft: bool | None = None) -> IntegerNetwork:
    """A fully connected network that `config` can run; what is not given is drawn.

    sizes: inputs, then the outputs of 1..4 layers, each in 1..largest_size. steps: 1..8 and no more
    than config.slots; input_bits likewise from 0. The state format is the array's. No accumulator
    leaves config.accumulator_bits, no current config.current_bits, and 0 <= shift + F <= 31.
    """
    draw = _Draw(rng, config, weight_bits=weight_bits, kind=kind, soft=soft)
    if sizes is None:
        log_sizes = rng.uniform(0, np.log(largest_size + 1), rng.integers(2, 6))
        sizes = [int(size) for size in np.exp(log_sizes)]
    steps = draw.steps() if steps is None else steps
    input_bits = draw.input_bits() if input_bits is None else input_bits
    readout = bool(rng.integers(2)) if readout is None else readout
    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        bits = draw.weight_bits()
        value = (1 << (max(input_bits, 1) if index == 0 else 1)) - 1
        weight = _weight(rng, outputs, inputs, bits, draw.largest_sum(value))
        channels = draw.channels(np.abs(weight.astype(int)).sum(1), value)
        last = index == len(sizes) - 2
        layers.append(dense(f"layer{index}", weight, weight_bits=bits, source=index - 1,
                            neuron=None if readout and last else draw.neuron(), **channels))
    return IntegerNetwork(input_shape=(sizes[0], 1, 1), layers=tuple(layers), steps=steps,
                          input_bits=input_bits, state_bits=config.state_bits,
                          fraction_bits=config.fraction_bits)


# Convolutions ------------------------------------------------------------------------------------


def _conv(source: int, channels: int, kernel: tuple[int, int], *, stride: int = 1,
          padding: int = 0, pool: Pool | None = None, gain: int = 1) -> ConvBranch:
    """A convolution whose weights are yet to be drawn, of one channel."""
    return ConvBranch(source=source, weight=np.zeros((1, channels, *kernel), np.int8),
                      stride=stride, padding=padding, pool=pool, gain=gain)


def _random_pool(draw: _Draw) -> Pool:
    size = int(draw.rng.choice([2, 2, 3]))
    return Pool(kind=str(draw.rng.choice(["sum", "max"])), size=size,
                stride=int(draw.rng.choice([size, size, 1, 2])),
                padding=int(draw.rng.integers(size // 2 + 1)) if draw.chance(0.5) else 0)


def _hidden(draw: _Draw, source: int, shape: Shape, spikes: bool) -> ConvBranch:
    """A convolution of the map of `source`, by far most often of more than its centre."""
    rng = draw.rng
    if draw.chance(0.15):
        return _conv(source, shape[0], shape[1:])           # fully connected
    while True:
        kernel = int(rng.choice([1, 1, 2, 3, 3, 3, 3, 5, 5, 7]))
        branch = _conv(source, shape[0], (kernel, kernel),
                       stride=int(rng.choice([1, 1, 2])),
                       padding=int(rng.integers(min(3, kernel))),
                       pool=_random_pool(draw) if spikes and draw.chance(0.35) else None)
        try:
            branch.output_shape(shape)
        except NetworkError:
            continue                                        # 1 x 1 always fits
        return branch


def _final(draw: _Draw, source: int, shape: Shape, spikes: bool) -> ConvBranch:
    """A convolution to 1 x 1: of the whole map, or of its sum or OR."""
    pool = None
    if spikes and draw.chance(0.4) and shape[1] == shape[2]:
        pool = Pool(kind=str(draw.rng.choice(["sum", "max"])), size=shape[1], stride=shape[1])
    elif spikes and draw.chance(0.3):
        pool = _random_pool(draw)
    try:
        shape = shape if pool is None else pool.output_shape(shape)
    except NetworkError:
        pool = None
    return _conv(source, shape[0], shape[1:], pool=pool)


def _shortcuts(draw: _Draw, shape: Shape, sources: dict[int, Shape]
               ) -> list[ConvBranch | IdentityBranch]:
    """All second branches that end in a map of `shape`, but for the number of its channels."""
    found: list[ConvBranch | IdentityBranch] = []
    for source, other in sources.items():
        for kernel, stride, padding in ((1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1)):
            branch = _conv(source, other[0], (kernel, kernel), stride=stride, padding=padding,
                           gain=int(draw.rng.choice([1, 1, 2, 4])))
            try:
                if branch.output_shape(other)[1:] == shape[1:]:
                    found.append(branch)
            except NetworkError:
                pass
    return found


def _with_weights(draw: _Draw, branches: list[ConvBranch | IdentityBranch], outputs: int,
                  bits: int, largest: int) -> tuple[ConvBranch | IdentityBranch, ...]:
    """The branches with weights that leave every sum within `largest`; each may take its share."""
    result = []
    for branch in branches:
        share = largest // len(branches)
        if isinstance(branch, IdentityBranch):
            high = min(share, draw.identity_limit)
            near = draw.rng.integers(-(1 << bits), (1 << bits) + 1, outputs).clip(-high, high)
            extreme = draw.rng.choice([-high, 0, high], outputs)
            weight = np.where(draw.rng.random(outputs) < 0.7, near, extreme).astype(np.int32)
        else:
            count = branch.gain * (1 if branch.pool is None else branch.pool.count)
            weight = _weight(draw.rng, outputs, branch.weight[0].size, bits, share // count)
            weight = weight.reshape(outputs, *branch.weight.shape[1:])
        result.append(replace(branch, weight=weight))
    return tuple(result)


def random_conv_network(rng: np.random.Generator, config: ArrayConfig, *,
                        largest_map: int = 12, largest_channels: int = 40,
                        layers: int | None = None, steps: int | None = None,
                        input_bits: int | None = None, weight_bits: int | None = None,
                        readout: bool | None = None, kind: str | None = None,
                        soft: bool | None = None) -> IntegerNetwork:
    """A network of convolutions that `config` can run; what is not given is drawn.

    layers: 1..5, the last of them to a map of 1 x 1. The input has sides of 1..largest_map, every
    map 1..largest_channels channels. Kernels of 1, 2, 3, 5, 7, or of the whole map; stride 1, 2;
    padding 0, 1, 2; pools of 2, 3, or the whole map; a third of the layers has a shortcut, identity
    or convolution. The rest is as in `random_network`.
    """
    draw = _Draw(rng, config, weight_bits=weight_bits, kind=kind, soft=soft)
    count = int(rng.integers(1, 6)) if layers is None else layers
    steps = draw.steps() if steps is None else steps
    input_bits = draw.input_bits() if input_bits is None else input_bits
    readout = bool(rng.integers(2)) if readout is None else readout
    height = int(rng.integers(1, largest_map + 1))
    width = height if draw.chance(0.5) else int(rng.integers(1, largest_map + 1))
    shapes: dict[int, Shape] = {INPUT: (draw.size(min(largest_channels, 12)), height, width)}
    made = []
    for index in range(count):
        source, last = index - 1, index == count - 1
        pixels = bool(input_bits) and source == INPUT
        main = (_final if last else _hidden)(draw, source, shapes[source], not pixels)
        shape, outputs = main.output_shape(shapes[source]), draw.size(largest_channels)
        branches: list[ConvBranch | IdentityBranch] = [main]
        others = {other: found for other, found in shapes.items()
                  if (bool(input_bits) and other == INPUT) == pixels}
        if draw.chance(0.35):
            same = [other for other, found in others.items() if found[1:] == shape[1:]]
            if same and not pixels and draw.chance(0.6):
                other = int(rng.choice(same))
                outputs = others[other][0]
                branches.append(IdentityBranch(source=other, weight=np.zeros(1, np.int32)))
            elif projections := _shortcuts(draw, shape, others):
                branches.append(projections[rng.integers(len(projections))])
        bits, value = draw.weight_bits(), (1 << max(input_bits, 1)) - 1 if pixels else 1
        weighted = _with_weights(draw, branches, outputs, bits, draw.largest_sum(value))
        totals = sum(np.maximum(-low, high) for low, high in (b.sum_range() for b in weighted))
        made.append(IntegerLayer(name=f"layer{index}", branches=weighted, weight_bits=bits,
                                 neuron=None if readout and last else draw.neuron(),
                                 **draw.channels(np.asarray(totals), value)))
        shapes[index] = (outputs, *shape[1:])
    return IntegerNetwork(input_shape=shapes[INPUT], layers=tuple(made), steps=steps,
                          input_bits=input_bits, state_bits=config.state_bits,
                          fraction_bits=config.fraction_bits)


def random_inputs(rng: np.random.Generator, network: IntegerNetwork, batch: int) -> np.ndarray:
    """Inputs for `network`, uint8: the first all zero, the second all highest, then any density.

    Pixels [batch, C, H, W] or spikes [T, batch, C, H, W]; flat, [..., C], where the map is 1 x 1.
    """
    shape = (batch, 1, network.inputs) if network.input_bits else \
        (batch, network.steps, network.inputs)
    highest = (1 << max(network.input_bits, 1)) - 1
    inputs = rng.integers(1, highest + 1, shape) * (rng.random(shape) < rng.random((batch, 1, 1)))
    inputs[:1] = 0
    inputs[1:2] = highest
    inputs = inputs.astype(np.uint8)
    if network.input_shape[1:] != (1, 1):
        inputs = inputs.reshape(*shape[:2], *network.input_shape)
    return inputs[:, 0] if network.input_bits else inputs.swapaxes(0, 1)
