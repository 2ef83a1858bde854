"""Any network as a graph of layers that sum branches: tdBN folded away, pools with their readers.

    I = sum over branches of weight * source + bias,   then the neuron, or the readout

A pool is no layer: it goes with every branch that reads it. The 1/k^2 of a mean goes into the
weights. The mean over a whole image is such a pool, and a 1 x 1 kernel; the dense layer behind a
map is a kernel as large as the map. All weights are float64, exact up to their rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.integer import INPUT, Pool, Shape
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks import ConvNet, ImageNetwork, ResNet
from quadfire.models.networks.layers import ConvLayer, DenseLayer
from quadfire.models.networks.residual import Block
from quadfire.models.neurons import SpikingNeuron

__all__ = ["Folded", "FoldedBranch", "FoldedLayer", "fold"]


@dataclass(frozen=True, kw_only=True)
class FoldedBranch:
    """`quadfire.models.integer.network.ConvBranch` in real numbers, or where weight is [outputs] IdentityBranch."""

    source: int
    weight: Tensor
    stride: int = 1
    padding: int = 0
    pool: Pool | None = None


@dataclass(frozen=True, kw_only=True)
class FoldedLayer:
    """Branches, bias float64 [outputs], and the neuron of the network itself, None: readout."""

    name: str
    branches: tuple[FoldedBranch, ...]
    bias: Tensor
    neuron: SpikingNeuron | None


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A network in eval mode; `readout` is its module for the logits."""

    input_shape: Shape
    layers: tuple[FoldedLayer, ...]
    steps: int
    readout: nn.Linear


@dataclass(frozen=True)
class _Map:
    """A map on its way: the layer it comes from, what pools it, its shape after that."""

    source: int
    shape: Shape
    pool: Pool | None = None

    def pooled(self, pool: Pool) -> "_Map":
        shape = pool.output_shape(self.shape)
        if self.pool is not None:
            plain = all(p.size == p.stride and not p.padding for p in (self.pool, pool))
            if self.pool.kind != pool.kind or not plain:
                raise ValueError("a pool of a pool must be of the same kind, both without overlap "
                                 "and padding: put a layer between them")
            size = self.pool.size * pool.size
            pool = Pool(kind=pool.kind, size=size, stride=size)
        return _Map(self.source, shape, pool)

    @property
    def scale(self) -> float:
        """What a spike counts, 1/k^2 for a mean."""
        return 1.0 if self.pool is None else 1 / self.pool.count

    def branch(self, weight: Tensor, stride: int = 1, padding: int = 0) -> FoldedBranch:
        return FoldedBranch(source=self.source, weight=weight * self.scale, stride=stride,
                            padding=padding, pool=self.pool)


class _Graph:
    """Layers so far, and the shapes of their maps."""

    def __init__(self, shape: Shape):
        self.layers: list[FoldedLayer] = []
        self.input = _Map(INPUT, shape)

    def add(self, name: str, at: _Map, branches: tuple[FoldedBranch, ...], bias: Tensor,
            neuron: SpikingNeuron | None) -> _Map:
        """A layer whose first branch reads `at`; its map."""
        first = branches[0]
        sides = [(n + 2 * first.padding - k) // first.stride + 1
                 for n, k in zip(at.shape[1:], first.weight.shape[2:], strict=True)]
        self.layers.append(FoldedLayer(name=name, branches=branches, bias=bias, neuron=neuron))
        return _Map(len(self.layers) - 1, (len(bias), sides[0], sides[1]))

    def conv(self, at: _Map, layer: ConvLayer, name: str) -> _Map:
        weight, bias = layer.norm.fold(layer.conv.weight)
        return self.add(name, at, (at.branch(weight, *_geometry(layer.conv)),), bias, layer.neuron)

    def dense(self, at: _Map, layer: DenseLayer, name: str) -> _Map:
        weight, bias = layer.norm.fold(layer.linear.weight)
        return self.add(name, at, (at.branch(weight.view(-1, *at.shape)),), bias, layer.neuron)

    def readout(self, at: _Map, layer: nn.Linear) -> None:
        weight, bias = (value.detach().double() for value in (layer.weight, layer.bias))
        self.add("readout", at, (at.branch(weight.view(-1, *at.shape)),), bias, None)


def _geometry(conv: nn.Conv2d) -> tuple[int, int]:
    """(stride, padding)"""
    return conv.stride[0], int(conv.padding[0])


def _pool(module: nn.Module) -> Pool:
    def number(value: Any) -> int:
        return value if isinstance(value, int) else value[0]

    kind = "sum" if isinstance(module, nn.AvgPool2d) else "max"
    return Pool(kind=kind, size=number(module.kernel_size), stride=number(module.stride),
                padding=number(module.padding))


def _mlp(network: SpikingMLP, graph: _Graph) -> None:
    at = graph.input
    for index, layer in enumerate(network.layers):
        at = graph.dense(at, layer, f"hidden{index}")
    graph.readout(at, network.readout)


def _convolutions(network: ConvNet, graph: _Graph) -> None:
    at = graph.input
    for module in network.layers:
        number = len(graph.layers)
        if isinstance(module, ConvLayer):
            at = graph.conv(at, module, f"conv{number}")
        elif isinstance(module, DenseLayer):
            at = graph.dense(at, module, f"hidden{number}")
        else:
            at = at.pooled(_pool(module))
    graph.readout(at, network.readout)


def _shortcut(at: _Map, weight: Tensor) -> FoldedBranch:
    """The spikes themselves, times weight [channels]; of a pooled map, a diagonal 1 x 1 kernel."""
    if at.pool is not None:
        return at.branch(torch.diag(weight)[:, :, None, None])
    return FoldedBranch(source=at.source, weight=weight)


def _residual(network: ResNet, graph: _Graph) -> None:
    at = graph.conv(graph.input, network.stem, "stem")
    if isinstance(network.pool, nn.MaxPool2d):
        at = at.pooled(_pool(network.pool))
    for number, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        inner = graph.conv(at, block.first, f"block{number}.first")
        weight, bias = block.norm.fold(block.conv.weight)
        main = inner.branch(weight, *_geometry(block.conv))
        if isinstance(block.shortcut, nn.Conv2d):
            weight, offset = block.shortcut_norm.fold(block.shortcut.weight)
            short = at.branch(weight, *_geometry(block.shortcut))
        else:
            weight, offset = block.shortcut_norm.fold(torch.ones(len(bias), 1))
            short = _shortcut(at, weight[:, 0])
        at = graph.add(f"block{number}", inner, (main, short), bias + offset, block.neuron)
    if at.shape[1] != at.shape[2]:
        raise ValueError(f"the mean over a map of {at.shape[1]} x {at.shape[2]} is no square pool")
    if at.shape[1] > 1:
        at = at.pooled(Pool(kind="sum", size=at.shape[1], stride=at.shape[1]))
    if network.hidden is not None:
        at = graph.dense(at, network.hidden, "hidden")
    graph.readout(at, network.readout)


FOLDS: dict[type, Callable[[Any, _Graph], None]] = {
    SpikingMLP: _mlp, ConvNet: _convolutions, ResNet: _residual}


@torch.no_grad()
def fold(network: SpikingMLP | ImageNetwork) -> Folded:
    """The graph of a network. Raises ValueError for what the array has no layer for."""
    if type(network) not in FOLDS:
        raise ValueError(f"a {type(network).__name__} cannot be folded, only "
                         f"{', '.join(kind.__name__ for kind in FOLDS)}")
    shape = (network.sizes[0], 1, 1) if isinstance(network, SpikingMLP) else network.input_shape
    graph = _Graph(shape)
    FOLDS[type(network)](network, graph)
    return Folded(input_shape=shape, layers=tuple(graph.layers), steps=network.steps,
                  readout=network.readout)
