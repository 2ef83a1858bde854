"""What a network achieves: accuracy and spike rates."""

from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.datasets import Samples
from quadfire.models.training import parallel
from quadfire.models.training.batches import in_order, read_batches
from quadfire.models.training.trainer import Trainable

__all__ = ["accuracy", "measure"]


@torch.no_grad()
def accuracy(network: Trainable, images: Tensor, labels: Tensor) -> float:
    """Share of `images` whose largest logit is that of the label, in eval mode, 0..1."""
    network.eval()
    return (network(images).argmax(1) == labels).double().mean().item()


@torch.no_grad()
def measure(network: Trainable, samples: Samples, *, batch: int = 100,
            device: torch.device | str = "cpu", workers: int = 0, precision: str = "float32"
            ) -> tuple[float, list[float]]:
    """(accuracy 0..1, spike rate of each layer) of a network in eval mode, `batch` samples at once.

    precision: of products of matrices, as in `Options`. Several processes take a part each, and all
    of them return the same.
    """
    device = torch.device(device)
    network.eval()
    if isinstance(network, nn.Module):
        network.to(device)
    right, rates = torch.zeros((), dtype=torch.int64, device=device), [0.0] * len(network.rates)
    for images, labels in read_batches(samples, in_order(samples, batch), workers):
        labels = labels.to(device)
        with torch.autocast(device.type, getattr(torch, precision),
                            enabled=precision != "float32"):
            logits: Any = network(images.to(device))
        right += (logits.argmax(1) == labels).sum()
        rates = [total + rate * len(labels) for total, rate in
                 zip(rates, network.rates, strict=True)]
    found, *rates = parallel.add_up([right.item(), *rates], device)
    return found / len(samples), [rate / len(samples) for rate in rates]
