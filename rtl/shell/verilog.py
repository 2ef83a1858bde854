"""Verilog of the AXI shell: port names as vendor tools and cocotbext-axi infer them."""

from amaranth import *
from amaranth.lib.wiring import In

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.module_library import PortDirection, convert
from quadfire.rtl.verilog import describe, header, to_verilog
from quadfire.rtl.shell.axi_lite import AXI_LITE
from quadfire.rtl.shell.shell import AxiShell

__all__ = ["TOP", "generate"]

TOP = "quadfire_axi"

#: What the ports of a stream are called, and the part of the stream that each one is.
_STREAM = {"tdata": "data", "tkeep": "keep", "tlast": "last"}


def _ports(shell: AxiShell) -> dict[str, tuple[Signal, Value, bool]]:
    """Name -> (port, the value of the shell, is it an input of the shell?)."""
    ports: dict[str, tuple[Signal, Value, bool]] = {}

    def add(name: str, value, inward: bool) -> None:
        value = Value.cast(value)
        ports[name] = (Signal(len(value), name=name), value, inward)

    for channel, member in AXI_LITE.members.items():
        port, inward = getattr(shell.axi, channel), member.flow == In
        for field in port.payload.shape().members:
            add(f"s_axi_{channel}{field}", getattr(port.payload, field), inward)
        add(f"s_axi_{channel}valid", port.valid, inward)
        add(f"s_axi_{channel}ready", port.ready, not inward)
    for name, port, inward in (("s_axis", shell.tape, True), ("m_axis", shell.answers, False)):
        for suffix, field in _STREAM.items():
            add(f"{name}_{suffix}", getattr(port.payload, field), inward)
        add(f"{name}_tvalid", port.valid, inward)
        add(f"{name}_tready", port.ready, not inward)
    add("irq", shell.irq, False)
    return ports


class _Named(Elaboratable):
    """The shell with `aclk`, `aresetn` and the port names of AXI."""

    def __init__(self, shell: AxiShell, aclk: Signal, aresetn: Signal, ports: dict):
        self.shell, self.aclk, self.aresetn, self.ports = shell, aclk, aresetn, ports

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.d.comb += [ClockSignal().eq(self.aclk), ResetSignal().eq(~self.aresetn)]
        m.submodules.shell = self.shell
        for port, value, inward in self.ports.values():
            m.d.comb += value.eq(port) if inward else port.eq(value)
        return m


def generate(config: ArrayConfig, stream_bits: int = 32) -> tuple[str, dict]:
    """(Verilog text, description) of the AXI shell around the core for `config`.

    The top module is `quadfire_axi`: aclk, aresetn (synchronous, low), AXI4-Lite `s_axi_*`, the
    tape on `s_axis_*`, the answers on `m_axis_*`, irq (level, high).
    """
    shell = AxiShell(config, stream_bits=stream_bits)
    named = _ports(shell)
    aclk, aresetn = Signal(name="aclk"), Signal(name="aresetn")
    ports = {"aclk": (aclk, PortDirection.Input), "aresetn": (aresetn, PortDirection.Input)}
    ports |= {name: (port, PortDirection.Input if inward else PortDirection.Output)
              for name, (port, _, inward) in named.items()}
    text = header(config) + to_verilog(convert(_Named(shell, aclk, aresetn, named), TOP, ports))
    listed = {name: ("input" if way is PortDirection.Input else "output", len(port))
              for name, (port, way) in ports.items()}
    return text, describe(config, TOP, text, listed) | {"stream_bits": stream_bits}
