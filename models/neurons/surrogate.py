"""The derivative that stands in for that of a spike while a network is trained.

All surrogates have unit area and one parameter, `window`, that means the same for each: the
half-width of the rectangle of equal energy, integral of (ds/dx)^2 dx = 1/(2 window). The energy is
what decides how much variance of the gradient a layer hands back, so one window serves all shapes:

    rectangular  1/(2 window) on |x| < window
    triangular   (1 - |x|/b) / b on |x| < b,                b = 4/3 window
    sigmoid      k s(k x) (1 - s(k x)),                     k = 3 / window   (SpikingJelly's alpha)
    arctan       (k/2) / (1 + (pi k x / 2)^2),              k = 2 / window   (SpikingJelly's alpha)

The analytic window
-------------------
Principle: *gradient isometry*. With tdBN the weights of a layer have the fan-in variance
(alpha V_th)^2 / Var[s], Var[s] = Q (1 - Q), Q the probability of a spike. One layer then multiplies
the variance of a gradient by

    G(w) = (g alpha V_th)^2 P(|u - V_th| < w) / (4 w^2 Q (1 - Q))

and gradients neither vanish nor explode with depth where G(w) = 1. With u ~ N(mu, sigma^2)
(`quadfire.models.dynamics`) and P = 2 w p(V_th),

    w_iso = (g alpha V_th)^2 phi(z) / (2 sigma Q(z) (1 - Q(z))),       z = (V_th - mu) / sigma

The linearisation of P holds for alpha about 0.75..1.5; below, G(w) = 1 is solved as it stands
(`exact_isometric_window`). Against simulated unit gain with the path through time included, w_iso
is 4-16 % low for LIF and QIF of a <= 1/4, about 30 % low for Euler forms of slow leak and 38 % low
at a = 1/2: that gain is not in the formula. It is no window of least error either: see
`least_error_window`. In deep plain networks windows from w_iso to 1.0 trained best, in nets of one
or two layers 0.5 did. The derivation is this project's own, not that of arXiv:2510.05168.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.dynamics.moments import Moments, input_deviation, one_step_moments

__all__ = ["SURROGATES", "Kernel", "Window", "analytic_window", "analytic_window_of", "arctan",
           "exact_isometric_window", "gradient_error", "gradient_gain", "isometric_window",
           "kernel", "least_error_window", "rectangular", "sigmoid", "spike", "step",
           "triangular"]

Window = float | Tensor
Kernel = Callable[[Tensor, Tensor, Any], Tensor]


def step(x: Tensor) -> Tensor:
    """1 where x >= 0, else 0, in the type of x; without a tensor of bool in between, which costs
    ten times as much."""
    return torch.ge(x, 0, out=torch.empty_like(x))


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Any, kernel: Kernel) -> Tensor:
        ctx.save_for_backward(x)
        ctx.window = window
        ctx.kernel = kernel
        return step(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return ctx.kernel(grads[0], x, ctx.window), None, None


def _rectangular(grad: Tensor, x: Tensor, window: Any) -> Tensor:
    if not isinstance(window, Tensor):      # hardtanh has this very derivative, in one pass
        return torch.ops.aten.hardtanh_backward(grad, x, -window, window).div_(2 * window)
    return grad * (x.abs() < window) / (2 * window)


def _triangular(grad: Tensor, x: Tensor, window: Any) -> Tensor:
    base = window * (4 / 3)
    return grad * (1 - x.abs() / base).clamp(min=0) / base


def _sigmoid(grad: Tensor, x: Tensor, window: Any) -> Tensor:
    k = 3 / window
    s = torch.sigmoid(k * x)
    return grad * k * s * (1 - s)


def _arctan(grad: Tensor, x: Tensor, window: Any) -> Tensor:
    k = 2 / window
    return grad * (k / 2) / (1 + (math.pi / 2 * k * x).square())


#: The kernels by name: gradient of the spike, x, window -> gradient of x.
SURROGATES: dict[str, Kernel] = {"rectangular": _rectangular, "triangular": _triangular,
                                 "sigmoid": _sigmoid, "arctan": _arctan}


def kernel(surrogate: str, window: Window) -> Kernel:
    """The kernel of that name. Raises ValueError for another, and unless window > 0."""
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate must be one of {', '.join(SURROGATES)}, not {surrogate!r}")
    if not isinstance(window, Tensor) and not window > 0:
        raise ValueError(f"window must be above 0, not {window!r}")
    return SURROGATES[surrogate]


def spike(x: Tensor, window: Window = 0.5, surrogate: str = "rectangular") -> Tensor:
    """Spike where x >= 0, with the derivative of the surrogate of that name.

    x: membrane potential less threshold, any shape; `window` has its unit and is a number or a
    tensor that broadcasts with x (and learns nothing). The result has the shape and type of x and
    holds 0 and 1. Raises ValueError for a name that is not in SURROGATES and unless window > 0.
    """
    return _Spike.apply(x, window, kernel(surrogate, window))  # pyright: ignore[reportReturnType]


def rectangular(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the derivative 1/(2 window) on |x| < window, 0 elsewhere.

    Source: STBP, arXiv:1706.02609, its h1 of width 2 window. Raises ValueError unless window > 0.
    """
    return spike(x, window, "rectangular")


def triangular(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with a triangular derivative of base half-width 4/3 window.

    Source: Esser et al., arXiv:1603.08270; Bellec et al., arXiv:1803.09574.
    """
    return spike(x, window, "triangular")


def sigmoid(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the derivative of the logistic function of 3 x / window.

    Source: STBP, arXiv:1706.02609, its h3.
    """
    return spike(x, window, "sigmoid")


def arctan(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the derivative of arctan(pi x / window) / pi.

    Source: Fang et al., arXiv:2007.05785 (PLIF), whose alpha is 2 / window.
    """
    return spike(x, window, "arctan")


# The analytic window -----------------------------------------------------------------------------


def _wide(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _phi(z: Tensor) -> Tensor:
    return torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def _like(result: Tensor) -> Any:
    return result if result.ndim else result.item()


def gradient_gain(window: Any, moments: Moments, deviation: Any, v_threshold: float = 1.0) -> Any:
    """G(w), see the module: variance of the gradient behind a layer over that before it."""
    w, mu, sigma = _wide(window), _wide(moments.mean), _wide(moments.variance).sqrt()
    low, high = (v_threshold - w - mu) / sigma, (v_threshold + w - mu) / sigma
    inside = torch.special.ndtr(high) - torch.special.ndtr(low)
    q = torch.special.ndtr((mu - v_threshold) / sigma)
    return _like(_wide(deviation) ** 2 * inside / (4 * w * w * q * (1 - q)))


def isometric_window(moments: Moments, deviation: Any, v_threshold: float = 1.0) -> Any:
    """w_iso in closed form, from the moments of u and the deviation s = g alpha V_th."""
    mu, sigma = _wide(moments.mean), _wide(moments.variance).sqrt()
    z = (v_threshold - mu) / sigma
    q = torch.special.ndtr(-z)
    return _like(_wide(deviation) ** 2 * _phi(z) / (2 * sigma * q * (1 - q)))


def exact_isometric_window(moments: Moments, deviation: Any, v_threshold: float = 1.0) -> Any:
    """The window of G(w) = 1 without linearisation, by bisection to 1e-12.

    G falls from infinity to 0. Where u is so narrow that it does so in waves and there are several
    solutions, this is the one found between 1e-3 and 1e3 by halving in log w.
    """
    _, low, high = torch.broadcast_tensors(_wide(moments.mean) + _wide(deviation),
                                           _wide(1e-3), _wide(1e3))
    low, high = low.clone(), high.clone()
    for _ in range(60):
        middle = (low * high).sqrt()
        above = _wide(gradient_gain(middle, moments, deviation, v_threshold)) > 1
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return _like((low * high).sqrt())


def analytic_window(a: Any, u1: Any, u2: Any, v_threshold: float = 1.0, alpha: float = 1.0, *,
                    v_reset: float | None = 0.0) -> Any:
    """The isometric window of a QIF neuron in root form, behind tdBN with alpha.

    Numbers, or float64 tensors of one value per channel. `analytic_window_of` is the same for any
    map of `quadfire.models.dynamics`.
    """
    return analytic_window_of(QuadraticMap.root(a, u1, u2, v_threshold, v_reset), alpha)


def analytic_window_of(neuron: QuadraticMap, alpha: float = 1.0) -> Any:
    """w_iso of a neuron: closed form, or exact where g alpha < 0.75 and the closed form fails."""
    moments, deviation = one_step_moments(neuron, alpha), input_deviation(neuron, alpha)
    linear = isometric_window(moments, deviation, neuron.v_threshold)
    fails = _wide(deviation) < 0.75 * neuron.v_threshold
    if not fails.any():
        return linear
    exact = exact_isometric_window(moments, deviation, neuron.v_threshold)
    return _like(torch.where(fails, _wide(exact), _wide(linear)))


def least_error_window(moments: Moments, samples: float, v_threshold: float = 1.0) -> Any:
    """The rectangular window whose gradient has the least mean squared error over `samples`.

    A rectangle is a kernel estimate of the density of u at V_th and, for the gain, of the density
    times z: bias w^2/6 times the second derivatives, variance p (1 + z^2) / (2 w N). The minimum:

        w_mse = sigma (9 (1 + z^2) / (2 N phi(z) ((z^2 - 1)^2 + (z^3 - 3 z)^2)))^(1/5)

    It shrinks with the batch; for a Gaussian u it lies within 12 % of the exact minimum for
    N = 100..10,000.
    """
    mu, sigma = _wide(moments.mean), _wide(moments.variance).sqrt()
    z = (v_threshold - mu) / sigma
    curvature = (z * z - 1) ** 2 + (z ** 3 - 3 * z) ** 2
    return _like(sigma * (9 * (1 + z * z) / (2 * samples * _phi(z) * curvature)) ** 0.2)


def gradient_error(window: Any, moments: Moments, samples: float, v_threshold: float = 1.0) -> Any:
    """Mean squared error of a rectangular surrogate's gradient, over the true one squared.

    The gradients are those of the spike probability with respect to shift and scale of u, both in
    units of sigma: E[k(u - V_th)] against p(V_th), E[k(u - V_th) (u - mu)/sigma] against z p(V_th);
    k the rectangle, u Gaussian, N = samples averaged. Exact, no small-window expansion.
    """
    w, mu, sigma = _wide(window), _wide(moments.mean), _wide(moments.variance).sqrt()
    z, h = (v_threshold - mu) / sigma, w / sigma        # everything in units of sigma
    low, high = z - h, z + h
    mass = torch.special.ndtr(high) - torch.special.ndtr(low)
    first = _phi(low) - _phi(high)                              # E[x; inside]
    second = mass + low * _phi(low) - high * _phi(high)         # E[x^2; inside]
    shift, scale = mass / (2 * h), first / (2 * h)
    noise = (mass + second) / (4 * h * h) - shift ** 2 - scale ** 2
    truth = _phi(z) ** 2 * (1 + z * z)
    return _like(((shift - _phi(z)) ** 2 + (scale - z * _phi(z)) ** 2 + noise / samples) / truth)
