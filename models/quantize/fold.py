"""Folding: our own networks become a graph of layers that sum branches.

Every module adds its part to a `Lowering`: tdBN goes into the weights and biases, a pool into the
branches that read it, the mean over a whole image into such a pool. A fully connected layer behind
a map is a kernel as large as the map. `modules` refuses what cannot be folded.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from quadfire.models.integer import Pool
from quadfire.models.networks import ConvNet, ImageNetwork, ResNet
from quadfire.models.networks.layers import ConvLayer, DenseLayer
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks.residual import Block
from quadfire.models.neurons.tdbn import TDBatchNorm
from quadfire.models.quantize import modules
from quadfire.models.quantize.folded import Folded
from quadfire.models.quantize.lowering import Lowering
from quadfire.models.quantize.modules import named
from quadfire.models.quantize.values import Maps, Value

__all__ = ["fold"]


def _conv(graph: Lowering, x: Value, where: str, owner: Any, conv: str, norm: str) -> Value:
    """A convolution and the tdBN behind it, which are attributes of the module `where`."""
    found = modules.convolution(f"{where}.{conv}", getattr(owner, conv))
    with named(f"{where}.{conv}"):
        made = graph.conv(x, found.weight, found.bias, stride=found.stride, padding=found.padding)
    return _norm(graph, made, f"{where}.{norm}", getattr(owner, norm))


def _norm(graph: Lowering, x: Value, name: str, norm: Any) -> Value:
    scale, shift = modules.norm(name, norm, TDBatchNorm)
    with named(name):
        return graph.affine(x, scale, shift)


def _conv_layer(graph: Lowering, x: Maps, layer: nn.Module, name: str, where: str) -> Maps:
    """Convolution, tdBN, neuron."""
    modules.check_kind(where, layer, ConvLayer)
    assert isinstance(layer, ConvLayer)
    current = _conv(graph, x, where, layer, "conv", "norm")
    return graph.neuron(current, modules.neuron(f"{where}.neuron", layer.neuron), name)


def _dense_layer(graph: Lowering, x: Maps, layer: nn.Module, name: str, where: str) -> Maps:
    """Fully connected, tdBN, neuron."""
    modules.check_kind(where, layer, DenseLayer)
    assert isinstance(layer, DenseLayer)
    weight, bias = modules.linear(f"{where}.linear", layer.linear)
    with named(where):
        current = graph.linear(x, weight, bias)
    return graph.neuron(_norm(graph, current, f"{where}.norm", layer.norm),
                        modules.neuron(f"{where}.neuron", layer.neuron), name)


def _block(graph: Lowering, x: Maps, block: nn.Module, number: int) -> Maps:
    """A residual block: a convolution, then a layer that adds a second one and the shortcut."""
    where = f"blocks.{number}"
    modules.check_kind(where, block, Block)
    assert isinstance(block, Block)
    inner = _conv_layer(graph, x, block.first, f"block{number}.first", f"{where}.first")
    main = _conv(graph, inner, where, block, "conv", "norm")
    if isinstance(block.shortcut, nn.Conv2d):
        short = _conv(graph, x, where, block, "shortcut", "shortcut_norm")
    else:
        modules.check_kind(f"{where}.shortcut", block.shortcut, nn.Identity, nn.Conv2d)
        short = _norm(graph, graph.current(x), f"{where}.shortcut_norm", block.shortcut_norm)
    with named(where):
        total = graph.add(main, short)
    return graph.neuron(total, modules.neuron(f"{where}.neuron", block.neuron), f"block{number}")


def _pool(graph: Lowering, x: Maps, name: str, module: Any) -> Maps:
    pool, divisor = modules.pool(name, module, x.shape)
    with named(name):
        made = graph.pool(x, pool, divisor=divisor)
    assert isinstance(made, Maps)
    return made


def _readout(graph: Lowering, x: Maps, layer: nn.Module) -> None:
    """The last layer, without neurons."""
    weight, bias = modules.linear("readout", layer)
    with named("readout"):
        graph.readout(graph.linear(x, weight, bias), "readout")


def _mlp(network: SpikingMLP, graph: Lowering) -> None:
    at = graph.input
    for index, layer in enumerate(network.layers):
        at = _dense_layer(graph, at, layer, f"hidden{index}", f"hidden.{index}")
    _readout(graph, at, network.readout)


def _convolutions(network: ConvNet, graph: Lowering) -> None:
    at = graph.input
    for index, module in enumerate(network.layers):
        number, where = len(graph.layers), f"layers.{index}"
        if isinstance(module, ConvLayer):
            at = _conv_layer(graph, at, module, f"conv{number}", where)
        elif isinstance(module, DenseLayer):
            at = _dense_layer(graph, at, module, f"hidden{number}", where)
        else:
            at = _pool(graph, at, where, module)
    _readout(graph, at, network.readout)


def _residual(network: ResNet, graph: Lowering) -> None:
    at = _conv_layer(graph, graph.input, network.stem, "stem", "stem")
    if not isinstance(network.pool, nn.Identity):
        at = _pool(graph, at, "pool", network.pool)
    for number, block in enumerate(network.blocks):
        at = _block(graph, at, block, number)
    if at.shape[1:] != (1, 1):
        size = at.shape[1:]
        mean = graph.pool(at, Pool(kind="sum", size=size, stride=size), divisor=size[0] * size[1])
        assert isinstance(mean, Maps)
        at = mean
    if network.hidden is not None:
        at = _dense_layer(graph, at, network.hidden, "hidden", "hidden")
    _readout(graph, at, network.readout)


FOLDS: dict[type, Callable[[Any, Lowering], None]] = {
    SpikingMLP: _mlp, ConvNet: _convolutions, ResNet: _residual}


@torch.no_grad()
def fold(network: SpikingMLP | ImageNetwork | Folded) -> Folded:
    """The graph of a network in eval mode; of a folded network, itself.

    Raises ValueError naming the module, and the attribute, that the array has no layer for.
    """
    if isinstance(network, Folded):
        return network
    if type(network) not in FOLDS:
        raise ValueError(f"a {type(network).__name__} cannot be folded, only "
                         f"{', '.join(kind.__name__ for kind in FOLDS)}; networks of other "
                         "libraries come in by quadfire.models.frontends")
    vector = isinstance(network, SpikingMLP)
    graph = Lowering((network.sizes[0], 1, 1) if vector else network.input_shape)
    FOLDS[type(network)](network, graph)
    return graph.folded(network.steps, network.input_bits if vector else None)
