"""The integer reference against plain loops over Python integers."""

import numpy as np
import pytest
import torch

from quadfire.models.integer import (
    ConvBranch,
    IdentityBranch,
    IntegerLayer,
    IntegerNetwork,
    Pool,
    dense,
    reference,
)
from quadfire.models.integer.random_network import (
    random_conv_network,
    random_inputs,
    random_network,
)
from quadfire.rtl.contract.config import PRESETS
from quadfire.rtl.contract.numerics import current, neuron_step

pytestmark = pytest.mark.fast


def windows(x: np.ndarray, size, stride, padding):
    """(y, x, window [C, h, w]) of every place of a kernel on a map [C, H, W]."""
    padded = np.pad(x, ((0, 0), *((n, n) for n in padding)))
    (height, width), (rows, columns) = padded.shape[1:], size
    for i, y in enumerate(range(0, height - rows + 1, stride[0])):
        for j, z in enumerate(range(0, width - columns + 1, stride[1])):
            yield i, j, padded[:, y:y + rows, z:z + columns]


def branch_sums(branch, x: np.ndarray, shape) -> np.ndarray:
    """Sums [outputs, H, W] of a map of 0 and 1."""
    if isinstance(branch, IdentityBranch):
        return branch.weight[:, None, None] * x
    if branch.pool is not None:
        pool, pooled = branch.pool, np.zeros(branch.pool.output_shape(x.shape), int)
        for y, z, window in windows(x, pool.size, pool.stride, pool.padding):
            pooled[:, y, z] = (window.sum if pool.kind == "sum" else window.max)((1, 2))
        x = pooled
    acc = np.zeros(shape, int)
    for y, z, window in windows(x, branch.kernel, branch.stride, branch.padding):
        acc[:, y, z] = (branch.weight.astype(int) * window).sum((1, 2, 3)) * branch.gain
    return acc


def plain(network: IntegerNetwork, inputs: np.ndarray):
    """One sample, [C, H, W] or [T, C, H, W], by the book: planes fold most significant first."""
    maps = {-1: inputs[None].repeat(network.steps, 0) if network.input_bits else inputs}
    spikes, membranes = [], []
    for index, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=True)):
        state = np.full(shape, layer.neuron.initial if layer.neuron else 0)
        fired, kept = np.zeros((network.steps, *shape), int), []
        for step in range(network.steps):
            acc = np.zeros(shape, int)
            for plane in reversed(range(max(network.bits_of(layer), 1))):
                acc = 2 * acc + sum(branch_sums(b, maps[b.source][step].astype(int) >> plane & 1,
                                                shape) for b in layer.branches)
            for o in np.ndindex(shape):
                j = current(int(acc[o]), int(layer.shift[o[0]]), int(layer.bias[o[0]]))
                if layer.neuron is None:
                    state[o] += j
                else:
                    fired[step][o], state[o] = neuron_step(int(state[o]), j, layer.neuron,
                                                           network.fraction_bits)
            kept.append(state.copy())
        membranes.append(np.stack(kept))
        if layer.neuron is not None:
            spikes.append(fired)
            maps[index] = fired
    return spikes, membranes


def check(network: IntegerNetwork, rng) -> None:
    inputs = random_inputs(rng, network, 4)
    result = reference.run(network, inputs, record=True)
    samples = (inputs if network.input_bits else inputs.swapaxes(0, 1)).reshape(
        4, *([] if network.input_bits else [network.steps]), *network.input_shape)
    for index, sample in enumerate(samples):
        spikes, membranes = plain(network, sample)
        for got, want in zip((*result.spikes, *result.membranes), (*spikes, *membranes),
                             strict=True):
            assert np.array_equal(got[:, index].reshape(want.shape), want)
        last = spikes[-1].sum(0) if network.layers[-1].neuron else membranes[-1][-1]
        assert result.logits[index].tolist() == last.flatten().tolist()


@pytest.mark.parametrize("seed", range(24))
def test_reference_equals_plain_integers(seed):
    rng = np.random.default_rng(seed)
    config = PRESETS[("tiny", "small", "default", "large")[seed % 4]]
    check(random_network(rng, config, largest_size=20), rng)


@pytest.mark.parametrize("pairs", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(60))
def test_convolutions_equal_plain_integers(seed, pairs):
    rng = np.random.default_rng(seed)
    config = PRESETS[("tiny", "small", "default", "large")[seed % 4]]
    check(random_conv_network(rng, config, largest_map=6, largest_channels=6, pairs=pairs), rng)


def readout(weight, shift, bias, *, steps=2, input_bits=0) -> IntegerNetwork:
    layer = dense("readout", np.array(weight, np.int8), weight_bits=8, source=-1, neuron=None,
                  shift=np.array(shift, np.int8), bias=np.array(bias, np.int32))
    return IntegerNetwork(input_shape=(layer.inputs, 1, 1), layers=(layer,), steps=steps,
                          input_bits=input_bits, state_bits=12, fraction_bits=10)


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


def test_sums_beyond_float32_are_exact():
    """2^24 + 1 is the first integer that float32 cannot hold; pixels get there."""
    weight = np.full((1, 1, 23, 23), 127, np.int8)
    weight[0, 0, 0, 0] = 1
    layer = IntegerLayer(name="a", branches=(ConvBranch(source=-1, weight=weight),), weight_bits=8,
                         shift=np.zeros(1, np.int8), bias=np.zeros(1, np.int32), neuron=None)
    network = IntegerNetwork(input_shape=(1, 23, 23), layers=(layer,), steps=1, input_bits=8,
                             state_bits=12, fraction_bits=10)
    pixels = np.full((1, 1, 23, 23), 255, np.uint8)
    pixels[0, 0, 0, 0] = 254
    assert reference.run(network, pixels).logits.item() == 528 * 127 * 255 + 254 > 1 << 24


def test_pools_by_hand():
    """Windows of 2 x 2, one apart, on a spike in the corner and one in the middle."""
    spikes = np.zeros((1, 1, 1, 3, 3), np.uint8)
    spikes[..., 0, 0] = spikes[..., 1, 1] = 1
    for kind, total in (("sum", [2, 1, 1, 1]), ("max", [1, 1, 1, 1])):
        weight = np.array([1, 3, 5, 7], np.int8).reshape(1, 1, 2, 2)
        branch = ConvBranch(source=-1, weight=weight, pool=Pool(kind=kind, size=2, stride=1))
        layer = IntegerLayer(name="a", branches=(branch,), weight_bits=8, neuron=None,
                             shift=np.zeros(1, np.int8), bias=np.zeros(1, np.int32))
        network = IntegerNetwork(input_shape=(1, 3, 3), layers=(layer,), steps=1, input_bits=0,
                                 state_bits=12, fraction_bits=10)
        assert reference.run(network, spikes).logits.item() == np.dot(total, [1, 3, 5, 7])


def test_batches_are_cut_without_a_trace(monkeypatch):
    rng = np.random.default_rng(4)
    network = random_conv_network(rng, PRESETS["default"], largest_map=6)
    inputs = random_inputs(rng, network, 9)
    whole = reference.run(network, inputs, record=True)
    monkeypatch.setattr(reference, "CHUNK", 1)
    cut = reference.run(network, inputs, record=True)
    assert torch.equal(whole.logits, cut.logits)
    assert all(torch.equal(a, b) for a, b in zip(whole.membranes, cut.membranes, strict=True))
    none = reference.run(network, inputs[:0] if network.input_bits else inputs[:, :0])
    assert none.logits.shape == (0, network.outputs)


def test_maps_may_be_flat():
    rng = np.random.default_rng(2)
    for input_bits in (0, 8):
        network = random_conv_network(rng, PRESETS["default"], input_bits=input_bits, steps=2)
        inputs = random_inputs(rng, network, 3)
        flat = inputs.reshape(*inputs.shape[:-3], -1)
        assert torch.equal(reference.run(network, inputs).logits,
                           reference.run(network, flat).logits)
        with pytest.raises(ValueError, match="inputs must have shape"):
            reference.run(network, np.zeros((*inputs.shape[:-1], 99), np.uint8))


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
