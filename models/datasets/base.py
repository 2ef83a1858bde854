"""What a data set is to whoever trains: two sets of samples that hand out batches."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

__all__ = ["Dataset", "ImageDataset", "Samples", "TensorSamples", "missing"]


class Samples(Protocol):
    """Labelled images, or events as frames, of which any batch can be had.

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
    """Images of shape (C, H, W) as bytes, or as frames of events where `steps` is not 0."""

    name: str
    shape: tuple[int, int, int]
    classes: int
    train_samples: Samples
    held_out_samples: Samples
    steps: int = 0


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Square grey images as bytes, [N, side * side] uint8, and labels [N] int64.

    train and held_out are index tensors into both; they are disjoint and together everything.
    """

    name: str
    side: int
    classes: int
    images: Tensor
    labels: Tensor
    train: Tensor
    held_out: Tensor
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


def missing(folder: Path, what: str, layout: str, hint: str = "") -> ValueError:
    """The error for files that are not there: what was looked for, and how it should lie."""
    return ValueError(f"{folder}: {what}\nExpected:\n{layout}{hint and chr(10) + hint}")
