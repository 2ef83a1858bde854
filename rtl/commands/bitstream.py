"""`quadfire bitstream`: the array behind a UART on a board."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quadfire.arguments import Changes, console
from quadfire.rtl.boards.targets import BOARDS
from quadfire.rtl.contract.config_file import read_config, with_changes

__all__ = ["bitstream"]

#: Placements that a bitstream is tried with.
_SEEDS = 5


def bitstream(board: Annotated[str, typer.Option(
                  help=f"{' or '.join(BOARDS)}.")] = "ulx3s-85f",
              config: Annotated[str | None, typer.Option(
                  "--config", "-c", metavar="NAME|FILE", show_default="the board's own",
                  help="Array: a preset or a JSON file.")] = None,
              changes: Changes = None,
              clock: Annotated[float | None, typer.Option(
                  show_default="the board's own", help="Clock in MHz.")] = None,
              baud: Annotated[int | None, typer.Option(
                  show_default="the board's own", help="Baud rate of the UART.")] = None,
              seed: Annotated[int | None, typer.Option(
                  min=1, show_default=f"1 to {_SEEDS}, until one is good",
                  help="Of the placement.")] = None,
              output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                   help="Folder; the board's name is added.")
                                ] = Path("build/bitstream")) -> None:
    """Build a bitstream: the array behind a UART on a board. Fails where it misses its clock.

    Needs `make bench`'s tools. Prints clock and cells used; files and logs are in the output
    folder.
    """
    from quadfire.rtl.boards.flow import build

    if board not in BOARDS:
        raise ValueError(f"no board is called {board!r}; there are {', '.join(BOARDS)}")
    target = BOARDS[board]
    shape = with_changes(target.config if config is None else read_config(config), changes or ())
    with console.status("") as status:
        result = build(board, target, shape, output / board,
                       clock=clock * 1e6 if clock else target.clock,
                       baud=baud or target.baud,
                       seeds=range(1, _SEEDS + 1) if seed is None else [seed],
                       progress=status.update)
    table = Table("cells", "used", "of", title=f"{board}: {shape}")
    for cell, (used, available) in result.cells.items():
        table.add_row(cell, str(used), str(available))
    console.print(table)
    console.print(f"{result.reached_mhz:.1f} MHz reached, {result.wanted_mhz:g} wanted, "
                  f"seed {result.seed}\n{result.path}", soft_wrap=True)
