"""`quadfire experiments paper`: the paper's own experiments, as a plan, and run."""

from __future__ import annotations

import csv
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from quadfire.models.commands.common import console, device_of

if TYPE_CHECKING:
    from quadfire.models.experiments.paper import Row

__all__ = ["plan", "run"]


def _path(row: Row, folder: Path, seed: int) -> Path:
    return folder / f"{row.name}-seed{seed}.safetensors"


def _words(row: Row, folder: Path, seed: int, data: Path | None, further: Sequence[str]
           ) -> list[str]:
    """The command that trains a row."""
    return ["train", *row.words, "--seed", str(seed), "--data", str(data or "DATA"), "--out",
            str(_path(row, folder, seed)), "--resume", *further]


def _reached(row: Row, folder: Path, seed: int) -> str:
    """What there is of a row: its accuracy, or the epochs so far."""
    from quadfire.models.training.checkpoint import load_checkpoint

    path = _path(row, folder, seed)
    if path.is_file():
        found = load_checkpoint(path)[1]["accuracy"]
        return f"{found['held_out']:.2%}" if "held_out" in found else "trained, not measured"
    log = path.with_suffix(".log.csv")
    if not log.is_file():
        return "-"
    with log.open(newline="") as file:
        last = [*csv.DictReader(file)][-1]
    return f"epoch {last['epoch']}, train {float(last['train']):.1%}"


def plan(folder: Path, seed: int, data: Path | None, device: str, measure: bool) -> None:
    """Print the table, and the command of every row."""
    from quadfire.models.experiments.paper import ROWS, estimated_seconds

    place = device_of(device)
    seconds: dict[object, float] = {}
    table = Table("row", "epochs", "a step", "hours", "here")
    for row in ROWS:
        step, hours = "-", "-"
        if measure:
            if row.load not in seconds:
                with console.status(f"a step of {row.name}"):
                    seconds[row.load] = estimated_seconds(row, place)
            step = f"{seconds[row.load]:.2f} s"
            hours = f"{row.hours(seconds[row.load]):,.0f}"
        table.add_row(row.name, str(row.epochs), step, hours,
                      _reached(row, folder, seed))
    console.print(table)
    if measure:
        scaled = ", with 2 and 6 and from there in proportion" if place.type == "cpu" else ""
        console.print(f"hours: an estimate for one process on this {place.type}, all steps as long "
                      f"as one that was timed here on random images in memory{scaled}",
                      soft_wrap=True)
    console.print("epochs, rates, batches and augmentation are ours: the paper's are not known "
                  "here")
    for row in ROWS:
        console.print(f"{row.name}: quadfire {shlex.join(_words(row, folder, seed, data, ()))}",
                      soft_wrap=True)


def run(name: str, folder: Path, seed: int, data: Path | None, further: Sequence[str]) -> None:
    """Train a row, or go on with it. further: options of `train` that come after the row's."""
    from quadfire.models.commands.training import train
    from quadfire.models.experiments.paper import row_named

    row = row_named(name)
    if data is None:
        raise ValueError(f"{name} is trained on {row.dataset}: name the folder of its files, "
                         "--data FOLDER")
    words = _words(row, folder, seed, data, further)
    app = typer.Typer(add_completion=False)
    app.command()(train)
    typed, sys.argv = sys.argv, ["quadfire", *words]    # the checkpoint tells this command
    try:
        status = typer.main.get_command(app)(words[1:], "quadfire train", standalone_mode=False)
    finally:
        sys.argv = typed
    if status:
        raise typer.Exit(status)
