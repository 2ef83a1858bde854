"""A run: epochs, their validation, states in between, a limit of time."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.training import parallel
from quadfire.models.training.measure import accuracy, measure
from quadfire.models.training.options import Options
from quadfire.models.training.recalibration import recalibrated
from quadfire.models.training.resume import Epoch, RunFile
from quadfire.models.training.trainer import Progress, Trainable, Trainer

__all__ = ["OutOfTime", "Progress", "Trainable", "accuracy", "fit", "measure"]


class OutOfTime(Exception):
    """A run stopped as its time was over, or as it was asked to. It can go on from its state.

    epochs, batches: whole epochs that are done, and batches of the next one.
    """

    def __init__(self, epochs: int, batches: int = 0):
        super().__init__(f"stopped after {epochs} epochs and {batches} batches of the next one")
        self.epochs, self.batches = epochs, batches


class _Clock:
    """Keeps a run within its epochs, and stops it when its time is over.

    minutes: of this call. save_minutes: between two states within an epoch. stop: whether to stop
    now. Where several processes train, all do what the first one finds, after every LOOK-th batch.
    """

    GO_ON, KEEP, STOP = range(3)
    LOOK = 10

    def __init__(self, run: RunFile, device: torch.device, minutes: float, save_minutes: float,
                 stop: Callable[[], bool]):
        self.run, self.device, self.stop = run, device, stop
        self.deadline, self.pause = time.monotonic() + 60 * minutes, 60 * save_minutes
        self.saved, self.calls = time.monotonic(), 0

    def between(self, order: Tensor, batches: int, seconds: float) -> None:
        """After a batch: keep the run if that is due. Raises OutOfTime when its time is over."""
        self.calls += 1
        if self.run.path is None or (parallel.world_size() > 1 and self.calls % self.LOOK):
            return
        if (due := self._due()) != self.GO_ON:
            self.run.save_within(order, batches, seconds)
            self.saved = time.monotonic()
        if due == self.STOP:
            raise OutOfTime(len(self.run.history), batches)

    def after(self, last: bool) -> None:
        """After an epoch, which is kept already."""
        self.saved = time.monotonic()
        if not last and self._due() == self.STOP:
            raise OutOfTime(len(self.run.history))

    def _due(self) -> int:
        now = time.monotonic()
        return parallel.agreed(
            self.STOP if now >= self.deadline or self.stop() else
            self.KEEP if now >= self.saved + self.pause else self.GO_ON, self.device)


def fit(network: Trainable, dataset: Dataset | ImageDataset, options: Options,
        report: Callable[[Epoch], None] = lambda _: None, *,
        watch: Callable[[Progress], None] = lambda _: None, state: Path | None = None,
        prolong: bool = False, minutes: float = math.inf, save_minutes: float = 5.0,
        stop: Callable[[], bool] = lambda: False,
        checkpoint: Callable[[Epoch], None] | None = None, every: int = 1,
        device: torch.device | str = "cpu", workers: int = 0) -> Epoch:
    """Train on the training set of `dataset`. Returns the last epoch; the last one counts.

    | argument | meaning |
    |---|---|
    | `report` | called after every epoch |
    | `watch` | called after every batch |
    | `state` | file that keeps the run after every epoch and within it, see `resume` |
    | `prolong` | go on from `state` with other options, see `RunFile.resume` |
    | `minutes` | after them the run stops, keeps its state, and raises OutOfTime |
    | `save_minutes` | time between two states within an epoch |
    | `stop` | asked after every batch whether to stop in the same way |
    | `checkpoint` | called after each `every`-th epoch with the network as it would be used |
    | `workers` | processes that read batches ahead; they change nothing but the time |

    The held-out samples are not looked at. With `options.validate` some of the training set are
    kept out of training, and every epoch tells the accuracy on them. A run repeats to the bit
    on one machine with one number of threads and of processes.

    If the file `state` is there already, its epochs are reported, and the run goes on from it,
    also from within an epoch. It comes to the same weights as if it had not been cut short. Raises
    CheckpointError if the file is of a run with other options.

    A last batch of a single sample is left out, because tdBN would divide by its variance, 0.
    Where several processes train (`parallel`), each takes its part of every batch. A last batch of
    fewer samples than processes is left out then, and running means are those of the first process.
    """
    device = torch.device(device)
    if options.precision == "float16" and device.type != "cuda":
        raise ValueError("float16 is for GPUs; use bfloat16 or float32")
    if state is None and (minutes < math.inf or prolong):
        raise ValueError("a run that stops or is prolonged needs a file for its state")
    trainer = Trainer(network, dataset, options, watch, device, workers)
    if parallel.world_size() > min(options.batch, len(trainer.samples)):
        raise ValueError(f"{parallel.world_size()} processes cannot share batches of "
                         f"{options.batch}")
    run = trainer.run_file(state)
    epoch = run.resume(prolong)
    for earlier in run.history:
        report(earlier)
    clock = _Clock(run, device, minutes, save_minutes, stop)
    trainer.distribute()
    network.train()
    for number in range(epoch.number + 1, options.epochs + 1):
        begun, run.within = run.within, None
        epoch = _looked_at(trainer, trainer.epoch(number, begun, clock.between),
                           checkpoint if number % every == 0 else None)
        run.save(epoch)
        report(epoch)
        clock.after(number == options.epochs)
    _finish(trainer)
    return epoch


def _looked_at(trainer: Trainer, epoch: Epoch, checkpoint: Callable[[Epoch], None] | None
               ) -> Epoch:
    """The epoch with its validation. checkpoint: called with it, and with the network as used."""
    if trainer.validation is None and checkpoint is None:
        return epoch
    start = time.perf_counter()
    with _as_used(trainer):
        if trainer.validation is not None:
            share, _ = measure(trainer.network, trainer.validation, batch=trainer.options.batch,
                               device=trainer.device, workers=trainer.workers,
                               precision=trainer.options.precision)
            epoch = replace(epoch, validation=share)
        if checkpoint is not None and parallel.is_first():
            checkpoint(epoch)
    trainer.network.train()
    return replace(epoch, seconds=epoch.seconds + time.perf_counter() - start)


@contextmanager
def _as_used(trainer: Trainer) -> Iterator[None]:
    """The network inside the block as `_finish` would leave it: full T and size, averaged weights.

    Where `recalibrate` is on and either makes a difference, running means are measured anew. Those
    of the training come back behind the block.
    """
    network, average = trainer.network, trainer.average
    assert isinstance(network, nn.Module)
    parallel.share_buffers(network)
    anew = trainer.options.recalibrate and not (trainer.staged.whole and average is None)
    buffers = {name: value.clone() for name, value in network.named_buffers()} if anew else {}
    with nullcontext() if average is None else average.shown(), trainer.staged.shown():
        if anew:
            _recalibrate(trainer)
        yield
    for name, value in network.named_buffers():
        if name in buffers:
            value.copy_(buffers[name])


def _recalibrate(trainer: Trainer) -> None:
    """Measure the running means of the network anew, at its present T and size."""
    network, options = trainer.network, trainer.options
    assert isinstance(network, nn.Module)
    recalibrated(network, trainer.samples, batches=options.recalibrate, batch=options.batch,
                 seed=options.seed, device=trainer.device, workers=trainer.workers)


def _finish(trainer: Trainer) -> None:
    """Leave the network as it is to be used: averaged, at the full T and size, in eval mode."""
    network = trainer.network
    trainer.staged.restore()
    if trainer.average is not None:
        trainer.average.keep()
    if trainer.options.recalibrate:
        _recalibrate(trainer)
    if isinstance(network, nn.Module):
        parallel.share_buffers(network)
    network.eval()
