"""Devices that can be measured: options of the tools, names of cells, presets that fit.

This module holds data only and needs no Amaranth.
"""

from dataclasses import dataclass

from quadfire.rtl.fpga.floorplan import GRIDS, UP5K, Column, Grid

__all__ = ["DEVICES", "PLAN", "Device"]


@dataclass(frozen=True)
class Device:
    """A device and how its resources are counted.

    | attribute | meaning |
    |---|---|
    | synthesis | pass of yosys |
    | lut4, ff, bram, dsp | cells that count as this resource, and as how many of it |
    | place | nextpnr and its options; empty for a device that is only synthesised for |
    | grid | sites of its block RAM, where there is a floorplan |

    Cells are counted in nextpnr's report, or in the netlist where nothing is placed.
    """

    synthesis: str
    lut4: dict[str, float]
    ff: dict[str, float]
    bram: dict[str, float]
    dsp: dict[str, float]
    place: tuple[str, ...] = ()
    grid: Grid | Column | None = None


def _ecp5(size: str) -> Device:
    """An ECP5; size: "25k" or "85k", as nextpnr's option."""
    return Device("synth_ecp5", {"TRELLIS_COMB": 1}, {"TRELLIS_FF": 1}, {"DP16KD": 1},
                  {"MULT18X18D": 1}, grid=GRIDS[size],
                  place=("nextpnr-ecp5", f"--{size}", "--package", "CABGA381", "--speed", "6",
                         "--lpf-allow-unconstrained", "--freq", "200",
                         "--placer", "static"))


def _xilinx(family: str, dsp: str) -> Device:
    """A Xilinx family, as yosys calls it; dsp: its multiplier cell."""
    return Device(f"synth_xilinx -flatten -family {family}",
                  {**{f"LUT{size}": 1 for size in range(1, 7)}, "SRL16E": 1, "SRLC32E": 1,
                   "RAM32M": 4, "RAM64M": 4, "RAM32X1D": 2, "RAM64X1D": 2, "RAM32M16": 8},
                  dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), 1),
                  {"RAMB36E1": 1, "RAMB18E1": 0.5, "RAMB36E2": 1, "RAMB18E2": 0.5}, {dsp: 1})


#: Devices by name. Speed grade 6 is the slowest of an ECP5. On iCE40 a LUT is a logic cell, and
#: there is no LUT RAM. On xc7 and xcup a LUT has six inputs, and a block RAM has 36 kbit.
DEVICES = {
    "ecp5-25f": _ecp5("25k"),
    "ecp5-85f": _ecp5("85k"),
    "ice40-up5k": Device(
        "synth_ice40 -device u -dsp -spram -abc9", {"ICESTORM_LC": 1},
        {f"SB_DFF{kind}": 1 for kind in ("", "E", "SR", "R", "SS", "S", "ESR", "ER", "ESS", "ES")},
        {"ICESTORM_RAM": 1}, {"ICESTORM_DSP": 1},
        place=("nextpnr-ice40", "--up5k", "--package", "sg48", "--pcf-allow-unconstrained",
               "--freq", "30"), grid=UP5K),
    "xc7": _xilinx("xc7", "DSP48E1"),
    "xcup": _xilinx("xcup", "DSP48E2"),
}

#: Device -> presets that `make bench` measures on it: those that should fit. Of the first preset
#: all blocks are measured as well.
PLAN = {
    "ecp5-25f": ("tiny", "tiny-conv"),
    "ecp5-85f": ("default", "medium", "wide"),
    "ice40-up5k": ("small",),
    "xc7": ("default", "medium", "large"),
    "xcup": ("default", "medium", "large"),
}
