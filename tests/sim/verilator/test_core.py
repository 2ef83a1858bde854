"""The Verilated library, its harness and its transport, with stand-ins for the core."""

import time
from pathlib import Path

import numpy as np
import pytest

from quadfire.rtl.contract.config import preset
from quadfire.sim.verilator import build, cache, toolchain
from quadfire.sim.verilator.axi_shell import VerilatedShell
from quadfire.sim.verilator.core import ProtocolError, VerilatedCore, VerilatedTransport
from quadfire.sim.verilator.fuzz import FUZZ

from tests.sim.standins import BROKEN, loopback

pytestmark = pytest.mark.fast


def transport(verilog: str = loopback(), **options) -> VerilatedTransport:
    return VerilatedTransport(preset("tiny"), verilog=verilog, **{"idle_limit": 500, **options})


def packets(count: int, longest: int = 40, seed: int = 0) -> list[np.ndarray]:
    """Random packets, none of which looks like an error answer."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 1 << 31, rng.integers(1, longest + 1), dtype=np.uint32)
            for _ in range(count)]


def same(got: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    return len(got) == len(expected) and all(map(np.array_equal, got, expected))


@pytest.mark.parametrize("idle", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("backpressure", [0.0, 0.3, 0.9])
def test_exchange_returns_every_packet_under_stalls(idle, backpressure):
    sent = packets(100)
    with transport(idle=idle, backpressure=backpressure, seed=3) as device:
        assert same(device.exchange(sent[:60], 60), sent[:60])
        assert same(device.exchange(sent[60:], 40), sent[60:])
        words = sum(map(len, sent))
        assert device.cycles >= words / (1 - max(idle, backpressure)) * 0.9


def test_full_rate_without_stalls():
    sent = packets(50)
    with transport() as device:
        device.exchange(sent, 50)
        assert device.cycles == 2 + sum(map(len, sent)) + 1     # reset, words, latency


def test_stalls_are_repeatable():
    def cycles(seed: int) -> int:
        with transport(idle=0.5, backpressure=0.5, seed=seed) as device:
            device.exchange(packets(20), 20)
            return device.cycles

    assert cycles(1) == cycles(1) != cycles(2)


def test_packets_may_be_of_any_integer_type_and_stride():
    word = np.arange(10, dtype=np.int64)[::3]
    with transport() as device:
        assert same(device.exchange([word], 1), [word.astype(np.uint32)])


def test_later_answers_wait_for_the_next_exchange():
    sent = packets(6, 3)
    with transport() as device:
        assert same(device.exchange(sent, 2), sent[:2])
        device.run(100)
        assert same(device.exchange([], 4), sent[2:])


def test_an_error_answer_ends_the_exchange_between_two_packets():
    first, error = packets(2)
    error[0] = 0x84000002
    long = np.arange(200, dtype=np.uint32)
    with transport() as device:
        assert same(device.exchange([first, error, long, long, long], 5), [first, error])
        assert device.core.status.sent in (len(first) + len(error), len(first) + len(error) + 200)
        device.run(300)
        left = [long] * (device.core.status.packets)
        assert same(device.exchange([first], len(left) + 1), [*left, first])


def test_timeout_tells_how_far_it_came_and_reset_recovers():
    sent = packets(3)
    words = sum(map(len, sent))
    with transport() as device:
        with pytest.raises(TimeoutError, match=f"no progress for 500 cycles.*took {words} of "
                                               f"{words} words and gave 3 of 4 answers"):
            device.exchange(sent, 4)
        device.reset()
        assert same(device.exchange(sent, 3), sent)


def test_timeout_of_a_device_that_never_gets_ready():
    with transport(loopback(ready="1'b0")) as device, pytest.raises(TimeoutError,
                                                                    match="took 0 of 4 words"):
        device.exchange([np.arange(4)], 1)


def test_reset_in_the_middle_of_a_packet():
    sent = packets(10)
    with transport(idle=0.2, backpressure=0.7, seed=5) as device:
        for cycles in range(1, 40):
            device.send_partial(np.arange(30))
            device.run(cycles)
            device.reset(1 + cycles % 3)
            assert device.core.status.packets == 0
        assert same(device.exchange(sent, 10), sent)


def test_a_packet_may_be_sent_in_parts():
    with transport() as device:
        device.send_partial([1, 2])
        device.run(10)
        device.send_partial([3], last=True)
        assert same(device.exchange([], 1), [np.array([1, 2, 3])])


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_of_the_stream_is_reported(rule):
    with transport(BROKEN[rule], backpressure=0.5) as device:
        with pytest.raises(ProtocolError, match=rule):
            device.exchange(packets(10), 10)
        assert device.core.status.violations > 0
    with transport(BROKEN[rule], backpressure=0.5) as device:
        device.send_partial(np.arange(200))
        with pytest.raises(ProtocolError, match=rule):
            device.run(400)


def test_nonsense_is_refused():
    for options in ({"idle": 1.0}, {"backpressure": -0.1}):
        with pytest.raises(ValueError, match="must lie in 0..1"):
            transport(**options)
    with transport() as device, pytest.raises(ValueError, match="at least one word"):
        device.exchange([np.array([], dtype=np.uint32)], 0)
    device.close()
    with pytest.raises(ValueError, match="closed"):
        device.exchange([], 0)


def test_trace_of_some_cycles(tmp_path):
    path = tmp_path / "wave.vcd"
    with transport(trace=path, trace_cycles=(10, 20)) as device:
        device.exchange(packets(20), 20)
    times = [int(line[1:]) for line in path.read_text().splitlines() if line.startswith("#")]
    assert times
    assert 20 <= min(times) <= max(times) < 40   # two time units a cycle


@pytest.mark.parametrize(("name", "message"), [
    ("missing/wave.vcd", "wave.vcd cannot be written: No such file or directory"),
    (".", "is a folder: name a file"), ("file/wave.vcd", "Not a directory")])
def test_a_trace_that_cannot_be_written_is_told_at_once(tmp_path, name, message):
    """Before anything is built, and without a file left behind."""
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match=message):
        transport(trace=tmp_path / name)
    with pytest.raises(OSError, match=message):
        VerilatedShell(preset("tiny"), trace=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_second_build_comes_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    first = build.library(loopback())
    stamp = first.stat().st_mtime_ns
    monkeypatch.setattr(build, "_native", None)     # would fail if it were called
    begin = time.monotonic()
    assert build.library(loopback()) == first
    assert time.monotonic() - begin < 1
    assert first.stat().st_mtime_ns == stamp
    with pytest.raises(TypeError):
        build.library(loopback(wait="1'd1"))
    assert len(list((tmp_path / "verilated").glob("[!.]*"))) == 1


def test_a_library_depends_on_what_its_harness_includes():
    names = ("fuzz.cpp", "harness.cpp", "design.h")
    assert build._with_includes(FUZZ) == [FUZZ.with_name(name).read_text() for name in names]


def test_errors_of_the_tools_are_shown(monkeypatch):
    with pytest.raises(toolchain.ToolchainError, match="Can't find definition of variable: 'nope'"):
        VerilatedCore(loopback(valid="nope"))
    toolchain.compiler.cache_clear()
    monkeypatch.setenv("PATH", str(Path(__file__).parent))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(toolchain.ToolchainError, match=r"install g\+\+"):
        toolchain.compiler()
    assert toolchain.icarus() is None
    assert toolchain.simulators() == ["verilator"]
