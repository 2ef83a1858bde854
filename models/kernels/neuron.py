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

`Quadratic` describes the neuron. `fused` runs it in C++ (`neuron.cpp`), `reference` says the same
in plain PyTorch. Both take parameters as tensors of autograd, so learnt ones get their gradients.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quadfire.models.kernels.native import address, library, threads

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
    soft reset, which subtracts `amount`. Gradients go to c2, c1, c0 and gain.
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


class Run(NamedTuple):
    """Spikes [T, N, C, ...], the state after the last step [N, C, ...], and the mean of spikes."""

    spikes: Tensor
    end: Tensor
    rate: float | Tensor


def fusible(x: Tensor) -> bool:
    """Whether `fused` takes currents x [T, N, C, ...] here: plain float32 on a CPU."""
    return (type(x) is Tensor and x.ndim >= 3 and x.device.type == "cpu"
            and x.dtype == torch.float32 and not torch.compiler.is_compiling()
            and not torch._C._are_functorch_transforms_active() and library() is not None)


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
        fired, u = fire((c2 * u + c1) * u + (gain * current + c0), threshold, neuron.reset,
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
    """The neuron in C++.

    | argument | meaning |
    |---|---|
    | `inputs` | one or two whose currents add up, all of T or all of one time step |
    | `steps` | T |
    | `begin` | state [N, C, ...] before the first step; None: `neuron.initial` |

    Spikes are [T, N, C, ...] with channels innermost in memory. The gradient by means and variances
    of an input's own statistics is part of the gradient by x.
    """
    channels = inputs[0].x.shape[2]
    like = inputs[0].weight

    def each(value: Any) -> Tensor:
        value = value if isinstance(value, Tensor) else like.new_tensor(float(value))
        return value.to(like.dtype).expand(channels).contiguous()

    soft = neuron.reset is None
    low, high = neuron.limits or (-INFINITE, INFINITE)
    if neuron.surrogate not in SURROGATES:
        raise ValueError(f"surrogate must be one of {', '.join(SURROGATES)}, not "
                         f"{neuron.surrogate!r}")
    fixed = [each(value).detach() for value in (
        neuron.threshold, neuron.window, neuron.threshold if neuron.amount is None
        else neuron.amount)]
    numbers = (0.0 if neuron.reset is None else neuron.reset, low, high, neuron.initial, soft,
               neuron.detach_reset, SURROGATES.index(neuron.surrogate), neuron.limits is not None)
    info: dict[str, Any] = {}
    tensors = [tensor for given in inputs
               for tensor in (given.x, given.weight, given.bias, given.mean, given.var)]
    spikes, end = _Fused.apply(     # pyright: ignore[reportGeneralTypeIssues]
        info, steps, [given.eps for given in inputs], numbers, fixed, begin,
        each(neuron.c2), each(neuron.c1), each(neuron.c0), each(neuron.gain), *tensors)
    for given, moments in zip(inputs, info["moments"], strict=True):
        if moments is not None:
            _observe(given, *moments)
    return Run(spikes, end, info["rate"])


# The arguments of neuron.cpp ---------------------------------------------------------------------


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("steps", "given", "positions", "channels")]


class _Input(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("x", "scale", "shift")]


class _Neuron(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in (
                    "c2", "c1", "c0", "gain", "threshold", "window", "amount")),
                *((name, ctypes.c_float) for name in ("reset", "low", "high", "initial")),
                *((name, ctypes.c_int32) for name in ("soft", "detach", "surrogate", "limited"))]


class _Gradients(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in (
                    "by_spikes", "by_end", "by_current", "by_begin")),
                ("learnt", ctypes.c_int32)]


SUMS = 7        # by shift, by scale of two inputs, by c2, c1, c0, gain


def _innermost(x: Tensor) -> Tensor:
    """x [T, N, C, ...] with channels innermost in memory, and nothing between its values."""
    moved = x.movedim(2, -1)
    return moved if moved.is_contiguous() else moved.contiguous()


def _outer(x: Tensor) -> Tensor:
    """[T, N, ..., C] seen as [T, N, C, ...]."""
    return x.movedim(-1, 2)


class _Call:
    """The structures of one call, and the tensors that they point to."""

    def __init__(self, xs: list[Tensor], scales: list[Tensor], shifts: list[Tensor],
                 coefficients: list[Tensor], fixed: list[Tensor], numbers: Any, steps: int):
        first = xs[0]
        self.keep = (xs, scales, shifts, coefficients, fixed)
        self.shape = _Shape(steps, first.shape[0],
                            first[0].numel() // max(1, first.shape[-1]), first.shape[-1])
        self.inputs = (_Input * len(xs))(*(
            _Input(*map(address, three)) for three in zip(xs, scales, shifts, strict=True)))
        self.neuron = _Neuron(*map(address, coefficients), *map(address, fixed), *numbers)

    def start(self) -> tuple[Any, ...]:
        """The arguments that forward and backward have in common."""
        return (ctypes.byref(self.shape), ctypes.c_int(len(self.inputs)), self.inputs,
                ctypes.byref(self.neuron))


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of x [..., C], float64."""
    channels, lib = x.shape[-1], library()
    assert lib is not None
    mean, var = x.new_empty(2, channels, dtype=torch.float64)
    lib.qf_moments(ctypes.c_int64(x.numel() // channels), ctypes.c_int64(channels), address(x),
                   address(mean), address(var), threads())
    return mean, var


class _Fused(torch.autograd.Function):
    """`fused` as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, info: dict[str, Any], steps: int, eps: list[float], numbers: Any,
                fixed: list[Tensor], begin: Tensor | None, *tensors: Any) -> tuple[Tensor, Tensor]:
        lib = library()
        assert lib is not None
        coefficients, groups = [*tensors[:4]], [tensors[i:i + 5] for i in range(4, len(tensors), 5)]
        xs, scales, shifts, stats, moments = [], [], [], [], []
        for (x, weight, bias, mean, var), small in zip(groups, eps, strict=True):
            xs.append(_innermost(x.detach()))
            own = mean is None
            mean, var = _moments(xs[-1]) if own else (mean.double(), var.double())
            inverse = (var + small).rsqrt()
            scale = weight.detach().double() * inverse
            scales.append(scale.float())
            shifts.append((bias.detach().double() - mean * scale).float())
            stats.append((own, mean, inverse))
            moments.append((mean.float(), var.float()) if own else None)
        call = _Call(xs, scales, shifts, coefficients, fixed, numbers, steps)
        state = None if begin is None else begin.detach().movedim(1, -1).contiguous()
        spikes = xs[0].new_empty(steps, *xs[0].shape[1:])
        end = xs[0].new_empty(xs[0].shape[1:])
        count = lib.qf_neuron_forward(*call.start(), address(state), address(spikes), address(end),
                                      threads())
        info["rate"] = count / max(1, spikes.numel())
        info["moments"] = moments
        ctx.save_for_backward(*(group[0] for group in groups), *(group[1] for group in groups),
                              *scales, *shifts, *coefficients, *fixed,
                              *([] if state is None else [state]))
        ctx.rest = steps, numbers, stats
        ctx.set_materialize_grads(False)
        return _outer(spikes), end.movedim(-1, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        lib, (steps, numbers, stats) = library(), ctx.rest
        assert lib is not None
        saved, count = list(ctx.saved_tensors), len(stats)
        raw, weights, scales, shifts = (saved[i * count:(i + 1) * count] for i in range(4))
        coefficients, fixed = saved[4 * count:4 * count + 4], saved[4 * count + 4:4 * count + 7]
        state = saved[4 * count + 7] if len(saved) > 4 * count + 7 else None
        xs = [_innermost(x.detach()) for x in raw]
        call = _Call(xs, scales, shifts, coefficients, fixed, numbers, steps)
        by_spikes, by_end = grads
        by_spikes = xs[0].new_zeros(steps, *xs[0].shape[1:]) if by_spikes is None \
            else _innermost(by_spikes)
        by_end = None if by_end is None else by_end.movedim(1, -1).contiguous()
        by_current = torch.empty_like(xs[0])
        by_begin = None if state is None else torch.empty_like(state)
        learnt = any(ctx.needs_input_grad[6:10])
        sums = torch.empty(SUMS, xs[0].shape[-1], dtype=torch.float64)
        gradients = _Gradients(address(by_spikes), address(by_end), address(by_current),
                               address(by_begin), learnt)
        lib.qf_neuron_backward(*call.start(), ctypes.byref(gradients), address(state),
                               address(sums), threads())
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
        by_x, lib = by_current if last else torch.empty_like(x), library()
        assert lib is not None
        a, b, c = (value.float() for value in (a, b, c))
        lib.qf_affine_gradient(ctypes.c_int64(count), ctypes.c_int64(x.shape[-1]),
                               address(by_current), address(x), address(a), address(b), address(c),
                               address(by_x), threads())
        by_x = _outer(by_x)
    return [by_x, by_hat.float(), by_shift.float(), None, None]
