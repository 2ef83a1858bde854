"""From a board to its bitstream: yosys (pyosys) synthesises, nextpnr places, a packer finishes.

These files are left in the output folder:

| file | what it is |
|---|---|
| `NAME.bit`, `NAME.bin` | the bitstream (ECP5, iCE40) |
| `summary.json` | array, clock, seed, cells |
| `report.json` | nextpnr's timing and utilisation |
| `*.log` | a log of every tool |
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from quadfire.files import write_text
from quadfire.rtl.boards.pll import PLLS
from quadfire.rtl.boards.targets import Board
from quadfire.rtl.boards.top import BoardTop
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fpga.synthesis import synthesise
from quadfire.rtl.fpga.tools import ToolError, fit, run, tool
from quadfire.rtl.shell.uart import TOP

__all__ = ["Bitstream", "TimingError", "build"]


class TimingError(RuntimeError):
    """A placed design does not reach its clock."""


@dataclass(frozen=True)
class Bitstream:
    """A bitstream, and how it was made.

    | attribute | meaning |
    |---|---|
    | path | the file |
    | wanted_mhz, reached_mhz | clock that was asked for, clock by nextpnr's timing |
    | cells | cell -> (used, available) |
    | seed | of the placement |
    """

    path: Path
    wanted_mhz: float
    reached_mhz: float
    cells: dict[str, tuple[int, int]]
    seed: int


def build(name: str, board: Board, config: ArrayConfig, folder: Path, *, clock: float, baud: float,
          seeds: Iterable[int], progress: Callable[[str], object]) -> Bitstream:
    """Make the bitstream of an array for a board.

    | argument | meaning |
    |---|---|
    | name | of the board, and of the bitstream |
    | folder | output folder |
    | clock, baud | in Hz |
    | seeds | placements to try, until one is legal and reaches the clock |
    | progress | called with a line of text at every step |

    Raises ValueError for a design that is impossible, RuntimeError with the end of the log where a
    tool fails, TimingError where no seed reaches the clock. Then no bitstream is left.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.{board.family.bitstream}"
    for old in (target, folder / "summary.json"):
        old.unlink(missing_ok=True)
    progress("generating Verilog")
    _write_sources(board, config, folder, clock, baud)
    progress("synthesis")
    # the constraints name the net of the clock
    synthesise([f"read_verilog {TOP}.v", "read_rtlil top.il", "setattr -set keep 1 w:pll_clock"],
               board.family.synthesis, "top", folder, grid=board.grid)
    command = _place_command(board)
    fit(command, folder)
    seed, reached, used = _first_good(name, command, board, folder, clock, seeds, progress)
    write_text(folder / "summary.json", json.dumps({
        "board": name, "configuration": config.as_dict(), "clock_mhz": clock / 1e6, "baud": baud,
        "seed": seed, "reached_mhz": reached, "cells": used}, indent=2) + "\n")
    progress("packing")
    run([*tool(*board.family.packer.split()), "top.config", target.name], folder, "pack.log")
    return Bitstream(target, clock / 1e6, reached, used, seed)


def _write_sources(board: Board, config: ArrayConfig, folder: Path, clock: float, baud: float
                   ) -> None:
    """Write the core's Verilog, the RTLIL around it and the constraints of the pins."""
    top = BoardTop(config, pll=PLLS[board.family.pll], clock=clock, baud=baud, buffer=board.buffer)
    # amaranth-boards makes a script of its own as well, which is not run
    plan = board.platform_class()().build(top, name="top", do_build=False, build_dir=str(folder))
    for file, text in plan.files.items():
        if file in ("top.il", f"top.{board.family.constraints}", f"{TOP}.v"):
            (folder / file).write_text(text if isinstance(text, str) else text.decode())


def _place_command(board: Board) -> list[str]:
    """nextpnr with chip, pins and netlist, without a seed."""
    family = board.family
    return [*tool(*family.place.split()), *board.device.split(),
            f"--{family.constraints}", f"top.{family.constraints}", "--json", "netlist.json"]


def _first_good(name: str, command: list[str], board: Board, folder: Path, clock: float,
                seeds: Iterable[int], progress: Callable[[str], object]
                ) -> tuple[int, float, dict[str, tuple[int, int]]]:
    """The first seed that is legal and reaches the clock, MHz reached, and cells.

    Raises what the last seed failed with, where all fail.
    """
    failure = ToolError("there is no seed to place with")
    for seed in seeds:
        progress(f"place and route, seed {seed} (minutes)")
        try:
            reached, used = _place(command, board, folder, seed)
            if reached < clock / 1e6:
                raise TimingError(f"{name} reaches {reached:.1f} MHz with seed {seed}, not "
                                  f"{clock / 1e6:g}: try another --seed or a lower --clock "
                                  f"(report: {folder / 'report.json'})")
            return seed, reached, used
        except RuntimeError as error:
            failure = error
    raise failure


def _place(command: list[str], board: Board, folder: Path, seed: int
           ) -> tuple[float, dict[str, tuple[int, int]]]:
    """Place and route once: MHz reached, and (used, available) of the cells; makes `top.config`."""
    run([*command, board.family.layout, "top.config", "--report", "report.json",
         "--seed", str(seed), "--timing-allow-fail"], folder, "place.log")
    report = json.loads((folder / "report.json").read_text())
    used = {cell: (report["utilization"][cell]["used"], report["utilization"][cell]["available"])
            for cell in board.family.cells}
    return min(entry["achieved"] for entry in report["fmax"].values()), used
