"""Command line of the simulation: `quadfire --help`."""

import importlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quadfire.paths import CHECKOUT
from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset
from quadfire.sim.verilator import build as builder
from quadfire.sim.verilator import toolchain
from quadfire.sim.cocotb import vectors as golden

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="""
Simulate the generated Verilog.

What is compiled is kept under build/, so that nothing is compiled twice.

[bold]quadfire demo[/]  a trained network on the Verilog

[bold]quadfire deep resnet19[/]  a deep network, every spike compared

[bold]quadfire compare net.safetensors inputs.npy[/]  your network: where does RTL differ?

[bold]quadfire activity[/]  cycles of a convolution against its spike rate

[bold]quadfire figures[/]  named networks beside those of others

[bold]quadfire speed[/]  cycles a second of the simulated arrays

[bold]quadfire build --config tiny[/]  compile an array

[bold]quadfire cocotb[/]  all benches, on every simulator there is

[bold]quadfire cocotb block.v vectors.json[/]  your vectors on your Verilog
""")
#: What is printed holds names of files and layers: no markup in it.
console = Console(highlight=False, markup=False)
errors = Console(stderr=True, highlight=False)

Config = Annotated[str, typer.Option("--config", "-c", help=f"Array: {', '.join(PRESETS)}.")]
Configs = Annotated[list[str] | None, typer.Option(
    "--config", "-c", help="Array; may be repeated. By default all that have a name.")]


def _fail(error: Exception) -> typer.Exit:
    errors.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
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
            help="Golden vectors, JSON: see `pydoc quadfire.sim.cocotb.vectors`.")] = None,
        top: Annotated[str | None, typer.Option(help="Module; by default the file's name.")] = None,
        simulator: Annotated[str | None, typer.Option(
            help="verilator or icarus; by default all there are.")] = None,
        seed: Annotated[int, typer.Option(help="Of idle times and backpressure.")] = 1,
        waves: Annotated[bool, typer.Option(help="Write a waveform, also of success.")] = False,
) -> None:
    """Play golden vectors into a Verilog module; without arguments, run all benches of tests/."""
    if verilog is None:
        command = [sys.executable, "-m", "pytest", "-n", str(toolchain.jobs()), "-m", "cocotb"]
        raise typer.Exit(subprocess.run(command, cwd=CHECKOUT, check=False).returncode)
    if vectors is None:
        raise _fail(ValueError("a Verilog file needs a file of vectors as well"))
    from quadfire.sim.cocotb.run import CocotbFailure, run_testbench

    module = top or verilog.stem
    try:
        for name in [simulator] if simulator else toolchain.simulators():
            folder = builder.BUILD / "bench" / f"{module}-{name}"
            passed = run_testbench(name, verilog.read_text(), module, golden.read(vectors), folder,
                               seed=seed, waves=waves or None)
            console.print(f"{module} on {name}: {passed} tests passed, seed {seed} ({folder})")
    except (OSError, ValueError, CocotbFailure, toolchain.ToolchainError) as error:
        raise _fail(error) from None


@app.command()
def demo(network: Annotated[str, typer.Option(
             help="dense (784-128-10) or conv (16C3-P2-32C3-P2-128-10).")] = "dense",
         config: Config = "default",
         images: Annotated[int | None, typer.Option(
             min=1, max=1000,
             help="How many held-out digits; by default 1,000, conv 200.")] = None,
         bits: Annotated[int, typer.Option(help="Width of the weights, 8 or 4.")] = 8,
         output: Annotated[Path | None, typer.Option(
             "-o", "--output", file_okay=False,
             help="Folder to write to, by default build/demo or build/demo-conv.")] = None,
         ) -> None:
    """Run a trained network on the generated Verilog and compare every spike and membrane.

    Prints accuracy, mismatches and cycles; writes pictures and `summary.json`. Fails if anything
    differs from the integer model.
    """
    run = importlib.import_module("quadfire.sim.report.demo").run     # only here: it takes PyTorch to load
    try:
        summary = run(config, images, bits, output, network)
    except (ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None
    if wrong := sum(summary[f"mismatched_{what}"] for what in ("spikes", "membranes", "logits")):
        raise _fail(ValueError(f"{wrong} values of the RTL differ from the reference, first: "
                               f"{summary['first_mismatch']}"))


@app.command()
def deep(network: Annotated[str, typer.Argument(help="resnet19, vgg11 or vggsnn.")],
         config: Config = "large",
         width: Annotated[float, typer.Option(help="Factor of all numbers of channels.")] = 1.0,
         steps: Annotated[int, typer.Option(min=1, help="Time steps.")] = 4,
         output: Annotated[Path | None, typer.Option(
             "-o", "--output", file_okay=False,
             help="Folder to write to, by default build/NETWORK-CONFIG.")] = None) -> None:
    """Run one image through a whole deep network in RTL; compare every spike and every cycle.

    The weights are random and the image is synthetic: what is shown is that the hardware computes
    what PyTorch computes, and how long it takes. Fails where anything differs.
    """
    run = importlib.import_module("quadfire.sim.report.deep").run
    try:
        result = run(network, config, output or builder.BUILD / f"{network}-{config}", width=width,
                     steps=steps)
    except (ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None
    if wrong := result["mismatched_spikes"] + result["mismatched_logits"]:
        raise _fail(ValueError(f"{wrong} values of the RTL differ from the reference"))


@app.command()
def compare(network: Annotated[Path, typer.Argument(help="Integer network, .safetensors.")],
            inputs: Annotated[Path, typer.Argument(
                help="Pixels, integers [N, inputs], or spikes, 0 or 1, [T, N, inputs], as .npy or "
                     ".npz; or a grey picture.")],
            config: Config = "default",
            membranes: Annotated[bool, typer.Option(
                help="Compare membrane potentials, too.")] = True,
            output: Annotated[Path, typer.Option(
                "-o", "--output", file_okay=False, help="Folder for report and waveform.")]
            = builder.BUILD / "compare") -> None:
    """Run reference and RTL on your inputs; tell the first value that differs, if any.

    Names layer, time step, image, channel, pixel, expected and got, and writes the waveform (VCD)
    of the cycles in which that layer ran.
    """
    import json

    from quadfire.firmware.driver.inputs import read_inputs
    from quadfire.models.integer import IntegerNetwork

    comparison = importlib.import_module("quadfire.sim.report.compare")
    try:
        integers = IntegerNetwork.load(network)
        report = comparison.compare(integers, read_inputs([inputs], integers), preset(config),
                                    probe=membranes, waveform=output / "mismatch.vcd")
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        raise _fail(error) from None
    output.mkdir(parents=True, exist_ok=True)
    (output / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    for what, count in report.compared.items():
        console.print(f"{what}s: {report.mismatched[what]:,} of {count:,} differ")
    if report.mismatch is not None:
        console.print(f"waveform: {report.waveform}")
        raise _fail(ValueError(str(report.mismatch)))


@app.command()
def activity(spike_words: Annotated[int, typer.Option(
                 help="Spike memory of the array, which is `default` otherwise.")] = 16384,
             channels: Annotated[int, typer.Option(help="Inputs of the layer.")] = 64,
             side: Annotated[int, typer.Option(help="Side of its map.")] = 32,
             output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                  help="Folder to write to.")]
             = builder.BUILD / "activity") -> None:
    """Measure a 3 x 3 convolution in RTL at spike rates from 0 to 50 %: cost grows with spikes."""
    from dataclasses import replace

    run = importlib.import_module("quadfire.sim.report.activity").run
    try:
        shape = replace(preset("default"), spike_words=spike_words)
        rows = run(shape, f"default with a spike memory of {spike_words:,} words", output,
                   channels=channels, side=side)
    except (RuntimeError, ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None
    names = ("rate", "events_per_pixel", "busy", "events", "nulls", "drains", "starved",
             "utilisation")
    table = Table(*(name.replace("_", " ") for name in names),
                  title=f"3 x 3 convolution, {channels} x {side} x {side}, T = 4\n{shape}")
    for row in rows:
        table.add_row(*(f"{row[name]:.1%}" if name in ("rate", "utilisation") else
                        f"{row[name]:,.1f}" if name == "events_per_pixel" else f"{row[name]:,}"
                        for name in names))
    console.print(table)
    console.print(f"{output}/activity.json, activity.png")


@app.command()
def speed(config: Configs = None,
          threads: Annotated[list[int] | None, typer.Option(
              min=1, help="Threads of a simulation; may be repeated. By default 1 and 2.")] = None,
          output: Annotated[Path, typer.Option(
              "-o", "--output", file_okay=False, help="Folder to write to.")]
          = builder.BUILD / "bench") -> None:
    """Cycles a second of the simulated arrays, and the times to make and to compile their Verilog.

    Every array is compiled anew (minutes) and runs the dense network of the demo.
    """
    import json
    from dataclasses import asdict

    measure = importlib.import_module("quadfire.sim.report.speed").measure
    names, rows, refused = config or list(PRESETS), [], {}
    try:
        for name in names:
            preset(name)
    except ValueError as error:
        raise _fail(error) from None
    for name in names:
        try:
            rows += [asdict(measure(name, number)) for number in threads or (1, 2)]
        except (ValueError, toolchain.ToolchainError) as error:
            refused[name] = error
    table = Table("preset", "threads", "Verilog, s", "compiling, s", "cycles a second",
                  title="Simulation")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value)
                        for value in row.values()))
    console.print(table)
    for name, error in refused.items():
        console.print(f"{name}: {error}", soft_wrap=True)
    if rows:
        output.mkdir(parents=True, exist_ok=True)
        (output / "speed.json").write_text(json.dumps(rows, indent=2) + "\n")
        console.print(f"{output}/speed.json")
    if refused and (config or not rows):
        raise typer.Exit(1)


def _integer_network(name: str, shape: ArrayConfig):
    """A file, or a deep network with random weights."""
    from quadfire.models.integer import IntegerNetwork
    from quadfire.sim.report.deep import INPUTS, network_of

    return network_of(name, shape) if name in INPUTS else IntegerNetwork.load(name)


#: What `sweep` varies by default.
_SPACE = ("lanes=16,32,64", "weight_rows=512,1024,2048", "spike_words=2048,8192,16384")

Net = Annotated[str, typer.Argument(help="Integer network, .safetensors, or resnet19, vgg11, "
                                         "vggsnn (random weights).")]


@app.command()
def estimate(network: Net, config: Config = "default",
             rate: Annotated[float, typer.Option(help="Spikes a neuron and step.")] = 0.15,
             ) -> None:
    """Cycles, utilisation and host traffic of every layer, without any Verilog.

    used: share of the lanes' additions that the network calls for. words: between host and array.
    """
    from quadfire.firmware.compiler.compile import compile
    from quadfire.sim.cycles import estimate as estimates

    try:
        program = compile(_integer_network(network, preset(config)), preset(config))
        layers = estimates.estimate(program, rate)
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    table = Table(title=f"{program.config}\none image, {rate:.0%} spikes")
    for column in ("layer", "by", "passes", "cycles", "events", "nulls", "drains", "starved",
                   "used", "words"):
        table.add_column(column, justify="left" if column in ("layer", "by") else "right")
    for layer in layers:
        table.add_row(layer.name, layer.mode, str(layer.passes), f"{layer.busy:,}",
                      f"{layer.events:,}", f"{layer.nulls:,}", f"{layer.drains:,}",
                      f"{layer.starved:,}", f"{layer.utilisation:.1%}", f"{layer.words:,}")
    console.print(table, width=max(console.width, 110), crop=False)
    busy, total = (sum(getattr(layer, name) for layer in layers) for name in ("busy", "cycles"))
    words = sum(layer.words for layer in layers)
    console.print(f"{busy:,} cycles of computing, {words:,} words; {total:,} cycles with one word "
                  f"a cycle, {words / total:.2f} words a cycle")


def _values(text: str) -> tuple[str, list[int]]:
    """A field and its values, of NAME=NUMBER,NUMBER."""
    name, _, numbers = text.partition("=")
    try:
        return name.strip(), [int(number) for number in numbers.split(",")]
    except ValueError:
        raise ValueError(f"--set takes NAME=NUMBER,NUMBER, not {text!r}") from None


@app.command()
def sweep(network: Net, config: Config = "default",
          option: Annotated[list[str] | None, typer.Option(
              "--set", help="A field and its values, as lanes=16,32,64; may be repeated. By "
                            "default lanes, weight_rows and spike_words.")] = None,
          output: Annotated[Path, typer.Option(
              "-o", "--output", dir_okay=False, help="Picture to draw.")] = Path("build/sweep.png"),
          ) -> None:
    """Many arrays: cycles against resources in closed form, and those that are worth it.

    Fails where none of them can be.
    """
    from quadfire.sim.cycles import estimate as estimates

    try:
        values = dict(map(_values, option or _SPACE))
        designs, refused = estimates.sweep(_integer_network(network, preset(config)),
                                           preset(config), values)
    except (ValueError, OSError) as error:
        raise _fail(error) from None
    for reason, count in refused.items():
        console.print(f"{count} cannot be: {reason}", soft_wrap=True)
    if not designs:
        raise _fail(ValueError("none of these arrays can be"))
    table = Table(*values, "cycles an image", "words", "of an LFE5U-85F",
                  title=f"{network}: {len(designs)} arrays, those that no other beats")
    for design in estimates.pareto(designs):
        table.add_row(*map(str, design.changes.values()), f"{design.cycles:,.0f}",
                      f"{design.words:,}", f"{design.resources:.0%}")
    console.print(table)
    estimates.picture(output, designs, network)
    console.print(str(output))


@app.command()
def figures(rows: Annotated[Path | None, typer.Option(
                exists=True, dir_okay=False, show_default="of `make bench`, or of its baseline",
                help="Clock and area: summary.json of `rtl bench`.")] = None,
            deep: Annotated[bool, typer.Option(
                help="VGG-11, VGG-SNN, ResNet-19, too: minutes, unless `sim deep` ran.")] = True,
            output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                 help="Folder to write to.")]
            = builder.BUILD / "figures") -> None:
    """Named networks: operations, cycles, time, area; beside published figures of others.

    Writes figures.md, figures.json and pictures. Fails where RTL and PyTorch differ.
    """
    from quadfire.sim.report import charts, published
    from quadfire.sim.report import figures as tables

    benchmarks = importlib.import_module("quadfire.sim.report.benchmarks")      # only here: it takes PyTorch to load
    found = tables.read_rows(rows)
    networks = []
    try:
        for name, measure in (benchmarks.BENCHMARKS | (benchmarks.DEEP if deep else {})).items():
            begin = time.monotonic()
            networks.append(tables.figures_of(measure(), found))
            console.print(f"{name}: {networks[-1]['cycles']:,.0f} cycles, "
                          f"{networks[-1]['utilisation']:.1%} of the lanes "
                          f"({time.monotonic() - begin:.0f} s)")
    except (OSError, ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None
    tables.write(output, networks, published.markdown())
    pictures = charts.draw(output, networks, found)
    console.print(f"{output}/figures.md, figures.json, {', '.join(pictures)}", soft_wrap=True)
    if wrong := sum(item["mismatches"] or 0 for item in networks):
        raise _fail(ValueError(f"{wrong} spikes of the RTL differ from the reference"))


@app.command()
def serve(config: Config = "default",
          link: Annotated[Path | None, typer.Option(
              help="Where to put a symbolic link to the terminal.")] = None) -> None:
    """Run a simulated board: the array behind a UART at a pseudo-terminal, until Ctrl-C.

    `quadfire run NET IMAGES --device serial:PATH:3000000` then talks to it as to a board.
    """
    from quadfire.sim.verilator.uart import UartServer

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
def lint(config: Configs = None) -> None:
    """Check the generated Verilog with `verilator -Wall`, and with Icarus where it is installed."""
    from quadfire.sim.verilator import lint as checker

    try:
        for name in config or list(PRESETS):
            for tool in checker.check(preset(name)):
                console.print(f"{name}: nothing to say, {tool}")
    except (ValueError, toolchain.ToolchainError) as error:
        raise _fail(error) from None


if __name__ == "__main__":
    app()
