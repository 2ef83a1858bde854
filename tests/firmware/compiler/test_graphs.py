"""Graphs of convolutions, run on the device in numpy, equal the reference.

In kernel passes that device adds what wraps over the ends of rows where the hardware does. So a
raster that is too narrow or too short shows.
"""

import collections
import cProfile
from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware import Accelerator, CompileError
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.mapping import mappings
from quadfire.firmware.compiler.schedule import Fetch, Load, Run
from quadfire.firmware.driver.session import inference_tape
from quadfire.models.integer import (
    INPUT,
    ConvBranch,
    IdentityBranch,
    IntegerLayer,
    IntegerNetwork,
    Pool,
    reference,
)
from quadfire.models.integer.random_network import random_conv_network, random_inputs
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import Opcode
from quadfire.sim.cycles import network_model
from quadfire.sim.cycles.estimate import estimate

from tests.firmware.compiler.test_compile import check_memories
from tests.firmware.device import FakeTransport
from tests.firmware.networks import random_neuron, residual_network

CONV = preset("tiny-conv")
ARRAYS = {
    "tiny-conv": CONV,
    "32 lanes": ArrayConfig(weight_rows=512, slots=8, line_words=128, spike_words=1024,
                            parameter_words=64),
    "64 lanes": ArrayConfig(lanes=64, group_lanes=8, weight_bits=4, weight_rows=512, slots=8,
                            line_words=128, spike_words=1024, parameter_words=64),
    "no taps": replace(preset("tiny"), weight_rows=512, spike_words=1024),
}


def check(program, inputs, *, late=False, seed=0):
    """Spikes, membranes, outputs and events of the device equal those of the reference."""
    network = program.network
    expected = reference.run(network, inputs, record=True)
    device = Accelerator(FakeTransport(program.config, late=late, seed=seed), program.config)
    device.load(program)
    probed = device.run(inputs, probe=True, spikes=True)
    spikes = [array for array in probed.spikes if array is not None]
    for what, got, want in (("spikes", spikes, expected.spikes),
                            ("membranes", probed.membranes, expected.membranes)):
        for layer, (one, other) in enumerate(zip(got, want, strict=True)):
            assert one.shape == tuple(other.shape), (what, layer)
            assert np.array_equal(one, other.numpy()), f"{what} of layer {layer}"
    plain = device.run(inputs, profile=True)
    want = expected.logits if network.layers[-1].neuron is None else expected.spikes[-1]
    assert np.array_equal(plain.outputs, want.numpy())
    assert np.array_equal(probed.outputs, want.numpy())
    predicted = network_model.predict(program, inputs, [layer.numpy() for layer in expected.spikes])
    events = predicted[:, :, network_model.CLASSES.index("events")].sum()
    assert plain.counters["events"] == probed.counters["events"] == events


@pytest.mark.parametrize("pairs", [0.0, 0.5], ids=["one value", "pairs"])
@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("first", range(0, 9, 3))
def test_random_networks(name, first, pairs):
    compiled = 0
    for seed in range(first, first + 3):
        rng = np.random.default_rng([seed, len(name)])
        network = random_conv_network(rng, ARRAYS[name], largest_map=8, largest_channels=24,
                                      pairs=pairs)
        try:
            program = compile_network(network, ARRAYS[name])
        except CompileError as error:
            assert "identity" in str(error) and name == "no taps" or \
                pairs and "padding of the pool of branch" in str(error)
            continue
        compiled += 1
        check(program, random_inputs(rng, network, 2), late=bool(seed % 2), seed=seed)
    assert compiled


# One layer at a time, in every mode --------------------------------------------------------------

def one_layer(config, shape, outputs, *branches, steps=2, input_bits=0):
    """A network of one layer of some branches, and a readout of its sum."""
    rng = np.random.default_rng(outputs)

    def layer(name, branches, neuron, shift):
        return IntegerLayer(name=name, branches=branches, weight_bits=config.weight_bits,
                            neuron=neuron, shift=np.full(branches[0].outputs, shift, np.int8),
                            bias=np.full(branches[0].outputs, -40, np.int32))

    made = layer("conv", branches, random_neuron(rng, config), 0)
    _, height, width = made.output_shape(lambda source: shape)
    readout = ConvBranch(source=0, weight=np.ones((1, outputs, height, width), np.int8))
    return IntegerNetwork(
        input_shape=shape, layers=(made, layer("sum", (readout,), None, 0)), steps=steps,
        input_bits=input_bits, state_bits=config.state_bits, fraction_bits=config.fraction_bits)


def conv(outputs, channels, kernel, *, seed=0, **options):
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    weight = np.random.default_rng(seed).integers(-8, 8, (outputs, channels, *kernel))
    return ConvBranch(source=INPUT, weight=weight.astype(np.int8), **options)


LAYERS = {
    "3 x 3": ((5, 6, 7), conv(6, 5, 3, padding=1)),
    "3 x 3, valid": ((5, 6, 7), conv(6, 5, 3)),
    "3 x 3, padding 2": ((5, 4, 3), conv(6, 5, 3, padding=2)),
    "3 x 3, stride 2": ((3, 7, 6), conv(5, 3, 3, padding=1, stride=2)),
    "3 x 3, stride 4": ((3, 9, 6), conv(5, 3, 3, padding=1, stride=4)),
    "3 x 3, stride 3": ((3, 9, 6), conv(5, 3, 3, padding=1, stride=3)),
    "1 x 1": ((40, 3, 4), conv(6, 40, 1)),
    "1 x 1, stride 2": ((4, 5, 6), conv(6, 4, 1, stride=2)),
    "2 x 2": ((4, 5, 4), conv(3, 4, 2, padding=1)),
    "5 x 5": ((3, 6, 5), conv(4, 3, 5, padding=2)),
    "7 x 7, padding 1": ((2, 8, 7), conv(4, 2, 7, padding=1)),
    "1 x 3": ((3, 4, 6), conv(4, 3, (1, 3))),
    "3 x 1": ((3, 5, 1), conv(4, 3, (3, 1))),
    "one row": ((3, 1, 9), conv(4, 3, 3, padding=1)),
    "sum of 2 x 2": ((3, 8, 7), conv(4, 3, 3, padding=1,
                                     pool=Pool(kind="sum", size=2, stride=2))),
    "largest of 2 x 2": ((40, 8, 7), conv(4, 40, 3, padding=1,
                                          pool=Pool(kind="max", size=2, stride=2))),
    "overlapping, padded": ((3, 8, 8), conv(4, 3, 3, padding=1, pool=Pool(
        kind="max", size=3, stride=2, padding=1))),
    "pool of stride 1": ((3, 5, 5), conv(4, 3, 3, padding=1, pool=Pool(
        kind="sum", size=2, stride=1))),
    "stride (2, 1)": ((3, 8, 6), conv(5, 3, 3, padding=1, stride=(2, 1))),
    "stride (1, 2)": ((3, 5, 9), conv(5, 3, 3, padding=(2, 1), stride=(1, 2))),
    "stride (4, 2)": ((3, 9, 6), conv(5, 3, (2, 3), padding=1, stride=(4, 2))),
    "stride (2, 3)": ((3, 9, 7), conv(5, 3, 3, padding=1, stride=(2, 3))),
    "5 x 1, stride (1, 3)": ((3, 6, 8), conv(4, 3, (5, 1), padding=(2, 0), stride=(1, 3))),
    "a signal": ((4, 1, 23), conv(6, 4, (1, 5), padding=(0, 2), stride=(2, 1))),
    "a signal, stride 2": ((4, 1, 23), conv(6, 4, (1, 5), padding=(0, 2), stride=(1, 2))),
    "a column": ((4, 17, 1), conv(6, 4, (3, 1), padding=(1, 0), stride=(2, 1))),
    "padding (0, 2)": ((3, 5, 4), conv(6, 3, 3, padding=(0, 2))),
    "sum of 1 x 3": ((3, 4, 9), conv(4, 3, 3, padding=1, pool=Pool(
        kind="sum", size=(1, 3), stride=(1, 2), padding=(0, 1)))),
    "largest of 3 x 2": ((3, 7, 6), conv(4, 3, (3, 1), padding=(1, 0), pool=Pool(
        kind="max", size=(3, 2), stride=(2, 1), padding=(1, 0)))),
    "sum of 2 x 3, padding (0, 1)": ((3, 6, 7), conv(4, 3, 2, stride=(1, 2), pool=Pool(
        kind="sum", size=(2, 3), stride=(2, 1), padding=(0, 1)))),
    "pool of a signal": ((3, 1, 20), conv(4, 3, (1, 3), padding=(0, 1), pool=Pool(
        kind="max", size=(1, 3), stride=(1, 2), padding=(0, 1)))),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_mode_of_a_layer(name, monkeypatch):
    """The result is the same in every mode."""
    shape, branch = LAYERS[name]
    network = one_layer(CONV, shape, branch.outputs, branch)
    found, _ = mappings(network, 0, CONV)
    assert "dense" in found and len(found) >= 2
    for passes in found.values():
        def chosen(inner, layer, config, passes=passes):
            return passes if layer == 0 else mappings(inner, 1, config)[0]["dense"]

        monkeypatch.setattr("quadfire.firmware.compiler.compile._fastest", chosen)
        program = compile_network(network, CONV)
        rng = np.random.default_rng(1)
        check(program, random_inputs(rng, network, 3))


def test_rows_and_columns_of_a_stride_are_mapped_each_for_itself():
    """Kernel mode keeps blocks on the axis whose stride is that of the pass."""
    def kernel_passes(shape, branch):
        found, _ = mappings(one_layer(CONV, shape, branch.outputs, branch), 0, CONV)
        return {mode: passes[0] for mode, passes in found.items() if mode.startswith("kernel")}

    both = kernel_passes((3, 9, 9), conv(5, 3, 3, padding=1, stride=(2, 1)))
    assert [*both] == ["kernel"] and len(both["kernel"].sources) == 3
    assert {source.single_tap for source in both["kernel"].sources} == {(True, False)}
    both = kernel_passes((3, 9, 9), conv(5, 3, 3, padding=1, stride=(4, 2)))
    assert [*both] == ["kernel", "kernel of stride 2"]
    assert [len(found.sources) for found in both.values()] == [9, 3]
    # One row of outputs: the stride of the rows is not seen, whatever it is.
    for stride in ((7, 1), 1):
        found = kernel_passes((4, 1, 23), conv(6, 4, (1, 5), padding=(0, 2), stride=stride))
        assert [*found] == ["kernel"] and len(found["kernel"].sources) == 2


def test_what_each_mode_is_for():
    """Kernel for 3 x 3 where many channels come in, tiles for 1 x 1, dense for whole maps."""
    for mode, branch in (("kernel", conv(4, 40, 3, padding=1)), ("tiles", conv(36, 40, 1)),
                         ("dense", conv(36, 40, 6))):
        config = replace(CONV, weight_rows=2048)
        program = compile_network(one_layer(config, (40, 6, 6), branch.outputs, branch), config)
        assert program.layers[0].mode == mode


def test_gain_repeats_the_events():
    network = one_layer(CONV, (3, 4, 4), 5, conv(5, 3, 3, padding=1), conv(5, 3, 1, gain=3, seed=1))
    program = compile_network(network, CONV)
    assert max(len(a_pass.sources) for a_pass in program.passes) >= 4
    check(program, random_inputs(np.random.default_rng(0), network, 3))


def test_pixels_of_an_image():
    network = one_layer(CONV, (3, 7, 6), 5, conv(5, 3, 3, padding=1), input_bits=8, steps=3)
    check(compile_network(network, CONV), random_inputs(np.random.default_rng(0), network, 3))


# Residual networks, memory -----------------------------------------------------------------------

@pytest.mark.parametrize("name, late", [("tiny-conv", True), ("32 lanes", False),
                                        ("64 lanes", True)])
def test_residual_networks(name, late):
    config = ARRAYS[name]
    network = residual_network(config, 8, (8, 16), steps=2, input_bits=2)
    program = compile_network(network, config)
    assert any(source.wide for a_pass in program.passes for source in a_pass.sources)
    check_memories(program)
    check(program, random_inputs(np.random.default_rng(0), network, 2), late=late)


def test_an_identity_is_overwritten():
    """The sum replaces the map that it adds, if no later layer reads that."""
    config = ARRAYS["32 lanes"]
    network = residual_network(config, 6, (40,), steps=2, input_bits=0)
    program = compile_network(network, replace(config, spike_words=330))
    assert not program.memory.on_host
    places = {branch.source: layer for layer, made in enumerate(network.layers)
              for branch in made.branches if isinstance(branch, IdentityBranch)}
    assert places
    for source, layer in places.items():
        assert program.memory.outputs[source] == program.memory.outputs[layer]
    check(program, random_inputs(np.random.default_rng(0), network, 1))


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
@pytest.mark.parametrize("buffers", [1, 2])
def test_an_identity_of_the_input(buffers, late):
    """The sum replaces the input only where that has one buffer: the next image lies in the other.
    """
    rng, shape = np.random.default_rng(2), (6, 4, 4)
    config = ARRAYS["32 lanes"]

    def layer(*branches):
        return IntegerLayer(name=f"reads {branches[0].source}", branches=branches, weight_bits=8,
                            neuron=random_neuron(rng, config), shift=np.full(6, -4, np.int8),
                            bias=np.full(6, -40, np.int32))

    identity = IdentityBranch(source=INPUT, weight=rng.integers(-99, 99, 6).astype(np.int32))
    inner = replace(conv(6, 6, 3, padding=1), source=0)
    readout = ConvBranch(source=1, weight=np.ones((6, 6, 4, 4), np.int8))
    network = IntegerNetwork(
        input_shape=shape, layers=(layer(conv(6, 6, 3, padding=1)), layer(inner, identity),
                                   layer(readout)),
        steps=4, input_bits=0, state_bits=config.state_bits, fraction_bits=config.fraction_bits)
    program = compile_network(network, config if buffers == 2 else replace(config, spike_words=140))
    assert program.layers[1].mode == "kernel" and not program.memory.on_host
    places = program.memory
    assert len(places.inputs) == buffers
    assert (places.outputs[1] == places.inputs[0]) == (buffers == 1)
    check(program, random_inputs(rng, network, 5), late=late)


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
@pytest.mark.parametrize("words", [74, 150])
def test_maps_of_the_host(words, late):
    """Less spike memory means smaller segments and the same results."""
    config = replace(CONV, spike_words=words)
    network = residual_network(config, 6, (6,), steps=2, input_bits=2, kernel=5)
    program = compile_network(network, config)
    assert program.memory.on_host and program.memory.words <= words
    count = collections.Counter(type(action) for action in program.actions)
    assert count[Load] and count[Fetch] and count[Run] > len(program.passes)
    assert sum(layer.map_words for layer in program.layers) > 0
    with pytest.raises(ValueError, match="more than one tape"):
        inference_tape(program, np.zeros((1, *network.input_shape), np.uint8))
    check(program, random_inputs(np.random.default_rng(0), network, 2), late=late)


def test_a_layer_that_reads_only_padding_of_a_map_of_the_host():
    """Rows -1 and 2 of a map of two: nothing has to be sent, so it needs no space of its own."""
    config = replace(preset("tiny"), spike_words=64)
    branch = conv(3, 1, (1, 3), stride=3, padding=1)
    network = one_layer(config, (1, 2, 60), 3, branch, steps=1)
    program = compile_network(network, config)
    assert program.memory.on_host == {INPUT} and not program.memory.workspaces
    check(program, random_inputs(np.random.default_rng(0), network, 2))


@pytest.mark.parametrize("images", [1, 3])
def test_a_map_of_the_host_of_which_no_layer_reads_a_pixel(images):
    """The host has fetched all of it by the end of its image."""
    config = replace(preset("tiny"), spike_words=64)
    padded = one_layer(config, (1, 2, 24), 3, conv(3, 1, (1, 3), stride=3, padding=1), steps=1)
    first = one_layer(config, (1, 2, 24), 1, conv(1, 1, 1), steps=1).layers[0]
    layers = [replace(layer, name=f"layer{1 + source}", branches=(
        replace(layer.branches[0], source=source),)) for source, layer in enumerate(padded.layers)]
    network = replace(padded, layers=(first, *layers))
    program = compile_network(network, config)
    assert 0 in program.memory.on_host
    assert not any(isinstance(action, Load) and action.map == 0 for action in program.actions)
    check(program, random_inputs(np.random.default_rng(0), network, images))


@pytest.mark.parametrize("branch", [conv(3, 2, (1, 5), stride=(5, 1), padding=(2, 0)),
                                    conv(3, 2, (5, 1), stride=(1, 5), padding=(0, 2))])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_layer_that_reads_nothing_but_padding(name, branch):
    """Its only output lies beside the map: the sum is 0, the current its bias."""
    config, shape = ARRAYS[name], (2, *(1 if n == 1 else 5 for n in branch.kernel))
    network = one_layer(config, shape, 3, branch)
    assert network.shapes[0] == (3, 1, 1)
    check(compile_network(network, config), random_inputs(np.random.default_rng(0), network, 2))


def test_many_runs_are_scheduled_in_linear_time():
    """Four times the outputs, each with runs of its own: calls grow with them, not faster."""
    config = replace(preset("tiny"), spike_words=40, accumulator_bits=20)

    def calls(height: int) -> tuple[int, int]:
        network = one_layer(config, (4, height, 4), 2, conv(2, 4, 4), steps=1)
        profile = cProfile.Profile()
        program = profile.runcall(compile_network, network, config)
        assert program.memory.on_host and program.layers[0].mode == "dense"
        return len(program.actions), sum(entry.callcount for entry in profile.getstats())

    (few, short), (many, long) = calls(28), calls(103)
    assert many > 3.9 * few and long < 4.5 * short


def chunked(steps, bits, words=1024):
    """A residual network on 8 slots: its program, in chunks of time."""
    config = replace(CONV, spike_words=words, state_words=512, weight_rows=40)
    return compile_network(residual_network(
        config, 6, (6,), steps=steps, input_bits=bits, blocks=(1,)), config)


@pytest.mark.parametrize(("bits", "late"), [(0, False), (3, True)], ids=["spikes", "pixels"])
@pytest.mark.parametrize(("steps", "words", "lengths"), [
    (11, 1024, [6, 5]), (17, 230, [6, 6, 5]), (16, 300, [8, 8])])
def test_long_sequences(steps, words, lengths, bits, late):
    """Chunks of unequal length: on the chip or with maps of the host, with streamed weights."""
    program = chunked(steps, bits, words)
    assert [len(span) for span in program.spans] == lengths
    assert bool(program.memory.on_host) == (words < 1024)
    assert any(a_pass.streamed for a_pass in program.passes)
    check(program, random_inputs(np.random.default_rng(0), program.network, 2), late=late)


def test_a_prime_number_of_steps_costs_what_its_neighbours_cost():
    """Cycles of an image grow with the steps; where a chunk is added, by its overhead alone."""
    def cycles(steps: int) -> int:
        return sum(layer.estimated_cycles for layer in chunked(steps, 0).layers)

    costs = {steps: cycles(steps) / steps for steps in range(9, 33)}
    for prime in (11, 13, 17, 19, 23, 29, 31):
        assert 0.9 < costs[prime] / costs[prime - 1] < 1.1


def test_a_report_is_that_of_all_chunks():
    """What is sent and computed for an image is the sum over its chunks."""
    for steps, words in ((11, 1024), (17, 230)):
        program = chunked(steps, 0, words)
        inputs = random_inputs(np.random.default_rng(0), program.network, 1)
        device = Accelerator(FakeTransport(program.config), program.config)
        device.load(program)
        sent = []
        device.transport.tamper = lambda _, packet, sent=sent: sent.append(packet) or packet
        device.run(inputs)
        length = {opcode: sum(len(packet) - 2 - (opcode != Opcode.READ) for packet in sent
                              if int(packet[0]) >> 24 == opcode) for opcode in Opcode}
        read = sum(int(packet[2]) for packet in sent if int(packet[0]) >> 24 == Opcode.READ)
        layers = program.layers
        assert sum(layer.map_words for layer in layers) + program.input_words == \
            length[Opcode.SPIKES] + read
        assert sum(layer.streamed_words for layer in layers) == \
            length[Opcode.WEIGHTS] + length[Opcode.PARAMETERS]
        assert sum(layer.words for layer in estimate(program)) == \
            length[Opcode.SPIKES] + read + length[Opcode.WEIGHTS] + length[Opcode.PARAMETERS]


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
def test_streamed_weights_load_while_a_pass_runs(late):
    config = replace(CONV, weight_rows=64, parameter_words=32)
    network = residual_network(config, 5, (16,), steps=2, input_bits=0)
    program = compile_network(network, config)
    streamed = [a_pass for a_pass in program.passes if a_pass.streamed]
    assert len(streamed) > 4 and all(a_pass.loads_parameters for a_pass in program.passes)
    inputs = random_inputs(np.random.default_rng(0), network, 2)
    packets = [int(words[0]) >> 24 for words in inference_tape(program, inputs).packets]
    assert packets.count(Opcode.WAIT) < packets.count(Opcode.PASS)
    check(program, inputs, late=late)


def test_resnet19_fits_on_the_large_array():
    """At CIFAR's shape and T = 4, all maps stay on the chip and weights stream tile by tile."""
    config = preset("large")
    network = residual_network(config, 32, (128, 256, 512), blocks=(3, 3, 2), steps=4,
                               input_bits=8, dense=256)
    program = compile_network(network, config)
    check_memories(program)
    assert not program.memory.on_host and program.memory.words == config.spike_words == 16384
    assert len(network.layers) == 19
    estimated = sum(layer.estimated_cycles for layer in program.layers)
    assert 3.0e6 < estimated < 4.5e6


# Refusals ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("branches, change, match", [
    ((conv(4, 3, 3, padding=1),), {"spike_words": 16}, "needs .* spike words at least"),
    ((IdentityBranch(source=INPUT, weight=np.array([40000, 1, 1], np.int32)),),
     {"accumulator_bits": 20}, "layer 'conv': .*identity, 1..40000, do not fit in 15 bits"),
    ((conv(4, 3, 1, pool=Pool(kind="sum", size=40, stride=40)),), {"accumulator_bits": 20},
     "layer 'conv': .*window .* is 40, outside of 1..32"),
    ((conv(4, 3, 3, padding=1, pool=Pool(kind="max", size=3, stride=2, padding=(1, 0))),), {},
     r"layer 'conv': in .* the padding of the pool of branch 0 is \(1, 0\), .* use one padding for "
     "both, or no padding of the convolution"),
])
def test_refusals(branches, change, match):
    config = replace(CONV, **change)
    side = 40 if "window" in match else 6
    with pytest.raises(CompileError, match=match):
        compile_network(one_layer(config, (3, side, side), branches[0].outputs, *branches), config)


def test_overflow_counts_windows_and_gain():
    """Four spikes of a pool, three times: 127 * 12 * 2 = 3048 does not fit in 12 bits."""
    branch = ConvBranch(source=INPUT, weight=np.full((1, 2, 1, 1), 127, np.int8), gain=3,
                        pool=Pool(kind="sum", size=2, stride=2))
    network = one_layer(CONV, (2, 4, 4), 1, branch)
    compile_network(network, replace(CONV, accumulator_bits=13))
    with pytest.raises(CompileError, match="can reach 3048.*accumulator_bits = 13"):
        compile_network(network, replace(CONV, accumulator_bits=12))
