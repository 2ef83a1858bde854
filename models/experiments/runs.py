"""One run: a small network, trained on MNIST digits and measured, with its result in a JSON file.

A run is finished once its file exists. An experiment that was cut short continues from there.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quadfire.models.datasets import Dataset
from quadfire.models.networks import ConvNet, ImageNetwork
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks.operations import active_operations
from quadfire.models.neurons import make_neuron
from quadfire.models.training.options import Options, environment
from quadfire.models.training.resume import Epoch
from quadfire.models.training.train import fit

__all__ = ["Neuron", "Run", "perform", "validation"]


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """A neuron of the tables.

    | field         | meaning |
    |---------------|---|
    | label         | its name in the tables |
    | kind, options | as for `make_neuron` |
    | alpha         | of the tdBN before it; 1 / gain if the neuron scales its current |

    With that alpha, the currents of all neurons start with the same deviation.
    """

    label: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """What to train, and on what.

    | field                             | meaning |
    |-----------------------------------|---|
    | layers                            | a text for `ConvNet`, or sizes: "784-128-10" |
    | neuron, window                    | the neuron and the window of its surrogate |
    | steps                             | time steps T |
    | seed                              | of weights and order |
    | epochs, batch, rate, weight_decay | of the training |
    | held_out                          | which digits measure it: "test" or "validation" |

    "test" are the held-out digits of the data set, "validation" those that `validation` holds out.
    All choices are made by results on "validation".
    """

    layers: str
    neuron: Neuron
    steps: int = 4
    seed: int = 1
    window: float | str = 0.5
    epochs: int = 10
    batch: int = 100
    rate: float = 3e-3
    weight_decay: float = 0.02
    held_out: str = "test"

    @property
    def path(self) -> str:
        """The name of its file: the run in short, and a hash of all fields."""
        text = json.dumps(asdict(self), sort_keys=True).encode()
        return (f"{self.layers}-{self.neuron.kind}-T{self.steps}-{self.seed}-"
                f"{hashlib.sha256(text).hexdigest()[:12]}.json")

    def build(self, shape: tuple[int, int, int]) -> SpikingMLP | ConvNet:
        """The network before training, with weights drawn from the seed."""
        torch.manual_seed(self.seed)
        options = dict(self.neuron.options)
        if self.neuron.kind == "glif":
            options["steps"] = self.steps
        neuron = make_neuron(self.neuron.kind, window=self.window, **options)
        if "C" not in self.layers:
            return SpikingMLP([int(size) for size in self.layers.split("-")], neuron, self.steps,
                              alpha=self.neuron.alpha)
        return ConvNet(self.layers, neuron, input_shape=shape, steps=self.steps,
                       alpha=self.neuron.alpha)


def validation(data: Dataset) -> Dataset:
    """The training digits of `data`, with every fifth of each class held out instead."""
    held = torch.zeros(len(data.train), dtype=torch.bool)
    for label in range(data.classes):
        held[(data.labels[data.train] == label).nonzero()[::5, 0]] = True
    return replace(data, name=f"{data.name}-validation", train=data.train[~held],
                   held_out=data.train[held])


@torch.no_grad()
def _examine(network: SpikingMLP | ImageNetwork, images: Tensor, labels: Tensor,
             batch: int = 500) -> dict[str, Any]:
    """Accuracy, spike rate of every layer, and operations per image."""
    network.eval()
    right, rates, counts = 0, torch.zeros(len(network.rates)), torch.zeros(2)
    for some, wanted in zip(images.split(batch), labels.split(batch), strict=True):
        logits, operations = active_operations(network, some)
        right += int((logits.argmax(1) == wanted).sum())
        rates += torch.tensor(network.rates) * len(some)
        first, *others = operations.values()
        counts += torch.tensor([first, sum(others)])
    rates, counts = rates / len(images), counts / len(images)
    return {"accuracy": right / len(images), "rates": [round(rate, 4) for rate in rates.tolist()],
            "pixel_operations": round(counts[0].item()), "operations": round(counts[1].item())}


def perform(runs: Iterable[Run], data: Dataset, folder: Path,
            report: Callable[[int, Run, Epoch | dict[str, Any]], None] = lambda *_: None
            ) -> list[dict[str, Any]]:
    """The results of `runs` in their order. A run without a file in `folder` is trained.

    report(index, run, what) is called with every Epoch of a training, and with every result.

    | key of a result  | value |
    |------------------|---|
    | run, dataset     | the run's fields; the name of the data set |
    | accuracy         | on the held-out digits, 0..1 |
    | rates            | spikes per neuron and time step, by layer |
    | operations       | additions per image for spikes, behind the first layer |
    | pixel_operations | multiplications and additions per image, in the first layer |
    | train, loss      | accuracy and loss of the last epoch on the training digits |
    | seconds          | processor time of the training |
    | environment      | versions, threads |
    """
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for index, run in enumerate(runs):
        path = folder / run.path
        if not path.is_file():
            part = validation(data) if run.held_out == "validation" else data
            network, start = run.build(data.shape), time.process_time()
            epoch = fit(network, part, Options(
                epochs=run.epochs, batch=run.batch, rate=run.rate, augment=None, seed=run.seed,
                weight_decay=run.weight_decay),
                lambda epoch, index=index, run=run: report(index, run, epoch))
            result = {"run": asdict(run), "dataset": part.name,
                      **_examine(network, *part.held_out_set), "train": epoch.accuracy,
                      "loss": epoch.loss, "seconds": round(time.process_time() - start, 1),
                      "environment": environment()}
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps(result, indent=1) + "\n")
            os.replace(partial, path)
        results.append(json.loads(path.read_text()))
        report(index, run, results[-1])
    return results
