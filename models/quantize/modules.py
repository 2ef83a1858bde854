"""Reads torch modules for `fold`: what the array computes of them, and a refusal of the rest.

Every attribute that changes what a module computes is either read here or refused. A module of
another kind is refused as well, and so is a subclass with a `forward` of its own.
Errors are ValueErrors that begin with the name of the module, as in `network.named_modules()`.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from quadfire.models.integer import Pool
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["Convolution", "check_inputs", "check_kind", "convolution", "identity", "linear",
           "neuron", "pool", "readout"]


class Convolution(NamedTuple):
    """A convolution with its norm folded in.

    weight: float64 [outputs, C, kh, kw]. bias: float64 [outputs].
    """

    weight: Tensor
    bias: Tensor
    stride: int
    padding: int


def check_kind(name: str, module: Any, *kinds: type[nn.Module]) -> None:
    """Raise ValueError unless a module computes what one of these kinds computes."""
    if not isinstance(module, kinds):
        raise ValueError(f"{name}: must be {' or '.join(kind.__name__ for kind in kinds)}, not "
                         f"{type(module).__name__}: the array has no layer for it")
    kind = next(kind for kind in kinds if isinstance(module, kind))
    for method in ("forward", "_conv_forward"):
        expected = getattr(kind, method, None)
        if getattr(getattr(module, method, None), "__func__", None) is not expected:
            raise ValueError(f"{name}: a {type(module).__name__} has a {method} of its own, not "
                             f"that of {kind.__name__}")


def _check_values(name: str, module: nn.Module, **expected: Any) -> None:
    """Raise ValueError unless every attribute has the one value that the array can do."""
    for attribute, value in expected.items():
        found = getattr(module, attribute)
        if found != value and found != (value, value):
            raise ValueError(f"{name}: {attribute} of a {type(module).__name__} must be {value!r}, "
                             f"not {found!r}")


def _number(name: str, module: nn.Module, attribute: str) -> int:
    """An attribute that is one number, or a pair of equal numbers."""
    value = getattr(module, attribute)
    pair = value if isinstance(value, tuple) else (value, value)
    if pair[0] != pair[1] or not isinstance(pair[0], int):
        raise ValueError(f"{name}: {attribute} of a {type(module).__name__} must be one number for "
                         f"rows and columns, not {value!r}")
    return pair[0]


def _folded(name: str, norm: Any, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    check_kind(name, norm, TDBatchNorm)
    return norm.fold(weight, bias)


def convolution(where: str, owner: nn.Module, conv: str, norm: str) -> Convolution:
    """The convolution and the tdBN behind it, which are attributes of the module `where`."""
    module: Any = getattr(owner, conv)
    name = f"{where}.{conv}"
    check_kind(name, module, nn.Conv2d)
    _check_values(name, module, groups=1, dilation=1, padding_mode="zeros")
    weight, bias = _folded(f"{where}.{norm}", getattr(owner, norm), module.weight, module.bias)
    return Convolution(weight, bias, _number(name, module, "stride"),
                       _number(name, module, "padding"))


def linear(where: str, owner: nn.Module) -> tuple[Tensor, Tensor]:
    """(weight, bias) of `linear` and the tdBN `norm` behind it, float64."""
    module: Any = owner.linear
    check_kind(f"{where}.linear", module, nn.Linear)
    return _folded(f"{where}.norm", owner.norm, module.weight, module.bias)


def identity(where: str, owner: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """(weight, bias) [channels] of a shortcut that is the spikes themselves, and its tdBN."""
    check_kind(f"{where}.shortcut", owner.shortcut, nn.Identity, nn.Conv2d)
    weight, bias = _folded(f"{where}.shortcut_norm", owner.shortcut_norm,
                           torch.ones(channels, 1), None)
    return weight[:, 0], bias


def readout(module: Any) -> tuple[Tensor, Tensor]:
    """(weight, bias) of the readout, float64; without a bias it is 0."""
    check_kind("readout", module, nn.Linear)
    weight = module.weight.detach().double()
    return weight, weight.new_zeros(len(weight)) if module.bias is None else \
        module.bias.detach().double()


def pool(name: str, module: Any) -> Pool:
    """Mean or maximum of square windows."""
    check_kind(name, module, nn.AvgPool2d, nn.MaxPool2d)
    size, stride, padding = (_number(name, module, attribute)
                             for attribute in ("kernel_size", "stride", "padding"))
    _check_values(name, module, ceil_mode=False)
    if isinstance(module, nn.MaxPool2d):
        _check_values(name, module, dilation=1, return_indices=False)
        return Pool(kind="max", size=size, stride=stride, padding=padding)
    _check_values(name, module, divisor_override=None)
    if padding:
        _check_values(name, module, count_include_pad=True)
    return Pool(kind="sum", size=size, stride=stride, padding=padding)


def neuron(where: str, owner: nn.Module) -> SpikingNeuron:
    """The neuron of a layer."""
    found = owner.neuron
    if not isinstance(found, SpikingNeuron):
        raise ValueError(f"{where}.neuron: must be a SpikingNeuron, not {type(found).__name__}")
    if found.step_mode != "m":
        raise ValueError(f"{where}.neuron: step_mode must be 'm', not {found.step_mode!r}")
    return found


def check_inputs(name: str, weight: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise ValueError unless weight [outputs, inputs] reads all of a map of this shape."""
    inputs, count = weight.shape[1], shape[0] * shape[1] * shape[2]
    if inputs != count:
        raise ValueError(f"{name}: takes {inputs} inputs, its map of {' x '.join(map(str, shape))} "
                         f"has {count}")
