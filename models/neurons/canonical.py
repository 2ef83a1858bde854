"""The canonical map in real numbers: how a trained neuron becomes one that the array runs.

The array computes one map, in units of its own state w (`quadfire.rtl.contract.numerics`):

    w' = w * x + J,    spike when w' >= theta,    then w = reset (hard) or w' - delta (soft)

Every neuron u' = c2 u^2 + c1 u + c0 + g I is that map after a change of variable,
w = scale * (u - center) and J = gain * I + offset:

| neuron | condition | scale | center | gain | offset | x |
|---|---|---|---|---|---|---|
| quadratic | c2 > 0 | c2 | -c1 / (2 c2) | c2 g | c2 c0 + c1/2 - c1^2/4 | w |
| linear | c2 = 0 | k | r | k g | k (c0 + (c1 - 1) r) | c1 |

A linear neuron may be scaled at will: k = theta / (v_threshold - r), with the reset potential r of
a hard reset, 0 for a soft one, and any theta. So every channel may have a threshold, a reset
potential and a gain of its own: they go into that channel's weights and bias.

The functions here make a `Canonical` from the parameters of each form, and `Canonical.integer`
rounds it to the integers of the array. Plain Python numbers throughout; this file needs no torch.

A function fires *at* the threshold, u' >= v_threshold, as the array does; with `strict` it fires
*above* it. A hard reset loads `v_reset`; with v_reset = None the reset is soft and subtracts
`v_threshold` in the step that fires.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from quadfire.rtl.contract.numerics import Neuron

__all__ = ["Canonical", "Value", "canonical_euler", "canonical_if", "canonical_lif",
           "canonical_linear", "canonical_root"]

#: One number for a whole layer, or one for every channel.
Value = float | tuple[float, ...]

#: A linear neuron's threshold in units of w: a state of +-2 then holds +-4 thresholds.
THETA = 0.5


@dataclass(frozen=True, kw_only=True)
class Canonical:
    """A neuron in real numbers, in units of w = scale * (u - center).

    | field | meaning |
    |---|---|
    | scale, center | the change of variable, u being the membrane potential as trained |
    | gain, offset | J = gain * I + offset, I being the input current as trained |
    | factor | second operand of the product; None: w itself (QIF) |
    | theta | fires where w' >= theta; infinite: an integrator, which never fires |
    | strict | fires where w' > theta instead |
    | initial | w before the first time step |
    | soft, reset, delta | after a spike: w' - delta where soft, else reset |
    | lo, hi | limits at which w' saturates |

    scale, center, gain and offset are one number, or a tuple with one for every channel.
    """

    scale: Value
    center: Value
    gain: Value
    offset: Value
    factor: float | None
    theta: float
    initial: float
    reset: float
    delta: float
    soft: bool
    strict: bool = False
    lo: float = -math.inf
    hi: float = math.inf

    @property
    def channels(self) -> int | None:
        """How many channels have values of their own; None where one neuron serves all."""
        return next((len(value) for value in (self.scale, self.center, self.gain, self.offset)
                     if isinstance(value, tuple)), None)

    def limited(self, low: float, high: float) -> "Canonical":
        """The same neuron with its membrane potential u saturating at low..high.

        Raises ValueError unless low < high, and where channels differ in scale or center.
        """
        if not low < high:
            raise ValueError(f"low must be below high, not {low!r}, {high!r}")
        ends = [_common(f"{name} in units of w", _each(lambda k, c, u=u: k * (u - c), self.scale,
                                                       self.center))
                for name, u in (("low", low), ("high", high))]
        return replace(self, lo=ends[0], hi=ends[1])

    def rescaled(self, factor: float) -> "Canonical":
        """The same neuron in units of w times `factor`. Raises ValueError unless it is linear."""
        if self.factor is None:
            raise ValueError("the unit of w of a quadratic neuron is fixed by its equation")
        return replace(self, **{name: _each(lambda value: value * factor, getattr(self, name))
                                for name in ("scale", "gain", "offset", "theta", "initial",
                                             "reset", "delta", "lo", "hi")})

    def integer(self, state_bits: int, fraction_bits: int) -> Neuron:
        """The neuron in Q(state_bits - fraction_bits).fraction_bits, values rounded half up.

        The threshold is rounded up, as w' >= theta holds for an integer w' exactly from there on;
        a strict one to the next integer above it. Limits beyond the format saturate to it.
        Raises ValueError naming any other value that the format cannot hold.
        """
        one = 1 << fraction_bits
        low, high = -(1 << (state_bits - 1)), (1 << (state_bits - 1)) - 1

        def within(name: str, value: float, result: int) -> int:
            if not low <= result <= high:
                raise ValueError(f"{name} = {value:.4g} (canonical) is outside of the state's "
                                 f"range {low / one:.4g}..{high / one:.4g}: use more state bits, "
                                 "fewer fraction bits, or a smaller scale")
            return result

        def fixed(name: str, value: float) -> int:
            return within(name, value, math.floor(value * one + 0.5))

        def limit(value: float) -> int:
            return low if value * one <= low else high if value * one >= high else \
                math.floor(value * one + 0.5)

        initial = fixed("initial state", self.initial)
        theta = high if self.theta == math.inf else within(
            "threshold", self.theta, _threshold(self.theta * one, self.strict))
        return Neuron(square=self.factor is None, soft=self.soft,
                      factor=0 if self.factor is None else fixed("factor", self.factor),
                      theta=theta, lo=limit(self.lo), hi=limit(self.hi),
                      initial=initial, reset=initial if self.soft else fixed("reset", self.reset),
                      delta=fixed("delta", self.delta) if self.soft else 0)


def _threshold(value: float, strict: bool) -> int:
    """The lowest integer that reaches `value`, or that is above it where `strict`.

    A value within 2^-20 of an integer counts as that integer: it is what rounding made of it.
    """
    nearest = math.floor(value + 0.5)
    if abs(value - nearest) > 2.0 ** -20:
        return math.ceil(value)
    return nearest + 1 if strict else nearest


def _each(function: Callable[..., float], *values: Value) -> Any:
    """function of numbers for every channel, or once where all values are single numbers."""
    lengths = {len(value) for value in values if isinstance(value, tuple)}
    if not lengths:
        return function(*values)
    if len(lengths) > 1:
        raise ValueError("values per channel must be as many, not "
                         f"{' and '.join(map(str, sorted(lengths)))}")
    count = lengths.pop()
    return tuple(map(function, *(value if isinstance(value, tuple) else (value,) * count
                                 for value in values)))


def _common(name: str, value: Value) -> float:
    """The one number that all channels share. Raises ValueError, naming it, where they differ."""
    if not isinstance(value, tuple):
        return value
    low, high = min(value), max(value)
    if low != high and high - low > 1e-9 * max(abs(low), abs(high)):
        raise ValueError(f"{name} differs between channels ({low:.6g}..{high:.6g}): the array "
                         "holds one a layer")
    return value[0]


def canonical_linear(*, decay: Value, threshold: Value, reset: Value | None = None,
                     delta: Value | None = None, gain: Value = 1.0, offset: Value = 0.0,
                     initial: Value = 0.0, low: Value = -math.inf, strict: bool = False,
                     theta: float | None = None) -> Canonical:
    """Any linear neuron, u' = decay u + gain I + offset, with values for a layer or per channel.

    | argument | meaning |
    |---|---|
    | decay | share of u that is left after a time step |
    | threshold, strict | fires where u' >= threshold; strict: where u' > threshold |
    | reset | potential after a spike; None: the reset is soft |
    | delta | what a soft reset subtracts; None: the threshold |
    | gain, offset | of the input current |
    | initial | u before the first time step |
    | low | u' saturates there |
    | theta | the threshold in units of w; None: a power of two such that w = 2 is 4 thresholds |

    Channels may differ in everything but in decay, and in initial, delta and low when these are
    measured in the channel's own threshold - reset (hard) or threshold (soft).
    Raises ValueError, naming the value, where they do; and for a threshold at the reset potential,
    or of 0 with a soft reset.
    """
    for name, value in (("decay", decay), ("threshold", threshold), ("reset", reset),
                        ("delta", delta), ("gain", gain), ("offset", offset),
                        ("initial", initial)):
        numbers = value if isinstance(value, tuple) else () if value is None else (value,)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"{name} must be finite, not {value!r}")
    rest: Value = 0.0 if reset is None else reset
    span = _each(lambda th, r: th - r, threshold, rest)
    spans = span if isinstance(span, tuple) else (span,)
    if min(spans) * max(spans) <= 0:
        what = "0" if reset is None else "the reset potential"
        raise ValueError(f"the threshold must be on one side of {what}, not {threshold!r}")
    if theta is None:
        share = _each(lambda th, d: abs(d) / max(abs(th), abs(d)), threshold, span)
        lowest = min(share) if isinstance(share, tuple) else share
        theta = THETA * 2.0 ** math.floor(math.log2(lowest))
    if not theta > 0:
        raise ValueError(f"theta must be above 0, not {theta!r}")
    scale = _each(lambda d: theta / abs(d), span)

    def to_w(u: Value) -> Value:
        return _each(lambda k, r, value: k * (value - r), scale, rest, u)

    x = _common("the decay", decay)
    return Canonical(
        scale=scale, center=rest, gain=_each(lambda k, g: k * g, scale, gain),
        offset=_each(lambda k, c, r: k * (c + (x - 1) * r), scale, offset, rest), factor=x,
        theta=_common("the threshold in units of w", to_w(threshold)),
        initial=_common("the initial potential, measured in thresholds,", to_w(initial)),
        soft=reset is None, reset=0.0, strict=strict,
        delta=_common("what a spike subtracts, measured in thresholds,",
                      _each(lambda k, d: k * d, scale, threshold if delta is None else delta))
        if reset is None else 0.0,
        lo=_common("the lower limit, measured in thresholds,", to_w(low)))


def _quadratic(c2: float, c1: float, c0: float, gain: float, v_threshold: float,
               v_reset: float | None, v_initial: float) -> Canonical:
    """u' = c2 u^2 + c1 u + c0 + gain I. Raises ValueError unless c2 > 0."""
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


def canonical_root(a: float, u1: float, u2: float, v_threshold: float = 1.0,
                   v_reset: float | None = 0.0, v_initial: float = 0.0) -> Canonical:
    """QIF in root form, u' = a (u - u1)(u - u2) + I. Source: arXiv:2510.05168.

    Raises ValueError unless a > 0.
    """
    return _quadratic(a, -a * (u1 + u2), a * u1 * u2, 1.0, v_threshold, v_reset, v_initial)


def canonical_euler(tau: float, a0: float, v_rest: float, v_c: float, v_threshold: float = 1.0,
                    v_reset: float | None = 0.0, v_initial: float = 0.0) -> Canonical:
    """QIF in explicit-Euler form, u' = u + (I + a0 (u - v_rest)(u - v_c)) / tau.

    It is SpikingJelly's `QIFNode` with either reset: that neuron also fires at the threshold, and
    loads v_reset or, with v_reset = None, subtracts v_threshold. Raises ValueError unless tau > 0
    and a0 > 0.
    """
    if not tau > 0:
        raise ValueError(f"tau must be above 0, not {tau!r}")
    k = a0 / tau
    return _quadratic(k, 1 - k * (v_rest + v_c), k * v_rest * v_c, 1 / tau, v_threshold, v_reset,
                      v_initial)


def canonical_lif(beta: float, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                  v_initial: float = 0.0, *, gain: float = 1.0, v_rest: float = 0.0,
                  theta: float | None = None) -> Canonical:
    """LIF, u' = v_rest + beta (u - v_rest) + gain I.

    theta: the threshold in units of w, see `canonical_linear`, which also says what is raised.

    It fires at the threshold and loads v_reset or subtracts v_threshold, as SpikingJelly's
    `LIFNode` and Sinabs' `LIF` with SingleSpike do (parameters: `quadfire.models.neurons.LIF`).
    Neurons that fire only above the threshold, as snnTorch's and Norse's, are `canonical_linear`
    with strict; snnTorch's default reset, a subtraction of the threshold one step later, is
    delta = v_threshold / beta.
    """
    return canonical_linear(decay=beta, threshold=v_threshold, reset=v_reset, gain=gain,
                            offset=(1 - beta) * v_rest, initial=v_initial, theta=theta)


def canonical_if(v_threshold: float = 1.0, v_reset: float | None = 0.0, v_initial: float = 0.0, *,
                 theta: float | None = None) -> Canonical:
    """IF, u' = u + I: a LIF with beta = 1. Arguments and errors as in `canonical_linear`.

    It is SpikingJelly's `IFNode` with either reset, firing at the threshold as that does.
    """
    return canonical_linear(decay=1.0, threshold=v_threshold, reset=v_reset, initial=v_initial,
                            theta=theta)
