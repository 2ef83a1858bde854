"""What a fused kernel works on: a layer of neurons and its inputs, channels innermost."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["SUMS", "Firing", "Layer"]

#: Sums of gradients per channel: by shift, by the scales of two inputs, by c2, c1, c0 and gain.
SUMS = 7


class Firing(NamedTuple):
    """How neurons fire: numbers of the whole layer. surrogate: an index into SURROGATES."""

    reset: float
    low: float
    high: float
    initial: float
    soft: bool
    detach: bool
    surrogate: int
    limited: bool
    rounded: bool


class Layer(NamedTuple):
    """A layer of neurons in a run.

    | field | meaning |
    |---|---|
    | `steps` | T |
    | `xs` | one or two inputs [T or 1, ..., C] |
    | `scales`, `shifts` | of each input, [C]: a current is scale x + shift |
    | `coefficients` | c2, c1, c0, gain, each [C] |
    | `fixed` | threshold, window, what a soft reset subtracts, each [C] |
    """

    steps: int
    xs: list[Tensor]
    scales: list[Tensor]
    shifts: list[Tensor]
    coefficients: list[Tensor]
    fixed: list[Tensor]
    firing: Firing
