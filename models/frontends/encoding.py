"""Inputs as a module takes them become inputs of the map: real numbers, or the array's integers."""

import torch
from torch import Tensor

from quadfire.data.spikes import SPIKES_REMEDY
from quadfire.models.frontends.imported import Imported

__all__ = ["array_inputs", "pixel_values", "with_time_first"]


def pixel_values(network: Imported, x: Tensor) -> Tensor:
    """Pixels 0..255, not rounded, [N, C, H, W], of pictures normalised as in training."""
    x = x.double().reshape(-1, *network.input_shape)
    mean, std = (value.reshape(-1, 1, 1) if value.ndim else value for value in (
        torch.as_tensor(v, dtype=torch.float64) for v in (network.mean, network.std)))
    return 255 * (x * std + mean)


def with_time_first(x: Tensor, steps: int, layout: str) -> Tensor:
    """[T, N, ...] of a tensor whose axes are "TN", "NT" or "(NT)", both in one."""
    if layout == "NT":
        return x.transpose(0, 1)
    if layout == "(NT)":
        return x.reshape(-1, steps, *x.shape[1:]).transpose(0, 1)
    return x


def array_inputs(network: Imported, x: Tensor) -> Tensor:
    """`Imported.inputs`."""
    if network.input == "pixels":
        values = pixel_values(network, x)
        pixels = values.round()
        if (pixels < 0).any() or (pixels > 255).any():
            raise ValueError(f"pixels reach {values.min():.1f}..{values.max():.1f} of 0..255: are "
                             "--mean and --std those of the training?")
        return pixels.to(torch.uint8)
    x = with_time_first(x, network.steps, network.layout)
    if len(x) != network.steps:
        raise ValueError(f"the network runs {network.steps} time steps, the input has {len(x)}")
    low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 0.0)
    most = (1 << max(network.count_bits, 1)) - 1
    if low < 0 or high > most or x.is_floating_point() and bool((x != x.round()).any()):
        what = f"counts of 0..{most}" if network.count_bits else "spikes of 0 or 1"
        remedy = "" if network.count_bits else f": {SPIKES_REMEDY}"
        raise ValueError(f"the input holds values {low:g}..{high:g}, which are no {what}{remedy}")
    return x.reshape(network.steps, -1, *network.input_shape).to(torch.uint8)
