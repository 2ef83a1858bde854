"""Gate-level simulation: a packed ECP5 netlist computes the logits of the golden network.

yosys has models of all cells but DP16KD and MULT18X18D. Those are modelled here after Lattice's
memory and DSP guides (FPGA-TN-02204, FPGA-TN-02205), as far as the array uses them.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from quadfire.firmware import Accelerator
from quadfire.firmware.driver.selftest import selftest
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.fpga.floorplan import GRIDS
from quadfire.rtl.fpga.packing import Packed
from quadfire.rtl.fpga.synthesis import synthesise
from quadfire.rtl.fpga.tools import yosys
from quadfire.rtl.verilog import TOP, generate
from quadfire.sim.verilator.core import VerilatedTransport

from tests.rtl.fpga.netlists import for_yosys


def _scalars(way: str, name: str, count: int) -> str:
    return f"{way} " + ", ".join(f"{name}{index}" for index in range(count))


def _vector(name: str, count: int) -> str:
    return "{" + ", ".join(f"{name}{index}" for index in reversed(range(count))) + "}"


def _port(side: str) -> str:
    """One port of a DP16KD: units of 9 bits, or slices of one; a write reads old data.

    u: the unit, or the first of several. s: the bit in it where a narrower port begins.
    """
    return f"""
  wire [13:0] a{side} = {_vector(f"AD{side}", 14)};
  wire [17:0] d{side} = {_vector(f"DI{side}", 18)};
  wire [10:0] u{side} = DATA_WIDTH_{side} == 36 ? {{a{side}[13:5], 2'b0}} :
                        DATA_WIDTH_{side} == 18 ? {{a{side}[13:4], 1'b0}} : a{side}[13:3];
  wire [2:0] s{side} = DATA_WIDTH_{side} < 9 ? a{side}[2:0] & -DATA_WIDTH_{side} : 3'b0;
  reg [35:0] r{side}, q{side};
  wire [35:0] o{side} = REGMODE_{side} == "OUTREG" ? q{side} : r{side};
  always @(posedge CLK{side}) if (OCE{side}) q{side} <= r{side};
  always @(posedge CLK{side}) if (CE{side}) r{side} <=
    {{mem[u{side} | 3], mem[u{side} | 2], mem[u{side} | 1], mem[u{side}]}} >> s{side};
"""


def _pins(side: str) -> str:
    return ", ".join([_scalars("input", f"DI{side}", 18), _scalars("input", f"AD{side}", 14),
                      _scalars("input", f"CS{side}", 3), _scalars("output", f"DO{side}", 18),
                      *(f"input {name}{side}" for name in ("CLK", "CE", "OCE", "WE", "RST"))])


_MODELS = f"""
module DP16KD({_pins("A")}, {_pins("B")});
  parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18, REGMODE_A = "", REGMODE_B = "", GSR = "";
  parameter RESETMODE = "", ASYNC_RESET_RELEASE = "", CSDECODE_A = "", CSDECODE_B = "";
  parameter WRITEMODE_A = "", WRITEMODE_B = "", CLKAMUX = "", CLKBMUX = "";
  reg [8:0] mem [0:2047];
{_port("A")}{_port("B")}
  wire [35:0] d = {{dB, dA}};
  wire [3:0] we = DATA_WIDTH_A == 36 ? aA[3:0] : DATA_WIDTH_A == 18 ? {{2'b0, aA[1:0]}} : 4'b1;
  wire [8:0] mask = DATA_WIDTH_A < 9 ? (1 << DATA_WIDTH_A) - 1 << sA : 9'h1ff;
  integer n;
  always @(posedge CLKA) if (CEA && WEA) for (n = 0; n < 4; n = n + 1)
    if (we[n]) mem[uA | n] <= mem[uA | n] & ~mask | d[9 * n +: 9] << sA & mask;
  assign {_vector("DOA", 18)} = DATA_WIDTH_B == 36 ? oB[17:0] : oA[17:0];
  assign {_vector("DOB", 18)} = DATA_WIDTH_B == 36 ? oB[35:18] : oB[17:0];
endmodule

module MULT18X18D({_scalars("input", "A", 18)}, {_scalars("input", "B", 18)},
                  {_scalars("input", "C", 18)}, {_scalars("output", "P", 36)},
                  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0);
  parameter GSR = "", RESETMODE = "";
  parameter REG_INPUTA_CLK = "NONE", REG_INPUTA_CE = "", REG_INPUTA_RST = "";
  parameter REG_INPUTB_CLK = "NONE", REG_INPUTB_CE = "", REG_INPUTB_RST = "";
  parameter REG_PIPELINE_CLK = "NONE", REG_PIPELINE_CE = "", REG_PIPELINE_RST = "";
  parameter REG_OUTPUT_CLK = "NONE", REG_OUTPUT_CE = "", REG_OUTPUT_RST = "";
  wire signed [18:0] a = {{SIGNEDA & A17, {_vector("A", 18)}}};
  wire signed [18:0] b = {{SIGNEDB & B17, {_vector("B", 18)}}};
  reg signed [18:0] ra, rb;
  reg [35:0] rm, ro;
  wire signed [18:0] xa = REG_INPUTA_CLK == "CLK0" ? ra : a;
  wire signed [18:0] xb = REG_INPUTB_CLK == "CLK0" ? rb : b;
  wire signed [37:0] product = xa * xb;
  wire [35:0] m = REG_PIPELINE_CLK == "CLK0" ? rm : product[35:0];
  always @(posedge CLK0) begin ra <= a; rb <= b; rm <= product[35:0]; ro <= m; end
  assign {_vector("P", 36)} = REG_OUTPUT_CLK == "CLK0" ? ro : m;
endmodule
"""


def _gates(config: ArrayConfig, folder: Path) -> tuple[str, Packed]:
    """Verilog of the packed netlist of an array."""
    (folder / "design.v").write_text(generate(config)[0])
    packed = synthesise(["read_verilog -sv design.v"], "synth_ecp5", TOP, folder,
                        grid=GRIDS["25k"])
    assert packed is not None
    document = json.loads((folder / "netlist.json").read_text())
    for cell in document["modules"][TOP]["cells"].values():
        if cell["type"] == "DP16KD":    # the model above does without these
            assert cell["connections"]["WEB"] == cell["connections"]["RSTB"] == ["0"]
            assert cell["connections"]["RSTA"] == ["0"]
        for name in [name for name in cell["parameters"] if name.startswith("INITVAL")]:
            del cell["parameters"][name]
    (folder / "packed.json").write_text(json.dumps(for_yosys(document, TOP)))
    (folder / "models.v").write_text(_MODELS)
    yosys(["read_verilog -overwrite +/lattice/cells_sim_ecp5.v",
           "read_verilog -overwrite -lib models.v", "read_json packed.json",
           f"hierarchy -check -top {TOP}", "proc", "flatten -noscopeinfo", "opt_expr",
           "opt_clean -purge", "write_verilog -noattr gates.v"], folder, "gates.log")
    return (folder / "gates.v").read_text() + _MODELS, packed


#: Two of `tiny-conv`'s groups in one, without running sums: its cells have two halves.
HALVES = replace(preset("tiny-conv"), lanes=8, group_lanes=8, weight_bits=4, running_lanes=0)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "halves"), [
    (preset("tiny"), 1), (preset("tiny-conv"), 1), (HALVES, 2)],
    ids=["tiny", "tiny-conv", "halves"])
def test_a_packed_netlist_computes_the_golden_network(config, halves, tmp_path):
    pytest.importorskip("pyosys", reason="make bench installs it")
    assert config.cell_halves == halves
    verilog, packed = _gates(config, tmp_path)
    assert packed.memory_ports and packed.multipliers and packed.luts, packed
    with Accelerator(VerilatedTransport(config, verilog=verilog, idle_limit=20_000),
                     config) as device:
        seen = dict(selftest(device))
    assert seen["golden network"].endswith("logits"), seen
