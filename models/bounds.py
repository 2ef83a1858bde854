"""What the accumulators and currents of a layer can reach, from its actual weights. numpy only."""

import numpy as np

from rtl.numerics import current

from .integer import DenseLayer

__all__ = ["accumulator_range", "current_range"]


def accumulator_range(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) sum of weights [outputs, inputs] over any set of inputs; int64 [outputs].

    This is one bit plane, or one time step of spikes; partial sums lie inside as well.
    """
    wide = weight.astype(np.int64)
    return np.minimum(wide, 0).sum(1), np.maximum(wide, 0).sum(1)


def current_range(layer: DenseLayer, input_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) J over any input of `input_bits` bits (0: spikes); int64 [outputs]."""
    largest = (1 << max(input_bits, 1)) - 1
    low, high = (
        np.array([current(int(a) * largest, int(s), int(b))
                  for a, s, b in zip(acc, layer.shift, layer.bias, strict=True)], np.int64)
        for acc in accumulator_range(layer.weight))
    return low, high
