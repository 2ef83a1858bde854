"""The fused neuron: batch statistics, tdBN's affine part and all T steps in one operation.

    y_t   = sum over inputs k of scale_k x_k,t + shift_k
    v_t   = (c2 u_t + c1) u_t + (gain y_t + c0)
    s_t   = 1 where v_t >= threshold, else 0
    u_t+1 = reset where s_t = 1, else clamp(v_t)         hard reset
    u_t+1 = clamp(v_t) - amount s_t                      soft reset

This covers every neuron that is a map u' = c2 u^2 + c1 u + c0 + gain y: QIF in all forms, LIF,
PLIF, IF, constant leak. Plain autograd stores some ten tensors a time step and passes over memory
dozens of times; here the forward pass reads currents and writes spikes, and the backward pass
computes the potentials again and keeps nothing.

`Quadratic` describes the neuron. `fused` runs it in C++ on a CPU (`native_neuron.py`) and in Triton
on a GPU (`triton_neuron.py`), `reference` says the same in plain PyTorch. Both take parameters as
tensors of autograd, so learnt ones get their gradients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quadfire.models.kernels import native_neuron
from quadfire.models.kernels.layer import Firing, Layer
from quadfire.models.kernels.native import first_derivative, library

__all__ = ["Affine", "Quadratic", "Run", "fused", "fusible", "reference"]

SURROGATES = ("rectangular", "triangular", "sigmoid", "arctan")
INFINITE = 3.4028235e38


class Affine(NamedTuple):
    """One input of a layer of neurons, and the affine map that makes a current of it.

    | field | meaning |
    |---|---|
    | `x` | [T or 1, N, C, ...] |
    | `weight`, `bias` | [C]; the map is weight (x - mean) / sqrt(var + eps) + bias |
    | `mean`, `var` | [C]: running ones, or None: those of x, over all but channels |
    | `eps` | added to var |
    | `observe` | gets (mean, var, values a channel) of x where those are taken |
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    mean: Tensor | None
    var: Tensor | None
    eps: float = 0.0
    observe: Callable[[Tensor, Tensor, int], None] | None = None

    @classmethod
    def identity(cls, x: Tensor) -> "Affine":
        """x as the current itself."""
        one, zero = x.new_ones(x.shape[2]), x.new_zeros(x.shape[2])
        return cls(x, one, zero, zero, one)


@dataclass(frozen=True)
class Quadratic:
    """A layer of neurons v = (c2 u + c1) u + (gain y + c0), see the module.

    c2, c1, c0, gain, threshold, window: numbers, or tensors of one value or [C]. reset: None is a
    soft reset, which subtracts `amount`. Gradients go to c2, c1, c0 and gain. rounded: the sum
    (c2 u + c1) u is rounded half up, as on the array; backward, rounding is the identity.
    """

    c2: Any
    c1: Any
    c0: Any
    gain: Any
    threshold: Any
    window: Any
    initial: float
    reset: float | None = 0.0
    amount: Any = None
    limits: tuple[float, float] | None = None
    surrogate: str = "rectangular"
    detach_reset: bool = False
    rounded: bool = False


class Run(NamedTuple):
    """Spikes [T, N, C, ...], the state after the last step [N, C, ...], and the mean of spikes."""

    spikes: Tensor
    end: Tensor
    rate: float | Tensor


def fusible(x: Tensor) -> bool:
    """Whether `fused` takes currents x [T, N, C, ...] here.

    Plain float32 tensors, on a CPU with a compiler, or on a GPU with Triton.
    """
    if not (type(x) is Tensor and x.ndim >= 3 and x.dtype == torch.float32) \
            or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return library() is not None if x.device.type == "cpu" else \
        x.device.type == "cuda" and find_spec("triton") is not None


def reference(inputs: list[Affine], neuron: Quadratic, steps: int,
              begin: Tensor | None = None) -> Run:
    """The neuron in plain PyTorch. Arguments and result as those of `fused`."""
    from quadfire.models.neurons.firing import fire  # neurons import this module

    y: Any = 0
    for given in inputs:
        x, axes = given.x, [0, 1, *range(3, given.x.ndim)]
        mean, var = given.mean, given.var
        if mean is None or var is None:
            var, mean = torch.var_mean(x, axes, correction=0)
            _observe(given, mean.detach(), var.detach())
        scale = given.weight * (var + given.eps).rsqrt()
        y = y + (_spread(scale, x) * x + _spread(given.bias - mean * scale, x))
    y = y.expand(steps, *y.shape[1:])
    c2, c1, c0, gain, threshold, window, amount = (
        _spread(value, y) for value in (neuron.c2, neuron.c1, neuron.c0, neuron.gain,
                                        neuron.threshold, neuron.window, neuron.amount))
    u = torch.full_like(y[0], neuron.initial) if begin is None else begin
    spikes = []
    for current in y:
        own = (c2 * u + c1) * u
        if neuron.rounded:
            own = own + ((own + 0.5).floor() - own).detach()
        fired, u = fire(own + (gain * current + c0), threshold, neuron.reset,
                        neuron.limits, window, neuron.surrogate, neuron.detach_reset, amount)
        spikes.append(fired)
    stacked = torch.stack(spikes)
    return Run(stacked, u, stacked.detach().mean())


def _observe(given: Affine, mean: Tensor, var: Tensor) -> None:
    """Tell `given.observe` what was taken."""
    if given.observe is not None:
        given.observe(mean, var, given.x.numel() // given.x.shape[2])


def _spread(value: Any, x: Tensor) -> Any:
    """A value per channel, shaped to broadcast with [N, C, ...]; others unchanged."""
    if isinstance(value, Tensor) and value.ndim == 1:
        return value.view(-1, *[1] * (x.ndim - 3))
    return value


def fused(inputs: list[Affine], neuron: Quadratic, steps: int, begin: Tensor | None = None) -> Run:
    """The neuron as one operation.

    | argument | meaning |
    |---|---|
    | `inputs` | one or two whose currents add up, all of T or all of one time step |
    | `steps` | T |
    | `begin` | state [N, C, ...] before the first step; None: `neuron.initial` |

    Spikes are [T, N, C, ...] with channels innermost in memory. The gradient by means and variances
    of an input's own statistics is part of the gradient by x. There are no second derivatives.

    Raises ValueError for inputs of different shapes or a state of another shape or type.
    """
    first = inputs[0].x
    for given in inputs:
        if given.x.shape != first.shape or given.x.shape[0] not in (1, steps):
            raise ValueError(f"all inputs must be [{steps} or 1, N, C, ...] alike, not "
                             f"{[list(each.x.shape) for each in inputs]}")
    if begin is not None and (begin.shape != first.shape[1:] or begin.dtype != first.dtype):
        raise ValueError(f"the state must be {list(first.shape[1:])} of {first.dtype}, not "
                         f"{list(begin.shape)} of {begin.dtype}")
    channels = first.shape[2]
    like = inputs[0].weight

    def each(value: Any) -> Tensor:
        value = value if isinstance(value, Tensor) else like.new_tensor(float(value))
        return value.to(like.dtype).expand(channels).contiguous()

    low, high = neuron.limits or (-INFINITE, INFINITE)
    if neuron.surrogate not in SURROGATES:
        raise ValueError(f"surrogate must be one of {', '.join(SURROGATES)}, not "
                         f"{neuron.surrogate!r}")
    fixed = [each(value).detach() for value in (
        neuron.threshold, neuron.window, neuron.threshold if neuron.amount is None
        else neuron.amount)]
    firing = Firing(0.0 if neuron.reset is None else neuron.reset, low, high, neuron.initial,
                    neuron.reset is None, neuron.detach_reset,
                    SURROGATES.index(neuron.surrogate), neuron.limits is not None,
                    neuron.rounded)
    info: dict[str, Any] = {}
    tensors = [tensor for given in inputs
               for tensor in (given.x, given.weight, given.bias, given.mean, given.var)]
    spikes, end = _Fused.apply(     # pyright: ignore[reportGeneralTypeIssues]
        info, steps, [given.eps for given in inputs], firing, fixed, begin,
        each(neuron.c2), each(neuron.c1), each(neuron.c0), each(neuron.gain), *tensors)
    for given, moments in zip(inputs, info["moments"], strict=True):
        if moments is not None:
            _observe(given, *moments)
    return Run(spikes, end, info["rate"])


# As one operation of autograd ---------------------------------------------------------------------


def _innermost(x: Tensor) -> Tensor:
    """x [T, N, C, ...] with channels innermost in memory, and nothing between its values."""
    moved = x.movedim(2, -1)
    return moved if moved.is_contiguous() else moved.contiguous()


def _outer(x: Tensor) -> Tensor:
    """[T, N, ..., C] seen as [T, N, C, ...]."""
    return x.movedim(-1, 2)


class _Fused(torch.autograd.Function):
    """`fused` as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, info: dict[str, Any], steps: int, eps: list[float], firing: Firing,
                fixed: list[Tensor], begin: Tensor | None, *tensors: Any) -> tuple[Tensor, Tensor]:
        coefficients, groups = [*tensors[:4]], [tensors[i:i + 5] for i in range(4, len(tensors), 5)]
        way = _way(groups[0][0])
        xs, scales, shifts, stats, moments = [], [], [], [], []
        for (x, weight, bias, mean, var), small in zip(groups, eps, strict=True):
            xs.append(_innermost(x.detach()))
            own = mean is None
            mean, var = way.moments(xs[-1]) if own else (mean.double(), var.double())
            inverse = (var + small).rsqrt()
            scale = weight.detach().double() * inverse
            scales.append(scale.float())
            shifts.append((bias.detach().double() - mean * scale).float())
            stats.append((own, mean, inverse))
            moments.append((mean.float(), var.float()) if own else None)
        layer = Layer(steps, xs, scales, shifts, coefficients, fixed, firing)
        state = None if begin is None else begin.detach().movedim(1, -1).contiguous()
        spikes, end, info["rate"] = way.forward(layer, state)
        info["moments"] = moments
        ctx.save_for_backward(*(group[0] for group in groups), *(group[1] for group in groups),
                              *scales, *shifts, *coefficients, *fixed,
                              *([] if state is None else [state]))
        ctx.rest = steps, firing, stats
        ctx.set_materialize_grads(False)
        return _outer(spikes), end.movedim(-1, 1)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        steps, firing, stats = ctx.rest
        saved, count = list(ctx.saved_tensors), len(stats)
        raw, weights, scales, shifts = (saved[i * count:(i + 1) * count] for i in range(4))
        coefficients, fixed = saved[4 * count:4 * count + 4], saved[4 * count + 4:4 * count + 7]
        state = saved[4 * count + 7] if len(saved) > 4 * count + 7 else None
        xs = [_innermost(x.detach()) for x in raw]
        by_spikes, by_end = grads
        by_spikes = xs[0].new_zeros(steps, *xs[0].shape[1:]) if by_spikes is None \
            else _innermost(by_spikes)
        by_end = None if by_end is None else by_end.movedim(1, -1).contiguous()
        learnt, way = any(ctx.needs_input_grad[6:10]), _way(xs[0])
        by_current, by_begin, sums = way.backward(
            Layer(steps, xs, scales, shifts, coefficients, fixed, firing), state, by_spikes, by_end,
            learnt)
        result: list[Any] = []
        for k, (own, mean, inverse) in enumerate(stats):
            result += _by_input(xs[k], weights[k], own, mean, inverse, by_current, sums[0],
                                sums[1 + k], last=k == count - 1,
                                wanted=ctx.needs_input_grad[10 + 5 * k])
        by_coefficients = [total.float() if learnt else None for total in sums[3:]]
        return (*[None] * 5, None if by_begin is None else by_begin.movedim(-1, 1),
                *by_coefficients, *result)


def _by_input(x: Tensor, weight: Tensor, own: bool, mean: Tensor, inverse: Tensor,
              by_current: Tensor, by_shift: Tensor, by_scale: Tensor, *, last: bool, wanted: bool
              ) -> list[Tensor | None]:
    """Gradients by x, weight, bias, mean and var of one input.

    With xhat = (x - mean) inverse and n values a channel, statistics of x itself make it

        by_x = weight inverse (by_y - sum(by_y) / n - xhat sum(by_y xhat) / n)
    """
    by_hat = (by_scale - mean * by_shift) * inverse         # sum of by_y xhat
    by_x = None
    if wanted:
        count = x.numel() // x.shape[-1]
        a = weight.double() * inverse
        if last and not own and bool((a == 1).all()):
            return [_outer(by_current), by_hat.float(), by_shift.float(), None, None]
        b = -a * inverse * by_hat / count if own else torch.zeros_like(a)
        c = -a * by_shift / count - b * mean if own else torch.zeros_like(a)
        by_x = by_current if last else torch.empty_like(x)
        _way(x).affine_gradient(by_current, x, a.float(), b.float(), c.float(), by_x)
        by_x = _outer(by_x)
    return [by_x, by_hat.float(), by_shift.float(), None, None]


def _way(x: Tensor) -> Any:
    """The module that computes on the device of x."""
    if x.device.type == "cuda":
        from quadfire.models.kernels import triton_neuron

        return triton_neuron
    return native_neuron
