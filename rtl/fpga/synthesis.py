"""Synthesis: Verilog to a flat netlist of one module, for measurements and bitstreams alike.

The groups of an array stay separate modules until the end. Otherwise yosys would merge equal
registers of neighbouring groups, and wires would cross the chip. Each kind of group is synthesised
once.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from quadfire.rtl.fpga.floorplan import Column, Grid, accumulators, floorplan
from quadfire.rtl.fpga.packing import Packed, pack
from quadfire.rtl.fpga.tools import yosys

__all__ = ["synthesise"]

#: Delay of a wire of an ECP5 for the mapping to LUTs, in ps. yosys assumes 300; in placements it is
#: 700 and more. With a value above 300 the mapping needs one level of LUTs less in the core.
_WIRE = 600
_MAP = f"&if -m -W {_WIRE} -v;&mfs;&save"
_TWICE = f"&synch2 -K 6 -C 500;{_MAP};&dch -C 500;{_MAP}"
#: The commands of yosys' `abc9.script.flow2`, with that delay. They take a few per cent fewer LUTs
#: than its default script, at the same depth.
_ABC = f"+&scorr;&sweep;{_TWICE};&load;&st;&sopb -R 10 -C 4;{_TWICE};&load".replace(" ", ",")

#: Setup time of a flip-flop's enable and reset, in ps. An ECP5 needs 420 for an enable, and both
#: are routed to many tiles. yosys assumes 0, so it allows as many levels of LUTs before them as
#: before data. With this value there is one level less, for no more LUTs.
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

#: An enable or reset of fewer flip-flops than this is made of LUTs. A tile of an ECP5 has few of
#: either, and a flip-flop with one of its own is placed wherever one is free, however far away.
_FEW = 4
_LEGALIZE = (f"dfflegalize -mince {_FEW} -minsrst {_FEW} -cell $_DFF_?_ 01 -cell $_DFF_?P?_ r "
             f"-cell $_SDFF_?P?_ r -cell $_DFFE_??_ 01 -cell $_DFFE_?P??_ r -cell $_SDFFE_?P??_ r")


def _commands(read: Sequence[str], synthesis: str, top: str) -> list[str]:
    """Passes from sources to `synthesis.json`. Initial contents of memories are dropped."""
    # iCE40 has no LUT RAM; its arrays need every cell, so abc9 optimises for area
    prepare = (["setattr -unset ram_style a:ram_style=distributed",
                "scratchpad -copy abc9.script.flow3 abc9.script"] if "ice40" in synthesis else
               [f'scratchpad -set abc9.script "{_ABC}"'] if "ecp5" in synthesis else [])
    flip_flops = ([f"{synthesis} -run begin:map_ffs -top {top}", "opt_clean", _LEGALIZE,
                   f"{synthesis} -run map_ffs:map_luts -top {top}",
                   "read_verilog -lib -specify -overwrite flip_flop.v"] if "ecp5" in synthesis else
                  [f"{synthesis} -run begin:map_luts -top {top}"])
    return [*read, "delete t:$meminit*", *prepare, *flip_flops,
            # unused names make yosys fail where it reads the LUTs back from ABC
            "opt_clean -purge",
            f"{synthesis} -run map_luts: -top {top}",
            "setattr -mod -unset keep_hierarchy *", "flatten -noscopeinfo", "clean",
            "stat", "write_json synthesis.json"]


def synthesise(read: Sequence[str], synthesis: str, top: str, folder: Path, *,
               grid: Grid | Column | None) -> Packed | None:
    """Make `netlist.json` in a folder, with a floorplan; that of an ECP5 is packed as well.

    | argument | meaning |
    |---|---|
    | read | passes that read the sources in the folder |
    | synthesis | pass of yosys with its options |
    | top | the top module |
    | grid | sites for the floorplan: `Grid` of an ECP5, `Column` of an iCE40, None for none |

    Returns what was packed, or None where nothing is. Leaves `synthesis.log` and, for an ECP5,
    `packing.log`. Raises RuntimeError with the end of the log where yosys fails.
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
        # the type has a suffix where a clock is inverted
        sites = accumulators(named("SB_RAM40_4K"), grid)
    for name, site in sites.items():
        cells[name].setdefault("attributes", {})["BEL"] = site
    (folder / "netlist.part").write_text(json.dumps(document))
    (folder / "netlist.part").rename(folder / "netlist.json")
    source.unlink()
    return done
