"""Data sets: some come inside of packages, the others are read from the user's files.

| file | holds |
|---|---|
| `base` | what a data set is to training |
| `packaged` | mnist5k, digits, mnist10k |
| `images` | MNIST, CIFAR-10, CIFAR-100 |
| `photographs` | ImageNet |
| `events` | recordings of event cameras: CIFAR10-DVS, what tonic reads |
| `own` | data of one's own: a .npz, or a folder of pictures or recordings; N-MNIST, DVS Gesture |

Files are read by `quadfire.data`, which needs no PyTorch.

Nothing is ever downloaded. mnist5k and digits need no files. Each of the others is read from a
folder that the user names, in the format it is published in; mnist10k is looked for in build/
unless another folder is named.
"""

from pathlib import Path

from quadfire.data.framing import AS_FOUND, Framing
from quadfire.models.datasets import events, images, photographs
from quadfire.models.datasets.base import Dataset, ImageDataset, Samples, TensorSamples
from quadfire.models.datasets.events import (
    CIFAR10_DVS,
    Events,
    cifar10_dvs,
    event_dataset,
    read_aedat,
    to_frames,
)
from quadfire.models.datasets.images import cifar10, cifar100, mnist, read_idx
from quadfire.models.datasets.own import OWN_LAYOUT, own
from quadfire.models.datasets.packaged import DATASETS, MNIST10K_LAYOUT, digits, mnist5k, mnist10k
from quadfire.models.datasets.photographs import imagenet

__all__ = ["CIFAR10_DVS", "DATASETS", "FILES", "Dataset", "Events", "Framing", "ImageDataset",
           "Samples", "TensorSamples", "cifar10", "cifar100", "cifar10_dvs", "digits",
           "event_dataset", "imagenet", "load_dataset", "mnist", "mnist10k", "mnist5k", "own",
           "read_aedat", "read_idx", "to_frames"]

NMNIST_LAYOUT = """\
  Train/0/00002.bin ... Train/9/59975.bin
  Test/0/00004.bin ... Test/9/09998.bin"""
GESTURE_LAYOUT = """\
  trials_to_train.txt, trials_to_test.txt
  user01_fluorescent.aedat, user01_fluorescent_labels.csv, and so on"""

#: Data sets of recordings that lie as data of one's own do.
RECORDED = ("nmnist", "dvsgesture")

#: Data sets that are read from files, and how these lie.
FILES = {"mnist10k": MNIST10K_LAYOUT, "mnist": images.MNIST_LAYOUT,
         "cifar10": images.CIFAR10_LAYOUT, "cifar100": images.CIFAR100_LAYOUT,
         "imagenet": photographs.IMAGENET_LAYOUT, "cifar10dvs": events.LAYOUT,
         "nmnist": NMNIST_LAYOUT, "dvsgesture": GESTURE_LAYOUT, "own": OWN_LAYOUT}


def load_dataset(name: str, folder: str | Path | None = None, *, steps: int = 10,
                 size: int | tuple[int, int] | None = None, framing: Framing = AS_FOUND
                 ) -> Dataset | ImageDataset:
    """The data set called `name`.

    | argument | meaning |
    |---|---|
    | `name` | one of DATASETS or FILES; the path of a .npz; or the name of an own data set |
    | `folder` | where its files lie; a .npz here is always data of one's own |
    | `steps` | frames of a recording of events |
    | `size` | side of the images of imagenet (224) and cifar10dvs (48) |
    | | side, or (height, width), of own pictures and recordings (as they are) |
    | `framing` | how frames are made of recordings, and spikes of frames |

    An own data set is called "own:" and its file's name. Its files are named again each time.
    Raises ValueError that lists the names there are, or says which files are looked for.
    """
    if folder is not None and Path(folder).suffix == ".npz":
        return own(folder, framing=framing)
    if folder is None and Path(name).suffix == ".npz" and not name.startswith("own:"):
        return own(name, framing=framing)
    kind = "own" if name.startswith("own:") else name
    if framing != AS_FOUND and kind in {*DATASETS, *FILES} - {"cifar10dvs", *RECORDED, "own"}:
        raise ValueError(f"{name} has images: {framing.options} is for frames")
    if name in DATASETS:
        if folder is not None:
            raise ValueError(f"{name} needs no files, but {folder} was named: is that data of your "
                             "own? Then name a .npz, or --dataset own")
        return DATASETS[name]()
    if kind not in FILES:
        raise ValueError(f"no data set is called {name!r}; there are "
                         f"{', '.join((*DATASETS, *FILES))}")
    if name == "mnist10k":
        return mnist10k(Path(folder or "build").resolve())
    if folder is None:
        raise ValueError(f"{name} is read from files: name their folder (--data FOLDER), which "
                         f"holds\n{FILES[kind]}")
    if kind == "own":
        return own(folder, size=size, steps=steps, framing=framing)
    if name in RECORDED:
        return own(folder, size=size, steps=steps, framing=framing, name=name)
    folder, side = Path(folder), size if isinstance(size, int) or size is None else size[0]
    if name == "imagenet":
        return imagenet(folder, size=side or 224)
    if name == "cifar10dvs":
        if framing.sensor is not None:
            raise ValueError("cifar10dvs has a sensor of 128 x 128: --sensor is for others")
        return cifar10_dvs(folder, steps=steps, size=side or 48, by=framing.by,
                           spikes_above=framing.spikes_above)
    return {"mnist": mnist, "cifar10": cifar10, "cifar100": cifar100}[name](folder)
