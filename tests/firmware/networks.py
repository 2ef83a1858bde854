"""Random integer networks that an array accepts, and what the equations make of them."""

import numpy as np

from models.integer import IntegerNetwork, dense
from rtl.config import ArrayConfig
from rtl.numerics import Neuron, current, neuron_step


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
    return IntegerNetwork(input_shape=(sizes[0], 1, 1), layers=tuple(layers), steps=steps, input_bits=input_bits,
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
