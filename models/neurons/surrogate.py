"""Surrogate gradients: the derivative that a spike has during training.

In the forward direction a spike is the step s = 1 where x >= 0, x = v' - V_th. In the backward
direction its derivative is a pulse of unit area. With w the window:

| surrogate   | ds/dx                                         | with |
|-------------|-----------------------------------------------|---|
| rectangular | 1 / (2 w) where abs(x) < w, else 0            | |
| triangular  | (1 - abs(x) / b) / b where abs(x) < b, else 0 | b = 4 w / 3 |
| sigmoid     | k f (1 - f), f = 1 / (1 + exp(-k x))          | k = 3 / w |
| arctan      | (k / 2) / (1 + (pi k x / 2)^2)                | k = 2 / w |

| surrogate   | in SpikingJelly                   | in snnTorch      | source |
|-------------|-----------------------------------|------------------|---|
| rectangular | Rect, alpha = 1 / (2 w)           |                  | STBP, arXiv:1706.02609, h1 |
| triangular  | PiecewiseQuadratic, alpha = 1 / b |                  | arXiv:1603.08270 |
|             |                                   |                  | and arXiv:1803.09574 |
| sigmoid     | Sigmoid, alpha = k                | sigmoid, slope k | STBP, its h3 |
| arctan      | ATan, alpha = k                   | atan, alpha = k  | PLIF, arXiv:2007.05785 |

The window w of STBP's h1 is half its width.

The window is the half-width of the rectangle of equal energy: the integral of (ds/dx)^2 is
1 / (2 w) for every shape. The energy decides how much variance of the gradient a layer passes back,
so a window that suits one shape suits the others. `quadfire.models.dynamics.window` derives one
from the parameters of a neuron.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["SURROGATES", "Derivative", "Window", "arctan", "derivative_of", "heaviside",
           "rectangular", "sigmoid", "spike", "triangular"]

#: Half-width of a surrogate, above 0: one for all neurons, or a tensor that broadcasts with x.
Window = float | Tensor
#: (gradient by the spike, x, window) -> gradient by x.
Derivative = Callable[[Tensor, Tensor, Any], Tensor]


def heaviside(x: Tensor) -> Tensor:
    """1 where x >= 0, else 0, in the type of x.

    Writing into a float tensor avoids the tensor of bool that `(x >= 0).to(x.dtype)` makes, which
    takes ten times as long.
    """
    return torch.ge(x, 0, out=torch.empty_like(x))


def spike(x: Tensor, window: Window = 0.5, surrogate: str = "rectangular") -> Tensor:
    """A spike where x >= 0, with the surrogate derivative of that name.

    | argument  | meaning |
    |-----------|---|
    | x         | membrane potential minus threshold, any shape |
    | window    | half-width of the surrogate in units of x, above 0; gets no gradient |
    | surrogate | a name in SURROGATES |

    Returns 0 and 1 in the shape and type of x. Raises ValueError for another name or a window that
    is not above 0.
    """
    derivative = derivative_of(surrogate, window)
    return _Spike.apply(x, window, derivative)      # pyright: ignore[reportReturnType]


def derivative_of(surrogate: str, window: Window) -> Derivative:
    """The derivative of that name. Raises the errors of `spike`."""
    if surrogate not in SURROGATES:
        raise ValueError(f"surrogate must be one of {', '.join(SURROGATES)}, not {surrogate!r}")
    if not isinstance(window, Tensor) and not window > 0:
        raise ValueError(f"window must be above 0, not {window!r}")
    return SURROGATES[surrogate]


def rectangular(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the rectangular surrogate."""
    return spike(x, window, "rectangular")


def triangular(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the triangular surrogate."""
    return spike(x, window, "triangular")


def sigmoid(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the surrogate that is the derivative of a logistic function."""
    return spike(x, window, "sigmoid")


def arctan(x: Tensor, window: Window = 0.5) -> Tensor:
    """`spike` with the surrogate that is the derivative of an arctangent."""
    return spike(x, window, "arctan")


class _Spike(torch.autograd.Function):
    """`heaviside` forward, a surrogate derivative backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Any, derivative: Derivative) -> Tensor:
        ctx.save_for_backward(x)
        ctx.window = window
        ctx.derivative = derivative
        return heaviside(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return ctx.derivative(grads[0], x, ctx.window), None, None


def _rectangular(grad: Tensor, x: Tensor, window: Any) -> Tensor:
    if not isinstance(window, Tensor):      # hardtanh has this derivative, and takes one pass
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


#: The surrogate derivatives by name.
SURROGATES: dict[str, Derivative] = {"rectangular": _rectangular, "triangular": _triangular,
                                     "sigmoid": _sigmoid, "arctan": _arctan}
