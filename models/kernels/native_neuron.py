"""The fused neuron on a CPU, in C++ (`neuron.cpp`). Tensors are float32 with channels innermost."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from quadfire.models.kernels.layer import SUMS, Layer
from quadfire.models.kernels.native import address, library, threads

__all__ = ["affine_gradient", "backward", "forward", "moments"]


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("steps", "given", "positions", "channels")]


class _Input(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("x", "scale", "shift")]


class _Neuron(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in (
                    "c2", "c1", "c0", "gain", "threshold", "window", "amount")),
                *((name, ctypes.c_float) for name in ("reset", "low", "high", "initial")),
                *((name, ctypes.c_int32) for name in ("soft", "detach", "surrogate", "limited",
                                                "rounded"))]


class _Gradients(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in (
                    "by_spikes", "by_end", "by_current", "by_begin")),
                ("learnt", ctypes.c_int32)]


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None
    return found


def _arguments(layer: Layer) -> tuple[Any, ...]:
    """What forward and backward have in common. The tensors of the layer must outlive it."""
    first, count = layer.xs[0], len(layer.xs)
    shape = _Shape(layer.steps, first.shape[0], first[0].numel() // max(1, first.shape[-1]),
                   first.shape[-1])
    inputs = (_Input * count)(*(_Input(*map(address, three)) for three in zip(
        layer.xs, layer.scales, layer.shifts, strict=True)))
    neuron = _Neuron(*map(address, layer.coefficients), *map(address, layer.fixed), *layer.firing)
    return ctypes.byref(shape), ctypes.c_int(count), inputs, ctypes.byref(neuron)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of x [..., C], float64."""
    channels = x.shape[-1]
    mean, var = x.new_empty(2, channels, dtype=torch.float64)
    _library().qf_moments(ctypes.c_int64(x.numel() // channels), ctypes.c_int64(channels),
                          address(x), address(mean), address(var), threads())
    return mean, var


def forward(layer: Layer, begin: Tensor | None) -> tuple[Tensor, Tensor, float]:
    """(spikes [T, ..., C], state after the last step [..., C], mean of the spikes)."""
    first = layer.xs[0]
    spikes = first.new_empty(layer.steps, *first.shape[1:])
    end = first.new_empty(first.shape[1:])
    count = _library().qf_neuron_forward(*_arguments(layer), address(begin), address(spikes),
                                         address(end), threads())
    return spikes, end, count / max(1, spikes.numel())


def backward(layer: Layer, begin: Tensor | None, by_spikes: Tensor, by_end: Tensor | None,
             learnt: bool) -> tuple[Tensor, Tensor | None, Tensor]:
    """(gradient by the currents, by `begin`, sums [SUMS, C] as `layer.SUMS` lists them)."""
    first = layer.xs[0]
    by_current, by_begin = torch.empty_like(first), None if begin is None else \
        torch.empty_like(begin)
    sums = torch.empty(SUMS, first.shape[-1], dtype=torch.float64)
    gradients = _Gradients(address(by_spikes), address(by_end), address(by_current),
                           address(by_begin), learnt)
    _library().qf_neuron_backward(*_arguments(layer), ctypes.byref(gradients), address(begin),
                                  address(sums), threads())
    return by_current, by_begin, sums


def affine_gradient(by_current: Tensor, x: Tensor, a: Tensor, b: Tensor, c: Tensor,
                    out: Tensor) -> None:
    """out = a by_current + b x + c, with [C] for a, b and c; out may be by_current itself."""
    channels = x.shape[-1]
    _library().qf_affine_gradient(
        ctypes.c_int64(x.numel() // channels), ctypes.c_int64(channels), address(by_current),
        address(x), address(a), address(b), address(c), address(out), threads())
