"""What a data set is to training: two sets of samples that hand out batches."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from quadfire.data.split import stratified

__all__ = ["COUNTS", "Dataset", "ImageDataset", "Samples", "TensorSamples", "stratified_split"]

#: What a user should know of frames that hold counts.
COUNTS = ("frames hold counts of events, and an array takes spikes: --spikes-above 0 trains on "
          "spikes, as the array sees them")


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
    """(train, held out), sorted indices, see `quadfire.data.split.stratified`."""
    train, held_out = stratified(labels, held)
    return torch.from_numpy(train), torch.from_numpy(held_out)
