"""Running means of tdBN, measured anew where T, size or weights are others than in training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from quadfire.models.datasets import Samples
from quadfire.models.neurons.tdbn import TDBatchNorm
from quadfire.models.training.batches import read_batches

__all__ = ["recalibrated"]


@contextmanager
def _averaging(norms: list[TDBatchNorm]) -> Iterator[None]:
    """Running means of these norms start anew and count every batch alike."""
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.mu.zero_()
        norm.var.zero_()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@torch.no_grad()
def recalibrated(network: nn.Module, samples: Samples, *, batches: int, batch: int, seed: int,
                 device: torch.device, workers: int = 0) -> None:
    """Measure the running means of tdBN anew, as the means over `batches` of training samples.

    The samples are a random choice by `seed`, without augmentation, at the network's present T. No
    weight changes.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator)[:batches * batch]
    seeds = torch.randint(1 << 62, order.shape, generator=generator) if samples.seeded else None
    wanted = [(index, None if seeds is None else seeds[start:start + len(index)])
              for start, index in zip(range(0, len(order), batch), order.split(batch), strict=True)]
    norms = [module for module in network.modules() if isinstance(module, TDBatchNorm)]
    training = network.training
    network.train()
    with _averaging(norms):
        for number, (images, _) in enumerate(read_batches(samples, wanted, workers)):
            for norm in norms:
                norm.momentum = 1 / (number + 1)
            network(images.to(device))
    network.train(training)
