"""Data of one's own for PyTorch: `quadfire.data.own` as a data set to train on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quadfire.data.framing import AS_FOUND, Framing
from quadfire.data.own import OWN_LAYOUT, OwnData, Size, read_own
from quadfire.models.datasets.base import COUNTS, Dataset, ImageDataset

__all__ = ["OWN_LAYOUT", "OwnSamples", "own"]

@dataclass(frozen=True)
class OwnSamples:
    """Some of the samples of one's own. index: int64 [count], into all of them."""

    data: OwnData
    index: np.ndarray
    seeded = False

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wanted = self.index[index.numpy()]
        samples = torch.from_numpy(self.data.read(wanted))
        labels = torch.from_numpy(self.data.labels[wanted])
        return samples.float() if self.data.steps else samples, labels


def own(path: str | Path, *, size: Size = None, steps: int = 10, framing: Framing = AS_FOUND,
        name: str | None = None) -> Dataset | ImageDataset:
    """Data of one's own, see `read_own`: a Dataset of square grey images, an ImageDataset of else.

    name: of a data set whose files lie like those of one's own.
    """
    data = read_own(path, size=size, steps=steps, framing=framing)
    name = name or data.name
    channels, height, width = data.shape
    if not data.steps and channels == 1 and height == width:
        train, held_out, labels = map(torch.from_numpy, (data.train, data.held_out, data.labels))
        images = torch.from_numpy(data.read(np.arange(len(labels)))).flatten(1)
        return Dataset(name=name, side=height, classes=data.classes, images=images, labels=labels,
                       train=train, held_out=held_out, flat=data.flat, note=data.note)
    note = "; ".join(filter(None, (data.note, COUNTS if data.counts else "")))
    return ImageDataset(name=name, shape=data.shape, classes=data.classes,
                        train_samples=OwnSamples(data, data.train), steps=data.steps,
                        held_out_samples=OwnSamples(data, data.held_out), flat=data.flat, note=note)
