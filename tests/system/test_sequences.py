"""Sequences longer than the slots run in chunks, with every membrane kept between them."""

from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware import Accelerator, CompileError
from quadfire.firmware.compiler.compile import compile_network
from quadfire.models.integer import reference
from quadfire.models.integer.random_network import (
    random_conv_network,
    random_inputs,
    random_network,
)
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

from tests.system.checks import assert_cycles

CONFIG = preset("tiny-conv")
#: Time steps, and those of the chunks on 8 slots.
STEPS = {9: (5, 4), 12: (6, 6), 11: (6, 5), 17: (6, 6, 5), 24: (8, 8, 8)}


@pytest.fixture(scope="module")
def device():
    with Accelerator(VerilatedTransport(CONFIG, idle=0.1, seed=5), CONFIG) as accelerator:
        yield accelerator


def network_of(seed: int, steps: int, convolutions: bool):
    """A random network whose membranes fit, with more steps than random networks have."""
    rng = np.random.default_rng([seed, steps])
    while True:
        if convolutions:
            network = random_conv_network(rng, CONFIG, largest_map=4, largest_channels=6, layers=2,
                                          steps=1, readout=bool(seed % 2))
        else:
            network = random_network(rng, CONFIG, sizes=(30, 18, 9), steps=1,
                                     readout=bool(seed % 2))
        network = replace(network, steps=steps)
        try:
            compile_network(network, CONFIG)
        except CompileError:
            continue
        return network, random_inputs(rng, network, 3)


@pytest.mark.parametrize("convolutions", [False, True], ids=["dense", "conv"])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("seed", range(2))
def test_random_networks(device, seed, steps, convolutions):
    network, inputs = network_of(seed, steps, convolutions)
    program = device.load(network)
    assert tuple(map(len, program.spans)) == STEPS[steps]
    expected = reference.run(network, inputs, record=True)
    outputs = device.run(inputs, probe=True, spikes=True)
    compared, _, first = first_mismatch(outputs, expected, network)
    assert first is None, first
    assert compared["membrane"] >= steps * 3 * 9 * (not convolutions)
    if network.layers[-1].neuron is not None:
        assert np.array_equal(outputs.outputs, expected.spikes[-1].numpy())
    assert_cycles(device, inputs, expected.spikes, f"{steps} steps")


def test_without_a_state_memory_a_long_sequence_is_refused():
    network, _ = network_of(1, 12, False)
    config = replace(CONFIG, state_words=0)
    with pytest.raises(CompileError, match="12 time steps, the array only 8 slots and no memory"):
        compile_network(network, config)


def test_membranes_that_do_not_fit_are_refused():
    network, _ = network_of(1, 12, False)
    tiles = -(-18 // CONFIG.lanes)
    with pytest.raises(CompileError, match=f"need {tiles} state words, the array has 2"):
        compile_network(network, replace(CONFIG, state_words=2))
    assert compile_network(network, replace(CONFIG, state_words=tiles)).chunks == 2


def test_slots_that_suffice_make_one_chunk():
    network, _ = network_of(0, 12, False)
    config = ArrayConfig(**{**CONFIG.as_dict(), "slots": 16, "line_words": 256})
    assert compile_network(network, config).chunks == 1
