"""The core in this process: a Verilated shared library, and the driver's transport to it.

    transport = VerilatedTransport(preset("tiny"), idle=0.2, backpressure=0.5, seed=1)
    answers = transport.exchange([packet, ...], answers=1)
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quadfire.files import check_writable
from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Answer
from quadfire.sim.verilator import build

__all__ = ["ProtocolError", "Status", "VerilatedCore", "VerilatedTransport"]

#: Cycles between two returns to Python, in which Ctrl-C is noticed.
_SLICE = 1 << 20
_FOREVER = (1 << 64) - 1
_DONE, _NO_PROGRESS, _VIOLATION = 1, 2, 3
_VIOLATIONS = ("", "tvalid fell before tready", "tdata changed before tready",
               "tlast changed before tready")


class ProtocolError(AssertionError):
    """The core broke a rule of AXI4-Stream."""


@dataclass(frozen=True)
class Status:
    """What has happened since the core was made.

    | field | meaning |
    |---|---|
    | `cycles` | clock cycles, those of reset included |
    | `sent`, `taken` | words that went into and came out of the core |
    | `unsent` | words in the input queue |
    | `packets` | packets received and not taken by the caller |
    | `violations` | cycles in which a rule of AXI4-Stream was broken |
    | `violation`, `violation_cycle` | kind and cycle of the first violation |
    """

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
    """A simulated core with a queue of words to send and a queue of packets received.

    | argument | meaning |
    |---|---|
    | `idle`, `backpressure` | probability that a cycle offers no word, takes no word |
    | `seed` | makes both repeatable |
    | `trace` | a VCD file to write |
    | `trace_cycles` | its first cycle, and the one after its last |
    | `harness` | a C++ file that includes harness.cpp |
    | `threads` | threads that share the work of a cycle |

    Raises ValueError unless 0 <= idle < 1 and 0 <= backpressure < 1.
    """

    def __init__(self, verilog: str, *, top: str = "quadfire", idle: float = 0.0,
                 backpressure: float = 0.0, seed: int = 0, trace: Path | str | None = None,
                 trace_cycles: tuple[int, int] = (0, _FOREVER), harness: Path = build.HARNESS,
                 threads: int = 1):
        self._core = None
        _probability("idle", idle)
        _probability("backpressure", backpressure)
        if trace is not None:
            check_writable(trace)       # the simulation itself would say nothing
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
        """The counts of the harness."""
        values = (ctypes.c_uint64 * 8)()
        self._lib.qf_status(self._handle(), values)
        return Status(*values)

    def send(self, words: np.ndarray, *, last: bool = True) -> None:
        """Queue words for the input. `last`: the final one ends a packet."""
        words = np.ascontiguousarray(words, dtype=np.uint32)
        self._lib.qf_send(self._handle(), words.ctypes.data, words.size, last)

    def drop(self) -> None:
        """Remove the queued words that are not on offer yet."""
        self._lib.qf_drop(self._handle())

    def take(self) -> np.ndarray | None:
        """Take the oldest packet received. None if there is none."""
        size = self._lib.qf_take(self._handle(), None)
        if size < 0:
            return None
        words = np.empty(size, dtype=np.uint32)
        self._lib.qf_take(self._handle(), words.ctypes.data)
        return words

    def run(self, answers: int, idle_limit: int) -> bool:
        """Clock until all words are sent and `answers` packets are there, or an error answer is.

        Returns False if no word was transferred for `idle_limit` cycles. Raises ProtocolError if
        the core breaks a rule of AXI4-Stream.
        """
        self._lib.qf_patience(self._handle())
        while True:
            result = self._lib.qf_run(self._handle(), _SLICE, answers, idle_limit)
            if result == _VIOLATION:
                self._check()
            if result:
                return result == _DONE

    def step(self, cycles: int = 1) -> None:
        """Clock for some cycles. Queued words are sent and packets collected meanwhile."""
        while cycles > 0:
            self._lib.qf_step(self._handle(), min(cycles, _SLICE))
            cycles -= _SLICE
        self._check()

    def reset(self, cycles: int = 2) -> None:
        """Hold reset for some cycles. Empties both queues, also of half a packet."""
        self._lib.qf_reset(self._handle(), cycles)

    def close(self) -> None:
        """End the simulation and complete its waveform. May be called again."""
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

    | argument | meaning |
    |---|---|
    | `idle`, `backpressure`, `seed`, `trace`, `trace_cycles`, `threads` | see `VerilatedCore` |
    | `idle_limit` | cycles without a transfer after which `exchange` gives up |
    | `verilog` | simulate this text instead of the core of `config` |
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
        """Send packets while receiving. Returns the next `answers` packets from the core.

        An error answer ends the exchange: it is the last packet returned, and packets that are not
        sent by then are removed. Raises TimeoutError if no word is transferred for `idle_limit`
        cycles; the core must be reset then.
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
        """Queue words, by default without the end of a packet. `run` sends them."""
        self.core.send(words, last=last)

    def run(self, cycles: int) -> None:
        """Clock for some cycles."""
        self.core.step(cycles)

    def reset(self, cycles: int = 2) -> None:
        """Reset the core, whatever it is doing, and forget all words that are under way."""
        self.core.reset(cycles)

    def close(self) -> None:
        """End the simulation. May be called again."""
        self.core.close()
