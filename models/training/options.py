"""How to train: the options, their defaults, and what else a result depends on."""

import platform
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.networks import NETWORKS
from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment, augment_config
from quadfire.models.training.stages import Stages

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
    | `schedule` | of the rate after the warm-up: "cosine" or "linear", both to 0 |
    | `warm_up` | share of the run in which the rate rises linearly from 0, 0..1 |
    | `clip` | largest norm of all gradients together; 0: any |
    | `stages` | (T, epochs) of each stage, see `stages`; the last T is the network's own |
    | `average` | decay of the average of weights that is kept in the end, below 1; 0: none |
    | `mixup`, `cutmix` | a of Beta(a, a), see `mixing`; 0: none |
    | `validate` | training samples that are held out to measure every epoch |

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
    schedule: str = "cosine"
    warm_up: float = 0.05
    clip: float = 0.0
    stages: Stages = ()
    average: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    validate: int = 0

    def __post_init__(self) -> None:
        for name, words in (("optimizer", ("adamw", "sgd")), ("decay", ("all", "weights")),
                            ("loss", ("mean", "tet")),
                            ("precision", ("float32", "bfloat16", "float16")),
                            ("schedule", ("cosine", "linear"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be {' or '.join(words)}, not "
                                 f"{getattr(self, name)!r}")
        if min(self.epochs, self.batch) < 1:
            raise ValueError("epochs and batch must be above 0, not "
                             f"{self.epochs!r} and {self.batch!r}")
        for name, low, high in (("warm_up", 0, 1), ("average", 0, 0.99999), ("smoothing", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {getattr(self, name)!r}")
        for name in ("clip", "mixup", "cutmix", "validate", "rate", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be below 0, not {getattr(self, name)!r}")
        if self.stages and sum(epochs for _, epochs in self.stages) != self.epochs:
            raise ValueError(f"the stages {self.stages!r} must have {self.epochs} epochs in sum")

    def config(self) -> dict[str, Any]:
        """The options as JSON can hold them. From `optimizer` on, defaults are left out."""
        names = [entry.name for entry in fields(self)]
        later = names[names.index("optimizer"):]
        every = {**asdict(self), "augment": augment_config(self.augment)}
        return {name: value for name, value in every.items()
                if name not in later or value != type(self).__dataclass_fields__[name].default}


def options_for(dataset: Dataset | ImageDataset, network: str, augment: str,
                given: dict[str, Any]) -> Options:
    """How to train a network on a data set.

    | argument | meaning |
    |---|---|
    | `network` | "mlp", or a name or text as for `make_network` |
    | `augment` | "auto", what fits the data; "none"; "flip" or "cutout", see `_augment_for` |
    | `given` | options that the user has chosen; None leaves the default |
    """
    every: dict[str, Any] = {"decay": "weights", "augment": None}
    if network == "mlp":
        every["decay"] = "all"
    elif network in NETWORKS:
        every.update(optimizer="sgd", rate=0.1, weight_decay=5e-4, batch=128, epochs=200,
                     loss="tet")
    if augment != "none" and not dataset.flat:
        every["augment"] = _augment_for(dataset, augment)
    elif augment not in ("auto", "none"):
        raise ValueError(f"{dataset.name} holds vectors, which cannot be augmented by "
                         f"{augment!r}: their neighbours mean nothing")
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("optimizer") == "adamw" and network in NETWORKS:
        every.update(rate=Options.rate, weight_decay=Options.weight_decay)
    elif given.get("optimizer") == "sgd":
        every.update(rate=0.1, weight_decay=5e-4)
    return Options(**{**every, **given})


def _augment_for(dataset: Dataset | ImageDataset, kind: str) -> Augment | ImageAugment | None:
    """What fits a data set. Samples that are cut out at random need nothing more.

    "flip" is a random crop and mirror image alone, "cutout" these and a hole of a quarter of the
    side. Raises ValueError for another kind, or one that does not suit the data.

    Own images get the crop and the hole of CIFAR in proportion to their size. They are not
    mirrored, as they may hold letters.
    """
    if kind != "auto":
        if kind not in ("flip", "cutout"):
            raise ValueError(f"augment must be auto, none, flip or cutout, not {kind!r}")
        if isinstance(dataset, Dataset) or dataset.train_samples.seeded:
            raise ValueError(f"augment {kind!r} is for colour images in memory, not "
                             f"{dataset.name}: leave it at auto")
        side = min(dataset.shape[1:])
        return ImageAugment(crop=side // 8, policy="", cutout=side // 4 if kind == "cutout" else 0)
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
