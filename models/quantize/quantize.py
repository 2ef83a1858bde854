"""From a trained network to integers: fold tdBN, move neurons to the canonical map, round.

A layer in float is I = sum of its branches + b after folding; its canonical current is
J = gain I + offset, so the canonical weight is gain W and the bias gain b + offset. Channel o gets
integers round(weight[o] 2^exponent[o]) in all of its branches; in state LSBs of 2^-F that makes

    J = round(acc 2^-shift) + bias,     shift = exponent + input_bits - F

where pixels of n bits carry p / 2^n and hence n more bits of shift. The readout is the same with
gain 1, its logits in LSBs of 2^-F for all channels alike.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadfire.rtl.contract.config import ArrayConfig

from quadfire.models.integer.bounds import current_range
from quadfire.models.quantize.fold import FoldedLayer, fold
from quadfire.models.quantize.fake_quant import GridBranch, GridLayer, GridNetwork, GridNeuron
from quadfire.models.integer import (
    INPUT, ConvBranch, IdentityBranch, IntegerLayer, IntegerNetwork,
)
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks import ImageNetwork

__all__ = ["calibrate", "choose_exponent", "quantize", "to_grid", "to_integer"]

#: Gains that a branch may get whose weights are larger than those of the first.
GAINS = (1, 2, 4)


def _errors(branch: GridBranch, exponents: range) -> tuple[Tensor, Tensor]:
    """(squared error of a sum, largest sum) of the rounded weights, [exponents, outputs] each.

    The error is that of the weights, for each of the spikes that a pool adds up.
    """
    errors, sums = [], []
    outputs = len(branch.weight)
    spread = 1 if branch.pool is None else branch.pool.count
    for exponent in exponents:
        octave = branch.weight.new_tensor(float(exponent)).expand(outputs)
        integer = branch.integer_weight(octave)
        wrong = integer * branch.gain / 2.0 ** exponent - branch.weight
        errors.append(wrong.square().flatten(1).sum(1) * spread if wrong.ndim > 1 else
                      wrong.square())
        sums.append(integer.abs().flatten(1).sum(1) * branch.count if wrong.ndim > 1 else
                    integer.abs())
    return torch.stack(errors), torch.stack(sums)


@torch.no_grad()
def choose_exponent(branches: Sequence[GridBranch], *,
                    accumulator_bits: int = ArrayConfig.accumulator_bits, lowest: int = 0,
                    highest: int = 31) -> Tensor:
    """The power-of-two scale per channel with the least squared error of the rounded weights.

    Returns exponents [outputs] in lowest..highest, of all branches together; sets the `gain` of
    every convolution but the first to that of GAINS with the least error in sum. An exponent whose
    integers could overflow an accumulator of `accumulator_bits` is not taken; raises ValueError for
    a channel that none fits.
    """
    largest = torch.stack([branch.weight.flatten(1).abs().amax(1) for branch in branches
                           if not branch.is_identity]).amin(0).clamp(min=2.0 ** -highest)
    # Beyond, 15/16 of the largest weight is lost in every branch.
    beyond = int((branches[0].bits + 3 - torch.log2(largest)).max().ceil())
    exponents = range(lowest, max(lowest, min(highest, beyond)) + 1)
    choices = []
    for number, branch in enumerate(branches):
        tried = []
        for gain in GAINS if number and not branch.is_identity else (1,):
            branch.gain = gain
            tried.append((gain, *_errors(branch, exponents)))
        choices.append(tried)
    results = []
    for combination in product(*choices):
        gains, errors, sums = zip(*combination, strict=True)
        fits = torch.stack(sums).sum(0) < 1 << (accumulator_bits - 1)
        error, best = torch.stack(errors).sum(0).where(fits, torch.inf).min(0)
        results.append((error.sum().item(), gains, error, best))
    _, gains, error, best = min(results, key=lambda result: result[0])
    if error.isinf().any():
        count = sum(branch.weight[0].numel() for branch in branches)
        raise ValueError(f"channel {int(error.argmax())}: its {count} weights overflow an "
                         f"accumulator of {accumulator_bits} bits at any scale")
    for branch, gain in zip(branches, gains, strict=True):
        branch.gain = gain
    return best + lowest


def _neuron(layer: FoldedLayer, state_bits: int, fraction_bits: int) -> GridNeuron | None:
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
    """The network with tdBN folded and its neurons canonical, on the integer grid.

    It is quantised as it stands; train it on to let the weights adapt to the grid, with
    `learn_scales` the exponents as well. input_bits: of an ImageNetwork, 8 for bytes, 0 for spikes;
    a SpikingMLP has its own. Raises ValueError when a neuron or a channel does not fit its format.
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
        limits = (-bits, 31 - bits)     # the hardware holds 0 <= shift + fraction_bits <= 31
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
    """Set the biases so that every channel's mean current on `inputs` is that of `network`.

    Layer by layer, each on the spikes of the calibrated ones before it; no training, no labels. It
    takes out what rounding adds to a mean (arXiv:1906.04721, section 4.2). inputs: as both
    networks take them, a hundred samples are enough.
    """
    graph, means = fold(network), {}

    def mean(values: Tensor) -> Tensor:
        """Of every channel of [T, N, channels, ...]."""
        return values.double().transpose(0, 2).flatten(1).mean(1)

    def keep(name: str) -> Callable[..., None]:
        """A hook on what goes into a module; of the readout, on what comes out."""
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
    weight = branch.integer_weight(exponent).cpu().numpy()
    if branch.is_identity:
        return IdentityBranch(source=branch.source, weight=weight.astype(np.int32))
    return ConvBranch(source=branch.source, weight=weight.astype(np.int8), stride=branch.stride,
                      padding=branch.padding, pool=branch.pool, gain=branch.gain)


@torch.no_grad()
def to_integer(grid: GridNetwork, about: dict[str, Any] | None = None, *,
               accumulator_bits: int = ArrayConfig.accumulator_bits,
               current_bits: int = ArrayConfig.current_bits) -> IntegerNetwork:
    """The integers of a network on the grid; `about` is kept with them.

    Raises ValueError when a sum or a current could need more bits than these.
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
    """Post-training quantisation, `to_integer(to_grid(network, **options))`."""
    return to_integer(to_grid(network, **options))
