"""What the accumulators and currents of a layer can reach, from its actual weights. numpy only."""

import numpy as np

from rtl.numerics import current

from .layer import Layer

__all__ = ["accumulator_range", "current_range"]


def accumulator_range(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) sum of a layer over any spikes; int64 [outputs].

    This is one bit plane, or one time step of spikes; partial sums lie inside as well.
    """
    return layer.sum_range()


def current_range(layer: Layer, input_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) J over any input of `input_bits` bits (0: spikes); int64 [outputs]."""
    largest = (1 << max(input_bits, 1)) - 1
    low, high = (
        np.array([current(int(a) * largest, int(s), int(b))
                  for a, s, b in zip(acc, layer.shift, layer.bias, strict=True)], np.int64)
        for acc in accumulator_range(layer))
    return low, high
