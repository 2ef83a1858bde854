"""The AXI shell in this process: a Verilated shared library, with its bus and its streams.

    shell = VerilatedShell(preset("tiny"), stream_bits=64, idle=0.2, backpressure=0.5)
    shell.read(find("magic").offset)
"""

import ctypes
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quadfire.files import check_writable
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.register_access import Registers
from quadfire.sim.verilator import build
from quadfire.sim.verilator.core import ProtocolError

__all__ = ["HARNESS", "BusError", "ShellStatus", "VerilatedShell"]

HARNESS = Path(__file__).parent / "cpp" / "axi_harness.cpp"

TOP = "quadfire_axi"


class BusError(OSError):
    """The shell answered an access to a register with another response than OKAY."""


class ShellStatus(NamedTuple):
    """What has happened since the shell was made.

    | field | meaning |
    |---|---|
    | `cycles` | clock cycles |
    | `sent`, `taken` | beats that went into and came out of the shell |
    | `unsent` | beats in the input queue |
    | `frames` | frames received and not taken by the caller |
    | `irq` | level of the interrupt |
    | `violations` | 1 if a rule of AXI was broken |
    """

    cycles: int
    sent: int
    taken: int
    unsent: int
    frames: int
    irq: int
    violations: int


def _load(path: Path) -> ctypes.CDLL:
    handle, u64, u32, pointer = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32,
                                 ctypes.c_void_p)
    lib = ctypes.CDLL(str(path))
    for name, result, arguments in (
            ("qa_open", handle, (u64, ctypes.c_double, ctypes.c_double, ctypes.c_char_p)),
            ("qa_close", None, (handle,)), ("qa_reset", None, (handle, u64)),
            ("qa_stalls", None, (handle, ctypes.c_double, ctypes.c_double)),
            ("qa_step", None, (handle, u64)), ("qa_listen", None, (handle, ctypes.c_int64)),
            ("qa_write", ctypes.c_int, (handle, u32, u32, u32)),
            ("qa_read", ctypes.c_int, (handle, u32, pointer)),
            ("qa_send", None, (handle, pointer, u64, ctypes.c_int)),
            ("qa_beat", None, (handle, pointer, u32, ctypes.c_int)), ("qa_drop", None, (handle,)),
            ("qa_frame", ctypes.c_int64, (handle, pointer)), ("qa_status", None, (handle, pointer)),
            ("qa_violation", ctypes.c_char_p, (handle,))):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


class VerilatedShell:
    """A simulated AXI shell with an AXI4-Lite master, a source and a sink.

    | argument | meaning |
    |---|---|
    | `stream_bits` | width of both streams |
    | `idle`, `backpressure` | probability that a cycle offers, takes nothing on a channel |
    | `seed` | makes both repeatable |
    | `trace` | a VCD file to write |

    Every method that clocks raises ProtocolError once the shell has broken a rule of AXI.
    """

    def __init__(self, config: ArrayConfig, *, stream_bits: int = 32, idle: float = 0.0,
                 backpressure: float = 0.0, seed: int = 0, trace: Path | str | None = None):
        self._shell = None
        for name, value in (("idle", idle), ("backpressure", backpressure)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must lie in 0..1 and be below 1, not {value!r}")
        if trace is not None:
            check_writable(trace)       # the simulation itself would say nothing
        self.config, self.stream_bits = config, stream_bits
        self._lib = _load(build.library(build.axi_verilog(config, stream_bits), top=TOP,
                                        trace=trace is not None, harness=HARNESS))
        self._shell = self._lib.qa_open(seed, idle, backpressure,
                                        None if trace is None else str(trace).encode())
        self.registers = Registers(self.read, self.write)

    @property
    def status(self) -> ShellStatus:
        """The counts of the harness."""
        values = (ctypes.c_uint64 * len(ShellStatus._fields))()
        self._lib.qa_status(self._handle(), values)
        return ShellStatus(*values)

    def read(self, address: int) -> int:
        """Read a register. Raises BusError on SLVERR."""
        word = ctypes.c_uint32()
        self._answer("read", address, self._lib.qa_read(self._handle(), address,
                                                        ctypes.byref(word)))
        return word.value

    def write(self, address: int, value: int, strobe: int = 0xF) -> None:
        """Write those bytes of a register that `strobe` selects. Raises BusError on SLVERR."""
        self._answer("write", address, self._lib.qa_write(self._handle(), address, value, strobe))

    def stall(self, idle: float, backpressure: float) -> None:
        """Change the probabilities of stalls."""
        self._lib.qa_stalls(self._handle(), idle, backpressure)

    def listen(self, frames: int) -> None:
        """Take some more frames, then hold TREADY low. -1: take all frames."""
        self._lib.qa_listen(self._handle(), frames)

    def step(self, cycles: int = 1) -> None:
        """Clock for some cycles."""
        self._lib.qa_step(self._handle(), cycles)
        self._check()

    def send(self, content: bytes | np.ndarray, *, last: bool = True) -> None:
        """Queue bytes or uint32 words as full beats. `last`: TLAST on the final one."""
        if isinstance(content, np.ndarray):
            content = np.ascontiguousarray(content, "<u4").tobytes()
        self._lib.qa_send(self._handle(), content, len(content), last)

    def beat(self, words: list[int], keep: int, last: int) -> None:
        """Queue one beat as it is, right or wrong."""
        array = (ctypes.c_uint32 * 4)(*words)
        self._lib.qa_beat(self._handle(), array, keep, last)

    def drop(self) -> None:
        """Remove the queued beats that are not on offer yet."""
        self._lib.qa_drop(self._handle())

    def frame(self) -> bytes | None:
        """Take the oldest frame received. None if there is none."""
        size = self._lib.qa_frame(self._handle(), None)
        if size < 0:
            return None
        content = (ctypes.c_uint8 * max(size, 1))()
        self._lib.qa_frame(self._handle(), content)
        return bytes(content)[:size]

    def reset(self, cycles: int = 4) -> None:
        """Hold `aresetn` low for some cycles, and forget everything that is under way."""
        self._lib.qa_reset(self._handle(), cycles)

    def close(self) -> None:
        """End the simulation. May be called again."""
        if self._shell is not None:
            self._lib.qa_close(self._shell)
            self._shell = None

    def _handle(self) -> int:
        if self._shell is None:
            raise ValueError("the simulated shell is closed")
        return self._shell

    def _answer(self, what: str, address: int, response: int) -> None:
        self._check()
        if response < 0:
            raise ProtocolError(f"s_axi: no response to a {what} of {address:#05x}")
        if response:
            raise BusError(f"{what} of {address:#05x}: response {response} (SLVERR is 2)")

    def _check(self) -> None:
        if text := self._lib.qa_violation(self._handle()):
            raise ProtocolError(text.decode())

    def __del__(self):
        self.close()
