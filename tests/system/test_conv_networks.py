"""End to end: random networks of convolutions, compiled and run on the Verilated array.

Kernels, strides, paddings, pools, shortcuts, odd sizes, T 1..8, 4 and 8 bits, every neuron: every
spike, every membrane potential, every logit, and the cycles of every layer.
"""

import functools

import numpy as np
import pytest

from quadfire.firmware import Accelerator
from quadfire.firmware.errors import CompileError
from quadfire.models.integer import reference
from quadfire.models.integer.random_network import random_conv_network, random_inputs
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

from tests.system.checks import assert_cycles

#: Arrays with taps and without, those of both boards among them.
ARRAYS = {
    "tiny-conv": preset("tiny-conv"),
    "default": preset("default"),
    "medium": preset("medium"),
    "small": preset("small"),
    "wide": preset("wide"),
    "no taps": ArrayConfig(banks=3, lanes=8, group_lanes=2, weight_rows=1024, slots=8,
                           line_words=0, parameter_words=512),
}

CHUNK = 10
#: (array, networks by default, networks in all)
SUITE = [("tiny-conv", 40, 220), ("default", 10, 50), ("medium", 10, 40), ("small", 10, 40),
         ("wide", 10, 40), ("no taps", 10, 40)]


@functools.cache
def device(array: str, idle: float, backpressure: float) -> Accelerator:
    config = ARRAYS[array]
    return Accelerator(VerilatedTransport(config, idle=idle, backpressure=backpressure, seed=9),
                       config)


def check(accelerator: Accelerator, seed: int) -> int:
    """One network: RTL = reference, cycles measured = predicted. Images compared, 0: refused."""
    config = accelerator.config
    rng = np.random.default_rng([seed, 4])
    channels = 24 if config.lanes <= 32 else config.lanes + 16      # all groups, and two tiles
    network = random_conv_network(rng, config, largest_map=8, largest_channels=channels)
    inputs = random_inputs(rng, network, 3)
    try:
        accelerator.load(network)
    except CompileError:
        return 0
    note = f"seed {seed}: {network.input_shape} to {network.shapes}, T {network.steps}"
    expected = reference.run(network, inputs, record=True)
    probed = accelerator.run(inputs, probe=True, spikes=True)
    _, _, first = first_mismatch(probed, expected, network)
    assert first is None, f"{note}: {first}"
    assert_cycles(accelerator, inputs, expected.spikes, note)
    return len(expected.logits)


@pytest.mark.parametrize(("array", "first"), [
    pytest.param(array, first, marks=[pytest.mark.slow] if first >= some else [])
    for array, some, most in SUITE for first in range(0, most, CHUNK)])
def test_random_networks(array, first):
    """430 networks, 90 of them by default; every other chunk under random stalls."""
    stalled = first // CHUNK % 2
    accelerator = device(array, 0.2 * stalled, 0.4 * stalled)
    compared = [check(accelerator, seed) for seed in range(first, first + CHUNK)]
    assert sum(count > 0 for count in compared) >= CHUNK * 0.6, "most networks can be compiled"
