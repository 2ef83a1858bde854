# pyright: reportMissingImports=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportIndexIssue=false, reportAttributeAccessIssue=false
"""The fused neuron on a GPU, in Triton. Tensors are float32 with channels innermost.

The same equations as `neuron.cpp`, see `neuron.py`. A program takes a block of positions and of
channels and goes through all time steps; the backward pass computes the potentials of each step
again and keeps them in a scratch of its own, [T, P, C]. Sums over positions are those of blocks,
added up by PyTorch in their order, so a run repeats.

With TRITON_INTERPRET=1 the kernels run on a CPU, which is how tests run them.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from quadfire.models.kernels.layer import SUMS, Layer

__all__ = ["affine_gradient", "backward", "forward", "moments"]

POSITIONS, CHANNELS = 32, 32        # of a block


@triton.jit
def _block(positions, channels, P: tl.constexpr, C: tl.constexpr):
    """(places of values in memory, whether there are such, channels, whether there are such)."""
    p = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    c = tl.program_id(1) * C + tl.arange(0, C)
    real = c < channels
    return p[:, None] * channels + c[None, :], (p < positions)[:, None] & real[None, :], c, real


@triton.jit
def _begin(begin, at, inside, initial, BEGUN: tl.constexpr, P: tl.constexpr, C: tl.constexpr):
    """The state before the first time step."""
    u = tl.zeros((P, C), tl.float32) + initial
    if BEGUN:
        u = tl.load(begin + at, inside, 0.0)
    return u


@triton.jit
def _current(x1, scale1, shift1, x2, scale2, shift2, at, c, inside, real, TWO: tl.constexpr):
    y = tl.load(x1 + at, inside, 0.0) * tl.load(scale1 + c, real, 0.0)[None, :]
    shift = tl.load(shift1 + c, real, 0.0)
    if TWO:
        y += tl.load(x2 + at, inside, 0.0) * tl.load(scale2 + c, real, 0.0)[None, :]
        shift += tl.load(shift2 + c, real, 0.0)
    return y + shift[None, :]


@triton.jit
def _row(pointer, c, real):
    """Values per channel as a row."""
    return tl.load(pointer + c, real, 1.0)[None, :]


@triton.jit
def _potential(u, y, square, linear, offset, gain, ROUNDED: tl.constexpr):
    own = (square * u + linear) * u
    if ROUNDED:
        own = tl.floor(own + 0.5)
    return own + (gain * y + offset)


@triton.jit
def _after(v, fired, amount, reset, low, high, SOFT: tl.constexpr, LIMITED: tl.constexpr):
    kept = v
    if LIMITED:
        kept = tl.minimum(tl.maximum(v, low), high)
    if SOFT:
        return kept - tl.where(fired, amount, 0.0)
    return tl.where(fired, reset, kept)


@triton.jit
def _derivative(x, window, SURROGATE: tl.constexpr):
    if SURROGATE == 0:
        return tl.where(tl.abs(x) < window, 1 / (2 * window), 0.0)
    if SURROGATE == 1:
        base = window * (4.0 / 3.0)
        return tl.maximum(1 - tl.abs(x) / base, 0.0) / base
    if SURROGATE == 2:
        k = 3 / window
        s = 1 / (1 + tl.exp(-k * x))
        return k * s * (1 - s)
    k = 2 / window
    z = 1.57079632679 * k * x
    return (k / 2) / (1 + z * z)


@triton.jit
def _forward(x1, scale1, shift1, x2, scale2, shift2, c2, c1, c0, gain, threshold, amount, begin,
             spikes, end, reset, low, high, initial, steps, positions, channels,
             TWO: tl.constexpr, CONSTANT: tl.constexpr, BEGUN: tl.constexpr, SOFT: tl.constexpr,
             LIMITED: tl.constexpr, ROUNDED: tl.constexpr, P: tl.constexpr, C: tl.constexpr):
    at, inside, c, real = _block(positions, channels, P, C)
    plane = positions * channels
    u = _begin(begin, at, inside, initial, BEGUN, P, C)
    y = _current(x1, scale1, shift1, x2, scale2, shift2, at, c, inside, real, TWO)
    for t in range(steps):
        if not CONSTANT:
            y = _current(x1, scale1, shift1, x2, scale2, shift2, at + t * plane, c, inside, real,
                         TWO)
        v = _potential(u, y, _row(c2, c, real), _row(c1, c, real), _row(c0, c, real),
                       _row(gain, c, real), ROUNDED)
        fired = v >= _row(threshold, c, real)
        u = _after(v, fired, _row(amount, c, real), reset, low, high, SOFT, LIMITED)
        tl.store(spikes + at + t * plane, tl.where(fired, 1.0, 0.0), inside)
    tl.store(end + at, u, inside)


@triton.jit
def _backward(x1, scale1, shift1, x2, scale2, shift2, c2, c1, c0, gain, threshold, window, amount,
              begin, by_spikes, by_end, by_current, by_begin, befores, potentials, sums, reset, low,
              high, initial, steps, positions, channels,
              TWO: tl.constexpr, CONSTANT: tl.constexpr, BEGUN: tl.constexpr, ENDED: tl.constexpr,
              SOFT: tl.constexpr, LIMITED: tl.constexpr, ROUNDED: tl.constexpr,
              DETACH: tl.constexpr, LEARNT: tl.constexpr, SURROGATE: tl.constexpr,
              P: tl.constexpr, C: tl.constexpr):
    at, inside, c, real = _block(positions, channels, P, C)
    plane = positions * channels
    limit, width = _row(threshold, c, real), _row(window, c, real)
    subtract, g = _row(amount, c, real), _row(gain, c, real)
    square, linear = _row(c2, c, real), _row(c1, c, real)
    u = _begin(begin, at, inside, initial, BEGUN, P, C)
    y = _current(x1, scale1, shift1, x2, scale2, shift2, at, c, inside, real, TWO)
    for t in range(steps):
        if not CONSTANT:
            y = _current(x1, scale1, shift1, x2, scale2, shift2, at + t * plane, c, inside, real,
                         TWO)
        tl.store(befores + at + t * plane, u, inside)
        v = _potential(u, y, square, linear, _row(c0, c, real), g, ROUNDED)
        tl.store(potentials + at + t * plane, v, inside)
        u = _after(v, v >= limit, subtract, reset, low, high, SOFT, LIMITED)
    back = tl.zeros((P, C), tl.float32)
    if ENDED:
        back = tl.load(by_end + at, inside, 0.0)
    constant = tl.zeros((P, C), tl.float32)
    shift_sum, scale_sum, other_sum = constant, constant, constant
    square_sum, linear_sum, offset_sum, gain_sum = constant, constant, constant, constant
    for step in range(steps):
        t = steps - 1 - step
        here = at + t * plane
        before = tl.load(befores + here, inside, 0.0)
        v = tl.load(potentials + here, inside, 0.0)
        fired = v >= limit
        kept, through = v, back
        if LIMITED:
            kept = tl.minimum(tl.maximum(v, low), high)
            through = tl.where((v >= low) & (v <= high), back, 0.0)
        by_spike = tl.load(by_spikes + here, inside, 0.0)
        if not DETACH:
            if SOFT:
                by_spike += -subtract * back
            else:
                by_spike += (reset - kept) * back
        if not SOFT:
            through = tl.where(fired, 0.0, through)
        by_v = tl.where(inside, by_spike * _derivative(v - limit, width, SURROGATE) + through, 0.0)
        back = by_v * (2 * square * before + linear)
        by_y = by_v * g
        if CONSTANT:
            constant += by_y
        else:
            tl.store(by_current + here, by_y, inside)
            shift_sum += by_y
            scale_sum += by_y * tl.load(x1 + here, inside, 0.0)
            if TWO:
                other_sum += by_y * tl.load(x2 + here, inside, 0.0)
        if LEARNT:
            if not CONSTANT:
                y = _current(x1, scale1, shift1, x2, scale2, shift2, here, c, inside, real, TWO)
            square_sum += by_v * before * before
            linear_sum += by_v * before
            offset_sum += by_v
            gain_sum += by_v * y
    if CONSTANT:
        tl.store(by_current + at, constant, inside)
        shift_sum = constant
        scale_sum = constant * tl.load(x1 + at, inside, 0.0)
        if TWO:
            other_sum = constant * tl.load(x2 + at, inside, 0.0)
    if BEGUN:
        tl.store(by_begin + at, back, inside)
    to = sums + tl.program_id(0).to(tl.int64) * 7 * channels + c
    tl.store(to, tl.sum(shift_sum, 0), real)
    tl.store(to + channels, tl.sum(scale_sum, 0), real)
    tl.store(to + 2 * channels, tl.sum(other_sum, 0), real)
    tl.store(to + 3 * channels, tl.sum(square_sum, 0), real)
    tl.store(to + 4 * channels, tl.sum(linear_sum, 0), real)
    tl.store(to + 5 * channels, tl.sum(offset_sum, 0), real)
    tl.store(to + 6 * channels, tl.sum(gain_sum, 0), real)


def _inputs(layer: Layer) -> list[Tensor]:
    """x, scale and shift of both inputs; the first stands for a second that is not there."""
    return [tensor for k in (0, len(layer.xs) - 1)
            for tensor in (layer.xs[k], layer.scales[k], layer.shifts[k])]


def _sizes(layer: Layer) -> tuple[int, int, tuple[int, int]]:
    """(positions, channels, blocks of both)."""
    channels = layer.xs[0].shape[-1]
    positions = layer.xs[0][0].numel() // max(1, channels)
    return positions, channels, (triton.cdiv(positions, POSITIONS),
                                 triton.cdiv(channels, CHANNELS))


def _options(layer: Layer, begin: Tensor | None) -> dict[str, Any]:
    """What both kernels are compiled for."""
    return {"TWO": len(layer.xs) > 1, "CONSTANT": len(layer.xs[0]) == 1,
            "BEGUN": begin is not None, "SOFT": bool(layer.firing.soft),
            "LIMITED": layer.firing.limited, "ROUNDED": layer.firing.rounded, "P": POSITIONS,
            "C": CHANNELS}


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of x [..., C], float64."""
    var, mean = torch.var_mean(x.reshape(-1, x.shape[-1]), 0, correction=0)
    return mean.double(), var.double()


def forward(layer: Layer, begin: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """(spikes [T, ..., C], state after the last step [..., C], mean of the spikes)."""
    first, firing = layer.xs[0], layer.firing
    positions, channels, grid = _sizes(layer)
    spikes = first.new_empty(layer.steps, *first.shape[1:])
    end = first.new_empty(first.shape[1:])
    threshold, _, amount = layer.fixed
    _forward[grid](*_inputs(layer), *layer.coefficients, threshold, amount,
                   end if begin is None else begin, spikes, end, firing.reset, firing.low,
                   firing.high, firing.initial, layer.steps, positions, channels,
                   **_options(layer, begin))
    return spikes, end, spikes.mean()


def backward(layer: Layer, begin: Tensor | None, by_spikes: Tensor, by_end: Tensor | None,
             learnt: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """(gradient by the currents, by `begin`, sums [SUMS, C] as `layer.SUMS` lists them)."""
    first, firing = layer.xs[0], layer.firing
    positions, channels, grid = _sizes(layer)
    by_current, by_begin = torch.empty_like(first), None if begin is None else \
        torch.empty_like(begin)
    befores, potentials = first.new_empty(2, *by_spikes.shape)
    sums = first.new_empty(grid[0], SUMS, channels)
    _backward[grid](
        *_inputs(layer), *layer.coefficients, *layer.fixed, first if begin is None else begin,
        by_spikes, first if by_end is None else by_end, by_current,
        first if by_begin is None else by_begin, befores, potentials, sums, firing.reset,
        firing.low, firing.high, firing.initial, layer.steps, positions, channels,
        ENDED=by_end is not None, DETACH=bool(firing.detach), LEARNT=learnt,
        SURROGATE=firing.surrogate, **_options(layer, begin))
    return by_current, by_begin, sums.double().sum(0)


def affine_gradient(by_current: Tensor, x: Tensor, a: Tensor, b: Tensor, c: Tensor,
                    out: Tensor) -> None:
    """out = a by_current + b x + c, with [C] for a, b and c; out may be by_current itself."""
    torch.add(b * x + c, by_current * a, out=out)
