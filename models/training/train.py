"""Training a network, and measuring it."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.datasets import Dataset, ImageDataset, Samples
from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.batches import draw_order, in_order, read_batches
from quadfire.models.training.losses import tet_loss
from quadfire.models.training.optimizer import learning_rate, make_optimizer
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch, RunFile

__all__ = ["Progress", "Trainable", "accuracy", "fit", "measure"]


class Trainable(Protocol):
    """What `fit` and `accuracy` ask of a network: `SpikingMLP`, `GridNetwork` have it."""

    @property
    def rates(self) -> list[float]: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def parameters(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


class Progress(NamedTuple):
    """Where an epoch is after a batch. loss, accuracy and rates: of this process's part so far."""

    epoch: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    rates: list[float]


# Training ----------------------------------------------------------------------------------------


class _Trainer:
    """A network, its optimiser and everything else that a batch needs.

    | attribute | meaning |
    |---|---|
    | `network`, `model` | the network; the same, or DistributedDataParallel around it |
    | `generator` | draws the order of the samples and their augmentation |
    | `smallest` | samples that a batch must have at least |
    """

    def __init__(self, network: Trainable, dataset: Dataset | ImageDataset, options: Options,
                 watch: Callable[[Progress], None], device: torch.device, workers: int):
        self.network, self.dataset, self.options = network, dataset, options
        self.samples, self.watch = dataset.train_samples, watch
        self.device, self.workers, self.world = device, workers, parallel.world_size()
        self.generator = torch.Generator().manual_seed(options.seed)
        # tdBN divides by the variance of a batch, so a batch of one sample is too small
        self.smallest = max(self.world, min(2, options.batch, len(self.samples)))
        if isinstance(network, nn.Module):
            network.to(device)
            parallel.synchronise(network, options.synchronise)
        self.optimizer = make_optimizer(network, options)
        self.schedule = learning_rate(
            self.optimizer, options.epochs * math.ceil(len(self.samples) / options.batch))
        self.scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "float16")
        self.model: Any = network

    def run_file(self, path: Path | None) -> RunFile:
        """The file that keeps this run."""
        return RunFile(path, self.network, self.optimizer, self.schedule, self.scaler,
                       self.generator, {"options": self.options.config(),
                                        "dataset": self.dataset.name, "processes": self.world})

    def distribute(self) -> None:
        """Share the gradients with the other processes from now on."""
        if self.world > 1:
            assert isinstance(self.network, nn.Module)
            self.model = nn.parallel.DistributedDataParallel(self.network)

    def epoch(self, number: int) -> Epoch:
        """Train on all samples once."""
        loss_sum, right, seen = 0.0, 0, 0
        sizes, wanted = draw_order(self.samples, self.options.batch, self.smallest, self.generator)
        batches = read_batches(self.samples, wanted, self.workers)
        for step, (images, labels) in enumerate(batches):
            loss, found = self._batch(images, labels, sizes[step])
            loss_sum += loss * len(labels)
            right += found
            seen += len(labels)
            self.watch(Progress(number, step + 1, len(sizes), loss_sum / seen, right / seen,
                                self.network.rates))
        # rates are those of the last batch
        part = len(wanted[-1][0]) / sizes[-1]
        loss_sum, right, seen, *rates = parallel.add_up(
            [loss_sum, right, seen, *(rate * part for rate in self.network.rates)], self.device)
        return Epoch(number, loss_sum / seen, right / seen, rates)

    def _batch(self, images: Tensor, labels: Tensor, count: int) -> tuple[float, int]:
        """(loss, right answers) of this process's part of a batch of `count` samples."""
        options = self.options
        images, labels = images.to(self.device), labels.to(self.device)
        if options.augment is not None:
            draws = options.augment.draw(count, self.generator)
            images = _changed(images, options.augment, tuple(map(parallel.share, draws)),
                              self.dataset.shape)
        with torch.autocast(self.device.type, getattr(torch, options.precision),
                            enabled=options.precision != "float32"):
            loss, logits = _loss(self.model, images, labels, options)
        self.optimizer.zero_grad()
        # the mean of the gradients of all processes is that of the whole batch
        share = len(labels) * self.world
        self.scaler.scale(loss * (share / count) if share != count else loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return loss.item(), int((logits.argmax(1) == labels).sum())


def _changed(images: Tensor, augment: Augment | ImageAugment, draws: tuple[Tensor, ...],
             shape: tuple[int, ...]) -> Tensor:
    """Images of `shape`, or flat ones, after the augmentation."""
    if images.ndim != 2:
        return augment.apply(images, draws)
    return augment.apply(images.view(-1, *shape), draws).view(images.shape)


def _loss(model: Any, images: Tensor, labels: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """(loss, logits) of a batch."""
    if options.loss == "tet":
        outputs = model(images, every_step=True)
        outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
        return tet_loss(outputs, labels, weight=options.tet_weight, target=options.tet_target,
                        smoothing=options.smoothing), outputs.mean(0)
    logits = model(images)
    return functional.cross_entropy(logits, labels, label_smoothing=options.smoothing), logits


def fit(network: Trainable, dataset: Dataset | ImageDataset, options: Options,
        report: Callable[[Epoch], None] = lambda _: None, *,
        watch: Callable[[Progress], None] = lambda _: None, state: Path | None = None,
        device: torch.device | str = "cpu", workers: int = 0) -> Epoch:
    """Train on the training set of `dataset`. Returns the last epoch; the last one counts.

    | argument | meaning |
    |---|---|
    | `report` | called after every epoch |
    | `watch` | called after every batch |
    | `state` | file that keeps the run after every epoch, see `resume` |
    | `workers` | processes that read batches ahead; they change nothing but the time |

    The held-out samples are not looked at. A run repeats to the bit on one machine with one number
    of threads and of processes.

    If the file `state` is there already, its epochs are reported, and the run goes on from it. It
    comes to the same weights as if it had not been cut short. Raises CheckpointError if the file is
    of a run with other options.

    A last batch of a single sample is left out, because tdBN would divide by its variance, 0.
    Where several processes train (`parallel`), each takes its part of every batch. A last batch of
    fewer samples than processes is left out then, and running means are those of the first process.
    """
    device = torch.device(device)
    if options.precision == "float16" and device.type != "cuda":
        raise ValueError("float16 is for GPUs; use bfloat16 or float32")
    if parallel.world_size() > min(options.batch, len(dataset.train_samples)):
        raise ValueError(f"{parallel.world_size()} processes cannot share batches of "
                         f"{options.batch}")
    trainer = _Trainer(network, dataset, options, watch, device, workers)
    run = trainer.run_file(state)
    epoch = run.resume()
    for earlier in run.history:
        report(earlier)
    trainer.distribute()
    network.train()
    for number in range(epoch.number + 1, options.epochs + 1):
        epoch = trainer.epoch(number)
        run.save(epoch)
        report(epoch)
    if isinstance(network, nn.Module):
        parallel.share_buffers(network)
    network.eval()
    return epoch


# Measuring ---------------------------------------------------------------------------------------


@torch.no_grad()
def accuracy(network: Trainable, images: Tensor, labels: Tensor) -> float:
    """Share of `images` whose largest logit is that of the label, in eval mode, 0..1."""
    network.eval()
    return (network(images).argmax(1) == labels).double().mean().item()


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
    for images, labels in read_batches(samples, in_order(samples, batch), workers):
        labels = labels.to(device)
        right += int((network(images.to(device)).argmax(1) == labels).sum())
        rates = [total + rate * len(labels) for total, rate in
                 zip(rates, network.rates, strict=True)]
    right, *rates = parallel.add_up([right, *rates], device)
    return right / len(samples), [rate / len(samples) for rate in rates]
