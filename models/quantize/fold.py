"""Folding: a trained network becomes a graph of layers that sum branches.

    I = sum over branches of weight * source + bias,    then a neuron or the readout

tdBN goes into the weights and biases. A pool becomes part of every branch that reads it, and the
1/k^2 of a mean goes into the weights. The mean over a whole image is such a pool before a 1 x 1
kernel. A fully connected layer behind a map is a kernel as large as the map.

All weights are float64, exact up to their rounding. `modules` refuses what cannot be folded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.integer import INPUT, Pair, PairField, Pool, Shape
from quadfire.models.networks import ConvNet, ImageNetwork, ResNet
from quadfire.models.networks.layers import ConvLayer, DenseLayer
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks.residual import Block
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.quantize import modules

__all__ = ["Folded", "FoldedBranch", "FoldedLayer", "fold"]


@dataclass(frozen=True, kw_only=True)
class FoldedBranch:
    """A `ConvBranch` in real numbers, or an `IdentityBranch` where weight is [outputs].

    weight: float64 [outputs, C, kh, kw] or [outputs]. The other fields are those of `ConvBranch`.
    """

    source: int
    weight: Tensor
    stride: PairField = PairField(1)
    padding: PairField = PairField(0)
    pool: Pool | None = None


@dataclass(frozen=True, kw_only=True)
class FoldedLayer:
    """Branches, a bias float64 [outputs], and the network's own neuron; None for the readout."""

    name: str
    branches: tuple[FoldedBranch, ...]
    bias: Tensor
    neuron: SpikingNeuron | None


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A folded network, equal to the network in eval mode.

    readout: the network's own module that computes the logits.
    """

    input_shape: Shape
    layers: tuple[FoldedLayer, ...]
    steps: int
    readout: nn.Linear


@dataclass(frozen=True)
class _Map:
    """A map between two layers: the layer that makes it, what pools it, and its pooled shape."""

    source: int
    shape: Shape
    pool: Pool | None = None

    def pooled(self, pool: Pool) -> "_Map":
        """This map after one more pool. Raises ValueError where two pools are no single one."""
        shape = pool.output_shape(self.shape)
        if self.pool is not None:
            plain = all(p.size == p.stride and not any(p.padding) for p in (self.pool, pool))
            if self.pool.kind != pool.kind or not plain:
                raise ValueError("a pool of a pool must be of the same kind, both without overlap "
                                 "and padding: put a layer between them")
            size = self.pool.size[0] * pool.size[0], self.pool.size[1] * pool.size[1]
            pool = Pool(kind=pool.kind, size=size, stride=size)
        return _Map(self.source, shape, pool)

    @property
    def scale(self) -> float:
        """What a spike counts: 1/k^2 for a mean, else 1."""
        return 1.0 if self.pool is None else 1 / self.pool.count

    def branch(self, weight: Tensor, stride: int | Pair = 1, padding: int | Pair = 0
               ) -> FoldedBranch:
        """A convolution that reads this map."""
        return FoldedBranch(source=self.source, weight=weight * self.scale, stride=stride,
                            padding=padding, pool=self.pool)

    def shortcut(self, weight: Tensor) -> FoldedBranch:
        """The spikes themselves times weight [channels]; pooled, a diagonal 1 x 1 kernel."""
        if self.pool is not None:
            return self.branch(torch.diag(weight)[:, :, None, None])
        return FoldedBranch(source=self.source, weight=weight)


class _Graph:
    """The layers so far. Every method adds one and returns its map.

    name: of the new layer. where: of the torch module, for errors.
    """

    def __init__(self, shape: Shape):
        self.layers: list[FoldedLayer] = []
        self.input = _Map(INPUT, shape)

    def add(self, name: str, at: _Map, branches: tuple[FoldedBranch, ...], bias: Tensor,
            neuron: SpikingNeuron | None) -> _Map:
        """Any layer; its first branch is a convolution that reads `at`."""
        first = branches[0]
        sides = [(n + 2 * padding - k) // stride + 1
                 for n, k, stride, padding in zip(at.shape[1:], first.weight.shape[2:],
                                                  first.stride, first.padding, strict=True)]
        self.layers.append(FoldedLayer(name=name, branches=branches, bias=bias, neuron=neuron))
        return _Map(len(self.layers) - 1, (len(bias), sides[0], sides[1]))

    def conv(self, at: _Map, layer: nn.Module, name: str, where: str) -> _Map:
        """Convolution, tdBN, neuron."""
        modules.check_kind(where, layer, ConvLayer)
        weight, bias, *geometry = modules.convolution(where, layer, "conv", "norm")
        return self.add(name, at, (at.branch(weight, *geometry),), bias,
                        modules.neuron(where, layer))

    def dense(self, at: _Map, layer: nn.Module, name: str, where: str) -> _Map:
        """Fully connected, tdBN, neuron."""
        modules.check_kind(where, layer, DenseLayer)
        weight, bias = modules.linear(where, layer)
        modules.check_inputs(where, weight, at.shape)
        return self.add(name, at, (at.branch(weight.view(-1, *at.shape)),), bias,
                        modules.neuron(where, layer))

    def readout(self, at: _Map, layer: nn.Module) -> None:
        """The last layer, without neurons."""
        weight, bias = modules.readout(layer)
        modules.check_inputs("readout", weight, at.shape)
        self.add("readout", at, (at.branch(weight.view(-1, *at.shape)),), bias, None)

    def block(self, at: _Map, block: nn.Module, number: int) -> _Map:
        """A residual block: a convolution, then a layer that adds a second one and the shortcut."""
        where = f"blocks.{number}"
        modules.check_kind(where, block, Block)
        assert isinstance(block, Block)
        inner = self.conv(at, block.first, f"block{number}.first", f"{where}.first")
        weight, bias, *geometry = modules.convolution(where, block, "conv", "norm")
        main = inner.branch(weight, *geometry)
        if isinstance(block.shortcut, nn.Conv2d):
            weight, offset, *geometry = modules.convolution(where, block, "shortcut",
                                                            "shortcut_norm")
            short = at.branch(weight, *geometry)
        else:
            weight, offset = modules.identity(where, block, len(bias))
            short = at.shortcut(weight)
        return self.add(f"block{number}", inner, (main, short), bias + offset,
                        modules.neuron(where, block))


def _mlp(network: SpikingMLP, graph: _Graph) -> None:
    at = graph.input
    for index, layer in enumerate(network.layers):
        at = graph.dense(at, layer, f"hidden{index}", f"hidden.{index}")
    graph.readout(at, network.readout)


def _convolutions(network: ConvNet, graph: _Graph) -> None:
    at = graph.input
    for index, module in enumerate(network.layers):
        number, where = len(graph.layers), f"layers.{index}"
        if isinstance(module, ConvLayer):
            at = graph.conv(at, module, f"conv{number}", where)
        elif isinstance(module, DenseLayer):
            at = graph.dense(at, module, f"hidden{number}", where)
        else:
            at = at.pooled(modules.pool(where, module))
    graph.readout(at, network.readout)


def _residual(network: ResNet, graph: _Graph) -> None:
    at = graph.conv(graph.input, network.stem, "stem", "stem")
    if not isinstance(network.pool, nn.Identity):
        at = at.pooled(modules.pool("pool", network.pool))
    for number, block in enumerate(network.blocks):
        at = graph.block(at, block, number)
    if at.shape[1] != at.shape[2]:
        raise ValueError(f"the mean over a map of {at.shape[1]} x {at.shape[2]} is no square pool")
    if at.shape[1] > 1:
        at = at.pooled(Pool(kind="sum", size=at.shape[1], stride=at.shape[1]))
    if network.hidden is not None:
        at = graph.dense(at, network.hidden, "hidden", "hidden")
    graph.readout(at, network.readout)


FOLDS: dict[type, Callable[[Any, _Graph], None]] = {
    SpikingMLP: _mlp, ConvNet: _convolutions, ResNet: _residual}


@torch.no_grad()
def fold(network: SpikingMLP | ImageNetwork) -> Folded:
    """The graph of a network in eval mode.

    Raises ValueError naming the module, and the attribute, that the array has no layer for.
    """
    if type(network) not in FOLDS:
        raise ValueError(f"a {type(network).__name__} cannot be folded, only "
                         f"{', '.join(kind.__name__ for kind in FOLDS)}")
    shape = (network.sizes[0], 1, 1) if isinstance(network, SpikingMLP) else network.input_shape
    graph = _Graph(shape)
    FOLDS[type(network)](network, graph)
    return Folded(input_shape=shape, layers=tuple(graph.layers), steps=network.steps,
                  readout=network.readout)
