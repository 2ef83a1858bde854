"""Random networks are valid, lively, and go to the ends of their ranges."""

import numpy as np
import pytest

from models import reference
from models.bounds import accumulator_range, current_range
from models.random_network import random_inputs, random_network
from rtl.config import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_networks_stay_inside_of_the_array(name):
    config = PRESETS[name]
    rates, kinds, bits = [], set(), set()
    for seed in range(25):
        rng = np.random.default_rng(seed)
        network = random_network(rng, config, largest_size=300)
        assert 1 <= len(network.layers) <= 4 and 1 <= network.steps <= config.slots
        assert network.input_bits <= config.slots
        assert (network.state_bits, network.fraction_bits) == (config.state_bits,
                                                               config.fraction_bits)
        for index, layer in enumerate(network.layers):
            assert layer.weight_bits <= config.weight_bits
            low, high = accumulator_range(layer.weight)
            bound = 1 << (config.accumulator_bits - 1)
            assert low.min() >= -bound and high.max() < bound
            low, high = current_range(layer, network.input_bits if index == 0 else 0)
            assert max(-low.min(), high.max()) < 1 << (config.current_bits - 1)
            assert layer.shift.min() + config.fraction_bits >= 0
            assert layer.shift.max() + config.fraction_bits <= 31
            kinds.add(layer.neuron and (layer.neuron.square, layer.neuron.soft))
            bits.add(layer.weight_bits)
        result = reference.run(network, random_inputs(rng, network, 4), record=True)
        rates += [spikes.double().mean().item() for spikes in result.spikes]
    assert kinds == {None, (False, False), (False, True), (True, False), (True, True)}
    assert bits == {b for b in (4, 8) if b <= config.weight_bits}
    assert 0.2 < np.mean(rates) < 0.7


def test_choices_are_kept():
    network = random_network(np.random.default_rng(1), PRESETS["default"], sizes=[5, 700, 3],
                             steps=3, input_bits=0, weight_bits=4, readout=False, kind="if",
                             soft=True)
    assert [(layer.inputs, layer.outputs, layer.weight_bits) for layer in network.layers] == \
        [(5, 700, 4), (700, 3, 4)]
    assert network.steps == 3 and network.input_bits == 0
    for layer in network.layers:
        assert layer.neuron is not None and layer.neuron.soft and layer.neuron.factor == 1 << 10


def test_weights_go_to_their_ends():
    network = random_network(np.random.default_rng(1), PRESETS["default"], sizes=[6, 100],
                             weight_bits=8)
    weight = network.layers[0].weight
    for value in (-128, 0, 127):
        assert (weight == value).all(1).any()


def test_weights_are_reduced_to_fit_the_accumulator():
    config = PRESETS["tiny"]
    network = random_network(np.random.default_rng(1), config, sizes=[700, 60], weight_bits=8)
    total = np.abs(network.layers[0].weight.astype(int)).sum(1)
    assert 0.9 * 2 ** 15 < total.max() < 2 ** (config.accumulator_bits - 1)


@pytest.mark.parametrize("input_bits", [0, 3, 8])
def test_inputs_begin_with_nothing_and_everything(input_bits):
    rng = np.random.default_rng(1)
    network = random_network(rng, PRESETS["default"], input_bits=input_bits, steps=4, sizes=[9, 2])
    inputs = random_inputs(rng, network, 6)
    assert inputs.dtype == np.uint8
    assert inputs.shape == ((6, 9) if input_bits else (4, 6, 9))
    samples = inputs if input_bits else inputs.swapaxes(0, 1)
    assert (samples[0] == 0).all() and (samples[1] == (1 << max(input_bits, 1)) - 1).all()
    assert random_inputs(rng, network, 1).max() == 0


def test_one_seed_makes_one_network():
    first, again = (random_network(np.random.default_rng(5), PRESETS["tiny"]) for _ in range(2))
    assert all(np.array_equal(a.weight, b.weight) and a.neuron == b.neuron
               for a, b in zip(first.layers, again.layers, strict=True))
