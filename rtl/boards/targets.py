"""The boards that there are, and what stands on each."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth_boards.icebreaker import ICEBreakerPlatform
from amaranth_boards.ulx3s import ULX3S_85F_Platform

from quadfire.rtl.boards.top import ecp5_pll, ice40_pll
from quadfire.rtl.contract.config import PRESETS, ArrayConfig
from quadfire.rtl.fpga.floorplan import GRIDS, UP5K, Column, Grid

__all__ = ["BOARDS", "Board"]


@dataclass(frozen=True)
class Board:
    """A board: its platform, how to synthesise, place and pack for it, and its default design.

    clock, baud: Hz. buffer: symbols of the UART's receive buffer. cells: what is counted, as
    nextpnr calls it. packer: tool and suffix of the bitstream. grid: of its block RAM.
    """

    platform: type
    pll: Callable
    config: ArrayConfig
    clock: float
    baud: float
    buffer: int
    synthesis: str
    place: str
    constraints: str
    packer: tuple[str, str]
    cells: tuple[str, ...]
    grid: Grid | Column | None = None


BOARDS = {
    "ulx3s-85f": Board(
        ULX3S_85F_Platform, ecp5_pll, PRESETS["medium"], 50e6, 3e6, 2048,
        synthesis="synth_ecp5",
        place="nextpnr-ecp5 --85k --package CABGA381 --speed 6 --placer static --lpf",
        constraints="lpf", packer=("ecppack --compress", "bit"),
        cells=("TRELLIS_COMB", "TRELLIS_FF", "DP16KD", "MULT18X18D"), grid=GRIDS["85k"]),
    # SPRAM holds the weights.
    "icebreaker": Board(
        ICEBreakerPlatform, ice40_pll,
        PRESETS["small"], 24e6, 1e6, 256,
        synthesis="synth_ice40 -device u -dsp -spram -abc9",
        place="nextpnr-ice40 --up5k --package sg48 --pcf", constraints="pcf",
        packer=("icepack", "bin"),
        cells=("ICESTORM_LC", "ICESTORM_RAM", "ICESTORM_SPRAM", "ICESTORM_DSP"), grid=UP5K),
}
