"""Random valid networks for an array: what the tests of compiler and hardware run. numpy only."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rtl.config import ArrayConfig
from rtl.numerics import Neuron, round_shift

from .integer import DenseLayer, IntegerNetwork

__all__ = ["random_inputs", "random_network", "random_neuron"]


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


def random_network(rng: np.random.Generator, config: ArrayConfig, *,
                   sizes: Sequence[int] | None = None, largest_size: int = 700,
                   steps: int | None = None, input_bits: int | None = None,
                   weight_bits: int | None = None, readout: bool | None = None,
                   kind: str | None = None, soft: bool | None = None) -> IntegerNetwork:
    """A network that `config` can run; what is not given is drawn.

    sizes: inputs, then the outputs of 1..4 layers, each in 1..largest_size. steps: 1..8 and no more
    than config.slots; input_bits likewise from 0. The state format is the array's. No accumulator
    leaves config.accumulator_bits, no current config.current_bits, and 0 <= shift + F <= 31.
    """
    one = 1 << config.fraction_bits
    if sizes is None:
        log_sizes = rng.uniform(0, np.log(largest_size + 1), rng.integers(2, 6))
        sizes = [int(size) for size in np.exp(log_sizes)]
    most = min(8, config.slots)
    steps = int(rng.integers(1, most + 1)) if steps is None else steps
    if input_bits is None:
        input_bits = int(rng.choice([0, most, int(rng.integers(1, most + 1))]))
    readout = bool(rng.integers(2)) if readout is None else readout
    bound = (1 << (config.current_bits - 1)) - 1
    highest_shift = 31 - config.fraction_bits

    def channel(acc: int, value: int) -> tuple[int, int]:
        """(shift, bias) with |J| <= bound, where |acc sum| is at most acc * value."""
        usual = (acc * value).bit_length() - config.fraction_bits - int(rng.integers(-1, 3))
        anything = int(rng.integers(-config.fraction_bits, highest_shift + 1))
        shift = int(rng.choice([usual, usual, usual, anything]))
        shift = min(max(shift, -config.fraction_bits), highest_shift)
        while round_shift(acc * value, shift) > bound:
            shift += 1
        room = bound - round_shift(acc * value, shift)
        near = int(rng.integers(-one, one + 1))
        return shift, int(np.clip(rng.choice([near, near, near, 0, -room, room]), -room, room))

    layers = []
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        bits = weight_bits or int(rng.choice([b for b in (4, 8) if b <= config.weight_bits]))
        value = (1 << (max(input_bits, 1) if index == 0 else 1)) - 1
        largest = min((1 << (config.accumulator_bits - 1)) - 1, (bound << highest_shift) // value)
        weight = _weight(rng, outputs, inputs, bits, largest)
        pairs = [channel(int(acc), value) for acc in np.abs(weight.astype(int)).sum(1)]
        shift, bias = np.array(pairs).T
        last = index == len(sizes) - 2
        layers.append(DenseLayer(
            name=f"layer{index}", weight=weight, weight_bits=bits, shift=shift.astype(np.int8),
            bias=bias.astype(np.int32),
            neuron=None if readout and last else random_neuron(rng, config, kind=kind, soft=soft)))
    return IntegerNetwork(layers=tuple(layers), steps=steps, input_bits=input_bits,
                          state_bits=config.state_bits, fraction_bits=config.fraction_bits)


def random_inputs(rng: np.random.Generator, network: IntegerNetwork, batch: int) -> np.ndarray:
    """Inputs for `network`, uint8: the first all zero, the second all highest, then any density."""
    shape = (batch, 1, network.inputs) if network.input_bits else \
        (batch, network.steps, network.inputs)
    highest = (1 << max(network.input_bits, 1)) - 1
    inputs = rng.integers(1, highest + 1, shape) * (rng.random(shape) < rng.random((batch, 1, 1)))
    inputs[:1] = 0
    inputs[1:2] = highest
    inputs = inputs.astype(np.uint8)
    return inputs[:, 0] if network.input_bits else inputs.swapaxes(0, 1)
