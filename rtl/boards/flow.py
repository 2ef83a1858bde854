"""Bitstreams: amaranth-boards names the pins, yosys (pyosys) synthesises, nextpnr places and packs.

In the output folder: `NAME.bit` or `NAME.bin`, `report.json` (nextpnr's timing and utilisation),
`summary.json`, and a log of every tool.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from quadfire.rtl.boards.targets import Board
from quadfire.rtl.boards.top import BoardTop
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fpga.synthesis import synthesise
from quadfire.rtl.fpga.tools import fit, run, tool
from quadfire.rtl.shell.uart import TOP

__all__ = ["Bitstream", "TimingError", "build"]


class TimingError(RuntimeError):
    """The design does not reach its clock."""


@dataclass(frozen=True)
class Bitstream:
    """A bitstream, its clock wanted and reached (MHz), how much of the device it takes, and the
    seed of its placement."""

    path: Path
    wanted_mhz: float
    reached_mhz: float
    cells: dict[str, tuple[int, int]]
    seed: int


def build(name: str, board: Board, config: ArrayConfig, folder: Path, *, clock: float, baud: float,
          seeds: Iterable[int], progress: Callable[[str], object]) -> Bitstream:
    """Make the bitstream of an array for a board.

    clock, baud: Hz. seeds: placements to try until one is legal and reaches the clock. Raises
    ValueError for a design that cannot be, RuntimeError with the end of the log when a tool fails,
    TimingError when the clock is not reached; no bitstream is left then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.{board.packer[1]}"
    for old in (target, folder / "summary.json"):
        old.unlink(missing_ok=True)
    progress("generating Verilog")
    top = BoardTop(config, pll=board.pll, clock=clock, baud=baud, buffer=board.buffer)
    platform = board.platform()
    # the platform's own script is not run: only its files are used
    plan = platform.build(top, name="top", do_build=False, build_dir=str(folder))
    for file, text in plan.files.items():
        if file in ("top.il", f"top.{board.constraints}", f"{TOP}.v"):
            (folder / file).write_text(text if isinstance(text, str) else text.decode())
    progress("synthesis")
    # the constraints name the net of the clock
    synthesise([f"read_verilog {TOP}.v", "read_rtlil top.il", "setattr -set keep 1 w:pll_clock"],
               board.synthesis, "top", folder, grid=board.grid)
    place = [*tool(*board.place.split()), f"top.{board.constraints}", "--json", "netlist.json"]
    fit(place, folder)
    failure = RuntimeError("there is no seed to place with")
    for seed in seeds:
        progress(f"place and route, seed {seed} (minutes)")
        try:
            reached, used = _place(place, board, folder, seed)
            if reached < clock / 1e6:
                raise TimingError(f"{name} reaches {reached:.1f} MHz with seed {seed}, not "
                                  f"{clock / 1e6:g}: try another --seed or a lower --clock "
                                  f"(report: {folder / 'report.json'})")
            break
        except RuntimeError as error:
            failure = error
    else:
        raise failure
    (folder / "summary.json").write_text(json.dumps({
        "board": name, "configuration": config.as_dict(), "clock_mhz": clock / 1e6, "baud": baud,
        "seed": seed, "reached_mhz": reached, "cells": used}, indent=2) + "\n")
    progress("packing")
    run([*tool(*board.packer[0].split()), "top.config", target.name], folder, "pack.log")
    return Bitstream(target, clock / 1e6, reached, used, seed)


def _place(command: list[str], board: Board, folder: Path, seed: int
           ) -> tuple[float, dict[str, tuple[int, int]]]:
    """MHz reached, and (used, there are) of the board's cells; leaves `top.config`."""
    output = ["--textcfg", "top.config"] if board.constraints == "lpf" else ["--asc", "top.config"]
    run([*command, *output, "--report", "report.json", "--seed", str(seed), "--timing-allow-fail"],
        folder, "place.log")
    report = json.loads((folder / "report.json").read_text())
    used = {cell: (report["utilization"][cell]["used"], report["utilization"][cell]["available"])
            for cell in board.cells}
    return min(entry["achieved"] for entry in report["fmax"].values()), used
