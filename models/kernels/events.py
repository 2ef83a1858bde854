"""Convolutions on a CPU that visit only inputs that are not 0, in C++ (`events.cpp`)."""

import ctypes

from torch import Tensor

from quadfire.models.kernels.native import address, library, threads

__all__ = ["by_weights", "forward", "share"]

#: Maps between two that `share` looks at.
EVERY = 8


class _Conv(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "inputs", "outputs", "kernel", "stride", "padding")]


def share(x: Tensor) -> float:
    """Share of values that are not 0, in every eighth map of x [B, H, W, C]."""
    lib = library()
    assert lib is not None
    return lib.qf_density(ctypes.c_int64(len(x)), ctypes.c_int64(x[0].numel()),
                          ctypes.c_int64(EVERY), address(x)) if len(x) else 0.0


def _tile(outputs: int) -> int:
    """Output channels at once: as many as registers hold."""
    return next(tile for tile in (64, 32, 16, 8) if outputs % tile == 0)


def _packed(weight: Tensor) -> Tensor:
    """[outputs, inputs, k, k] as [outputs / tile, k k, inputs, tile]."""
    outputs, inputs, kernel, _ = weight.shape
    tile = _tile(outputs)
    return weight.permute(2, 3, 1, 0).reshape(kernel * kernel, inputs, outputs // tile, tile) \
        .permute(2, 0, 1, 3).contiguous()


def _unpacked(packed: Tensor) -> Tensor:
    """The inverse of `_packed`."""
    tiles, taps, inputs, tile = packed.shape
    kernel = round(taps ** 0.5)
    return packed.permute(0, 3, 2, 1).reshape(tiles * tile, inputs, kernel, kernel)


def forward(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Maps [B, H, W, inputs] by weights [outputs, inputs, k, k] to [B, H', W', outputs]."""
    lib, (outputs, inputs, kernel, _) = library(), weight.shape
    assert lib is not None
    images, height, width, _ = x.shape
    rows, columns = (-(-side // stride) for side in (height, width))
    out = x.new_empty(images, rows, columns, outputs)
    packed = _packed(weight.detach())
    lib.qf_events_forward(
        ctypes.byref(_Conv(images, height, width, inputs, outputs, kernel, stride, kernel // 2)),
        ctypes.c_int64(_tile(outputs)), address(x), address(packed), address(out), threads())
    return out


def by_weights(x: Tensor, by_out: Tensor, kernel: int) -> Tensor:
    """The gradient by the weights, stride 1: [outputs, inputs, k, k]."""
    lib, (images, height, width, inputs) = library(), x.shape
    assert lib is not None
    outputs = by_out.shape[-1]
    tile = _tile(outputs)
    packed = x.new_empty(outputs // tile, kernel * kernel, inputs, tile)
    lib.qf_events_weights(
        ctypes.byref(_Conv(images, height, width, inputs, outputs, kernel, 1, kernel // 2)),
        ctypes.c_int64(tile), address(x), address(by_out), address(packed), threads())
    return _unpacked(packed)
