"""Synthesis to one flat module, in which equal registers of two groups are still two."""

import json

import pytest

from rtl.fpga.floorplan import GRIDS
from rtl.fpga.measure import _Misfit
from rtl.fpga.synthesis import synthesise

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


def test_a_design_that_is_too_large_is_told_in_a_line(tmp_path):
    log = tmp_path / "seed1.log"
    log.write_text("Info: Device utilisation:\n"
                   "Info: \t         ICESTORM_LC:    8941/   5280   169%\n"
                   "Info: \t        ICESTORM_RAM:      30/     30   100%\n"
                   "ERROR: Unable to place cell\n")
    assert str(_Misfit.of(log)) == "does not fit: ICESTORM_LC 8941 of 5280"
    log.write_text(log.read_text().replace("8941", "5280"))
    assert _Misfit.of(log) is None
