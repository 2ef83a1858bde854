"""What quantisation does to every layer of a network: ranges, saturation, sensitivity."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from quadfire.models.integer import reference
from quadfire.models.integer.bounds import current_range, signed_bits
from quadfire.models.datasets import Dataset, ImageDataset, Samples
from quadfire.models.quantize.fake_quant import GridLayer, GridNetwork
from quadfire.models.integer import IntegerNetwork
from quadfire.models.quantize.quantize import to_integer
from quadfire.models.training.train import measure

__all__ = ["QuantizationReport", "Selection", "as_spikes", "batch_of", "input_bits_of",
           "integer_accuracy", "layer_reports", "only_rounded"]


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """One layer of a network on the grid, measured on some samples.

    weight_error: root mean square of weight less integer over that of the weights. clipped: share
    of weights at an end of their range. sum_bits, current_bits: widths that the worst input needs,
    proved from the weights. reach: lowest and highest current seen, in units of w. rate: spikes per
    neuron and step. saturation: share of states that the state's limits clamped. accuracy: of the
    network with this layer on the grid and all others in real numbers.
    """

    name: str
    shape: tuple[int, int, int]
    weights: int
    weight_error: float
    clipped: float
    sum_bits: int
    current_bits: int
    reach: tuple[float, float]
    rate: float
    saturation: float
    accuracy: float


class Selection:
    """`count` samples of another set, evenly over it; all of them where it has no more."""

    seeded = False

    def __init__(self, samples: Samples, count: int):
        self.samples = samples
        self.index = torch.linspace(0, len(samples) - 1, min(count, len(samples))).long()

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.samples.batch(self.index[index])


def batches(samples: Samples, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples in order."""
    for index in torch.arange(len(samples)).split(size):
        yield samples.batch(index)


def as_spikes(inputs: Tensor) -> Tensor:
    """Frames in floating point as the array takes them, a spike where a value is above 0."""
    return inputs > 0 if inputs.is_floating_point() else inputs


def input_bits_of(dataset: Dataset | ImageDataset) -> int:
    """8 for images, 0 for frames of events."""
    return 0 if dataset.steps else 8


def batch_of(network: IntegerNetwork) -> int:
    """A number of samples whose largest map fits in some ten megabytes."""
    largest = max(math.prod(shape) for shape in network.shapes) * network.steps
    return min(max((1 << 22) // largest, 1), 250)


def integer_accuracy(network: IntegerNetwork, samples: Samples,
                     watch: Callable[[int], None] = lambda _: None) -> float:
    """Share of samples that the integer reference gets right, 0..1.

    watch: is told the number of samples done.
    """
    right = done = 0
    for inputs, labels in batches(samples, batch_of(network)):
        right += int((reference.run(network, as_spikes(inputs)).classes == labels).sum())
        done += len(labels)
        watch(done)
    return right / len(samples)


@contextmanager
def only_rounded(grid: GridNetwork, *layers: GridLayer) -> Iterator[None]:
    """These layers on the grid, the others in real numbers."""
    before = [layer.rounded for layer in grid]
    try:
        for layer in grid:
            layer.rounded = layer in layers
        yield
    finally:
        for layer, value in zip(grid, before, strict=True):
            layer.rounded = value


def _weights(layer: GridLayer) -> tuple[float, float]:
    """(relative error, share clipped) of the weights of all branches."""
    wrong = total = clipped = count = 0.0
    exponent = layer.exponent
    for branch in layer:
        exact, integer = branch.scaled(exponent) * branch.gain, branch.integer_weight(exponent)
        # every channel in its own unit, so that all count alike
        size = exact.flatten(1).norm(dim=1).clamp(min=1e-30) if exact.ndim > 1 else \
            exact.abs().clamp(min=1e-30)
        unit = size.view(-1, *[1] * (exact.ndim - 1))
        wrong += float(((integer * branch.gain - exact) / unit).square().sum())
        total += len(size)
        limit = 1 << (branch.bits - 1)
        clipped += float(((integer == -limit) | (integer == limit - 1)).sum())
        count += integer.numel()
    return (wrong / total) ** 0.5, clipped / count


@torch.no_grad()
def layer_reports(grid: GridNetwork, samples: Samples) -> Iterator[QuantizationReport]:
    """The layers in order, one when it has been measured: each costs a run over the samples.

    Raises ValueError where `to_integer` does.
    """
    integer = to_integer(grid)
    batch = batch_of(integer)
    grid.eval()
    seen: dict[str, list[tuple[float, float, float, float, int]]] = {}
    for inputs, labels in batches(samples, batch):
        for layer, _ in zip(grid, grid.run(inputs), strict=True):
            low, high = layer.reach
            seen.setdefault(layer.name, []).append(
                (low, high, layer.rate, layer.saturation, len(labels)))
    for layer, made, shape in zip(grid, integer.layers, integer.shapes, strict=True):
        lows, highs, rates, saturations, counts = zip(*seen[layer.name], strict=True)
        with only_rounded(grid, layer):
            accuracy, _ = measure(grid, samples, batch=batch)
        error, clipped = _weights(layer)
        one = 1 << grid.fraction_bits

        def mean(values: tuple[float, ...], counts: tuple[int, ...] = counts) -> float:
            return sum(v * n for v, n in zip(values, counts, strict=True)) / sum(counts)

        ranges = made.sum_range(), current_range(made, layer.input_bits)
        sum_bits, current_bits = (signed_bits(int(low.min()), int(high.max()))
                                  for low, high in ranges)
        yield QuantizationReport(name=layer.name, shape=shape, weight_error=error, clipped=clipped,
                          weights=sum(branch.weight.numel() for branch in layer),
                          sum_bits=sum_bits, current_bits=current_bits,
                          reach=(min(lows) / one, max(highs) / one), rate=mean(rates),
                          saturation=mean(saturations), accuracy=accuracy)
