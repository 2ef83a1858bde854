"""Scales: the power of two per channel that makes the weights of a layer integers.

All branches of a layer share the scale of a channel. A `gain` of 2 or 4 makes room for a branch
whose weights are larger than those of the first.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quadfire.models.quantize.fake_quant import GridBranch
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["choose_exponent"]

#: Gains that every convolution but the first may get.
GAINS = (1, 2, 4)
#: Up to so many choices of gains all are tried.
MOST_COMBINATIONS = 81


def _errors(branch: GridBranch, exponents: range) -> tuple[Tensor, Tensor]:
    """(squared error, largest magnitude) of the branch's sums, [exponents, outputs] each.

    The error is the sum of the squared errors of the rounded weights; a weight counts once for
    every spike that a pool adds up.
    """
    errors, sums = [], []
    outputs = len(branch.weight)
    spread = 1 if branch.pool is None else branch.pool.count
    for exponent in exponents:
        octave = branch.weight.new_tensor(float(exponent)).expand(outputs)
        integer = branch.integer_weight(octave)
        wrong = integer * branch.gain / 2.0 ** exponent - branch.weight
        errors.append(wrong.square().flatten(1).sum(1) * spread if wrong.ndim > 1 else
                      wrong.square())
        sums.append(integer.abs().flatten(1).sum(1) * branch.count if wrong.ndim > 1 else
                    integer.abs())
    return torch.stack(errors), torch.stack(sums)


class _Result(NamedTuple):
    """What a choice of gains costs: in all, and for every channel at its best exponent."""

    total: float
    gains: tuple[int, ...]
    error: Tensor
    best: Tensor


def _search(choices: list[list[Any]], result: Callable[[Sequence[Any]], _Result]) -> _Result:
    """The best choice of one entry for each branch: of all, or of many branches one at a time."""
    if math.prod(map(len, choices)) <= MOST_COMBINATIONS:
        return min(map(result, product(*choices)), key=lambda r: r.total)
    chosen = [tried[0] for tried in choices]
    for _ in range(2):
        for number, tried in enumerate(choices):
            chosen[number] = min(tried, key=lambda entry, n=number: result(
                [*chosen[:n], entry, *chosen[n + 1:]]).total)
    return result(chosen)


@torch.no_grad()
def choose_exponent(branches: Sequence[GridBranch], *,
                    accumulator_bits: int = ArrayConfig.accumulator_bits, lowest: int = 0,
                    highest: int = 31) -> Tensor:
    """The scale of every channel whose rounded weights have the least squared error.

    Returns exponents [outputs] in lowest..highest, common to all branches, and sets the `gain` of
    every branch. An exponent is out of the question where the integers could overflow an
    accumulator of `accumulator_bits`. Raises ValueError for a channel for which none is left.
    """
    largest = torch.stack([branch.weight.flatten(1).abs().amax(1) for branch in branches
                           if not branch.is_identity]).amin(0).clamp(min=2.0 ** -highest)
    # A larger exponent would saturate the largest weight of every branch to 1/16 or less.
    beyond = int((branches[0].bits + 3 - torch.log2(largest)).max().ceil())
    exponents = range(lowest, max(lowest, min(highest, beyond)) + 1)
    choices = []
    for number, branch in enumerate(branches):
        free = number and not branch.is_identity and not branch.gain_is_fixed
        tried = []
        for gain in GAINS if free else (branch.gain if branch.gain_is_fixed else 1,):
            branch.gain = gain
            tried.append((gain, *_errors(branch, exponents)))
        choices.append(tried)

    def result(combination: Sequence[tuple[int, Tensor, Tensor]]) -> _Result:
        gains, errors, sums = zip(*combination, strict=True)
        fits = torch.stack(sums).sum(0) < 1 << (accumulator_bits - 1)
        error, best = torch.stack(errors).sum(0).where(fits, torch.inf).min(0)
        return _Result(error.sum().item(), gains, error, best)

    _, gains, error, best = _search(choices, result)
    if error.isinf().any():
        count = sum(branch.weight[0].numel() for branch in branches)
        raise ValueError(f"channel {int(error.argmax())}: its {count} weights overflow an "
                         f"accumulator of {accumulator_bits} bits at any scale")
    for branch, gain in zip(branches, gains, strict=True):
        branch.gain = gain
    return best + lowest
