"""Data sets: some come inside of packages, the others are read from the user's files.

| file | holds |
|---|---|
| `files` | bytes, arrays and pictures from disk, sizes checked before memory is taken |
| `base` | what a data set is to training; the split by a seed |
| `packaged` | mnist5k, digits, mnist10k |
| `images` | MNIST, CIFAR-10, CIFAR-100 |
| `photographs` | ImageNet |
| `events` | recordings of event cameras, CIFAR10-DVS |
| `own` | data of one's own: a .npz, or a folder of pictures |

Nothing is ever downloaded. mnist5k and digits need no files. Each of the others is read from a
folder that the user names, in the format it is published in; mnist10k is looked for in build/
unless another folder is named.
"""

from pathlib import Path

from quadfire.models.datasets import events, images, photographs
from quadfire.models.datasets.base import Dataset, ImageDataset, Samples, TensorSamples
from quadfire.models.datasets.events import CIFAR10_DVS, Events, cifar10_dvs, read_aedat, to_frames
from quadfire.models.datasets.images import cifar10, cifar100, mnist, read_idx
from quadfire.models.datasets.own import OWN_LAYOUT, own
from quadfire.models.datasets.packaged import DATASETS, MNIST10K_LAYOUT, digits, mnist5k, mnist10k
from quadfire.models.datasets.photographs import imagenet

__all__ = ["CIFAR10_DVS", "DATASETS", "FILES", "Dataset", "Events", "ImageDataset", "Samples",
           "TensorSamples", "cifar10", "cifar100", "cifar10_dvs", "digits", "imagenet",
           "load_dataset", "mnist", "mnist10k", "mnist5k", "own", "read_aedat", "read_idx",
           "to_frames"]

#: Data sets that are read from files, and how these lie.
FILES = {"mnist10k": MNIST10K_LAYOUT, "mnist": images.MNIST_LAYOUT,
         "cifar10": images.CIFAR10_LAYOUT, "cifar100": images.CIFAR100_LAYOUT,
         "imagenet": photographs.IMAGENET_LAYOUT, "cifar10dvs": events.LAYOUT, "own": OWN_LAYOUT}


def load_dataset(name: str, folder: str | Path | None = None, *, steps: int = 10,
                 size: int | tuple[int, int] | None = None) -> Dataset | ImageDataset:
    """The data set called `name`.

    | argument | meaning |
    |---|---|
    | `name` | one of DATASETS or FILES; the path of a .npz; or the name of an own data set |
    | `folder` | where its files lie; a .npz here is always data of one's own |
    | `steps` | frames of cifar10dvs |
    | `size` | side of the images of imagenet (224) and cifar10dvs (48) |
    | | side, or (height, width), of own pictures (as they are) |

    An own data set is called "own:" and its file's name. Its files are named again each time.
    Raises ValueError that lists the names there are, or says which files are looked for.
    """
    if folder is not None and Path(folder).suffix == ".npz":
        return own(folder)
    if folder is None and Path(name).suffix == ".npz" and not name.startswith("own:"):
        return own(name)
    if name in DATASETS:
        if folder is not None:
            raise ValueError(f"{name} needs no files, but {folder} was named: is that data of your "
                             "own? Then name a .npz, or --dataset own")
        return DATASETS[name]()
    kind = "own" if name.startswith("own:") else name
    if kind not in FILES:
        raise ValueError(f"no data set is called {name!r}; there are "
                         f"{', '.join((*DATASETS, *FILES))}")
    if name == "mnist10k":
        return mnist10k(Path(folder or "build").resolve())
    if folder is None:
        raise ValueError(f"{name} is read from files: name their folder (--data FOLDER), which "
                         f"holds\n{FILES[kind]}")
    if kind == "own":
        return own(folder, size=size)
    folder, side = Path(folder), size if isinstance(size, int) or size is None else size[0]
    if name == "imagenet":
        return imagenet(folder, size=side or 224)
    if name == "cifar10dvs":
        return cifar10_dvs(folder, steps=steps, size=side or 48)
    return {"mnist": mnist, "cifar10": cifar10, "cifar100": cifar100}[name](folder)
