"""A part of the training samples that is not trained on: choices are made by it, not by the test.

The part holds every class in its share, and depends on the labels and on `SPLIT_SEED` alone.
"""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadfire.data.split import stratified
from quadfire.models.datasets import Samples

__all__ = ["Part", "shares", "split"]


class Part:
    """Some of the samples of a data set. index: int64 [count], into all of them."""

    def __init__(self, samples: Samples, index: Tensor):
        self.samples, self.index, self.seeded = samples, index, samples.seeded

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.samples.batch(self.index[index], seeds)


def shares(counts: np.ndarray, wanted: int) -> list[int]:
    """`wanted` samples over classes of `counts` samples, in proportion: largest remainders."""
    exact = counts * wanted / counts.sum()
    held = np.floor(exact).astype(int)
    for label in np.argsort(held - exact, kind="stable")[:wanted - held.sum()]:
        held[label] += 1
    return held.tolist()


def _labels(samples: Any) -> np.ndarray:
    """The labels of all samples, without reading them where they are at hand."""
    if isinstance(labels := getattr(samples, "labels", None), Tensor):
        return labels.numpy()
    if hasattr(samples, "data"):
        return samples.data.labels[samples.index]
    return samples.batch(torch.arange(len(samples)))[1].numpy()


def split(samples: Samples, count: int) -> tuple[Samples, Samples | None]:
    """(samples to train on, `count` others to validate with). Without a count nothing is held out.

    Samples that are cut out at random in training are cut out of the middle in validation. Raises
    ValueError if too few would be left.
    """
    if not count:
        return samples, None
    labels = _labels(samples)
    counts = np.bincount(labels)
    if not len(counts) <= count <= len(samples) // 2:
        raise ValueError(f"validation takes at least one sample a class and at most half of them, "
                         f"{len(counts)}..{len(samples) // 2}, not {count}")
    train, held = (torch.from_numpy(part) for part in stratified(labels, shares(counts, count)))
    plain: Any = samples
    if samples.seeded:
        plain = copy.copy(samples)
        plain.seeded = False
    return Part(samples, train), Part(plain, held)
