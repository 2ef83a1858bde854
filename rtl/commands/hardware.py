"""`quadfire configs`, `verilog`, `registers`: the arrays there are, and their Verilog."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quadfire.arguments import Changes, Config, console
from quadfire.files import write_text
from quadfire.paths import make_folder
from quadfire.rtl.contract.config import LIMITS, PRESETS, ArrayConfig
from quadfire.rtl.contract.config_file import read_config
from quadfire.rtl.contract.registers import STREAM_BITS

__all__ = ["configs", "registers", "verilog"]

_WIDTHS = ", ".join(map(str, STREAM_BITS))
StreamBits = Annotated[int, typer.Option(help=f"Width of both streams: {_WIDTHS}.")]

#: What each preset is for.
_FOR = {
    "tiny": "tests: dense layers",
    "tiny-conv": "tests: convolutions, kept membranes",
    "small": "iCE40 UP5K (iCEBreaker)",
    "medium": "ECP5, bitstream of the ULX3S",
    "default": "ECP5 85F, 8-bit weights",
    "default-long": "the same, for more time steps than 16",
    "wide": "ECP5 85F, 4-bit weights, twice the lanes",
    "large": "simulation: memory for whole networks on CIFAR",
}


def configs(names: Annotated[list[str] | None, typer.Argument(
        metavar="[NAME|FILE]...", help="Arrays to show field by field.")] = None,
        changes: Changes = None) -> None:
    """List the arrays that have a name, and every field that can be set.

    With names, or files, the values of those arrays stand beside the meaning of each field.

    \b
      quadfire configs
      quadfire configs default wide
      quadfire configs build/quadfire.json --set lanes=16
    """
    if not names and not changes:
        table = Table("name", "lanes", "weights", "states", "hash", "for")
        for name, config in PRESETS.items():
            table.add_row(name, f"{config.banks} x {config.lanes}", f"{config.weight_bits} bits",
                          f"{config.state_bits} bits", f"0x{config.hash:08x}", _FOR.get(name, ""))
        console.print(table)
    shown = {name: read_config(name, changes or ()) for name in names or ["default"]}
    table = Table("field", "range", *(Path(name).name for name in shown), "meaning")
    for field, (low, high, meaning) in LIMITS.items():
        table.add_row(field, f"{low}..{high}", *(str(getattr(config, field))
                                                 for config in shown.values()), meaning)
    if names or changes:
        table.add_section()
        for label, value, meaning in (
                ("", lambda config: str(config.outputs), "lanes in all"),
                ("", lambda config: str(config.groups), "neuron pipelines"),
                ("", lambda config: f"{config.hash:08x}", "hash of the configuration")):
            table.add_row(label, "", *map(value, shown.values()), meaning)
    console.print(table)


def verilog(config: Config = "default", changes: Changes = None,
            output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                 help="Folder to write to.")] = Path("build"),
            top: Annotated[str, typer.Option(help="core: the array with two bare streams. axi: in "
                                                  "its AXI shell.")] = "core",
            stream_bits: StreamBits = 32) -> None:
    """Write the Verilog of an array and a description: ports, widths, latencies, hashes.

    The same configuration gives the same bytes. `--top core` makes `quadfire.v`: `clk` and a
    synchronous `rst`, the tape goes in at `s_axis_*`, the answers come out at `m_axis_*`
    (AXI4-Stream, 32 bits). `--top axi` makes `quadfire_axi.v`: `aclk` and `aresetn`, the same
    streams, registers at `s_axi_*` (AXI4-Lite; see `registers`), `irq`. The description,
    `quadfire.json`, is a configuration that every `--config` takes.

    \b
      quadfire verilog -o build/
      quadfire verilog --config default --set lanes=16 --set weight_bits=4
      quadfire verilog --top axi --stream-bits 64
    """
    shape = read_config(config, changes or ())
    if top not in ("core", "axi"):
        raise ValueError(f"--top must be core or axi, not {top!r}")
    if stream_bits not in STREAM_BITS:
        raise ValueError(f"--stream-bits must be one of {_WIDTHS}, not {stream_bits}")
    if top == "core" and stream_bits != 32:
        raise ValueError("--stream-bits goes with --top axi: the core has 32 bits")
    source, about = _written(shape, output, top, stream_bits)
    console.print(f"{shape}\n{source}: module {source.stem}\n{about}: configuration "
                  f"0x{shape.hash:08x}", soft_wrap=True)


def _written(shape: ArrayConfig, output: Path, top: str, stream_bits: int) -> tuple[Path, Path]:
    from functools import partial

    from quadfire.rtl import verilog as generator  # only here: Amaranth takes a second to load
    from quadfire.rtl.shell import verilog as axi

    with console.status(f"generating Verilog: {shape}"):
        if top == "core":
            return generator.write(shape, output)
        return generator.write(shape, output, axi.TOP,
                               partial(axi.generate, stream_bits=stream_bits))


def registers(form: Annotated[str, typer.Option(
                  "--format", help="md, c, py, rdl, or html (PeakRDL's pages in the folder -o)."
                  )] = "md",
              config: Config = "default", changes: Changes = None, stream_bits: StreamBits = 32,
              output: Annotated[Path | None, typer.Option(
                  "-o", "--output", help="File to write instead of printing; folder of html.")
                  ] = None) -> None:
    """The registers of the AXI shell: Markdown, C header, Python, SystemRDL, or HTML pages.

    The offsets are the same for every configuration; SystemRDL has the values of the constants too.
    """
    from quadfire.rtl.shell.render import render, write_html

    if form == "html":
        if output is None:
            raise ValueError("--format html writes pages: name their folder, -o FOLDER")
        make_folder(output)
        page = write_html(output, read_config(config, changes or ()), stream_bits)
        console.print(str(page), soft_wrap=True)
        return
    text = render(form, read_config(config, changes or ()), stream_bits)
    if output is None:
        typer.echo(text, nl=False)
    else:
        make_folder(output.parent)
        write_text(output, text)
