"""Convolutions of spikes on a CPU: of three ways to compute one, the fastest.

| way | what it is | taken |
|---|---|---|
| events | visits only inputs that are not 0 (`events.py`) | where few are not 0 |
| Winograd | a quarter of the products (`winograd.py`) | in training, 3 x 3, stride 1 |
| dense | PyTorch's | otherwise |

The gradient by the weights visits spikes, that by the input visits gradients: behind a pool three
quarters of them are 0 and more. What decides is the share of values that are not 0 in every eighth
map, so a run repeats. Where no gradient is wanted, results are those of a direct sum.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.models.kernels import events, winograd
from quadfire.models.kernels.native import first_derivative, library
from quadfire.models.kernels.pool import pool

__all__ = ["convolve", "convolve_exactly", "fast"]

#: Up to these shares of values that are not 0, events are the fastest way where Winograd's could be
#: taken, and where it could not (measured: AVX2, maps of 32 x 32 to 8 x 8, 64 to 256 channels).
FEW, SOME = 0.18, 0.3


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
    result: Any = _Convolve.apply(x, conv.weight, conv.stride[0], False)
    return result if conv.bias is None else result + conv.bias.view(-1, 1, 1)


def _suited(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is a convolution that `_Convolve` knows."""
    return conv.padding_mode == "zeros" and conv.dilation == (1, 1) and conv.groups == 1 and \
        _known(x, conv.weight, conv.stride, conv.padding)


def _known(x: Tensor, weight: Tensor, stride: Any, padding: Any) -> bool:
    """Whether `_Convolve` takes these: a square kernel, one stride, padding k / 2."""
    outputs, inputs, size, columns = weight.shape
    return (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu") and size == columns and size % 2 == 1
            and tuple(stride) == (stride[0], stride[0]) and tuple(padding) == (size // 2, size // 2)
            and outputs % 8 == 0 and inputs >= 8 and library() is not None)


def convolve_exactly(x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
                     ) -> Tensor:
    """The convolution of integers in float32: forward no product is transformed, so it is exact."""
    if not _known(x, weight, stride, padding):
        return functional.conv2d(x, weight, stride=stride, padding=padding)
    return _Convolve.apply(x, weight, stride[0], True)  # pyright: ignore[reportReturnType]


class _Convolve(torch.autograd.Function):
    """A convolution without bias, padding k / 2. exact: forward, sums as they are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, exact: bool) -> Tensor:
        maps = x.detach().permute(0, 2, 3, 1).contiguous()
        ctx.save_for_backward(maps, weight)
        ctx.stride, ctx.share = stride, events.share(maps)
        trained = not exact and any(ctx.needs_input_grad) and _winograd(weight, stride)
        if ctx.share < (FEW if trained else SOME):
            return events.forward(maps, weight.detach(), stride).permute(0, 3, 1, 2)
        if trained:
            return winograd.forward(maps, weight.detach()).permute(0, 3, 1, 2)
        return functional.conv2d(maps.permute(0, 3, 1, 2), weight.detach(), None, stride,
                                 weight.shape[2] // 2)

    @staticmethod
    @first_derivative
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (maps, weight), stride = ctx.saved_tensors, ctx.stride
        weight, by_out = weight.detach(), grads[0].permute(0, 2, 3, 1).contiguous()
        wanted = ctx.needs_input_grad[:2]
        by_x = by_weight = None
        kernel, quick = weight.shape[2], _winograd(weight, stride)
        few = FEW if quick else SOME
        if wanted[1] and stride == 1 and ctx.share < few:
            by_weight = events.by_weights(maps, by_out, kernel)
        elif wanted[1] and quick:
            by_weight = winograd.by_weights(maps, by_out)
        if wanted[0] and stride == 1 and weight.shape[1] % 8 == 0:
            turned = weight.flip(2, 3).transpose(0, 1)
            if events.share(by_out) < few:
                by_x = events.forward(by_out, turned, 1).permute(0, 3, 1, 2)
            elif quick:
                by_x = winograd.forward(by_out, turned).permute(0, 3, 1, 2)
        left = [wanted[0] and by_x is None, wanted[1] and by_weight is None, False]
        if any(left):
            dense = torch.ops.aten.convolution_backward(
                by_out.permute(0, 3, 1, 2), maps.permute(0, 3, 1, 2), weight, None,
                [stride] * 2, [kernel // 2] * 2, [1, 1], False, [0, 0], 1, left)
            by_x = dense[0] if left[0] else by_x
            by_weight = dense[1] if left[1] else by_weight
        return by_x, by_weight, None, None


def _winograd(weight: Tensor, stride: int) -> bool:
    """Whether Winograd's way knows a convolution by these weights."""
    outputs, inputs, kernel, _ = weight.shape
    return kernel == 3 and stride == 1 and not inputs % 8 and not outputs % 8
