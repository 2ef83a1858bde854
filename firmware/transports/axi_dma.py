"""AMD's AXI DMA by its registers, in direct mode (PG021, "Direct Register Mode").

The engine needs both channels, no scatter-gather, and a length register that holds the frames.
"""

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from quadfire.firmware.transports.axi import Dma, DmaError

__all__ = ["AxiDma", "RegisterBus"]

#: Byte offsets of the channels, and of the registers in a channel.
MM2S, S2MM = 0x00, 0x30
CONTROL, STATUS, ADDRESS, ADDRESS_HIGH, LENGTH = 0x00, 0x04, 0x18, 0x1C, 0x28
RUN, RESET = 1 << 0, 1 << 2                     # of CONTROL
HALTED, IDLE = 1 << 0, 1 << 1                   # of STATUS
ERRORS = {1 << 4: "internal error: a length of 0, or a frame longer than its buffer",
          1 << 5: "slave error: the memory refused an access",
          1 << 6: "decode error: there is no memory at the address"}

#: Reads of a register before a channel that does not obey is given up.
PATIENCE = 10_000


class RegisterBus(Protocol):
    """32-bit registers at byte offsets."""

    def read(self, offset: int) -> int: ...
    def write(self, offset: int, value: int) -> object: ...


class AxiDma(Dma):
    """An AXI DMA.

    | argument | meaning |
    |---|---|
    | registers | of the engine |
    | memory | uint32 array in memory that the engine reaches, uncached or coherent |
    | physical | the engine's address of its first word |
    | length_bits | "Width of Buffer Length Register": limits a transfer |
    | pause | what to do between two reads of a register |

    The first half of the memory is sent, the second half received.
    """

    def __init__(self, registers: RegisterBus, memory: np.ndarray, physical: int, *,
                 length_bits: int = 26, pause: Callable[[], object] = lambda: time.sleep(20e-6)):
        if memory.dtype != np.uint32 or memory.ndim != 1 or len(memory) < 2:
            raise ValueError(f"memory must be a uint32 array of at least 2 words, not "
                             f"{memory.dtype} {list(memory.shape)}")
        if not 8 <= length_bits <= 26:
            raise ValueError(f"length_bits must be in 8..26, not {length_bits!r}")
        if physical % 4:
            raise ValueError(f"the memory must begin at a word, not at {physical:#x}")
        self._registers, self._pause = registers, pause
        longest = (1 << length_bits) - 4
        half = len(memory) // 2 & ~15                       # whole, aligned beats of any width
        half = half or len(memory) // 2
        self._out, self._in = memory[:half], memory[half:2 * half]
        self._out_address, self._in_address = physical, physical + 4 * half
        self.send_bytes = self.receive_bytes = min(4 * half, longest)
        self._sending = self._receiving = False

    def send(self, words: np.ndarray) -> None:
        self._out[:len(words)] = words
        self._start(MM2S, self._out_address, 4 * len(words))
        self._sending = True

    def sent(self) -> bool:
        if self._sending and self._ended(MM2S):
            self._sending = False
        return not self._sending

    def receive(self) -> None:
        self._start(S2MM, self._in_address, self.receive_bytes)
        self._receiving = True

    def received(self) -> np.ndarray | None:
        if not (self._receiving and self._ended(S2MM)):
            return None
        self._receiving = False
        return self._in[:self._registers.read(S2MM + LENGTH) // 4].copy()

    def reset(self) -> None:
        """Reset the engine and start both channels again."""
        self._registers.write(MM2S + CONTROL, RESET)
        self._wait(lambda: not self._registers.read(MM2S + CONTROL) & RESET, "does not reset")
        for channel in (MM2S, S2MM):
            self._registers.write(channel + CONTROL, RUN)
            self._wait(lambda channel=channel: not self._registers.read(channel + STATUS) & HALTED,
                       "does not run")
        self._sending = self._receiving = False

    def close(self) -> None:
        """Stop the engine, so that it never writes into memory that others get next."""
        self._registers.write(MM2S + CONTROL, RESET)

    def _start(self, channel: int, address: int, length: int) -> None:
        """Begin a transfer."""
        self._registers.write(channel + ADDRESS, address & 0xFFFFFFFF)
        self._registers.write(channel + ADDRESS_HIGH, address >> 32)
        self._registers.write(channel + LENGTH, length)     # this starts it

    def _ended(self, channel: int) -> bool:
        """Whether a transfer has ended; raises DmaError if it failed."""
        status = self._registers.read(channel + STATUS)
        for bit, text in ERRORS.items():
            if status & bit:
                way = "to the device" if channel == MM2S else "from the device"
                raise DmaError(f"the DMA {way} stopped: {text}")
        return bool(status & IDLE)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition; raises DmaError where it does not come."""
        for _ in range(PATIENCE):
            if condition():
                return
            self._pause()
        raise DmaError(f"the AXI DMA {what}: is it in the bitstream, and at this address?")
