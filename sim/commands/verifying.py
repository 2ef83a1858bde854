"""Commands that verify: `quadfire build`, `cocotb`, `fuzz`, `lint`."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from quadfire.arguments import Changes, Config, console
from quadfire.paths import CHECKOUT, cache_folder
from quadfire.rtl.contract.config import PRESETS
from quadfire.rtl.contract.config_file import read_config

__all__ = ["build", "cocotb", "fuzz", "lint"]


def build(config: Config = "default", changes: Changes = None,
          trace: Annotated[bool, typer.Option(
              "--trace", help="With support for waveforms.")] = False) -> None:
    """Generate the Verilog of an array and compile it into a shared library for the driver."""
    shape = read_config(config, changes or ())
    from quadfire.sim.verilator import build as builder

    begin = time.monotonic()
    library = builder.library(builder.core_verilog(shape), trace=trace)
    console.print(f"{config}: {shape}\n{library} ({time.monotonic() - begin:.1f} s)",
                  soft_wrap=True)


def cocotb(
        verilog: Annotated[Path | None, typer.Argument(
            help="A Verilog file.", show_default=False)] = None,
        vectors: Annotated[Path | None, typer.Argument(
            show_default=False,
            help="Golden vectors, JSON: see `pydoc quadfire.sim.cocotb.vectors`.")] = None,
        top: Annotated[str | None, typer.Option(
            help="Module.", show_default="the file's name")] = None,
        simulator: Annotated[str | None, typer.Option(
            help="verilator or icarus.", show_default="all there are")] = None,
        seed: Annotated[int, typer.Option(help="Of idle times and backpressure.")] = 1,
        waves: Annotated[bool, typer.Option(
            "--waves", help="Write a waveform, also of success.")] = False) -> None:
    """Play golden vectors into a Verilog module; without arguments, run all benches of tests/."""
    if verilog is None:
        if CHECKOUT is None:
            raise ValueError("the test benches are in the repository: run this in a checkout, or "
                             "name a Verilog file and its vectors")
        from quadfire.sim.verilator import toolchain

        command = [sys.executable, "-m", "pytest", "-n", str(toolchain.jobs()), "-m", "cocotb"]
        raise typer.Exit(subprocess.run(command, cwd=CHECKOUT, check=False).returncode)
    if vectors is None:
        raise ValueError("a Verilog file needs a file of vectors as well")
    text = verilog.read_text()
    from quadfire.sim.cocotb import vectors as golden
    from quadfire.sim.cocotb.run import run_testbench
    from quadfire.sim.verilator import toolchain

    module = top or verilog.stem
    for name in [simulator] if simulator else toolchain.simulators():
        folder = cache_folder() / "bench" / f"{module}-{name}"
        passed = run_testbench(name, text, module, golden.read(vectors), folder, seed=seed,
                           waves=waves or None)
        console.print(f"{module} on {name}: {passed} tests passed, seed {seed} ({folder})",
                      soft_wrap=True)


def fuzz(packets: Annotated[int, typer.Option(min=1, help="How many packets.")] = 1_000_000,
         config: Annotated[str, typer.Option(
             "--config", "-c", metavar="NAME|FILE", help="Array; `tiny` is fastest.")] = "tiny",
         changes: Changes = None,
         seed: Annotated[int, typer.Option(help="Of everything random.")] = 1,
         idle: Annotated[float, typer.Option(
             min=0.0, max=0.99, help="Probability of a cycle without input.")] = 0.0,
         backpressure: Annotated[float, typer.Option(
             min=0.0, max=0.99, help="And of one without output.")] = 0.0) -> None:
    """Throw random and damaged packets at the Verilated core, a good tape after every few.

    Ends with an error where the device hangs, answers wrongly, or breaks a rule of AXI4-Stream.
    """
    shape = read_config(config, changes or ())
    from quadfire.sim.verilator.fuzz import fuzz as throw

    begin = time.monotonic()
    report = throw(shape, packets, seed=seed, idle=idle, backpressure=backpressure, progress=True)
    console.print(f"{report.packets:,} packets in {report.rounds:,} rounds, {report.cycles:,} "
                  f"cycles: {report.refused:,} damaged tapes refused, {report.harmless:,} "
                  f"harmless, no hang, no wrong answer ({time.monotonic() - begin:.0f} s)",
                  soft_wrap=True)


def lint(config: Annotated[list[str] | None, typer.Option(
             "--config", "-c", metavar="NAME|FILE",
             help="Array; may be repeated. By default all that have a name.")] = None) -> None:
    """Check the generated Verilog with `verilator -Wall`, and with Icarus where it is installed."""
    shapes = {name: read_config(name) for name in config or PRESETS}
    from quadfire.sim.verilator import lint as checker

    for name, shape in shapes.items():
        for tool in checker.check(shape):
            console.print(f"{name}: nothing to say, {tool}")
