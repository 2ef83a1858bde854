"""What a layer reads: branches, each of which turns one map into sums.

A map is [C, H, W] of spikes, or of pixels where it is the network's input. numpy only.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quadfire.models.integer.checks import NetworkError, check_array, check_bits, check_integer
from quadfire.models.integer.pairs import Pair, PairField, as_pair, check_pair

__all__ = ["IDENTITY_BITS", "INPUT", "Branch", "ConvBranch", "IdentityBranch", "Pool", "Range",
           "Shape"]

#: (C, H, W)
Shape = tuple[int, int, int]
#: (lowest, highest), int64 [outputs] each
Range = tuple[np.ndarray, np.ndarray]

#: The source that stands for the network's input.
INPUT = -1
#: Highest number of a layer that a branch may name as its source.
LAST_SOURCE = 1 << 16
#: Signed bits of the weights of an identity branch.
IDENTITY_BITS = 20
#: Largest stride, and largest side of a pooled window, of both axes.
LARGEST = 255, 255


def _windows(sides: Sequence[int], size: Pair, stride: Pair, padding: Pair) -> Pair:
    """How many windows fit along both axes of a map of these sides, padded at all ends."""
    rows, columns = ((n + 2 * p - k) // s + 1
                     for n, k, s, p in zip(sides, size, stride, padding, strict=True))
    return rows, columns


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Windows of a map of spikes, each of which becomes one value.

    | field | meaning |
    |---|---|
    | kind | "sum": number of spikes in the window; "max": 1 where any value spikes (OR) |
    | size, stride | of a window, and the distance from one to the next; 1..255 |
    | padding | silent rows and columns around the map; at most size / 2 |

    Size, stride and padding are pairs (rows, columns); one number stands for two equal ones.
    The mean of a window is its sum; the 1 / (rows columns) belongs to the scale of the weights.
    """

    kind: str
    size: PairField = PairField()
    stride: PairField = PairField()
    padding: PairField = PairField(0)

    def __post_init__(self):
        if self.kind not in ("sum", "max"):
            raise NetworkError(f"the kind of a pool must be 'sum' or 'max', not {self.kind!r}")
        check_pair("size of a pool", self.size, 1, LARGEST)
        check_pair("stride of a pool", self.stride, 1, LARGEST)
        rows, columns = self.size
        check_pair("padding of a pool", self.padding, 0, (rows // 2, columns // 2))

    @property
    def count(self) -> int:
        """The largest value that a window can have."""
        return math.prod(self.size) if self.kind == "sum" else 1

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the pooled map. Raises NetworkError where no window fits."""
        channels, *sides = shape
        height, width = _windows(sides, self.size, self.stride, self.padding)
        if min(height, width) < 1:
            raise NetworkError(f"no window of {self.size[0]} x {self.size[1]} fits in a map of "
                               f"{sides[0]} x {sides[1]}")
        return channels, height, width


@dataclass(frozen=True, kw_only=True)
class ConvBranch:
    """A convolution of one map.

        acc[o, y, x] += gain * sum over c, i, j of weight[o, c, i, j] p[c, y', x']
        y' = stride[0] y + i - padding[0],    x' = stride[1] x + j - padding[1]

    p is the map of `source` after `pool`; outside of the map there are no spikes. A signal of one
    dimension is a map of one row, [C, 1, L].

    | field | meaning |
    |---|---|
    | source | number of an earlier layer, or -1 for the network's input |
    | weight | int8 [outputs, C, kh, kw], within the weight_bits of the layer |
    | stride | (rows, columns), each 1..255; one number stands for two equal ones |
    | padding | likewise, each 0 to one less than the larger side of the kernel |
    | pool | pools the map before the kernel sees it, or None |
    | gain | 1..16; brings a branch of larger weights to the scale of the others |

    A fully connected layer is a kernel as large as the pooled map, see `dense`.
    """

    source: int
    weight: np.ndarray
    stride: PairField = PairField(1)
    padding: PairField = PairField(0)
    pool: Pool | None = None
    gain: int = 1

    def __post_init__(self):
        if self.weight.ndim != 4 or 0 in self.weight.shape:
            raise NetworkError("weight must have shape [outputs, channels, height, width], "
                               f"not {list(self.weight.shape)}")
        check_array("weight", self.weight, np.int8, self.weight.shape)
        check_integer("source", self.source, INPUT, LAST_SOURCE)
        check_pair("stride", self.stride, 1, LARGEST)
        check_pair("padding", self.padding, 0, as_pair(max(self.kernel) - 1))
        check_integer("gain", self.gain, 1, 16)
        if self.pool is not None and not isinstance(self.pool, Pool):
            raise NetworkError(f"pool must be a Pool or None, not {self.pool!r}")

    @property
    def outputs(self) -> int:
        """Channels of its sums."""
        return self.weight.shape[0]

    @property
    def channels(self) -> int:
        """Channels of the map it reads."""
        return self.weight.shape[1]

    @property
    def kernel(self) -> Pair:
        """Height and width of the kernel."""
        return self.weight.shape[2], self.weight.shape[3]

    def pooled_shape(self, shape: Shape) -> Shape:
        """Shape of the map that the kernel sees, given the shape of the source."""
        return shape if self.pool is None else self.pool.output_shape(shape)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the sums, given that of the source. Raises NetworkError where it cannot fit."""
        channels, *sides = self.pooled_shape(shape)
        if channels != self.channels:
            raise NetworkError(f"takes {self.channels} channels, its source has {channels}")
        height, width = _windows(sides, self.kernel, self.stride, self.padding)
        if min(height, width) < 1:
            raise NetworkError(f"its kernel of {self.kernel[0]} x {self.kernel[1]} is larger than "
                               f"its map of {sides[0]} x {sides[1]}")
        return self.outputs, height, width

    def sum_range(self) -> Range:
        """(lowest, highest) sum over any spikes; every partial sum lies inside as well."""
        wide = self.weight.reshape(self.outputs, -1).astype(np.int64)
        count = self.gain * (1 if self.pool is None else self.pool.count)
        return np.minimum(wide, 0).sum(1) * count, np.maximum(wide, 0).sum(1) * count


@dataclass(frozen=True, kw_only=True)
class IdentityBranch:
    """The spikes of one map themselves, times one weight per channel.

        acc[o, y, x] += weight[o] s[o, y, x]

    source: as in `ConvBranch`. Its map s has the shape of the sums.
    weight: int32 [outputs], within 20 signed bits, whatever the weight_bits of the layer.
    """

    source: int
    weight: np.ndarray

    def __post_init__(self):
        if self.weight.ndim != 1 or not len(self.weight):
            raise NetworkError("the weight of an identity must have shape [outputs], "
                               f"not {list(self.weight.shape)}")
        check_array("weight", self.weight, np.int32, self.weight.shape)
        check_bits("weight", self.weight, IDENTITY_BITS)
        check_integer("source", self.source, INPUT, LAST_SOURCE)

    @property
    def outputs(self) -> int:
        """Channels of its sums, and of the map it reads."""
        return len(self.weight)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the sums: that of the source. Raises NetworkError where channels differ."""
        if shape[0] != self.outputs:
            raise NetworkError(f"has {self.outputs} weights, its source {shape[0]} channels")
        return shape

    def sum_range(self) -> Range:
        """(lowest, highest) sum over any spikes."""
        wide = self.weight.astype(np.int64)
        return np.minimum(wide, 0), np.maximum(wide, 0)


Branch = ConvBranch | IdentityBranch
