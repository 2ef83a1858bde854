"""Quadratic integrate-and-fire, in three forms of one neuron (arXiv:2510.05168).

    root       v' = a (v - u1)(v - u2) + x
    Euler      v' = v + (x + a0 (v - v_rest)(v - v_c)) / tau
    canonical  w' = w^2 + J

Every u' = c2 u^2 + c1 u + c0 + g x with c2 > 0 is each of them, exactly: `root_to_euler`,
`euler_to_root` and `QIFCanonical.of` say how.
"""

import math
from typing import Any

from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.base import Limits, SpikingNeuron, fire
from quadfire.models.neurons.canonical import Canonical, canonical_euler, canonical_root

__all__ = ["QIF", "QIFCanonical", "QIFEuler", "canonical_step", "euler_to_root", "qif_euler_step",
           "qif_step", "root_to_euler"]


def qif_step(x: Tensor, v: Tensor, *, a: Any = 0.5, u1: Any = 0.0, u2: Any = 0.5,
             v_threshold: float = 1.0, v_reset: float | None = 0.0, limits: Limits = None,
             window: Any = 0.5, surrogate: str = "rectangular",
             detach_reset: bool = False) -> tuple[Tensor, Tensor]:
    """Quadratic integrate-and-fire, v' = a (v - u1)(v - u2) + x (arXiv:2510.05168)."""
    return fire(a * (v - u1) * (v - u2) + x, v_threshold, v_reset, limits, window, surrogate,
                detach_reset)


def qif_euler_step(x: Tensor, v: Tensor, *, tau: Any = 2.0, a0: Any = 1.0, v_rest: Any = 0.0,
                   v_c: Any = 0.8, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                   limits: Limits = None, window: Any = 0.5, surrogate: str = "rectangular",
                   detach_reset: bool = False) -> tuple[Tensor, Tensor]:
    """Explicit Euler of tau dv/dt = a0 (v - v_rest)(v - v_c) + x, step 1.

    v' = v + (x + a0 (v - v_rest)(v - v_c)) / tau. The equation is that of Gerstner et al., Neuronal
    Dynamics, 5.3; the form and its defaults are those of SpikingJelly's QIFNode.
    """
    return fire(v + (x + a0 * (v - v_rest) * (v - v_c)) / tau, v_threshold, v_reset, limits,
                window, surrogate, detach_reset)


def canonical_step(x: Tensor, w: Tensor, *, gain: float = 1.0, offset: float = 0.0,
                   delta: float = 1.0, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                   limits: Limits = None, window: Any = 0.5, surrogate: str = "rectangular",
                   detach_reset: bool = False) -> tuple[Tensor, Tensor]:
    """w' = w^2 + J, J = gain x + offset; a soft reset subtracts delta, not the threshold."""
    return fire(w * w + (gain * x + offset), v_threshold, v_reset, limits, window, surrogate,
                detach_reset, delta)


def _roots(total: float, product: float, what: str) -> tuple[float, float]:
    """The lower and upper solution of t^2 - total t + product = 0."""
    inside = total * total / 4 - product
    if inside < 0:
        raise ValueError(f"{what} are complex for these parameters")
    root = math.copysign(math.sqrt(inside), total) if total else math.sqrt(inside)
    far = total / 2 + root
    near = product / far if far else 0.0        # without cancellation
    return min(near, far), max(near, far)


def root_to_euler(a: float, u1: float, u2: float, tau: float = 1.0) -> tuple[float, float, float]:
    """(a0, v_rest, v_c) of the same map in Euler form, which must be fed tau times the current.

    v_rest and v_c are the fixed points of the root form without input: the roots of
    t^2 - (1/a + u1 + u2) t + u1 u2. Raises ValueError where it has none.
    """
    return (a * tau, *_roots(1 / a + u1 + u2, u1 * u2, "the fixed points v_rest and v_c"))


def euler_to_root(tau: float, a0: float, v_rest: float,
                  v_c: float) -> tuple[float, float, float, float]:
    """(a, u1, u2, gain) of the same map in root form, which must be fed gain times the current.

    With k = a0 / tau: a = k, gain = 1 / tau, and u1 <= u2 the roots of
    t^2 - (v_rest + v_c - 1/k) t + v_rest v_c. Raises ValueError where they are complex.
    """
    k = a0 / tau
    return (k, *_roots(v_rest + v_c - 1 / k, v_rest * v_c, "the roots u1 and u2"), 1 / tau)


class QIF(SpikingNeuron):
    """Quadratic integrate-and-fire in root form, see `qif_step`.

    a: curvature, above 0. u1, u2: roots. learn: make log a, u1 and u2 parameters, one of each for
    the layer or for each of `channels`.
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
        return self.log_a.exp() if self.learn else self._start["a"]

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self._start, "learn": self.learn, "channels": self.channels}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "a": self._spread(self.a, x),
                "u1": self._spread(self.u1, x), "u2": self._spread(self.u2, x)}

    def quadratic_map(self) -> QuadraticMap:
        a, u1, u2 = (value.detach().double() if isinstance(value, Tensor) else value
                     for value in (self.a, self.u1, self.u2))
        return QuadraticMap.root(a, u1, u2, self.v_threshold, self.v_reset)

    def _canonical(self) -> Canonical:
        return canonical_root(self._scalar(self.a), self._scalar(self.u1), self._scalar(self.u2),
                              self.v_threshold, self.v_reset, self.v_initial)


class QIFEuler(SpikingNeuron):
    """Quadratic integrate-and-fire in explicit-Euler form, see `qif_euler_step`.

    tau: membrane time constant in time steps; a0: curvature; both above 0. v_rest: resting
    potential; v_c: critical potential, above which v grows on its own. SpikingJelly's QIFNode is
    this with v_reset = -0.1. The current counts 1/tau: behind tdBN use alpha = tau.
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

    def quadratic_map(self) -> QuadraticMap:
        return QuadraticMap.euler(**self._form(), v_threshold=self.v_threshold,
                                  v_reset=self.v_reset)

    def _canonical(self) -> Canonical:
        return canonical_euler(**self._form(), v_threshold=self.v_threshold, v_reset=self.v_reset,
                               v_initial=self.v_initial)


class QIFCanonical(SpikingNeuron):
    """The canonical map w' = w^2 + J itself, in real numbers: what the array computes.

    v_threshold, v_reset, limits and window are values of w. J = gain x + offset; delta: what a soft
    reset subtracts (hard: unused). `of` makes the one that spikes as another neuron does; that one
    expects the currents of the other neuron, so a tdBN before it keeps the other's v_threshold.
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
        """The canonical form of a QIF neuron. Raises ValueError for any other."""
        c = neuron.canonical()
        if c.factor is not None:
            raise ValueError(f"neuron {neuron.kind!r} is linear, it has no form w^2 + J")
        window = neuron.window
        return cls(c.gain, c.offset, c.delta, c.initial, v_threshold=c.theta,
                   v_reset=None if c.soft else c.reset,
                   limits=None if neuron.limits is None else (c.lo, c.hi),
                   window=c.scale * (window.item() if isinstance(window, Tensor) else window),
                   surrogate=neuron.surrogate, detach_reset=neuron.detach_reset,
                   step_mode=neuron.step_mode)

    @property
    def v_initial(self) -> float:
        return super().v_initial if self.v_start is None else self.v_start

    def config(self) -> dict[str, Any]:
        return {**super().config(), "gain": self.gain, "offset": self.offset, "delta": self.delta,
                "v_start": self.v_start}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "gain": self.gain, "offset": self.offset,
                "delta": self.delta}

    def quadratic_map(self) -> QuadraticMap:
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
