"""The compiler: proofs at their limits, allocation within the memories, refusals that help."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.firmware import CompileError
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.overflow import Bounds, check_layer, idle_bias, saturation
from quadfire.firmware.driver.session import inference_tape, setup_tape
from quadfire.firmware.tape.packets import decode, split, unpack
from quadfire.models import integer
from quadfire.models.integer import IntegerNetwork
from quadfire.models.integer.bounds import signed_bits
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.numerics import Neuron, current, neuron_step
from quadfire.rtl.contract.tape import PASS, PASS_WORDS, Opcode

from tests.firmware.networks import random_network

pytestmark = pytest.mark.fast

TINY = replace(preset("tiny"), current_bits=24)
QIF = Neuron(square=True, soft=False, factor=0, theta=1024, lo=-2048, hi=2047, initial=0,
             reset=-100, delta=0)


def dense(weight, *, shift=0, bias=0, neuron: Neuron | None = QIF, name="here"):
    weight = np.array(weight, np.int8)
    return integer.dense(name, weight, weight_bits=8, neuron=neuron, source=-1,
                         shift=np.full(len(weight), shift, np.int8),
                         bias=np.full(len(weight), bias, np.int32))


def network(layer, steps=4, input_bits=0):
    return IntegerNetwork(input_shape=(layer.inputs, 1, 1), layers=(layer,), steps=steps,
                          input_bits=input_bits, state_bits=12, fraction_bits=10)


# Proofs ------------------------------------------------------------------------------------------

def test_bounds_are_those_of_all_inputs():
    rng = np.random.default_rng(0)
    layer = dense(rng.integers(-128, 128, (6, 8)), shift=3, bias=5)
    sums = np.array([layer.weight.astype(int) @ s for s in itertools.product((0, 1), repeat=8)])
    bounds = Bounds.of(layer, 0)
    assert np.array_equal(bounds.sum_low, sums.min(axis=0))
    assert np.array_equal(bounds.sum_high, sums.max(axis=0))
    assert np.array_equal(bounds.current_low, current(sums, 3, 5).min(axis=0))
    assert np.array_equal(bounds.current_high, current(sums, 3, 5).max(axis=0))
    pixels = Bounds.of(layer, 8)
    assert np.array_equal(pixels.sum_high, bounds.sum_high)
    assert np.array_equal(pixels.current_high, current(sums.max(axis=0) * 255, 3, 5))


@pytest.mark.parametrize("sign, limit", [(1, 127), (-1, 128)])
def test_accumulator_limit_is_exact(sign, limit):
    config = replace(TINY, accumulator_bits=8)
    good, bad = np.zeros((3, 40), int), np.zeros((3, 40), int)
    good[1, :4] = sign * np.array([60, 60, 7, limit - 127])
    compile_network(network(dense(good)), config)
    bad[1, :4] = sign * np.array([60, 60, 7, limit - 126])
    with pytest.raises(CompileError, match=rf"'here', channel 1: .*{sign * (limit + 1)}.*bits = 9"):
        compile_network(network(dense(bad)), config)


def test_partial_sums_count_too():
    """The positive weights alone overflow, although the sum of all weights is small."""
    config = replace(TINY, accumulator_bits=8)
    with pytest.raises(CompileError, match="can reach 200"):
        compile_network(network(dense([[100, 100, -100, -100]])), config)


@pytest.mark.parametrize("bias, fits", [((1 << 23) - 1 - 100, True), ((1 << 23) - 100, False),
                                        (-(1 << 23) + 50, True), (-(1 << 23) + 49, False)])
def test_current_limit_is_exact(bias, fits):
    net = network(dense([[100, -50]], bias=bias))
    if fits:
        assert compile_network(net, TINY).report()[0].current_bits == 24
    else:
        with pytest.raises(CompileError, match=r"channel 0: its current can reach -?\d+"):
            compile_network(net, TINY)


def test_pixels_scale_the_current():
    """255 * (2^15 - 1) needs 24 bits; twice that, 25."""
    weight = np.full((1, 258), 127)
    layer = dense(weight, shift=0)
    check_layer(layer, TINY, steps=1, input_bits=8)
    with pytest.raises(CompileError, match="current_bits = 25"):
        check_layer(replace(layer, shift=np.array([-1], np.int8)), TINY, steps=1, input_bits=8)


def test_readout_limit():
    layer = dense([[1]], bias=(1 << 23) - 2, neuron=None)
    check_layer(layer, TINY, steps=256, input_bits=0)
    with pytest.raises(CompileError, match="sum over 257 steps"):
        check_layer(layer, TINY, steps=257, input_bits=0)


@pytest.mark.parametrize("shift, fits", [(-10, True), (-11, False), (21, True), (22, False)])
def test_shift_range(shift, fits):
    net = network(dense([[1]], shift=shift))
    if fits:
        compile_network(net, TINY)
    else:
        with pytest.raises(CompileError, match=rf"channel 0: shift {shift} .*-10\.\.21"):
            compile_network(net, TINY)


@pytest.mark.parametrize("change, match", [
    ({"state_bits": 14}, "the network has 12 membrane bits, the array 14"),
    ({"state_bits": 12, "fraction_bits": 9}, "10 fraction bits, the array 9"),
    ({"slots": 3}, "4 time steps, the array only 3 slots .*state_words = 1, .*slots = 4, or at "
                   "most 3 time steps"),
    ({"weight_bits": 4}, "channel 1: weight -9 of input 0 does not fit in the 4-bit"),
    ({"spike_words": 16}, "needs 44 spike words at least, the array has 16"),
    ({"weight_rows": 8}, "300 inputs do not fit in 8 weight rows"),
])
def test_refusals(change, match):
    weight = np.zeros((2, 300), int)
    weight[1, 0] = -9
    with pytest.raises(CompileError, match=match):
        compile_network(network(dense(weight)), replace(TINY, **change))


def test_too_many_bit_planes():
    with pytest.raises(CompileError, match="8 bits of a pixel, the array only 4 slots"):
        compile_network(network(dense([[1]]), input_bits=8), replace(TINY, slots=4))


@given(st.integers(-5000, 5000), st.integers(0, 5000))
def test_signed_bits(low, more):
    bits = signed_bits(low, low + more)
    assert -(1 << bits - 1) <= low and low + more < 1 << bits - 1
    assert bits == 1 or low < -(1 << bits - 2) or low + more >= 1 << bits - 2


# Unused lanes of a tile --------------------------------------------------------------------------

@st.composite
def neurons(draw, bits=8):
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    lo = draw(st.integers(low, high - 1))
    theta = draw(st.integers(lo + 1, high))
    hi = draw(st.integers(theta, high))
    soft = draw(st.booleans())
    return Neuron(square=draw(st.booleans()), soft=soft, factor=draw(st.integers(low, high)),
                  theta=theta, lo=lo, hi=hi, initial=draw(st.integers(lo, hi)),
                  reset=draw(st.integers(lo, hi)),
                  delta=draw(st.integers(0, min(theta - lo, high))) if soft else 0)


@settings(max_examples=300, deadline=None)
@given(neurons(), st.integers(4, 6))
def test_idle_channels_never_spike_from_any_state(neuron, fraction):
    config = replace(TINY, state_bits=8, fraction_bits=fraction)
    bias = idle_bias(neuron, config, 16)
    states = np.arange(neuron.lo, neuron.hi + 1, dtype=np.int64)
    for _ in range(4):
        spike, states = neuron_step(states, bias, neuron, fraction)
        assert not spike.any()
    assert -(1 << config.current_bits - 1) <= bias <= 0


@settings(max_examples=25, deadline=None)
@given(neurons(bits=18))
def test_idle_channels_where_squares_exceed_every_current(neuron):
    config = replace(TINY, state_bits=18, fraction_bits=4, current_bits=18)
    try:
        bias = idle_bias(neuron, config, 16)
    except CompileError:
        bias = np.arange(-(1 << 17), 1 << 17)               # then no current at all does
        silent = _silent(neuron, bias)
        assert not silent.any()
    else:
        assert -(1 << 17) <= bias < 1 << 17 and _silent(neuron, np.array([bias])).all()


def _silent(neuron, bias):
    w, silent = np.full(len(bias), neuron.initial), np.ones(len(bias), bool)
    for _ in range(16):
        spike, w = neuron_step(w, bias, neuron, 4)
        silent &= ~spike
    return silent


# Saturation --------------------------------------------------------------------------------------

@settings(max_examples=300, deadline=None)
@given(neurons(), st.integers(-128, 127), st.integers(-128, 127), st.integers(-60, 60),
       st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_lossless_saturation_changes_no_spike(neuron, first, second, bias, inputs):
    layer = dense([[first, second]], bias=bias, neuron=neuron)
    verdict = saturation(layer, Bounds.of(layer, 0), 5)
    if verdict == "model":
        return
    wide = replace(neuron, lo=-1 << 40, hi=1 << 40)
    w = exact = neuron.initial
    for pattern in inputs:
        j = first * (pattern & 1) + second * (pattern >> 1) + bias
        spike, w = neuron_step(w, j, neuron, 5)
        wanted, exact = neuron_step(exact, j, wide, 5)
        assert spike == wanted
        assert verdict != "none" or w == exact


def test_saturation_verdicts():
    def verdict(neuron, bias=0):
        layer = dense([[100, -100]], bias=bias, neuron=neuron)
        return saturation(layer, Bounds.of(layer, 0), 10)

    assert verdict(QIF) == "none"                           # w' >= 0 - 100 is above lo
    assert verdict(QIF, bias=-2000) == "lossless"           # (-2)^2 - 2.1 fires
    assert verdict(replace(QIF, lo=-1100), bias=-2000) == "model"
    assert verdict(replace(QIF, soft=True), bias=-2000) == "model"
    assert verdict(None) == ""


# Allocation --------------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", range(12))
def test_everything_lies_within_the_memories(seed):
    rng = np.random.default_rng(seed)
    config = ArrayConfig(
        banks=int(rng.integers(1, 10)), lanes=int(2 ** rng.integers(0, 8)), group_lanes=1,
        weight_rows=int(rng.integers(128, 600)), parameter_words=int(rng.integers(16, 100)),
        spike_words=1000, packet_words=int(2 ** rng.integers(5, 10)), sources=1, line_words=0)
    sizes = [int(n) for n in rng.integers(1, 500, rng.integers(2, 5))]
    net = random_network(rng, config, sizes, steps=4, input_bits=int(rng.integers(0, 9)))
    program = compile_network(net, config)
    assert program.network_id == compile_network(net, config).network_id != 0

    # Every weight of the network is in exactly one pass.
    for index, layer in enumerate(net.layers):
        seen = np.zeros(layer.weight.shape, int)
        for a_pass in (a_pass for a_pass in program.passes if a_pass.layer == index):
            assert a_pass.tiles <= config.banks
            source, = a_pass.sources
            first = source.first_channel(config)
            seen[a_pass.tile * config.lanes:(a_pass.tile + a_pass.tiles) * config.lanes,
                 first:first + source.channels] += 1
        assert (seen == 1).all()
    check_memories(program)

    # Packets are legal, and numbered from the tag.
    inputs = np.zeros((2, sizes[0]) if net.input_bits else (4, 2, sizes[0]), np.uint8)
    for tape in (setup_tape(program, 250), inference_tape(program, inputs, 250)):
        assert len(split(tape.to_array())) == len(tape.packets)
        for number, words in enumerate(tape.packets):
            packet = decode(words)
            assert packet.sequence == (250 + number) % 256
            assert len(packet.payload) <= config.payload_words
            if packet.opcode == Opcode.PASS:
                values = unpack(PASS, packet.payload[:PASS_WORDS])
                assert values["rounds"] < config.banks
                assert values["column"] < config.tiles_per_word


def check_memories(program):
    """Nothing that stays on the chip is overwritten, neither by other parts nor by streams."""
    config = program.config
    rows, parameters = np.zeros(config.weight_rows, int), np.zeros(config.parameter_words, int)
    for a_pass in program.passes:
        assert a_pass.weights + a_pass.rows <= config.weight_rows
        assert a_pass.tile_parameters + a_pass.tiles * config.group_lanes <= config.parameter_words
        rows[a_pass.weights:a_pass.weights + a_pass.rows] += 1 if not a_pass.streamed else 0
        if not a_pass.accumulate and not a_pass.loads_parameters:
            at = a_pass.tile_parameters
            parameters[at:at + a_pass.tiles * config.group_lanes] += 1
            parameters[a_pass.parameters:a_pass.parameters + 8] += a_pass.tile == 0
    assert rows.max(initial=0) <= 1 and parameters.max(initial=0) <= 1
    for a_pass in program.passes:
        if a_pass.streamed:
            assert not rows[a_pass.weights:a_pass.weights + a_pass.rows].any()
    assert program.memory.words <= config.spike_words
    if not program.memory.shared:
        assert not any(a.overlaps(b)
                       for a, b in itertools.combinations(program.memory.regions, 2))


def test_passes_of_a_chain_follow_each_other():
    """Sums stay in the accumulators, so no other pass runs between those of a chain."""
    rng = np.random.default_rng(0)
    config = replace(TINY, weight_rows=64)
    passes = compile_network(random_network(rng, config, (200, 30, 4), steps=2), config).passes
    assert sum(a_pass.accumulate for a_pass in passes) == 4 * 3
    for before, a_pass in itertools.pairwise(passes):
        assert a_pass.accumulate == (not before.drain)
        if a_pass.accumulate:
            assert (before.layer, before.tile) == (a_pass.layer, a_pass.tile)
            assert before.sources[0].first_word + before.sources[0].words == \
                a_pass.sources[0].first_word
    assert passes[-1].drain


def test_a_chain_of_a_thousand_layers():
    config = preset("tiny")
    network = random_network(np.random.default_rng(0), config, [4] * 1001, steps=1)
    program = compile_network(network, config)
    assert len(program.passes) == 1000 and program.memory.shared
    assert program.memory.words <= config.spike_words


def test_network_ids_differ():
    base = random_network(np.random.default_rng(0), TINY, (20, 10), steps=2)
    layer = base.layers[0]
    weight = layer.weight.copy()
    weight[0, 0] ^= 1
    others = [replace(base, steps=3), replace(base, input_bits=2),
              replace(base, layers=(replace(layer, branches=(replace(
                  layer.branches[0], weight=weight[:, :, None, None]),)),)),
              replace(base, layers=(replace(layer, bias=layer.bias + 1),))]
    streamed = replace(TINY, weight_rows=8, lanes=1, group_lanes=1, banks=8)
    assert len({compile_network(net, TINY).network_id for net in [base, *others]}) == 5
    one, other = (
        compile_network(random_network(np.random.default_rng(seed), streamed, (8, 9), steps=1),
                        streamed) for seed in (1, 2))
    assert all(a_pass.streamed for a_pass in one.passes) and one.network_id != other.network_id


def test_report():
    rng = np.random.default_rng(0)
    config = preset("default")
    net = random_network(rng, config, (784, 128, 10), steps=4, input_bits=8)
    first, last = compile_network(net, config).report()
    assert (first.passes, first.rows, first.parameter_words) == (1, 784, 8 + 16)
    assert (last.passes, last.rows, last.streamed_words, last.saturation) == (1, 128, 0, "")
    assert first.accumulator_bits <= 18


def test_input_is_loaded_while_a_pass_runs():
    net = random_network(np.random.default_rng(0), TINY, (30, 10), steps=4)
    program = compile_network(net, TINY)
    tape = inference_tape(program, np.zeros((4, 3, 30), bool))
    kinds = [decode(words).opcode.name for words in tape.packets]
    assert kinds == ["BEGIN", "SPIKES", *["PASS", "SPIKES", "PASS"] * 2, "PASS", "PASS", "REPORT"]
