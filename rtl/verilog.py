"""Verilog of an array, and a description of it that programs can read."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from amaranth._toolchain.yosys import YosysError, find_yosys
from amaranth.hdl import Elaboratable, Module, Signal
from amaranth.lib.wiring import In

from quadfire.files import write_text
from quadfire.paths import make_folder
from quadfire.rtl.array.chain import spike_latency
from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import VERSION
from quadfire.rtl.control.packet_receiver import PacketReceiver
from quadfire.rtl.core import Core
from quadfire.rtl.fetch.event_encoder import EventEncoder
from quadfire.rtl.lib.module_library import PortDirection, convert, named_ports
from quadfire.rtl.neuron.input_current import InputCurrent
from quadfire.rtl.neuron.pipeline import NeuronPipeline

__all__ = ["TOP", "component_verilog", "describe", "generate", "header", "to_verilog", "write"]

TOP = "quadfire"

#: Port of the core -> prefix by which vendor tools and cocotbext-axi infer an AXI4-Stream.
_STREAMS = {"i": "s_axis", "o": "m_axis"}


#: Memories lose their initial contents. The core reads no word that it has not written, and not
#: every family has block or single-port RAM that starts with zeros.
_SCRIPT = """
proc -nomux -norom
delete t:$meminit*
memory_collect
attrmap -remove src -remove amaranth.hierarchy -remove amaranth.decoding
attrmap -modattr -remove generator -remove top -remove src -remove amaranth.hierarchy
write_verilog -norename
"""


def _kept_apart(rtlil_text: str) -> str:
    """Groups and halves of cells get an attribute: synthesis optimises each on its own.

    Cells of neighbouring groups, and both halves of a cell, hold the same command at the same time.
    Synthesis would merge such equal registers, with wires across the chip.
    """
    return re.sub(r"(?m)^module \\\w+_(group|part(_wide)?)$",
                  r'attribute \\keep_hierarchy "yes"\n\g<0>', rtlil_text)


def to_verilog(rtlil_text: str) -> str:
    """Verilog of RTLIL, the same text every time. OSError where yosys fails, on a full disk say."""
    rtlil_text = _kept_apart(rtlil_text)
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
    yosys = find_yosys(lambda version: version >= (0, 40))
    try:
        text = yosys.run(["-q", "-"], f"read_rtlil <<rtlil\n{rtlil_text}\nrtlil{_SCRIPT}",
                         ignore_warnings=True)
    except YosysError as error:
        lines = str(error).strip().splitlines() or ["it says nothing"]
        raise OSError(f"yosys failed while it made Verilog: {lines[-1]} (is there room in "
                      f"{tempfile.gettempdir()}?)") from None
    # the first line names the yosys build
    lines = [line for line in text.splitlines() if not line.startswith("/* Generated")]
    return "\n".join(lines) + "\n"


def generate(config: ArrayConfig) -> tuple[str, dict]:
    """(Verilog text, description) of the core for `config`, the same bytes every time.

    The top module is `quadfire`:

    | port | meaning |
    |---|---|
    | `clk`, `rst` | the reset is synchronous, active high |
    | `s_axis_*` | the tape: AXI4-Stream, 32 bits, TLAST at the end of a packet |
    | `m_axis_*` | the answers, likewise |
    """
    core = Core(config)
    ports, listed = {}, {"clk": ("input", 1), "rst": ("input", 1)}
    for member, name in _STREAMS.items():
        stream = getattr(core, member)
        inward = core.signature.members[member].flow == In
        for port, value, forward in (("tdata", stream.payload.data, True),
                                     ("tlast", stream.payload.last, True),
                                     ("tvalid", stream.valid, True),
                                     ("tready", stream.ready, False)):
            signal = Signal(len(value), name=f"{name}_{port}")
            is_input = inward == forward
            ports[signal.name] = (signal, PortDirection.Input if is_input else PortDirection.Output)
            listed[signal.name] = ("input" if is_input else "output", len(value))
    text = header(config) + to_verilog(convert(_Named(core, ports), TOP, ports))
    return text, describe(config, TOP, text, listed)


def describe(config: ArrayConfig, top: str, text: str, ports: dict[str, tuple[str, int]]) -> dict:
    """What programs want to know of the Verilog `text`. ports: name -> (direction, width)."""
    return {
        "top": top,
        "configuration": config.as_dict(),
        "configuration_hash": f"0x{config.hash:08x}",
        "interface_version": f"0x{VERSION:08x}",
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "ports": {name: {"direction": way, "width": width}
                  for name, (way, width) in ports.items()},
        "widths": {"accumulator": config.accumulator_bits, "folded_planes": config.plane_bits,
                   "current": config.current_bits, "state": config.state_bits,
                   "state_fraction": config.fraction_bits, "spike_word": config.word_bits},
        "latencies": {"receiver": PacketReceiver.latency_of(config),
                      "events": EventEncoder.latency_of(config),
                      "weights": WeightMemory.latency_of(config),
                      "current": InputCurrent.latency_of(config),
                      "neuron": NeuronPipeline.latency,
                      "array": spike_latency(config), "readout_period": config.readout_period},
        "lanes": config.outputs,
    }


def header(config: ArrayConfig) -> str:
    """The comment at the head of a Verilog file: the configuration, field by field."""
    fields = "\n".join(f"//   {name} = {value}" for name, value in config.as_dict().items())
    return (f"// Quadfire: an array of {config.banks} x {config.lanes} lanes and {config.groups} "
            f"neuron pipelines.\n// Generated; configuration 0x{config.hash:08x}:\n{fields}\n\n")


class _Named(Elaboratable):
    """The core with its stream signals under the names of AXI4-Stream."""

    def __init__(self, core: Core, ports: dict):
        self.core, self.ports = core, ports

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = self.core
        p = {name: signal for name, (signal, _) in self.ports.items()}
        m.d.comb += [
            core.i.payload.data.eq(p["s_axis_tdata"]), core.i.payload.last.eq(p["s_axis_tlast"]),
            core.i.valid.eq(p["s_axis_tvalid"]), p["s_axis_tready"].eq(core.i.ready),
            p["m_axis_tdata"].eq(core.o.payload.data), p["m_axis_tlast"].eq(core.o.payload.last),
            p["m_axis_tvalid"].eq(core.o.valid), core.o.ready.eq(p["m_axis_tready"]),
        ]
        return m


def component_verilog(component, name: str) -> str:
    """Verilog of one block, for its testbench; port names join the parts of their path by `__`."""
    return to_verilog(convert(component, name, named_ports(component)))


def write(config: ArrayConfig, folder: str | Path, name: str = TOP,
          generator: Callable[[ArrayConfig], tuple[str, dict]] = generate) -> tuple[Path, Path]:
    """Write what `generator` makes as `name`.v and `name`.json into `folder`; returns the paths."""
    folder = Path(folder)
    make_folder(folder)
    text, description = generator(config)
    source, about = folder / f"{name}.v", folder / f"{name}.json"
    write_text(source, text)
    write_text(about, json.dumps(description, indent=2) + "\n")
    return source, about
