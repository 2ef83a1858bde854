"""Convolutions and pools of spikes on a CPU, in C++ (`events.cpp`, `neuron.cpp`).

`convolve` visits only inputs that are not 0. Its backward pass does the same with spikes, for the
gradient by the weights, and with the gradient of the output, for the gradient by the input: behind
a pool three quarters of it are 0 and more. Where too many values are not 0 the dense convolution is
faster, and is taken; what decides is the share of them in every eighth map, so a run repeats.
`pool` is the largest of size x size spikes, their OR, without a map of indices.
"""

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.kernels.native import address, library, threads

__all__ = ["convolve", "fast", "pool"]

#: Above this share of values that are not 0 a dense convolution is faster (measured: AVX2, 32 x 32
#: to 8 x 8 maps of 64 to 256 channels; equal at 0.35 to 0.45).
DENSE = 0.3
EVERY = 8


class _Conv(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in (
        "images", "height", "width", "inputs", "outputs", "kernel", "stride", "padding")]


def fast(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """A function of maps that computes what a convolution or pool does; None: there is none."""
    if type(module) is nn.Conv2d:
        return partial(convolve, module)
    if type(module) is nn.MaxPool2d and isinstance(module.kernel_size, int) \
            and module.stride == module.kernel_size and module.dilation == 1 \
            and not (module.padding or module.ceil_mode or module.return_indices):
        return partial(pool, size=module.kernel_size)
    return None


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv` of maps x [B, C, H, W] with channels innermost in memory."""
    if not _suited(conv, x):
        return conv(x)
    result: Any = _Convolve.apply(x, conv.weight, conv.stride[0])
    return result if conv.bias is None else result + conv.bias.view(-1, 1, 1)


def _suited(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is a convolution that events.cpp knows."""
    size, stride = conv.kernel_size[0], conv.stride[0]
    return (x.device.type == "cpu" and x.dtype == conv.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu") and conv.kernel_size == (size, size)
            and conv.stride == (stride, stride) and conv.padding == (size // 2, size // 2)
            and size % 2 == 1 and conv.dilation == (1, 1) and conv.groups == 1
            and conv.padding_mode == "zeros" and conv.out_channels % 8 == 0
            and conv.in_channels >= 8 and library() is not None)


def _share(x: Tensor) -> float:
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


def _forward(x: Tensor, weight: Tensor, stride: int) -> Tensor:
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


def _weights(x: Tensor, by_out: Tensor, kernel: int) -> Tensor:
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


class _Convolve(torch.autograd.Function):
    """A convolution without bias, padding k / 2."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        maps = x.detach().permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.sparse = stride, _share(maps) < DENSE
        if ctx.sparse:
            return _forward(maps, weight, stride).permute(0, 3, 1, 2)
        return functional.conv2d(maps.permute(0, 3, 1, 2), weight.detach(), None, stride,
                                 weight.shape[2] // 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (maps, weight), stride = ctx.saved_tensors, ctx.stride
        kernel, by_out = weight.shape[2], grads[0].permute(0, 2, 3, 1).contiguous()
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        by_x = by_weight = None
        if wanted[1] and ctx.sparse and stride == 1:
            by_weight = _weights(maps, by_out, kernel)
            wanted[1] = False
        if wanted[0] and stride == 1 and weight.shape[1] % 8 == 0 and _share(by_out) < DENSE:
            turned = weight.detach().flip(2, 3).transpose(0, 1)
            by_x = _forward(by_out, turned, 1).permute(0, 3, 1, 2)
            wanted[0] = False
        if any(wanted):
            dense = torch.ops.aten.convolution_backward(
                by_out.permute(0, 3, 1, 2), maps.permute(0, 3, 1, 2), weight.detach(), None,
                [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], 1, wanted)
            by_x = dense[0] if wanted[0] else by_x
            by_weight = dense[1] if wanted[1] else by_weight
        return by_x, by_weight, None


def pool(x: Tensor, size: int) -> Tensor:
    """The largest of size x size values of maps [B, C, H, W]; rows and columns over are left out.

    The gradient goes to the first of the largest, row by row, as that of `max_pool2d`.
    """
    if x.device.type != "cpu" or x.dtype != torch.float32 or library() is None:
        return functional.max_pool2d(x, size)
    return _Pool.apply(x, size)     # pyright: ignore[reportReturnType]


class _Pool(torch.autograd.Function):
    """`pool` as one operation of autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, size: int) -> Tensor:
        lib, maps = library(), x.detach().permute(0, 2, 3, 1).contiguous()
        assert lib is not None
        images, height, width, channels = maps.shape
        out = maps.new_empty(images, height // size, width // size, channels)
        ctx.sizes = [ctypes.c_int64(n) for n in (images, height, width, channels, size)]
        lib.qf_pool_forward(*ctx.sizes, address(maps), address(out), threads())
        ctx.save_for_backward(maps, out)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        lib, (maps, out) = library(), ctx.saved_tensors
        assert lib is not None
        by_out, by_x = grads[0].permute(0, 2, 3, 1).contiguous(), torch.empty_like(maps)
        lib.qf_pool_backward(*ctx.sizes, address(maps), address(out), address(by_out),
                             address(by_x), threads())
        return by_x.permute(0, 3, 1, 2), None
