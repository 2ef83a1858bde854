"""End to end: random networks on the Verilated array equal the integer reference.

Every spike, every membrane potential after its reset, every logit, and the cycles of every layer.
"""

import functools

import numpy as np
import pytest

from quadfire.firmware import Accelerator
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

from tests.system.checks import assert_cycles

#: Arrays that differ in every dimension, those of both boards among them. A few networks need more
#: memory than `tiny` has.
ARRAYS = {
    "default": preset("default"),
    "medium": preset("medium"),
    "small": preset("small"),
    "wide": preset("wide"),
    "four_bits": ArrayConfig(banks=2, lanes=64, weight_bits=4, weight_rows=1024, slots=8,
                             line_words=0),
    "narrow": ArrayConfig(banks=3, lanes=8, group_lanes=2, state_bits=8, fraction_bits=6, slots=8,
                          line_words=0, current_bits=20, parameter_words=1024),
    "one_lane": ArrayConfig(banks=1, lanes=1, group_lanes=1, weight_rows=256, slots=8,
                            line_words=0, state_bits=18, fraction_bits=15, spike_words=512,
                            parameter_words=1024),
}

#: (array, how many networks, largest layer)
SUITE = [("default", 80, 700), ("medium", 20, 300), ("small", 20, 300), ("wide", 10, 700),
         ("four_bits", 60, 700), ("narrow", 50, 300), ("one_lane", 20, 24)]
CHUNK = 5


@functools.cache
def device(array: str, idle: float, backpressure: float) -> Accelerator:
    config = ARRAYS[array]
    return Accelerator(VerilatedTransport(config, idle=idle, backpressure=backpressure, seed=7),
                       config)


def check(accelerator: Accelerator, network: IntegerNetwork, inputs: np.ndarray, note: str) -> None:
    """RTL = reference, and cycles measured = cycles predicted where nothing stalls."""
    accelerator.load(network)
    expected = reference.run(network, inputs, record=True)
    probed = accelerator.run(inputs, probe=True, spikes=True)
    _, _, first = first_mismatch(probed, expected, network)
    assert first is None, f"{note}: {first}"
    if network.layers[-1].neuron is not None:
        for layer, (got, want) in enumerate(zip(probed.spikes, expected.spikes, strict=True)):
            assert np.array_equal(got, want.numpy()), f"{note}: spikes of layer {layer}"
        for layer, (got, want) in enumerate(zip(probed.membranes, expected.membranes, strict=True)):
            assert np.array_equal(got, want.numpy()), f"{note}: membranes of layer {layer}"
        assert np.array_equal(probed.outputs, expected.spikes[-1].numpy()), note
    assert_cycles(accelerator, inputs, expected.spikes, note)


@pytest.mark.parametrize("array, first, largest", [
    (array, first, largest) for array, count, largest in SUITE
    for first in range(0, count, CHUNK)])
def test_random_networks(array, first, largest):
    """260 networks; every other chunk under random stalls of both streams."""
    stalled = first // CHUNK % 2
    accelerator = device(array, 0.2 * stalled, 0.4 * stalled)
    for seed in range(first, first + CHUNK):
        rng = np.random.default_rng([seed, largest])
        network = random_network(rng, ARRAYS[array], largest_size=largest)
        inputs = random_inputs(rng, network, 3)
        sizes = [network.inputs, *(layer.outputs for layer in network.layers)]
        check(accelerator, network, inputs, f"{array}, seed {seed}: {sizes}, T {network.steps}, "
                                            f"{network.input_bits}-bit inputs")


@pytest.mark.parametrize("array", ["default", "medium", "small", "wide", "narrow"])
def test_a_host_that_hardly_reads(array):
    """A word in a hundred cycles, as behind a UART: passes are shorter than answers take to go."""
    accelerator = device(array, 0.0, 0.99)
    for seed in range(3):
        rng = np.random.default_rng([seed, 40])
        network = random_network(rng, ARRAYS[array], largest_size=40)
        check(accelerator, network, random_inputs(rng, network, 2), f"{array}, seed {seed}")


@pytest.mark.parametrize("bits", [8, 4])
def test_the_trained_network(bits):
    from quadfire.models.datasets import mnist5k

    images, labels = mnist5k().held_out_set
    chosen = np.arange(0, len(images), 25)
    network = IntegerNetwork.load(PRETRAINED / f"mnist5k-784-128-10-int{bits}.safetensors")
    accelerator = device("default", 0.0, 0.0)
    check(accelerator, network, images.numpy()[chosen], f"{bits}-bit weights")
    classes = accelerator.run(images.numpy()[chosen]).outputs.argmax(axis=1)
    assert (classes == labels.numpy()[chosen]).mean() > 0.9
