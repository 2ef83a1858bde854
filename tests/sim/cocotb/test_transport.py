"""The transport to cocotb behaves as the one to the Verilated library."""

import numpy as np
import pytest

from quadfire.rtl.contract.config import preset
from quadfire.sim.cocotb.run import CocotbFailure
from quadfire.sim.cocotb.transport import CocotbTransport
from quadfire.sim.verilator.core import ProtocolError, VerilatedTransport
from quadfire.sim.verilator.toolchain import ToolchainError

from tests.sim.standins import BROKEN, loopback

pytestmark = pytest.mark.cocotb


def transport(simulator: str, verilog: str = loopback(), **options) -> CocotbTransport:
    return CocotbTransport(preset("tiny"), simulator, verilog=verilog, idle_limit=200, **options)


def same(got: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(got) == len(expected) and all(map(np.array_equal, got, expected))


SENT = [np.arange(n, dtype=np.uint32) * 1001 for n in (1, 2, 30, 4)]


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_exchange_timeout_and_reset(simulator, stall):
    with transport(simulator, idle=stall, backpressure=stall) as device:
        assert same(device.exchange(SENT, 3), SENT[:3])
        assert same(device.exchange(SENT[:1], 2), [SENT[3], SENT[0]])
        with pytest.raises(TimeoutError, match="took 30 of 30 words and gave 1 of 2 answers"):
            device.exchange([SENT[2]], 2)
        device.send_partial([1, 2, 3])
        device.run(20)
        device.reset()
        assert same(device.exchange(SENT, 4), SENT)
        with pytest.raises(ValueError, match="at least one word"):
            device.exchange([np.array([])], 0)


def test_an_error_answer_ends_the_exchange(simulator):
    error = np.array([0x84000001, 5], dtype=np.uint32)
    with transport(simulator) as device:
        assert same(device.exchange([SENT[1], error, SENT[2], SENT[2], SENT[2]], 5),
                    [SENT[1], error])
        device.run(50)
        rest = device.exchange([], 0) + device.exchange([SENT[1]], 2)
        assert same(rest, [SENT[2], SENT[1]])


def test_as_many_cycles_as_the_verilated_library(simulator):
    with (transport(simulator) as one,
          VerilatedTransport(preset("tiny"), verilog=loopback()) as other):
        one.reset()
        other.reset()
        begin = one.cycles, other.cycles
        for device in (one, other):
            device.exchange(SENT, 4)
        assert one.cycles - begin[0] == other.cycles - begin[1]


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_of_the_stream_is_reported(simulator, rule):
    with (transport(simulator, BROKEN[rule], backpressure=0.5) as device,
          pytest.raises(ProtocolError, match="before ready")):
        device.exchange(SENT, 4)


def test_a_simulation_that_cannot_start_says_why(simulator):
    with pytest.raises(CocotbFailure, match="did not start") as raised:
        transport(simulator, loopback(valid="nope"))
    assert isinstance(raised.value.__cause__, ToolchainError)


def test_closed(simulator):
    device = transport(simulator)
    device.close()
    device.close()
    with pytest.raises(ValueError, match="closed"):
        device.run(1)
