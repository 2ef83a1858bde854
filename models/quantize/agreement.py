"""How far the integers part from the real numbers, layer by layer, and what to look at.

Both networks run freely on the same inputs, so a layer's figure holds the errors of all before it.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quadfire.models.quantize.fake_quant import GridLayer, GridNetwork
from quadfire.models.quantize.folded import Folded
from quadfire.models.quantize.quantize import real_network

__all__ = ["Agreement", "agreement", "warnings"]

#: Below so many state LSBs between reset and threshold, rounding of the state is felt.
FEW_LSBS = 32
#: From this share of clamped states on, they may be why a layer parts ways.
CLAMPED = 0.01
#: Layers with a smaller share of equal spikes part ways.
EQUAL = 0.95


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One layer of neurons on some inputs.

    | field | meaning |
    |---|---|
    | equal | share of spikes, or of their absence, that are the same in integers and real numbers |
    | rate | share of values that are spikes, in integers |
    | clamped | share of states that lo and hi clamped |
    | span | state LSBs from the reset potential (hard) or 0 (soft) to the threshold |
    | lost | rounding error of the weights, rms, relative to the norm of each channel's weights |
    """

    name: str
    equal: float
    rate: float
    clamped: float
    span: int
    lost: float


def _lost(layer: GridLayer) -> float:
    """Rounding error of all weights, relative to each channel's norm."""
    wrong = norm = 0.0
    exponent = layer.exponent
    for branch in layer:
        exact = branch.scaled(exponent) * branch.gain
        error = branch.integer_weight(exponent) * branch.gain - exact
        size = exact.reshape(len(exact), -1).norm(dim=1).clamp(min=1e-30)
        part = error.reshape(len(exact), -1).norm(dim=1) / size
        wrong, norm = wrong + float(part.square().sum()), norm + len(exact)
    return (wrong / norm) ** 0.5


@torch.no_grad()
def agreement(grid: GridNetwork, network: Folded | None, inputs: Tensor) -> Iterator[Agreement]:
    """A line for every layer of neurons. inputs: as the array takes them. Both run in eval mode.

    network: the folded network in real numbers; None: `grid` itself without any rounding, which is
    the one to compare with where it has been trained on the grid.
    """
    if network is None:
        real = copy.deepcopy(grid).eval()
        for layer in real:
            layer.rounded = False
    else:
        neurons = [layer.neuron and layer.neuron.real for layer in grid]
        real = real_network(network, neurons, input_bits=grid.input_bits)
    runs = zip(grid.eval(), grid.run(inputs), real.run(inputs), strict=True)
    for layer, found, expected in runs:
        if layer.neuron is None:
            continue
        integer = layer.neuron.integer
        yield Agreement(
            name=layer.name, equal=float((found == expected).double().mean()),
            rate=layer.rate, clamped=layer.saturation, lost=_lost(layer),
            span=abs(integer.theta - (0 if integer.soft else integer.reset)))


def warnings(rows: Sequence[Agreement]) -> Iterator[str]:
    """What a user should look at, one line each, with the figure and a remedy."""
    for row in rows:
        if row.span < FEW_LSBS:
            yield (f"layer {row.name!r}: its threshold is {row.span} LSB from where it resets: "
                   "use more fraction bits, or calibrate on inputs")
        if row.clamped > CLAMPED and row.equal < EQUAL:
            yield (f"layer {row.name!r}: {row.clamped:.1%} of its states were clamped: use more "
                   "state bits, fewer fraction bits, or calibrate on inputs")
        if row.equal < EQUAL:
            yield (f"layer {row.name!r}: {1 - row.equal:.1%} of its spikes differ from real "
                   "numbers: use 8-bit weights, or train on the integer grid")
        if not row.rate:
            yield f"layer {row.name!r}: no neuron spiked: are the inputs as in training?"
