"""Synthesis: Verilog to a flat netlist of one module, for benches and bitstreams alike.

The Verilog keeps its groups apart, and so does the synthesis until it is done: yosys would merge
equal registers of neighbours, with wires across the chip. Every group is synthesised once.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from quadfire.rtl.fpga.floorplan import Column, Grid, accumulators, floorplan
from quadfire.rtl.fpga.packing import Packed, pack
from quadfire.rtl.fpga.tools import yosys

__all__ = ["synthesise"]


#: What a wire of an ECP5 lasts, for the mapping to LUTs, ps: 300 for yosys, 700 and more in
#: placements. With more than 300 it finds one level of LUTs less in the core.
_WIRE = 600
_MAP = f"&if -m -W {_WIRE} -v;&mfs;&save"
_TWICE = f"&synch2 -K 6 -C 500;{_MAP};&dch -C 500;{_MAP}"
#: The commands of yosys' `abc9.script.flow2`, with that wire: they take a few per cent less than
#: its default, at the same depth.
_ABC = f"+&scorr;&sweep;{_TWICE};&load;&st;&sopb -R 10 -C 4;{_TWICE};&load".replace(" ", ",")

#: What a flip-flop asks for its enable and its reset, ps before the clock: they go to many tiles,
#: and an ECP5 takes an enable 420 ps before. yosys knows 0 and would have as many levels of LUTs
#: before them as before data; told this, it takes one from them, with no more LUTs for it.
_ENABLE = 800
_FLIP_FLOP = f"""
module TRELLIS_FF(input CLK, LSR, CE, DI, M, output Q);
  parameter GSR = "ENABLED", CEMUX = "1", CLKMUX = "CLK", LSRMUX = "LSR",
            SRMODE = "LSR_OVER_CE", REGSET = "RESET", LSRMODE = "LSR";
  specify
    $setup(DI, posedge CLK, 0);
    $setup(CE, posedge CLK, {_ENABLE});
    $setup(LSR, posedge CLK, {_ENABLE});
    (posedge CLK => (Q : DI)) = 0;
  endspecify
endmodule
"""

#: An enable or a reset of less flip-flops than `_FEW` goes through LUTs: a tile of an ECP5 has few
#: of either, and a flip-flop with one of its own is placed where there is room, however far.
_FEW = 4
_LEGALIZE = (f"dfflegalize -mince {_FEW} -minsrst {_FEW} -cell $_DFF_?_ 01 -cell $_DFF_?P?_ r "
             f"-cell $_SDFF_?P?_ r -cell $_DFFE_??_ 01 -cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r")


def _commands(read: Sequence[str], synthesis: str, top: str) -> list[str]:
    """Passes from sources to `synthesis.json`. Memories have no initial contents."""
    # no LUT RAM on iCE40, and no cell to spare: abc9 optimises for area
    prepare = (["setattr -unset ram_style a:ram_style=distributed",
                "scratchpad -copy abc9.script.flow3 abc9.script"] if "ice40" in synthesis else
               [f'scratchpad -set abc9.script "{_ABC}"'] if "ecp5" in synthesis else [])
    flip_flops = ([f"{synthesis} -run begin:map_ffs -top {top}", "opt_clean", _LEGALIZE,
                   f"{synthesis} -run map_ffs:map_luts -top {top}",
                   "read_verilog -lib -specify -overwrite flip_flop.v"] if "ecp5" in synthesis else
                  [f"{synthesis} -run begin:map_luts -top {top}"])
    return [*read, "delete t:$meminit*", *prepare, *flip_flops,
            # names that are left over make yosys stop where it brings LUTs back from ABC
            "opt_clean -purge",
            f"{synthesis} -run map_luts: -top {top}",
            "setattr -mod -unset keep_hierarchy *", "flatten -noscopeinfo", "clean",
            "stat", "write_json synthesis.json"]


def synthesise(read: Sequence[str], synthesis: str, top: str, folder: Path, *,
               grid: Grid | Column | None) -> Packed | None:
    """Make `netlist.json` in a folder, with a floorplan; for an ECP5 packed.

    read: passes that read the sources there. synthesis: pass of yosys and its options. grid: where
    the floorplan (`quadfire.rtl.fpga.floorplan`) may place; a `Grid` is of an ECP5 (`quadfire.rtl.fpga.packing`).
    Leaves `synthesis.log` and, for an ECP5, `packing.log`; raises RuntimeError with the end of the
    log.
    """
    if "ecp5" in synthesis:
        (folder / "flip_flop.v").write_text(_FLIP_FLOP)
    yosys(_commands(read, synthesis, top), folder, "synthesis.log")
    source = folder / "synthesis.json"
    document = json.loads(source.read_text())
    document["modules"] = {top: document["modules"][top]}
    cells = document["modules"][top]["cells"]

    def named(kind: str) -> list[str]:
        return [name for name, cell in cells.items() if cell["type"].startswith(kind)]

    done, sites = None, {}
    if isinstance(grid, Grid):
        done = pack(document, top)
        sites = floorplan(named("DP16KD"), grid, named("MULT18X18D"))
        (folder / "packing.log").write_text(f"{done}, {len(sites)} cells with a site\n")
    elif grid is not None:
        # with a suffix where a clock is inverted
        sites = accumulators(named("SB_RAM40_4K"), grid)
    for name, site in sites.items():
        cells[name].setdefault("attributes", {})["BEL"] = site
    (folder / "netlist.part").write_text(json.dumps(document))
    (folder / "netlist.part").rename(folder / "netlist.json")
    source.unlink()
    return done
