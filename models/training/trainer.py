"""What trains: a network, its optimiser and everything else that a batch needs."""

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.data.split import stratified
from quadfire.models.datasets import Dataset, ImageDataset, Samples
from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.average import Average
from quadfire.models.training.batches import draw_order, in_order, read_batches
from quadfire.models.training.losses import tet_loss
from quadfire.models.training.mixing import mixed
from quadfire.models.training.optimizer import learning_rate, make_optimizer
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch, RunFile
from quadfire.models.training.stages import set_steps, steps_at

__all__ = ["OutOfTime", "Progress", "Subset", "Trainable", "Trainer", "measure"]

#: Seconds between two states of a run within an epoch.
SAVE_SECONDS = 300.0


class Trainable(Protocol):
    """What `fit` and `accuracy` ask of a network: `SpikingMLP`, `GridNetwork` have it."""

    @property
    def rates(self) -> list[float]: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def parameters(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


class OutOfTime(Exception):
    """A run stopped as its time was over. Its state is kept, and it can go on from there."""


class Progress:
    """Where an epoch is after a batch: `epoch`, `batch` of `batches`.

    loss, accuracy and rates are those of this process's part so far. They are read from the device
    when they are asked for, so a GPU waits for nobody who does not look.
    """

    def __init__(self, epoch: int, batch: int, batches: int, totals: Tensor, network: Trainable):
        self.epoch, self.batch, self.batches = epoch, batch, batches
        self._totals, self._network = totals, network

    @property
    def loss(self) -> float:
        return (self._totals[0] / self._totals[2]).item()

    @property
    def accuracy(self) -> float:
        return (self._totals[1] / self._totals[2]).item()

    @property
    def rates(self) -> list[float]:
        return self._network.rates


class Subset:
    """Some of the samples of a set, by their indices."""

    def __init__(self, samples: Samples, index: Tensor):
        self.samples, self.index, self.seeded = samples, index, samples.seeded

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.samples.batch(self.index[index], seeds)


def _held_back(samples: Samples, count: int) -> tuple[Samples, Samples | None]:
    """(training, validation) samples: `count` of all are held back, equally many of each class."""
    if not count:
        return samples, None
    labels = getattr(samples, "labels", None)
    if labels is None or samples.seeded:
        raise ValueError("validation samples can be held back of images in memory only")
    labels = labels.numpy()
    classes = int(labels.max()) + 1
    smallest = int(np.bincount(labels, minlength=classes).min())
    if count % classes or not 0 < count // classes < smallest:
        raise ValueError(f"validation samples must be a multiple of {classes}, the classes, and "
                         f"fewer than {smallest} of each, not {count} in all")
    train, held = map(torch.from_numpy, stratified(labels, [count // classes] * classes))
    return Subset(samples, train), Subset(samples, held)


class Trainer:
    """A network, its optimiser and everything else that a batch needs.

    | attribute | meaning |
    |---|---|
    | `network`, `model` | the network; the same, or DistributedDataParallel around it |
    | `samples`, `validation` | what it trains on, and what is held back |
    | `generator` | draws the order of the samples and their augmentation |
    | `smallest` | samples that a batch must have at least |
    | `totals` | sums over the epoch so far: loss, right answers, samples |
    """

    def __init__(self, network: Trainable, dataset: Dataset | ImageDataset, options: Options,
                 watch: Callable[[Progress], None], device: torch.device, workers: int):
        self.network, self.dataset, self.options = network, dataset, options
        self.samples, self.validation = _held_back(dataset.train_samples, options.validate)
        self.watch, self.device, self.workers = watch, device, workers
        self.world = parallel.world_size()
        if self.world > 1 and (options.mixup or options.cutmix):
            raise ValueError("mixup and CutMix are for one process")
        self.generator = torch.Generator().manual_seed(options.seed)
        # tdBN divides by the variance of a batch, so a batch of one sample is too small
        self.smallest = max(self.world, min(2, options.batch, len(self.samples)))
        if isinstance(network, nn.Module):
            network.to(device)
            parallel.synchronise(network, options.synchronise)
        self.optimizer = make_optimizer(network, options)
        self.schedule = learning_rate(
            self.optimizer, options.epochs * math.ceil(len(self.samples) / options.batch),
            options.schedule, options.warm_up)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "float16")
        self.model: Any = network
        self.average = None
        if options.average:
            assert isinstance(network, nn.Module)
            self.average = Average(network, options.average)
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)
        if options.stages and options.stages[-1][0] != getattr(network, "steps", None):
            raise ValueError(f"the last of the stages {options.stages!r} must be at the network's "
                             f"own T = {getattr(network, 'steps', None)}")

    def run_file(self, path: Path | None) -> RunFile:
        """The file that keeps this run."""
        return RunFile(path, self, {"options": self.options.config(), "dataset": self.dataset.name,
                                    "processes": self.world})

    def distribute(self) -> None:
        """Share the gradients with the other processes from now on."""
        if self.world > 1:
            assert isinstance(self.network, nn.Module)
            self.model = nn.parallel.DistributedDataParallel(self.network)

    def epoch(self, number: int, run: RunFile, deadline: float = math.inf) -> Epoch:
        """Train on all samples once, from where `run` says. Raises OutOfTime at the deadline.

        deadline: of `time.monotonic`.
        """
        steps = self._set_steps(number)
        begun = run.within
        run.within = None
        if begun is not None:
            self.generator.set_state(begun.order)
        order = self.generator.get_state()
        sizes, wanted = draw_order(self.samples, self.options.batch, self.smallest, self.generator)
        done = 0
        self.totals.zero_()
        if begun is not None:
            done = begun.batches
            self.generator.set_state(begun.now)
            self.totals.copy_(begun.totals)
        saved = time.monotonic()
        batches = read_batches(self.samples, wanted[done:], self.workers)
        for step, (images, labels) in enumerate(batches, done):
            self._batch(images, labels, sizes[step])
            self.watch(Progress(number, step + 1, len(sizes), self.totals, self.network))
            now = time.monotonic()
            late = now > deadline
            if run.path is not None and step + 1 < len(sizes) \
                    and (late or now - saved > SAVE_SECONDS):
                run.save_within(order, step + 1)
                saved = now
            if late and step + 1 < len(sizes):
                raise OutOfTime
        # rates are those of the last batch
        part = len(wanted[-1][0]) / sizes[-1]
        loss_sum, right, seen, *rates = parallel.add_up(
            [*self.totals.tolist(), *(rate * part for rate in self.network.rates)], self.device)
        return Epoch(number, loss_sum / seen, right / seen, rates, steps, self._validate())

    def _set_steps(self, number: int) -> int:
        """Let the network run the T of this epoch, and return that."""
        if self.options.stages and isinstance(self.network, nn.Module):
            set_steps(self.network, steps_at(self.options.stages, number))
        return getattr(self.network, "steps", 0)

    def _validate(self) -> float | None:
        """Accuracy on what is held back, at the last T, with averaged weights."""
        if self.validation is None:
            return None
        steps = getattr(self.network, "steps", 0)
        if self.options.stages and isinstance(self.network, nn.Module):
            set_steps(self.network, self.options.stages[-1][0])
        if self.average is None:
            share = measure(self.network, self.validation, batch=self.options.batch,
                            device=self.device, workers=self.workers)[0]
        else:
            with self.average.shown():
                share = measure(self.network, self.validation, batch=self.options.batch,
                                device=self.device, workers=self.workers)[0]
        if self.options.stages and isinstance(self.network, nn.Module):
            set_steps(self.network, steps)
        self.network.train()
        return share

    def _batch(self, images: Tensor, labels: Tensor, count: int) -> None:
        """Train on this process's part of a batch of `count` samples."""
        options = self.options
        images, labels = images.to(self.device), labels.to(self.device)
        if options.augment is not None:
            draws = options.augment.draw(count, self.generator)
            images = _changed(images, options.augment, tuple(map(parallel.share, draws)),
                              self.dataset.shape)
        targets = [(labels, 1.0)]
        if options.mixup or options.cutmix:
            images, others, share = mixed(images, labels, options.mixup, options.cutmix,
                                          self.generator)
            targets = [(labels, share), (others, 1 - share)]
        with torch.autocast(self.device.type, getattr(torch, options.precision),
                            enabled=options.precision != "float32"):
            loss, logits = _loss(self.model, images, targets, options)
        self.optimizer.zero_grad()
        # the mean of the gradients of all processes is that of the whole batch
        share = len(labels) * self.world
        self.scaler.scale(loss * (share / count) if share != count else loss).backward()
        if options.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), options.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update()
        with torch.no_grad():
            self.totals[0] += loss.detach() * len(labels)
            self.totals[1] += (logits.argmax(1) == labels).sum()
            self.totals[2] += len(labels)


def _changed(images: Tensor, augment: Augment | ImageAugment, draws: tuple[Tensor, ...],
             shape: tuple[int, ...]) -> Tensor:
    """Images of `shape`, or flat ones, after the augmentation."""
    if images.ndim != 2:
        return augment.apply(images, draws)
    return augment.apply(images.view(-1, *shape), draws).view(images.shape)


def _loss(model: Any, images: Tensor, targets: list[tuple[Tensor, float]], options: Options
          ) -> tuple[Tensor, Tensor]:
    """(loss, logits) of a batch. targets: labels and their weights, whose sum is 1."""
    if options.loss == "tet":
        outputs = model(images, every_step=True)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        losses = [tet_loss(outputs, labels, weight=options.tet_weight, target=options.tet_target,
                           smoothing=options.smoothing) for labels, _ in targets]
        logits = outputs.mean(0)
    else:
        logits = model(images)
        losses = [functional.cross_entropy(logits, labels, label_smoothing=options.smoothing)
                  for labels, _ in targets]
    if len(losses) == 1:
        return losses[0], logits
    weights = losses[0].new_tensor([weight for _, weight in targets])
    return torch.stack(losses) @ weights, logits


@torch.no_grad()
def measure(network: Trainable, samples: Samples, *, batch: int = 100,
            device: torch.device | str = "cpu", workers: int = 0) -> tuple[float, list[float]]:
    """(accuracy 0..1, spike rate of each layer) of a network in eval mode, `batch` samples at once.

    Several processes take a part each, and all of them return the same.
    """
    device = torch.device(device)
    network.eval()
    if isinstance(network, nn.Module):
        network.to(device)
    right, rates = 0, [0.0] * len(network.rates)
    for images, labels in _parts(samples, batch, workers):
        labels = labels.to(device)
        right += int((network(images.to(device)).argmax(1) == labels).sum())
        rates = [total + rate * len(labels) for total, rate in
                 zip(rates, network.rates, strict=True)]
    right, *rates = parallel.add_up([right, *rates], device)
    return right / len(samples), [rate / len(samples) for rate in rates]


def _parts(samples: Samples, batch: int, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of the samples, in batches."""
    return read_batches(samples, in_order(samples, batch), workers)
