"""QIF against LIF, all else equal."""

from __future__ import annotations

import statistics
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from quadfire.models.commands.common import console, one_thread, write_json
from quadfire.models.commands.trained import trained

__all__ = ["neurons"]

Packaged = Literal["mnist5k", "digits"]


def neurons(
    dataset: Packaged = "mnist5k", epochs: int = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each neuron.")] = 3,
    window: Annotated[list[float], typer.Option(
        help="Half-width of the surrogate gradient; repeat to compare at several.")] = [0.75, 1.0],  # noqa: B006
    output: Annotated[Path, typer.Option(
        "--output", "-o", "--out", dir_okay=False,
        help="A JSON file of all runs.")] = Path("build/neurons.json"),
) -> None:
    """QIF against LIF, all else equal, over several seeds and windows; writes a JSON file."""
    from quadfire.models.datasets import DATASETS
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.neurons import make_neuron
    from quadfire.models.training.options import Options

    one_thread()
    data = DATASETS[dataset]()
    table = Table("neuron", "window", "mean", "deviation", "spike rate", "runs")
    rows = []
    for neuron in (make_neuron(kind, window=width) for width in window for kind in ("qif", "lif")):
        build = partial(SpikingMLP, [data.side ** 2, 128, data.classes], neuron, 4)
        runs = [trained(data, build, Options(epochs=epochs, seed=seed))[1]
                for seed in range(1, seeds + 1)]
        held_out = [run["accuracy"]["held_out"] for run in runs]
        mean = statistics.mean(held_out)
        deviation = statistics.stdev(held_out) if seeds > 1 else 0.0
        rate = statistics.mean(run["spike_rates"][0] for run in runs)
        rows.append({"neuron": neuron.config(), "held_out": held_out, "mean": mean,
                     "deviation": deviation, "spike_rate": rate})
        table.add_row(neuron.kind, str(neuron.window), f"{mean:.2%}", f"{deviation:.2%}",
                      f"{rate:.3f}", " ".join(f"{share:.2%}" for share in held_out))
    write_json(output, {"dataset": data.name, "neurons": rows})
    console.print(table, f"wrote {output}")
