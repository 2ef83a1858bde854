"""Training, measuring, and the checkpoint file: safetensors with one JSON text, no pickle."""

import json
import math
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from . import parallel
from .augment import Augment, ImageAugment, augment_config
from .datasets import Dataset, ImageDataset, Samples
from .losses import tet_loss
from .network import SpikingMLP
from .networks import ImageNetwork, network_from_config
from .neurons import SpikingNeuron

__all__ = ["CheckpointError", "Epoch", "Options", "Progress", "accuracy", "environment", "fit",
           "load_checkpoint", "measure", "save_checkpoint"]

FORMAT = "quadfire-checkpoint"
RUN_FORMAT = "quadfire-run"
VERSION = 1


class Trainable(Protocol):
    """What `fit` and `accuracy` ask of a network: `SpikingMLP` and `GridNetwork` have it."""

    @property
    def rates(self) -> list[float]: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def parameters(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to train. rate: highest learning rate, reached by a linear warm-up and left by a cosine.

    batch: of all processes together. smoothing: of the labels, 0..1. seed: of order and
    augmentation (that of the weights is `torch.manual_seed` before the network is made).
    optimizer: "adamw", or "sgd" with Nesterov's momentum. decay: "all" parameters, or "weights"
    only: neither tdBN, biases nor the parameters of neurons. loss: "mean" (cross-entropy of the
    mean output) or "tet", see `losses`. precision: "float32", or "bfloat16" or "float16" for
    convolutions and matrix products (float16 on a GPU only); weights, currents and membrane
    potentials stay float32. synchronise: tdBN takes its statistics over all processes.
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
        """All of it as JSON can hold it; from `optimizer` on only what is not the default."""
        names = [entry.name for entry in fields(self)]
        later = names[names.index("optimizer"):]
        every = {**asdict(self), "augment": augment_config(self.augment)}
        return {name: value for name, value in every.items()
                if name not in later or value != type(self).__dataclass_fields__[name].default}


class Epoch(NamedTuple):
    """What an epoch came to: numbers of the training set only."""

    number: int
    loss: float
    accuracy: float
    rates: list[float]


class Progress(NamedTuple):
    """Where an epoch is after a batch; loss, accuracy and rates of this process's part so far."""

    epoch: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    rates: list[float]


# Batches -----------------------------------------------------------------------------------------

Wanted = tuple[Tensor, Tensor | None]


class _Reader(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples as the workers of a DataLoader see them: one item is a batch."""

    def __init__(self, samples: Samples):
        self.samples = samples

    def __getitem__(self, wanted: Wanted) -> tuple[Tensor, Tensor]:  # pyright: ignore
        torch.set_num_threads(1)
        return self.samples.batch(*wanted)


def _read(samples: Samples, wanted: list[Wanted], workers: int
          ) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of these (indices, seeds) in order, read ahead by `workers` processes."""
    if not workers:
        return (samples.batch(*one) for one in wanted)
    return iter(DataLoader(_Reader(samples), batch_size=None, sampler=wanted, num_workers=workers,
                           generator=torch.Generator()))   # its own: the global one stays as it is


def _changed(images: Tensor, augment: Augment | ImageAugment, draws: tuple[Tensor, ...],
             shape: tuple[int, ...]) -> Tensor:
    """Images, flat ones as well, after the augmentation."""
    if images.ndim != 2:
        return augment.apply(images, draws)
    return augment.apply(images.view(-1, *shape), draws).view(images.shape)


# Training ----------------------------------------------------------------------------------------


def _optimizer(network: Any, options: Options) -> torch.optim.Optimizer:
    groups: Any = network.parameters()
    if options.decay == "weights":
        of_neurons = {id(p) for module in network.modules() if isinstance(module, SpikingNeuron)
                      for p in module.parameters()}         # GLIF's have two dimensions, too
        parameters = [*groups]
        decays = [p.ndim > 1 and id(p) not in of_neurons for p in parameters]
        groups = [{"params": [p for p, does in zip(parameters, decays, strict=True) if does]},
                  {"params": [p for p, does in zip(parameters, decays, strict=True) if not does],
                   "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, options.rate, momentum=options.momentum, nesterov=True,
                               weight_decay=options.weight_decay)
    return torch.optim.AdamW(groups, options.rate, weight_decay=options.weight_decay)


def fit(network: Trainable, dataset: Dataset | ImageDataset, options: Options,
        report: Callable[[Epoch], None] = lambda _: None, *,
        watch: Callable[[Progress], None] = lambda _: None, state: Path | None = None,
        device: torch.device | str = "cpu", workers: int = 0) -> Epoch:
    """Train on the training set of `dataset`; report and return the (last) epoch.

    The held-out images are not looked at, there is nothing to select. Repeats to the bit on one
    machine with one number of threads, and of processes.

    state: a file in which a run is kept after every epoch, with everything that it takes to go on.
    If it is there already, its epochs are reported, and the run goes on from it and comes to the
    very weights it would have come to; raises CheckpointError if it is of a run with other options.
    watch: called after every batch. workers: processes that read batches ahead; they change nothing
    but the time.
    A last batch of a single sample is left out: it has no variance for tdBN to divide by.
    Where several processes train (`parallel`), each takes its part of every batch; a last batch of
    fewer samples than processes is left out, and running means are those of the first process.
    """
    device = torch.device(device)
    if options.precision == "float16" and device.type != "cuda":
        raise ValueError("float16 is for GPUs; use bfloat16 or float32")
    generator = torch.Generator().manual_seed(options.seed)
    samples = dataset.train_samples
    augment, world = options.augment, parallel.world_size()
    if world > min(options.batch, len(samples)):
        raise ValueError(f"{world} processes cannot share batches of {options.batch}")
    smallest = max(world, min(2, options.batch, len(samples)))
    if isinstance(network, nn.Module):
        network.to(device)
        parallel.synchronise(network, options.synchronise)
    optimizer = _optimizer(network, options)
    total = options.epochs * math.ceil(len(samples) / options.batch)
    warmup = max(1, total // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / total)))
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "float16")
    run = _Run(state, network, optimizer, schedule, scaler, generator,
               {"options": options.config(), "dataset": dataset.name, "processes": world})
    epoch = run.resume()
    for earlier in run.history:
        report(earlier)
    model: Any = network
    if world > 1:
        assert isinstance(network, nn.Module)
        model = nn.parallel.DistributedDataParallel(network)
    network.train()
    for number in range(epoch.number + 1, options.epochs + 1):
        loss_sum, right, seen = 0.0, 0, 0
        order = torch.randperm(len(samples), generator=generator)
        seeds = torch.randint(1 << 62, order.shape, generator=generator) if samples.seeded else None
        batches = [index for index in order.split(options.batch) if len(index) >= smallest]
        wanted: list[Wanted] = [
            (parallel.share(index), None if seeds is None else parallel.share(
                seeds[place * options.batch:][:len(index)]))
            for place, index in enumerate(batches)]
        for step, (images, labels) in enumerate(_read(samples, wanted, workers)):
            images, labels = images.to(device), labels.to(device)
            count, own = len(batches[step]), len(labels)
            if augment is not None:
                draws = augment.draw(count, generator)
                images = _changed(images, augment, tuple(map(parallel.share, draws)),
                                  dataset.shape)
            with torch.autocast(device.type, getattr(torch, options.precision),
                                enabled=options.precision != "float32"):
                if options.loss == "tet":
                    outputs = model(images, every_step=True)
                    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
                    logits = outputs.mean(0)
                    loss = tet_loss(outputs, labels, weight=options.tet_weight,
                                    target=options.tet_target, smoothing=options.smoothing)
                else:
                    logits = model(images)
                    loss = functional.cross_entropy(logits, labels,
                                                    label_smoothing=options.smoothing)
            optimizer.zero_grad()
            # the mean of the gradients of all processes is that of the whole batch
            scaler.scale(loss * (own * world / count) if own * world != count else loss).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            loss_sum += loss.item() * own
            right += int((logits.argmax(1) == labels).sum())
            seen += own
            watch(Progress(number, step + 1, len(batches), loss_sum / seen, right / seen,
                           network.rates))
        # rates are of the last batch
        part = parallel.share(batches[-1]).numel() / len(batches[-1])
        loss_sum, right, seen, *rates = parallel.add_up(
            [loss_sum, right, seen, *(rate * part for rate in network.rates)], device)
        epoch = Epoch(number, loss_sum / seen, right / seen, rates)
        run.save(epoch)
        report(epoch)
    if isinstance(network, nn.Module):
        parallel.share_buffers(network)
    network.eval()
    return epoch


@torch.no_grad()
def accuracy(network: Trainable, images: Tensor, labels: Tensor) -> float:
    """Share of `images` whose largest logit is that of the label, in eval mode; 0..1."""
    network.eval()
    return (network(images).argmax(1) == labels).double().mean().item()


@torch.no_grad()
def measure(network: Trainable, samples: Samples, *, batch: int = 100,
            device: torch.device | str = "cpu", workers: int = 0) -> tuple[float, list[float]]:
    """(accuracy, spike rate per layer) of a network in eval mode on samples, `batch` at a time.

    Where there are several processes each takes its part, and all return the same.
    """
    device = torch.device(device)
    network.eval()
    if isinstance(network, nn.Module):
        network.to(device)
    right, rates = 0, [0.0] * len(network.rates)
    own = torch.arange(len(samples))[parallel.rank()::parallel.world_size()]
    wanted: list[Wanted] = [(index, None) for index in own.split(batch) if len(index)]
    for images, labels in _read(samples, wanted, workers):
        labels = labels.to(device)
        right += int((network(images.to(device)).argmax(1) == labels).sum())
        rates = [total + rate * len(labels) for total, rate in
                 zip(rates, network.rates, strict=True)]
    right, *rates = parallel.add_up([right, *rates], device)
    return right / len(samples), [rate / len(samples) for rate in rates]


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a result may depend on besides the options."""
    device = torch.device(device)
    return {"python": platform.python_version(), "torch": torch.__version__,
            "machine": platform.machine(), "threads": torch.get_num_threads(),
            "processes": parallel.world_size(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type}


# Checkpoint --------------------------------------------------------------------------------------


class CheckpointError(ValueError):
    """A file that is not a checkpoint of this version."""


def _write(path: Path, tensors: dict[str, Tensor], head: dict[str, Any]) -> None:
    """A safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, {"quadfire": json.dumps(head, sort_keys=True)})
    os.replace(part, path)


def _load(path: str | Path, expected: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        head = json.loads((file.metadata() or {})["quadfire"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if (head["format"], head["version"]) != (expected, VERSION):
        raise CheckpointError(f"{path}: holds {head['format']} version {head['version']}, not "
                              f"{expected} version {VERSION}")
    return head, tensors


def save_checkpoint(path: str | Path, network: SpikingMLP | ImageNetwork,
                    metadata: dict[str, Any]) -> None:
    """Write parameters, running means and the network's config; `metadata` is kept as JSON."""
    head = {"format": FORMAT, "version": VERSION, "config": network.config(), "about": metadata}
    _write(Path(path), network.state_dict(), head)


def load_checkpoint(path: str | Path) -> tuple[SpikingMLP | ImageNetwork, dict[str, Any]]:
    """(network in eval mode, metadata). Raises CheckpointError that says what is wrong."""
    try:
        head, tensors = _load(path, FORMAT)
        network = network_from_config(head["config"])
        network.load_state_dict(tensors)
    except CheckpointError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint: {error}") from None
    network.eval()
    return network, head["about"]


class _Run:
    """The file that keeps a run: network, optimiser, schedule, random numbers, epochs so far.

    All ranks read it, the first one writes it.
    """

    def __init__(self, path: Path | None, network: Any, optimizer: torch.optim.Optimizer,
                 schedule: torch.optim.lr_scheduler.LambdaLR, scaler: torch.amp.GradScaler,
                 generator: torch.Generator, setup: dict[str, Any]):
        self.path, self.network, self.optimizer = path, network, optimizer
        self.schedule, self.scaler, self.generator = schedule, scaler, generator
        self.history: list[Epoch] = []
        if path is not None:
            self.setup = {**setup, "network": network.config()}

    def save(self, epoch: Epoch) -> None:
        self.history.append(epoch)
        if self.path is None:
            return
        if parallel.is_first():
            state = self.optimizer.state_dict()
            tensors = {f"network.{name}": value
                       for name, value in self.network.state_dict().items()}
            numbers: dict[str, Any] = {}
            for index, values in state["state"].items():
                for name, value in values.items():
                    (tensors if isinstance(value, Tensor) else numbers)[
                        f"optimizer.{index}.{name}"] = value
            tensors["random.order"] = self.generator.get_state()
            tensors["random.torch"] = torch.get_rng_state()
            schedule = {name: value for name, value in self.schedule.state_dict().items()
                        if name != "lr_lambdas"}
            head = {"format": RUN_FORMAT, "version": VERSION, "setup": self.setup,
                    "groups": state["param_groups"], "numbers": numbers, "schedule": schedule,
                    "scaler": self.scaler.state_dict(), "environment": environment(),
                    "history": [entry._asdict() for entry in self.history]}
            _write(self.path, tensors, head)
        parallel.wait()

    def resume(self) -> Epoch:
        """Go back to the epoch that the file holds, which is returned; or to the beginning."""
        if self.path is None or not self.path.is_file():
            parallel.wait()                                 # nobody writes before all have looked
            return Epoch(0, math.nan, math.nan, [])
        try:
            head, tensors = _load(self.path, RUN_FORMAT)
            if changed := _difference(head["setup"], json.loads(json.dumps(self.setup))):
                raise CheckpointError(f"{self.path}: of another run: {changed}")
            self.network.load_state_dict({name.removeprefix("network."): value
                                          for name, value in tensors.items()
                                          if name.startswith("network.")})
            state: dict[int, dict[str, Any]] = {}
            for name, value in (tensors | head["numbers"]).items():
                if name.startswith("optimizer."):
                    _, index, entry = name.split(".", 2)
                    state.setdefault(int(index), {})[entry] = value
            self.optimizer.load_state_dict({"state": state, "param_groups": head["groups"]})
            self.schedule.load_state_dict({**head["schedule"], "lr_lambdas": [None] * len(
                head["groups"])})
            if head["scaler"]:
                self.scaler.load_state_dict(head["scaler"])
            self.generator.set_state(tensors["random.order"])
            torch.set_rng_state(tensors["random.torch"])
            self.history = [Epoch(**entry) for entry in head["history"]]
        except CheckpointError:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{self.path}: not the state of a run: {error}") from None
        parallel.wait()
        return self.history[-1]


def _difference(old: Any, new: Any, name: str = "") -> str:
    """The first entry in which two JSON values differ, in words; empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if found := _difference(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")):
                return found
        return ""
    return "" if old == new else f"its {name} is {old!r}, not {new!r}"
