"""How to train: the options, and what else a result depends on."""

import platform
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment, augment_config
from quadfire.models.training.stages import Stages

__all__ = ["Options", "environment"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train.

    | field | meaning |
    |---|---|
    | `batch` | samples, of all processes together |
    | `rate` | highest learning rate |
    | `smoothing` | of the labels, 0..1 |
    | `seed` | of order and augmentation; weights follow `torch.manual_seed` |
    | `optimizer` | "adamw", or "sgd" with Nesterov's `momentum` |
    | `decay` | what decays: "all", or "weights" without tdBN, biases and neurons |
    | `loss` | "mean", the cross-entropy of the mean output, or "tet", see `losses` |
    | `precision` | "float32"; "bfloat16", or "float16" on a GPU, for products of matrices |
    | `synchronise` | whether tdBN takes its statistics over all processes |
    | `schedule` | of the rate: "cosine", "linear" or "one-cycle", see `optimizer` |
    | `warm_up` | share of the run in which the rate rises, 0..1 |
    | `clip` | largest norm of all gradients together; 0: any |
    | `stages` | (T, epochs) of each stage, see `stages`; the last T is the network's own |
    | `average` | decay of the average of weights that is kept in the end, below 1; 0: none |
    | `mixup`, `cutmix` | a of Beta(a, a), see `mixing`; 0: none |
    | `validate` | training samples that are held out to measure every epoch |
    | `sizes` | (side of the images, epochs) of each stage; the last is the full one |
    | `recalibrate` | batches to measure running means anew, see `recalibration`; 0: none |
    | `init` | checkpoint that the weights start from; "": new weights |

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
    sizes: Stages = ()
    recalibrate: int = 0
    init: str = ""

    def __post_init__(self) -> None:
        for name, words in (("optimizer", ("adamw", "sgd")), ("decay", ("all", "weights")),
                            ("loss", ("mean", "tet")),
                            ("precision", ("float32", "bfloat16", "float16")),
                            ("schedule", ("cosine", "linear", "one-cycle"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be {' or '.join(words)}, not "
                                 f"{getattr(self, name)!r}")
        if min(self.epochs, self.batch) < 1:
            raise ValueError("epochs and batch must be above 0, not "
                             f"{self.epochs!r} and {self.batch!r}")
        for name, low, high in (("warm_up", 0, 1), ("average", 0, 0.99999), ("smoothing", 0, 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be in {low}..{high}, not {getattr(self, name)!r}")
        for name in ("clip", "mixup", "cutmix", "validate", "rate", "weight_decay",
                     "recalibrate"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be below 0, not {getattr(self, name)!r}")
        for name in ("stages", "sizes"):
            plan = getattr(self, name)
            if plan and sum(epochs for _, epochs in plan) != self.epochs:
                raise ValueError(f"the {name} {plan!r} must have {self.epochs} epochs in sum")

    def config(self) -> dict[str, Any]:
        """The options as JSON can hold them. From `optimizer` on, defaults are left out."""
        names = [entry.name for entry in fields(self)]
        later = names[names.index("optimizer"):]
        every = {**asdict(self), "augment": augment_config(self.augment)}
        return {name: value for name, value in every.items()
                if name not in later or value != type(self).__dataclass_fields__[name].default}


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a result may depend on beside the options: versions, machine, threads, processes."""
    device = torch.device(device)
    return {"python": platform.python_version(), "torch": torch.__version__,
            "machine": platform.machine(), "threads": torch.get_num_threads(),
            "processes": parallel.world_size(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type}
