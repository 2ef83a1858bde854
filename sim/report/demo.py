"""The demo: a trained QIF network on the generated Verilog, compared with PyTorch bit for bit."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.driver.outputs import Outputs
from quadfire.firmware.compiler.program import Program
from quadfire.models.integer import reference
from quadfire.models.training.checkpoint import load_checkpoint
from quadfire.models.datasets import Dataset, mnist5k
from quadfire.models.integer import IntegerNetwork
from quadfire.models.training.train import accuracy
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.config_file import read_config
from quadfire.sim.cycles import network_model
from quadfire.sim.report import pictures
from quadfire.sim.report.compare import first_mismatch
from quadfire.paths import PRETRAINED
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["DEMOS", "PRETRAINED", "Demo", "run"]


@dataclass(frozen=True)
class Demo:
    """A trained network, on how many digits it runs by default, and of how many the membranes."""

    name: str
    images: int
    probed: int


#: The dense network, and the one of convolutions 16C3-P2-32C3-P2-128-10.
DEMOS = {"dense": Demo("mnist5k-784-128-10", 1000, 1000), "conv": Demo("mnist5k-conv", 200, 5)}


def _on_rtl(network: IntegerNetwork, config: ArrayConfig, images: np.ndarray, probed: int,
            console: Console) -> tuple[Program, Outputs, Outputs]:
    """(program, run of all images, run of `probed` that reads every membrane).

    The first reads spikes as well, unless the second does so for all images.
    """
    device = Accelerator(VerilatedTransport(config), config)
    program = device.load(network)
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
    return program, *runs


def run(config: str = "default", images: int | None = None, bits: int = 8,
        folder: Path | None = None, network: str = "dense", changes: Iterable[str] = ()) -> dict:
    """Run the demo; prints, writes pictures and `summary.json` into `folder`, returns the summary.

    network: of DEMOS. images: how many of the held-out digits, of all classes alike. bits: of the
    weights, 8 or 4. folder: by default build/demo, or build/demo-NETWORK.
    """
    console = Console(highlight=False)
    shape = read_config(config, changes)
    if network not in DEMOS:
        raise ValueError(f"network must be one of {', '.join(DEMOS)}, not {network!r}")
    if bits not in (4, 8):
        raise ValueError(f"bits must be 8 or 4, not {bits}")
    demo = DEMOS[network]
    folder = folder or Path("build") / ("demo" if network == "dense" else f"demo-{network}")
    dataset: Dataset = mnist5k()
    held_out = len(dataset.held_out)        # sorted by class: take some of all
    chosen = np.linspace(0, held_out, min(images or demo.images, held_out), endpoint=False)
    x, labels = (part[chosen.astype(int)] for part in dataset.held_out_set)
    probed = min(demo.probed, len(x))
    floating, _ = load_checkpoint(PRETRAINED / f"{demo.name}.safetensors")
    integers = IntegerNetwork.load(PRETRAINED / f"{demo.name}-int{bits}.safetensors")
    console.print(f"[bold]Network[/]  {demo.name}, QIF neurons, {integers.steps} time steps, {bits}"
                  f"-bit weights, {integers.state_bits}-bit membranes\n"
                  f"[bold]Data[/]     {len(x)} held-out MNIST digits, 8-bit pixels\n"
                  f"[bold]Array[/]    {config}: {shape}")

    with console.status("PyTorch: floating point, then integers"), torch.no_grad():
        float_accuracy = accuracy(floating, x, labels)
        expected = reference.run(integers, x, record=True)
        of_probed = reference.run(integers, x[:probed], record=True)
    integer_accuracy = (expected.classes == labels).double().mean().item()

    pixels = x.numpy()
    program, plain, probe = _on_rtl(integers, shape, pixels, probed, console)
    compared, mismatched, first = first_mismatch(probe, of_probed, integers)
    if probed < len(x):     # all spikes are those of the plain run
        spikes = first_mismatch(plain, expected, integers)
        first = first or spikes[2]
        for total, part in ((compared, spikes[0]), (mismatched, spikes[1])):
            total |= {"spike": part["spike"]}
    unequal = int((plain.outputs != expected.logits.numpy()).sum())

    fired = [layer.numpy() for layer in expected.spikes]
    predicted = network_model.predict(program, pixels, fired)[:, :, 0].sum() / len(x)
    counters = {name: value / len(x) for name, value in plain.counters.items()}
    operations = int(network_model.synaptic_operations(integers, pixels, fired).sum()) / len(x)
    summary = {
        "network": demo.name, "configuration": config, "weight_bits": bits,
        "images": len(x),
        "accuracy_float": float_accuracy,
        "accuracy_integer": integer_accuracy,
        "accuracy_rtl": float((plain.outputs.argmax(axis=1) == labels.numpy()).mean()),
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
    folder.mkdir(parents=True, exist_ok=True)
    if network == "dense":
        pictures.raster(folder / "spikes.png", pixels, labels.numpy(), probe, expected)
        pictures.membrane(folder / "membrane.png", labels.numpy(), integers, probe, expected)
        drawn = "spikes.png, membrane.png"
    else:
        pictures.maps(folder / "maps.png", pixels, labels.numpy(), integers, plain, expected)
        drawn = "maps.png"
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    _print(console, summary, counters)
    console.print(f"\n{folder}/summary.json, {drawn}")
    return summary


def _print(console: Console, summary: dict, counters: dict[str, float]) -> None:
    table = Table(show_header=False, title="Result")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_row("accuracy, PyTorch float", f"{summary['accuracy_float']:.2%}")
    table.add_row("accuracy, PyTorch integers", f"{summary['accuracy_integer']:.2%}")
    table.add_row("accuracy, RTL", f"{summary['accuracy_rtl']:.2%}")
    table.add_section()
    for name in ("spikes", "membranes"):
        wrong = summary[f"mismatched_{name}"]
        table.add_row(f"mismatched {name}", f"[{'red' if wrong else 'green'}]{wrong}[/] of "
                                            f"{summary[f'compared_{name}']:,}")
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
