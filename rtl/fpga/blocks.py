"""Blocks that are measured alone, and the harness that lets any block stand on any package.

The harness has five pins. Inputs of the block come from a shift register with an enable; outputs
are registered, then shifted out. So every path of the block is one from register to register. Its
registers have an enable, so that none of them is packed into a memory or multiplier of the block.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from amaranth import *
from amaranth.lib import wiring

from quadfire.rtl.array.cell import Cell
from quadfire.rtl.fetch.spike_writer import SpikeWriter
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.neuron.input_current import InputCurrent
from quadfire.rtl.fetch.event_encoder import EventEncoder
from quadfire.rtl.control.executor import Executor
from quadfire.rtl.array.group import Group
from quadfire.rtl.neuron.pipeline import NeuronPipeline
from quadfire.rtl.control.packet_receiver import PacketReceiver
from quadfire.rtl.fetch.raster import Raster
from quadfire.rtl.control.packet_sender import PacketSender
from quadfire.rtl.control.sequencer import Sequencer
from quadfire.rtl.verilog import TOP, component_verilog, generate
from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.fetch.word_reader import WordReader

__all__ = ["BLOCKS", "HARNESS", "REGISTERS", "Harnessed", "harnessed"]

HARNESS = "harness"
#: What it holds: the block's inputs; its outputs, and as they leave.
REGISTERS = ("inputs", "taken", "sent")


class _OneKind(wiring.Component):
    """The neuron pipeline with neurons of one kind only: QIF (square) or LIF and IF."""

    def __init__(self, config: ArrayConfig, square: bool):
        self.pipeline, self.square = NeuronPipeline(config), square
        super().__init__(dict(self.pipeline.signature.members))

    def elaborate(self, platform):
        m = Module()
        m.submodules.pipeline = pipeline = self.pipeline
        for name, member in self.pipeline.signature.members.items():
            inner, outer = getattr(pipeline, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow == wiring.In else outer.eq(inner)
        m.d.comb += pipeline.neuron.square.eq(self.square)
        if self.square:     # that is the tape's word for it, too
            m.d.comb += pipeline.neuron.operand.eq(pipeline.neuron.initial)
        return m


#: Blocks by name; "core" is the whole.
BLOCKS: dict[str, Callable[[ArrayConfig], wiring.Component]] = {
    "cell": Cell,
    "group": Group,
    "neuron": NeuronPipeline,
    "neuron-qif": lambda config: _OneKind(config, True),
    "neuron-lif": lambda config: _OneKind(config, False),
    "current": InputCurrent,
    "weights": WeightMemory,
    "scanner": Raster,
    "words": WordReader,
    "events": EventEncoder,
    "sequencer": Sequencer,
    "executor": Executor,
    "receiver": PacketReceiver,
    "collector": SpikeWriter,
    "sender": lambda config: PacketSender(),
}


@dataclass(frozen=True)
class Harnessed:
    """Verilog of a block in its harness (module `harness`), and what of it is harness."""

    text: str
    inputs: int
    outputs: int

    @property
    def registers(self) -> int:
        return self.inputs + 2 * self.outputs

    @property
    def luts(self) -> int:
        """One for every bit that is loaded into the shift register of the outputs."""
        return self.outputs


def _ports(text: str, module: str) -> list[tuple[str, int, str]]:
    """(direction, width, name) of every port of a module, as yosys writes it."""
    body = re.search(rf"^module {module}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    assert body, module
    return [(way, int(top or 0) + 1, name) for way, top, name in re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\S+);", body[0], re.MULTILINE)]


def harnessed(config: ArrayConfig, block: str) -> Harnessed:
    """A block of an array, or "core", in its harness. Raises ValueError for unknown blocks."""
    if block == "core":
        top, (text, _) = TOP, generate(config)
    elif block in BLOCKS:
        top, text = "block", component_verilog(BLOCKS[block](config), "block")
    else:
        raise ValueError(f"no block is called {block!r}; there are core, {', '.join(BLOCKS)}")
    ports, at = [], {"input": 0, "output": 0}
    for way, width, name in _ports(text, top):
        if name in ("clk", "rst"):
            ports.append(f".{name}({name})")
        else:
            ports.append(f".{name}({way}s[{at[way]} +: {width}])")
            at[way] += width
    return Harnessed(f"""{text}
module {HARNESS}(input clk, input rst, input shift, input i, output o);
  reg [{at["input"] - 1}:0] inputs;
  wire [{at["output"] - 1}:0] outputs;
  reg [{at["output"] - 1}:0] taken, sent;
  assign o = sent[{at["output"] - 1}];
  always @(posedge clk) begin
    if (shift) inputs <= {{inputs, i}};
    if (!shift) taken <= outputs;
    sent <= shift ? taken : {{sent, i}};
  end
  {top} dut({", ".join(ports)});
endmodule
""", at["input"], at["output"])
