"""Verilog of the AXI shell, with the port names of AXI.

Vendor tools and cocotbext-axi recognise the interfaces by these names.
"""

from amaranth import *
from amaranth.lib.wiring import In

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.module_library import PortDirection, convert
from quadfire.rtl.shell.axi_lite import AXI_LITE
from quadfire.rtl.shell.axi_shell import AxiShell
from quadfire.rtl.verilog import describe, header, to_verilog

__all__ = ["TOP", "generate"]

TOP = "quadfire_axi"

#: AXI4-Stream port -> field of a beat.
_STREAM = {"tdata": "data", "tkeep": "keep", "tlast": "last"}


def _ports(shell: AxiShell) -> dict[str, tuple[Signal, Value, bool]]:
    """Port name -> (port, the shell's value that it stands for, whether it is an input)."""
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
    """The shell with its ports renamed, clock `aclk` and active-low reset `aresetn`."""

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
    """Verilog text and description (`quadfire.rtl.verilog.describe`) of the core in its AXI shell.

    The top module is `quadfire_axi`:

    | port | meaning |
    |---|---|
    | aclk, aresetn | clock; reset, synchronous and active low |
    | s_axi_* | registers, AXI4-Lite |
    | s_axis_* | tape, AXI4-Stream of `stream_bits` |
    | m_axis_* | answers, AXI4-Stream of `stream_bits` |
    | irq | interrupt, level, active high |

    Raises ValueError for a width that is not in `STREAM_BITS`.
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
