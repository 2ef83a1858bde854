"""The paper's own experiments (arXiv:2510.05168) as a plan: what `train` is to be called with.

| known of the paper | from |
|---|---|
| data sets, networks, T, loss | what is quoted of its tables |
| a, u1, u2 = 1/4, 0, 1/2 | its plot of the neuron |
| tdBN; the window follows from the neuron and tdBN's statistics | its method |

Not known to this project are its epochs, rates, batches and augmentation, its alpha, the formula of
its window, and its reset. The rows take what is usual for these networks: SGD from 0.1 along a
cosine, AutoAugment and Cutout on CIFAR, 300 epochs there and 100 on ImageNet. The window is our
`analytic` one. So a row repeats the experiment, not the run. The paper's
accuracies are not stated here, as its tables were not at hand to check them.
"""

import math
import statistics
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from quadfire.models.datasets import ImageDataset, TensorSamples
from quadfire.models.networks import make_network
from quadfire.models.neurons import make_neuron
from quadfire.models.training.defaults import options_for
from quadfire.models.training.options import Options
from quadfire.models.training.train import fit

__all__ = ["DATA", "ROWS", "Row", "estimated_seconds", "row_named", "step_seconds"]


@dataclass(frozen=True)
class Data:
    """A data set of the paper. images: of its training set. shape: (C, H, W)."""

    images: int
    shape: tuple[int, int, int]
    classes: int


DATA = {"cifar10": Data(50_000, (3, 32, 32), 10), "cifar100": Data(50_000, (3, 32, 32), 100),
        "cifar10dvs": Data(9_000, (2, 48, 48), 10),
        "imagenet": Data(1_281_167, (3, 224, 224), 1000)}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One experiment.

    | field | meaning |
    |---|---|
    | `name` | by which it is run |
    | `steps` | T |
    | `loss` | "tet", or "mean" |

    The others are options of `train`.
    """

    name: str
    network: str
    dataset: str
    steps: int
    epochs: int
    loss: str = "tet"
    batch: int = 128
    rate: float = 0.1
    weight_decay: float = 5e-4

    @property
    def neuron(self) -> dict[str, Any]:
        """The neuron, as options of `train`."""
        return {"neuron": "qif", "a": 0.25, "u1": 0.0, "u2": 0.5, "window": "analytic"}

    @property
    def words(self) -> list[str]:
        """The options of `train`, without those of files."""
        given = {"network": self.network, "dataset": self.dataset, "steps": self.steps,
                 **self.neuron, "loss": self.loss, "epochs": self.epochs, "batch": self.batch,
                 "optimizer": "sgd", "rate": self.rate, "weight-decay": self.weight_decay}
        return [word for name, value in given.items() for word in (f"--{name}", str(value))]

    def options(self, dataset: ImageDataset) -> Options:
        """What `train` makes of `words`."""
        return options_for(dataset, self.network, "auto", {
            "loss": self.loss, "epochs": self.epochs, "batch": self.batch, "optimizer": "sgd",
            "rate": self.rate, "weight_decay": self.weight_decay})

    @property
    def load(self) -> tuple[Any, ...]:
        """What the time of a step depends on; the number of classes and the loss hardly count."""
        return self.network, DATA[self.dataset].shape, self.steps, self.batch

    def hours(self, seconds: float) -> float:
        """The time of all steps, if one takes `seconds`."""
        return self.epochs * math.ceil(DATA[self.dataset].images / self.batch) * seconds / 3600


_CIFAR: dict[str, Any] = {"network": "resnet19", "epochs": 300}
_DVS: dict[str, Any] = {"dataset": "cifar10dvs", "steps": 10, "epochs": 300}
_IMAGENET: dict[str, Any] = {"network": "resnet34", "dataset": "imagenet", "steps": 4,
                             "epochs": 100, "batch": 256, "weight_decay": 1e-4}

ROWS = (
    Row(name="resnet19-cifar10-t4", dataset="cifar10", steps=4, **_CIFAR),
    Row(name="resnet19-cifar10-t2", dataset="cifar10", steps=2, **_CIFAR),
    Row(name="resnet19-cifar100-t4", dataset="cifar100", steps=4, **_CIFAR),
    Row(name="resnet19-cifar100-t2", dataset="cifar100", steps=2, **_CIFAR),
    Row(name="vggsnn-dvs", network="vggsnn", **_DVS),
    Row(name="resnet19-dvs", network="resnet19", **_DVS),
    Row(name="resnet34-imagenet", **_IMAGENET),
    Row(name="resnet34-imagenet-mean", loss="mean", **_IMAGENET),
)


def row_named(name: str) -> Row:
    """The row of that name. Raises ValueError that lists them."""
    for row in ROWS:
        if row.name == name:
            return row
    raise ValueError(f"no row is called {name!r}; there are {', '.join(r.name for r in ROWS)}")


def step_seconds(row: Row, device: torch.device, batch: int, *, steps: int = 2,
                 width: float = 1.0) -> float:
    """Seconds of a step of training with `batch` samples: the median of `steps`, after a first one.

    The samples are random, and in memory: reading is left out. width: factor of the channels.
    """
    data = DATA[row.dataset]
    frames = row.dataset == "cifar10dvs"
    pixels = torch.randint(256, (batch * (steps + 1), *data.shape), dtype=torch.uint8)
    labels = torch.arange(len(pixels)) % data.classes
    samples: Any = _Frames(pixels > 230, labels, row.steps) if frames else \
        TensorSamples(pixels, labels)
    dataset = ImageDataset(name=row.dataset, shape=data.shape, classes=data.classes,
                           train_samples=samples, held_out_samples=samples,
                           steps=row.steps if frames else 0)
    neuron = {"kind" if name == "neuron" else name: value for name, value in row.neuron.items()}
    network = make_network(row.network, make_neuron(**neuron), input_shape=data.shape,
                           classes=data.classes, steps=row.steps, width=width)
    times: list[float] = []

    def watch(progress: Any) -> None:
        float(progress.loss)        # it waits for the device
        times.append(time.perf_counter())

    fit(network, dataset, replace(row.options(dataset), epochs=1, batch=batch), watch=watch,
        device=device)
    return statistics.median(after - before for before, after in pairwise(times))


def estimated_seconds(row: Row, device: torch.device) -> float:
    """Seconds of one step of the row. On a CPU a line through those of 2 and 6 samples."""
    if device.type != "cpu":
        return step_seconds(row, device, row.batch)
    few, more = (step_seconds(row, device, batch, steps=1) for batch in (2, 6))
    return few + max(0.0, more - few) * (row.batch - 2) / 4


@dataclass(frozen=True)
class _Frames:
    """Random frames: the same picture in every time step."""

    images: torch.Tensor
    labels: torch.Tensor
    steps: int
    seeded = False

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: torch.Tensor, seeds: torch.Tensor | None = None
              ) -> tuple[torch.Tensor, torch.Tensor]:
        frames = self.images[index].float()
        return frames.expand(self.steps, *frames.shape), self.labels[index]
