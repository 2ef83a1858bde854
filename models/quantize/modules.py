"""Reads torch modules: the numbers that the array needs of them, and a refusal of the rest.

Every attribute that changes what a module computes is either read here or refused. A module of
another kind is refused as well, and so is a subclass with a `forward` of its own.
Errors are ValueErrors that begin with the name of the module, as in `network.named_modules()`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quadfire.models.integer import Pair, Pool, Shape
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["Convolution", "Window", "check_ceil_mode", "check_kind", "convolution", "linear",
           "named", "neuron", "norm", "pair", "pool"]

Conv = nn.Conv2d | nn.Conv1d
Means = (nn.AvgPool2d, nn.AvgPool1d)
Maxima = (nn.MaxPool2d, nn.MaxPool1d)
Adaptive = (nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool1d)
Norms = (nn.BatchNorm2d, nn.BatchNorm1d)


@contextmanager
def named(name: str) -> Iterator[None]:
    """A context in which ValueErrors get the name of a module in front."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


class Convolution(NamedTuple):
    """A convolution without groups or dilation, which are zeros in its kernel.

    weight: float64 [outputs, C, kh, kw]. bias: float64 [outputs] or None. A convolution of signals
    [C, L] is one of maps [C, 1, L].
    """

    weight: Tensor
    padding: Pair
    stride: Pair
    bias: Tensor | None


class Window(NamedTuple):
    """A pool, and what the sum of a window is divided by."""

    pool: Pool
    divisor: float = 1.0


def check_kind(name: str, module: Any, *kinds: type[nn.Module], trusted: bool = False) -> None:
    """Raise ValueError unless a module computes what one of these kinds computes.

    trusted: its class is known to have a forward of its own that computes the same.
    """
    if not isinstance(module, kinds):
        raise ValueError(f"{name}: must be {' or '.join(kind.__name__ for kind in kinds)}, not "
                         f"{type(module).__name__}: the array has no layer for it")
    kind = next(kind for kind in kinds if isinstance(module, kind))
    for method in () if trusted else ("forward", "_conv_forward"):
        expected = getattr(kind, method, None)
        if getattr(getattr(module, method, None), "__func__", None) is not expected:
            raise ValueError(f"{name}: a {type(module).__name__} has a {method} of its own, not "
                             f"that of {kind.__name__}")
    if module._forward_hooks or module._forward_pre_hooks:
        raise ValueError(f"{name}: has a forward hook, which may change what it computes: remove "
                         "it (weight norms of torch.nn.utils.parametrizations need none)")


def _check_values(name: str, module: nn.Module, **expected: Any) -> None:
    """Raise ValueError unless every attribute has the one value that the array can do."""
    for attribute, value in expected.items():
        found = getattr(module, attribute)
        if found != value and found != (value, value):
            raise ValueError(f"{name}: {attribute} of a {type(module).__name__} must be {value!r}, "
                             f"not {found!r}")


def pair(value: Any, other: int = 1) -> Pair:
    """(rows, columns) of an attribute; of a signal, one number, with `other` for the rows."""
    numbers = value if isinstance(value, tuple | list) else (value, value)
    if len(numbers) == 1:
        return other, int(numbers[0])
    return int(numbers[0]), int(numbers[1])


def _attribute(module: nn.Module, attribute: str, other: int = 1) -> Pair:
    """`pair` of an attribute of a layer of maps or of signals."""
    value = getattr(module, attribute)
    if type(module).__name__.endswith("1d") or isinstance(module, nn.Conv1d | nn.AvgPool1d
                                                          | nn.MaxPool1d):
        value = value if isinstance(value, tuple) else (value,)
    return pair(value, other)


def _finite(name: str, **tensors: Tensor | None) -> None:
    """Raise ValueError unless all numbers are finite."""
    for what, tensor in tensors.items():
        if tensor is not None and not torch.isfinite(tensor).all():
            wrong = "NaN" if torch.isnan(tensor).any() else "infinite"
            raise ValueError(f"{name}: its {what} is {wrong}")


@torch.no_grad()
def convolution(name: str, module: Any, *, trusted: bool = False) -> Convolution:
    """A Conv2d or Conv1d."""
    check_kind(name, module, nn.Conv2d, nn.Conv1d, trusted=trusted)
    _check_values(name, module, padding_mode="zeros")
    weight = module.weight.detach().double()
    bias = None if module.bias is None else module.bias.detach().double()
    _finite(name, weight=weight, bias=bias)
    if weight.ndim == 3:
        weight = weight.unsqueeze(2)
    weight = _dilated(_ungrouped(weight, module.groups), _attribute(module, "dilation"))
    stride = _attribute(module, "stride")
    if module.padding == "same":
        weight, padding = _same(weight)
    else:
        padding = (0, 0) if module.padding == "valid" else _attribute(module, "padding", 0)
    return Convolution(*_reaching(weight, padding), stride=stride, bias=bias)


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """The kernel over all input channels: zeros where an output does not read a channel."""
    outputs, channels = weight.shape[:2]
    wide = weight.new_zeros(outputs, channels * groups, *weight.shape[2:])
    for group, rows in enumerate(torch.arange(outputs).chunk(groups)):
        wide[rows, channels * group:channels * (group + 1)] = weight[rows]
    return wide


def _dilated(weight: Tensor, dilation: Pair) -> Tensor:
    """The kernel with dilation - 1 zeros between its weights."""
    if dilation == (1, 1):
        return weight
    rows, columns = ((n - 1) * d + 1 for n, d in zip(weight.shape[2:], dilation, strict=True))
    wide = weight.new_zeros(*weight.shape[:2], rows, columns)
    wide[:, :, ::dilation[0], ::dilation[1]] = weight
    return wide


def _reaching(weight: Tensor, padding: Pair) -> tuple[Tensor, Pair]:
    """(kernel, padding) with a padding below the kernel's sides, which zeros around it make."""
    down, right = (max(0, p - n + 1) for n, p in zip(weight.shape[2:], padding, strict=True))
    return (nn.functional.pad(weight, (right, right, down, down)),
            (padding[0] + down, padding[1] + right))


def _same(weight: Tensor) -> tuple[Tensor, Pair]:
    """(kernel, padding) that keep the size of a map. An even kernel gets a row of zeros in front.

    torch pads such a kernel by one more behind than in front.
    """
    odd = [(n % 2 == 0) * 1 for n in weight.shape[2:]]
    weight = nn.functional.pad(weight, (odd[1], 0, odd[0], 0))
    return weight, (weight.shape[2] // 2, weight.shape[3] // 2)


@torch.no_grad()
def linear(name: str, module: Any, *, trusted: bool = False) -> tuple[Tensor, Tensor | None]:
    """(weight, bias) of a Linear, float64; bias may be None."""
    check_kind(name, module, nn.Linear, trusted=trusted)
    weight = module.weight.detach().double()
    bias = None if module.bias is None else module.bias.detach().double()
    _finite(name, weight=weight, bias=bias)
    return weight, bias


@torch.no_grad()
def norm(name: str, module: Any, *kinds: type[nn.Module],
         trusted: bool = False) -> tuple[Tensor, Tensor]:
    """(scale, shift) [C] of a norm in eval mode: tdBN, BatchNorm2d or BatchNorm1d.

    kinds: those that may stand here; by default all of them.
    """
    check_kind(name, module, *(kinds or (TDBatchNorm, *Norms)), trusted=trusted)
    if isinstance(module, TDBatchNorm):
        weight, shift = module.fold(torch.ones(len(module.gamma), 1, dtype=torch.float64))
        scale = weight[:, 0]
    else:
        if module.running_mean is None or module.running_var is None:
            raise ValueError(f"{name}: track_running_stats of a {type(module).__name__} must be "
                             "True: without running means it has no fixed weights")
        scale = (module.running_var.double() + module.eps).rsqrt()
        if module.weight is not None:
            scale = scale * module.weight.double()
        shift = -module.running_mean.double() * scale
        if module.bias is not None:
            shift = shift + module.bias.double()
    _finite(name, scale=scale, shift=shift)
    return scale, shift


def check_ceil_mode(name: str, module: Any, shape: Shape, size: Pair, stride: Pair,
                    padding: Pair = (0, 0)) -> None:
    """Raise ValueError where ceil_mode of a pool adds windows that reach beyond its map."""
    if module.ceil_mode and any((n + 2 * p - k) % s for n, p, k, s in
                                zip(shape[1:], padding, size, stride, strict=True)):
        raise ValueError(f"{name}: ceil_mode of a {type(module).__name__} must be False for a map "
                         f"of {shape[1]} x {shape[2]}, whose last window is cut off")


def pool(name: str, module: Any, shape: Shape, *, trusted: bool = False) -> Window:
    """Mean or maximum of windows of a map of this shape; of signals, a map of one row."""
    check_kind(name, module, *Means, *Maxima, *Adaptive, trusted=trusted)
    if isinstance(module, Adaptive):
        return _adaptive(name, module, shape)
    size, stride = (_attribute(module, attribute) for attribute in ("kernel_size", "stride"))
    padding = _attribute(module, "padding", 0)
    check_ceil_mode(name, module, shape, size, stride, padding)
    if isinstance(module, Maxima):
        _check_values(name, module, dilation=1, return_indices=False)
        return Window(Pool(kind="max", size=size, stride=stride, padding=padding))
    if any(padding):
        _check_values(name, module, count_include_pad=True)
    divisor = getattr(module, "divisor_override", None) or size[0] * size[1]
    return Window(Pool(kind="sum", size=size, stride=stride, padding=padding), divisor)


def _adaptive(name: str, module: Any, shape: Shape) -> Window:
    """Windows that divide the map evenly."""
    wanted = module.output_size
    if isinstance(module, nn.AdaptiveAvgPool1d):
        wanted = (shape[1], *wanted) if isinstance(wanted, tuple) else (shape[1], wanted)
    numbers = wanted if isinstance(wanted, tuple | list) else (wanted, wanted)
    outputs = [n if k is None else k for n, k in zip(shape[1:], numbers, strict=True)]
    if any(n % k for n, k in zip(shape[1:], outputs, strict=True)):
        raise ValueError(f"{name}: output_size of a {type(module).__name__} must divide its map of "
                         f"{shape[1]} x {shape[2]}, not {outputs[0]} x {outputs[1]}")
    size = (shape[1] // outputs[0], shape[2] // outputs[1])
    return Window(Pool(kind="sum", size=size, stride=size), size[0] * size[1])


def neuron(name: str, found: Any) -> SpikingNeuron:
    """A neuron of ours that runs sequences."""
    if not isinstance(found, SpikingNeuron):
        raise ValueError(f"{name}: must be a SpikingNeuron, not {type(found).__name__}")
    if found.step_mode != "m":
        raise ValueError(f"{name}: step_mode must be 'm', not {found.step_mode!r}")
    return found
