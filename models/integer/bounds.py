"""What the currents of a layer can reach, proved from its weights. numpy only.

What its sums can reach is `IntegerLayer.sum_range`.
"""

import numpy as np

from quadfire.models.integer.layer import IntegerLayer
from quadfire.rtl.contract.numerics import current

__all__ = ["current_range", "signed_bits"]


def current_range(layer: IntegerLayer, input_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(lowest, highest) J over any input, int64 [outputs].

    input_bits: width of the pixels that the layer reads, 0 where it reads spikes.
    """
    largest = (1 << max(input_bits, 1)) - 1
    low, high = (
        np.array([current(int(a) * largest, int(s), int(b))
                  for a, s, b in zip(acc, layer.shift, layer.bias, strict=True)], np.int64)
        for acc in layer.sum_range())
    return low, high


def signed_bits(low: int, high: int) -> int:
    """Bits of the narrowest signed number that holds low..high."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1
