"""The boards that there are, as data. How to add one is told in `quadfire.rtl.boards`.

This module needs neither Amaranth nor amaranth-boards.
"""

from dataclasses import dataclass
from pkgutil import resolve_name

from quadfire.rtl.contract.config import PRESETS, ArrayConfig
from quadfire.rtl.fpga.floorplan import GRIDS, UP5K, Column, Grid

__all__ = ["BOARDS", "ECP5", "ICE40", "Board", "Family"]


@dataclass(frozen=True)
class Family:
    """A family of chips: the tools for it.

    | attribute | meaning |
    |---|---|
    | pll | function of `quadfire.rtl.boards.pll`, by name |
    | synthesis | pass of yosys with its options |
    | place | nextpnr, with the options that all chips share |
    | constraints | suffix of the file of pins, which is also nextpnr's option for it |
    | layout | nextpnr's option for the file that it writes |
    | packer | tool that makes a bitstream of that file |
    | bitstream | suffix of the bitstream |
    | cells | what is counted, as nextpnr calls it |
    """

    pll: str
    synthesis: str
    place: str
    constraints: str
    layout: str
    packer: str
    bitstream: str
    cells: tuple[str, ...]


ECP5 = Family(
    pll="ecp5_pll", synthesis="synth_ecp5", place="nextpnr-ecp5 --placer static",
    constraints="lpf", layout="--textcfg", packer="ecppack --compress", bitstream="bit",
    cells=("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D"))

#: An UltraPlus chip: its SPRAM holds the weights.
ICE40 = Family(
    pll="ice40_pll", synthesis="synth_ice40 -device u -dsp -spram -abc9", place="nextpnr-ice40",
    constraints="pcf", layout="--asc", packer="icepack", bitstream="bin",
    cells=("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM", "ICESTORM_DSP"))


@dataclass(frozen=True)
class Board:
    """A board and its default design.

    | attribute | meaning |
    |---|---|
    | platform | class with its pins and oscillator, "module:class" |
    | family | family of its chip |
    | device | options of nextpnr that name the chip |
    | config | the array |
    | clock | of the array, in Hz |
    | baud | of the UART, in Hz |
    | buffer | receive buffer of the UART, in symbols |
    | grid | sites of the chip's block RAM for the floorplan, or None for no floorplan |
    """

    platform: str
    family: Family
    device: str
    config: ArrayConfig
    clock: float
    baud: float
    buffer: int
    grid: Grid | Column | None = None

    def platform_class(self) -> type:
        """The class of the platform. Raises ImportError where its package is not installed."""
        return resolve_name(self.platform)


BOARDS = {
    "ulx3s-85f": Board(
        platform="amaranth_boards.ulx3s:ULX3S_85F_Platform", family=ECP5,
        device="--85k --package CABGA381 --speed 6", grid=GRIDS["85k"],
        config=PRESETS["medium"], clock=50e6, baud=3e6, buffer=2048),
    "icebreaker": Board(
        platform="amaranth_boards.icebreaker:ICEBreakerPlatform", family=ICE40,
        device="--up5k --package sg48", grid=UP5K,
        config=PRESETS["small"], clock=24e6, baud=1e6, buffer=256),
}
