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

import math
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Canonical", "Neuron", "canonical_euler", "canonical_if", "canonical_lif",
           "canonical_root", "clip", "current", "neuron_step", "round_shift"]

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
        if self.soft and not 0 <= self.delta <= self.theta - self.lo:
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


@dataclass(frozen=True, kw_only=True)
class Canonical:
    """A neuron in real numbers, moved to the canonical map by w = scale * (u - center).

    J = gain * I + offset turns the input current I of the neuron as trained into that of the map.
    `factor` is the second operand where the map is linear; None says that it is w (QIF).
    """

    scale: float
    center: float
    gain: float
    offset: float
    factor: float | None
    theta: float
    initial: float
    reset: float
    delta: float
    soft: bool
    lo: float = -math.inf
    hi: float = math.inf

    def limited(self, low: float, high: float) -> "Canonical":
        """The same neuron, its membrane potential u saturating at low..high."""
        if not low < high:
            raise ValueError(f"low must be below high, not {low!r}, {high!r}")
        return replace(self, lo=self.scale * (low - self.center),
                       hi=self.scale * (high - self.center))

    def integer(self, state_bits: int, fraction_bits: int) -> Neuron:
        """The neuron in Q(state_bits - fraction_bits).fraction_bits, values rounded half up.

        Raises ValueError naming the value that the format cannot hold.
        """
        one = 1 << fraction_bits
        low, high = -(1 << (state_bits - 1)), (1 << (state_bits - 1)) - 1

        def fixed(name: str, value: float) -> int:
            result = math.floor(value * one + 0.5)
            if not low <= result <= high:
                raise ValueError(f"{name} = {value:.4g} (canonical) is outside of the state's "
                                 f"range {low / one:.4g}..{high / one:.4g}: use more state bits, "
                                 "fewer fraction bits, or a smaller scale")
            return result

        def limit(value: float) -> int:
            return low if value * one <= low else high if value * one >= high else \
                math.floor(value * one + 0.5)

        return Neuron(square=self.factor is None, soft=self.soft,
                      factor=0 if self.factor is None else fixed("factor", self.factor),
                      theta=fixed("threshold", self.theta), lo=limit(self.lo), hi=limit(self.hi),
                      initial=fixed("initial state", self.initial),
                      reset=fixed("reset", self.reset) if not self.soft else
                      fixed("initial state", self.initial),
                      delta=fixed("delta", self.delta) if self.soft else 0)


def _quadratic(c2: float, c1: float, c0: float, gain: float, v_threshold: float,
               v_reset: float | None, v_initial: float) -> Canonical:
    """u' = c2 u^2 + c1 u + c0 + g I  ->  w = c2 u + c1/2, J = c2 g I + c2 c0 + c1/2 - c1^2/4."""
    if not c2 > 0:
        raise ValueError(f"the quadratic coefficient must be above 0, not {c2!r}")
    center = -c1 / (2 * c2)

    def to_w(u: float) -> float:
        return c2 * (u - center)

    return Canonical(scale=c2, center=center, gain=c2 * gain,
                     offset=c2 * c0 + c1 / 2 - c1 * c1 / 4, factor=None, theta=to_w(v_threshold),
                     initial=to_w(v_initial), soft=v_reset is None,
                     reset=to_w(v_initial if v_reset is None else v_reset),
                     delta=c2 * v_threshold)


def _linear(c1: float, c0: float, gain: float, scale: float, v_threshold: float,
            v_reset: float | None, v_initial: float) -> Canonical:
    """u' = c1 u + c0 + gain I  ->  w = scale u, J = scale (gain I + c0), x = c1."""
    if not scale > 0:
        raise ValueError(f"scale must be above 0, not {scale!r}")
    return Canonical(scale=scale, center=0.0, gain=scale * gain, offset=scale * c0, factor=c1,
                     theta=scale * v_threshold, initial=scale * v_initial, soft=v_reset is None,
                     reset=scale * (v_initial if v_reset is None else v_reset),
                     delta=scale * v_threshold)


def canonical_root(a: float, u1: float, u2: float, v_threshold: float = 1.0,
                   v_reset: float | None = 0.0, v_initial: float = 0.0) -> Canonical:
    """QIF in root form, u' = a (u - u1)(u - u2) + I (arXiv:2510.05168).

    A spike resets u to `v_reset`, or subtracts `v_threshold` where `v_reset` is None (soft).
    """
    return _quadratic(a, -a * (u1 + u2), a * u1 * u2, 1.0, v_threshold, v_reset, v_initial)


def canonical_euler(tau: float, a0: float, v_rest: float, v_c: float, v_threshold: float = 1.0,
                    v_reset: float | None = 0.0, v_initial: float = 0.0) -> Canonical:
    """QIF in explicit-Euler form, u' = u + (I + a0 (u - v_rest)(u - v_c)) / tau.

    The form of SpikingJelly's `QIFNode`.
    """
    if not tau > 0:
        raise ValueError(f"tau must be above 0, not {tau!r}")
    k = a0 / tau
    return _quadratic(k, 1 - k * (v_rest + v_c), k * v_rest * v_c, 1 / tau, v_threshold, v_reset,
                      v_initial)


def canonical_lif(beta: float, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                  v_initial: float = 0.0, *, gain: float = 1.0, v_rest: float = 0.0,
                  scale: float = 0.5) -> Canonical:
    """LIF, u' = v_rest + beta (u - v_rest) + gain I.

    snnTorch's `Leaky` has gain 1; SpikingJelly's `LIFNode` with decay_input has beta = 1 - 1/tau,
    gain = 1/tau. `scale` is the value of w at u = 1: any value gives the same spikes in real
    numbers, 0.5 leaves u the range +-4 where w has +-2.
    """
    return _linear(beta, (1 - beta) * v_rest, gain, scale, v_threshold, v_reset, v_initial)


def canonical_if(v_threshold: float = 1.0, v_reset: float | None = 0.0, v_initial: float = 0.0, *,
                 scale: float = 0.5) -> Canonical:
    """IF, u' = u + I."""
    return _linear(1.0, 0.0, 1.0, scale, v_threshold, v_reset, v_initial)
