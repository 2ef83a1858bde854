"""`quadfire`: generate Verilog, and measure what it takes on an FPGA."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from quadfire.rtl import verilog as generator
from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset
from quadfire.rtl.fpga import summary
from quadfire.rtl.fpga.blocks import BLOCKS
from quadfire.sim.cycles.regression import CASES, changed, measure_cycles
from quadfire.rtl.fpga.devices import DEVICES, PLAN
from quadfire.rtl.fpga.measure import Job, measure
from quadfire.rtl.shell import verilog as axi
from quadfire.rtl.contract.registers import STREAM_BITS
from quadfire.rtl.shell.render import FORMATS, render

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="""
Generate the hardware.

[bold]quadfire configs[/]  what arrays have a name

[bold]quadfire verilog --config default -o build/[/]  Verilog and a description in JSON

[bold]quadfire verilog --config default --set lanes=16 --set weight_bits=4[/]  your own array

[bold]quadfire verilog --top axi --stream-bits 64[/]  with AXI4-Lite registers and interrupt

[bold]quadfire registers --format c[/]  those registers, for C

[bold]quadfire bench --preset tiny --device ecp5-25f --seeds 1[/]  place and route
""")
console = Console(highlight=False)


def configured(config: str | None, changes: list[str], otherwise: ArrayConfig | None = None
               ) -> ArrayConfig:
    """The preset, or `otherwise`, with `name=value` changes; ValueError says what is wrong."""
    base = otherwise if config is None and otherwise is not None else preset(config or "default")
    values = base.as_dict()
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not value.strip().isdigit():
            raise ValueError(f"--set takes name=number, not {change!r}")
        values[name.strip()] = int(value)
    return ArrayConfig.from_dict(values)


Config = Annotated[str, typer.Option(help="Preset to start from: " + ", ".join(PRESETS) + ".")]
_WIDTHS = ", ".join(map(str, STREAM_BITS))
StreamBits = Annotated[int, typer.Option(help=f"Width of both streams: {_WIDTHS}.")]
Changes = Annotated[list[str] | None, typer.Option(
    "--set", metavar="NAME=NUMBER", help="Change a field of the configuration; may be repeated.")]


@app.command()
def configs() -> None:
    """List the presets, field by field."""
    table = Table("field", *PRESETS, title="Array configurations")
    for name in ArrayConfig().as_dict():
        table.add_row(name, *(str(getattr(config, name)) for config in PRESETS.values()))
    table.add_section()
    table.add_row("lanes in all", *(str(config.outputs) for config in PRESETS.values()))
    table.add_row("neuron pipelines", *(str(config.groups) for config in PRESETS.values()))
    table.add_row("hash", *(f"0x{config.hash:08x}" for config in PRESETS.values()))
    console.print(table)


@app.command()
def verilog(config: Config = "default", changes: Changes = None,
            output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                 help="Folder to write to.")] = Path("build"),
            top: Annotated[str, typer.Option(help="core: the array with two bare streams. axi: in "
                                                  "its AXI shell.")] = "core",
            stream_bits: StreamBits = 32,
            ) -> None:
    """Write the Verilog of an array and a description: ports, widths, latencies, hashes.

    The same configuration gives the same bytes. `--top core` makes `quadfire.v`: `clk` and a
    synchronous `rst`, the tape goes in at `s_axis_*`, the answers come out at `m_axis_*`
    (AXI4-Stream, 32 bits). `--top axi` makes `quadfire_axi.v`: `aclk` and `aresetn`, the same
    streams, registers at `s_axi_*` (AXI4-Lite; see `registers`), `irq`.
    """
    try:
        shape = configured(config, changes or [])
        if top not in ("core", "axi"):
            raise ValueError(f"--top must be core or axi, not {top!r}")
        if stream_bits not in STREAM_BITS:
            raise ValueError(f"--stream-bits must be one of {_WIDTHS}, not {stream_bits}")
        if top == "core" and stream_bits != 32:
            raise ValueError("--stream-bits goes with --top axi: the core has 32 bits")
    except ValueError as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    with console.status(f"generating Verilog: {shape}"):
        if top == "core":
            source, about = generator.write(shape, output)
        else:
            source, about = generator.write(shape, output, axi.TOP,
                                            partial(axi.generate, stream_bits=stream_bits))
    console.print(f"{shape}\n{source}: module {source.stem}\n{about}: configuration "
                  f"0x{shape.hash:08x}")


@app.command()
def registers(form: Annotated[str, typer.Option("--format", help=", ".join(FORMATS) + ".")] = "md",
              config: Config = "default", changes: Changes = None, stream_bits: StreamBits = 32,
              output: Annotated[Path | None, typer.Option(
                  "-o", "--output", dir_okay=False, help="File to write instead of printing.")
                  ] = None) -> None:
    """The registers of the AXI shell: Markdown, C header, Python module or SystemRDL.

    The offsets are the same for every configuration; SystemRDL has the values of the constants too.
    """
    try:
        text = render(form, configured(config, changes or []), stream_bits)
        if output is not None:
            output.write_text(text)
    except (OSError, ValueError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    if output is None:
        typer.echo(text, nl=False)


#: Rows that continuous integration measures, one placement each.
_FAST = [Job("tiny", "ecp5-25f", block) for block in
         ("core", "cell", "neuron", "neuron-qif", "neuron-lif", "scanner", "sequencer")]
_BASELINES = Path(__file__).parent / "fpga" / "baselines"


def _against(baseline: Path, rows: list[dict], cycles: list[dict], *, whole: bool, update: bool
             ) -> bool:
    """Compare with a baseline, print what moved, or make it the baseline: whether all is well.

    whole: the rows are all that there should be, so the baseline must have them.
    """
    known = json.loads(baseline.read_text()) if baseline.exists() else {"rows": [], "cycles": []}
    if update:
        known["rows"] = summary.merge(known["rows"], rows)
        known["cycles"] = cycles or known["cycles"]
        baseline.write_text(json.dumps(known, indent=2) + "\n")
        console.print(f"{baseline} has these figures now")
        return True
    moved, outside = summary.compare(rows, known["rows"])
    different = changed(cycles, known["cycles"])
    unknown = [*summary.unknown(rows, known["rows"], summary.AREA),
               *summary.unknown(cycles, known["cycles"], summary.CYCLES)]
    wrong = {*outside, *different, *(unknown if whole else [])}
    for line in [*moved, *different, *unknown]:
        console.print(f"{'outside: ' if line in wrong else ''}{line}", markup=False,
                      soft_wrap=True)
    if not moved and not different and not unknown:
        console.print(f"no figure differs from those in {baseline}")
    elif wrong:
        console.print("--update makes these figures the baseline")
    return not wrong


@app.command()
def bench(presets: Annotated[list[str] | None, typer.Option(
              "--preset", help="May be repeated; by default those that suit the device.")] = None,
          devices: Annotated[list[str] | None, typer.Option(
              "--device", help=f"{', '.join(DEVICES)}; may be repeated, by default all.")] = None,
          blocks: Annotated[list[str] | None, typer.Option(
              "--block", help=f"core, {', '.join(BLOCKS)}; may be repeated, by default core, and "
                              f"all of the device's first preset or of those chosen.")] = None,
          seeds: Annotated[int, typer.Option(min=1, help="Placements to try.")] = 5,
          jobs: Annotated[int, typer.Option(min=1, help="Tools that run side by side.")] = 2,
          fast: Annotated[bool, typer.Option(help="The subset of continuous integration.")] = False,
          update: Annotated[bool, typer.Option(help="Make these figures the baseline.")] = False,
          output: Annotated[Path | None, typer.Option(
              "-o", "--output", file_okay=False,
              help="Folder to write to, by default build/bench or build/bench-fast.")] = None,
          ) -> None:
    """Area and clock of arrays and their blocks: `summary.json`, `summary.md`, and a table.

    Without a choice of presets, devices or blocks also the cycles of a network, `cycles.json`. What
    was placed before is kept in the output folder, so a run that was stopped goes on. One seed of
    `default` takes about ten minutes, of `wide` twenty. Fails where figures left their baseline.
    """
    wanted = _FAST if fast else [
        Job(name, device, block) for device in devices or DEVICES
        for place, name in enumerate(presets or PLAN.get(device, ()))
        for block in blocks or (["core"] if place and not presets else ["core", *BLOCKS])]
    chosen, seeds = bool(presets or devices or blocks), 1 if fast else seeds
    output = output or Path("build/bench-fast" if fast else "build/bench")
    try:
        with console.status("") as status:
            rows, failed = measure(wanted, seeds, output, jobs, status.update)
        cycles = [] if chosen else [measure_cycles(case) for case in CASES]
    except (OSError, ValueError, RuntimeError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    figures = [row.as_dict() for row in rows]
    summary.write(figures, cycles, output)
    for title, lines in (("Area and clock", figures),
                         ("Cycles of ten digits", cycles)):
        if lines:
            table = Table(*lines[0], title=title)
            for line in lines:
                table.add_row(*("" if value is None else str(value) for value in line.values()))
            Console(highlight=False, width=max(console.width, 140)).print(table)
    for job, reason in failed.items():
        console.print(f"{job}: {reason}", markup=False, soft_wrap=True)
    well = _against(_BASELINES / f"bench{'-fast' if fast else ''}.json", figures, cycles,
                    whole=fast or not chosen, update=update)
    if not well or (failed and (chosen or fast)):
        raise typer.Exit(1)


#: Placements that a bitstream is tried with.
_SEEDS = 5


@app.command()
def bitstream(board: Annotated[str, typer.Option(
                  help="ulx3s-85f or icebreaker.")] = "ulx3s-85f",
              config: Annotated[str | None, typer.Option(
                  help="Preset to start from, by default the board's own.")] = None,
              changes: Changes = None,
              clock: Annotated[float | None, typer.Option(
                  help="Clock in MHz, by default the board's own.")] = None,
              baud: Annotated[int | None, typer.Option(help="Baud rate of the UART.")] = None,
              seed: Annotated[int | None, typer.Option(
                  min=1, show_default=f"1 to {_SEEDS}, until one is good",
                  help="Of the placement.")] = None,
              output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                   help="Folder; the board's name is added.")
                                ] = Path("build/bitstream"),
              ) -> None:
    """Build a bitstream: the array behind a UART on a board. Fails where it misses its clock.

    Needs `make bench`'s tools. Prints clock and cells used; files and logs are in the output
    folder.
    """
    from quadfire.rtl.boards.flow import build      # only here: the boards need packages of their own
    from quadfire.rtl.boards.targets import BOARDS

    try:
        if board not in BOARDS:
            raise ValueError(f"no board is called {board!r}; there are {', '.join(BOARDS)}")
        target = BOARDS[board]
        shape = target.config
        if config is not None or changes:
            shape = configured(config, changes or [], target.config)
        with console.status("") as status:
            result = build(board, target, shape, output / board,
                           clock=clock * 1e6 if clock else target.clock,
                           baud=baud or target.baud,
                           seeds=range(1, _SEEDS + 1) if seed is None else [seed],
                           progress=status.update)
    except (OSError, ValueError, RuntimeError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        raise typer.Exit(1) from None
    table = Table("cells", "used", "of", title=f"{board}: {shape}")
    for cell, (used, available) in result.cells.items():
        table.add_row(cell, str(used), str(available))
    console.print(table)
    console.print(f"{result.reached_mhz:.1f} MHz reached, {result.wanted_mhz:g} wanted, "
                  f"seed {result.seed}\n{result.path}")


if __name__ == "__main__":
    app()
