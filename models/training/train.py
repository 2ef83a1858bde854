"""Training a network, and measuring it."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.datasets import Dataset, ImageDataset, Samples
from quadfire.models.training.losses import tet_loss
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch, RunFile

__all__ = ["Progress", "Trainable", "accuracy", "fit", "measure"]


class Trainable(Protocol):
    """What `fit` and `accuracy` ask of a network: `SpikingMLP` and `GridNetwork` have it."""

    @property
    def rates(self) -> list[float]: ...
    def __call__(self, x: Tensor) -> Tensor: ...
    def parameters(self) -> Any: ...
    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...


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


def _schedule(optimizer: torch.optim.Optimizer, total: int
              ) -> torch.optim.lr_scheduler.LambdaLR:
    """A linear warm-up in a twentieth of `total` steps, and a cosine to 0."""
    warmup = max(1, total // 20)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(
        (step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / total)))


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
    schedule = _schedule(optimizer, options.epochs * math.ceil(len(samples) / options.batch))
    scaler = torch.amp.GradScaler(device.type, enabled=options.precision == "float16")
    run = RunFile(state, network, optimizer, schedule, scaler, generator,
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
                loss, logits = _loss(model, images, labels, options)
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
