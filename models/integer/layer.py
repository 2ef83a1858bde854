"""One layer of an integer network: what it reads, how it sums, and what its sums become.

A map is [C, H, W] of spikes (or of pixels, the network's input). A layer sums *branches*, each of
which reads one map, then makes currents of the sums:

    acc[o, y, x](t) = sum over branches
    J = round(acc 2^-shift[o]) + bias[o],   then a neuron or a readout (`quadfire.rtl.contract.numerics`)

numpy only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quadfire.rtl.contract.numerics import Neuron

__all__ = ["IDENTITY_BITS", "SHIFT_RANGE", "Branch", "ConvBranch", "IdentityBranch", "Layer",
           "NetworkError", "Pool", "Shape", "dense"]

#: (C, H, W)
Shape = tuple[int, int, int]
#: int64 [outputs], int64 [outputs]
Range = tuple[np.ndarray, np.ndarray]

#: Shifts that a layer may ask for; an array may hold fewer (see `quadfire.firmware.compiler.compile`).
SHIFT_RANGE = (-16, 31)
#: Signed bits of the weights of an identity branch.
IDENTITY_BITS = 20
#: The source that stands for the network's input.
INPUT = -1


class NetworkError(ValueError):
    """A network that cannot be: wrong version, shape, range or missing part."""


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Raise NetworkError unless value is an int in low..high."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise NetworkError(f"{name} must be an integer in {low}..{high}, not {value!r}")


def _check_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype:
        raise NetworkError(f"{name} must be {np.dtype(dtype).name}, not {array.dtype.name}")
    if array.shape != shape:
        raise NetworkError(f"{name} must have shape {list(shape)}, not {list(array.shape)}")


def _check_bits(name: str, array: np.ndarray, bits: int) -> None:
    limit = 1 << (bits - 1)
    bad = np.argwhere((array < -limit) | (array >= limit))
    if len(bad):
        index = tuple(int(i) for i in bad[0])
        raise NetworkError(f"{name} {[*index]} = {array[index]} is outside of {bits} signed bits")


def _windows(length: int, size: int, stride: int, padding: int) -> int:
    """Windows of `size`, `stride` apart, in `length` values with `padding` at both ends."""
    return (length + 2 * padding - size) // stride + 1


@dataclass(frozen=True, kw_only=True)
class Pool:
    """size x size windows of a map of spikes, `stride` apart, `padding` silent rows around it.

    kind: "sum": the spikes of a window all count (the mean, up to the scale of the weights);
    "max": one spike where any of the window spikes (OR). 2 padding <= size.
    """

    kind: str
    size: int
    stride: int
    padding: int = 0

    def __post_init__(self):
        if self.kind not in ("sum", "max"):
            raise NetworkError(f"the kind of a pool must be 'sum' or 'max', not {self.kind!r}")
        check_integer("size of a pool", self.size, 1, 255)
        check_integer("stride of a pool", self.stride, 1, 255)
        check_integer("padding of a pool", self.padding, 0, self.size // 2)

    @property
    def count(self) -> int:
        """The largest value that a window can have."""
        return self.size ** 2 if self.kind == "sum" else 1

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of a pooled map. Raises NetworkError where no window fits."""
        channels, *sides = shape
        height, width = (_windows(n, self.size, self.stride, self.padding) for n in sides)
        if min(height, width) < 1:
            raise NetworkError(f"no window of {self.size} x {self.size} fits in a map of "
                               f"{sides[0]} x {sides[1]}")
        return channels, height, width


@dataclass(frozen=True, kw_only=True)
class ConvBranch:
    """acc[o, y, x] += gain * sum over c, i, j of weight[o, c, i, j] p[c, y', x']

    y' = stride y + i - padding, x' = stride x + j - padding; p is the map of `source` after its
    `pool`; outside of it there are no spikes.

    source: index of an earlier layer, or -1, the network's input. weight: int8 [outputs, C, kh,
    kw], within the layer's weight_bits. gain: 1..16, brings a branch of larger weights to the
    scale of the others. A dense layer is a kernel as large as the (pooled) map, see `dense`.
    """

    source: int
    weight: np.ndarray
    stride: int = 1
    padding: int = 0
    pool: Pool | None = None
    gain: int = 1

    def __post_init__(self):
        if self.weight.ndim != 4 or 0 in self.weight.shape:
            raise NetworkError("weight must have shape [outputs, channels, height, width], "
                               f"not {list(self.weight.shape)}")
        _check_array("weight", self.weight, np.int8, self.weight.shape)
        check_integer("source", self.source, INPUT, 1 << 16)
        check_integer("stride", self.stride, 1, 255)
        check_integer("padding", self.padding, 0, max(self.kernel) - 1)
        check_integer("gain", self.gain, 1, 16)

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    @property
    def channels(self) -> int:
        """Channels of the map it reads."""
        return self.weight.shape[1]

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width."""
        return self.weight.shape[2], self.weight.shape[3]

    def pooled_shape(self, shape: Shape) -> Shape:
        """Shape of the map that the kernel sees, of a source of `shape`."""
        return shape if self.pool is None else self.pool.output_shape(shape)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the sums, of a source of `shape`. Raises NetworkError where it does not fit."""
        channels, *sides = self.pooled_shape(shape)
        if channels != self.channels:
            raise NetworkError(f"takes {self.channels} channels, its source has {channels}")
        height, width = (_windows(n, k, self.stride, self.padding)
                         for n, k in zip(sides, self.kernel, strict=True))
        if min(height, width) < 1:
            raise NetworkError(f"its kernel of {self.kernel[0]} x {self.kernel[1]} is larger than "
                               f"its map of {sides[0]} x {sides[1]}")
        return self.outputs, height, width

    def sum_range(self) -> Range:
        """(lowest, highest) value of the branch over any spikes, and of every partial sum."""
        wide = self.weight.reshape(self.outputs, -1).astype(np.int64)
        count = self.gain * (1 if self.pool is None else self.pool.count)
        return np.minimum(wide, 0).sum(1) * count, np.maximum(wide, 0).sum(1) * count


@dataclass(frozen=True, kw_only=True)
class IdentityBranch:
    """acc[o, y, x] += weight[o] s[o, y, x], s the spikes of `source`, of the shape of the sums.

    weight: int32 [outputs], of up to 20 signed bits whatever the layer's weight_bits.
    """

    source: int
    weight: np.ndarray

    def __post_init__(self):
        if self.weight.ndim != 1 or not len(self.weight):
            raise NetworkError("the weight of an identity must have shape [outputs], "
                               f"not {list(self.weight.shape)}")
        _check_array("weight", self.weight, np.int32, self.weight.shape)
        _check_bits("weight", self.weight, IDENTITY_BITS)
        check_integer("source", self.source, INPUT, 1 << 16)

    @property
    def outputs(self) -> int:
        return len(self.weight)

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the sums: that of the source. Raises NetworkError where channels differ."""
        if shape[0] != self.outputs:
            raise NetworkError(f"has {self.outputs} weights, its source {shape[0]} channels")
        return shape

    def sum_range(self) -> Range:
        """(lowest, highest) value of the branch over any spikes."""
        wide = self.weight.astype(np.int64)
        return np.minimum(wide, 0), np.maximum(wide, 0)


Branch = ConvBranch | IdentityBranch


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Branches of one shape, added up; then J and a neuron or the readout, see the module.

    weight_bits: 4 or 8, of the weights of all convolutions. shift: int8 [outputs]. bias: int32
    [outputs], in state LSBs (readout: in units of its sum). neuron: None for the readout, which
    sums J over the time steps.
    """

    name: str
    branches: tuple[Branch, ...]
    weight_bits: int
    shift: np.ndarray
    bias: np.ndarray
    neuron: Neuron | None

    @property
    def outputs(self) -> int:
        """Channels of its map."""
        return self.branches[0].outputs

    @property
    def sources(self) -> tuple[int, ...]:
        """The maps it reads, one a branch."""
        return tuple(branch.source for branch in self.branches)

    @property
    def reads_input(self) -> bool:
        """Whether it reads the network's input, pixels if that has any."""
        return INPUT in self.sources

    @property
    def weight(self) -> np.ndarray:
        """The weights of a layer that has a single plain kernel, as a matrix [outputs, inputs].

        Raises NetworkError for any other layer.
        """
        first, *others = self.branches
        if others or not isinstance(first, ConvBranch) or first.pool is not None or \
                (first.stride, first.padding, first.gain) != (1, 0, 1):
            raise NetworkError(f"layer {self.name!r}: is more than one matrix of weights")
        return first.weight.reshape(self.outputs, -1)

    @property
    def inputs(self) -> int:
        """Inputs of every sum, of a layer that has a `weight`."""
        return self.weight.shape[1]

    def output_shape(self, shape_of: Callable[[int], Shape]) -> Shape:
        """Shape of its map, from the shapes of its sources. Raises NetworkError."""
        shapes = []
        for number, branch in enumerate(self.branches):
            try:
                shapes.append(branch.output_shape(shape_of(branch.source)))
            except NetworkError as error:
                raise NetworkError(f"layer {self.name!r}, branch {number}: {error}") from None
        for number, shape in enumerate(shapes):
            if shape != shapes[0]:
                raise NetworkError(f"layer {self.name!r}, branch {number}: makes a map of "
                                   f"{[*shape]}, branch 0 one of {[*shapes[0]]}")
        return shapes[0]

    def sum_range(self) -> Range:
        """(lowest, highest) accumulator over any spikes, int64 [outputs]; padding only shrinks it.

        One time step, or one bit plane of pixels; every partial sum lies inside as well.
        """
        lows, highs = zip(*(branch.sum_range() for branch in self.branches), strict=True)
        return np.sum(lows, axis=0), np.sum(highs, axis=0)

    def __post_init__(self):
        try:
            self._check()
        except NetworkError as error:
            raise NetworkError(f"layer {self.name!r}{error}") from None

    def _check(self) -> None:
        if not isinstance(self.name, str):
            raise NetworkError(": its name must be a text")
        if self.weight_bits not in (4, 8):
            raise NetworkError(f": weight_bits must be 4 or 8, not {self.weight_bits!r}")
        if not self.branches:
            raise NetworkError(": needs at least one branch")
        for number, branch in enumerate(self.branches):
            if branch.outputs != self.outputs:
                raise NetworkError(f", branch {number}: has {branch.outputs} outputs, branch 0 "
                                   f"{self.outputs}")
            if isinstance(branch, ConvBranch):
                try:
                    _check_bits("weight", branch.weight, self.weight_bits)
                except NetworkError as error:
                    raise NetworkError(f", branch {number}: {error}") from None
        for name, array, dtype in (("shift", self.shift, np.int8), ("bias", self.bias, np.int32)):
            try:
                _check_array(name, array, dtype, (self.outputs,))
            except NetworkError as error:
                raise NetworkError(f": {error}") from None
        low, high = SHIFT_RANGE
        bad = np.flatnonzero((self.shift < low) | (self.shift > high))
        if len(bad):
            raise NetworkError(f": shift of channel {bad[0]} must be in {low}..{high}, "
                               f"not {self.shift[bad[0]]}")


def dense(name: str, weight: np.ndarray, *, weight_bits: int, shift: np.ndarray,
          bias: np.ndarray, neuron: Neuron | None, source: int,
          shape: tuple[int, ...] | None = None, pool: Pool | None = None) -> Layer:
    """A fully connected layer of weights [outputs, inputs].

    shape: (C, H, W) of the map it reads (after `pool`), C H W = inputs in that order; by default a
    plain vector, (inputs, 1, 1). Raises NetworkError for a weight of another shape.
    """
    inputs = weight.shape[-1]
    shape = (inputs, 1, 1) if shape is None else shape
    if weight.ndim != 2 or np.prod(shape) != inputs:
        raise NetworkError(f"layer {name!r}: weight must have shape [outputs, {np.prod(shape)}], "
                           f"not {list(weight.shape)}")
    branch = ConvBranch(source=source, weight=weight.reshape(-1, *shape), pool=pool)
    return Layer(name=name, branches=(branch,), weight_bits=weight_bits, shift=shift, bias=bias,
                 neuron=neuron)
