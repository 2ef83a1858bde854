"""The options that fit a network and a data set, where the user leaves them open."""

from dataclasses import replace
from typing import Any

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.networks import NETWORKS
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.options import Options

__all__ = ["AUGMENTATIONS", "augmentation_for", "options_for"]

#: The augmentations that can be named, beside "auto".
AUGMENTATIONS = ("none", "flip", "cutout", "autoaugment")


def options_for(dataset: Dataset | ImageDataset, network: str, augment: str,
                given: dict[str, Any], hole: int | None = None) -> Options:
    """How to train a network on a data set.

    | argument | meaning |
    |---|---|
    | `network` | "mlp", or a name or text as for `make_network` |
    | `augment`, `hole` | as for `augmentation_for` |
    | `given` | options that the user has chosen; None leaves the default |

    The epochs of stages are those of the run.
    """
    every: dict[str, Any] = {"decay": "weights"}
    if network == "mlp":
        every["decay"] = "all"
    elif network in NETWORKS:
        every.update(optimizer="sgd", rate=0.1, weight_decay=5e-4, batch=128, epochs=200,
                     loss="tet")
    every["augment"] = augmentation_for(dataset, augment, hole)
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("optimizer") == "adamw" and network in NETWORKS:
        every.update(rate=Options.rate, weight_decay=Options.weight_decay)
    elif given.get("optimizer") == "sgd":
        every.update(rate=0.1, weight_decay=5e-4)
    if given.get("schedule") == "one-cycle":
        every["warm_up"] = 0.3
    for stages in (given.get("stages"), given.get("sizes")):
        if stages:
            every["epochs"] = sum(epochs for _, epochs in stages)
    return Options(**{**every, **given})


def augmentation_for(dataset: Dataset | ImageDataset, name: str = "auto", hole: int | None = None
                     ) -> Augment | ImageAugment | None:
    """How samples are changed at random.

    | `name` | meaning |
    |---|---|
    | auto | what fits the data; samples that are cut out at random need nothing more |
    | none | nothing |
    | flip | crop and mirror image |
    | cutout | these, and a hole of a quarter of the side |
    | autoaugment | crop, mirror image, AutoAugment, and a hole of half the side: auto for CIFAR |

    Own images get the crop and the hole of CIFAR in proportion to their size. They are not mirrored
    unless that is asked for, as they may hold letters. hole: its side in pixels, None for the
    default. Raises ValueError for another name, or one that does not suit the data.
    """
    if name not in ("auto", *AUGMENTATIONS):
        raise ValueError(f"augment must be auto, {', '.join(AUGMENTATIONS)}, not {name!r}")
    found = None
    if name == "auto":
        found = _auto(dataset)
    elif name != "none":
        found = _named(dataset, name)
    if hole is None:
        return found
    if not isinstance(found, ImageAugment):
        raise ValueError(f"a hole of {hole} pixels: the augmentation {name!r} of {dataset.name} "
                         "has none: --augment flip, cutout or autoaugment, of colour images")
    return replace(found, cutout=hole)


def _auto(dataset: Dataset | ImageDataset) -> Augment | ImageAugment | None:
    """What fits a data set."""
    if dataset.flat:
        return None
    if isinstance(dataset, Dataset):
        return Augment()
    side, of_user = min(dataset.shape[1:]), dataset.name.startswith("own:")
    if dataset.steps:
        return ImageAugment(crop=side // 10, flip=not of_user, policy="", cutout=0)
    if of_user:
        return ImageAugment(crop=side // 8, flip=False, cutout=side // 2,
                            policy="cifar10" if dataset.shape[0] == 3 else "")
    return None if dataset.train_samples.seeded else ImageAugment()


def _named(dataset: Dataset | ImageDataset, name: str) -> ImageAugment:
    """The augmentation of that name."""
    if dataset.flat:
        raise ValueError(f"{dataset.name} holds vectors, which cannot be augmented by {name!r}: "
                         "their neighbours mean nothing")
    if isinstance(dataset, Dataset) or dataset.train_samples.seeded:
        raise ValueError(f"augment {name!r} is for colour images in memory, not {dataset.name}: "
                         "leave it at auto")
    if name == "autoaugment" and (dataset.shape[0] != 3 or dataset.steps):
        raise ValueError(f"augment {name!r} is for images of 3 channels, not {dataset.name}")
    side = min(dataset.shape[1:])
    hole = {"flip": 0, "cutout": side // 4, "autoaugment": side // 2}[name]
    return ImageAugment(crop=side // 8, policy="cifar10" if name == "autoaugment" else "",
                        cutout=hole)
