"""Threshold and reset: how every step function ends.

    s = 1 where v' >= v_threshold, else 0
    v = v_reset where s = 1, else v'            hard reset
    v = v' - v_threshold s                      soft reset, v_reset = None

The neuron fires *at* the threshold, as the array, SpikingJelly and Sinabs do; snnTorch and Norse
fire only above it. The reset is part of the step that fires; snnTorch's is part of the next one.
"""

from typing import Any

import torch
from torch import Tensor

from quadfire.models.neurons.surrogate import Derivative, Window, derivative_of, heaviside, spike

__all__ = ["Limits", "fire"]

#: (lowest, highest) membrane potential, at which a state of limited precision saturates.
Limits = tuple[float, float] | None


def fire(v: Tensor, v_threshold: Any = 1.0, v_reset: float | None = 0.0, limits: Limits = None,
         window: Window = 0.5, surrogate: str = "rectangular", detach_reset: bool = False,
         amount: Any = None) -> tuple[Tensor, Tensor]:
    """(spike, v after the reset) of a membrane potential v', in units of v.

    | option       | meaning |
    |--------------|---|
    | v_threshold  | V_th |
    | v_reset      | where a hard reset puts v; None: soft reset |
    | limits       | v' saturates at these values |
    | window       | half-width of the surrogate derivative |
    | surrogate    | a name in `surrogate.SURROGATES` |
    | detach_reset | no gradient through the spike that resets |
    | amount       | what a soft reset subtracts; None: v_threshold |

    With soft reset the limits are part of the trained model. With hard reset they hardly matter.
    """
    if v_reset is not None and limits is None and not isinstance(v_threshold, Tensor):
        return _HardReset.apply(        # pyright: ignore[reportReturnType]
            v, v_threshold, v_reset, window, derivative_of(surrogate, window), detach_reset)
    fired = spike(v - v_threshold, window, surrogate)
    if limits is not None:
        v = v.clamp(*limits)
    gate = fired.detach() if detach_reset else fired
    if v_reset is None:
        return fired, v - (v_threshold if amount is None else amount) * gate
    return fired, v * (1 - gate) + v_reset * gate


class _HardReset(torch.autograd.Function):
    """Spike and hard reset as one operation of autograd.

    Its values and gradients are those of s = spike(v - v_threshold) and v (1 - s) + v_reset s. It
    takes a fraction of their time and stores less for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, v_threshold: float, v_reset: float, window: Window,
                derivative: Derivative, detach: bool) -> tuple[Tensor, Tensor]:
        x = v - v_threshold
        fired = heaviside(x)
        ctx.save_for_backward(v, x, fired)
        ctx.options = v_reset, window, derivative, detach
        after = (1 - fired).mul_(v)
        return fired, after.add_(fired, alpha=v_reset) if v_reset else after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (v, x, fired), (v_reset, window, derivative, detach) = ctx.saved_tensors, ctx.options
        by_spike, by_after = grads
        if not detach:
            by_spike = (v_reset - v).mul_(by_after).add_(by_spike)
        by_v = derivative(by_spike, x, window).add_((1 - fired).mul_(by_after))
        return by_v, *[None] * 5
