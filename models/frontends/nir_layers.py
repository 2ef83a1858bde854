"""Nodes of NIR files without neurons: what they make of a `Lowering` value, and of its shape.

Every function takes (graph, node, value, shape), the shape as NIR has it, [N], [C, L] or
[C, H, W], and returns (value, shape). Raises ValueError, without the name of the node, for what the
array cannot honour and for parameters that do not fit.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quadfire.models.frontends.nir_file import NirNode
from quadfire.models.frontends.nir_values import number, numbers, per_channel, sides, tensor
from quadfire.models.integer import Pool
from quadfire.models.quantize import modules
from quadfire.models.quantize.lowering import Lowering
from quadfire.models.quantize.values import Value

__all__ = ["LAYERS", "Sides"]

Sides = tuple[int, ...]


def _flatten(graph: Lowering, node: NirNode, x: Value, shape: Sides) -> tuple[Value, Sides]:
    """A whole map as a vector: the same values in the same order."""
    first, last = (number(node, key) for key in ("start_dim", "end_dim"))
    stated = numbers(node, "input_type")
    if stated not in ((), shape, (1, *shape)):
        raise ValueError(f"states the input {[*stated]}, what leads to it has {[*shape]}")
    axes = len(shape)
    if not (-axes <= first < axes and -axes <= last < axes):
        raise ValueError(f"start_dim = {first}, end_dim = {last} are not axes of {[*shape]}")
    first, last = first % axes, last % axes
    made = (*shape[:first], int(np.prod(shape[first:last + 1])), *shape[last + 1:])
    if len(made) > 1 and made != shape:
        raise ValueError(f"makes {[*made]} of {[*shape]}: the array flattens whole maps only")
    return x, made


def _linear(graph: Lowering, node: NirNode, x: Value, shape: Sides) -> tuple[Value, Sides]:
    """An Affine or a Linear."""
    weight = tensor(node, "weight")
    bias = tensor(node, "bias") if "bias" in node.values else None
    if weight.ndim != 2 or shape != (weight.shape[1],):
        raise ValueError(f"weight has shape {[*weight.shape]}, which takes no {[*shape]}: the "
                         "array multiplies a matrix with a vector, put a Flatten before it")
    _check_bias(bias, weight)
    made = graph.linear(x, weight, bias, name=node.name)
    return made, (len(weight),)


def _convolution(graph: Lowering, node: NirNode, x: Value, shape: Sides) -> tuple[Value, Sides]:
    """A Conv1d or a Conv2d, computed by torch's rules for its attributes."""
    axes = 1 if node.kind == "Conv1d" else 2
    weight = tensor(node, "weight")
    stated = numbers(node, "input_shape")
    if weight.ndim != axes + 2:
        raise ValueError(f"weight must have {axes + 2} axes, not {[*weight.shape]}")
    if len(shape) != axes + 1:
        raise ValueError(f"takes {'[C, L]' if axes == 1 else '[C, H, W]'}, not {[*shape]}")
    if stated and stated != shape[1:]:
        raise ValueError(f"states the input {[*stated]}, what leads to it has {[*shape[1:]]}")
    groups = number(node, "groups")
    padding: Any = node.values["padding"]
    if not isinstance(padding, str):
        padding = sides(node, "padding", axes, lowest=0)
    elif padding not in ("same", "valid"):
        raise ValueError(f"padding must be numbers, same or valid, not {padding!r}")
    if groups < 1 or len(weight) % groups:
        raise ValueError(f"groups must divide its {len(weight)} outputs, not {groups}")
    _check_bias(tensor(node, "bias"), weight)
    kind = nn.Conv1d if axes == 1 else nn.Conv2d
    module = nn.utils.skip_init(
        kind, weight.shape[1] * groups, len(weight), tuple(weight.shape[2:]),
        stride=sides(node, "stride", axes), padding=padding,
        dilation=sides(node, "dilation", axes), groups=groups, dtype=torch.float64)
    module.weight.data, module.bias.data = weight, tensor(node, "bias")
    found = modules.convolution("", module)
    made = graph.conv(x, found.weight, found.bias, stride=found.stride,
                           padding=found.padding, name=node.name)
    return made, (made.shape if axes == 2 else (made.shape[0], made.shape[2]))


def _scale(graph: Lowering, node: NirNode, x: Value, shape: Sides) -> tuple[Value, Sides]:
    """A factor for each channel."""
    scale = per_channel("scale", np.asarray(node.values["scale"]), shape, x.shape[0])
    made = graph.affine(x, torch.from_numpy(scale), name=node.name)
    return made, shape


def _pool(graph: Lowering, node: NirNode, x: Value, shape: Sides) -> tuple[Value, Sides]:
    """A SumPool2d or an AvgPool2d, whose zeros around the map count."""
    if len(shape) != 3:
        raise ValueError(f"takes [C, H, W], not {[*shape]}")
    size, stride = (sides(node, key, 2) for key in ("kernel_size", "stride"))
    pool = Pool(kind="sum", size=size, stride=stride, padding=sides(node, "padding", 2, 0))
    divisor = size[0] * size[1] if node.kind == "AvgPool2d" else 1
    made = graph.pool(x, pool, divisor=float(divisor), name=node.name)
    return made, made.shape



def _check_bias(bias: Tensor | None, weight: Tensor) -> None:
    """Raise ValueError unless a bias, if there is one, has a number for every output."""
    if bias is not None and bias.shape != (len(weight),):
        raise ValueError(f"bias has shape {[*bias.shape]}, it has {len(weight)} outputs")


#: Type of a node -> its function.
LAYERS: dict[str, Callable[[Lowering, NirNode, Value, Sides], tuple[Value, Sides]]] = {
    "Affine": _linear, "AvgPool2d": _pool, "Conv1d": _convolution, "Conv2d": _convolution,
    "Flatten": _flatten, "Linear": _linear, "Scale": _scale, "SumPool2d": _pool}
