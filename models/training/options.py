"""How to train: the options, their defaults, and what else a result depends on."""

import platform
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.networks import NETWORKS
from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment, augment_config

__all__ = ["Options", "environment", "options_for"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train.

    | field | meaning |
    |---|---|
    | `batch` | samples, of all processes together |
    | `rate` | highest learning rate, between a linear warm-up and a cosine to 0 |
    | `smoothing` | of the labels, 0..1 |
    | `seed` | of order and augmentation; weights follow `torch.manual_seed` |
    | `optimizer` | "adamw", or "sgd" with Nesterov's `momentum` |
    | `decay` | what decays: "all", or "weights" without tdBN, biases and neurons |
    | `loss` | "mean", the cross-entropy of the mean output, or "tet", see `losses` |
    | `precision` | "float32"; "bfloat16", or "float16" on a GPU, for products of matrices |
    | `synchronise` | whether tdBN takes its statistics over all processes |

    With every precision weights, currents and membrane potentials stay float32.
    """

    epochs: int = 100
    batch: int = 100
    rate: float = 3e-3
    weight_decay: float = 0.02
    smoothing: float = 0.0
    seed: int = 1
    augment: Augment | ImageAugment | None = field(default_factory=Augment)
    optimizer: str = "adamw"
    momentum: float = 0.9
    decay: str = "all"
    loss: str = "mean"
    tet_weight: float = 0.05
    tet_target: float = 1.0
    precision: str = "float32"
    synchronise: bool = False

    def __post_init__(self) -> None:
        for name, words in (("optimizer", ("adamw", "sgd")), ("decay", ("all", "weights")),
                            ("loss", ("mean", "tet")),
                            ("precision", ("float32", "bfloat16", "float16"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be {' or '.join(words)}, not "
                                 f"{getattr(self, name)!r}")
        if min(self.epochs, self.batch) < 1:
            raise ValueError("epochs and batch must be above 0, not "
                             f"{self.epochs!r} and {self.batch!r}")

    def config(self) -> dict[str, Any]:
        """The options as JSON can hold them. From `optimizer` on, defaults are left out."""
        names = [entry.name for entry in fields(self)]
        later = names[names.index("optimizer"):]
        every = {**asdict(self), "augment": augment_config(self.augment)}
        return {name: value for name, value in every.items()
                if name not in later or value != type(self).__dataclass_fields__[name].default}


def options_for(dataset: Dataset | ImageDataset, network: str, augment: bool,
                given: dict[str, Any]) -> Options:
    """How to train a network on a data set.

    | argument | meaning |
    |---|---|
    | `network` | "mlp", or a name or text as for `make_network` |
    | `augment` | whether to augment, in the way that fits the data |
    | `given` | options that the user has chosen; None leaves the default |
    """
    every: dict[str, Any] = {"decay": "weights", "augment": None}
    if network == "mlp":
        every["decay"] = "all"
    elif network in NETWORKS:
        every.update(optimizer="sgd", rate=0.1, weight_decay=5e-4, batch=128, epochs=200,
                     loss="tet")
    if augment and not dataset.flat:
        every["augment"] = _augment_for(dataset)
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("optimizer") == "adamw" and network in NETWORKS:
        every.update(rate=Options.rate, weight_decay=Options.weight_decay)
    elif given.get("optimizer") == "sgd":
        every.update(rate=0.1, weight_decay=5e-4)
    return Options(**{**every, **given})


def _augment_for(dataset: Dataset | ImageDataset) -> Augment | ImageAugment | None:
    """What fits a data set. Samples that are cut out at random need nothing more.

    Own images get the crop and the hole of CIFAR in proportion to their size. They are not
    mirrored, as they may hold letters.
    """
    if isinstance(dataset, Dataset):
        return Augment()
    side, of_user = min(dataset.shape[1:]), dataset.name.startswith("own:")
    if dataset.steps:
        return ImageAugment(crop=side // 10, flip=not of_user, policy="", cutout=0)
    if of_user:
        return ImageAugment(crop=side // 8, flip=False, cutout=side // 2,
                            policy="cifar10" if dataset.shape[0] == 3 else "")
    return None if dataset.train_samples.seeded else ImageAugment()


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a result may depend on beside the options: versions, machine, threads, processes."""
    device = torch.device(device)
    return {"python": platform.python_version(), "torch": torch.__version__,
            "machine": platform.machine(), "threads": torch.get_num_threads(),
            "processes": parallel.world_size(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type}
