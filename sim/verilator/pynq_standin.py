"""A stand-in for the module `pynq`, with the Verilated AXI shell as its board.

    pynq = Pynq(config, stream_bits=64)
    transport = open_overlay("quadfire.bit", config, pynq=pynq)

It has those parts of PYNQ 3 that a driver may use: `Overlay`, with the shell and the DMA as
attributes, and `allocate`. Buffers are cached, as on a Zynq without coherent ports: the DMA sees
what the program has flushed, the program sees what it has invalidated.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from quadfire.firmware.transports.axi_dma import (
    ADDRESS,
    ADDRESS_HIGH,
    CONTROL,
    HALTED,
    IDLE,
    LENGTH,
    MM2S,
    RUN,
    S2MM,
    STATUS,
)
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.verilator.axi_shell import VerilatedShell
from quadfire.sim.verilator.axi_transport import AxiDmaModel, Memory

__all__ = ["Buffer", "Pynq"]

_ERRORS = 0x70


class Buffer(np.ndarray):
    """An array from `allocate`: its part of the memory, as the processor's cache has it."""

    memory: np.ndarray
    physical_address: int
    freed = False

    def flush(self) -> None:
        """Write the cache to memory."""
        self.memory[:] = np.asarray(self).ravel().view(np.uint32)

    def invalidate(self) -> None:
        """Read the cache from memory again."""
        np.asarray(self).ravel().view(np.uint32)[:] = self.memory

    def freebuffer(self) -> None:
        """Mark the buffer as freed."""
        self.freed = True


class Channel:
    """`sendchannel` or `recvchannel` of PYNQ's DMA in simple mode, with PYNQ's own names."""

    def __init__(self, engine: AxiDmaModel, offset: int, max_size: int):
        self._engine, self._offset, self._max_size = engine, offset, max_size
        self._buffer: Buffer | None = None
        self._first = True
        self.transferred = 0
        self.start()

    def _status(self) -> int:
        return self._engine.read(self._offset + STATUS)

    @property
    def running(self) -> bool:
        """Whether the channel is not halted."""
        return not self._status() & HALTED

    @property
    def idle(self) -> bool:
        """Whether no transfer is under way."""
        return bool(self._status() & IDLE)

    @property
    def error(self) -> bool:
        """Whether the status has an error."""
        return bool(self._status() & _ERRORS)

    def start(self) -> None:
        """Let the channel run."""
        self._engine.write(self._offset + CONTROL, RUN)
        self._first = True

    def transfer(self, array: Buffer, start: int = 0, nbytes: int = 0) -> None:
        """Start a transfer of `nbytes` of a buffer, 0: of all after `start`.

        Raises RuntimeError if the channel is halted or busy, ValueError if it is too long.
        """
        if not self.running:
            raise RuntimeError("DMA channel not started")
        if not self.idle and not self._first:
            raise RuntimeError("DMA channel not idle")
        nbytes = nbytes or array.nbytes - start
        if nbytes > self._max_size:
            raise ValueError(f"transfer of {nbytes} bytes exceeds {self._max_size}")
        if self._offset == MM2S:
            array.flush()
        address = array.physical_address + start
        self._engine.write(self._offset + ADDRESS, address & 0xFFFFFFFF)
        self._engine.write(self._offset + ADDRESS_HIGH, address >> 32)
        self._engine.write(self._offset + LENGTH, nbytes)
        self._buffer, self._first = array, False

    def wait(self) -> None:
        """Wait for the end of the transfer. Raises RuntimeError if the channel halts or fails."""
        if not self.running:
            raise RuntimeError("DMA channel not started")
        while not self.idle:
            if self.error:
                raise RuntimeError("DMA error")
        if self._offset == S2MM and self._buffer is not None:
            self._buffer.invalidate()
        self.transferred = self._engine.read(self._offset + LENGTH)


class Pynq:
    """The module `pynq` on a board whose bitstream has the AXI shell of `config`.

    size: bytes of its memory. length_bits: see `AxiDmaModel`. shell: options of `VerilatedShell`.
    """

    def __init__(self, config: ArrayConfig, *, size: int = 1 << 22, length_bits: int = 26,
                 **shell: Any):
        self.shell = VerilatedShell(config, **shell)
        self.memory = Memory(size, 0x1000_0000)
        self.length_bits = length_bits
        self._used = 0
        self.bitfile = ""

    def Overlay(self, bitfile_name: str) -> SimpleNamespace:    # noqa: N802  (PYNQ's own name)
        """Load a bitstream. Returns the shell and its DMA, just reset."""
        self.bitfile = bitfile_name
        self.shell.reset()
        engine = AxiDmaModel(self.shell, self.memory, length_bits=self.length_bits)
        size = 1 << self.length_bits
        dma = SimpleNamespace(read=engine.read, write=engine.write,
                              sendchannel=Channel(engine, MM2S, size),
                              recvchannel=Channel(engine, S2MM, size))
        device = SimpleNamespace(read=self.shell.read, write=self.shell.write)
        return SimpleNamespace(quadfire_0=device, axi_dma_0=dma)

    def allocate(self, shape: Sequence[int] | int, dtype: Any = np.uint32) -> Buffer:
        """Allocate an array that the DMA can reach. Raises MemoryError if there is no room."""
        array = np.zeros(shape, dtype).view(Buffer)
        words = array.nbytes // 4
        array.memory = self.memory.words[self._used:self._used + words]
        if len(array.memory) < words:
            raise MemoryError(f"no room for {array.nbytes} bytes")
        array.physical_address = self.memory.base + 4 * self._used
        self._used += words + (-words & 15)
        return array
