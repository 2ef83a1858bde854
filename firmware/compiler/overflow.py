"""Proofs from the actual weights of a layer: how far its sums and currents can go.

A spike adds its weight once, a pooled input up to once per pixel of its window, all of it `gain`
times. So whatever spikes, and in whatever order, the sum of a channel stays between the sum of its
negative weights and the sum of its positive weights, over all branches. Pixels of n bits scale
both ends by 2^n - 1. The current grows with the sum, so its ends belong to those of the sum.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quadfire.firmware.compiler.remedy import array_with, remedies
from quadfire.firmware.errors import CompileError
from quadfire.models.integer import ConvBranch, IntegerLayer
from quadfire.models.integer.bounds import current_range, signed_bits
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import READOUT_BITS, Neuron, clip, neuron_step, round_shift
from quadfire.rtl.contract.tape import PARAMETER

__all__ = ["Bounds", "check_layer", "idle_bias", "saturation"]


@dataclass(frozen=True)
class Bounds:
    """Lowest and highest sum of a slot, and current, of every channel, int64 [outputs]."""

    sum_low: np.ndarray
    sum_high: np.ndarray
    current_low: np.ndarray
    current_high: np.ndarray

    @classmethod
    def of(cls, layer: IntegerLayer, input_bits: int) -> "Bounds":
        """Bounds of a layer whose inputs are spikes (`input_bits` = 0) or pixels."""
        return cls(*layer.sum_range(), *current_range(layer, input_bits))


def _outside(low: np.ndarray, high: np.ndarray, bits: int) -> tuple[int, int] | None:
    """(first channel whose low..high exceeds `bits` signed bits, the end that exceeds them)."""
    limit = 1 << (bits - 1)
    bad = np.flatnonzero((low < -limit) | (high >= limit))
    if not len(bad):
        return None
    channel = int(bad[0])
    ends = int(low[channel]), int(high[channel])
    return channel, ends[1] if ends[1] >= limit else ends[0]


def check_layer(layer: IntegerLayer, config: ArrayConfig, *, steps: int, input_bits: int) -> Bounds:
    """Prove that no sum, current or readout of the layer can overflow on this array.

    Raises CompileError that names the layer, the channel, the value it can reach, and what to do.
    """
    def fail(channel: int, text: str):
        raise CompileError(f"layer {layer.name!r}, channel {channel}: {text}")

    _check_widths(layer, config, fail)
    bounds = Bounds.of(layer, input_bits)
    if found := _outside(bounds.sum_low, bounds.sum_high, config.accumulator_bits):
        channel, value = found
        needed = signed_bits(int(bounds.sum_low[channel]), int(bounds.sum_high[channel]))
        fail(channel, f"the sum of its weights can reach {value}, too large for an accumulator of "
                      f"{config.accumulator_bits} bits: "
                      + remedies(array_with(config, accumulator_bits=needed),
                                 "quantise this channel's weights more coarsely"))
    if found := _outside(bounds.current_low, bounds.current_high, config.current_bits):
        channel, value = found
        needed = signed_bits(int(bounds.current_low[channel]), int(bounds.current_high[channel]))
        fail(channel, f"its current can reach {value}, too large for {config.current_bits} bits "
                      f"(it needs current_bits = {needed}): "
                      + remedies(array_with(config, current_bits=needed),
                                 "use a larger shift or smaller bias"))
    if layer.neuron is None:
        total_low, total_high = bounds.current_low * steps, bounds.current_high * steps
        if found := _outside(total_low, total_high, READOUT_BITS):
            fail(found[0], f"its sum over {steps} steps can reach {found[1]}, too large for the "
                           f"{READOUT_BITS}-bit readout: use fewer steps or a larger shift")
    return bounds


def _check_widths(layer: IntegerLayer, config: ArrayConfig, fail: Callable[[int, str], object]
                  ) -> None:
    """Call `fail` for a weight or a shift that the array's fields cannot hold."""
    limit = 1 << (config.weight_bits - 1)
    for branch in layer.branches:
        if not isinstance(branch, ConvBranch):
            continue
        weight = branch.weight.reshape(layer.outputs, -1)
        bad = np.argwhere((weight < -limit) | (weight >= limit))
        if len(bad):
            output, index = (int(v) for v in bad[0])
            fail(output, f"weight {weight[output, index]} of input {index} does not fit in the "
                         f"{config.weight_bits}-bit weights of this array: "
                         + remedies(f"quantise the layer to {config.weight_bits} bits",
                                    array_with(config, weight_bits=8)
                                    if config.weight_bits < 8 else ""))

    low, high = -config.fraction_bits, (1 << PARAMETER["shift"]) - 1 - config.fraction_bits
    bad = np.flatnonzero((layer.shift < low) | (layer.shift > high))
    if len(bad):
        fail(int(bad[0]), f"shift {layer.shift[bad[0]]} is outside of {low}..{high}, what "
                          f"{config.fraction_bits} fraction bits leave: rescale its weights")


def _product_range(neuron: Neuron, fraction_bits: int) -> tuple[int, int]:
    """(least, largest) round(w * x / 2^F) over all states lo..hi."""
    ends = [round_shift(w * (w if neuron.square else neuron.factor), fraction_bits)
            for w in (neuron.lo, neuron.hi)]
    if neuron.square and neuron.lo < 0 < neuron.hi:
        ends.append(0)
    return min(ends), max(ends)


def saturation(layer: IntegerLayer, bounds: Bounds, fraction_bits: int) -> str:
    """What the clamp lo..hi can do to the spikes of a layer, over all inputs.

    | result | meaning |
    |---|---|
    | "none" | no state leaves lo..hi, except by a reset |
    | "lossless" | QIF, hard reset: a state below lo fires in the next step, clamped or not |
    | "model" | the clamp can change spikes, so it is part of the model |
    | "" | the layer is a readout |
    """
    neuron = layer.neuron
    if neuron is None:
        return ""
    low, high = _product_range(neuron, fraction_bits)
    below = bounds.current_low + low < neuron.lo
    above = neuron.soft & (bounds.current_high + high > neuron.hi)
    if not below.any() and not above.any():
        return "none"
    if neuron.soft:
        return "model"
    lowest = round_shift(neuron.lo * neuron.lo, fraction_bits)
    fires = neuron.square and neuron.lo <= 0 and (lowest + bounds.current_low >= neuron.theta)
    return "lossless" if (~below | fires).all() else "model"


def idle_bias(neuron: Neuron | None, config: ArrayConfig, steps: int) -> int:
    """A bias that keeps a channel without inputs silent: for the unused lanes of a tile.

    The channel is silent from every state lo..hi, if a bias can do that. If the square of a state
    can exceed any current, it is silent from the initial state for `steps` steps. Raises
    CompileError if there is no such bias either.
    """
    if neuron is None:
        return 0
    lowest = -(1 << (config.current_bits - 1))
    always = neuron.theta - 1 - _product_range(neuron, config.fraction_bits)[1]
    if always >= lowest:
        return min(always, 0)
    # Try the biases that keep a silent state where it is, then evenly spaced ones.
    states = np.arange(neuron.lo, neuron.theta, dtype=np.int64)
    product = round_shift(states * (states if neuron.square else neuron.factor),
                          config.fraction_bits)
    spread = np.arange(lowest, -lowest, max(1, -lowest >> 17), dtype=np.int64)
    candidates = np.concatenate([clip(states - product, lowest, -lowest - 1), spread])
    w, silent = np.full_like(candidates, neuron.initial), np.ones(len(candidates), bool)
    for _ in range(steps):
        spike, w = neuron_step(w, candidates, neuron, config.fraction_bits)
        silent &= ~spike
    if not silent.any():
        wider = array_with(config, current_bits=signed_bits(always, 0))
        raise CompileError(f"no bias keeps a neuron with initial = {neuron.initial} and theta = "
                           f"{neuron.theta} silent: " + remedies(
                               f"make the outputs a multiple of {config.lanes} lanes", wider))
    return int(candidates[silent][0])
