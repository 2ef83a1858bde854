"""Mean and variance of the membrane potential behind a tdBN.

tdBN (arXiv:2011.05280) gives every neuron input currents of mean 0 and standard deviation
alpha V_th. Assume that they are Gaussian and independent from step to step. s = g alpha V_th is
their deviation in units of u. One step of u' = c2 u^2 + c1 u + c0 + g I turns the moments M1..M4 of
u after the reset into

    mean'     = c2 M2 + c1 M1 + c0
    variance' = s^2 + c2^2 (M4 - M2^2) + c1^2 (M2 - M1^2) + 2 c1 c2 (M3 - M1 M2)

That is exact. The closure: u before the reset is Gaussian with mean m and deviation sd, so M1..M4
follow from these two. With L_k = E[u^k; u < V_th], z = (V_th - m)/sd, and phi and Phi the density
and the distribution function of the normal law,

    L0 = Phi(z),    L1 = m L0 - sd phi(z),
    L_k = m L_(k-1) + (k-1) sd^2 L_(k-2) - sd V_th^(k-1) phi(z)

    hard:  M_k = L_k + (1 - L0) v_reset^k
    soft:  M_k = L_k + E[(u - V_th)^k; u >= V_th]
    none:  M_k of the whole Gaussian

Accuracy against Monte Carlo with V_th = 1, alpha = 1 and hard reset
(tests/models/dynamics/test_moments.py):

| curvature                 | mean         | deviation    | rate |
|---------------------------|--------------|--------------|---|
| a <= 1/4                  | within 0.015 | within 1.5 % | within 0.015 |
| a = 1/2, u visibly skewed | within 0.12  | within 18 %  | within 0.09 |

Without reset and with c2 > 0 there is no stationary law: orbits escape over the unstable fixed
point. The closure then describes the orbits that have not escaped yet. It has no solution if s is
too large.

All functions take floats or tensors and compute in float64.
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap

__all__ = ["Moments", "Reset", "float64", "free_variance", "input_deviation", "normal_density",
           "not_escaped", "one_step_moments", "propagate", "simulate", "stationary_moments"]

#: What a spike does to u: loads v_reset, subtracts V_th, or nothing.
Reset = Literal["hard", "soft", "none"]


class Moments(NamedTuple):
    """Moments of the membrane potential u before the reset.

    | field          | meaning |
    |----------------|---|
    | mean, variance | of u |
    | rate           | P(u >= V_th), spikes per time step |
    """

    mean: Any
    variance: Any
    rate: Any

    @property
    def deviation(self) -> Any:
        """Standard deviation of u."""
        return self.variance ** 0.5


def float64(value: Any) -> Tensor:
    """`value` as a float64 tensor."""
    return torch.as_tensor(value, dtype=torch.float64)


def normal_density(z: Tensor) -> Tensor:
    """phi(z), the density of the standard normal law."""
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _below(mean: Tensor, variance: Tensor, limit: Tensor) -> list[Tensor]:
    """L0..L4: the moments of a Gaussian u over u < limit."""
    sd = variance.sqrt()
    z = (limit - mean) / sd
    density = sd * normal_density(z)
    moments = [torch.special.ndtr(z)]
    moments.append(mean * moments[0] - density)
    for k in (2, 3, 4):
        moments.append(mean * moments[-1] + (k - 1) * variance * moments[-2]
                       - density * limit ** (k - 1))
    return moments


def _whole(mean: Tensor, variance: Tensor) -> list[Tensor]:
    """The moments 0..4 of a Gaussian."""
    square = mean * mean
    return [torch.ones_like(mean), mean, square + variance, mean * (square + 3 * variance),
            square * square + 6 * square * variance + 3 * variance * variance]


def input_deviation(neuron: QuadraticMap, alpha: float = 1.0) -> Any:
    """s = g alpha V_th, the standard deviation of tdBN's currents in units of u."""
    return neuron.gain * alpha * neuron.v_threshold


def _reset_of(neuron: QuadraticMap, reset: Reset | None) -> Reset:
    return reset or ("soft" if neuron.v_reset is None else "hard")


def propagate(neuron: QuadraticMap, mean: Any, variance: Any, deviation: Any,
              reset: Reset | None = None) -> Moments:
    """One time step of mean and variance, for a Gaussian u before the reset.

    | argument       | meaning |
    |----------------|---|
    | mean, variance | of u before the reset |
    | deviation      | s, see `input_deviation` |
    | reset          | "hard", "soft" or "none"; None: that of the neuron |

    Returns mean and variance one step later. `rate` is that of the given u.
    """
    mean, variance = torch.broadcast_tensors(float64(mean), float64(variance))
    threshold = float64(neuron.v_threshold)
    below = _below(mean, variance, threshold)
    spikes = 1 - below[0]
    kind = _reset_of(neuron, reset)
    if kind == "hard":
        value = neuron.start
        m = [below[k] + spikes * value ** k if k else below[0] + spikes for k in range(5)]
    elif kind == "soft":
        left = mean - threshold
        over = [whole - part for whole, part in
                zip(_whole(left, variance), _below(left, variance, float64(0.0)), strict=True)]
        m = [part + rest for part, rest in zip(below, over, strict=True)]
    else:
        m = _whole(mean, variance)
    c2, c1, c0 = float64(neuron.c2), float64(neuron.c1), float64(neuron.c0)
    return Moments(c2 * m[2] + c1 * m[1] + c0,
                   float64(deviation) ** 2 + c2 * c2 * (m[4] - m[2] ** 2)
                   + c1 * c1 * (m[2] - m[1] ** 2) + 2 * c1 * c2 * (m[3] - m[1] * m[2]), spikes)


def _plain(moments: Moments, neuron: QuadraticMap, scalar: bool) -> Moments:
    """The moments with their own rate, as floats if `scalar`."""
    z = (float64(neuron.v_threshold) - moments.mean) / moments.variance.sqrt()
    rate = torch.special.ndtr(-z)
    if scalar:
        return Moments(moments.mean.item(), moments.variance.item(), rate.item())
    return Moments(moments.mean, moments.variance, rate)


def _is_scalar(*values: Any) -> bool:
    return not any(isinstance(value, Tensor) and value.ndim for value in values)


def one_step_moments(neuron: QuadraticMap, alpha: float = 1.0, *,
                     reset: Reset | None = None) -> Moments:
    """The moments one step after u ~ N(start, s^2): a closed form without iteration.

    N(start, s^2) is one input current on top of the start potential. For start = 0,
    alpha = V_th = g = 1 and hard reset:

        mean = c0 - 0.242 c1 + 0.599 c2
        variance = 1 + 1.197 c2^2 + 0.541 c1^2 - 1.162 c1 c2

    Against the fourth time step, simulated: mean within 0.08, deviation within 2 % (4 % at
    a = 1/2).
    """
    deviation = input_deviation(neuron, alpha)
    moments = propagate(neuron, neuron.start, float64(deviation) ** 2, deviation, reset)
    return _plain(moments, neuron, _is_scalar(neuron.c2, neuron.c1, neuron.c0, neuron.gain))


def stationary_moments(neuron: QuadraticMap, alpha: float = 1.0, *,
                       reset: Reset | None = None, steps: int = 1000) -> Moments:
    """The moments that `propagate` leaves unchanged. The module says how accurate they are.

    Raises ValueError if the closure has no solution: the potential escapes, or the neuron is a
    perfect integrator without reset.
    """
    deviation = input_deviation(neuron, alpha)
    now = Moments(neuron(float64(neuron.start)), float64(deviation) ** 2, None)
    for _ in range(steps):
        then = propagate(neuron, now.mean, now.variance, deviation, reset)
        if not (torch.isfinite(then.variance).all() and (then.variance < 1e6).all()):
            break
        if torch.allclose(then.mean, float64(now.mean), rtol=0, atol=1e-12) and \
                torch.allclose(then.variance, float64(now.variance), rtol=1e-12, atol=0):
            return _plain(then, neuron,
                          _is_scalar(neuron.c2, neuron.c1, neuron.c0, neuron.gain))
        now = then
    raise ValueError("there is no stationary membrane potential for these parameters "
                     f"(reset {_reset_of(neuron, reset)}, alpha {alpha:g}): it escapes")


def free_variance(neuron: QuadraticMap, mean: float, alpha: float = 1.0) -> float:
    """Stationary variance V without reset around `mean`, in closed form.

    With the mean slope L = 2 c2 mean + c1, V = s^2 + L^2 V + 2 c2^2 V^2, hence

        V = ((1 - L^2) - sqrt((1 - L^2)^2 - 8 c2^2 s^2)) / (4 c2^2),    s^2 / (1 - c1^2) for c2 = 0

    Raises ValueError if s > (1 - L^2) / (2 sqrt 2 c2), where the potential escapes.
    """
    s2 = float(input_deviation(neuron, alpha)) ** 2
    stay = 1 - float(neuron.slope(mean)) ** 2
    inside = stay * stay - 8 * neuron.c2 ** 2 * s2
    if stay <= 0 or inside < 0:
        raise ValueError("the variance has no stationary value: the potential escapes")
    # this form of the root also holds for c2 = 0
    return 2 * s2 / (stay + math.sqrt(inside))


def simulate(neuron: QuadraticMap, alpha: float = 1.0, *, steps: int = 8, samples: int = 100_000,
             reset: Reset | None = None, seed: int = 0) -> np.ndarray:
    """Monte Carlo: u before the reset of time step `steps`, [samples].

    The currents are independent and Gaussian with deviation alpha V_th. Every u starts at
    `neuron.start`. An escaped u, beyond 1e9 in magnitude or not a number, is returned as inf.
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
    """The values of u before the reset that are in the basin of rest at I = 0 after it.

    With hard reset and for a linear neuron these are all values, as nothing escapes. Without a
    resting potential there are none.
    """
    kind = _reset_of(neuron, reset)
    if kind == "hard" or not neuron.c2 > 0:
        return u
    basin = neuron.basin()
    if basin is None:
        return u[:0]
    return u[(u > basin.lower) & (u < basin.upper + (neuron.v_threshold if kind == "soft" else 0))]
