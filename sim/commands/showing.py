"""Commands that show what the array does: `demo`, `deep`, `activity`, `figures`, `speed`."""

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quadfire.arguments import Changes, Config, Difference, console, tell_error
from quadfire.files import write_text
from quadfire.rtl.contract.config import PRESETS, preset
from quadfire.rtl.contract.config_file import read_config

__all__ = ["activity", "deep", "demo", "figures", "speed"]


def demo(network: Annotated[str, typer.Option(
             help="dense (784-128-10) or conv (16C3-P2-32C3-P2-128-10).")] = "dense",
         config: Config = "default", changes: Changes = None,
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
    read_config(config, changes or ())      # refused before PyTorch is loaded
    from quadfire.sim.report.demo import run

    summary = run(config, images, bits, output, network, changes=changes or ())
    if wrong := sum(summary[f"mismatched_{what}"] for what in ("spikes", "membranes", "logits")):
        raise Difference(f"{wrong} values of the RTL differ from the reference, first: "
                         f"{summary['first_mismatch']}")


def deep(network: Annotated[str, typer.Argument(help="resnet19, vgg11 or vggsnn.")],
         config: Config = "large", changes: Changes = None,
         width: Annotated[float, typer.Option(help="Factor of all numbers of channels.")] = 1.0,
         steps: Annotated[int, typer.Option(min=1, help="Time steps.")] = 4,
         output: Annotated[Path | None, typer.Option(
             "-o", "--output", file_okay=False,
             help="Folder to write to, by default build/NETWORK-CONFIG.")] = None) -> None:
    """Run one image through a whole deep network in RTL; compare every spike and every cycle.

    The weights are random and the image is synthetic, for vggsnn events: what is shown is that the
    hardware computes what PyTorch computes, and how long it takes, with all spikes read back for
    the comparison, and with the answer alone. Fails where anything differs.
    """
    read_config(config, changes or ())
    from quadfire.sim.report.deep import run

    folder = output or Path("build") / f"{network}-{Path(config).stem}"
    result = run(network, config, folder, width=width, steps=steps, changes=changes or ())
    if wrong := result["mismatched_spikes"] + result["mismatched_logits"]:
        raise Difference(f"{wrong} values of the RTL differ from the reference")


def activity(config: Config = "default",
             changes: Annotated[list[str] | None, typer.Option(
                 "--set", metavar="FIELD=NUMBER", show_default="spike_words=16384",
                 help="Change a field of the configuration; may be repeated.")] = None,
             channels: Annotated[int, typer.Option(min=1, help="Inputs of the layer.")] = 64,
             side: Annotated[int, typer.Option(min=1, help="Side of its map.")] = 32,
             output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                  help="Folder to write to.")]
             = Path("build/activity")) -> None:
    """Measure a 3 x 3 convolution in RTL at spike rates from 0 to 50 %: cost grows with spikes."""
    shape = read_config(config, changes or ["spike_words=16384"])
    from quadfire.sim.report.activity import run

    rows = run(shape, f"{config} with a spike memory of {shape.spike_words:,} words", output,
               channels=channels, side=side)
    names = ("rate", "events_per_pixel", "busy", "events", "nulls", "drains", "starved",
             "utilisation")
    table = Table(*(name.replace("_", " ") for name in names),
                  title=f"3 x 3 convolution, {channels} x {side} x {side}, T = 4\n{shape}")
    for row in rows:
        table.add_row(*(f"{row[name]:.1%}" if name in ("rate", "utilisation") else
                        f"{row[name]:,.1f}" if name == "events_per_pixel" else f"{row[name]:,}"
                        for name in names))
    console.print(table)
    console.print(f"{output}/activity.json, activity.png", soft_wrap=True)


def figures(rows: Annotated[Path | None, typer.Option(
                exists=True, dir_okay=False, show_default="of `make bench`, or of its baseline",
                help="Clock and area: summary.json of `quadfire bench`.")] = None,
            deep: Annotated[bool, typer.Option(
                help="VGG-11, VGG-SNN, ResNet-19, too: minutes, unless `quadfire deep` ran.")]
            = True,
            output: Annotated[Path, typer.Option("-o", "--output", file_okay=False,
                                                 help="Folder to write to.")]
            = Path("build/figures")) -> None:
    """Named networks: operations, cycles, time, area; beside published figures of others.

    Writes figures.md, figures.json and pictures. Fails where RTL and PyTorch differ.
    """
    from quadfire.sim.report import benchmarks, charts, published
    from quadfire.sim.report import figures as tables

    found = tables.read_rows(rows)
    networks = []
    for name, measure in (benchmarks.BENCHMARKS | (benchmarks.DEEP if deep else {})).items():
        begin = time.monotonic()
        networks.append(tables.figures_of(measure(), found))
        console.print(f"{name}: {networks[-1]['cycles']:,.0f} cycles, "
                      f"{networks[-1]['utilisation']:.1%} of the lanes "
                      f"({time.monotonic() - begin:.0f} s)")
    tables.write(output, networks, published.markdown())
    pictures = charts.draw(output, networks, found)
    console.print(f"{output}/figures.md, figures.json, {', '.join(pictures)}", soft_wrap=True)
    if wrong := sum(item["mismatches"] or 0 for item in networks):
        raise Difference(f"{wrong} spikes of the RTL differ from the reference")


def speed(config: Annotated[list[str] | None, typer.Option(
              "--config", "-c", metavar="NAME",
              help="A preset; may be repeated. By default all.")] = None,
          threads: Annotated[list[int] | None, typer.Option(
              min=1, help="Threads of a simulation; may be repeated. By default 1 and 2.")] = None,
          output: Annotated[Path, typer.Option(
              "-o", "--output", file_okay=False, help="Folder to write to.")]
          = Path("build/bench")) -> None:
    """Cycles a second of the simulated arrays, and the times to make and to compile their Verilog.

    Every array is compiled anew (minutes) and runs the dense network of the demo.
    """
    names, rows, refused = config or list(PRESETS), [], {}
    for name in names:
        preset(name)
    from dataclasses import asdict

    from quadfire.firmware import CompileError
    from quadfire.sim.report.speed import measure

    for name in names:
        try:
            rows += [asdict(measure(name, number)) for number in threads or (1, 2)]
        except CompileError as error:
            refused[name] = error
    table = Table("preset", "threads", "Verilog, s", "compiling, s", "cycles a second",
                  title="Simulation")
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int) else str(value)
                        for value in row.values()))
    console.print(table)
    for name, error in refused.items():
        tell_error(f"{name}: {error}")
    if rows:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "speed.json", json.dumps(rows, indent=2) + "\n")
        console.print(f"{output}/speed.json", soft_wrap=True)
    if refused and (config or not rows):
        raise typer.Exit(2)
