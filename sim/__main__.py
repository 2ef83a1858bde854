"""Command line of the simulation: `python -m sim --help`."""

import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rtl.config import PRESETS, preset
from sim import build as builder
from sim import toolchain
from sim import vectors as golden

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="""
Simulate the generated Verilog.

What is compiled is kept under build/, so that nothing is compiled twice.

[bold]python -m sim demo[/]  a trained network on the Verilog

[bold]python -m sim build --config tiny[/]  compile an array

[bold]python -m sim cocotb[/]  all benches, on every simulator there is

[bold]python -m sim cocotb block.v vectors.json[/]  your vectors on your Verilog
""")
console = Console(highlight=False)

Config = Annotated[str, typer.Option(help="Array: tiny, small, medium, default or large.")]


def _fail(error: Exception) -> typer.Exit:
    console.print(f"[red]error:[/] {error}", soft_wrap=True)
    return typer.Exit(1)


@app.command()
def build(config: Config = "default",
          trace: Annotated[bool, typer.Option(help="With support for waveforms.")] = False) -> None:
    """Generate the Verilog of an array and compile it into a shared library for the driver."""
    try:
        shape = preset(config)
        begin = time.monotonic()
        library = builder.library(builder.core_verilog(shape), trace=trace)
    except (ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None
    console.print(f"{config}: {shape}\n{library} ({time.monotonic() - begin:.1f} s)")


@app.command()
def cocotb(
        verilog: Annotated[Path | None, typer.Argument(help="A Verilog file.")] = None,
        vectors: Annotated[Path | None, typer.Argument(
            help="Golden vectors, JSON: see `pydoc sim.vectors`.")] = None,
        top: Annotated[str | None, typer.Option(help="Module; by default the file's name.")] = None,
        simulator: Annotated[str | None, typer.Option(
            help="verilator or icarus; by default all there are.")] = None,
        seed: Annotated[int, typer.Option(help="Of idle times and backpressure.")] = 1,
        waves: Annotated[bool, typer.Option(help="Write a waveform, also of success.")] = False,
) -> None:
    """Play golden vectors into a Verilog module; without arguments, run all benches of tests/."""
    if verilog is None:
        command = [sys.executable, "-m", "pytest", "-n", str(toolchain.jobs()), "-m", "cocotb"]
        raise typer.Exit(subprocess.run(command, cwd=toolchain.ROOT, check=False).returncode)
    if vectors is None:
        raise _fail(ValueError("a Verilog file needs a file of vectors as well"))
    from sim.cocotb_run import BenchFailure, run_bench

    module = top or verilog.stem
    try:
        for name in [simulator] if simulator else toolchain.simulators():
            folder = builder.BUILD / "bench" / f"{module}-{name}"
            passed = run_bench(name, verilog.read_text(), module, golden.read(vectors), folder,
                               seed=seed, waves=waves or None)
            console.print(f"{module} on {name}: {passed} tests passed, seed {seed} ({folder})")
    except (OSError, ValueError, BenchFailure, toolchain.ToolchainError) as error:
        raise _fail(error) from None


@app.command()
def demo(config: Config = "default",
         images: Annotated[int | None, typer.Option(
             min=1, max=1000, help="How many held-out digits; by default all 1,000.")] = None,
         bits: Annotated[int, typer.Option(help="Width of the weights, 8 or 4.")] = 8,
         output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                              help="Folder to write to.")] = builder.BUILD / "demo",
         ) -> None:
    """Run a trained network on the generated Verilog and compare every spike and membrane.

    Prints accuracy, mismatches and cycles; writes two pictures and `summary.json`. Fails if
    anything differs from the integer model.
    """
    run = importlib.import_module("sim.demo").run     # only here: it takes PyTorch to load
    try:
        summary = run(config, images, bits, output)
    except (ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None
    if wrong := sum(summary[f"mismatched_{what}"] for what in ("spikes", "membranes", "logits")):
        raise _fail(ValueError(f"{wrong} values of the RTL differ from the reference"))


@app.command()
def serve(config: Config = "default",
          link: Annotated[Path | None, typer.Option(
              help="Where to put a symbolic link to the terminal.")] = None) -> None:
    """Run a simulated board: the array behind a UART at a pseudo-terminal, until Ctrl-C.

    `python -m firmware run NET IMAGES --device serial:PATH:3000000` then talks to it as to a board.
    """
    from sim.uart import UartServer

    try:
        with UartServer(preset(config), link=link) as server:
            console.print(f"{config} is at serial:{server.path}:{server.baud}, Ctrl-C ends it",
                          soft_wrap=True)
            server.wait()
    except KeyboardInterrupt:
        console.print("ended")
    except (OSError, ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None


@app.command()
def lint(config: Annotated[list[str] | None, typer.Option(
        help="Array; may be repeated. By default all that have a name.")] = None) -> None:
    """Check the generated Verilog with `verilator -Wall`, and with Icarus where it is installed."""
    from sim import lint as checker

    try:
        for name in config or list(PRESETS):
            for tool in checker.check(preset(name)):
                console.print(f"{name}: nothing to say, {tool}")
    except (ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None


if __name__ == "__main__":
    app()
