"""The transport to a device in a PYNQ 3 overlay, by `Overlay`, `DMA` and `allocate`.

    transport = open_overlay("quadfire.bit", config)
    with Accelerator(transport, config) as device: ...
"""

from typing import Any

import numpy as np

from quadfire.firmware.transports.axi import AxiTransport, Dma, DmaError
from quadfire.firmware.transports.axi_dma import CONTROL, MM2S, PATIENCE, RESET
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.register_access import Registers

__all__ = ["PynqDma", "open_overlay"]


class PynqDma(Dma):
    """A `pynq.lib.DMA` in simple mode, with buffers from `pynq.allocate`.

    The buffers may be cached: PYNQ's DMA flushes what is sent and invalidates what was received.
    """

    def __init__(self, dma: Any, allocate: Any, *, send_bytes: int, receive_bytes: int):
        self._dma = dma
        self.send_bytes, self.receive_bytes = send_bytes, receive_bytes
        self._out = allocate(shape=(send_bytes // 4,), dtype=np.uint32)
        self._in = allocate(shape=(receive_bytes // 4,), dtype=np.uint32)
        self._sending = self._receiving = False

    def send(self, words: np.ndarray) -> None:
        self._out[:len(words)] = words
        self._dma.sendchannel.transfer(self._out, nbytes=4 * len(words))
        self._sending = True

    def sent(self) -> bool:
        if self._sending and self._ended(self._dma.sendchannel, "to the device"):
            self._dma.sendchannel.wait()
            self._sending = False
        return not self._sending

    def receive(self) -> None:
        self._dma.recvchannel.transfer(self._in)
        self._receiving = True

    def received(self) -> np.ndarray | None:
        channel = self._dma.recvchannel
        if not (self._receiving and self._ended(channel, "from the device")):
            return None
        channel.wait()
        self._receiving = False
        return np.array(self._in[:channel.transferred // 4])

    def reset(self) -> None:
        """Reset the engine. A channel's `stop` would wait for a frame that may never come."""
        self._dma.write(MM2S + CONTROL, RESET)
        for _ in range(PATIENCE):
            if not self._dma.read(MM2S + CONTROL) & RESET:
                break
        else:
            raise DmaError("the AXI DMA does not reset")
        self._dma.sendchannel.start()
        self._dma.recvchannel.start()
        self._sending = self._receiving = False

    def close(self) -> None:
        """Stop the engine and free the buffers."""
        self._dma.write(MM2S + CONTROL, RESET)
        self._out.freebuffer()
        self._in.freebuffer()

    @staticmethod
    def _ended(channel: Any, way: str) -> bool:
        """Whether a transfer has ended; raises DmaError if it failed."""
        if channel.error:
            raise DmaError(f"the DMA {way} stopped with an error")
        return bool(channel.idle)


def open_overlay(bitfile: str, config: ArrayConfig | None, *, device: str = "quadfire_0",
                 dma: str = "axi_dma_0", send_bytes: int = 1 << 20, receive_bytes: int = 1 << 18,
                 timeout: float = 5.0, pynq: Any = None, **options: Any
                 ) -> AxiTransport:
    """Load an overlay and open the transport to the device in it.

    | argument | meaning |
    |---|---|
    | config | what the device must be; None takes it as it is |
    | device, dma | names of the shell and its DMA in the block design |
    | send_bytes, receive_bytes | sizes of the buffers, within the DMA's length register |
    | pynq | the module, if not the installed one |
    | options | as for AxiTransport |

    Raises what PYNQ and AxiTransport raise.
    """
    if pynq is None:
        import pynq  # pyright: ignore[reportMissingImports]  (only on the board)
    overlay = pynq.Overlay(bitfile)
    registers = getattr(overlay, device)
    engine = PynqDma(getattr(overlay, dma), pynq.allocate, send_bytes=send_bytes,
                     receive_bytes=receive_bytes)
    return AxiTransport(Registers(registers.read, registers.write), engine, config,
                        timeout=timeout, **options)
