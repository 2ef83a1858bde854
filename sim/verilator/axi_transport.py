"""The Verilated AXI shell as hardware of the driver: its streams, or an AXI DMA in front of them.

| class | is |
|---|---|
| `VerilatedAxiTransport` | the unmodified `AxiTransport` on the Verilated shell |
| `ShellDma` | the DMA of that transport: it moves frames directly |
| `AxiDmaModel`, `Memory` | registers and memory of an AXI DMA, as the DMA driver sees them |
"""

import numpy as np

from quadfire.firmware.transports.axi import AxiTransport, Dma
from quadfire.firmware.transports.axi_dma import (
    ADDRESS,
    ADDRESS_HIGH,
    CONTROL,
    HALTED,
    IDLE,
    LENGTH,
    MM2S,
    RESET,
    RUN,
    S2MM,
    STATUS,
)
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.verilator.axi_shell import VerilatedShell

__all__ = ["AxiDmaModel", "Memory", "ShellDma", "VerilatedAxiTransport"]

#: Clock of the simulated device: it turns cycles into seconds.
CLOCK_HZ = 100e6


class ShellDma(Dma):
    """Moves frames between the caller and the streams of the Verilated shell.

    send_bytes, receive_bytes: the longest frames. The methods are those of `Dma`.
    """

    def __init__(self, shell: VerilatedShell, *, send_bytes: int, receive_bytes: int):
        self.shell, self.send_bytes, self.receive_bytes = shell, send_bytes, receive_bytes

    def send(self, words: np.ndarray) -> None:
        """Queue a frame."""
        self.shell.send(words)

    def sent(self) -> bool:
        """Whether the shell has taken all frames."""
        return self.shell.status.unsent == 0

    def receive(self) -> None:
        """Let the shell give one frame."""
        self.shell.listen(1)

    def received(self) -> np.ndarray | None:
        """The words of that frame, None while it is not complete."""
        frame = self.shell.frame()
        return None if frame is None else np.frombuffer(frame, "<u4").astype(np.uint32)

    def reset(self) -> None:
        """Remove all frames, and take no more."""
        self.shell.drop()
        while self.shell.frame() is not None:
            pass
        self.shell.listen(0)


class VerilatedAxiTransport(AxiTransport):
    """The driver's transport to a Verilated AXI shell.

    | argument | meaning |
    |---|---|
    | `stream_bits`, `idle`, `backpressure`, `seed` | see `VerilatedShell` |
    | `idle_limit` | cycles without a beat after which `exchange` gives up |
    | `send_bytes`, `receive_bytes` | the longest frames |
    """

    def __init__(self, config: ArrayConfig, *, stream_bits: int = 32, idle: float = 0.0,
                 backpressure: float = 0.0, seed: int = 0, idle_limit: int = 1_000_000,
                 send_bytes: int = 1 << 20, receive_bytes: int = 1 << 16):
        self.shell = VerilatedShell(config, stream_bits=stream_bits, idle=idle,
                                    backpressure=backpressure, seed=seed)
        super().__init__(self.shell.registers, ShellDma(self.shell, send_bytes=send_bytes,
                                                        receive_bytes=receive_bytes),
                         config, timeout=idle_limit / CLOCK_HZ, clock=lambda: simulated(self.shell),
                         pause=lambda: self.shell.step(200))

    @property
    def cycles(self) -> int:
        """Clock cycles since the simulation began."""
        return self.shell.status.cycles

    def close(self) -> None:
        """End the simulation. May be called again."""
        self.shell.close()


def simulated(shell: VerilatedShell) -> float:
    """Simulated time in seconds."""
    return shell.status.cycles / CLOCK_HZ


class Memory:
    """Memory that a DMA can reach: `size` bytes from address `base`."""

    def __init__(self, size: int, base: int):
        self.base, self.words = base, np.zeros(size // 4, np.uint32)

    def span(self, address: int, size: int) -> np.ndarray | None:
        """The words of `size` bytes at an address, None if not all of them are there."""
        first, count = (address - self.base) // 4, -(-size // 4)
        inside = 0 <= first and first + count <= len(self.words) and address % 4 == 0
        return self.words[first:first + count] if inside else None


class AxiDmaModel:
    """The registers of an AXI DMA in direct mode between `memory` and the Verilated shell.

    Every access to a register takes `cycles` clock cycles. A channel that is not started takes
    nothing from the shell. length_bits: width of the LENGTH registers. Source: Xilinx PG021.
    """

    def __init__(self, shell: VerilatedShell, memory: Memory, *, length_bits: int = 26,
                 cycles: int = 100):
        self.shell, self.memory, self.cycles = shell, memory, cycles
        self.length_mask = (1 << length_bits) - 1
        self._reset()

    def _reset(self) -> None:
        self._registers = {channel + offset: 0 for channel in (MM2S, S2MM)
                           for offset in (CONTROL, STATUS, ADDRESS, ADDRESS_HIGH, LENGTH)}
        for channel in (MM2S, S2MM):
            self._registers[channel + STATUS] = HALTED
        self._busy = {MM2S: False, S2MM: False}
        self.shell.drop()
        while self.shell.frame() is not None:
            pass
        self.shell.listen(0)

    def read(self, offset: int) -> int:
        """Read a register."""
        self._work()
        return self._registers[offset]

    def write(self, offset: int, value: int) -> None:
        """Write a register. A write to LENGTH starts a transfer."""
        self._work()
        channel, offset = (S2MM, offset - S2MM) if offset >= S2MM else (MM2S, offset)
        place = channel + offset
        if offset == CONTROL and value & RESET:
            self._reset()
        elif offset == CONTROL:
            self._registers[place] = value & ~RESET
            status = self._registers[channel + STATUS]
            self._registers[channel + STATUS] = (status & ~HALTED if value & RUN
                                                 else status & ~IDLE | HALTED)
        elif offset == STATUS:
            self._registers[place] &= ~(value & 0x7000)
        elif offset == LENGTH:
            self._registers[place] = value & self.length_mask
            self._start(channel)
        else:
            self._registers[place] = value

    def _fail(self, channel: int, error: int) -> None:
        """Set an error bit of the status and halt the channel."""
        self._registers[channel + STATUS] |= error | HALTED
        self._registers[channel + CONTROL] &= ~RUN
        self._busy[channel] = False

    def _span(self, channel: int) -> np.ndarray | None:
        """The memory that the channel's ADDRESS and LENGTH name."""
        address = self._registers[channel + ADDRESS] | self._registers[channel + ADDRESS_HIGH] << 32
        return self.memory.span(address, self._registers[channel + LENGTH])

    def _start(self, channel: int) -> None:
        """Start a transfer, if the channel runs and its memory is there."""
        if self._registers[channel + STATUS] & HALTED:
            return
        if not self._registers[channel + LENGTH]:
            return self._fail(channel, 1 << 4)
        words = self._span(channel)
        if words is None:
            return self._fail(channel, 1 << 6)
        self._registers[channel + STATUS] &= ~IDLE
        self._busy[channel] = True
        if channel == MM2S:
            self.shell.send(words.tobytes()[:self._registers[channel + LENGTH]])
        else:
            self.shell.listen(1)

    def _work(self) -> None:
        """Let time pass, and end the transfers that are complete."""
        self.shell.step(self.cycles)
        if self._busy[MM2S] and self.shell.status.unsent == 0:
            self._finish(MM2S)
        if self._busy[S2MM] and (frame := self.shell.frame()) is not None:
            words = self._span(S2MM)
            if words is None or len(frame) > self._registers[S2MM + LENGTH]:
                return self._fail(S2MM, 1 << 4)
            words[:len(frame) // 4] = np.frombuffer(frame, "<u4")
            self._registers[S2MM + LENGTH] = len(frame)
            self._finish(S2MM)

    def _finish(self, channel: int) -> None:
        """Report the end of a transfer in the status."""
        self._registers[channel + STATUS] |= IDLE | 1 << 12
        self._busy[channel] = False
