"""End to end: random networks of convolutions, compiled and run on the Verilated array.

Kernels, strides, paddings, pools, shortcuts, odd sizes, T 1..8, 4 and 8 bits, every neuron: every
spike, every membrane potential, every logit, and the cycles of every layer.
"""

import functools

import numpy as np
import pytest
import torch
from torch.nn import functional

from quadfire.firmware import Accelerator
from quadfire.firmware.errors import CompileError
from quadfire.models.integer import INPUT, ConvBranch, IntegerLayer, IntegerNetwork, reference
from quadfire.models.integer.random_network import random_conv_network, random_inputs
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.numerics import Neuron
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
PAIRS = [("tiny-conv", 20, 220), ("default", 10, 60), ("medium", 0, 40), ("small", 0, 40),
         ("wide", 0, 40), ("no taps", 10, 40)]


@functools.cache
def device(array: str, idle: float, backpressure: float) -> Accelerator:
    config = ARRAYS[array]
    return Accelerator(VerilatedTransport(config, idle=idle, backpressure=backpressure, seed=9),
                       config)


def check(accelerator: Accelerator, seed: int, pairs: float = 0.0) -> int:
    """One network: RTL = reference, cycles measured = predicted. Images compared, 0: refused."""
    config = accelerator.config
    rng = np.random.default_rng([seed, 4])
    channels = 24 if config.lanes <= 32 else config.lanes + 16      # all groups, and two tiles
    network = random_conv_network(rng, config, largest_map=8, largest_channels=channels,
                                  pairs=pairs)
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


def params(suite: list[tuple[str, int, int]]) -> list:
    """(array, first seed) of every chunk; those beyond the default ones are slow."""
    return [pytest.param(array, first, marks=[pytest.mark.slow] if first >= some else [])
            for array, some, most in suite for first in range(0, most, CHUNK)]


@pytest.mark.parametrize(("array", "first"), params(SUITE))
def test_random_networks(array, first):
    """430 networks, 90 of them by default; every other chunk under random stalls."""
    stalled = first // CHUNK % 2
    accelerator = device(array, 0.2 * stalled, 0.4 * stalled)
    compared = [check(accelerator, seed) for seed in range(first, first + CHUNK)]
    assert sum(count > 0 for count in compared) >= CHUNK * 0.6, "most networks can be compiled"


@pytest.mark.parametrize(("array", "first"), params(PAIRS))
def test_random_networks_of_pairs(array, first):
    """Rows and columns of kernels, strides, paddings and pools drawn one by one; signals too."""
    stalled = first // CHUNK % 2
    accelerator = device(array, 0.2 * stalled, 0.4 * stalled)
    compared = [check(accelerator, seed, pairs=0.5) for seed in range(first, first + CHUNK)]
    assert sum(count > 0 for count in compared) >= CHUNK * 0.6, "most networks can be compiled"


@pytest.mark.parametrize("array", ["tiny-conv", "default", "no taps"])
@pytest.mark.parametrize(("shape", "kernel", "stride", "padding"), [
    ((4, 1, 23), (1, 5), (2, 1), (0, 2)), ((4, 1, 23), (1, 3), (1, 3), (0, 1)),
    ((2, 9, 7), (3, 1), (2, 1), (1, 0)), ((3, 7, 8), (3, 5), (1, 2), (2, 0))])
def test_a_convolution_of_torch(array, shape, kernel, stride, padding):
    """Membranes of neurons that only add up: after a step they are the sums of torch's conv2d."""
    accelerator = device(array, 0.0, 0.0)
    config, rng = accelerator.config, np.random.default_rng(19)
    one = 1 << config.fraction_bits
    adds_up = Neuron(square=False, soft=False, factor=one, theta=config.state_max, delta=0,
                     lo=config.state_min, hi=config.state_max, initial=0, reset=0)
    weight = rng.integers(-8, 8, (6, shape[0], *kernel)).astype(np.int8)
    branch = ConvBranch(source=INPUT, weight=weight, stride=stride, padding=padding)
    made = branch.output_shape(shape)
    whole = ConvBranch(source=0, weight=np.ones((2, *made), np.int8))
    layers = tuple(IntegerLayer(
        name=name, branches=(reads,), weight_bits=config.weight_bits, neuron=neuron,
        shift=np.zeros(reads.outputs, np.int8), bias=np.zeros(reads.outputs, np.int32))
        for name, reads, neuron in (("conv", branch, adds_up), ("readout", whole, None)))
    accelerator.load(IntegerNetwork(
        input_shape=shape, layers=layers, steps=1, input_bits=0, state_bits=config.state_bits,
        fraction_bits=config.fraction_bits))
    spikes = (rng.random((1, 5, *shape)) < 0.5).astype(np.uint8)
    membranes = accelerator.run(spikes, probe=True).membranes[0]
    want = functional.conv2d(torch.from_numpy(spikes[0]).double(),
                             torch.from_numpy(weight).double(), stride=stride, padding=padding)
    assert np.array_equal(membranes[0], want.numpy()) and want.abs().max() > 9
