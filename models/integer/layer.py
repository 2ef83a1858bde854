"""One layer of an integer network: its branches, and what becomes of their sums.

    acc[o, y, x](t) = sum over branches
    J = round(acc 2^-shift[o]) + bias[o]

A neuron turns the current J into spikes; a readout adds J up over the time steps. The arithmetic is
that of `quadfire.rtl.contract.numerics`. numpy only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quadfire.models.integer.branches import (
    INPUT,
    Branch,
    ConvBranch,
    IdentityBranch,
    Pool,
    Range,
    Shape,
)
from quadfire.models.integer.checks import NetworkError, check_array, check_bits
from quadfire.rtl.contract.numerics import Neuron

__all__ = ["SHIFT_RANGE", "WEIGHT_BITS", "IntegerLayer", "dense"]

#: Widths that the weights of a layer may have.
WEIGHT_BITS = (4, 8)
#: Shifts that a layer may ask for. An array may allow fewer; the compiler says so.
SHIFT_RANGE = (-16, 31)


@dataclass(frozen=True, kw_only=True)
class IntegerLayer:
    """Branches whose sums have one shape, added up; then a neuron or the readout.

    | field | meaning |
    |---|---|
    | name | for messages and reports |
    | branches | at least one |
    | weight_bits | 4 or 8, width of the weights of all its convolutions |
    | shift | int8 [outputs], in -16..31 |
    | bias | int32 [outputs], in state LSBs; of a readout, in LSBs of its sum |
    | neuron | None for the readout |

    Raises NetworkError for any other value.
    """

    name: str
    branches: tuple[Branch, ...]
    weight_bits: int
    shift: np.ndarray
    bias: np.ndarray
    neuron: Neuron | None

    def __post_init__(self):
        if not isinstance(self.name, str):
            raise NetworkError(f"layer {self.name!r}: its name must be a text")
        try:
            self._check_branches()
            self._check_channels()
        except NetworkError as error:
            raise NetworkError(f"layer {self.name!r}{error}") from None

    def _check_branches(self) -> None:
        bits = self.weight_bits
        if type(bits) is not int or bits not in WEIGHT_BITS:
            raise NetworkError(f": weight_bits must be 4 or 8, not {bits!r}")
        if not self.branches:
            raise NetworkError(": needs at least one branch")
        for number, branch in enumerate(self.branches):
            if not isinstance(branch, Branch):
                raise NetworkError(f", branch {number}: must be a branch, not {branch!r}")
            if branch.outputs != self.outputs:
                raise NetworkError(f", branch {number}: has {branch.outputs} outputs, branch 0 "
                                   f"{self.outputs}")
            if isinstance(branch, ConvBranch):
                try:
                    check_bits("weight", branch.weight, bits)
                except NetworkError as error:
                    raise NetworkError(f", branch {number}: {error}") from None

    def _check_channels(self) -> None:
        for name, array, dtype in (("shift", self.shift, np.int8), ("bias", self.bias, np.int32)):
            try:
                check_array(name, array, dtype, (self.outputs,))
            except NetworkError as error:
                raise NetworkError(f": {error}") from None
        low, high = SHIFT_RANGE
        bad = np.flatnonzero((self.shift < low) | (self.shift > high))
        if len(bad):
            raise NetworkError(f": shift of channel {bad[0]} must be in {low}..{high}, "
                               f"not {self.shift[bad[0]]}")
        if self.neuron is not None and not isinstance(self.neuron, Neuron):
            raise NetworkError(f": neuron must be a Neuron or None, not {self.neuron!r}")

    @property
    def outputs(self) -> int:
        """Channels of its map."""
        return self.branches[0].outputs

    @property
    def sources(self) -> tuple[int, ...]:
        """The maps it reads, one per branch."""
        return tuple(branch.source for branch in self.branches)

    @property
    def reads_input(self) -> bool:
        """Whether it reads the network's input."""
        return INPUT in self.sources

    @property
    def weight(self) -> np.ndarray:
        """The weights of a layer that has a single plain kernel, as a matrix [outputs, inputs].

        Raises NetworkError for any other layer.
        """
        first, *others = self.branches
        if others or isinstance(first, IdentityBranch) or first.pool is not None or \
                (first.stride, first.padding, first.gain) != ((1, 1), (0, 0), 1):
            raise NetworkError(f"layer {self.name!r}: is more than one matrix of weights")
        return first.weight.reshape(self.outputs, -1)

    @property
    def inputs(self) -> int:
        """Inputs of every sum, of a layer that has a `weight`."""
        return self.weight.shape[1]

    def output_shape(self, shape_of: Callable[[int], Shape]) -> Shape:
        """Shape of its map, given the shapes of its sources.

        Raises NetworkError where a branch does not fit its source or the other branches.
        """
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
        """(lowest, highest) accumulator over any spikes, int64 [outputs].

        It holds for one time step or one bit plane of pixels, and for every partial sum. Padding
        only makes the range smaller.
        """
        lows, highs = zip(*(branch.sum_range() for branch in self.branches), strict=True)
        return np.sum(lows, axis=0), np.sum(highs, axis=0)


def dense(name: str, weight: np.ndarray, *, weight_bits: int, shift: np.ndarray,
          bias: np.ndarray, neuron: Neuron | None, source: int,
          shape: tuple[int, ...] | None = None, pool: Pool | None = None) -> IntegerLayer:
    """A fully connected layer.

    weight: [outputs, inputs]. shape: (C, H, W) of the map it reads, after `pool`; the inputs are
    C H W in that order. By default a plain vector, (inputs, 1, 1).
    Raises NetworkError for a weight of another shape.
    """
    inputs = weight.shape[-1]
    shape = (inputs, 1, 1) if shape is None else shape
    if weight.ndim != 2 or np.prod(shape) != inputs:
        raise NetworkError(f"layer {name!r}: weight must have shape [outputs, {np.prod(shape)}], "
                           f"not {list(weight.shape)}")
    branch = ConvBranch(source=source, weight=weight.reshape(-1, *shape), pool=pool)
    return IntegerLayer(name=name, branches=(branch,), weight_bits=weight_bits, shift=shift,
                        bias=bias, neuron=neuron)
