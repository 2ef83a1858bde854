"""Training, measuring, and the checkpoint file: safetensors with one JSON text, no pickle."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from .augment import Augment
from .datasets import Dataset
from .network import SpikingMLP

__all__ = ["CheckpointError", "Epoch", "Options", "accuracy", "fit", "load_checkpoint",
           "save_checkpoint"]

FORMAT = "quadfire-checkpoint"
VERSION = 1


class Trainable(Protocol):
    """What `fit` and `accuracy` ask of a network: `SpikingMLP` and `GridNetwork` have it."""

    @property
    def rates(self) -> list[float]: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def parameters(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train. rate: highest learning rate, reached by a linear warm-up and left by a cosine.

    smoothing: of the labels, 0..1. seed: of order and augmentation (that of the weights is
    `torch.manual_seed` before the network is made).
    """

    epochs: int = 100
    batch: int = 100
    rate: float = 3e-3
    weight_decay: float = 0.02
    smoothing: float = 0.0
    seed: int = 1
    augment: Augment | None = field(default_factory=Augment)


class Epoch(NamedTuple):
    """What an epoch came to: numbers of the training set only."""

    number: int
    loss: float
    accuracy: float
    rates: list[float]


def fit(network: Trainable, dataset: Dataset, options: Options,
        report: Callable[[Epoch], None] = lambda _: None) -> Epoch:
    """Train on `dataset.train` with AdamW and cross-entropy; report and return the (last) epoch.

    The held-out images are not looked at, there is nothing to select. Repeats to the bit on one
    machine with one number of threads.
    """
    generator = torch.Generator().manual_seed(options.seed)
    images, labels = dataset.train_set
    optimizer = torch.optim.AdamW(network.parameters(), options.rate,
                                  weight_decay=options.weight_decay)
    total = options.epochs * math.ceil(len(images) / options.batch)
    warmup = max(1, total // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / total)))
    network.train()
    epoch = Epoch(0, math.nan, math.nan, [])
    for number in range(1, options.epochs + 1):
        loss_sum, right = 0.0, 0
        for index in torch.randperm(len(images), generator=generator).split(options.batch):
            pixels = images[index]
            if options.augment is not None:
                pixels = options.augment(pixels, dataset.side, generator)
            logits = network(pixels)
            loss = functional.cross_entropy(logits, labels[index],
                                            label_smoothing=options.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.item() * len(index)
            right += int((logits.argmax(1) == labels[index]).sum())
        epoch = Epoch(number, loss_sum / len(images), right / len(images), network.rates)
        report(epoch)
    network.eval()
    return epoch


@torch.no_grad()
def accuracy(network: Trainable, images: Tensor, labels: Tensor) -> float:
    """Share of `images` whose largest logit is that of the label, in eval mode; 0..1."""
    network.eval()
    return (network(images).argmax(1) == labels).double().mean().item()


# Checkpoint --------------------------------------------------------------------------------------


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this version."""


def save_checkpoint(path: str | Path, network: SpikingMLP, metadata: dict[str, Any]) -> None:
    """Write parameters, running means and the network's config; `metadata` is kept as JSON."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"format": FORMAT, "version": VERSION, "config": network.config(), "about": metadata}
    save_file(network.state_dict(), path, {"quadfire": json.dumps(head, sort_keys=True)})


def load_checkpoint(path: str | Path) -> tuple[SpikingMLP, dict[str, Any]]:
    """(network in eval mode, metadata). Raises CheckpointError that says what is wrong."""
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {})["quadfire"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if (head["format"], head["version"]) != (FORMAT, VERSION):
            raise CheckpointError(f"{path}: holds {head['format']} version {head['version']}, not "
                                  f"{FORMAT} version {VERSION}")
        network = SpikingMLP.from_config(head["config"])
        network.load_state_dict(tensors)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint: {error}") from None
    network.eval()
    return network, head["about"]
