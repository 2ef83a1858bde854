"""Data sets: some that come inside of packages, and readers of the usual files.

Nothing is ever downloaded. mnist5k and digits need no files; the others are read from a folder the
user names, in the format they are published in (mnist10k: build/ unless another is named).
"""

from pathlib import Path

from quadfire.models.datasets import events, images
from quadfire.models.datasets.base import Dataset, ImageDataset, Samples, TensorSamples
from quadfire.models.datasets.events import CIFAR10_DVS, Events, cifar10_dvs, read_aedat, to_frames
from quadfire.models.datasets.images import cifar10, cifar100, imagenet, mnist, read_idx
from quadfire.models.datasets.packaged import DATASETS, MNIST10K_LAYOUT, digits, mnist5k, mnist10k

__all__ = ["CIFAR10_DVS", "DATASETS", "FILES", "Dataset", "Events", "ImageDataset", "Samples",
           "TensorSamples", "cifar10", "cifar100", "cifar10_dvs", "digits", "imagenet",
           "load_dataset", "mnist", "mnist10k", "mnist5k", "read_aedat", "read_idx", "to_frames"]

#: Data sets that are read from a folder, and what it holds.
FILES = {"mnist10k": MNIST10K_LAYOUT, "mnist": images.MNIST_LAYOUT,
         "cifar10": images.CIFAR10_LAYOUT,
         "cifar100": images.CIFAR100_LAYOUT, "imagenet": images.IMAGENET_LAYOUT,
         "cifar10dvs": events.LAYOUT}


def load_dataset(name: str, folder: str | Path | None = None, *, steps: int = 10,
                 size: int | None = None) -> Dataset | ImageDataset:
    """The data set called `name`, read from `folder` unless it is one of DATASETS.

    size: side of the images of imagenet (224) and cifar10dvs (48). steps: frames of cifar10dvs.
    Raises ValueError that lists the names there are, or says which files are looked for.
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name not in FILES:
        raise ValueError(f"no data set is called {name!r}; there are "
                         f"{', '.join((*DATASETS, *FILES))}")
    if name == "mnist10k":
        return mnist10k(Path(folder or "build").resolve())
    if folder is None:
        raise ValueError(f"{name} is read from files: name their folder (--data FOLDER), which "
                         f"holds\n{FILES[name]}")
    folder = Path(folder)
    if name == "imagenet":
        return imagenet(folder, size=size or 224)
    if name == "cifar10dvs":
        return cifar10_dvs(folder, steps=steps, size=size or 48)
    return {"mnist": mnist, "cifar10": cifar10, "cifar100": cifar100}[name](folder)
