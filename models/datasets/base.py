"""What a data set is to training: two sets of samples that hand out batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["SPLIT_SEED", "Dataset", "ImageDataset", "Samples", "TensorSamples", "missing",
           "stratified_split"]

#: Seed of every split that a data set does not bring itself. Every stated accuracy depends on it.
SPLIT_SEED = 2510


class Samples(Protocol):
    """Labelled images, or events as frames. Any batch of them can be read.

    seeded: `batch` takes one seed per sample and cuts the image out at random by it.
    """

    seeded: bool

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(bytes [N, ...] or frames [T, N, C, H, W], labels int64 [N]) of the indices [N]."""
        ...


@dataclass(frozen=True)
class TensorSamples:
    """Samples in memory: images [count, ...], labels int64 [count]."""

    images: Tensor
    labels: Tensor
    seeded = False

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.images[index], self.labels[index]


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Images as bytes, or frames of events.

    | field | meaning |
    |---|---|
    | `shape` | (C, H, W) |
    | `classes` | number of classes |
    | `train_samples`, `held_out_samples` | the two sets |
    | `steps` | frames of a recording, T; 0 for images |
    | `flat` | samples are vectors: their neighbours mean nothing, so they are not augmented |
    | `note` | what a user should know of it, or "" |
    """

    name: str
    shape: tuple[int, int, int]
    classes: int
    train_samples: Samples
    held_out_samples: Samples
    steps: int = 0
    flat: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Square grey images in memory.

    | field | meaning |
    |---|---|
    | `side` | height and width |
    | `classes` | number of classes |
    | `images` | uint8 [N, side * side] |
    | `labels` | int64 [N] |
    | `train`, `held_out` | indices into both; disjoint, and together all of them |
    | `flat` | samples are vectors: their neighbours mean nothing, so they are not augmented |
    | `note` | what a user should know of it, or "" |
    """

    name: str
    side: int
    classes: int
    images: Tensor
    labels: Tensor
    train: Tensor
    held_out: Tensor
    flat: bool = False
    note: str = ""
    steps = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, self.side, self.side

    @property
    def train_set(self) -> tuple[Tensor, Tensor]:
        return self.images[self.train], self.labels[self.train]

    @property
    def held_out_set(self) -> tuple[Tensor, Tensor]:
        return self.images[self.held_out], self.labels[self.held_out]

    @property
    def train_samples(self) -> TensorSamples:
        return TensorSamples(*self.train_set)

    @property
    def held_out_samples(self) -> TensorSamples:
        return TensorSamples(*self.held_out_set)


def stratified_split(labels: np.ndarray, held: list[int]) -> tuple[Tensor, Tensor]:
    """(train, held out), sorted indices: of class c a random choice of `held[c]` is held out.

    The choice depends on SPLIT_SEED alone: numpy promises never to change RandomState's stream.
    """
    random = np.random.RandomState(SPLIT_SEED)  # noqa: NPY002
    train, held_out = [], []
    for label, count in enumerate(held):
        members = random.permutation(np.flatnonzero(labels == label))
        train.append(members[:len(members) - count])
        held_out.append(members[len(members) - count:])
    return (torch.from_numpy(np.sort(np.concatenate(train))),
            torch.from_numpy(np.sort(np.concatenate(held_out))))


def missing(folder: Path, what: str, layout: str, hint: str = "") -> ValueError:
    """The error for files that are not there: what was looked for, and how it should lie."""
    return ValueError(f"{folder}: {what}\nExpected:\n{layout}{hint and chr(10) + hint}")
