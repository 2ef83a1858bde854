"""Readers of image data sets: MNIST (IDX), CIFAR-10 and CIFAR-100 (binary), ImageNet (JPEG)."""

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadfire.models.datasets.base import Dataset, ImageDataset, TensorSamples, missing

__all__ = ["JPEGSamples", "cifar10", "cifar100", "imagenet", "mnist", "read_idx"]

MNIST_LAYOUT = """\
  train-images-idx3-ubyte   train-labels-idx1-ubyte
  t10k-images-idx3-ubyte    t10k-labels-idx1-ubyte     (each may end in .gz)"""
CIFAR10_LAYOUT = """\
  cifar-10-batches-bin/data_batch_1.bin ... data_batch_5.bin
  cifar-10-batches-bin/test_batch.bin"""
CIFAR100_LAYOUT = """\
  cifar-100-binary/train.bin
  cifar-100-binary/test.bin"""
IMAGENET_LAYOUT = """\
  train/n01440764/n01440764_10026.JPEG ...   one folder a class
  val/n01440764/ILSVRC2012_val_00000293.JPEG ...   the same folders"""
PICKLED = ("It holds the python version, whose files are pickles: reading one runs what is in it. "
           "Unpack the binary version, {}, instead.")


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, plain or .gz, as an array of its shape.

    The format: two zero bytes, type (8: unsigned bytes), number of dimensions, each dimension as a
    big-endian 32-bit number, then the values. Raises ValueError for any other file.
    """
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        raw = gzip.decompress(raw)
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"{path}: not an IDX file of bytes")
    start = 4 + 4 * raw[3]
    shape = tuple(np.frombuffer(raw[4:start], ">u4").tolist())
    if len(raw) - start != math.prod(shape):
        raise ValueError(f"{path}: {len(raw) - start} values where the shape {shape} needs "
                         f"{math.prod(shape)}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def mnist(folder: Path) -> Dataset:
    """MNIST, or anything in its format (Fashion-MNIST, KMNIST): the test files are held out."""
    def read(part: str, kind: str) -> np.ndarray:
        for name in (f"{part}-{kind}-ubyte", f"{part}-{kind.replace('-', '.', 1)}-ubyte",
                     f"{part}-{kind[:6]}.{kind[7:]}-ubyte"):
            for path in (folder / name, folder / f"{name}.gz"):
                if path.is_file():
                    return read_idx(path)
        raise missing(folder, f"there is no {part}-{kind}-ubyte", MNIST_LAYOUT)

    parts = [(read(part, "images-idx3"), read(part, "labels-idx1")) for part in ("train", "t10k")]
    for images, labels in parts:
        if images.ndim != 3 or images.shape[1] != images.shape[2] or len(images) != len(labels):
            raise ValueError(f"{folder}: images {images.shape} and labels {labels.shape} do not "
                             "belong together, or are not square")
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    split = len(parts[0][0])
    return Dataset(name="mnist", side=images.shape[1], classes=int(labels.max()) + 1,
                   images=torch.from_numpy(images.reshape(len(images), -1)),
                   labels=torch.from_numpy(labels.astype(np.int64)),
                   train=torch.arange(split), held_out=torch.arange(split, len(images)))


def _cifar(folder: Path, name: str, inner: str, train: list[str], test: str, classes: int,
           labels: int, layout: str) -> ImageDataset:
    """Records of `labels` label bytes, the last of which counts, and 3 x 32 x 32 bytes."""
    places = [place for place in (folder, folder / inner) if (place / test).is_file()]
    pickled = any((folder / f"cifar-{number}").is_dir() or folder.name == f"cifar-{number}"
                  for number in ("10-batches-py", "100-python"))
    hint = PICKLED.format(inner) if pickled else ""
    if not places:
        raise missing(folder, f"there is no {test}", layout, hint)

    def read(names: list[str]) -> TensorSamples:
        records = []
        for file in names:
            path = places[0] / file
            if not path.is_file():
                raise missing(folder, f"there is no {file}", layout, hint)
            raw = np.frombuffer(path.read_bytes(), np.uint8)
            if not len(raw) or len(raw) % (labels + 3072):
                raise ValueError(f"{path}: {len(raw)} bytes are no number of records of "
                                 f"{labels + 3072} bytes")
            records.append(raw.reshape(-1, labels + 3072))
        every = np.concatenate(records)
        found = every[:, labels - 1].astype(np.int64)
        if found.max() >= classes:
            raise ValueError(f"{places[0]}: label {found.max()} of {classes} classes")
        return TensorSamples(torch.from_numpy(every[:, labels:].reshape(-1, 3, 32, 32).copy()),
                             torch.from_numpy(found))

    return ImageDataset(name=name, shape=(3, 32, 32), classes=classes, train_samples=read(train),
                        held_out_samples=read([test]))


def cifar10(folder: Path) -> ImageDataset:
    """CIFAR-10, binary version; `folder` is cifar-10-batches-bin or holds it."""
    return _cifar(folder, "cifar10", "cifar-10-batches-bin",
                  [f"data_batch_{n}.bin" for n in range(1, 6)], "test_batch.bin", 10, 1,
                  CIFAR10_LAYOUT)


def cifar100(folder: Path) -> ImageDataset:
    """CIFAR-100, binary version, fine labels; `folder` is cifar-100-binary or holds it."""
    return _cifar(folder, "cifar100", "cifar-100-binary", ["train.bin"], "test.bin", 100, 2,
                  CIFAR100_LAYOUT)


class JPEGSamples:
    """Images in files, read when they are asked for, as bytes [N, 3, size, size].

    seeded: a random part of 8..100 % of the area and sides of 3/4..4/3, turned round at random, as
    one trains on ImageNet. Else the middle of the image, of 7/8 of its shorter side.
    """

    def __init__(self, paths: list[Path], labels: list[int], size: int, seeded: bool):
        self.paths, self.labels, self.size, self.seeded = paths, torch.tensor(labels), size, seeded

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.seeded and seeds is None:
            raise ValueError("these samples are cut out at random, they need seeds")
        images = [self._read(self.paths[i], None if seeds is None else int(seeds[position]))
                  for position, i in enumerate(index.tolist())]
        return torch.stack(images), self.labels[index]

    def _read(self, path: Path, seed: int | None) -> Tensor:
        try:
            from PIL import Image
        except ImportError:
            raise ValueError("JPEG files are read through Pillow: pip install pillow") from None
        try:
            with Image.open(path) as file:
                image: Any = file.convert("RGB")
        except OSError as error:
            raise ValueError(f"{path}: {error}") from None
        if self.seeded and seed is not None:
            box, turned = self._random_box(image.width, image.height,
                                           torch.Generator().manual_seed(seed))
        else:
            side = min(image.size) * 7 / 8
            left, top = (image.width - side) / 2, (image.height - side) / 2
            box, turned = (left, top, left + side, top + side), False
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.flip(2) if turned else pixels

    @staticmethod
    def _random_box(width: int, height: int, generator: torch.Generator
                    ) -> tuple[tuple[float, float, float, float], bool]:
        """A part of the image as in arXiv:1409.4842: ten tries, then the middle."""
        turned = bool(torch.rand((), generator=generator) < 0.5)
        for _ in range(10):
            area, ratio, x, y = torch.rand(4, generator=generator).tolist()
            area = width * height * (0.08 + 0.92 * area)
            ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
            w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if w <= width and h <= height:
                left, top = x * (width - w), y * (height - h)
                return (left, top, left + w, top + h), turned
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return (left, top, left + side, top + side), turned


def imagenet(folder: Path, *, size: int = 224) -> ImageDataset:
    """ImageNet, or any folders of JPEGs laid out like it; classes are folders in sorted order."""
    def classes(part: str) -> list[str]:
        if not (folder / part).is_dir():
            raise missing(folder, f"there is no folder {part}/", IMAGENET_LAYOUT)
        names = sorted(path.name for path in (folder / part).iterdir() if path.is_dir())
        if not names:
            raise missing(folder, f"{part}/ holds no folders of classes", IMAGENET_LAYOUT,
                          "The validation images come in one folder: move each into a folder of "
                          "its class first." if part == "val" else "")
        return names

    names = classes("train")
    if unknown := sorted(set(classes("val")) - set(names)):
        raise missing(folder, f"val/ has classes that train/ has not: {', '.join(unknown[:5])}",
                      IMAGENET_LAYOUT)

    def samples(part: str, seeded: bool) -> JPEGSamples:
        found = [(path, label) for label, name in enumerate(names)
                 for path in sorted((folder / part / name).glob("*"))
                 if path.suffix.lower() in (".jpeg", ".jpg")]
        if not found:
            raise missing(folder, f"there are no JPEG files in {part}/", IMAGENET_LAYOUT)
        return JPEGSamples([path for path, _ in found], [label for _, label in found], size,
                           seeded)

    return ImageDataset(name="imagenet", shape=(3, size, size), classes=len(names),
                        train_samples=samples("train", True),
                        held_out_samples=samples("val", False))
