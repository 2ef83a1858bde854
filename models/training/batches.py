"""Batches of samples: their order in an epoch, and workers that read them ahead."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from quadfire.models.datasets import Samples
from quadfire.models.training import parallel

__all__ = ["Order", "draw_order", "in_order", "read_batches"]

#: Indices of a batch, and the seeds of its samples where these are cut out at random.
Wanted = tuple[Tensor, Tensor | None]


class Order(NamedTuple):
    """The batches of an epoch. sizes: samples of each, of all processes together.

    wanted: this process's part of each.
    """

    sizes: list[int]
    wanted: list[Wanted]


def draw_order(samples: Samples, batch: int, smallest: int, generator: torch.Generator) -> Order:
    """A random order of all samples, cut into batches; one of fewer than `smallest` is left out.

    All processes draw the same.
    """
    order = torch.randperm(len(samples), generator=generator)
    seeds = torch.randint(1 << 62, order.shape, generator=generator) if samples.seeded else None
    batches = [index for index in order.split(batch) if len(index) >= smallest]
    wanted: list[Wanted] = [
        (parallel.share(index), None if seeds is None else parallel.share(
            seeds[place * batch:][:len(index)]))
        for place, index in enumerate(batches)]
    return Order([len(index) for index in batches], wanted)


def in_order(samples: Samples, batch: int) -> list[Wanted]:
    """This process's part of the samples in batches, without seeds."""
    own_part = torch.arange(len(samples))[parallel.rank()::parallel.world_size()]
    return [(index, None) for index in own_part.split(batch) if len(index)]


class _BatchReader(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples as the workers of a DataLoader see them: one item is a batch."""

    def __init__(self, samples: Samples):
        self.samples = samples

    def __getitem__(self, wanted: Wanted) -> tuple[Tensor, Tensor]:  # pyright: ignore
        torch.set_num_threads(1)
        return self.samples.batch(*wanted)


def read_batches(samples: Samples, wanted: list[Wanted], workers: int
                 ) -> Iterator[tuple[Tensor, Tensor]]:
    """(samples, labels) of each batch, in order. `workers` processes read them ahead."""
    if not workers:
        return (samples.batch(*one) for one in wanted)
    # a generator of its own: the loader draws from it, and the global one must stay as it is
    return iter(DataLoader(_BatchReader(samples), batch_size=None, sampler=wanted,
                           num_workers=workers, generator=torch.Generator()))
