"""The demo: a trained QIF network on the generated Verilog, compared with PyTorch bit for bit."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from firmware.accelerator import Accelerator
from firmware.outputs import Outputs
from firmware.program import Program
from models import reference
from models.datasets import Dataset, mnist5k
from models.integer import IntegerNetwork
from models.train import accuracy, load_checkpoint
from rtl.config import ArrayConfig, preset
from sim import cycles, pictures
from sim.toolchain import ROOT
from sim.verilated import VerilatedTransport

__all__ = ["Comparison", "compare", "run"]

PRETRAINED = ROOT / "models" / "pretrained"
NAME = "mnist5k-784-128-10"


@dataclass(frozen=True)
class Comparison:
    """RTL against reference: numbers of values compared, and of those that differ."""

    spikes: int
    membranes: int
    logits: int
    mismatched_spikes: int
    mismatched_membranes: int
    mismatched_logits: int

    @property
    def mismatches(self) -> int:
        return self.mismatched_spikes + self.mismatched_membranes + self.mismatched_logits


def compare(outputs: Outputs, result: reference.Result) -> Comparison:
    """Every spike, membrane and logit of a probed run with those of the integer reference."""
    hidden = [spikes for spikes in outputs.spikes if spikes is not None]
    pairs = {
        "spikes": list(zip(hidden, result.spikes, strict=True)),
        "membranes": list(zip(outputs.membranes, result.membranes, strict=True)),
        "logits": [(outputs.outputs, result.logits)],
    }
    counts = {name: sum(expected.numel() for _, expected in items) for name, items in pairs.items()}
    wrong = {f"mismatched_{name}": sum(int((got != expected.numpy()).sum())
                                       for got, expected in items)
             for name, items in pairs.items()}
    return Comparison(**counts, **wrong)


def _progress(console: Console) -> Progress:
    return Progress(TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(),
                    TimeElapsedColumn(), console=console)


def _on_rtl(network: IntegerNetwork, config: ArrayConfig, images: np.ndarray, console: Console
            ) -> tuple[Program, Outputs, Outputs]:
    """(program, plain run, probed run) of all images on the Verilated array."""
    device = Accelerator(VerilatedTransport(config), config)
    program = device.load(network)
    with _progress(console) as progress:
        runs = []
        for title, probe in (("RTL", False), ("RTL, probing every membrane", True)):
            task = progress.add_task(title, total=len(images))
            runs.append(device.run(
                images, probe=probe, spikes=probe,
                progress=lambda done, _, task=task: progress.update(task, completed=done)))
    return program, *runs


def run(config: str = "default", images: int | None = None, bits: int = 8,
        folder: Path = ROOT / "build" / "demo") -> dict:
    """Run the demo; prints, writes pictures and `summary.json` into `folder`, returns the summary.

    images: how many of the held-out digits, by default all 1,000. bits: of the weights, 8 or 4.
    """
    console = Console(highlight=False)
    shape = preset(config)
    if bits not in (4, 8):
        raise ValueError(f"bits must be 8 or 4, not {bits}")
    dataset: Dataset = mnist5k()
    x, labels = (part[:images] for part in dataset.held_out_set)
    floating, _ = load_checkpoint(PRETRAINED / f"{NAME}.safetensors")
    network = IntegerNetwork.load(PRETRAINED / f"{NAME}-int{bits}.safetensors")
    console.print(f"[bold]Network[/]  {NAME}, QIF neurons, {network.steps} time steps, {bits}-bit "
                  f"weights, {network.state_bits}-bit membranes\n"
                  f"[bold]Data[/]     {len(x)} held-out MNIST digits, 8-bit pixels\n"
                  f"[bold]Array[/]    {config}: {shape}")

    with console.status("PyTorch: floating point, then integers"), torch.no_grad():
        float_accuracy = accuracy(floating, x, labels)
        expected = reference.run(network, x, record=True)
    integer_accuracy = (expected.classes == labels).double().mean().item()

    pixels = x.numpy()
    program, plain, probed = _on_rtl(network, shape, pixels, console)
    comparison = compare(probed, expected)
    unequal = int((plain.outputs != expected.logits.numpy()).sum())
    rtl_accuracy = float((plain.outputs.argmax(axis=1) == labels.numpy()).mean())

    spikes = [layer.numpy() for layer in expected.spikes]
    predicted = cycles.predict(program, pixels, spikes)[:, :, 0].sum() / len(x)
    counters = {name: value / len(x) for name, value in plain.counters.items()}
    operations = int(cycles.synaptic_operations(network, pixels, spikes).sum()) / len(x)
    summary = {
        "network": NAME, "configuration": config, "weight_bits": bits,
        "images": len(x),
        "accuracy_float": float_accuracy,
        "accuracy_integer": integer_accuracy,
        "accuracy_rtl": rtl_accuracy,
        "compared_spikes": comparison.spikes,
        "compared_membranes": comparison.membranes,
        "mismatched_spikes": comparison.mismatched_spikes,
        "mismatched_membranes": comparison.mismatched_membranes,
        "mismatched_logits": comparison.mismatched_logits + unequal,
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
    pictures.raster(folder / "spikes.png", pixels, labels.numpy(), probed, expected)
    pictures.membrane(folder / "membrane.png", labels.numpy(), network, probed, expected)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    _print(console, summary, counters)
    console.print(f"\n{folder}/summary.json, spikes.png, membrane.png")
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
