"""Parameters of nodes of NIR files: whole numbers, tensors, and one value for each channel."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadfire.models.frontends.nir_file import NirNode

__all__ = ["Unmapped", "channel_value", "common", "near", "number", "numbers", "per_channel",
           "sides", "tensor", "told"]


class Unmapped(ValueError):
    """Why the array cannot run a node: one or more reasons, each to stand behind its name."""


# Of layers ---------------------------------------------------------------------------------------


def numbers(node: NirNode, key: str) -> tuple[int, ...]:
    """Whole numbers; none where the node has no such parameter."""
    return tuple(map(int, np.atleast_1d(np.asarray(node.values.get(key, ()), np.int64))))


def number(node: NirNode, key: str) -> int:
    """One whole number."""
    found = numbers(node, key)
    if len(found) != 1:
        raise ValueError(f"{key} must be one number, not {[*found]}")
    return found[0]


def sides(node: NirNode, key: str, axes: int, lowest: int = 1) -> Any:
    """One whole number for every axis; a single one counts for all."""
    found = numbers(node, key)
    found = found * axes if len(found) == 1 else found
    if len(found) != axes or min(found) < lowest:
        raise ValueError(f"{key} must be {axes} number{'s' * (axes > 1)} from {lowest} up, not "
                         f"{[*found]}")
    return found


def tensor(node: NirNode, key: str) -> Tensor:
    """A parameter in float64."""
    return torch.from_numpy(np.array(node.values[key], np.float64))


# Of neurons --------------------------------------------------------------------------------------


def per_channel(name: str, array: np.ndarray, shape: tuple[int, ...], channels: int) -> np.ndarray:
    """A parameter for a map of this shape as one value for each channel: float64 [channels].

    A scalar spreads. Raises Unmapped where it does not fit, or differs inside of a channel.
    """
    if array.size == 1:
        return np.full(channels, array.reshape(-1)[0])
    if array.ndim != len(shape) or any(n not in (1, m) for n, m in
                                       zip(array.shape, shape, strict=True)):
        raise Unmapped(f"{name} has shape {[*array.shape]}, its map {[*shape]}")
    flat = np.broadcast_to(array, shape).reshape(channels, -1)
    if (flat != flat[:, :1]).any():
        channel = flat[int(np.argmax((flat != flat[:, :1]).any(1)))]
        raise Unmapped(f"{name} differs inside of a channel ({channel.min():.6g}.."
                       f"{channel.max():.6g}): the array holds one value for each channel")
    return flat[:, 0].copy()


def common(name: str, values: np.ndarray) -> float:
    """The one value of all channels."""
    low, high = float(values.min()), float(values.max())
    if low != high and not high - low <= 1e-9 * abs(high):
        raise Unmapped(f"{name} differs between channels ({low:.6g}..{high:.6g}): the array holds "
                       "one for each layer; train with one")
    return float(values[0])


def channel_value(values: np.ndarray | None) -> Any:
    """Values of channels as `canonical_linear` takes them: one number where they are equal."""
    if values is None or (values == values[0]).all():
        return None if values is None else float(values[0])
    return tuple(map(float, values))


def told(values: np.ndarray) -> str:
    """Values of channels for people."""
    low, high = values.min(), values.max()
    return f"{low:.6g}" if low == high else f"{low:.6g}..{high:.6g}"


def near(values: np.ndarray, target: np.ndarray | float) -> bool:
    """Whether values are equal but for the rounding of float32."""
    return bool(((values == target) | (np.abs(values - target) <= 1e-5 * np.abs(target))).all())
