"""MNIST in IDX files, CIFAR-10 and CIFAR-100 in their binary version."""

import math
from pathlib import Path

import numpy as np
import torch

from quadfire.data.files import missing, read_bytes, read_unpacked
from quadfire.models.datasets.base import Dataset, ImageDataset, TensorSamples

__all__ = ["cifar10", "cifar100", "mnist", "read_idx"]

MNIST_LAYOUT = """\
  train-images-idx3-ubyte   train-labels-idx1-ubyte
  t10k-images-idx3-ubyte    t10k-labels-idx1-ubyte     (each may end in .gz)"""
CIFAR10_LAYOUT = """\
  cifar-10-batches-bin/data_batch_1.bin ... data_batch_5.bin
  cifar-10-batches-bin/test_batch.bin"""
CIFAR100_LAYOUT = """\
  cifar-100-binary/train.bin
  cifar-100-binary/test.bin"""
PICKLED = ("It holds the python version, whose files are pickles: reading one runs what is in it. "
           "Unpack the binary version, {}, instead.")

#: Bytes of one CIFAR image, [3, 32, 32].
CIFAR_PIXELS = 3 * 32 * 32


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, plain or .gz, as an array of its shape.

    | bytes | meaning |
    |---|---|
    | 2 | zero |
    | 1 | type of the values: 8, unsigned bytes |
    | 1 | number of dimensions |
    | 4 a dimension | size, big-endian |
    | the rest | values, the last dimension first |

    Raises ValueError for any other file.
    """
    raw = read_unpacked(path)
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of bytes")
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise ValueError(f"{path}: cut short within the sizes of its {raw[3]} dimensions")
    shape = tuple(np.frombuffer(raw[4:start], ">u4").tolist())
    if len(raw) - start != math.prod(shape):
        raise ValueError(f"{path}: {len(raw) - start} values where the shape {shape} needs "
                         f"{math.prod(shape)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _mnist_file(folder: Path, part: str, kind: str) -> np.ndarray:
    """The array `part`-`kind`. Its file may be spelled with dots, and packed."""
    for name in (f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-', '.', 1)}-ubyte",
                 f"{part}-{kind[:6]}.{kind[7:]}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return read_idx(path)
    raise missing(folder, f"there is no {part}-{kind}-ubyte", MNIST_LAYOUT)


def mnist(folder: Path) -> Dataset:
    """MNIST, or anything in its format (Fashion-MNIST, KMNIST). The test files are held out."""
    parts = [(_mnist_file(folder, part, "images-idx3"), _mnist_file(folder, part, "labels-idx1"))
             for part in ("train", "t10k")]
    side = parts[0][0].shape[-1] if parts[0][0].ndim else 0
    for images, labels in parts:
        if not labels.size or labels.ndim != 1 or images.shape != (len(labels), side, side):
            raise ValueError(f"{folder}: images {images.shape} and labels {labels.shape} do not "
                             "belong together, or are not square")
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    split = len(parts[0][0])
    return Dataset(name="mnist", side=side, classes=int(labels.max()) + 1,
                   images=torch.from_numpy(images.reshape(len(images), -1)),
                   labels=torch.from_numpy(labels.astype(np.int64)),
                   train=torch.arange(split), held_out=torch.arange(split, len(images)))


def _cifar_samples(paths: list[Path], classes: int, label_bytes: int) -> TensorSamples:
    """All records of some files: label bytes, of which the last one counts, then the image."""
    record = label_bytes + CIFAR_PIXELS
    images, labels = [], []
    for path in paths:
        raw = np.frombuffer(read_bytes(path), np.uint8)
        if not len(raw) or len(raw) % record:
            raise ValueError(f"{path}: {len(raw)} bytes are no number of records of {record} bytes")
        records = raw.reshape(-1, record)
        labels.append(records[:, label_bytes - 1].astype(np.int64))
        images.append(records[:, label_bytes:].reshape(-1, 3, 32, 32))
        if labels[-1].max() >= classes:
            raise ValueError(f"{path}: label {labels[-1].max()} of {classes} classes")
    return TensorSamples(torch.from_numpy(np.concatenate(images)),
                         torch.from_numpy(np.concatenate(labels)))


def _cifar(folder: Path, name: str, inner: str, train: list[str], test: str, classes: int,
           label_bytes: int, layout: str) -> ImageDataset:
    """CIFAR in `folder` or in its folder `inner`. The python version is recognised and refused."""
    pickled = any((folder / f"cifar-{version}").is_dir() or folder.name == f"cifar-{version}"
                  for version in ("10-batches-py", "100-python"))
    hint = PICKLED.format(inner) if pickled else ""
    place = next((place for place in (folder, folder / inner) if (place / test).is_file()), None)
    if place is None:
        raise missing(folder, f"there is no {test}", layout, hint)
    for file in train:
        if not (place / file).is_file():
            raise missing(folder, f"there is no {file}", layout, hint)
    train_samples = _cifar_samples([place / file for file in train], classes, label_bytes)
    return ImageDataset(name=name, shape=(3, 32, 32), classes=classes, train_samples=train_samples,
                        held_out_samples=_cifar_samples([place / test], classes, label_bytes))


def cifar10(folder: Path) -> ImageDataset:
    """CIFAR-10, binary version. `folder` is cifar-10-batches-bin or holds it."""
    return _cifar(folder, "cifar10", "cifar-10-batches-bin",
                  [f"data_batch_{n}.bin" for n in range(1, 6)], "test_batch.bin", 10, 1,
                  CIFAR10_LAYOUT)


def cifar100(folder: Path) -> ImageDataset:
    """CIFAR-100, binary version, fine labels. `folder` is cifar-100-binary or holds it."""
    return _cifar(folder, "cifar100", "cifar-100-binary", ["train.bin"], "test.bin", 100, 2,
                  CIFAR100_LAYOUT)
