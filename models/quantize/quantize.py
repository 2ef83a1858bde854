"""From a trained network to integers: fold tdBN, move the neurons to the canonical map, round.

After folding, the current of a layer is I = sum over branches of W * source + b. The canonical map
takes J = gain I + offset, so its weights are gain W and its bias is gain b + offset. The integer
weights of channel o are round(gain W[o] 2^exponent[o]). In state LSBs of 2^-F this makes

    J = round(acc 2^-shift) + bias,     shift = exponent + input_bits - F

since a pixel p of input_bits bits stands for p / 2^input_bits. A readout has gain 1 and offset 0;
its logits have the LSB 2^-F in all channels.

| step | function |
|---|---|
| a network with fake quantisation, to calibrate or train on | `to_grid` |
| set the biases by the mean currents of some samples | `calibrate` |
| the integers | `to_integer` |
| `to_grid` and `to_integer` in one | `quantize` |
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadfire.models.integer import INPUT, ConvBranch, IdentityBranch, IntegerLayer, IntegerNetwork
from quadfire.models.integer.bounds import current_range
from quadfire.models.networks import ImageNetwork
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.quantize.fake_quant import GridBranch, GridLayer, GridNetwork, GridNeuron
from quadfire.models.quantize.fold import FoldedLayer, fold
from quadfire.models.quantize.scales import choose_exponent
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["calibrate", "quantize", "to_grid", "to_integer"]


def _neuron(layer: FoldedLayer, state_bits: int, fraction_bits: int) -> GridNeuron | None:
    """The neuron of a layer on the grid. Raises ValueError where the state cannot hold it."""
    if layer.neuron is None:
        return None
    canonical = layer.neuron.canonical()
    try:
        integer = canonical.integer(state_bits, fraction_bits)
    except ValueError as error:
        raise ValueError(f"layer {layer.name!r}: {error}") from None
    window = canonical.scale * float(layer.neuron.window)
    return GridNeuron(integer, canonical, fraction_bits, window * (1 << fraction_bits),
                      layer.neuron.surrogate)


def to_grid(network: SpikingMLP | ImageNetwork, *, weight_bits: int = 8, state_bits: int = 12,
            fraction_bits: int = 10, accumulator_bits: int = ArrayConfig.accumulator_bits,
            input_bits: int = 8, learn_scales: bool = False) -> GridNetwork:
    """The network on the grid, the numbers that the array can hold; see `fake_quant`.

    | argument | meaning |
    |---|---|
    | weight_bits | 4 or 8 |
    | state_bits, fraction_bits | the membrane potential is Q(W-F).F |
    | accumulator_bits | no sum of weights leaves this many bits |
    | input_bits | of an ImageNetwork: 8 for bytes, 0 for spikes; a SpikingMLP has its own |
    | learn_scales | training on the grid moves the exponents, too |

    The result is quantised as it stands; training it on adapts the weights to the grid.
    Raises ValueError for a network that cannot be folded, and for a neuron or a channel that does
    not fit its format.
    """
    if isinstance(network, SpikingMLP):
        input_bits = network.input_bits
    graph, layers = fold(network), []
    for folded in graph.layers:
        neuron = _neuron(folded, state_bits, fraction_bits)
        gain, offset = (1.0, 0.0) if neuron is None else (neuron.real.gain, neuron.real.offset)
        branches = [GridBranch(branch, gain * branch.weight, weight_bits)
                    for branch in folded.branches]
        bits = input_bits if any(branch.source == INPUT for branch in branches) else 0
        limits = (-bits, 31 - bits)     # the array can do 0 <= shift + fraction_bits <= 31
        try:
            exponent = choose_exponent(branches, accumulator_bits=accumulator_bits,
                                       lowest=limits[0], highest=limits[1])
        except ValueError as error:
            raise ValueError(f"layer {folded.name!r}, {error}") from None
        layers.append(GridLayer(folded.name, branches, gain * folded.bias + offset, exponent,
                                neuron, weight_bits=weight_bits, fraction_bits=fraction_bits,
                                input_bits=bits, exponent_range=limits,
                                learn_scales=learn_scales))
    return GridNetwork(layers, input_shape=graph.input_shape, steps=graph.steps,
                       input_bits=input_bits, state_bits=state_bits, fraction_bits=fraction_bits)


@torch.no_grad()
def calibrate(grid: GridNetwork, network: SpikingMLP | ImageNetwork, inputs: Tensor) -> None:
    """Set the biases of `grid` so that every channel has the mean current that it has in `network`.

    It goes layer by layer, with the spikes of the layers that are calibrated already, and takes out
    what rounding adds to a mean (arXiv:1906.04721, section 4.2). It needs no labels.
    inputs: some hundred samples, as both networks take them. Both are in eval mode afterwards.
    """
    graph, means = fold(network), {}

    def mean(values: Tensor) -> Tensor:
        """Mean of every channel of [T, N, channels, ...]."""
        return values.double().transpose(0, 2).flatten(1).mean(1)

    def keep(name: str) -> Callable[..., None]:
        """A hook that keeps the mean of a neuron's input, or of the readout's output."""
        return lambda _, args, *result: means.update({name: mean(*result or args)})

    hooks = [layer.neuron.register_forward_pre_hook(keep(layer.name))
             for layer in graph.layers if layer.neuron is not None]
    hooks.append(graph.readout.register_forward_hook(keep(graph.layers[-1].name)))
    try:
        network.eval()(inputs)
    finally:
        for hook in hooks:
            hook.remove()

    def adjust(layer: GridLayer, currents: Tensor) -> Tensor:
        real = None if layer.neuron is None else layer.neuron.real
        target = means[layer.name] if real is None else real.gain * means[layer.name] + real.offset
        one = 1 << layer.fraction_bits
        before = layer.integer_bias()
        layer.bias += target.to(layer.bias) - mean(currents).to(layer.bias) / one
        return currents + (layer.integer_bias() - before)[:, None, None]

    for _ in grid.eval().run(inputs, adjust):
        pass


def _branch(branch: GridBranch, exponent: Tensor) -> ConvBranch | IdentityBranch:
    """The integers of a branch."""
    weight = branch.integer_weight(exponent).cpu().numpy()
    if branch.is_identity:
        return IdentityBranch(source=branch.source, weight=weight.astype(np.int32))
    return ConvBranch(source=branch.source, weight=weight.astype(np.int8), stride=branch.stride,
                      padding=branch.padding, pool=branch.pool, gain=branch.gain)


@torch.no_grad()
def to_integer(grid: GridNetwork, about: dict[str, Any] | None = None, *,
               accumulator_bits: int = ArrayConfig.accumulator_bits,
               current_bits: int = ArrayConfig.current_bits) -> IntegerNetwork:
    """The integers of a network on the grid.

    about: kept in the file of the network. Raises ValueError where a sum could need more than
    accumulator_bits, or a current more than current_bits.
    """
    layers = []
    for layer in grid:
        exponent = layer.exponent
        made = IntegerLayer(name=layer.name, weight_bits=layer.weight_bits,
                            branches=tuple(_branch(branch, exponent) for branch in layer),
                            shift=layer.shift.cpu().numpy().astype(np.int8),
                            bias=layer.integer_bias().cpu().numpy().astype(np.int32),
                            neuron=layer.neuron and layer.neuron.integer)
        for what, (low, high), bits, remedy in (
                ("sums", made.sum_range(), accumulator_bits, "fewer weight bits"),
                ("currents", current_range(made, layer.input_bits), current_bits,
                 "fewer fraction bits")):
            if max(-low.min() - 1, high.max()) >= 1 << (bits - 1):
                raise ValueError(f"layer {made.name!r}: {what} reach {low.min()}..{high.max()}, "
                                 f"more than {bits} bits: use {remedy}")
        layers.append(made)
    return IntegerNetwork(input_shape=grid.input_shape, layers=tuple(layers), steps=grid.steps,
                          input_bits=grid.input_bits, state_bits=grid.state_bits,
                          fraction_bits=grid.fraction_bits, about=about or {})


def quantize(network: SpikingMLP | ImageNetwork, **options: Any) -> IntegerNetwork:
    """Post-training quantisation: `to_integer(to_grid(network, **options))`."""
    return to_integer(to_grid(network, **options))
