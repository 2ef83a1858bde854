"""Synthesis to one flat module, in which equal registers of two groups stay two."""

import json
import re
import sys

import pytest

from quadfire.rtl.fpga.floorplan import GRIDS, UP5K
from quadfire.rtl.fpga.synthesis import _ENABLE, synthesise
from quadfire.rtl.fpga.tools import fit

DESIGN = """
{kept} module a_group(input clk, input i, output reg o);
  always @(posedge clk) o <= i;
endmodule
module top(input clk, input i, output [1:0] o);
  a_group one(.clk(clk), .i(i), .o(o[0]));
  a_group two(.clk(clk), .i(i), .o(o[1]));
endmodule
"""


@pytest.mark.parametrize("kept, registers", [("", 1), ('(* keep_hierarchy = "yes" *)', 2)])
@pytest.mark.parametrize("synthesis, kind", [
    ("synth_ecp5", "TRELLIS_FF"), ("synth_ice40 -device u -dsp -spram -abc9", "SB_DFF"),
    ("synth_xilinx -flatten -family xc7", "FDRE")])
def test_groups_are_kept_apart_and_flat_at_last(synthesis, kind, kept, registers, tmp_path):
    pytest.importorskip("pyosys", reason="make bench installs it")
    (tmp_path / "design.v").write_text(DESIGN.format(kept=kept))
    packed = synthesise(["read_verilog -sv design.v"], synthesis, "top", tmp_path,
                        grid=GRIDS["25k"] if synthesis == "synth_ecp5" else None)
    assert (packed is not None) == (tmp_path / "packing.log").exists() == (kind == "TRELLIS_FF")
    modules = json.loads((tmp_path / "netlist.json").read_text())["modules"]
    assert list(modules) == ["top"]
    kinds = [cell["type"] for cell in modules["top"]["cells"].values()]
    assert kinds.count(kind) == registers and "a_group" not in kinds


ENABLED = """
module top(input clk, input [5:0] e, input [7:0] i, output reg [7:0] o);
  always @(posedge clk) if (&e) o <= i;
endmodule
"""


def test_luts_are_mapped_with_what_an_enable_takes(tmp_path):
    pytest.importorskip("pyosys", reason="make bench installs it")
    (tmp_path / "design.v").write_text(ENABLED)
    synthesise(["read_verilog -sv design.v"], "synth_ecp5", "top", tmp_path, grid=GRIDS["25k"])
    delays = re.findall(rf"(\d+) \$paramod\$__ABC9_DELAY\\DELAY=32'{_ENABLE:032b}",
                        (tmp_path / "synthesis.log").read_text())
    assert delays and int(delays[0]) >= 8       # of every flip-flop


ACCUMULATORS = """
module cell(input clk, input [7:0] slot, input [23:0] i, output reg [23:0] o);
  reg [23:0] slot_mem [0:255];
  always @(posedge clk) o <= slot_mem[slot];
  always @(negedge clk) slot_mem[slot] <= i;
endmodule
module group(input clk, input [7:0] slot, input [23:0] i, output [23:0] o);
  wire [23:0] between;
  cell cell_0(.clk(clk), .slot(slot), .i(i), .o(between));
  cell cell_1(.clk(clk), .slot(slot), .i(between), .o(o));
endmodule
module array(input clk, input [7:0] slot, input [23:0] i, output [23:0] o);
  group group_0(.clk(clk), .slot(slot), .i(i), .o(o));
endmodule
module top(input clk, input [7:0] slot, input [23:0] i, output [23:0] o);
  array array(.clk(clk), .slot(slot), .i(i), .o(o));
endmodule
"""


def test_accumulators_that_are_written_at_the_falling_edge_have_a_site(tmp_path):
    pytest.importorskip("pyosys", reason="make bench installs it")
    (tmp_path / "design.v").write_text(ACCUMULATORS)
    assert synthesise(["read_verilog -sv design.v"], "synth_ice40 -device u -dsp -spram -abc9",
                      "top", tmp_path, grid=UP5K) is None
    cells = json.loads((tmp_path / "netlist.json").read_text())["modules"]["top"]["cells"]
    sites = {name: cell["attributes"].get("BEL") for name, cell in cells.items()
             if cell["type"].startswith("SB_RAM40_4K")}
    assert sites == {f"array.group_0.cell_{bank}.slot_mem.0.{part}": UP5K.site(2 * bank + part)
                     for bank in range(2) for part in range(2)}


@pytest.mark.parametrize("fails", [0, 1])
def test_a_design_that_is_too_large_is_told_in_a_line(tmp_path, fails):
    def packs(used: int) -> list[str]:
        """A command that prints what nextpnr prints after packing."""
        told = ("Info:         RAM LUTs:  11496/10455   109%\n"     # of 41,820 that there are
                f"Info: Device utilisation:\nInfo: \t         ICESTORM_LC:    {used}/   5280   9%\n"
                "Info: \t        ICESTORM_RAM:      30/     30   100%\n")
        return [sys.executable, "-c", f"print({told!r}); raise SystemExit({fails})"]

    with pytest.raises(RuntimeError, match="^does not fit: ICESTORM_LC 8941 of 5280$"):
        fit(packs(8941), tmp_path)
    if fails:
        with pytest.raises(RuntimeError, match="failed, see .*fit.log"):
            fit(packs(5280), tmp_path)
    else:
        fit(packs(5280), tmp_path)
