"""Random networks are valid, lively, and go to the ends of their ranges."""

import numpy as np
import pytest

from quadfire.models.integer import ConvBranch, IdentityBranch, IntegerNetwork, reference
from quadfire.models.integer.bounds import current_range
from quadfire.models.integer.random_network import (
    random_conv_network,
    random_inputs,
    random_network,
)
from quadfire.rtl.contract.config import PRESETS, ArrayConfig


def check_inside(network: IntegerNetwork, config: ArrayConfig) -> None:
    """No sum, current or shift leaves the array's widths."""
    assert 1 <= network.steps <= config.slots and network.input_bits <= config.slots
    assert (network.state_bits, network.fraction_bits) == (config.state_bits, config.fraction_bits)
    for layer in network.layers:
        assert layer.weight_bits <= config.weight_bits
        low, high = layer.sum_range()
        bound = 1 << (config.accumulator_bits - 1)
        assert low.min() >= -bound and high.max() < bound
        low, high = current_range(layer, network.bits_of(layer))
        assert max(-low.min(), high.max()) < 1 << (config.current_bits - 1)
        assert layer.shift.min() + config.fraction_bits >= 0
        assert layer.shift.max() + config.fraction_bits <= 31


@pytest.mark.parametrize("name", PRESETS)
def test_networks_stay_inside_of_the_array(name):
    config = PRESETS[name]
    rates, kinds, bits = [], set(), set()
    for seed in range(25):
        rng = np.random.default_rng(seed)
        network = random_network(rng, config, largest_size=300)
        assert 1 <= len(network.layers) <= 4
        check_inside(network, config)
        for layer in network.layers:
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


# Convolutions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_networks_of_convolutions_stay_inside_of_the_array(name):
    config, rates, seen = PRESETS[name], [], set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        network = random_conv_network(rng, config)
        check_inside(network, config)
        assert 1 <= len(network.layers) <= 5 and network.shapes[-1][1:] == (1, 1)
        for layer in network.layers:
            seen |= {layer.neuron and (layer.neuron.square, layer.neuron.soft), layer.weight_bits}
            for branch in layer.branches:
                seen.add(type(branch).__name__)
                if isinstance(branch, ConvBranch):
                    seen |= {("kernel", branch.kernel[0]), ("gain", branch.gain),
                             *(("stride", stride) for stride in branch.stride),
                             *(("padding", padding) for padding in branch.padding)}
                    if branch.pool:
                        seen |= {branch.pool.kind, ("overlap",
                                                    branch.pool.size > branch.pool.stride)}
        result = reference.run(network, random_inputs(rng, network, 4), record=True)
        for spikes, shape in zip(result.spikes, network.shapes, strict=False):
            assert spikes.shape == (network.steps, 4, *(shape[:1] if shape[1:] == (1, 1)
                                                        else shape))
        rates += [spikes.double().mean().item() for spikes in result.spikes]
    assert 0.2 < np.mean(rates) < 0.7
    assert seen >= {None, (False, False), (False, True), (True, False), (True, True),
                    "ConvBranch", "IdentityBranch", "sum", "max", ("overlap", True),
                    *(("kernel", k) for k in (1, 2, 3, 5, 7)), *(("stride", s) for s in (1, 2)),
                    *(("padding", p) for p in (0, 1, 2)), *(("gain", g) for g in (1, 2, 4))}


def test_pairs_are_drawn_where_they_are_asked_for():
    """And only there: what is drawn without them stays as it was."""
    config = PRESETS["default"]
    for pairs in (0.0, 0.5):
        unequal, rows = set(), set()
        for seed in range(60):
            network = random_conv_network(np.random.default_rng(seed), config, pairs=pairs)
            check_inside(network, config)
            rows.add(network.input_shape[1])
            for branch in (branch for layer in network.layers for branch in layer.branches):
                if isinstance(branch, ConvBranch):
                    values = {"stride": branch.stride, "padding": branch.padding}
                    if pool := branch.pool:
                        values |= {"size of a pool": pool.size, "stride of a pool": pool.stride,
                                   "padding of a pool": pool.padding}
                    unequal |= {name for name, (y, x) in values.items() if y != x}
        assert unequal == ({"stride", "padding", "size of a pool", "stride of a pool",
                            "padding of a pool"} if pairs else set())
        assert 1 in rows and len(rows) > 5


def test_identities_reach_the_end_of_the_accumulator():
    config, ends = PRESETS["tiny"], set()
    for seed in range(60):
        network = random_conv_network(np.random.default_rng(seed), config, weight_bits=8)
        for layer in network.layers:
            ends |= {int(np.abs(branch.weight).max()) * len(layer.branches)
                     for branch in layer.branches if isinstance(branch, IdentityBranch)}
    assert max(ends) >= 2 ** (config.accumulator_bits - 1) - 4


def test_inputs_of_maps():
    rng = np.random.default_rng(3)
    pixels = random_conv_network(rng, PRESETS["default"], input_bits=8)
    spikes = random_conv_network(rng, PRESETS["default"], input_bits=0, steps=3)
    assert random_inputs(rng, pixels, 2).shape == (2, *pixels.input_shape)
    assert random_inputs(rng, spikes, 2).shape == (3, 2, *spikes.input_shape)
