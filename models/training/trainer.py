"""What trains: a network, its optimiser and everything else that a batch needs."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.average import Average
from quadfire.models.training.batches import draw_order, read_batches
from quadfire.models.training.losses import tet_loss
from quadfire.models.training.mixing import mixed
from quadfire.models.training.optimizer import Schedule, make_optimizer
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch, RunFile, Within
from quadfire.models.training.stages import Staged
from quadfire.models.training.validation import split

__all__ = ["Progress", "Trainable", "Trainer"]


class Trainable(Protocol):
    """What `fit` and `accuracy` ask of a network: `SpikingMLP`, `GridNetwork` have it."""

    @property
    def rates(self) -> list[float]: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def parameters(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


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


class Trainer:
    """A network, its optimiser and everything else that a batch needs.

    | attribute | meaning |
    |---|---|
    | `network`, `model` | the network; the same, or DistributedDataParallel around it |
    | `samples`, `validation` | what it trains on, and what is held back |
    | `generator` | draws the order of the samples and their augmentation |
    | `smallest` | samples that a batch must have at least |
    | `totals` | sums over the epoch so far: loss, right answers, samples |
    | `staged` | T and image size, epoch by epoch |
    """

    def __init__(self, network: Trainable, dataset: Dataset | ImageDataset, options: Options,
                 watch: Callable[[Progress], None], device: torch.device, workers: int):
        self.network, self.dataset, self.options = network, dataset, options
        self.samples, self.validation = split(dataset.train_samples, options.validate)
        self.watch, self.device, self.workers = watch, device, workers
        self.world = parallel.world_size()
        if options.mixup or options.cutmix:
            if self.world > 1:
                raise ValueError("mixup and CutMix are for one process")
            if dataset.steps or dataset.flat:
                raise ValueError(f"mixup and CutMix are for images, not for {dataset.name}")
        self.generator = torch.Generator().manual_seed(options.seed)
        # tdBN divides by the variance of a batch, so a batch of one sample is too small
        self.smallest = max(self.world, min(2, options.batch, len(self.samples)))
        if isinstance(network, nn.Module):
            network.to(device)
            parallel.synchronise(network, options.synchronise)
        self.staged = Staged(network, dataset, options.stages, options.sizes)
        self.optimizer = make_optimizer(network, options)
        self.rate = Schedule(
            options, options.epochs * math.ceil(len(self.samples) / options.batch))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.rate)
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "float16")
        self.model: Any = network
        self.average = None
        if options.average:
            assert isinstance(network, nn.Module)
            self.average = Average(network, options.average)
        self.totals = torch.zeros(3, dtype=torch.float64, device=device)

    def run_file(self, path: Path | None) -> RunFile:
        """The file that keeps this run."""
        return RunFile(path, self, {"options": self.options.config(), "dataset": self.dataset.name,
                                    "processes": self.world})

    def distribute(self) -> None:
        """Share the gradients with the other processes from now on."""
        if self.world > 1:
            assert isinstance(self.network, nn.Module)
            self.model = nn.parallel.DistributedDataParallel(self.network)

    def epoch(self, number: int, begun: Within | None,
              between: Callable[[Tensor, int, float], None]) -> Epoch:
        """Train on all samples once, or on those that are left where the epoch was cut.

        between: called after every batch but the last, with the state of the generator at the start
        of the epoch, the batches that are done, and the seconds that they have taken.
        """
        steps, size = self.staged.enter(number)
        if begun is not None:
            self.generator.set_state(begun.order)
        order = self.generator.get_state()
        sizes, wanted = draw_order(self.samples, self.options.batch, self.smallest, self.generator)
        done, before, rate = 0, 0.0, 0.0
        self.totals.zero_()
        if begun is not None:
            done, before = begun.batches, begun.seconds
            self.generator.set_state(begun.now)
            self.totals.copy_(begun.totals)
        start = time.perf_counter()
        batches = read_batches(self.samples, wanted[done:], self.workers)
        for step, (images, labels) in enumerate(batches, done + 1):
            rate = float(self.schedule.get_last_lr()[0])
            self._batch(images, labels, sizes[step - 1])
            self.watch(Progress(number, step, len(sizes), self.totals, self.network))
            if step < len(sizes):
                between(order, step, before + time.perf_counter() - start)
        # rates are those of the last batch
        part = len(wanted[-1][0]) / sizes[-1]
        loss_sum, right, seen, *rates = parallel.add_up(
            [*self.totals.tolist(), *(rate * part for rate in self.network.rates)], self.device)
        if not math.isfinite(loss_sum):
            raise ValueError(f"the loss of epoch {number} is {loss_sum:g}: the run diverges; try a "
                             "lower rate, or clip gradients")
        return Epoch(number, loss_sum / seen, right / seen, rates, steps, size=size, rate=rate,
                     seconds=before + time.perf_counter() - start)

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
            images, others, share = mixed(images.view(-1, *self.dataset.shape), labels,
                                          options.mixup, options.cutmix, self.generator)
            targets = [(labels, share), (others, 1 - share)]
        images = self.staged.images(images)
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
