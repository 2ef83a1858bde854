"""From a trained network to integers: fold tdBN, move neurons to the canonical map, round.

A hidden layer in float is I = W s + b after folding; its canonical current is
J = gain I + offset, so the canonical weight is gain W and the bias gain b + offset. Channel o gets
integers round(weight[o] 2^exponent[o]); in state LSBs of 2^-F that makes

    J = round(acc 2^-shift) + bias,     shift = exponent + input_bits - F

where pixels of n bits carry p / 2^n and hence n more bits of shift. The readout is the same with
gain 1, its logits in LSBs of 2^-F for all channels alike.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtl.numerics import Neuron

from .bounds import current_range
from .grid import GridLayer, GridNetwork
from .integer import IntegerNetwork, dense
from .network import SpikingMLP

__all__ = ["choose_exponent", "quantize", "to_grid", "to_integer"]


def choose_exponent(weight: Tensor, bits: int, *, accumulator_bits: int = 20,
                    lowest: int = 0, highest: int = 31) -> Tensor:
    """The power-of-two scale per channel with the least squared error of the rounded weights.

    weight: [outputs, inputs]. Returns int64 [outputs] in lowest..highest: integers are
    round(weight 2^exponent), saturated to `bits` signed bits. An exponent whose integers could
    overflow an accumulator of `accumulator_bits` is not taken; raises ValueError for a channel
    that none fits.
    """
    limit = 1 << (bits - 1)
    exponents = torch.arange(lowest, highest + 1)
    errors = []
    for exponent in exponents:
        scale = 2.0 ** int(exponent)
        integer = (weight * scale + 0.5).floor().clamp(-limit, limit - 1)
        error = (integer / scale - weight).square().sum(1)
        fits = integer.abs().sum(1) < 1 << (accumulator_bits - 1)
        errors.append(error.where(fits, torch.inf))
    error, best = torch.stack(errors).min(0)
    if error.isinf().any():
        raise ValueError(f"channel {int(error.argmax())}: its {weight.shape[1]} weights overflow "
                         f"an accumulator of {accumulator_bits} bits at any scale")
    return exponents[best]


def to_grid(network: SpikingMLP, *, weight_bits: int = 8, state_bits: int = 12,
            fraction_bits: int = 10, accumulator_bits: int = 20) -> GridNetwork:
    """The network with tdBN folded and its neurons canonical, on the integer grid.

    It is quantised as it stands; train it on to let the weights adapt to the grid. Raises
    ValueError when a neuron or a channel does not fit its format.
    """
    def layer(weight: Tensor, bias: Tensor, window: float, neuron: Neuron | None,
              input_bits: int) -> GridLayer:
        # the hardware holds 0 <= shift + fraction_bits <= 31
        exponent = choose_exponent(weight, weight_bits, accumulator_bits=accumulator_bits,
                                   lowest=-input_bits, highest=31 - input_bits)
        return GridLayer(weight, bias, exponent, neuron, weight_bits=weight_bits,
                         fraction_bits=fraction_bits, input_bits=input_bits, window=window)

    layers, input_bits = [], network.input_bits
    for hidden in network.layers:
        weight, bias = hidden.norm.fold(hidden.linear.weight)
        canonical = hidden.neuron.canonical()
        layers.append(layer(canonical.gain * weight, canonical.gain * bias + canonical.offset,
                            canonical.scale * hidden.neuron.window,
                            canonical.integer(state_bits, fraction_bits), input_bits))
        input_bits = 0
    readout = network.readout
    layers.append(layer(readout.weight.detach().double(), readout.bias.detach().double(), 1.0,
                        None, input_bits))
    return GridNetwork(layers, steps=network.steps, state_bits=state_bits)


@torch.no_grad()
def to_integer(grid: GridNetwork, about: dict[str, Any] | None = None, *,
               current_bits: int = 24) -> IntegerNetwork:
    """The integers of a network on the grid; `about` is kept with them.

    Raises ValueError when a current could need more than current_bits bits.
    """
    def array(values: Tensor, dtype: type) -> np.ndarray:
        return values.cpu().numpy().astype(dtype)

    first, *_ = grid
    layers = []
    for index, layer in enumerate(grid):
        made = dense("readout" if layer.neuron is None else f"hidden{index}",
                     array(layer.integer_weight(), np.int8), weight_bits=layer.weight_bits,
                     shift=array(layer.shift, np.int8), bias=array(layer.integer_bias(), np.int32),
                     neuron=layer.neuron, source=index - 1)
        low, high = current_range(made, layer.input_bits)
        if max(-low.min(), high.max()) >= 1 << (current_bits - 1):
            raise ValueError(f"layer {made.name!r}: currents reach {low.min()}..{high.max()}, "
                             f"more than {current_bits} bits: use fewer fraction bits")
        layers.append(made)
    return IntegerNetwork(input_shape=(first.weight.shape[1], 1, 1), layers=tuple(layers),
                          steps=grid.steps, input_bits=first.input_bits,
                          state_bits=grid.state_bits, fraction_bits=first.fraction_bits,
                          about=about or {})


def quantize(network: SpikingMLP, **options: int) -> IntegerNetwork:
    """Post-training quantisation, `to_integer(to_grid(network, **options))`."""
    return to_integer(to_grid(network, **options))
