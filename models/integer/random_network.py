"""Random valid networks for an array: what the tests of compiler and hardware run. numpy only."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from quadfire.models.integer.branches import INPUT, Branch, ConvBranch, IdentityBranch, Pool, Shape
from quadfire.models.integer.checks import NetworkError
from quadfire.models.integer.layer import IntegerLayer, dense
from quadfire.models.integer.network import IntegerNetwork
from quadfire.models.integer.pairs import Pair, as_pair
from quadfire.models.integer.random_draws import Draw, random_neuron, random_weight
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["random_conv_network", "random_inputs", "random_network", "random_neuron"]


def random_network(rng: np.random.Generator, config: ArrayConfig, *,
                   sizes: Sequence[int] | None = None, largest_size: int = 700,
                   steps: int | None = None, input_bits: int | None = None,
                   weight_bits: int | None = None, readout: bool | None = None,
                   kind: str | None = None, soft: bool | None = None) -> IntegerNetwork:
    """A fully connected network that `config` can run; what is not given is drawn.

    | argument | drawn |
    |---|---|
    | sizes | inputs, then the outputs of 1..4 layers, each in 1..largest_size |
    | steps, input_bits | up to 8, and no more than config.slots; input_bits from 0 |
    | weight_bits, kind, soft | for every layer, see `Draw` |
    | readout | whether the last layer has no neurons |

    The state format is the array's. No sum leaves config.accumulator_bits, no current
    config.current_bits, and 0 <= shift + F <= 31.
    """
    draw = Draw(rng, config, weight_bits=weight_bits, kind=kind, soft=soft)
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
        weight = random_weight(rng, outputs, inputs, bits, draw.largest_sum(value))
        channels = draw.channels(np.abs(weight.astype(int)).sum(1), value)
        last = index == len(sizes) - 2
        layers.append(dense(f"layer{index}", weight, weight_bits=bits, source=index - 1,
                            neuron=None if readout and last else draw.neuron(), **channels))
    return IntegerNetwork(input_shape=(sizes[0], 1, 1), layers=tuple(layers), steps=steps,
                          input_bits=input_bits, state_bits=config.state_bits,
                          fraction_bits=config.fraction_bits)


# Convolutions ------------------------------------------------------------------------------------


def _conv(source: int, channels: int, kernel: Pair, *, stride: int | Pair = 1,
          padding: int | Pair = 0, pool: Pool | None = None, gain: int = 1) -> ConvBranch:
    """A convolution to one channel, whose weights are drawn later."""
    return ConvBranch(source=source, weight=np.zeros((1, channels, *kernel), np.int8),
                      stride=stride, padding=padding, pool=pool, gain=gain)


def _random_pool(draw: Draw) -> Pool:
    """A pool of 2 x 2 or 3 x 3; with pairs, of sides 1..3."""
    rng, sides = draw.rng, [1, 2, 3] if draw.pairs else [2, 2, 3]
    size = draw.pair(lambda _: int(rng.choice(sides)))
    return Pool(kind=str(rng.choice(["sum", "max"])), size=size,
                stride=draw.pair(lambda side: int(rng.choice([side, side, 1, 2])), size),
                padding=draw.pair(lambda side: int(rng.integers(side // 2 + 1)), size)
                if draw.chance(0.5) else 0)


def _hidden(draw: Draw, source: int, shape: Shape, spikes: bool) -> ConvBranch:
    """The convolution of a layer that is not the last; rarely a fully connected one.

    spikes: whether its source has spikes, so that it may be pooled.
    """
    rng = draw.rng
    if draw.chance(0.15):
        return _conv(source, shape[0], shape[1:])           # fully connected
    while True:
        kernel = draw.pair(lambda _: int(rng.choice([1, 1, 2, 3, 3, 3, 3, 5, 5, 7])))
        branch = _conv(source, shape[0], kernel,
                       stride=draw.pair(lambda _: int(rng.choice([1, 1, 2]))),
                       padding=draw.pair(lambda side: int(rng.integers(min(3, side))), kernel),
                       pool=_random_pool(draw) if spikes and draw.chance(0.35) else None)
        try:
            branch.output_shape(shape)
        except NetworkError:
            continue                                        # 1 x 1 always fits
        return branch


def _final(draw: Draw, source: int, shape: Shape, spikes: bool) -> ConvBranch:
    """The convolution of the last layer, to 1 x 1: of the whole map or of a pooled one."""
    pool = None
    if spikes and draw.chance(0.4) and (shape[1] == shape[2] or draw.pairs):
        pool = Pool(kind=str(draw.rng.choice(["sum", "max"])), size=shape[1:], stride=shape[1:])
    elif spikes and draw.chance(0.3):
        pool = _random_pool(draw)
    try:
        shape = shape if pool is None else pool.output_shape(shape)
    except NetworkError:
        pool = None
    return _conv(source, shape[0], shape[1:], pool=pool)


def _projections(draw: Draw, shape: Shape, sources: dict[int, Shape]) -> list[Branch]:
    """All convolutions of the `sources` to a map of the height and width of `shape`."""
    kinds = [(1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 1), (3, 2, 1)]
    if draw.pairs:
        kinds += [(1, (2, 1), 0), (1, (1, 2), 0), ((3, 1), (2, 1), (1, 0)), ((1, 5), 1, (0, 2))]
    found: list[Branch] = []
    for source, other in sources.items():
        for kernel, stride, padding in kinds:
            branch = _conv(source, other[0], as_pair(kernel), stride=stride, padding=padding,
                           gain=int(draw.rng.choice([1, 1, 2, 4])))
            try:
                if branch.output_shape(other)[1:] == shape[1:]:
                    found.append(branch)
            except NetworkError:
                pass
    return found


def _shortcut(draw: Draw, shape: Shape, sources: dict[int, Shape], pixels: bool) -> Branch | None:
    """A second branch to a map of the height and width of `shape`; None where there is none."""
    same = [source for source, found in sources.items() if found[1:] == shape[1:]]
    if same and not pixels and draw.chance(0.6):
        return IdentityBranch(source=int(draw.rng.choice(same)), weight=np.zeros(1, np.int32))
    if projections := _projections(draw, shape, sources):
        return projections[draw.rng.integers(len(projections))]
    return None


def _with_weights(draw: Draw, branches: list[Branch], outputs: int,
                  bits: int, largest: int) -> tuple[Branch, ...]:
    """The branches with random weights; every branch takes an equal share of `largest`.

    largest: largest magnitude that a sum of the layer may reach, for inputs of 0 and 1.
    """
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
            weight = random_weight(draw.rng, outputs, branch.weight[0].size, bits, share // count)
            weight = weight.reshape(outputs, *branch.weight.shape[1:])
        result.append(replace(branch, weight=weight))
    return tuple(result)


def random_conv_network(rng: np.random.Generator, config: ArrayConfig, *,
                        largest_map: int = 12, largest_channels: int = 40,
                        layers: int | None = None, steps: int | None = None,
                        input_bits: int | None = None, weight_bits: int | None = None,
                        readout: bool | None = None, kind: str | None = None,
                        soft: bool | None = None, pairs: float = 0.0) -> IntegerNetwork:
    """A network of convolutions that `config` can run; what is not given is drawn.

    | what | drawn |
    |---|---|
    | layers | 1..5, the last to a map of 1 x 1 |
    | input | sides of 1..largest_map |
    | maps | 1..largest_channels channels |
    | kernels | sides of 1, 2, 3, 5, 7 or the whole map; stride 1, 2; padding 0, 1, 2 |
    | pools | windows of 2, 3 or the whole map |
    | shortcuts | a third of the layers: an identity or a second convolution |

    pairs: probability that rows and columns of a kernel, stride, padding or pool are drawn one by
    one; above 0 some inputs have one row. The rest is as in `random_network`.
    """
    draw = Draw(rng, config, weight_bits=weight_bits, kind=kind, soft=soft, pairs=pairs)
    count = int(rng.integers(1, 6)) if layers is None else layers
    steps = draw.steps() if steps is None else steps
    input_bits = draw.input_bits() if input_bits is None else input_bits
    readout = bool(rng.integers(2)) if readout is None else readout
    height = int(rng.integers(1, largest_map + 1))
    width = height if draw.chance(0.5) else int(rng.integers(1, largest_map + 1))
    if pairs and draw.chance(0.2):
        height = 1
    shapes: dict[int, Shape] = {INPUT: (draw.size(min(largest_channels, 12)), height, width)}
    made = []
    for index in range(count):
        source, last = index - 1, index == count - 1
        pixels = bool(input_bits) and source == INPUT
        main = (_final if last else _hidden)(draw, source, shapes[source], not pixels)
        shape, outputs = main.output_shape(shapes[source]), draw.size(largest_channels)
        branches: list[Branch] = [main]
        others = {other: found for other, found in shapes.items()
                  if (bool(input_bits) and other == INPUT) == pixels}
        if draw.chance(0.35) and (second := _shortcut(draw, shape, others, pixels)):
            branches.append(second)
            if isinstance(second, IdentityBranch):
                outputs = others[second.source][0]
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
    """Inputs for `network`, uint8 [batch, C, H, W] of pixels or [T, batch, C, H, W] of spikes.

    The first sample is all zero, the second all highest, every other has a density of its own.
    Inputs of 1 x 1 are flat, [..., C].
    """
    shape = (batch, 1, network.inputs) if network.input_bits else \
        (batch, network.steps, network.inputs)
    highest = (1 << max(network.input_bits, network.count_bits, 1)) - 1
    inputs = rng.integers(1, highest + 1, shape) * (rng.random(shape) < rng.random((batch, 1, 1)))
    inputs[:1] = 0
    inputs[1:2] = highest
    inputs = inputs.astype(np.uint8)
    if network.input_shape[1:] != (1, 1):
        inputs = inputs.reshape(*shape[:2], *network.input_shape)
    return inputs[:, 0] if network.input_bits else inputs.swapaxes(0, 1)
