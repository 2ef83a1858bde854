"""What is in a file of either kind, and how well it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from quadfire.arguments import By, DataFiles, Sensor, SpikesAbove
from quadfire.models.commands.common import Data, Device, console, device_of, load, one_thread

if TYPE_CHECKING:
    from quadfire.models.integer import Branch, IntegerNetwork, Pair
    from quadfire.rtl.contract.numerics import Neuron

__all__ = ["evaluate", "show"]


def evaluate(files: Annotated[list[Path], typer.Argument(help="Checkpoints and integer networks.")],
             dataset: Annotated[Data | None, typer.Option(
                 help="By default the one a network was trained on.")] = None,
             data: DataFiles = None, spikes_above: SpikesAbove = None, by: By = None,
             sensor: Sensor = None, device: Device = "auto") -> None:
    """Accuracy on held-out images, floating point or integer (bit for bit what the array says)."""
    from quadfire.data.framing import Framing
    from quadfire.data.own import size_for
    from quadfire.models.commands.progress import integer_accuracy_watched
    from quadfire.models.datasets import Dataset, load_dataset
    from quadfire.models.integer import IntegerNetwork
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.training.train import accuracy, measure

    one_thread()
    table = Table("file", "arithmetic", "held out", "right", "accuracy")
    for path in files:
        network, about = load(path)
        shape = (network.sizes[0], 1, 1) if isinstance(network, SpikingMLP) else network.input_shape
        name = dataset or about.get("dataset")
        if name is None:
            raise ValueError(f"{path}: the file names no data set: name it by --dataset")
        samples = load_dataset(name, data, steps=network.steps, size=size_for(shape),
                               framing=Framing.read(about, spikes_above, by, sensor))
        if isinstance(network, ImageNetwork):
            share, _ = measure(network, samples.held_out_samples, device=device_of(device))
        elif isinstance(network, IntegerNetwork):
            share = integer_accuracy_watched(network, samples.held_out_samples)
        elif not isinstance(samples, Dataset):
            raise ValueError(f"{path}: takes grey images, not {samples.name}")
        else:
            share = accuracy(network, *samples.held_out_set)
        count = len(samples.held_out_samples)
        table.add_row(path.name, "integer" if isinstance(network, IntegerNetwork) else "float",
                      str(count), str(round(share * count)), f"{share:.2%}")
    console.print(table)


def _sides(pair: Pair) -> str:
    """A pair as rows x columns; one number where both are equal."""
    rows, columns = pair
    return str(rows) if rows == columns else f"{rows}x{columns}"


def _describe(network: IntegerNetwork, branch: Branch) -> str:
    """What a branch reads, and how."""
    from quadfire.models.integer import INPUT, IdentityBranch

    name = "input" if branch.source == INPUT else network.layers[branch.source].name
    if isinstance(branch, IdentityBranch):
        return f"{name} itself"
    pool, (height, width) = branch.pool, branch.kernel
    parts = [f"{name}", f"{pool.kind} {_sides(pool.size)}/{_sides(pool.stride)}" if pool else "",
             f"{height}x{width}/{_sides(branch.stride)}",
             f"padded {_sides(branch.padding)}" if any(branch.padding) else "",
             f"times {branch.gain}" if branch.gain > 1 else ""]
    return " ".join(filter(None, parts))


def _neuron(neuron: Neuron | None, fraction_bits: int) -> str:
    """Kind, threshold and reset of a layer's neurons, in state LSBs."""
    if neuron is None:
        return "readout"
    kind = "QIF" if neuron.square else "IF" if neuron.factor == 1 << fraction_bits else \
        f"LIF, beta {neuron.factor / (1 << fraction_bits):g}"
    reset = f"minus {neuron.delta}" if neuron.soft else f"to {neuron.reset}"
    return f"{kind}\nthreshold {neuron.theta}, reset {reset}\n{neuron.lo}..{neuron.hi}"


def _input(network: IntegerNetwork) -> str:
    """What the network takes."""
    if network.count_bits:
        return f"counts 0..{(1 << network.count_bits) - 1} of {_shape(network.input_shape)}"
    return f"input of {network.input_bits} bits"


def _shape(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


def _answer(network: IntegerNetwork) -> str:
    """What the logits are."""
    layer, answer = network.layers[-1], network.answer
    if answer is not None:
        what = {"last": "the last one", "max": "the largest over time"}.get(
            answer.over, "their sum over time")
        return f"membranes of {layer.name}, {what}"
    return "sum of the currents" if layer.neuron is None else "number of spikes"


def show(file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False,
                                              help="A checkpoint or an integer network.")],
         everything: Annotated[bool, typer.Option(
             "--json", help="All that the file says of itself, every epoch included.")] = False,
         ) -> None:
    """What is in a file: layers, formats, and how it was made.

    Of a neuron: threshold, reset and the range of its state, in units of 2^-F.
    """
    from quadfire.models.integer import IntegerNetwork

    network, about = load(file)
    if isinstance(network, IntegerNetwork):
        console.print(f"integer network, T = {network.steps}, {_input(network)}, "
                      f"membrane Q{network.state_bits - network.fraction_bits}."
                      f"{network.fraction_bits}; answer: {_answer(network)}", soft_wrap=True)
        table = Table("layer", "reads", "map", "weight bits", "shift", "neuron")
        for layer, shape in zip(network.layers, network.shapes, strict=True):
            reads = "\n".join(_describe(network, branch) for branch in layer.branches)
            table.add_row(layer.name, reads, "x".join(map(str, shape)), str(layer.weight_bits),
                          f"{layer.shift.min()}..{layer.shift.max()}",
                          _neuron(layer.neuron, network.fraction_bits))
        console.print(table)
    else:
        console.print(network)
    if not everything and "history" in about:
        about = {**about, "history": f"{len(about['history'])} epochs: --json shows them"}
    console.print_json(json.dumps(about))
