"""The core in this process: a Verilated shared library behind the driver's transport.

    transport = VerilatedTransport(preset("tiny"), idle=0.2, backpressure=0.5, seed=1)
    answers = transport.exchange([packet, ...], answers=1)
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Answer
from quadfire.sim.verilator import build

__all__ = ["ProtocolError", "Status", "VerilatedCore", "VerilatedTransport"]

_SLICE = 1 << 20    # cycles between two returns to Python, so that Ctrl-C works
_FOREVER = (1 << 64) - 1
_DONE, _NO_PROGRESS, _VIOLATION = 1, 2, 3
_VIOLATIONS = ("", "tvalid fell before tready", "tdata changed before tready",
               "tlast changed before tready")


class ProtocolError(AssertionError):
    """The core broke a rule of AXI4-Stream."""


@dataclass(frozen=True)
class Status:
    """Counts since the core was made: words and packets as the harness saw them."""

    cycles: int
    sent: int
    taken: int
    unsent: int
    packets: int
    violations: int
    violation: int
    violation_cycle: int


def _load(path: Path) -> ctypes.CDLL:
    handle, u64, words = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p
    lib = ctypes.CDLL(str(path))
    for name, result, arguments in (
            ("qf_open", handle, (u64, ctypes.c_double, ctypes.c_double, ctypes.c_char_p, u64, u64)),
            ("qf_close", None, (handle,)), ("qf_reset", None, (handle, u64)),
            ("qf_send", None, (handle, words, u64, ctypes.c_int)), ("qf_drop", None, (handle,)),
            ("qf_run", ctypes.c_int, (handle, u64, u64, u64)), ("qf_step", None, (handle, u64)),
            ("qf_patience", None, (handle,)), ("qf_take", ctypes.c_int64, (handle, words)),
            ("qf_status", None, (handle, words))):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def _probability(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in 0..1 and be below 1, not {value!r}")


class VerilatedCore:
    """A simulated core with AXI4-Stream ports, its input queue and its output queue.

    idle: probability that a cycle offers no word; backpressure: that a cycle takes none. A word
    once offered stays until it is taken. `seed` makes both repeatable.
    trace: a VCD file to write, of the cycles `trace_cycles[0]` to before `trace_cycles[1]`.
    harness: a C++ file that includes the usual one. threads: of the simulation.
    """

    def __init__(self, verilog: str, *, top: str = "quadfire", idle: float = 0.0,
                 backpressure: float = 0.0, seed: int = 0, trace: Path | str | None = None,
                 trace_cycles: tuple[int, int] = (0, _FOREVER), harness: Path = build.HARNESS,
                 threads: int = 1):
        self._core = None
        _probability("idle", idle)
        _probability("backpressure", backpressure)
        self._lib = _load(build.library(verilog, top=top, trace=trace is not None,
                                       harness=harness, threads=threads))
        self._core = self._lib.qf_open(seed & _FOREVER, idle, backpressure,
                                       None if trace is None else str(trace).encode(),
                                       *trace_cycles)
        self.reset()

    def _handle(self) -> int:
        if self._core is None:
            raise ValueError("the simulated core is closed")
        return self._core

    @property
    def status(self) -> Status:
        """What has happened so far."""
        values = (ctypes.c_uint64 * 8)()
        self._lib.qf_status(self._handle(), values)
        return Status(*values)

    def send(self, words: np.ndarray, *, last: bool = True) -> None:
        """Queue words for the input; `last` marks the final one as the end of a packet."""
        words = np.ascontiguousarray(words, dtype=np.uint32)
        self._lib.qf_send(self._handle(), words.ctypes.data, words.size, last)

    def drop(self) -> None:
        """Forget the queued words that were not offered yet."""
        self._lib.qf_drop(self._handle())

    def take(self) -> np.ndarray | None:
        """The oldest packet received and not yet taken, None if there is none."""
        size = self._lib.qf_take(self._handle(), None)
        if size < 0:
            return None
        words = np.empty(size, dtype=np.uint32)
        self._lib.qf_take(self._handle(), words.ctypes.data)
        return words

    def run(self, answers: int, idle_limit: int) -> bool:
        """Clock until `answers` packets are there and all is sent, or an error answer came.

        True: so it came about. False: for `idle_limit` cycles not a word was transferred.
        Raises ProtocolError when the core breaks a rule of AXI4-Stream.
        """
        self._lib.qf_patience(self._handle())
        while True:
            result = self._lib.qf_run(self._handle(), _SLICE, answers, idle_limit)
            if result == _VIOLATION:
                self._check()
            if result:
                return result == _DONE

    def step(self, cycles: int = 1) -> None:
        """Clock for so many cycles; queued words are sent and answers collected meanwhile."""
        while cycles > 0:
            self._lib.qf_step(self._handle(), min(cycles, _SLICE))
            cycles -= _SLICE
        self._check()

    def reset(self, cycles: int = 2) -> None:
        """Hold reset for so many cycles. Empties both queues, also of half a packet."""
        self._lib.qf_reset(self._handle(), cycles)

    def close(self) -> None:
        """End the simulation and complete its trace; no harm if it is closed already."""
        if self._core is not None:
            self._lib.qf_close(self._core)
            self._core = None

    def _check(self) -> None:
        if (status := self.status).violations:
            raise ProtocolError(f"m_axis: {_VIOLATIONS[status.violation]}, in cycle "
                                f"{status.violation_cycle} ({status.violations} violations so far)")

    def __del__(self):
        self.close()


class VerilatedTransport(Transport):
    """The driver's transport to a Verilated core.

    idle, backpressure, seed, trace, trace_cycles, threads: as for VerilatedCore.
    idle_limit: cycles without a word transferred after which `exchange` gives up.
    verilog: the core's text, to simulate something else than what `config` generates.
    """

    def __init__(self, config: ArrayConfig, *, idle: float = 0.0, backpressure: float = 0.0,
                 seed: int = 0, trace: Path | str | None = None,
                 trace_cycles: tuple[int, int] = (0, _FOREVER), idle_limit: int = 1_000_000,
                 verilog: str | None = None, threads: int = 1):
        self.config = config
        self.idle_limit = idle_limit
        self.core = VerilatedCore(build.core_verilog(config) if verilog is None else verilog,
                                  idle=idle, backpressure=backpressure, seed=seed, trace=trace,
                                  trace_cycles=trace_cycles, threads=threads)

    @property
    def cycles(self) -> int:
        """Clock cycles since the simulation began."""
        return self.core.status.cycles

    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        """Send packets while receiving; return the next `answers` packets from the core.

        Returns when all is sent and answered, or earlier with an error answer as the last one; what
        was not sent by then is forgotten. Raises TimeoutError when nothing moves for `idle_limit`
        cycles; only a reset is sure to help then.
        """
        before = self.core.status
        for packet in packets:
            if len(packet) == 0:
                raise ValueError("a packet must have at least one word")
            self.core.send(packet)
        finished = self.core.run(answers, self.idle_limit)
        status = self.core.status
        if not finished:
            self.core.drop()
            offered = sum(len(packet) for packet in packets)
            raise TimeoutError(
                f"the device made no progress for {self.idle_limit} cycles (now at cycle "
                f"{status.cycles}): it took {status.sent - before.sent} of {offered} words "
                f"and gave {status.packets} of {answers} answers")
        self.core.drop()
        return self._collect(answers)

    def _collect(self, answers: int) -> list[np.ndarray]:
        received: list[np.ndarray] = []
        while len(received) < answers and (packet := self.core.take()) is not None:
            received.append(packet)
            if int(packet[0]) >> 24 == Answer.ERROR:
                break
        return received

    def send_partial(self, words: np.ndarray, last: bool = False) -> None:
        """Queue words, by default without the mark of a packet's end; `run` sends them."""
        self.core.send(words, last=last)

    def run(self, cycles: int) -> None:
        """Clock for so many cycles."""
        self.core.step(cycles)

    def reset(self, cycles: int = 2) -> None:
        """Reset the core at once, whatever it is doing; forget all words under way."""
        self.core.reset(cycles)

    def close(self) -> None:
        """End the simulation."""
        self.core.close()
