"""A pass that takes too many cycles is ended; an ERROR says so, and the next tape is right.

On Verilated arrays, with the limit at any of many moments of a tape.
"""

from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware import Accelerator, DeviceError
from quadfire.firmware.driver.session import inference_tape
from quadfire.firmware.tape.packets import decode, pack, unpack
from quadfire.firmware.tape.writer import TapeWriter
from quadfire.models.integer import reference
from quadfire.models.integer.random_network import (
    random_conv_network,
    random_inputs,
    random_network,
)
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import PASS, PASS_WORDS, SOURCE, SOURCE_WORDS, Answer, Fault, Opcode
from quadfire.sim.verilator.core import VerilatedTransport

NETWORKS = {
    "tiny": lambda config: random_network(np.random.default_rng(11), config, sizes=[40, 9, 6, 4],
                                          steps=3, input_bits=4, readout=True),
    "tiny-conv": lambda config: replace(random_conv_network(
        np.random.default_rng(4), config, largest_map=5, largest_channels=6, layers=3, steps=1,
        input_bits=0, readout=True), steps=3),
}


class Case:
    """A device with a loaded network, its inputs, and the right answers."""

    def __init__(self, name: str):
        config = preset(name)
        network = NETWORKS[name](config)
        self.inputs = random_inputs(np.random.default_rng(0), network, 2)
        self.transport = VerilatedTransport(config, idle=0.1, backpressure=0.2, seed=3,
                                            idle_limit=20_000)
        self.device = Accelerator(self.transport, config)
        self.program = self.device.load(network)
        self.expected = reference.run(network, self.inputs).logits.numpy()

    def good(self) -> bool:
        return np.array_equal(self.device.run(self.inputs, probe=True).outputs, self.expected)

    def tape(self) -> TapeWriter:
        """An empty tape for the loaded network."""
        return TapeWriter(self.device.config, self.program.network_id, self.device._next_tag())

    def limit(self, cycles: int) -> None:
        tape = self.tape()
        tape.add(Opcode.LIMIT, [cycles])
        tape.report()
        self.transport.exchange(tape.tape.packets, 1)

    def endless(self) -> np.ndarray:
        """A valid PASS of 2^20 sites, all slots, and the largest windows."""
        packets = inference_tape(self.program, self.inputs).packets
        payload = next(packet.payload for packet in map(decode, packets)
                       if packet.opcode == Opcode.PASS)
        head = unpack(PASS, payload[:PASS_WORDS]) | {"width": 1023, "height": 1023, "taps": 0,
                                                     "join": 0, "emit": 0}
        source = unpack(SOURCE, payload[PASS_WORDS:][:SOURCE_WORDS]) | {
            "window_width": 31, "window_height": 31, "step_x": 0, "step_y": 0, "x_stride": 0,
            "y_stride": 0, "x0": 0, "y0": 0, "map_width": 1000, "map_height": 1000,
            "window_x_stride": 0, "window_y_stride": 0, "base": 0, "slot_stride": 0}
        return np.concatenate([pack(PASS, **head | {"sources": 0}), pack(SOURCE, **source)])


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    return Case(request.param)


def test_an_endless_pass(case):
    """The ERROR comes once the limit is over, whatever follows the PASS."""
    assert case.good()
    for follower in (Opcode.REPORT, Opcode.READ, Opcode.WAIT, Opcode.PASS, Opcode.SEAL):
        case.limit(3000)
        tape = case.tape()
        tape.add(Opcode.PASS, case.endless())
        tape.add(follower, {Opcode.READ: [0, 1], Opcode.PASS: case.endless(),
                            Opcode.SEAL: [5]}.get(follower, []))
        before = case.transport.cycles
        answer = decode(case.transport.exchange(tape.tape.packets, 1)[0])
        assert (answer.opcode, answer.payload[0]) == (Answer.ERROR, Fault.LIMIT), follower
        assert int(answer.payload[1]) >> 24 == follower
        assert 3000 < case.transport.cycles - before < 6000
        case.limit(0)
        assert case.good() and case.device.info().network == case.program.network_id


def test_a_limit_at_any_moment_of_a_tape(case):
    """A tape either gives the right answers or that ERROR; then the same tape is right."""
    ended, moments = 0, (*range(1, 40), *range(40, 700, 11), 1000, 5000, 20000)
    for cycles in moments:
        case.limit(cycles)
        try:
            assert case.good(), cycles
        except DeviceError as error:
            assert error.fault == Fault.LIMIT and "pass_limit" in str(error)
            ended += 1
        case.limit(0)
        assert case.good(), f"after a limit of {cycles} cycles"
    assert 40 < ended < len(moments)


def test_the_driver_sets_it(case):
    """`pass_limit` is part of loading; a network that is loaded without takes it back."""
    device = case.device
    device.pass_limit = 1 << 20
    device.load(case.program)
    assert case.good()
    device.pass_limit = 2
    device.load(case.program)
    with pytest.raises(DeviceError, match="LIMIT, a pass before it took more cycles than pass_li"):
        device.run(case.inputs)
    device.pass_limit = 0
    device.load(case.program)
    assert case.good()


@pytest.mark.parametrize(("value", "match"), [(-1, "at least 0"), (1 << 32, "below 2\\^32"),
                                              ("9", "an integer")])
def test_wrong_limits_are_refused(case, value, match):
    with pytest.raises(ValueError, match=match):
        Accelerator(case.transport, case.device.config, pass_limit=value)
