"""Pools of spikes on a CPU, in C++ (`neuron.cpp`)."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.kernels.native import address, first_derivative, library, threads

__all__ = ["pool"]


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
    @first_derivative
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        lib, (maps, out) = library(), ctx.saved_tensors
        assert lib is not None
        by_out, by_x = grads[0].permute(0, 2, 3, 1).contiguous(), torch.empty_like(maps)
        lib.qf_pool_backward(*ctx.sizes, address(maps), address(out), address(by_out),
                             address(by_x), threads())
        return by_x.permute(0, 3, 1, 2), None
