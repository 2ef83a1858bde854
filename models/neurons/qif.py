"""Quadratic integrate-and-fire (QIF), in three forms of the same neuron.

| form      | one time step                                 | step function    | module |
|-----------|-----------------------------------------------|------------------|---|
| root      | v' = a (v - u1)(v - u2) + x                   | `qif_step`       | `QIF` |
| Euler     | v' = v + (x + a0 (v - v_rest)(v - v_c)) / tau | `qif_euler_step` | `QIFEuler` |
| canonical | w' = w^2 + J, J = gain x + offset             | `canonical_step` | `QIFCanonical` |

The canonical form covers every u' = c2 u^2 + c1 u + c0 + g I with c2 > 0, the root form those with
real roots, the Euler form those with real fixed points at I = 0. `root_to_euler`, `euler_to_root`
and `QIFCanonical.of` convert exactly.

Source of the root form: arXiv:2510.05168.
"""

import math
from typing import Any

from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.canonical import Canonical, canonical_euler, canonical_root
from quadfire.models.neurons.firing import fire
from quadfire.models.neurons.spiking_neuron import SpikingNeuron

__all__ = ["QIF", "QIFCanonical", "QIFEuler", "canonical_step", "euler_to_root", "qif_euler_step",
           "qif_step", "root_to_euler"]


def qif_step(x: Tensor, v: Tensor, *, a: Any = 0.5, u1: Any = 0.0, u2: Any = 0.5,
             **firing: Any) -> tuple[Tensor, Tensor]:
    """One time step: v' = a (v - u1)(v - u2) + x, then `fire`."""
    return fire(a * (v - u1) * (v - u2) + x, **firing)


def qif_euler_step(x: Tensor, v: Tensor, *, tau: Any = 2.0, a0: Any = 1.0, v_rest: Any = 0.0,
                   v_c: Any = 0.8, **firing: Any) -> tuple[Tensor, Tensor]:
    """One time step: v' = v + (x + a0 (v - v_rest)(v - v_c)) / tau, then `fire`."""
    return fire(v + (x + a0 * (v - v_rest) * (v - v_c)) / tau, **firing)


def canonical_step(x: Tensor, w: Tensor, *, gain: float = 1.0, offset: float = 0.0,
                   delta: float = 1.0, **firing: Any) -> tuple[Tensor, Tensor]:
    """One time step: w' = w^2 + gain x + offset, then `fire`. A soft reset subtracts delta."""
    return fire(w * w + (gain * x + offset), amount=delta, **firing)


class QIF(SpikingNeuron):
    """Quadratic integrate-and-fire in root form: v' = a (v - u1)(v - u2) + x.

    | parameter | unit | meaning |
    |-----------|------|---|
    | a         | 1/v  | curvature, above 0 |
    | u1, u2    | v    | roots; the order does not matter |
    | learn     |      | learn log a, u1 and u2 |
    | channels  |      | learn one of each per channel; None: one per layer |

    It fires where v' >= v_threshold, with hard or soft reset. Raises ValueError unless a > 0.
    Source: arXiv:2510.05168.
    """

    kind = "qif"
    function = staticmethod(qif_step)

    def __init__(self, a: float = 0.5, u1: float = 0.0, u2: float = 0.5, *, learn: bool = False,
                 channels: int | None = None, **options: Any):
        super().__init__(**options)
        if not a > 0:
            raise ValueError(f"a must be above 0, not {a!r}")
        self.learn, self.channels = learn, channels
        self._start = {"a": a, "u1": u1, "u2": u2}
        self.u1: Any
        self.u2: Any
        if learn:
            self.log_a = self._parameter(math.log(a), channels)
            self.u1, self.u2 = self._parameter(u1, channels), self._parameter(u2, channels)
        else:
            self.u1, self.u2 = u1, u2

    @property
    def a(self) -> Any:
        """The present curvature: a number, or a tensor if it is learnt."""
        return self.log_a.exp() if self.learn else self._start["a"]

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self._start, "learn": self.learn, "channels": self.channels}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "a": self._per_channel(self.a, x),
                "u1": self._per_channel(self.u1, x), "u2": self._per_channel(self.u2, x)}

    def _map(self) -> QuadraticMap:
        return QuadraticMap.root(self.a, self.u1, self.u2, self.v_threshold, self.v_reset)

    def _canonical(self) -> Canonical:
        return canonical_root(self._scalar(self.a), self._scalar(self.u1), self._scalar(self.u2),
                              self.v_threshold, self.v_reset, self.v_initial)


class QIFEuler(SpikingNeuron):
    """Quadratic integrate-and-fire in Euler form: v' = v + (x + a0 (v - v_rest)(v - v_c)) / tau.

    It is the explicit Euler step of length 1 of tau dv/dt = a0 (v - v_rest)(v - v_c) + x.

    | parameter | unit       | meaning |
    |-----------|------------|---|
    | tau       | time steps | membrane time constant, above 0 |
    | a0        | 1/v        | curvature, above 0 |
    | v_rest    | v          | resting potential |
    | v_c       | v          | critical potential above v_rest; beyond it v grows without input |

    It fires where v' >= v_threshold. With either reset it is SpikingJelly's `QIFNode`, whose
    default v_reset is -0.1, and `IzhikevichNode` with a = b = w_rest = 0; both fire at the
    threshold, too. Behind tdBN use alpha = tau, as 1/tau scales the current. Raises
    ValueError unless tau > 0 and a0 > 0.

    Source of the equation: Gerstner et al., Neuronal Dynamics, section 5.3.
    """

    kind = "qif_euler"
    function = staticmethod(qif_euler_step)

    def __init__(self, tau: float = 2.0, a0: float = 1.0, v_rest: float = 0.0, v_c: float = 0.8,
                 **options: Any):
        super().__init__(**options)
        for name, value in (("tau", tau), ("a0", a0)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")
        self.tau, self.a0, self.v_rest, self.v_c = tau, a0, v_rest, v_c

    def _form(self) -> dict[str, float]:
        return {"tau": self.tau, "a0": self.a0, "v_rest": self.v_rest, "v_c": self.v_c}

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self._form()}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), **self._form()}

    def _map(self) -> QuadraticMap:
        return QuadraticMap.euler(**self._form(), v_threshold=self.v_threshold,
                                  v_reset=self.v_reset)

    def _canonical(self) -> Canonical:
        return canonical_euler(**self._form(), v_threshold=self.v_threshold, v_reset=self.v_reset,
                               v_initial=self.v_initial)


class QIFCanonical(SpikingNeuron):
    """Quadratic integrate-and-fire in canonical form: w' = w^2 + J, as the array computes it.

    | parameter    | meaning |
    |--------------|---|
    | gain, offset | J = gain x + offset |
    | delta        | what a soft reset subtracts; None: v_threshold; a hard reset ignores it |
    | v_start      | w before the first time step; None: v_reset, or 0 with soft reset |

    v_threshold, v_reset, limits and window are in units of w. It fires where w' >= v_threshold,
    with hard or soft reset. `of` makes the canonical form of another neuron. It expects the input
    currents of that neuron, so a tdBN before it keeps that neuron's v_threshold.
    """

    kind = "qif_canonical"
    function = staticmethod(canonical_step)

    def __init__(self, gain: float = 1.0, offset: float = 0.0, delta: float | None = None,
                 v_start: float | None = None, **options: Any):
        super().__init__(**options)
        self.gain, self.offset = gain, offset
        self.delta = self.v_threshold if delta is None else delta
        self.v_start = v_start

    @classmethod
    def of(cls, neuron: SpikingNeuron) -> "QIFCanonical":
        """The canonical form of a QIF neuron. Raises ValueError for any other neuron."""
        c = neuron.canonical()
        if c.factor is not None:
            raise ValueError(f"neuron {neuron.kind!r} is linear, it has no form w^2 + J")
        window = neuron.window
        assert not isinstance(c.gain, tuple) and not isinstance(c.offset, tuple) \
            and not isinstance(c.scale, tuple)
        return cls(c.gain, c.offset, c.delta, c.initial, v_threshold=c.theta,
                   v_reset=None if c.soft else c.reset,
                   limits=None if neuron.limits is None else (c.lo, c.hi),
                   window=c.scale * (window.item() if isinstance(window, Tensor) else window),
                   surrogate=neuron.surrogate, detach_reset=neuron.detach_reset,
                   step_mode=neuron.step_mode)

    @property
    def amount(self) -> float:
        return self.delta

    @property
    def v_initial(self) -> float:
        return super().v_initial if self.v_start is None else self.v_start

    def config(self) -> dict[str, Any]:
        return {**super().config(), "gain": self.gain, "offset": self.offset, "delta": self.delta,
                "v_start": self.v_start}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "gain": self.gain, "offset": self.offset,
                "delta": self.delta}

    def _map(self) -> QuadraticMap:
        return QuadraticMap(1.0, 0.0, self.offset, self.gain, self.v_threshold, self.v_reset)

    @property
    def window(self) -> Any:
        if isinstance(self._window, str):
            raise ValueError("the canonical form does not know the V_th of its tdBN: make it by "
                             "QIFCanonical.of a neuron whose window is analytic")
        return self._window

    def _canonical(self) -> Canonical:
        return Canonical(scale=1.0, center=0.0, gain=self.gain, offset=self.offset, factor=None,
                         theta=self.v_threshold, initial=self.v_initial,
                         reset=self.v_initial if self.v_reset is None else self.v_reset,
                         delta=self.delta, soft=self.v_reset is None)


# Conversions of parameters -----------------------------------------------------------------------


def root_to_euler(a: float, u1: float, u2: float, tau: float = 1.0) -> tuple[float, float, float]:
    """(a0, v_rest, v_c) of the same neuron in Euler form. It needs tau times the input current.

    v_rest and v_c are the fixed points of the root form without input, the solutions of
    t^2 - (1/a + u1 + u2) t + u1 u2 = 0. Raises ValueError if it has none.
    """
    return (a * tau, *_roots(1 / a + u1 + u2, u1 * u2, "the fixed points v_rest and v_c"))


def euler_to_root(tau: float, a0: float, v_rest: float,
                  v_c: float) -> tuple[float, float, float, float]:
    """(a, u1, u2, gain) of the same neuron in root form. It needs gain times the input current.

    a = a0 / tau, gain = 1 / tau, and u1 <= u2 are the solutions of
    t^2 - (v_rest + v_c - 1/a) t + v_rest v_c = 0. Raises ValueError if they are complex.
    """
    k = a0 / tau
    return (k, *_roots(v_rest + v_c - 1 / k, v_rest * v_c, "the roots u1 and u2"), 1 / tau)


def _roots(total: float, product: float, what: str) -> tuple[float, float]:
    """The lower and the upper solution of t^2 - total t + product = 0.

    Raises ValueError, naming `what`, if they are complex.
    """
    inside = total * total / 4 - product
    if inside < 0:
        raise ValueError(f"{what} are complex for these parameters")
    root = math.copysign(math.sqrt(inside), total) if total else math.sqrt(inside)
    far = total / 2 + root
    near = product / far if far else 0.0        # total / 2 - root would cancel
    return min(near, far), max(near, far)
