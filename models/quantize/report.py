"""What quantisation does to every layer of a network: error, ranges, saturation, sensitivity."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from quadfire.data.spikes import check_spikes
from quadfire.models.datasets import Dataset, ImageDataset, Samples
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.integer.bounds import current_range, signed_bits
from quadfire.models.quantize.fake_quant import GridLayer, GridNetwork
from quadfire.models.quantize.quantize import to_integer
from quadfire.models.training.train import measure

__all__ = ["QuantizationReport", "Selection", "as_spikes", "batch_of", "input_bits_of",
           "integer_accuracy", "layer_reports", "only_rounded"]


@dataclass(frozen=True, kw_only=True)
class QuantizationReport:
    """One layer of a network on the grid, measured on some samples.

    | field | meaning |
    |---|---|
    | shape, weights | of its map; number of weights |
    | weight_error | rms of the rounding errors, relative to the norm of each channel's weights |
    | clipped | share of weights at an end of their range |
    | sum_bits, current_bits | widths that the worst input needs, proved from the weights |
    | reach | lowest and highest current seen, in units of w |
    | rate | share of neurons that spike in a time step |
    | saturation | share of states that lo and hi clamp |
    | accuracy | of the network with this layer on the grid, all others in real numbers |
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
    """`count` samples spread evenly over a set, or all of a smaller set."""

    seeded = False

    def __init__(self, samples: Samples, count: int):
        self.samples = samples
        self.index = torch.linspace(0, len(samples) - 1, min(count, len(samples))).long()

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.samples.batch(self.index[index])


def batches(samples: Samples, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All samples in order, `size` at a time: (inputs, labels)."""
    for index in torch.arange(len(samples)).split(size):
        yield samples.batch(index)


def as_spikes(inputs: Tensor) -> Tensor:
    """Inputs as the array takes them: frames in floating point become bool; see `check_spikes`."""
    return check_spikes(inputs) if inputs.is_floating_point() else inputs


def input_bits_of(dataset: Dataset | ImageDataset) -> int:
    """8 for images, 0 for frames of events."""
    return 0 if dataset.steps else 8


def batch_of(network: IntegerNetwork) -> int:
    """How many samples to run at a time: their largest map has at most 4 M values."""
    largest = max(math.prod(shape) for shape in network.shapes) * network.steps
    return min(max((1 << 22) // largest, 1), 250)


def integer_accuracy(network: IntegerNetwork, samples: Samples,
                     watch: Callable[[int], None] = lambda _: None) -> float:
    """Share of samples that the integer reference gets right, 0..1.

    watch: called with the number of samples done.
    """
    right = done = 0
    for inputs, labels in batches(samples, batch_of(network)):
        right += int((reference.run(
            network, inputs if network.count_bits else as_spikes(inputs)).classes == labels).sum())
        done += len(labels)
        watch(done)
    return right / len(samples)


@contextmanager
def only_rounded(grid: GridNetwork, *layers: GridLayer) -> Iterator[None]:
    """A context in which these layers are on the grid and all others in real numbers."""
    before = [layer.rounded for layer in grid]
    try:
        for layer in grid:
            layer.rounded = layer in layers
        yield
    finally:
        for layer, value in zip(grid, before, strict=True):
            layer.rounded = value


def _weights(layer: GridLayer) -> tuple[float, float]:
    """(relative error, share clipped) of the weights of all branches.

    The error of a channel counts relative to the norm of its weights, so all channels count alike.
    """
    wrong = total = clipped = count = 0.0
    exponent = layer.exponent
    for branch in layer:
        exact, integer = branch.scaled(exponent) * branch.gain, branch.integer_weight(exponent)
        size = exact.flatten(1).norm(dim=1).clamp(min=1e-30) if exact.ndim > 1 else \
            exact.abs().clamp(min=1e-30)
        unit = size.view(-1, *[1] * (exact.ndim - 1))
        wrong += float(((integer * branch.gain - exact) / unit).square().sum())
        total += len(size)
        limit = 1 << (branch.bits - 1)
        clipped += float(((integer == -limit) | (integer == limit - 1)).sum())
        count += integer.numel()
    return (wrong / total) ** 0.5, clipped / count


@dataclass
class _Seen:
    """What a layer did on the batches so far, means weighted by their samples."""

    low: float = math.inf
    high: float = -math.inf
    rate: float = 0.0
    saturation: float = 0.0
    samples: int = 0

    def add(self, layer: GridLayer, samples: int) -> None:
        """Count a batch that the layer has just run."""
        low, high = layer.reach
        self.low, self.high = min(self.low, low), max(self.high, high)
        share = samples / (self.samples + samples)
        self.rate += share * (layer.rate - self.rate)
        self.saturation += share * (layer.saturation - self.saturation)
        self.samples += samples


@torch.no_grad()
def layer_reports(grid: GridNetwork, samples: Samples) -> Iterator[QuantizationReport]:
    """One report per layer in order. Each costs a run over the samples, and comes when it is done.

    Raises ValueError where `to_integer` does.
    """
    integer = to_integer(grid)
    batch, one = batch_of(integer), 1 << grid.fraction_bits
    grid.eval()
    seen = [_Seen() for _ in grid]
    for inputs, labels in batches(samples, batch):
        for layer, found, _ in zip(grid, seen, grid.run(inputs), strict=True):
            found.add(layer, len(labels))
    for layer, found, made, shape in zip(grid, seen, integer.layers, integer.shapes, strict=True):
        with only_rounded(grid, layer):
            accuracy, _ = measure(grid, samples, batch=batch)
        error, clipped = _weights(layer)
        sum_bits, current_bits = (
            signed_bits(int(low.min()), int(high.max()))
            for low, high in (made.sum_range(), current_range(made, layer.input_bits)))
        yield QuantizationReport(
            name=layer.name, shape=shape, weight_error=error, clipped=clipped,
            weights=sum(branch.weight.numel() for branch in layer), sum_bits=sum_bits,
            current_bits=current_bits, reach=(found.low / one, found.high / one),
            rate=found.rate, saturation=found.saturation, accuracy=accuracy)
