"""Random integer networks that an array accepts, and their results by the equations."""

import numpy as np

from quadfire.models.integer import (
    INPUT,
    ConvBranch,
    IdentityBranch,
    IntegerLayer,
    IntegerNetwork,
    Pool,
    dense,
)
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import Neuron, current, neuron_step


def random_neuron(rng, config: ArrayConfig) -> Neuron:
    one, low, high = 1 << config.fraction_bits, config.state_min, config.state_max
    lo, hi = int(rng.integers(low, -one // 2)), int(rng.integers(one, high + 1))
    theta = int(rng.integers(one // 4, one + 1))
    soft, square = bool(rng.integers(2)), bool(rng.integers(2))
    return Neuron(square=square, soft=soft, factor=0 if square else int(rng.integers(0, one + 1)),
                  theta=theta, lo=lo, hi=hi, initial=int(rng.integers(lo, hi + 1)),
                  reset=int(rng.integers(lo, hi + 1)),
                  delta=int(rng.integers(0, min(theta - lo, high) + 1)) if soft else 0)


def random_network(rng, config: ArrayConfig, sizes, *, steps: int, input_bits: int = 0,
                   readout: bool = True) -> IntegerNetwork:
    layers, one = [], 1 << config.fraction_bits
    limit = 1 << (config.weight_bits - 1)
    for index, (inputs, outputs) in enumerate(zip(sizes, sizes[1:], strict=False)):
        weight = rng.integers(-limit, limit, (outputs, inputs)).astype(np.int8)
        bits = (input_bits if index == 0 else 0) + config.weight_bits - 4
        last = readout and index == len(sizes) - 2
        layers.append(dense(
            f"dense{index}", weight, source=index - 1, weight_bits=config.weight_bits,
            shift=rng.integers(bits - 5, bits - 1, outputs).astype(np.int8),
            bias=rng.integers(-one // 2, one // 2, outputs).astype(np.int32),
            neuron=None if last else random_neuron(rng, config)))
    return IntegerNetwork(input_shape=(sizes[0], 1, 1), layers=tuple(layers), steps=steps,
                          input_bits=input_bits,
                          state_bits=config.state_bits, fraction_bits=config.fraction_bits)


def random_inputs(rng, network: IntegerNetwork, images: int) -> np.ndarray:
    if network.input_bits:
        return rng.integers(0, 1 << network.input_bits, (images, network.inputs), np.uint8)
    density = rng.random((1, images, 1))
    return rng.random((network.steps, images, network.inputs)) < density


def reference(network: IntegerNetwork, inputs: np.ndarray):
    """(outputs, spikes per layer, membranes per layer), shaped as those of `Outputs`."""
    x = np.asarray(inputs, np.int64)
    if network.input_bits:
        x = np.broadcast_to(x, (network.steps, *x.shape))
    spikes, membranes = [], []
    for layer in network.layers:
        acc = x @ layer.weight.T.astype(np.int64)
        j = np.stack([current(acc[..., o], int(layer.shift[o]), int(layer.bias[o]))
                      for o in range(layer.outputs)], axis=-1)
        if layer.neuron is None:
            membranes.append(np.cumsum(j, axis=0))
            spikes.append(None)
            return membranes[-1][-1], spikes, membranes
        w = np.full(j.shape[1:], layer.neuron.initial, np.int64)
        fired, states = [], []
        for step in j:
            s, w = neuron_step(w, step, layer.neuron, network.fraction_bits)
            fired.append(s)
            states.append(w)
        spikes.append(np.stack(fired))
        membranes.append(np.stack(states))
        x = spikes[-1].astype(np.int64)
    return spikes[-1], spikes, membranes


def residual_network(config: ArrayConfig, side: int, widths, *, steps: int, input_bits: int,
                     blocks=(2, 1, 1), dense: int = 0, kernel: int = 3) -> IntegerNetwork:
    """A ResNet of random weights: a convolution, blocks with a shortcut, dense layers.

    | argument | meaning |
    |---|---|
    | widths | channels of each stage; the first has stride 1, the others 2 |
    | blocks | blocks of two convolutions in each stage |
    | dense | neurons of a layer before the 10 logits; 0: there is none |
    """
    rng, shape = np.random.default_rng(0), (3, side, side)
    limit, layers = 1 << (min(config.weight_bits, 5) - 1), []

    def conv(source, outputs, channels, size, stride=1, pool=None):
        weight = rng.integers(-limit, limit, (outputs, channels, size, size)).astype(np.int8)
        return ConvBranch(source=source, weight=weight, stride=stride, padding=size // 2, pool=pool)

    def add(*branches, neuron=True) -> int:
        outputs, inputs = branches[0].outputs, branches[0].weight[0].size
        bits = int(np.log2(inputs)) // 2 + (input_bits if branches[0].source == INPUT else 0)
        shift = rng.integers(bits - 8, bits - 6, outputs).astype(np.int8)
        layers.append(IntegerLayer(
            name=f"layer{len(layers)}", branches=branches, weight_bits=config.weight_bits,
            shift=np.maximum(shift, -config.fraction_bits),
            bias=rng.integers(-100, 100, outputs).astype(np.int32),
            neuron=random_neuron(rng, config) if neuron else None))
        return len(layers) - 1

    last, channels = add(conv(INPUT, widths[0], 3, kernel)), widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=False)):
        for block in range(count):
            stride = 2 if stage and not block else 1
            inner = add(conv(last, width, channels, kernel, stride))
            shortcut = conv(last, width, channels, 1, stride) if stride > 1 else \
                IdentityBranch(source=last, weight=rng.integers(-500, 500, width).astype(np.int32))
            last, channels = add(conv(inner, width, width, kernel), shortcut), width
        side = side if not stage else -(-side // 2)
    whole = Pool(kind="sum", size=side, stride=side)
    if dense:
        last, channels, whole = add(conv(last, dense, channels, 1, pool=whole)), dense, None
    add(conv(last, 10, channels, 1, pool=whole), neuron=False)
    return IntegerNetwork(input_shape=shape, layers=tuple(layers), steps=steps,
                          input_bits=input_bits, state_bits=config.state_bits,
                          fraction_bits=config.fraction_bits)
