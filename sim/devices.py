"""Simulated devices by name, for `quadfire.firmware.transports`.

| name | address | device |
|---|---|---|
| `sim` | none | the Verilated core in this process |
| `cocotb` | verilator or icarus | the core in a simulator that cocotb drives |
| `axi` | 32, 64 or 128, the width of its streams | the Verilated AXI shell in this process |
| `uart` | none | the Verilated core behind a UART, at a pseudo-terminal |

Every function takes (address, configuration) and raises ValueError for an address that it does not
know. It imports its simulation only when it is called.
"""

from quadfire.firmware.transports.serial_port import SerialTransport
from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["axi", "cocotb", "uart", "verilated"]


def _no_address(kind: str, address: str) -> None:
    if address:
        raise ValueError(f"{kind} takes no address, not {address!r}")


def verilated(address: str, config: ArrayConfig) -> Transport:
    """The Verilated core in this process."""
    from quadfire.sim.verilator.core import VerilatedTransport

    _no_address("sim", address)
    return VerilatedTransport(config)


def cocotb(address: str, config: ArrayConfig) -> Transport:
    """The core in a simulator that cocotb drives."""
    from quadfire.sim.cocotb.transport import CocotbTransport

    if address not in ("", "verilator", "icarus"):
        raise ValueError(f"cocotb takes a simulator, verilator or icarus, not {address!r}")
    return CocotbTransport(config, address or "verilator")


def axi(address: str, config: ArrayConfig) -> Transport:
    """The Verilated AXI shell in this process."""
    from quadfire.sim.verilator.axi_transport import VerilatedAxiTransport

    if address not in ("", "32", "64", "128"):
        raise ValueError(f"axi takes the width of its streams, 32, 64 or 128, not {address!r}")
    return VerilatedAxiTransport(config, stream_bits=int(address or 32))


class _ServedTransport(SerialTransport):
    """A serial transport that owns the server of its pseudo-terminal."""

    def __init__(self, config: ArrayConfig):
        from quadfire.sim.verilator.uart import UartServer

        self._server = UartServer(config)
        super().__init__(self._server.path, self._server.baud, patience=60.0)

    def close(self) -> None:
        """Close the port, then end the server."""
        super().close()
        self._server.close()


def uart(address: str, config: ArrayConfig) -> Transport:
    """The Verilated core behind a UART, at a pseudo-terminal."""
    _no_address("uart", address)
    return _ServedTransport(config)
