"""ImageNet: JPEG files, one folder a class, read and cut out when they are asked for."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quadfire.data.files import missing, read_picture
from quadfire.models.datasets.base import ImageDataset

__all__ = ["PhotographSamples", "imagenet"]

IMAGENET_LAYOUT = """\
  train/n01440764/n01440764_10026.JPEG ...   one folder a class
  val/n01440764/ILSVRC2012_val_00000293.JPEG ...   the same folders"""

Box = tuple[float, float, float, float]


class PhotographSamples:
    """Photographs in files, as bytes [N, 3, size, size].

    seeded: a random part of 8..100 % of the area with sides of 3/4..4/3, mirrored at random, which
    is how one trains on ImageNet. Otherwise a square in the middle, 7/8 of the shorter side.
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
        image = read_picture(path)
        from PIL import Image  # an optional package, which read_picture has found

        if self.seeded and seed is not None:
            box, mirrored = self._random_box(image.width, image.height,
                                             torch.Generator().manual_seed(seed))
        else:
            box, mirrored = _middle(image.width, image.height, min(image.size) * 7 / 8), False
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        return pixels.flip(2) if mirrored else pixels

    @staticmethod
    def _random_box(width: int, height: int, generator: torch.Generator) -> tuple[Box, bool]:
        """A part of the image as in arXiv:1409.4842: ten tries, then the middle."""
        mirrored = bool(torch.rand((), generator=generator) < 0.5)
        for _ in range(10):
            area, ratio, x, y = torch.rand(4, generator=generator).tolist()
            area = width * height * (0.08 + 0.92 * area)
            ratio = math.exp((2 * ratio - 1) * math.log(4 / 3))
            w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if w <= width and h <= height:
                left, top = x * (width - w), y * (height - h)
                return (left, top, left + w, top + h), mirrored
        return _middle(width, height, min(width, height)), mirrored


def _middle(width: int, height: int, side: float) -> Box:
    """A square in the middle of an image."""
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def _classes(folder: Path, part: str) -> list[str]:
    """Names of the folders in train/ or val/, sorted."""
    if not (folder / part).is_dir():
        raise missing(folder, f"there is no folder {part}/", IMAGENET_LAYOUT)
    names = sorted(path.name for path in (folder / part).iterdir() if path.is_dir())
    if not names:
        raise missing(folder, f"{part}/ holds no folders of classes", IMAGENET_LAYOUT,
                      "The validation images come in one folder: move each into a folder of "
                      "its class first." if part == "val" else "")
    return names


def imagenet(folder: Path, *, size: int = 224) -> ImageDataset:
    """ImageNet, or any folders of JPEGs laid out like it. Classes are the folders, sorted."""
    names = _classes(folder, "train")
    if unknown := sorted(set(_classes(folder, "val")) - set(names)):
        raise missing(folder, f"val/ has classes that train/ has not: {', '.join(unknown[:5])}",
                      IMAGENET_LAYOUT)

    def samples(part: str, seeded: bool) -> PhotographSamples:
        found = [(path, label) for label, name in enumerate(names)
                 for path in sorted((folder / part / name).glob("*"))
                 if path.suffix.lower() in (".jpeg", ".jpg")]
        if not found:
            raise missing(folder, f"there are no JPEG files in {part}/", IMAGENET_LAYOUT)
        return PhotographSamples([path for path, _ in found], [label for _, label in found], size,
                                 seeded)

    return ImageDataset(name="imagenet", shape=(3, size, size), classes=len(names),
                        train_samples=samples("train", True),
                        held_out_samples=samples("val", False))
