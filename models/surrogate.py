"""The derivative that stands in for that of a spike while a network is trained."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["rectangular"]


class _Rectangular(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, window: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.window = window
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * (x.abs() < ctx.window) / (2 * ctx.window), None


def rectangular(x: Tensor, window: float = 0.5) -> Tensor:
    """Spike where x >= 0; its derivative is 1/(2 window) on |x| < window, 0 elsewhere.

    x: membrane potential less threshold, any shape; `window` has its unit. The result has the
    shape and type of x and holds 0 and 1. Source: STBP, arXiv:1706.02609, its h1 of width
    2 window. Raises ValueError unless window > 0.
    """
    if not window > 0:
        raise ValueError(f"window must be above 0, not {window!r}")
    return _Rectangular.apply(x, window)  # pyright: ignore[reportReturnType]
