"""The driver on the device in numpy: results equal the equations, errors are reported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quadfire.firmware import Accelerator, CompileError, DeviceError
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.tape.memory_layout import tiles_of
from quadfire.firmware.tape.packets import encode
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import COUNTERS, Answer, Fault, Opcode

from tests.firmware.device import FakeTransport
from tests.firmware.networks import random_inputs, random_network, reference

TINY = preset("tiny")
NARROW = ArrayConfig(banks=3, lanes=8, group_lanes=2, weight_rows=64, accumulator_bits=18, slots=8,
                     spike_words=42, parameter_words=16, packet_words=32, state_bits=14,
                     fraction_bits=12, sources=1, line_words=0)
WIDE = ArrayConfig(banks=2, lanes=128, group_lanes=8, weight_bits=4, weight_rows=256,
                   spike_words=64, packet_words=64, sources=3, line_words=0)

CASES = {
    "pixels": (TINY, (30, 20, 5), 4, 8, True),
    "spikes": (TINY, (30, 20, 5), 4, 0, True),
    "one layer": (TINY, (30, 5), 1, 0, True),
    "one neuron": (TINY, (1, 1, 1), 8, 1, True),
    "spiking output": (TINY, (20, 13, 9), 3, 4, False),
    "streamed weights": (replace(TINY, packet_words=512), (60, 40, 30, 10), 3, 8, True),
    "split inputs": (replace(TINY, weight_rows=40), (100, 20, 50, 4), 2, 4, True),
    "shared maps": (replace(TINY, spike_words=37), (100, 31, 33, 7), 4, 8, True),
    "one buffer": (replace(TINY, spike_words=40), (70, 4), 8, 8, True),
    "one buffer, two layers": (replace(TINY, spike_words=30), (70, 4, 4), 2, 8, True),
    "all at once": (NARROW, (150, 90, 45, 12), 4, 6, True),
    "wide lanes": (WIDE, (300, 200, 140, 10), 4, 8, True),
    "wide and shared": (replace(WIDE, spike_words=33), (300, 200, 140, 10), 4, 8, True),
    "small": (preset("small"), (64, 70, 10), 4, 4, True),
    "default": (preset("default"), (784, 300, 10), 4, 8, True),
    "large": (preset("large"), (100, 700, 10), 4, 8, True),
}


@pytest.mark.parametrize("late", [False, True], ids=["early", "late"])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_equations(name, late):
    config, sizes, steps, bits, readout = CASES[name]
    rng = np.random.default_rng(len(name))
    network = random_network(rng, config, sizes, steps=steps, input_bits=bits, readout=readout)
    inputs = random_inputs(rng, network, 4)
    outputs, spikes, membranes = reference(network, inputs)
    with Accelerator(FakeTransport(config, late=late, seed=1), config, batch=3) as device:
        program = device.load(network)
        for probe, profile in ((False, False), (True, False), (False, True)):
            result = device.run(inputs, probe=probe, profile=profile, spikes=probe or profile)
            assert np.array_equal(result.outputs, outputs), (probe, profile)
            if probe or profile:
                for layer, (got, want) in enumerate(zip(result.spikes, spikes, strict=True)):
                    assert np.array_equal(got, want) if got is not None else want is None, layer
            if probe:
                for layer, (got, want) in enumerate(zip(result.membranes, membranes, strict=True)):
                    assert np.array_equal(got, want), layer
            assert result.counters["events"] == _events(network, inputs, spikes, program)
        assert result.profile is not None
        events = {"busy": result.counters["events"], "events": result.counters["events"]}
        assert dict(zip(COUNTERS, result.profile.sum(axis=(0, 1)), strict=True)) == \
            dict.fromkeys(COUNTERS, 0) | events
        assert len(result.layer_counters) == len(sizes) - 1 and len(result.image_counters) == 4


def _events(network, inputs, spikes, program):
    """Events of all passes: every input spike or bit once per pass that reads it."""
    maps = [np.unpackbits(inputs) if network.input_bits else inputs, *spikes]
    return sum(int(maps[i].sum()) * sum(a_pass.layer == i and not a_pass.accumulate
                                        for a_pass in program.passes)
               for i in range(len(network.layers)))


def test_the_cases_reach_every_path():
    seen = {}
    for name, (config, sizes, steps, bits, readout) in CASES.items():
        rng = np.random.default_rng(len(name))
        program = compile_network(random_network(rng, config, sizes, steps=steps, input_bits=bits,
                                         readout=readout), config)
        seen[name] = {
            "streamed": any(a_pass.streamed for a_pass in program.passes),
            "resident": any(not a_pass.streamed for a_pass in program.passes),
            "accumulate": any(a_pass.accumulate for a_pass in program.passes),
            "parameters": any(a_pass.loads_parameters for a_pass in program.passes),
            "shared": program.memory.shared,
            "one buffer": not program.memory.shared and len(program.memory.inputs) == 1,
            "ragged": any(tiles_of(layer.outputs, config) % config.tiles_per_word
                          for layer in program.layers[:-1])}
    paths = {path for flags in seen.values() for path, on in flags.items() if on}
    assert paths == set(seen["pixels"])
    assert seen["all at once"]["shared"] and seen["all at once"]["parameters"]
    assert seen["shared maps"]["shared"] and seen["shared maps"]["ragged"]
    assert seen["one buffer"]["one buffer"] and seen["one buffer, two layers"]["shared"]
    assert any(flags["streamed"] and flags["resident"] for flags in seen.values())


@pytest.mark.parametrize("seed", range(25))
def test_random_networks(seed):
    rng = np.random.default_rng(1000 + seed)
    config = replace(
        TINY, banks=int(rng.integers(1, 5)), lanes=int(2 ** rng.integers(1, 6)),
        group_lanes=int(2 ** rng.integers(0, 2)), weight_rows=int(rng.integers(32, 200)),
        weight_bits=int(rng.choice([4, 8])), spike_words=int(rng.integers(30, 200)),
        parameter_words=int(rng.integers(16, 200)), packet_words=int(2 ** rng.integers(5, 8)),
        sources=1)
    sizes = [int(n) for n in rng.integers(1, 120, rng.integers(2, 5))]
    network = random_network(rng, config, sizes, steps=int(rng.integers(1, 9)),
                             input_bits=int(rng.integers(0, 9)), readout=bool(rng.integers(2)))
    inputs = random_inputs(rng, network, 4)
    device = Accelerator(FakeTransport(config, late=bool(seed % 2), seed=seed), config)
    try:
        device.load(network)
    except CompileError as error:
        assert "spike words" in str(error)
        return
    outputs, _, membranes = reference(network, inputs)
    result = device.run(inputs, probe=True)
    assert np.array_equal(result.outputs, outputs)
    assert all(map(np.array_equal, result.membranes, membranes))


# Errors ------------------------------------------------------------------------------------------

def ready(config=TINY, **options):
    rng = np.random.default_rng(7)
    network = random_network(rng, config, (30, 20, 5), steps=4, input_bits=8)
    transport = FakeTransport(config, **options)
    device = Accelerator(transport, config)
    device.load(network)
    inputs = random_inputs(rng, network, 6)
    return device, transport, inputs, reference(network, inputs)[0]


def flip(packet):
    packet = packet.copy()
    packet[-2] ^= 1 << 13
    return packet


@pytest.mark.parametrize("fault, change", [
    (Fault.CRC, flip),
    (Fault.TRUNCATED, lambda packet: packet[:-1]),
    (Fault.OVERRUN, lambda packet: np.append(packet, packet[-1:])),
    (Fault.OVERSIZE, lambda packet: np.append(packet[:1] | np.uint32(0x7FFF), packet[1:])),
    (Fault.SEQUENCE, lambda packet: []),
    (Fault.SEQUENCE, lambda packet: [packet, packet]),
    (Fault.OPCODE, lambda packet: encode(Answer.REPORT, int(packet[0]) >> 16 & 255, packet[1:-1])),
    (Fault.ARGUMENT, lambda packet: encode(Opcode.SPIKES, int(packet[0]) >> 16 & 255, [9999, 0])),
])
def test_a_refused_packet_is_told_and_the_device_works_on(fault, change):
    device, transport, inputs, outputs = ready()
    transport.tamper = lambda index, packet: change(packet) if index == 5 else packet
    with pytest.raises(DeviceError, match=f"refused packet .*{fault.name}") as caught:
        device.run(inputs)
    assert caught.value.fault == fault
    transport.tamper = lambda index, packet: packet
    assert np.array_equal(device.run(inputs).outputs, outputs)


def test_reordered_packets_are_refused():
    device, transport, inputs, outputs = ready()
    held = []

    def swap(index, packet):
        if index == 3:
            held.append(packet)
            return []
        return [packet, held.pop()] if index == 4 else packet

    transport.tamper = swap
    with pytest.raises(DeviceError, match="SEQUENCE"):
        device.run(inputs)
    transport.tamper = lambda index, packet: packet
    assert np.array_equal(device.run(inputs).outputs, outputs)


@pytest.mark.parametrize("counter", ["busy", "events", "nulls", "drains", "starved"])
def test_counters_that_contradict_each_other_are_told(counter):
    """Every busy cycle is in one class, so no counter can be wrong on its own."""
    device, transport, inputs, outputs = ready()

    def miscount(_, answer):
        if int(answer[0]) >> 24 != Answer.REPORT:
            return answer
        payload = answer[1:-1].copy()
        payload[COUNTERS.index(counter)] += 1
        return encode(Answer.REPORT, int(answer[0]) >> 16 & 255, payload)

    transport.garble = miscount
    with pytest.raises(DeviceError, match="counters contradict each other: .* busy cycles"):
        device.run(inputs)
    transport.garble = lambda index, answer: answer
    assert np.array_equal(device.run(inputs).outputs, outputs)


def test_a_pass_that_takes_too_long_is_told():
    """`pass_limit` goes to the device with the network; the next tape after an ERROR is right."""
    transport = FakeTransport(TINY)
    device = Accelerator(transport, TINY, pass_limit=2)
    device.load(random_network(np.random.default_rng(7), TINY, (30, 20, 5), steps=4))
    inputs = np.zeros((4, 2, 30), bool)
    assert transport.device.limit == 2
    with pytest.raises(DeviceError, match="LIMIT, a pass before it took more cycles") as caught:
        device.run(inputs)
    assert caught.value.fault == Fault.LIMIT
    device.pass_limit = 0
    device.load(device.program)
    assert device.run(inputs).outputs.shape == (2, 5) and transport.device.limit == 0


@pytest.mark.parametrize("late", [False, True])
def test_a_lost_network_is_loaded_again(late):
    device, transport, inputs, outputs = ready(late=late)
    device.reset()
    done = []
    device.batch = 2
    result = device.run(inputs, progress=lambda *args: done.append(args))
    assert np.array_equal(result.outputs, outputs)
    assert done == [(2, 6), (4, 6), (6, 6)]


def test_a_reset_in_mid_tape_loses_nothing():
    device, transport, inputs, outputs = ready()
    armed = [True]

    def reset(index, packet):
        if index == 6 and armed:
            armed.clear()
            transport.device.reset()
        return packet

    transport.tamper = reset
    assert np.array_equal(device.run(inputs).outputs, outputs)


def test_a_device_that_forgets_at_once_is_not_loaded_for_ever():
    device, transport, inputs, _ = ready()

    def forget(index, packet):
        if len(packet) == 4 and int(packet[0]) >> 24 == Opcode.BEGIN and int(packet[2]):
            transport.device.reset()
        return packet

    transport.tamper = forget
    with pytest.raises(DeviceError, match="NETWORK"):
        device.run(inputs)


def test_another_configuration_is_refused_by_driver_and_device():
    other = replace(TINY, banks=3)
    device, transport, _, _ = ready()
    net = random_network(np.random.default_rng(0), other, (4, 4), steps=1)
    wrong = Accelerator(transport, other)
    with pytest.raises(DeviceError, match="configuration") as caught:
        wrong.load(net)
    assert caught.value.fault == Fault.CONFIGURATION
    wrong._checked = True
    with pytest.raises(DeviceError, match="CONFIGURATION"):
        wrong.load(net)
    with pytest.raises(ValueError, match="compiled for"):
        device.load(compile_network(net, other))


@pytest.mark.parametrize("garble, match", [
    (flip, "damaged: the checksum"),
    (lambda answer: answer[:-1], "damaged: the header announces"),
    (lambda answer: encode(Answer.SPIKES, int(answer[0]) >> 16 & 255, answer[1:-1]), "instead of"),
    (lambda answer: encode(Answer.PROBE, int(answer[0]) >> 16 & 255, [1]), "of 1 words instead of"),
])
def test_a_damaged_answer_is_told(garble, match):
    device, transport, inputs, outputs = ready()
    transport.garble = lambda index, answer: garble(answer) if index == 3 else answer
    with pytest.raises(DeviceError, match=match) as caught:
        device.run(inputs)
    assert caught.value.fault is None
    transport.garble = lambda index, answer: answer
    assert np.array_equal(device.run(inputs).outputs, outputs)


def test_stale_answers_are_dropped():
    device, transport, inputs, outputs = ready()
    transport.queue += [encode(Answer.PROBE, 200, [1, 2, 3, 4]),
                        encode(Answer.INFO, 0, [0] * 4)]
    assert np.array_equal(device.run(inputs).outputs, outputs)
    transport.queue.append(encode(Answer.PROBE, 200, [1, 2, 3, 4]))
    assert device.program and device.info().network == device.program.network_id


def test_what_is_no_device_is_refused():
    device, transport, _, _ = ready()
    for words, match in (([1, 2, 3, 4], "no Quadfire"), ([1], "4 words"),
                         ([0x51464952, 0x00090000, 0, 0], "version 9")):
        transport.queue.append(encode(Answer.INFO, 0, words))
        with pytest.raises(DeviceError, match=match):
            device.info()
        transport.reset()


def test_a_silent_device_times_out():
    device, transport, inputs, _ = ready()
    transport.tamper = lambda index, packet: []
    with pytest.raises(TimeoutError):
        device.run(inputs)


@pytest.mark.parametrize("inputs, match", [
    (np.zeros((2, 30)), "integers or bool, not float64"),
    (np.zeros((2, 31), np.uint8), r"shape \[N, 30\] \(pixels\), not \[2, 31\]"),
    (np.zeros(30, np.uint8), "shape"),
    (np.full((2, 30), 256), r"0\.\.255, not 256\.\.256"),
    (np.full((2, 30), -1), r"0\.\.255"),
])
def test_wrong_inputs_are_refused(inputs, match):
    device, transport, _, _ = ready()
    with pytest.raises(ValueError, match=match):
        device.run(inputs)


def test_no_images_and_no_network():
    device, transport, inputs, _ = ready()
    assert device.run(inputs[:0]).outputs.shape == (0, 5)
    with pytest.raises(RuntimeError, match="load"):
        Accelerator(transport, TINY).run(inputs)
    with device:
        pass
    assert transport.closed


@pytest.mark.parametrize("bits", [8, 0])
def test_no_images_give_empty_results(bits):
    network = random_network(np.random.default_rng(7), TINY, (30, 20, 5), steps=4, input_bits=bits)
    device = Accelerator(FakeTransport(TINY), TINY)
    device.load(network)
    inputs = random_inputs(np.random.default_rng(0), network, 1)
    result = device.run(inputs[:0] if bits else inputs[:, :0], profile=True, probe=True,
                        spikes=True)
    assert result.outputs.shape == (0, 5) and result.profile is not None
    assert result.spikes[0] is not None and result.spikes[0].shape == (4, 0, 20)
    assert [array.shape for array in result.membranes] == [(4, 0, 20), (4, 0, 5)]
    assert result.profile.shape[0] == 0 and not any(result.counters.values())


def test_no_sequences_give_empty_results():
    config = replace(TINY, state_words=64)
    network = random_network(np.random.default_rng(7), config, (30, 20, 5), steps=16)
    device = Accelerator(FakeTransport(config), config)
    assert device.load(network).chunks == 2
    result = device.run(np.zeros((16, 0, 30), bool), profile=True, probe=True, spikes=True)
    assert result.outputs.shape == (0, 5)
    assert [array.shape for array in result.membranes] == [(16, 0, 20), (16, 0, 5)]


def test_a_vector_may_come_as_maps_of_one_pixel():
    device, _, inputs, outputs = ready()
    assert np.array_equal(device.run(inputs[..., None, None]).outputs, outputs)


@pytest.mark.parametrize(("options", "match"), [
    ({"batch": 1.5}, "batch must be an integer of at least 1, not 1.5"),
    ({"batch": 0}, "batch must be an integer of at least 1, not 0"),
    ({"batch": True}, "batch"), ({"batch": "3"}, "batch"),
    ({"retries": None}, "retries must be an integer of at least 0, not None"),
    ({"retries": -1}, "retries"),
])
def test_wrong_options_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        Accelerator(FakeTransport(TINY), TINY, **options)


@pytest.mark.parametrize(("network", "match"), [
    ("net.safetensors", r"use load\(IntegerNetwork.load\('net.safetensors'\)\)"),
    (Path("a/net.safetensors"), "IntegerNetwork.load"),
    (None, "an IntegerNetwork or a Program, not NoneType"),
])
def test_only_networks_are_loaded(network, match):
    with pytest.raises(ValueError, match=match):
        Accelerator(FakeTransport(TINY), TINY).load(network)


def test_a_refused_load_leaves_no_network():
    device, transport, inputs, _ = ready()
    program = device.program
    assert program is not None
    transport.tamper = lambda index, packet: flip(packet) if index == 4 else packet
    with pytest.raises(DeviceError, match="CRC"):
        device.load(program)
    with pytest.raises(RuntimeError, match="no network"):
        device.run(inputs)
    transport.tamper = lambda index, packet: packet
    device.load(program)
