"""Mean and variance of the membrane potential when the current is what tdBN makes of it.

tdBN (arXiv:2011.05280) gives every neuron a current of mean 0 and standard deviation alpha V_th;
I is taken as independent from step to step and Gaussian, s = g alpha V_th its deviation in u. One
step of u' = c2 u^2 + c1 u + c0 + g I then needs the first four moments M1..M4 of u after the reset:

    mean'     = c2 M2 + c1 M1 + c0
    variance' = s^2 + c2^2 (M4 - M2^2) + c1^2 (M2 - M1^2) + 2 c1 c2 (M3 - M1 M2)

This is exact. The closure is to take u before the reset as Gaussian, so that M1..M4 follow from
(mean, variance): with L_k = E[u^k; u < V_th], z = (V_th - m)/sd and phi, Phi of the normal law,

    L0 = Phi(z),    L1 = m L0 - sd phi(z),
    L_k = m L_(k-1) + (k-1) sd^2 L_(k-2) - sd V_th^(k-1) phi(z)

    hard:  M_k = L_k + (1 - L0) v_reset^k
    soft:  M_k = L_k + E[(u - V_th)^k; u >= V_th]
    none:  M_k of the whole Gaussian

Validity, by Monte Carlo at V_th = 1 (tests/models/dynamics/test_moments.py): hard reset, alpha = 1
and a <= 1/4: mean within 0.015, deviation within 1.5 %, rate within 0.015; at a = 1/2: mean within
0.12, deviation within 18 %, rate within 0.09 (the law is then visibly skewed). Without reset there
is no stationary law at all where c2 > 0, as orbits escape over the unstable fixed point; the
closure describes those that have not yet, and has no solution where sd is too large for it.

All functions take floats or tensors alike and compute in float64.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap

__all__ = ["Moments", "Reset", "free_variance", "input_deviation", "not_escaped",
           "one_step_moments", "propagate", "simulate", "stationary_moments"]

Reset = Literal["hard", "soft", "none"]


class Moments(NamedTuple):
    """Of the membrane potential before the reset; `rate` = P(u >= V_th)."""

    mean: Any
    variance: Any
    rate: Any

    @property
    def deviation(self) -> Any:
        return self.variance ** 0.5


def _wide(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _phi(z: Tensor) -> Tensor:
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _below(mean: Tensor, variance: Tensor, limit: Tensor) -> list[Tensor]:
    """L0..L4 of a Gaussian, over u < limit."""
    sd = variance.sqrt()
    z = (limit - mean) / sd
    density = sd * _phi(z)
    moments = [torch.special.ndtr(z)]
    moments.append(mean * moments[0] - density)
    for k in (2, 3, 4):
        moments.append(mean * moments[-1] + (k - 1) * variance * moments[-2]
                       - density * limit ** (k - 1))
    return moments


def _whole(mean: Tensor, variance: Tensor) -> list[Tensor]:
    """Moments 0..4 of a Gaussian."""
    square = mean * mean
    return [torch.ones_like(mean), mean, square + variance, mean * (square + 3 * variance),
            square * square + 6 * square * variance + 3 * variance * variance]


def input_deviation(neuron: QuadraticMap, alpha: float = 1.0) -> Any:
    """s = g alpha V_th, the deviation that tdBN's current has in units of u."""
    return neuron.gain * alpha * neuron.v_threshold


def _reset_of(neuron: QuadraticMap, reset: Reset | None) -> Reset:
    return reset or ("soft" if neuron.v_reset is None else "hard")


def propagate(neuron: QuadraticMap, mean: Any, variance: Any, deviation: Any,
              reset: Reset | None = None) -> Moments:
    """The moments one step later, of u Gaussian with (mean, variance) now; `rate` is of now.

    reset: the neuron's own unless given.
    """
    mean, variance = torch.broadcast_tensors(_wide(mean), _wide(variance))
    threshold = _wide(neuron.v_threshold)
    below = _below(mean, variance, threshold)
    spikes = 1 - below[0]
    kind = _reset_of(neuron, reset)
    if kind == "hard":
        value = neuron.start
        m = [below[k] + spikes * value ** k if k else below[0] + spikes for k in range(5)]
    elif kind == "soft":
        left = mean - threshold
        over = [whole - part for whole, part in
                zip(_whole(left, variance), _below(left, variance, _wide(0.0)), strict=True)]
        m = [part + rest for part, rest in zip(below, over, strict=True)]
    else:
        m = _whole(mean, variance)
    c2, c1, c0 = _wide(neuron.c2), _wide(neuron.c1), _wide(neuron.c0)
    return Moments(c2 * m[2] + c1 * m[1] + c0,
                   _wide(deviation) ** 2 + c2 * c2 * (m[4] - m[2] ** 2)
                   + c1 * c1 * (m[2] - m[1] ** 2) + 2 * c1 * c2 * (m[3] - m[1] * m[2]), spikes)


def _plain(moments: Moments, neuron: QuadraticMap, scalar: bool) -> Moments:
    """With the rate that belongs to these moments; floats where everything was a float."""
    z = (_wide(neuron.v_threshold) - moments.mean) / moments.variance.sqrt()
    rate = torch.special.ndtr(-z)
    if scalar:
        return Moments(moments.mean.item(), moments.variance.item(), rate.item())
    return Moments(moments.mean, moments.variance, rate)


def _is_scalar(*values: Any) -> bool:
    return not any(isinstance(value, Tensor) and value.ndim for value in values)


def one_step_moments(neuron: QuadraticMap, alpha: float = 1.0, *,
                     reset: Reset | None = None) -> Moments:
    """The explicit form: the step after u ~ N(start, s^2), without iteration.

    That is one current on top of a reset. For start = 0, alpha = V_th = 1 and hard reset:

        mean = c0 - 0.242 c1 + 0.599 c2
        variance = 1 + 1.197 c2^2 + 0.541 c1^2 - 1.162 c1 c2

    Within 2 % of the deviation of t = 4 (4 % at a = 1/2), mean within 0.08.
    """
    deviation = input_deviation(neuron, alpha)
    moments = propagate(neuron, neuron.start, _wide(deviation) ** 2, deviation, reset)
    return _plain(moments, neuron, _is_scalar(neuron.c2, neuron.c1, neuron.c0, neuron.gain))


def stationary_moments(neuron: QuadraticMap, alpha: float = 1.0, *,
                       reset: Reset | None = None, steps: int = 1000) -> Moments:
    """The moments that a step leaves as they are. Domain of validity: see the module.

    Raises ValueError where the closure has no solution (the potential escapes, or the neuron is a
    perfect integrator without reset).
    """
    deviation = input_deviation(neuron, alpha)
    now = Moments(neuron(_wide(neuron.start)), _wide(deviation) ** 2, None)
    for _ in range(steps):
        then = propagate(neuron, now.mean, now.variance, deviation, reset)
        if not (torch.isfinite(then.variance).all() and (then.variance < 1e6).all()):
            break
        if torch.allclose(then.mean, _wide(now.mean), rtol=0, atol=1e-12) and \
                torch.allclose(then.variance, _wide(now.variance), rtol=1e-12, atol=0):
            return _plain(then, neuron,
                          _is_scalar(neuron.c2, neuron.c1, neuron.c0, neuron.gain))
        now = then
    raise ValueError("there is no stationary membrane potential for these parameters "
                     f"(reset {_reset_of(neuron, reset)}, alpha {alpha:g}): it escapes")


def free_variance(neuron: QuadraticMap, mean: float, alpha: float = 1.0) -> float:
    """Stationary variance without reset around `mean`, in closed form.

    V = s^2 + L^2 V + 2 c2^2 V^2 with L = 2 c2 mean + c1 the mean slope, hence
    V = ((1 - L^2) - sqrt((1 - L^2)^2 - 8 c2^2 s^2)) / (4 c2^2); for c2 = 0, s^2 / (1 - c1^2).
    Raises ValueError where s > (1 - L^2) / (2 sqrt 2 c2).
    """
    s2 = float(input_deviation(neuron, alpha)) ** 2
    stay = 1 - float(neuron.slope(mean)) ** 2
    inside = stay * stay - 8 * neuron.c2 ** 2 * s2
    if stay <= 0 or inside < 0:
        raise ValueError("the variance has no stationary value: the potential escapes")
    # the root written so that c2 = 0 needs no case of its own
    return 2 * s2 / (stay + math.sqrt(inside))


def simulate(neuron: QuadraticMap, alpha: float = 1.0, *, steps: int = 8, samples: int = 100_000,
             reset: Reset | None = None, seed: int = 0) -> np.ndarray:
    """Monte Carlo: `samples` membrane potentials before the reset of time step `steps`.

    Independent Gaussian currents of deviation alpha V_th; every neuron starts at its start
    potential. Without reset, those that have escaped (|u| > 1e9, or not a number) come as inf.
    """
    generator = np.random.default_rng(seed)
    kind = _reset_of(neuron, reset)
    u = np.full(samples, float(neuron.start))
    deviation = float(input_deviation(neuron, alpha)) / float(neuron.gain)
    for step in range(steps):
        with np.errstate(over="ignore", invalid="ignore"):
            u = neuron(u, deviation * generator.standard_normal(samples))
        u = np.where(np.abs(u) < 1e9, u, np.inf)
        if step + 1 < steps and kind != "none":
            fired = u >= neuron.v_threshold
            u = np.where(fired, neuron.start if kind == "hard" else u - neuron.v_threshold, u)
    return u


def not_escaped(neuron: QuadraticMap, u: np.ndarray, reset: Reset | None = None) -> np.ndarray:
    """Those of u (before the reset) that the reset leaves in the basin of rest at I = 0.

    All of them with hard reset, which nothing escapes, and for a linear neuron; none where there is
    no rest.
    """
    kind = _reset_of(neuron, reset)
    if kind == "hard" or not neuron.c2 > 0:
        return u
    basin = neuron.basin()
    if basin is None:
        return u[:0]
    return u[(u > basin.lower) & (u < basin.upper + (neuron.v_threshold if kind == "soft" else 0))]
