"""Transports: ways to a device, opened by name.

    open_device("serial:/dev/ttyUSB0:3000000", config)

A name is a kind of device, then its address after a colon. `KINDS` lists the kinds. The module of a
kind is imported when a device of it is opened, so no kind needs the packages of another.

| file | holds |
|---|---|
| `transport` | the interface, `Transport` |
| `counting` | a transport that counts the bytes of another |
| `serial_link`, `serial_port` | a board at a serial port: the protocol, the port |
| `axi` | a device with the AXI shell, behind registers and a DMA |
| `axi_dma` | AMD's AXI DMA by its registers |
| `uio` | registers and DMA memory as files of Linux |
| `pynq` | registers and DMA of a PYNQ overlay |
"""

import importlib
import importlib.util
from dataclasses import dataclass

from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["KINDS", "Kind", "kind_of", "open_device"]


@dataclass(frozen=True)
class Kind:
    """A kind of device.

    | field | meaning |
    |---|---|
    | form | how its name is written |
    | about | what it is |
    | maker | "module:function" of (address, config) that returns a Transport |
    | needs | a Python package that it needs |
    | real | it has a configuration of its own; others are made for the one that is wanted |

    The maker raises ValueError for an address that it cannot read. Of a real device it takes None
    as config, for whatever the device is.
    """

    form: str
    about: str
    maker: str
    needs: str
    real: bool = False

    @property
    def available(self) -> bool:
        """Whether the package that it needs is installed."""
        return importlib.util.find_spec(self.needs) is not None


_SIMULATED, _HERE = "quadfire.sim.devices", "quadfire.firmware.transports"

#: Every kind of device by the word before the colon.
KINDS = {
    "sim": Kind(
        form="sim", needs="verilator", maker=f"{_SIMULATED}:verilated",
        about="the Verilated array in this process"),
    "cocotb": Kind(
        form="cocotb[:verilator|icarus]", needs="cocotb", maker=f"{_SIMULATED}:cocotb",
        about="the array in a cocotb simulation, slow"),
    "uart": Kind(
        form="uart", needs="serial", maker=f"{_SIMULATED}:uart",
        about="the array behind a Verilated UART, through a pseudo-terminal"),
    "axi": Kind(
        form="axi[:WIDTH]", needs="verilator", maker=f"{_SIMULATED}:axi",
        about="the array in a Verilated AXI shell, streams of WIDTH bits"),
    "pynq": Kind(
        form="pynq:BITFILE", needs="pynq", maker=f"{_HERE}.pynq:open_overlay", real=True,
        about="a Zynq board with PYNQ, by an overlay"),
    "serial": Kind(
        form="serial:PORT[:BAUD]", needs="serial", maker=f"{_HERE}.serial_port:from_address",
        real=True, about="a board, or `quadfire serve`, at a serial port"),
}


def kind_of(name: str) -> tuple[Kind, str]:
    """(kind, address) of a device's name; raises ValueError that lists the kinds there are."""
    word, _, address = name.partition(":")
    if word not in KINDS:
        raise ValueError(f"no kind of device is called {word!r}; there are "
                         + ", ".join(kind.form for kind in KINDS.values()))
    return KINDS[word], address


def open_device(name: str, config: ArrayConfig | None) -> Transport:
    """Open the transport to the device called `name`.

    config: what a simulated device is made from, or what a real one must be. None takes a real
    device as it is. Raises ValueError, OSError or TimeoutError, with the reason.
    """
    kind, address = kind_of(name)
    if config is None and not kind.real:
        raise ValueError(f"{name!r} is made for a configuration: which one?")
    if not kind.available:
        raise ValueError(f"{name!r} needs the Python package {kind.needs}, which is not installed")
    module, _, maker = kind.maker.partition(":")
    return getattr(importlib.import_module(module), maker)(address, config)
