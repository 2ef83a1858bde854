"""What an error of the compiler proposes works: every array that it names is tried."""

import re
from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware import Accelerator, CompileError
from quadfire.firmware.compiler.compile import compile_network
from quadfire.models.integer import INPUT, IdentityBranch, dense, reference
from quadfire.models.integer.random_network import random_conv_network, random_inputs
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.config_file import with_changes
from quadfire.rtl.contract.numerics import Neuron

from tests.command import quadfire
from tests.firmware.compiler.test_graphs import conv, one_layer
from tests.firmware.device import FakeTransport
from tests.firmware.networks import random_network

TINY, CONV, DEFAULT = preset("tiny"), preset("tiny-conv"), preset("default")
#: Fields of an array that is proposed, as `--set` takes them.
PROPOSED = re.compile(r"use one with (\w+ = \d+(?: and \w+ = \d+)*)")


def proposed(error: CompileError, config: ArrayConfig) -> list[ArrayConfig]:
    """All arrays that an error names; fails for one that cannot be built."""
    return [with_changes(config, [change.replace(" ", "") for change in fields.split(" and ")])
            for fields in PROPOSED.findall(str(error))]


def followed(network, config, arrays: int = 6) -> list[str]:
    """Follow every remedy until the network compiles; the errors on the way.

    arrays: proposed arrays in a row at most. Where a layer has several modes, each of them may
    need something.
    """
    try:
        compile_network(network, config)
    except CompileError as error:
        errors = [str(error)]
        for other in proposed(error, config):
            assert other != config and arrays, errors
            errors += followed(network, other, arrays - 1)
        assert len(set(errors)) == len(errors) or len(proposed(error, config)) > 1, errors
        return errors
    return []


def layers(*sizes, config=DEFAULT, steps=4, bits=0, **options):
    return random_network(np.random.default_rng(3), config, sizes, steps=steps, input_bits=bits,
                          **options)


def large_sum(config):
    """A readout whose sum reaches 127 * 8192."""
    weight = np.full((1, 8192), 127, np.int8)
    layer = dense("sum", weight, source=INPUT, weight_bits=8, neuron=None,
                  shift=np.array([10], np.int8), bias=np.zeros(1, np.int32))
    return replace(layers(weight.shape[1], 1, config=config), layers=(layer,))


def identity(weight, config=CONV):
    branch = IdentityBranch(source=INPUT, weight=np.full(3, weight, np.int32))
    return one_layer(replace(config, accumulator_bits=24), (3, 6, 6), 3, branch)


CASES = {
    "slots": (layers(20, 12, 5, config=TINY, steps=12), TINY,
              r"12 time steps, the array only 8 slots .*: use one with state_words = 3, or use one "
              r"with slots = 12, or at most 8 time steps"),
    "long": (layers(20, 12, 5, steps=25), DEFAULT,
             r"25 time steps, the array only 16 slots and no memory for membranes: use one with "
             r"state_words = 1, or at most 16 time steps$"),
    "state words": (layers(20, 12, 5, config=TINY, steps=12), replace(TINY, state_words=1),
                    r"need 3 state words, the array has 1: use one with state_words = 3, or use "
                    r"one with slots = 12, or at most 8 time steps"),
    "pixels": (layers(20, 5, config=TINY, bits=8), replace(TINY, slots=4),
               "8 bits of a pixel, the array only 4 slots: use one with slots = 8"),
    "wider membranes": (layers(20, 5, config=ArrayConfig(state_bits=18, fraction_bits=16)),
                        replace(TINY, current_bits=16),
                        "use one with state_bits = 18 and fraction_bits = 16 and current_bits = "
                        "18"),
    "narrower membranes": (layers(20, 5, config=ArrayConfig(state_bits=8, fraction_bits=6)), TINY,
                           "use one with state_bits = 8 and fraction_bits = 6"),
    "spike words": (one_layer(CONV, (3, 6, 6), 4, conv(4, 3, 3, padding=1)),
                    replace(CONV, spike_words=16), "use one with spike_words = "),
    "weight rows": (layers(90, 5, config=TINY), replace(TINY, weight_rows=8),
                    "use one with weight_rows = 32"),
    "sources": (one_layer(CONV, (3, 6, 6), 3, conv(3, 3, 3, padding=1),
                          IdentityBranch(source=INPUT, weight=np.full(3, 900, np.int32))),
                replace(CONV, sources=1),
                "use one with sources = 2"),
    "a packet for the sources": (
        one_layer(CONV, (3, 6, 6), 3, conv(3, 3, 7, padding=3), conv(3, 3, 1, padding=0),
                  IdentityBranch(source=INPUT, weight=np.full(3, 900, np.int32))),
        replace(CONV, sources=1, packet_words=64), "use one with sources = 11 and packet_words = "),
    "line words": (one_layer(CONV, (3, 5, 40), 3, conv(3, 3, 3, padding=1),
                             IdentityBranch(source=INPUT, weight=np.full(3, 900, np.int32))),
                   replace(CONV, line_words=16), "use one with line_words = 128"),
    "line buffers": (identity(900), replace(TINY, accumulator_bits=24),
                     "use one with line_words = 16 and banks = 9"),
    "wide weights": (identity(40000), replace(CONV, accumulator_bits=24),
                     "40000..40000, do not fit in 15 bits: .* or use one with group_lanes = 4"),
    "accumulator": (large_sum(DEFAULT), DEFAULT, "use one with accumulator_bits = 21"),
    "4-bit weights": (layers(30, 9, steps=2, config=DEFAULT),
                      replace(preset("wide"), accumulator_bits=20),
                      "use one with weight_bits = 8 and group_lanes = 4"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_array_that_is_proposed_does(name):
    network, config, message = CASES[name]
    errors = followed(network, config)
    assert re.search(message, errors[0]), errors[0]


def test_current():
    network = layers(30, 5, config=TINY, steps=2)
    layer = network.layers[0]
    layer = replace(layer, shift=np.full(5, -9, np.int8), bias=np.full(5, 1 << 20, np.int32))
    errors = followed(replace(network, layers=(layer,)), replace(TINY, current_bits=16))
    assert "(it needs current_bits = 22): use one with current_bits = 22" in errors[0]


def huge_current():
    """A bias of 24 bits and a weight: no array has currents so wide."""
    network = layers(30, 5, config=TINY, steps=2)
    layer = replace(network.layers[0], bias=np.full(5, (1 << 23) - 1, np.int32))
    return replace(network, layers=(layer,))


@pytest.mark.parametrize(("network", "config", "message"), [
    (huge_current(), TINY,
     r"\(it needs current_bits = 25\): use a larger shift or smaller bias$"),
    (one_layer(CONV, (3, 70, 70), 3, conv(3, 3, 1), steps=17), replace(CONV, state_words=8),
     "need 4900 state words, the array has 8: at most 8 time steps$"),
    (one_layer(CONV, (3, 6, 6), 3, conv(3, 3, 1), IdentityBranch(
        source=INPUT, weight=np.full(3, 40000, np.int32))),
     replace(CONV, lanes=2, accumulator_bits=32),
     "do not fit in 15 bits: quantise them more coarsely$"),
], ids=["current", "membranes", "identity"])
def test_no_array_is_proposed_that_cannot_be_built(network, config, message):
    with pytest.raises(CompileError, match=message) as caught:
        compile_network(network, config)
    assert not any("= " in way for way in str(caught.value).split("use one with")[1:])


def starts_high(outputs: int):
    """Neurons near the top of their range: idle lanes need a current of -3094, of 13 bits."""
    layer = dense("high", np.ones((outputs, 6), np.int8), source=INPUT, weight_bits=8,
                  shift=np.full(outputs, 10, np.int8), bias=np.zeros(outputs, np.int32),
                  neuron=Neuron(square=True, soft=False, factor=0, theta=1000, lo=-1024, hi=2047,
                                initial=2047, reset=0, delta=0))
    return replace(layers(6, outputs, config=TINY, readout=False), layers=(layer,))


def test_idle_lanes():
    """What keeps unused lanes silent: more bits of a current, or no unused lane."""
    config = replace(TINY, current_bits=12)
    errors = followed(starts_high(5), config)
    assert len(errors) == 1 and "silent: make the outputs a multiple of 4 lanes, or use one " \
        "with current_bits = 13" in errors[0]
    compile_network(starts_high(8), config)


def test_a_long_sequence_runs_on_the_array_that_is_proposed():
    """25 steps on 16 slots: the state memory that the error names, then the same results."""
    network, _, _ = CASES["long"]
    with pytest.raises(CompileError) as caught:
        compile_network(network, DEFAULT)
    config = proposed(caught.value, DEFAULT)[0]
    inputs = random_inputs(np.random.default_rng(0), network, 2)
    device = Accelerator(FakeTransport(config), config)
    assert [len(span) for span in device.load(network).spans] == [13, 12]
    expected = reference.run(network, inputs)
    assert np.array_equal(device.run(inputs).outputs, expected.logits.numpy())
    compile_network(replace(network, steps=16), DEFAULT)        # "at most 16 time steps"


def test_the_commands_take_what_is_proposed(tmp_path):
    network = layers(20, 12, 5, config=TINY, steps=25)
    network.save(tmp_path / "net.safetensors")
    refused = quadfire("compile", tmp_path / "net.safetensors", "-c", "tiny")
    assert refused.status == 2 and "state_words = 3" in refused.text.replace("\n", " ")
    for command in (("compile", tmp_path / "net.safetensors"), ("verilog", "-o", tmp_path)):
        done = quadfire(*command, "-c", "tiny", "--set", "state_words=3")
        assert done.status == 0, done.text
    done = quadfire("compile", tmp_path / "net.safetensors", "-c", tmp_path / "quadfire.json")
    assert done.status == 0


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_on_arrays_that_are_too_small(seed):
    """Whatever is missing, one comes to an array that does by doing what the errors say."""
    rng = np.random.default_rng([seed, 5])
    network = random_conv_network(rng, CONV, largest_map=9, largest_channels=12, layers=3)
    steps = int(rng.integers(1, 30))
    network = replace(network, steps=steps)
    config = replace(
        CONV, slots=int(rng.integers(1, 9)), accumulator_bits=int(rng.integers(8, 14)),
        current_bits=int(rng.integers(12, 21)), weight_rows=int(rng.integers(8, 60)),
        spike_words=int(rng.integers(16, 80)), sources=int(rng.integers(1, 9)),
        state_words=int(rng.integers(0, 2) * rng.integers(1, 20)),
        **({"line_words": 0} if seed % 3 == 0 else {}))
    for _ in range(12):
        try:
            program = compile_network(network, config)
            break
        except CompileError as error:
            choices = proposed(error, config)
            assert choices, error
            config = choices[int(rng.integers(len(choices)))]
    assert program.network.steps == steps
