"""Commands that run networks: `simulate`, `compare`, `estimate`, `sweep`, `serve`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from quadfire.arguments import (
    By,
    Changes,
    Config,
    DataFiles,
    Difference,
    Network,
    PlainConsole,
    Sensor,
    SpikesAbove,
    console,
)
from quadfire.files import write_text
from quadfire.firmware.commands.device import Given, Images, Inputs, Output, run_inputs
from quadfire.rtl.contract.config import LIMITS, ArrayConfig
from quadfire.rtl.contract.config_file import read_config

if TYPE_CHECKING:
    from quadfire.models.integer import IntegerNetwork

__all__ = ["compare", "estimate", "serve", "simulate", "sweep"]

#: What `sweep` varies by default.
_SPACE = ("lanes=16,32,64", "weight_rows=512,1024,2048", "spike_words=2048,8192,16384")

NamedNetwork = Annotated[str, typer.Argument(
    metavar="NET", show_default=False,
    help="Integer network, .safetensors, or resnet19, vgg11, vggsnn (random weights).")]


def simulate(network: Network, inputs: Inputs = None, config: Config = "default",
             changes: Changes = None, output: Output = None, data: DataFiles = None,
             images: Images = 100, spikes_above: SpikesAbove = None, by: By = None,
             sensor: Sensor = None) -> None:
    """Run a network on inputs in the Verilated array; print classes and counters.

    Of labelled data it says how many are right.

    The array is generated and compiled where that has not been done yet (a minute), then kept.

    \b
      quadfire simulate net.safetensors images.npy
      quadfire simulate net.safetensors digit.png -c build/quadfire.json
    """
    run_inputs(network, Given(inputs or (), data, images, (spikes_above, by, sensor)), "sim",
               config, changes, output)


def compare(network: Network,
            inputs: Annotated[Path, typer.Argument(
                show_default=False,
                help="Pixels, integers [N, inputs], or spikes, 0 or 1, [T, N, inputs], as .npy or "
                     ".npz; or a grey picture.")],
            config: Config = "default", changes: Changes = None,
            membranes: Annotated[bool, typer.Option(
                help="Compare membrane potentials, too.")] = True,
            output: Annotated[Path, typer.Option(
                "-o", "--output", file_okay=False, help="Folder for report and waveform.")]
            = Path("build/compare")) -> None:
    """Run reference and RTL on your inputs; tell the first value that differs, if any.

    Names layer, time step, image, channel, pixel, expected and got, and writes the waveform (VCD)
    of the cycles in which that layer ran.
    """
    shape = read_config(config, changes or ())
    from quadfire.firmware.driver.inputs import read_inputs
    from quadfire.models.integer import IntegerNetwork
    from quadfire.sim.report import compare as comparison

    integers = IntegerNetwork.load(network)
    report = comparison.compare(integers, read_inputs([inputs], integers), shape, probe=membranes,
                                waveform=output / "mismatch.vcd")
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "report.json", json.dumps(report.as_dict(), indent=2) + "\n")
    for what, count in report.compared.items():
        console.print(f"{what}s: {report.mismatched[what]:,} of {count:,} differ")
    if report.mismatch is not None:
        console.print(f"waveform: {report.waveform}", soft_wrap=True)
        raise Difference(report.mismatch)


def _integer_network(name: str, shape: ArrayConfig) -> "IntegerNetwork":
    """A file, or a deep network with random weights."""
    from quadfire.models.integer import IntegerNetwork

    if name in ("resnet19", "vgg11", "vggsnn"):
        from quadfire.sim.report.deep import network_of

        return network_of(name, shape)
    return IntegerNetwork.load(name)


def estimate(network: NamedNetwork, config: Config = "default", changes: Changes = None,
             rate: Annotated[float | None, typer.Option(
                 min=0.0, max=1.0, show_default="0.15", help="Spikes a neuron and step.")] = None,
             data: DataFiles = None,
             images: Annotated[int, typer.Option(
                 min=1, help="--data: how many held-out samples, evenly over all of them.")] = 8,
             spikes_above: SpikesAbove = None, by: By = None, sensor: Sensor = None) -> None:
    """Cycles, utilisation and host traffic of every layer, without any Verilog.

    Spikes are drawn at a rate; with --data they are those of the integer network on held-out
    samples, and the figures are means of these. used: share of the lanes' additions that the
    network calls for. words: between host and array.
    """
    shape = read_config(config, changes or ())
    from quadfire.data.framing import Framing
    from quadfire.firmware.compiler.compile import compile_network
    from quadfire.firmware.driver.inputs import read_data
    from quadfire.sim.cycles import estimate as estimates

    integers = _integer_network(network, shape)
    if data is None:
        if (spikes_above, by, sensor) != (None, None, None):
            raise ValueError("--spikes-above, --by and --sensor are for --data")
        rate = 0.15 if rate is None else rate
        program = compile_network(integers, shape)
        layers, title = estimates.estimate(program, rate), f"one image, {rate:.0%} spikes"
    elif rate is not None:
        raise ValueError("--rate draws spikes, --data computes them: give one of them")
    else:
        inputs, labels = read_data(data, integers, images,
                                   Framing.read(integers.about, spikes_above, by, sensor))
        program = compile_network(integers, shape)
        layers = estimates.measured(program, inputs)
        title = f"mean of {len(labels)} held-out samples of {data}"
    table = Table(title=f"{program.config}\n{title}")
    for column in ("layer", "by", "passes", "cycles", "events", "nulls", "drains", "starved",
                   "used", "words"):
        table.add_column(column, justify="left" if column in ("layer", "by") else "right")
    for layer in layers:
        table.add_row(layer.name, layer.mode, str(layer.passes), f"{layer.busy:,}",
                      f"{layer.events:,}", f"{layer.nulls:,}", f"{layer.drains:,}",
                      f"{layer.starved:,}", f"{layer.utilisation:.1%}", f"{layer.words:,}")
    PlainConsole(width=max(console.width, 110)).print(table)
    busy, total = (sum(getattr(layer, name) for layer in layers) for name in ("busy", "cycles"))
    words = sum(layer.words for layer in layers)
    console.print(f"{busy:,} cycles of computing, {words:,} words; {total:,} cycles with one word "
                  f"a cycle, {words / total:.2f} words a cycle")


def _values(text: str) -> tuple[str, list[int]]:
    """A field and its values, of FIELD=NUMBER,NUMBER."""
    name, _, numbers = text.partition("=")
    if (name := name.strip()) not in LIMITS:
        raise ValueError(f"--set {text}: there is no field {name!r}; there are "
                         f"{', '.join(LIMITS)}")
    try:
        return name, [int(number) for number in numbers.split(",")]
    except ValueError:
        raise ValueError(f"--set takes FIELD=NUMBER,NUMBER, not {text!r}") from None


def sweep(network: NamedNetwork, config: Config = "default",
          changes: Annotated[list[str] | None, typer.Option(
              "--set", metavar="FIELD=NUMBER,...",
              help="A field and its values, as lanes=16,32,64; one value fixes a field. May be "
                   "repeated. By default lanes, weight_rows and spike_words vary.")] = None,
          output: Annotated[Path, typer.Option(
              "-o", "--output", dir_okay=False, help="Picture to draw.")] = Path("build/sweep.png"),
          ) -> None:
    """Many arrays: cycles against resources in closed form, and those that are worth it.

    Fails where none of them can be.
    """
    values, shape = dict(map(_values, changes or _SPACE)), read_config(config)
    from quadfire.sim.cycles import estimate as estimates

    designs, refused = estimates.sweep(_integer_network(network, shape), shape, values)
    for reason, count in refused.items():
        console.print(f"{count} cannot be: {reason}", soft_wrap=True)
    if not designs:
        raise ValueError("none of these arrays can be")
    table = Table(*values, "cycles an image", "words", "of an LFE5U-85F",
                  title=f"{network}: {len(designs)} arrays, those that no other beats")
    for design in estimates.pareto(designs):
        table.add_row(*map(str, design.changes.values()), f"{design.cycles:,.0f}",
                      f"{design.words:,}", f"{design.resources:.0%}")
    console.print(table)
    estimates.picture(output, designs, network)
    console.print(str(output), soft_wrap=True)


def serve(config: Config = "default", changes: Changes = None,
          link: Annotated[Path | None, typer.Option(
              help="Where to put a symbolic link to the terminal.")] = None) -> None:
    """Run a simulated board: the array behind a UART at a pseudo-terminal, until Ctrl-C.

    `quadfire run NET IMAGES --device serial:PATH:3000000` then talks to it as to a board.
    """
    shape = read_config(config, changes or ())
    from quadfire.sim.verilator.uart import UartServer

    try:
        with UartServer(shape, link=link) as server:
            console.print(f"{config} is at serial:{server.path}:{server.baud}, Ctrl-C ends it",
                          soft_wrap=True)
            server.wait()
    except KeyboardInterrupt:
        console.print("ended")
