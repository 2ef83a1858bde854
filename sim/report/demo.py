"""The demo: a trained QIF network on the generated Verilog, compared with PyTorch bit for bit."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from quadfire.arguments import PlainConsole
from quadfire.files import write_text
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.driver.outputs import Outputs
from quadfire.models.datasets import Dataset, mnist5k
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.training.checkpoint import load_checkpoint
from quadfire.models.training.train import accuracy
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.config_file import read_config
from quadfire.sim.cycles import network_model
from quadfire.sim.report import pictures
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["DEMOS", "PRETRAINED", "Demo", "run"]


@dataclass(frozen=True)
class Demo:
    """A trained network.

    images: on how many digits it runs by default. probed: on how many of them every membrane is
    read as well.
    """

    name: str
    images: int
    probed: int


#: The dense network, and the convolutional one, 16C3-P2-32C3-P2-128-10.
DEMOS = {"dense": Demo("mnist5k-784-128-10", 1000, 1000), "conv": Demo("mnist5k-conv", 200, 5)}


@dataclass(frozen=True)
class _Run:
    """What the reference and the RTL computed.

    `plain` has every image, and its spikes unless `probe` has all of them. `probe` has spikes and
    membranes of the first `probed` images.
    """

    network: IntegerNetwork
    program: Program
    pixels: np.ndarray
    labels: np.ndarray
    probed: int
    expected: reference.Result
    expected_probe: reference.Result
    plain: Outputs
    probe: Outputs
    float_accuracy: float


def _on_array(program: Program, images: np.ndarray, probed: int, console: Console
              ) -> tuple[Outputs, Outputs]:
    """(outputs of all images, outputs of `probed` images with every membrane)."""
    device = Accelerator(VerilatedTransport(program.config), program.config)
    device.load(program)
    columns = (TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        runs = []
        for title, count, probe in (("RTL", len(images), False),
                                    ("RTL, probing every membrane", probed, True)):
            task = progress.add_task(title, total=count)
            runs.append(device.run(
                images[:count], probe=probe, spikes=probe or probed < len(images),
                progress=lambda done, _, task=task: progress.update(task, completed=done)))
    plain, probed_run = runs
    return plain, probed_run


def run(config: str = "default", images: int | None = None, bits: int = 8,
        folder: Path | None = None, network: str = "dense", changes: Iterable[str] = ()) -> dict:
    """Run the demo. Prints, writes pictures and `summary.json`, returns the summary.

    | argument | meaning |
    |---|---|
    | `config`, `changes` | an array, and fields of it to change, as NAME=NUMBER |
    | `images` | how many held-out digits, taken evenly from all classes |
    | `bits` | of the weights, 8 or 4 |
    | `folder` | to write to, by default build/demo or build/demo-NETWORK |
    | `network` | of DEMOS |

    Raises ValueError for a name or a number of bits that it does not know.
    """
    console = PlainConsole()
    shape = read_config(config, changes)
    if network not in DEMOS:
        raise ValueError(f"network must be one of {', '.join(DEMOS)}, not {network!r}")
    if bits not in (4, 8):
        raise ValueError(f"bits must be 8 or 4, not {bits}")
    demo = DEMOS[network]
    folder = folder or Path("build") / ("demo" if network == "dense" else f"demo-{network}")
    done = _run(demo, bits, images or demo.images, config, shape, console)
    summary = {"network": demo.name, "configuration": config, "weight_bits": bits,
               **_summary(done, shape)}
    folder.mkdir(parents=True, exist_ok=True)
    drawn = _draw(folder, network, done)
    write_text(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    _print(console, summary, _per_image(done))
    console.print(f"\n{folder}/summary.json, {drawn}")
    return summary


def _run(demo: Demo, bits: int, images: int, config: str, shape: ArrayConfig, console: Console
         ) -> _Run:
    """Run a number of held-out digits on floating point, integers and the RTL."""
    dataset: Dataset = mnist5k()
    held_out = len(dataset.held_out)        # sorted by class: take some of each
    chosen = np.linspace(0, held_out, min(images, held_out), endpoint=False)
    x, labels = (part[chosen.astype(int)] for part in dataset.held_out_set)
    probed = min(demo.probed, len(x))
    floating, _ = load_checkpoint(PRETRAINED / f"{demo.name}.safetensors")
    network = IntegerNetwork.load(PRETRAINED / f"{demo.name}-int{bits}.safetensors")
    program = compile_network(network, shape)       # refused before anything is generated
    console.print(f"[bold]Network[/]  {demo.name}, QIF neurons, {network.steps} time steps, {bits}"
                  f"-bit weights, {network.state_bits}-bit membranes\n"
                  f"[bold]Data[/]     {len(x)} held-out MNIST digits, 8-bit pixels\n"
                  f"[bold]Array[/]    {escape(f'{config}: {shape}')}", markup=True)
    with console.status("PyTorch: floating point, then integers"), torch.no_grad():
        float_accuracy = accuracy(floating, x, labels)
        expected = reference.run(network, x, record=True)
        expected_probe = reference.run(network, x[:probed], record=True)
    plain, probe = _on_array(program, x.numpy(), probed, console)
    return _Run(network, program, x.numpy(), labels.numpy(), probed, expected, expected_probe,
                plain, probe, float_accuracy)


def _per_image(done: _Run) -> dict[str, float]:
    """The counters of the array for one image."""
    return {name: value / len(done.pixels) for name, value in done.plain.counters.items()}


def _summary(done: _Run, shape: ArrayConfig) -> dict:
    """Accuracy, values that differ, cycles and operations."""
    compared, mismatched, first = first_mismatch(done.probe, done.expected_probe, done.network)
    if done.probed < len(done.pixels):      # the spikes of all images are those of the plain run
        spikes = first_mismatch(done.plain, done.expected, done.network)
        first = first or spikes[2]
        for total, part in ((compared, spikes[0]), (mismatched, spikes[1])):
            total |= {"spike": part["spike"]}
    unequal = int((done.plain.outputs != done.expected.logits.numpy()).sum())
    images = len(done.pixels)
    fired = [layer.numpy() for layer in done.expected.spikes]
    predicted = network_model.predict(done.program, done.pixels, fired)[:, :, 0].sum() / images
    counters = _per_image(done)
    operations = int(network_model.synaptic_operations(
        done.network, done.pixels, fired).sum()) / images
    return {
        "images": images,
        "accuracy_float": done.float_accuracy,
        "accuracy_integer": float((done.expected.classes.numpy() == done.labels).mean()),
        "accuracy_rtl": float((done.plain.outputs.argmax(axis=1) == done.labels).mean()),
        "compared_spikes": compared["spike"],
        "compared_membranes": compared["membrane"],
        "mismatched_spikes": mismatched["spike"],
        "mismatched_membranes": mismatched["membrane"],
        "mismatched_logits": mismatched["logit"] + unequal,
        "first_mismatch": None if first is None else str(first),
        "cycles_per_image": counters["busy"],
        "predicted_cycles_per_image": float(predicted),
        "streamed_cycles_per_image": counters["cycles"],
        "events_per_image": counters["events"],
        "active_operations_per_image": operations,
        "utilisation": operations / (counters["busy"] * shape.outputs),
        "lanes": shape.outputs,
        "neuron_pipelines": shape.groups,
    }


def _draw(folder: Path, name: str, done: _Run) -> str:
    """Draw the pictures of a demo. Returns their names."""
    if name == "dense":
        pictures.raster(folder / "spikes.png", done.pixels, done.labels, done.probe, done.expected)
        pictures.membrane(folder / "membrane.png", done.labels, done.network, done.probe,
                          done.expected)
        return "spikes.png, membrane.png"
    pictures.maps(folder / "maps.png", done.pixels, done.labels, done.network, done.plain,
                  done.expected)
    return "maps.png"


def _print(console: Console, summary: dict, counters: dict[str, float]) -> None:
    """The table of results. counters: those of one image."""
    table = Table(show_header=False, title="Result")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("accuracy, PyTorch float", f"{summary['accuracy_float']:.2%}")
    table.add_row("accuracy, PyTorch integers", f"{summary['accuracy_integer']:.2%}")
    table.add_row("accuracy, RTL", f"{summary['accuracy_rtl']:.2%}")
    table.add_section()
    for name in ("spikes", "membranes"):
        wrong = summary[f"mismatched_{name}"]
        table.add_row(f"mismatched {name}", Text.from_markup(
            f"[{'red' if wrong else 'green'}]{wrong}[/] of {summary[f'compared_{name}']:,}"))
    table.add_section()
    table.add_row("cycles an image, measured", f"{summary['cycles_per_image']:,.2f}")
    table.add_row("cycles an image, predicted", f"{summary['predicted_cycles_per_image']:,.2f}")
    table.add_row("  events, one a cycle", f"{counters['events'] + counters['nulls']:,.1f}")
    table.add_row("  drain through the neurons", f"{counters['drains']:,.1f}")
    table.add_row("  waiting for a spike word", f"{counters['starved']:,.1f}")
    table.add_row("  and to stream in and out", f"{counters['cycles'] - counters['busy']:,.1f}")
    table.add_row("active operations an image", f"{summary['active_operations_per_image']:,.0f}")
    table.add_row("utilisation of the lanes", f"{summary['utilisation']:.1%} of {summary['lanes']}")
    console.print(table)
