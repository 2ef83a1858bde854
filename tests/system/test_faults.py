"""Broken tapes and resets, on the Verilated `tiny` array.

The device tells what was wrong and never gives a wrong answer. The next good tape works.
"""

import dataclasses

import numpy as np
import pytest

from quadfire.firmware import Accelerator, DeviceError
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.driver.session import inference_tape, setup_tape
from quadfire.firmware.tape.packets import encode
from quadfire.firmware.transports.transport import Transport
from quadfire.models.integer import reference
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import Answer, Fault, Opcode
from quadfire.sim.verilator.core import VerilatedTransport

pytestmark = pytest.mark.fast

TINY = preset("tiny")


class Tampering(Transport):
    """Passes on what `tamper` makes of the packets, once; a list of packets in, a list out."""

    def __init__(self, inner: Transport):
        self.inner, self.tamper = inner, None

    def exchange(self, packets, answers):
        if self.tamper is not None and packets:
            packets, self.tamper = self.tamper(list(packets)), None
        return self.inner.exchange(packets, answers)

    def reset(self):
        self.inner.reset()


@pytest.fixture(scope="module")
def case():
    """(device, its tampering transport, inputs, expected logits) of one network of three layers."""
    rng = np.random.default_rng(11)
    network = random_network(rng, TINY, sizes=[40, 9, 6, 4], steps=3, input_bits=4, readout=True)
    inputs = random_inputs(rng, network, 4)
    transport = Tampering(VerilatedTransport(TINY, idle=0.1, backpressure=0.2, seed=3,
                                             idle_limit=20_000))
    device = Accelerator(transport, TINY)
    device.load(network)
    return device, transport, inputs, reference.run(network, inputs).logits.numpy()


def good(case) -> bool:
    device, _, inputs, expected = case
    return np.array_equal(device.run(inputs).outputs, expected)


def changed(packet: np.ndarray, index: int, mask: int) -> np.ndarray:
    packet = packet.copy()
    packet[index] ^= np.uint32(mask)
    return packet


def at(position, change):
    """Tamper with one packet; `change` gives the packets that take its place."""
    def tamper(packets):
        return [*packets[:position], *change(packets[position]), *packets[position + 1:]]
    return tamper


def swapped(packets):
    return [packets[0], packets[2], packets[1], *packets[3:]]


DAMAGE = {
    "a bit of the payload": (at(1, lambda p: [changed(p, 1, 1 << 7)]), {Fault.CRC}),
    "a bit of the CRC": (at(2, lambda p: [changed(p, -1, 1)]), {Fault.CRC}),
    "a bit of the sequence number": (at(1, lambda p: [changed(p, 0, 1 << 17)]), {Fault.CRC}),
    "a bit of the length": (at(1, lambda p: [changed(p, 0, 1)]), {Fault.TRUNCATED, Fault.OVERRUN}),
    "the end is lost": (at(1, lambda p: [p[:-1]]), {Fault.TRUNCATED}),
    "only a header": (at(1, lambda p: [p[:1]]), {Fault.TRUNCATED}),
    "words too many": (at(2, lambda p: [np.append(p, p[-1])]), {Fault.OVERRUN}),
    "two packets in one": (lambda ps: [ps[0], np.concatenate(ps[1:3]), *ps[3:]], {Fault.OVERRUN}),
    "oversized": (at(1, lambda p: [np.append(changed(p[:1], 0, 0x4000), np.zeros(500, np.uint32))]),
                  {Fault.OVERSIZE}),
    "out of order": (swapped, {Fault.SEQUENCE}),
    "lost": (at(2, lambda p: []), {Fault.SEQUENCE}),
    "doubled": (at(2, lambda p: [p, p]), {Fault.SEQUENCE}),
    "no BEGIN": (at(0, lambda p: []), {Fault.SEQUENCE}),
    "a damaged BEGIN": (at(0, lambda p: [changed(p, 1, 1)]), {Fault.CRC}),
}


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("setup", [False, True], ids=["inference", "setup"])
def test_damage_is_told_and_survived(case, name, setup):
    device, transport, inputs, _ = case
    tamper, faults = DAMAGE[name]
    program = device.program
    transport.tamper = tamper
    if setup:
        device._checked = True
        with pytest.raises(DeviceError) as caught:
            device.load(program)
    else:
        # a lost BEGIN looks like a lost network and is repaired by the driver on its own
        if name == "no BEGIN":
            device.transport.inner.reset()
            assert good(case)
            return
        with pytest.raises(DeviceError) as caught:
            device.run(inputs)
    assert caught.value.fault in faults, caught.value
    if setup:
        transport.tamper = None
        device.load(program)
    assert good(case)


@pytest.mark.parametrize("packet, fault", [
    (lambda s: encode(0x7E, s), Fault.OPCODE),
    (lambda s: encode(Opcode.PASS, s, [0, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.PASS, s, [0xFF, 0, 0, 0, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.WEIGHTS, s, [TINY.weight_rows - 1, 0, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.WEIGHTS, s, [TINY.groups << 24, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.WEIGHTS, s, [TINY.banks << 16, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.PARAMETERS, s, [TINY.parameter_words, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.SPIKES, s, [TINY.spike_words, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.SPIKES, s, [0xFFFFFFFF, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.READ, s, [TINY.spike_words - 1, 2]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.READ, s, [0, 0]), Fault.ARGUMENT),
    (lambda s: encode(Opcode.BEGIN, s, [TINY.hash ^ 1, 0]), Fault.CONFIGURATION),
    (lambda s: encode(Opcode.BEGIN, s, [TINY.hash, 12345]), Fault.NETWORK),
])
def test_impossible_packets_are_refused(case, packet, fault):
    device, transport, inputs, _ = case
    transport.tamper = lambda packets: [packets[0], packet(int(packets[1][0]) >> 16 & 0xFF),
                                        *packets[2:]]
    with pytest.raises(DeviceError) as caught:
        device.run(inputs)
    assert caught.value.fault == fault
    assert good(case)


def test_a_tape_for_another_array_or_network_is_refused(case):
    device, transport, inputs, _ = case
    other = dataclasses.replace(TINY, spike_words=128)
    foreign = compile_network(device.program.network, other)
    with pytest.raises(ValueError, match="compiled for"):
        device.load(foreign)
    for program, fault in ((foreign, Fault.CONFIGURATION), (compile_network(random_network(
            np.random.default_rng(1), TINY, sizes=[8, 3], readout=True), TINY), Fault.NETWORK)):
        tape = inference_tape(program, random_inputs(np.random.default_rng(0), program.network, 2))
        answer = transport.exchange(tape.packets, tape.answers)[-1]
        assert (answer[0] >> 24, answer[1]) == (Answer.ERROR, fault)
        assert good(case)


@pytest.mark.parametrize("first", range(0, 120, 30))
def test_random_damage_never_gives_a_wrong_answer(case, first):
    """Bits flipped, words lost, doubled and moved, in any tape: refused or right."""
    device, transport, inputs, expected = case
    program, refused = device.program, 0
    for seed in range(first, first + 30):
        rng = np.random.default_rng(seed)

        def tamper(packets, rng=rng):
            index = int(rng.integers(len(packets)))
            packet = packets[index].copy()
            match rng.integers(4):
                case 0:
                    packet[rng.integers(len(packet))] ^= np.uint32(1 << int(rng.integers(32)))
                case 1:
                    packet = np.delete(packet, rng.integers(len(packet)))
                case 2:
                    packet = np.insert(packet, rng.integers(len(packet)), rng.integers(1 << 32))
                case 3:
                    packets[index - 1], packet = packet, packets[index - 1]
            return [*packets[:index], packet, *packets[index + 1:]]

        transport.tamper = tamper
        try:
            if seed % 2:
                device.load(program)
            assert np.array_equal(device.run(inputs).outputs, expected), f"seed {seed}"
        except DeviceError:
            refused += 1
        transport.tamper = None
        if device.program is None:
            device.load(program)
        assert good(case), f"after seed {seed}"
    assert refused > 20


@pytest.mark.parametrize("setup", [False, True], ids=["inference", "setup"])
def test_reset_in_mid_stream(case, setup):
    """A reset at any of many moments of a tape; afterwards the driver loads again and is right."""
    device, transport, inputs, _ = case
    inner = transport.inner
    tape = setup_tape(device.program, 5) if setup else inference_tape(device.program, inputs, 5)
    for cycles in (1, 2, 3, 7, 20, 55, 150, 333, 400, 521, 777, 1100, 1500, 2000):
        for packet in tape.packets:
            inner.send_partial(packet, last=True)
        inner.run(cycles)
        device.reset()
        assert good(case), f"after a reset in cycle {cycles}"
