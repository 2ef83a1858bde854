"""The canonical map in real numbers: how a trained neuron becomes one that the array runs.

The array computes one map, in units of its own state w (`quadfire.rtl.contract.numerics`):

    w' = w * x + J,    spike when w' >= theta,    then w = reset (hard) or w' - delta (soft)

Every neuron u' = c2 u^2 + c1 u + c0 + g I is that map after a change of variable,
w = scale * (u - center) and J = gain * I + offset:

| neuron | condition | scale | center | gain | offset | x |
|---|---|---|---|---|---|---|
| quadratic | c2 > 0 | c2 | -c1 / (2 c2) | c2 g | c2 c0 + c1/2 - c1^2/4 | w |
| linear | c2 = 0 | free | 0 | scale g | scale c0 | c1 |

The functions here make a `Canonical` from the parameters of each form, and `Canonical.integer`
rounds it to the integers of the array. Plain Python numbers throughout; this file needs no torch.

Every function fires *at* the threshold, u' >= v_threshold, as the array does. A hard reset loads
`v_reset`; with v_reset = None the reset is soft and subtracts `v_threshold` in the step that fires.
"""

import math
from dataclasses import dataclass, replace

from quadfire.rtl.contract.numerics import Neuron

__all__ = ["Canonical", "canonical_euler", "canonical_if", "canonical_lif", "canonical_root"]


@dataclass(frozen=True, kw_only=True)
class Canonical:
    """A neuron in real numbers, in units of w = scale * (u - center).

    | field | meaning |
    |---|---|
    | scale, center | the change of variable, u being the membrane potential as trained |
    | gain, offset | J = gain * I + offset, I being the input current as trained |
    | factor | second operand of the product; None: w itself (QIF) |
    | theta | fires where w' >= theta |
    | initial | w before the first time step |
    | soft, reset, delta | after a spike: w' - delta where soft, else reset |
    | lo, hi | limits at which w' saturates |
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
        """The same neuron with its membrane potential u saturating at low..high.

        Raises ValueError unless low < high.
        """
        if not low < high:
            raise ValueError(f"low must be below high, not {low!r}, {high!r}")
        return replace(self, lo=self.scale * (low - self.center),
                       hi=self.scale * (high - self.center))

    def integer(self, state_bits: int, fraction_bits: int) -> Neuron:
        """The neuron in Q(state_bits - fraction_bits).fraction_bits, values rounded half up.

        Limits beyond the format saturate to it. Raises ValueError naming any other value that the
        format cannot hold.
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

        initial = fixed("initial state", self.initial)
        return Neuron(square=self.factor is None, soft=self.soft,
                      factor=0 if self.factor is None else fixed("factor", self.factor),
                      theta=fixed("threshold", self.theta), lo=limit(self.lo), hi=limit(self.hi),
                      initial=initial, reset=initial if self.soft else fixed("reset", self.reset),
                      delta=fixed("delta", self.delta) if self.soft else 0)


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


def _linear(c1: float, c0: float, gain: float, scale: float, v_threshold: float,
            v_reset: float | None, v_initial: float) -> Canonical:
    """u' = c1 u + c0 + gain I. Raises ValueError unless scale > 0."""
    if not scale > 0:
        raise ValueError(f"scale must be above 0, not {scale!r}")
    return Canonical(scale=scale, center=0.0, gain=scale * gain, offset=scale * c0, factor=c1,
                     theta=scale * v_threshold, initial=scale * v_initial, soft=v_reset is None,
                     reset=scale * (v_initial if v_reset is None else v_reset),
                     delta=scale * v_threshold)


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
                  scale: float = 0.5) -> Canonical:
    """LIF, u' = v_rest + beta (u - v_rest) + gain I.

    scale: value of w at u = 1. Any scale gives the same spikes in real numbers; with 0.5, a state
    of +-2 holds membrane potentials of +-4. Raises ValueError unless scale > 0.

    | neuron of another library | beta | gain | v_rest | same spikes? |
    |---|---|---|---|---|
    | SpikingJelly `LIFNode`, decay_input | 1 - 1/tau | 1/tau | v_reset, or 0 if None | yes |
    | SpikingJelly `LIFNode`, no decay_input | 1 - 1/tau | 1 | v_reset, or 0 if None | yes |
    | snnTorch `Leaky` | beta | 1 | 0 | the same u' only |

    SpikingJelly fires at the threshold and loads v_reset or subtracts v_threshold, as here.
    snnTorch fires only above its threshold. Its default reset subtracts the threshold one step
    later, which is delta = v_threshold / beta at once.
    """
    return _linear(beta, (1 - beta) * v_rest, gain, scale, v_threshold, v_reset, v_initial)


def canonical_if(v_threshold: float = 1.0, v_reset: float | None = 0.0, v_initial: float = 0.0, *,
                 scale: float = 0.5) -> Canonical:
    """IF, u' = u + I: a LIF with beta = 1. Raises ValueError unless scale > 0.

    It is SpikingJelly's `IFNode` with either reset.
    """
    return _linear(1.0, 0.0, 1.0, scale, v_threshold, v_reset, v_initial)
