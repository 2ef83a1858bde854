"""What all commands share: the terminal, and arguments that mean the same everywhere.

    def estimate(network: Network, config: Config = "default", changes: Changes = None) -> None:
        shape = read_config(config, changes or ())

Only typer and rich are imported here: `quadfire --help` and a wrong argument must not wait for
PyTorch or Amaranth.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status

__all__ = ["By", "Changes", "Config", "DataFiles", "Difference", "Network", "OptionalConfig",
           "PlainConsole", "Sensor", "SpikesAbove", "console", "errors", "tell_error"]



class PlainConsole(Console):
    """A console that prints every text as it stands, unless a call says that it holds markup.

    What is printed may hold names of files and layers, and these may hold anything.
    """

    def __init__(self, **options: Any):
        super().__init__(**{"highlight": False, "markup": False, **options})

    def status(self, status: Any, **options: Any) -> Status:
        """A spinner beside a text."""
        shown = super().status("", **options)
        update = shown.update

        def plain(status: Any = None, **changes: Any) -> None:
            update(escape(status) if isinstance(status, str) else status, **changes)

        shown.update = plain
        shown.update(status)
        return shown


console = PlainConsole()
errors = Console(stderr=True, highlight=False)

_CONFIG = ("Array: a preset (see `quadfire configs`), or a JSON file such as the quadfire.json "
           "that `quadfire verilog` writes.")

Config = Annotated[str, typer.Option("--config", "-c", metavar="NAME|FILE", help=_CONFIG)]
OptionalConfig = Annotated[str | None, typer.Option(
    "--config", "-c", metavar="NAME|FILE", help=_CONFIG,
    show_default="what a real device says that it is; `default` for a simulated one")]
Changes = Annotated[list[str] | None, typer.Option(
    "--set", metavar="FIELD=NUMBER", help="Change a field of the configuration; may be repeated.")]
Network = Annotated[Path, typer.Argument(metavar="NET", show_default=False,
                                         help="Integer network, a .safetensors file.")]

#: Data, stated alike for every command that takes them.
DataFiles = Annotated[Path | None, typer.Option(
    "--data", metavar="FOLDER|FILE.npz",
    help="Data of your own: a .npz with x, y, and x_test, y_test if you like (images [N, ...], or "
         "frames of spikes [T, N, ...]); or a folder of pictures, or of recordings of events, one "
         "folder a class. Or where the files of --dataset are; without them it says how they "
         "should lie.")]
SpikesAbove = Annotated[float | None, typer.Option(
    "--spikes-above", metavar="LEVEL", show_default="frames are spikes already",
    help="Make spikes of frames that hold counts or other numbers: 1 where they are above LEVEL.")]
By = Annotated[Literal["number", "time"] | None, typer.Option(
    "--by", show_default="number",
    help="Cut recordings of events into frames of equally many events, or of equal time.")]
Sensor = Annotated[str | None, typer.Option(
    "--sensor", metavar="WIDTHxHEIGHT", show_default=".aedat 128x128, .bin 34x34",
    help="Of the camera that made recordings of events.")]


class Difference(Exception):
    """What was compared is not equal, or a goal was missed: exit status 1 instead of 2."""


def tell_error(text: object) -> None:
    """One line on stderr that says what is wrong."""
    errors.print(f"[red]error:[/] {escape(str(text))}", soft_wrap=True)
