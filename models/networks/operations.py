"""Synaptic operations: how much work a network is, counted while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.networks import ImageNetwork
from quadfire.models.networks.mlp import SpikingMLP

__all__ = ["active_operations", "counting", "dense_operations"]

Layers = nn.Linear | nn.Conv2d


def _reached(layer: Layers, x: Tensor) -> int:
    """The number of (input that is not 0, output that it is added to) pairs, over all of x.

    x is [..., inputs] or [N, C, H, W]. At the border of an image an input reaches fewer outputs of
    a convolution. Raises ValueError for a grouped convolution.
    """
    active = (x != 0).to(torch.float32)
    if isinstance(layer, nn.Linear):
        return int(active.sum(dtype=torch.float64)) * layer.out_features
    if layer.groups != 1:
        raise ValueError("grouped convolutions are not counted")
    kernel = active.new_ones(1, 1, *layer.kernel_size)
    windows = functional.conv2d(active.sum(1, keepdim=True), kernel, None, layer.stride,
                                layer.padding, layer.dilation)  # pyright: ignore
    return int(windows.sum(dtype=torch.float64)) * layer.out_channels


@contextmanager
def counting(network: nn.Module, every: bool = False) -> Iterator[dict[str, int]]:
    """Count the operations of each layer, in the dictionary that the context yields.

    A layer has an entry once it has run. With `every`, an input of 0 counts, too.
    """
    counts: dict[str, int] = {}

    def hook(name: str):
        def count(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = torch.ones_like(inputs[0]) if every else inputs[0]
            assert isinstance(layer, Layers)
            counts[name] = counts.get(name, 0) + _reached(layer, x)
        return count

    handles = [layer.register_forward_pre_hook(hook(name))
               for name, layer in network.named_modules() if isinstance(layer, Layers)]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def active_operations(network: SpikingMLP | ImageNetwork,
                      x: Tensor) -> tuple[Tensor, dict[str, int]]:
    """(logits, operations) of a batch: operations by layer in running order, summed over images.

    An operation is a weight that is added to a current because its input is not 0.

    | input           | one operation |
    |-----------------|---|
    | spikes          | an addition per spike and time step |
    | pixels          | a multiplication and addition, once for all time steps |
    | means of spikes | one per mean that is not 0, however many spikes it holds |
    """
    with counting(network) as counts:
        logits = network(x)
    return logits, counts


@torch.no_grad()
def dense_operations(network: SpikingMLP | ImageNetwork, x: Tensor) -> dict[str, int]:
    """`active_operations` with every input active: the work of hardware that skips nothing."""
    with counting(network, every=True) as counts:
        network(x)
    return counts
