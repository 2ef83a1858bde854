"""The integer reference against plain loops over Python integers."""

import numpy as np
import pytest
import torch

from models import reference
from models.integer import DenseLayer, IntegerNetwork
from models.random_network import random_inputs, random_network
from rtl.config import PRESETS
from rtl.numerics import current, neuron_step

pytestmark = pytest.mark.fast


def plain(network: IntegerNetwork, inputs: np.ndarray):
    """One sample, [inputs] or [T, inputs], by the book: bit planes fold most significant first."""
    planes = max(network.input_bits, 1)
    steps = inputs[None].repeat(network.steps, 0) if network.input_bits else inputs
    spikes, membranes = [], []
    for layer in network.layers:
        weight = layer.weight.astype(int).tolist()
        state = [layer.neuron.initial if layer.neuron else 0] * layer.outputs
        fired, kept = [], []
        for step in steps.tolist():
            out = []
            for o, row in enumerate(weight):
                acc = 0
                for plane in reversed(range(planes)):
                    acc = 2 * acc + sum(w for w, s in zip(row, step, strict=True) if s >> plane & 1)
                j = current(acc, int(layer.shift[o]), int(layer.bias[o]))
                if layer.neuron is None:
                    state[o] += j
                else:
                    spike, state[o] = neuron_step(state[o], j, layer.neuron, network.fraction_bits)
                    out.append(spike)
            fired.append(out)
            kept.append([*state])
        membranes.append(kept)
        if layer.neuron is not None:
            spikes.append(fired)
            steps, planes = np.array(fired, int), 1
    return spikes, membranes


@pytest.mark.parametrize("seed", range(24))
def test_reference_equals_plain_integers(seed):
    rng = np.random.default_rng(seed)
    config = PRESETS[("tiny", "small", "default", "large")[seed % 4]]
    network = random_network(rng, config, largest_size=20)
    inputs = random_inputs(rng, network, 4)
    result = reference.run(network, inputs, record=True)
    for sample in range(4):
        spikes, membranes = plain(network, inputs[sample] if network.input_bits
                                  else inputs[:, sample])
        assert [part[:, sample].tolist() for part in result.spikes] == spikes
        assert [part[:, sample].tolist() for part in result.membranes] == membranes
        last = np.array(spikes[-1]).sum(0) if network.layers[-1].neuron else membranes[-1][-1]
        assert result.logits[sample].tolist() == list(last)


def readout(weight, shift, bias, *, steps=2, input_bits=0) -> IntegerNetwork:
    layer = DenseLayer(name="readout", weight=np.array(weight, np.int8), weight_bits=8,
                       shift=np.array(shift, np.int8), bias=np.array(bias, np.int32), neuron=None)
    return IntegerNetwork(layers=(layer,), steps=steps, input_bits=input_bits, state_bits=12,
                          fraction_bits=10)


def test_readout_by_hand():
    network = readout([[3, -5], [127, -128]], [1, -2], [10, -1])
    result = reference.run(network, torch.tensor([[[1, 0]], [[0, 1]]], dtype=torch.uint8),
                           record=True)
    # channel 0: round(1.5) + 10 = 12, round(-2.5) + 10 = 8; channel 1: 508 - 1, -512 - 1
    assert result.membranes[0][:, 0].tolist() == [[12, 507], [20, -6]]
    assert result.logits.tolist() == [[20, -6]]
    assert result.spikes == ()


def test_lowest_index_wins_a_tie():
    network = readout([[1], [2], [2]], [0, 0, 0], [0, 0, 0])
    assert reference.run(network, np.ones((2, 3, 1), bool)).classes.tolist() == [1, 1, 1]
    assert reference.run(network, np.zeros((2, 1, 1), bool)).classes.tolist() == [0]


def test_nothing_is_recorded_unless_asked():
    rng = np.random.default_rng(1)
    network = random_network(rng, PRESETS["tiny"], largest_size=9)
    result = reference.run(network, random_inputs(rng, network, 3))
    assert result.spikes == result.membranes == ()


def test_readout_that_leaves_32_bits_is_an_error():
    network = readout([[1]], [0], [2 ** 30], steps=2)
    with pytest.raises(OverflowError, match="32 bits"):
        reference.run(network, np.zeros((2, 1, 1), np.uint8))


def test_inputs_are_checked():
    network = readout([[1, 2]], [0], [0], input_bits=4)
    with pytest.raises(ValueError, match="inputs must be below 16, not 16"):
        reference.run(network, np.full((1, 2), 16, np.uint8))
    with pytest.raises(ValueError, match=r"shape \[N, 2\], not \[1, 3\]"):
        reference.run(network, np.zeros((1, 3), np.uint8))
    with pytest.raises(TypeError, match="uint8"):
        reference.run(network, np.zeros((1, 2)))
