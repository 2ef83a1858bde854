"""The surrogate window that keeps the size of gradients from layer to layer.

Principle: *gradient isometry*. Notation: u ~ N(mu, sigma^2) is the membrane potential before the
reset, z = (V_th - mu) / sigma, Q = P(u >= V_th) the probability of a spike, g the neuron's gain,
alpha V_th the deviation of tdBN's currents, w the window.

tdBN scales the weights of a layer to the fan-in variance (alpha V_th)^2 / (Q (1 - Q)), since a
spike has the variance Q (1 - Q). In the backward direction one layer with a rectangular surrogate
then multiplies the variance of the gradient by

    G(w) = (g alpha V_th)^2 P(|u - V_th| < w) / (4 w^2 Q (1 - Q))

Gradients neither vanish nor explode with depth where G(w) = 1. For a small window
P = 2 w phi(z) / sigma, and G(w) = 1 has the solution

    w_iso = (g alpha V_th)^2 phi(z) / (2 sigma Q (1 - Q))

Limits of the formula:

- Small window: P is linear enough for alpha of about 0.75..1.5. Below, G(w) = 1 is solved exactly.
- Path through time: it is not in G. With it, the simulated window of unit gain is larger. w_iso is
  4-16 % low for LIF and for QIF with a <= 1/4, 38 % low at a = 1/2, and about 30 % low for Euler
  forms with slow leak.
- Error: w_iso does not minimise the error of the gradient, `least_error_window` does.
- Training: windows from w_iso to 1.0 trained deep plain networks best, 0.5 networks of one or two
  layers.

The derivation is this project's own. It is not that of arXiv:2510.05168.
"""

from typing import Any

import torch

from quadfire.models.dynamics.moments import (
    Moments,
    float64,
    input_deviation,
    normal_density,
    one_step_moments,
)
from quadfire.models.dynamics.quadratic_map import QuadraticMap

__all__ = ["analytic_window", "analytic_window_of_root", "exact_isometric_window",
           "gradient_error", "gradient_gain", "isometric_window", "least_error_window"]


def analytic_window(neuron: QuadraticMap, alpha: float = 1.0) -> Any:
    """The isometric window of a neuron behind a tdBN with `alpha`.

    It is `isometric_window`, or `exact_isometric_window` where g alpha < 0.75 and the closed form
    fails. The moments are those of `one_step_moments`. Returns a float, or a tensor [C] if the
    neuron's parameters are tensors.
    """
    moments, deviation = one_step_moments(neuron, alpha), input_deviation(neuron, alpha)
    linear = isometric_window(moments, deviation, neuron.v_threshold)
    fails = float64(deviation) < 0.75 * neuron.v_threshold
    if not fails.any():
        return linear
    exact = exact_isometric_window(moments, deviation, neuron.v_threshold)
    return _plain(torch.where(fails, float64(exact), float64(linear)))


def analytic_window_of_root(a: Any, u1: Any, u2: Any, v_threshold: float = 1.0,
                            alpha: float = 1.0, *, v_reset: float | None = 0.0) -> Any:
    """`analytic_window` of the QIF neuron u' = a (u - u1)(u - u2) + I."""
    return analytic_window(QuadraticMap.root(a, u1, u2, v_threshold, v_reset), alpha)


def gradient_gain(window: Any, moments: Moments, deviation: Any, v_threshold: float = 1.0) -> Any:
    """G(w): variance of the gradient that a layer passes back over that of the one it gets.

    | argument  | meaning |
    |-----------|---|
    | window    | w, number or tensor |
    | moments   | of u before the reset |
    | deviation | g alpha V_th, see `input_deviation` |
    """
    w, mu, sigma = float64(window), float64(moments.mean), float64(moments.variance).sqrt()
    low, high = (v_threshold - w - mu) / sigma, (v_threshold + w - mu) / sigma
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    q = torch.special.ndtr((mu - v_threshold) / sigma)
    return _plain(float64(deviation) ** 2 * inside / (4 * w * w * q * (1 - q)))


def isometric_window(moments: Moments, deviation: Any, v_threshold: float = 1.0) -> Any:
    """w_iso in closed form. Arguments as in `gradient_gain`."""
    mu, sigma = float64(moments.mean), float64(moments.variance).sqrt()
    z = (v_threshold - mu) / sigma
    q = torch.special.ndtr(-z)
    return _plain(float64(deviation) ** 2 * normal_density(z) / (2 * sigma * q * (1 - q)))


def exact_isometric_window(moments: Moments, deviation: Any, v_threshold: float = 1.0) -> Any:
    """The window with G(w) = 1, without the assumption of a small window.

    Bisection of log w from 1e-3 to 1e3, to a relative width below 1e-12. G falls from infinity to
    0. If sigma is so small that G is not monotonic, there may be other solutions.
    """
    _, low, high = torch.broadcast_tensors(float64(moments.mean) + float64(deviation),
                                           float64(1e-3), float64(1e3))
    low, high = low.clone(), high.clone()
    for _ in range(60):
        middle = (low * high).sqrt()
        above = float64(gradient_gain(middle, moments, deviation, v_threshold)) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return _plain((low * high).sqrt())


def least_error_window(moments: Moments, samples: float, v_threshold: float = 1.0) -> Any:
    """The rectangular window whose gradient has the least mean squared error over N = `samples`.

    The rectangle is a kernel estimate of the density of u at V_th and, for the gradient by the
    gain, of the density times z. The bias is w^2/6 times their second derivatives, the variance
    p (1 + z^2) / (2 w N), and the mean squared error is least at

        w_mse = sigma (9 (1 + z^2) / (2 N phi(z) ((z^2 - 1)^2 + (z^3 - 3 z)^2)))^(1/5)

    It shrinks with N. For a Gaussian u and N = 100..10,000 it is within 12 % of the exact minimum
    of `gradient_error`.
    """
    mu, sigma = float64(moments.mean), float64(moments.variance).sqrt()
    z = (v_threshold - mu) / sigma
    curvature = (z * z - 1) ** 2 + (z ** 3 - 3 * z) ** 2
    return _plain(
        sigma * (9 * (1 + z * z) / (2 * samples * normal_density(z) * curvature)) ** 0.2)


def gradient_error(window: Any, moments: Moments, samples: float, v_threshold: float = 1.0) -> Any:
    """Mean squared error of a rectangular surrogate's gradient, over the true gradient squared.

    The gradient is that of the spike probability by the shift and by the scale of u, both in units
    of sigma. With k the rectangle, the average of k(u - V_th) over N = `samples` stands for
    p(V_th), and that of k(u - V_th) (u - mu) / sigma for z p(V_th). The expression is exact for a
    Gaussian u and any window.
    """
    w, mu, sigma = float64(window), float64(moments.mean), float64(moments.variance).sqrt()
    z, h = (v_threshold - mu) / sigma, w / sigma        # everything in units of sigma
    low, high = z - h, z + h
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    first = normal_density(low) - normal_density(high)                      # E[x; inside]
    second = mass + low * normal_density(low) - high * normal_density(high)     # E[x^2; inside]
    shift, scale = mass / (2 * h), first / (2 * h)
    noise = (mass + second) / (4 * h * h) - shift ** 2 - scale ** 2
    true = normal_density(z)
    error = (shift - true) ** 2 + (scale - z * true) ** 2 + noise / samples
    return _plain(error / (true ** 2 * (1 + z * z)))


def _plain(result: torch.Tensor) -> Any:
    """A float if the result is a single number."""
    return result if result.ndim else result.item()
