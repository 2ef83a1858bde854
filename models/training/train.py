"""Training a network, and measuring it."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from quadfire.models.datasets import Dataset, ImageDataset
from quadfire.models.training import parallel
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch
from quadfire.models.training.trainer import OutOfTime, Progress, Trainable, Trainer, measure

__all__ = ["OutOfTime", "Progress", "Trainable", "accuracy", "fit", "measure"]


def fit(network: Trainable, dataset: Dataset | ImageDataset, options: Options,
        report: Callable[[Epoch], None] = lambda _: None, *,
        watch: Callable[[Progress], None] = lambda _: None, state: Path | None = None,
        device: torch.device | str = "cpu", workers: int = 0,
        minutes: float = math.inf) -> Epoch:
    """Train on the training set of `dataset`. Returns the last epoch; the last one counts.

    | argument | meaning |
    |---|---|
    | `report` | called after every epoch |
    | `watch` | called after every batch |
    | `state` | file that keeps the run, after every epoch and every five minutes, see `resume` |
    | `workers` | processes that read batches ahead; they change nothing but the time |
    | `minutes` | after them the run stops, keeps its state, and raises OutOfTime |

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
    device, deadline = torch.device(device), time.monotonic() + 60 * minutes
    if options.precision == "float16" and device.type != "cuda":
        raise ValueError("float16 is for GPUs; use bfloat16 or float32")
    trainer = Trainer(network, dataset, options, watch, device, workers)
    if parallel.world_size() > min(options.batch, len(trainer.samples)):
        raise ValueError(f"{parallel.world_size()} processes cannot share batches of "
                         f"{options.batch}")
    if minutes < math.inf and state is None:
        raise ValueError("a run with a limit of minutes needs a file for its state")
    if minutes < math.inf and parallel.world_size() > 1:
        raise ValueError("a limit of minutes is for one process: clocks of several differ")
    run = trainer.run_file(state)
    epoch = run.resume()
    for earlier in run.history:
        report(earlier)
    trainer.distribute()
    network.train()
    for number in range(epoch.number + 1, options.epochs + 1):
        epoch = trainer.epoch(number, run, deadline)
        run.save(epoch)
        report(epoch)
        if time.monotonic() > deadline and number < options.epochs:
            raise OutOfTime
    if isinstance(network, nn.Module):
        parallel.share_buffers(network)
    if trainer.average is not None:
        trainer.average.keep()
    network.eval()
    return epoch


@torch.no_grad()
def accuracy(network: Trainable, images: Tensor, labels: Tensor) -> float:
    """Share of `images` whose largest logit is that of the label, in eval mode, 0..1."""
    network.eval()
    return (network(images).argmax(1) == labels).double().mean().item()
