"""Membranes as answers and counts as inputs: the driver over the Verilated array = the reference.

Also in chunks of time, and with no more words read than the answer needs.
"""

from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware import Accelerator
from quadfire.firmware.compiler.compile import compile_network
from quadfire.models.integer import MembraneAnswer, reference
from quadfire.models.integer.random_network import (
    random_conv_network,
    random_inputs,
    random_network,
)
from quadfire.rtl.contract.config import preset
from quadfire.sim.cycles import estimate
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

from tests.system.checks import assert_cycles

CONFIG = preset("tiny-conv")
ANSWERS = [MembraneAnswer(over="last"), MembraneAnswer(over="last", delta=77),
           MembraneAnswer(over="sum", delta=-5), MembraneAnswer(over="mean"),
           MembraneAnswer(over="max", delta=300)]


@pytest.fixture(scope="module")
def device():
    with Accelerator(VerilatedTransport(CONFIG, idle=0.1, seed=6), CONFIG) as accelerator:
        yield accelerator


def by_hand(answer, membranes, spikes):
    u = [w.astype(np.int64) + answer.delta * s for w, s in zip(membranes, spikes, strict=True)]
    return {"last": u[-1], "max": np.max(u, 0), "sum": sum(u), "mean": sum(u)}[answer.over]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer}-{answer.delta}")
@pytest.mark.parametrize(("steps", "chunks"), [(5, 1), (11, 2), (24, 3)])
def test_membranes_are_the_answer(device, answer, steps, chunks):
    rng = np.random.default_rng([steps, answer.delta + 1000])
    network = replace(random_network(rng, CONFIG, sizes=(30, 18, 9), steps=1, input_bits=0,
                                     readout=False), steps=steps, answer=answer)
    inputs = random_inputs(rng, network, 4)
    assert device.load(network).chunks == chunks
    expected = reference.run(network, inputs, record=True)
    assert np.array_equal(expected.logits, by_hand(
        answer, expected.membranes[-1].numpy(), expected.spikes[-1].numpy()))
    plain = device.run(inputs)
    assert plain.outputs.dtype == np.int64 and plain.membranes == [] == plain.spikes
    assert np.array_equal(plain.outputs, expected.logits)
    probed = device.run(inputs, probe=True, spikes=True)
    _, _, first = first_mismatch(probed, expected, network)
    assert first is None, first
    assert np.array_equal(probed.outputs, expected.logits) and len(probed.membranes) == 2


@pytest.mark.parametrize("answer", ANSWERS[:3], ids=str)
def test_cycles_count_the_readback(device, answer):
    rng = np.random.default_rng(3)
    network = replace(random_network(rng, CONFIG, sizes=(20, 9), steps=6, input_bits=3,
                                     readout=False), answer=answer)
    inputs = random_inputs(rng, network, 3)
    program = device.load(network)
    assert_cycles(device, inputs, reference.run(network, inputs, record=True).spikes, str(answer))
    words = estimate.estimate(program)[-1].words
    without = estimate.estimate(compile_network(replace(network, answer=None), CONFIG))[-1].words
    tiles = -(-9 // CONFIG.lanes)
    assert words - without == tiles * CONFIG.lanes * (1 if answer.over == "last" else 6)


def test_a_last_membrane_costs_one_word_an_output(device):
    """No membrane of another step or layer is read, and no spikes."""
    network = replace(random_network(np.random.default_rng(5), CONFIG, sizes=(20, 18, 9), steps=8,
                                     input_bits=0, readout=False), answer=ANSWERS[0])
    inputs = random_inputs(np.random.default_rng(5), network, 2)
    device.load(network)
    received = []
    exchange = device.transport.exchange

    def counted(packets, answers):
        for words in exchange(packets, answers):
            received.append(len(words))
            yield words

    device.transport.exchange = counted
    try:
        device.run(inputs)
    finally:
        del device.transport.exchange
    tiles = -(-9 // CONFIG.lanes)
    # header and checksum of every answer; the REPORT at the end has 8 words
    assert received == [CONFIG.lanes + 2] * tiles * 2 + [8 + 2]


@pytest.mark.parametrize(("bits", "convolutions"), [(3, True), (2, False), (1, True), (8, False)])
def test_counts(device, bits, convolutions):
    rng = np.random.default_rng(bits)
    if convolutions:
        network = random_conv_network(rng, CONFIG, largest_map=4, largest_channels=2, layers=2,
                                      steps=5, input_bits=0, readout=True)
        channels = network.input_shape[0]
        layers = []
        for layer in network.layers:        # every kernel of the input reads all planes of it
            layers.append(replace(layer, branches=tuple(
                replace(branch, weight=np.concatenate(
                    [branch.weight >> plane for plane in range(bits)], 1))
                if branch.source == -1 and branch.weight.ndim > 1 else branch
                for branch in layer.branches)))
        if any(branch.source == -1 and branch.weight.ndim == 1
               for layer in layers for branch in layer.branches):
            pytest.skip("an identity of the input")
        counted = replace(network, layers=tuple(layers), count_bits=bits)
        assert counted.shape_of(-1)[0] == bits * channels
    else:
        network = random_network(rng, CONFIG, sizes=(bits * 5, 12, 9), steps=5, input_bits=0)
        counted = replace(network, input_shape=(5, 1, 1), count_bits=bits)
    inputs = random_inputs(rng, counted, 4)
    assert inputs.max() == (1 << bits) - 1
    maps = inputs.reshape(5, 4, *counted.input_shape)
    planes = np.concatenate([maps >> bit & 1 for bit in range(bits)], axis=2)
    plain = replace(counted, input_shape=counted.planes_shape, count_bits=0)
    expected = reference.run(counted, inputs, record=True)
    assert np.array_equal(reference.run(plain, planes).logits, expected.logits)
    device.load(counted)
    got = device.run(inputs, probe=True, spikes=True)
    _, _, first = first_mismatch(got, expected, counted)
    assert first is None, first
    if counted.layers[-1].neuron is None:
        assert np.array_equal(device.run(inputs.astype(np.float32)).outputs, expected.logits)
    assert_cycles(device, inputs, expected.spikes, "counts")
    for wrong in (1 << bits, -1, 0.5, np.nan):
        bad = inputs.astype(np.float64)
        bad.flat[3] = wrong
        with pytest.raises(ValueError, match=r"counts must be whole numbers in 0\.\."):
            device.run(bad)
        with pytest.raises(ValueError, match=r"counts must be whole numbers in 0\.\."):
            reference.run(counted, bad)
