"""The arithmetic of the array, stated once for hardware, compiler and integer reference.

A neuron is the *canonical map*, with one multiplier for every kind of neuron:

    w' = sat(round(w * x / 2^F) + J),   x = w (QIF),  x = beta (LIF),  x = 1 (IF)
    s  = w' >= theta
    w  = reset (hard) or w' - delta (soft) where s, else w'

w, x, theta, reset, delta are signed W-bit integers with F fractional bits (Q(W-F).F), J is signed.
`round` is half up (towards plus infinity), `sat` limits to lo..hi of the layer. The current is

    J = round(acc * 2^-shift) + bias,   acc = sum of the weights of the inputs that spike

with a shift and a bias per output channel; a negative shift is a shift to the left. Pixels of n
bits are n bit planes, acc = sum over planes b of 2^b acc_b, and J is the same in every time step.
A readout has no neuron: it sums J over the time steps, 32 bits.

Every function takes Python integers, numpy integer arrays or torch integer tensors alike.
This module imports neither torch nor numpy.
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["READOUT_BITS", "Neuron", "clip", "current", "neuron_step", "round_shift"]

#: Width of the sum that a readout makes of its currents.
READOUT_BITS = 32


def round_shift(value: Any, shift: int) -> Any:
    """value * 2^-shift, rounded half up; a negative shift is exact.

    >>> [round_shift(v, 1) for v in (-3, -2, -1, 0, 1, 2, 3)]
    [-1, -1, 0, 0, 1, 1, 2]
    """
    if shift <= 0:
        return value << -shift
    return (value + (1 << (shift - 1))) >> shift


def clip(value: Any, low: int, high: int) -> Any:
    """value limited to low..high."""
    return min(max(value, low), high) if isinstance(value, int) else value.clip(low, high)


def current(acc: Any, shift: int, bias: Any) -> Any:
    """J = round(acc * 2^-shift) + bias."""
    return round_shift(acc, shift) + bias


@dataclass(frozen=True, kw_only=True)
class Neuron:
    """The integers of one layer's neurons, in state LSBs (2^-F).

    square: the second operand of the multiplier is w itself (QIF), else `factor` (LIF, IF).
    soft: on a spike subtract `delta`, else load `reset`.
    Raises ValueError unless lo < theta <= hi and every value, and every value after a reset, lies
    in lo..hi; then `w' >= theta` may be decided before or after saturation.
    """

    square: bool
    soft: bool
    factor: int
    theta: int
    lo: int
    hi: int
    initial: int
    reset: int
    delta: int

    def __post_init__(self):
        for name in ("square", "soft"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {value!r}")
        for name in ("factor", "theta", "lo", "hi", "initial", "reset", "delta"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} must be an integer, not {value!r}")
        if not self.lo < self.theta <= self.hi:
            raise ValueError(f"theta must lie in lo + 1..hi = {self.lo + 1}..{self.hi}, "
                             f"not {self.theta}")
        for name in ("initial", "reset"):
            if not self.lo <= getattr(self, name) <= self.hi:
                raise ValueError(f"{name} must lie in lo..hi = {self.lo}..{self.hi}, "
                                 f"not {getattr(self, name)}")
        if not 0 <= self.delta <= self.theta - self.lo:
            raise ValueError(f"delta must lie in 0..theta - lo = 0..{self.theta - self.lo}, "
                             f"not {self.delta}")

    def check_width(self, state_bits: int) -> None:
        """Raise ValueError if a value needs more than `state_bits` bits."""
        low, high = -(1 << (state_bits - 1)), (1 << (state_bits - 1)) - 1
        for name in ("factor", "lo", "hi", "reset", "delta", "initial", "theta"):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} must fit in {state_bits} signed bits, "
                                 f"not {getattr(self, name)}")

    def words(self) -> dict[str, int]:
        """The neuron as the array is told it (`quadfire.rtl.contract.tape.NEURON_WORDS`).

        operand: x of the first time step; of all, where it is constant. A spike leaves v + change
        (soft reset) or change (hard), and `top` where v was above hi.
        """
        change = -self.delta if self.soft else self.reset
        return {"flags": self.square | self.soft << 1,
                "operand": self.initial if self.square else self.factor,
                "theta": self.theta, "lo": self.lo, "hi": self.hi, "initial": self.initial,
                "change": change, "top": change + self.hi * self.soft}


def neuron_step(w: Any, j: Any, neuron: Neuron, fraction_bits: int) -> tuple[Any, Any]:
    """One time step of the canonical map: (membrane, current) -> (spike, membrane after reset)."""
    v = round_shift(w * (w if neuron.square else neuron.factor), fraction_bits) + j
    spike = v >= neuron.theta
    v = clip(v, neuron.lo, neuron.hi)
    after = v - neuron.delta if neuron.soft else neuron.reset
    return spike, v + spike * (after - v)
