"""Blocks that can be measured alone, and the harness around them.

The harness has five pins, so that any block fits any package. A shift register feeds the inputs of
the block; its outputs are registered and then shifted out. So every path through the block runs
from register to register. The registers of the harness have an enable, so that none of them is
packed into a memory or multiplier of the block.

The table of blocks names classes instead of importing them, so this module needs no Amaranth until
a block is built.
"""

import re
from dataclasses import dataclass
from pkgutil import resolve_name

from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["BLOCKS", "HARNESS", "REGISTERS", "Harnessed", "harnessed"]

#: Name of the harness's module.
HARNESS = "harness"

#: Registers of the harness: inputs of the block, its outputs, outputs on their way out.
REGISTERS = ("inputs", "taken", "sent")

#: Block -> its class. "core", the whole, is not among them.
BLOCKS = {
    "cell": "quadfire.rtl.array.cell:Cell",
    "group": "quadfire.rtl.array.group:Group",
    "neuron": "quadfire.rtl.neuron.pipeline:NeuronPipeline",
    "neuron-qif": "quadfire.rtl.fpga.variants:QifPipeline",
    "neuron-lif": "quadfire.rtl.fpga.variants:LifPipeline",
    "current": "quadfire.rtl.neuron.input_current:InputCurrent",
    "weights": "quadfire.rtl.array.weight_memory:WeightMemory",
    "scanner": "quadfire.rtl.fetch.raster:Raster",
    "words": "quadfire.rtl.fetch.word_reader:WordReader",
    "events": "quadfire.rtl.fetch.event_encoder:EventEncoder",
    "sequencer": "quadfire.rtl.control.sequencer:Sequencer",
    "executor": "quadfire.rtl.control.executor:Executor",
    "receiver": "quadfire.rtl.control.packet_receiver:PacketReceiver",
    "collector": "quadfire.rtl.fetch.spike_writer:SpikeWriter",
    "sender": "quadfire.rtl.control.packet_sender:PacketSender",
}

#: Blocks that are the same for every configuration.
_WITHOUT_CONFIGURATION = ("sender",)


@dataclass(frozen=True)
class Harnessed:
    """A block in its harness.

    | attribute | meaning |
    |---|---|
    | text | Verilog; the top module is `harness` |
    | inputs, outputs | bits of the block's ports |
    | registers, luts | what of the figures belongs to the harness |
    """

    text: str
    inputs: int
    outputs: int

    @property
    def registers(self) -> int:
        return self.inputs + 2 * self.outputs

    @property
    def luts(self) -> int:
        """One for each output bit: it chooses between loading and shifting."""
        return self.outputs


def _ports(text: str, module: str) -> list[tuple[str, int, str]]:
    """(direction, width, name) of every port of a module in the Verilog of yosys."""
    body = re.search(rf"^module {module}\(.*?^endmodule", text, re.MULTILINE | re.DOTALL)
    assert body, module
    return [(way, int(top or 0) + 1, name) for way, top, name in re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\S+);", body[0], re.MULTILINE)]


def _verilog(config: ArrayConfig, block: str) -> tuple[str, str]:
    """Name of the top module and Verilog of a block."""
    from quadfire.rtl.verilog import TOP, component_verilog, generate  # only here: needs Amaranth

    if block == "core":
        return TOP, generate(config)[0]
    build = resolve_name(BLOCKS[block])
    component = build() if block in _WITHOUT_CONFIGURATION else build(config)
    return "block", component_verilog(component, "block")


def harnessed(config: ArrayConfig, block: str) -> Harnessed:
    """Put a block of an array, or "core", into the harness. Raises ValueError for unknown names."""
    if block != "core" and block not in BLOCKS:
        raise ValueError(f"no block is called {block!r}; there are core, {', '.join(BLOCKS)}")
    top, text = _verilog(config, block)
    connections, bits = [], {"input": 0, "output": 0}
    for way, width, name in _ports(text, top):
        if name in ("clk", "rst"):
            connections.append(f".{name}({name})")
        else:
            connections.append(f".{name}({way}s[{bits[way]} +: {width}])")
            bits[way] += width
    inputs, outputs = bits["input"], bits["output"]
    return Harnessed(f"""{text}
module {HARNESS}(input clk, input rst, input shift, input i, output o);
  reg [{inputs - 1}:0] inputs;
  wire [{outputs - 1}:0] outputs;
  reg [{outputs - 1}:0] taken, sent;
  assign o = sent[{outputs - 1}];
  always @(posedge clk) begin
    if (shift) inputs <= {{inputs, i}};
    if (!shift) taken <= outputs;
    sent <= shift ? taken : {{sent, i}};
  end
  {top} dut({", ".join(connections)});
endmodule
""", inputs, outputs)
