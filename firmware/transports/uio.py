"""Registers and DMA memory as files of Linux: /dev/uio, /dev/mem, u-dma-buf.

    with open_device(Region("/dev/uio0", 4096), Region("/dev/uio1", 4096),
                     *buffer("udmabuf0"), config) as transport:
        device = Accelerator(transport, config)

or, as root and with addresses from the block design:

    Region("/dev/mem", 4096, offset=0x43C0_0000)
"""

import mmap
import os
from pathlib import Path

import numpy as np

from quadfire.firmware.transports.axi import AxiTransport
from quadfire.firmware.transports.axi_dma import AxiDma
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.register_access import Registers

__all__ = ["Region", "buffer", "open_device"]


class Region:
    """`size` bytes of a file from `offset` on, mapped into memory; uncached if it is a device.

    read and write move one 32-bit word at a byte offset.
    """

    def __init__(self, path: str | Path, size: int, *, offset: int = 0):
        if offset % mmap.PAGESIZE:
            raise ValueError(f"offset must be a multiple of {mmap.PAGESIZE}, not {offset:#x}")
        if size < 4 or size % 4:
            raise ValueError(f"size must be a multiple of 4, not {size!r}")
        file = os.open(path, os.O_RDWR | os.O_SYNC)
        try:
            self._map = mmap.mmap(file, size, offset=offset)
        finally:
            os.close(file)
        self.words = np.frombuffer(self._map, np.uint32)

    def read(self, offset: int) -> int:
        return int(self.words[self._place(offset)])

    def write(self, offset: int, value: int) -> None:
        self.words[self._place(offset)] = value

    def _place(self, offset: int) -> int:
        """The word at a byte offset."""
        if offset % 4:
            raise ValueError(f"offset must be a multiple of 4, not {offset:#x}")
        return offset // 4


def buffer(name: str, system: Path = Path("/sys/class/u-dma-buf"), devices: Path = Path("/dev")
           ) -> tuple[Region, int]:
    """(memory of the u-dma-buf device called `name`, its physical address)."""
    about = system / name
    if not about.is_dir():
        raise FileNotFoundError(f"{about} is not there: is the u-dma-buf module loaded?")
    size = int((about / "size").read_text())
    return Region(devices / name, size), int((about / "phys_addr").read_text(), 0)


def open_device(registers: Region, dma: Region, memory: Region, physical: int,
                config: ArrayConfig, *, length_bits: int = 26, timeout: float = 5.0
                ) -> AxiTransport:
    """The transport to a device whose shell, DMA and DMA memory are these regions.

    physical: the DMA's address of the memory. Raises what AxiTransport and AxiDma raise.
    """
    engine = AxiDma(dma, memory.words, physical, length_bits=length_bits)
    return AxiTransport(Registers(registers.read, registers.write), engine, config,
                        timeout=timeout)
