"""Mixup and CutMix: two images of a batch in one, and their labels in the same proportion.

    mixup     x = l x_1 + (1 - l) x_2                       arXiv:1710.09412
    CutMix    x = x_1, but a rectangle of the area 1 - l is that of x_2      arXiv:1905.04899
    loss      l loss(y_1) + (1 - l) loss(y_2),  l drawn from Beta(a, a) for a whole batch
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Mixed", "mixed"]


class Mixed(NamedTuple):
    """Images [N, ...], the labels [N] of their second parts, and the share l of the first."""

    images: Tensor
    others: Tensor
    share: float


def mixed(images: Tensor, labels: Tensor, mixup: float, cutmix: float,
          generator: torch.Generator) -> Mixed:
    """A batch of bytes [N, C, H, W] mixed with itself in another order.

    mixup, cutmix: the a of Beta(a, a), 0 for none. With both, a coin decides for each batch.
    """
    order = torch.randperm(len(images), generator=generator)
    cut = torch.rand((), generator=generator).item() < 0.5 if mixup and cutmix else bool(cutmix)
    seed = int(torch.randint(1 << 62, (), generator=generator))
    a = cutmix if cut else mixup
    share = float(np.random.default_rng(seed).beta(a, a))
    others = images[order.to(images.device)]
    if not cut:
        blend = torch.lerp(others.float(), images.float(), share).round()
        return Mixed(blend.to(images.dtype), labels[order.to(labels.device)], share)
    height, width = images.shape[-2:]
    side = (1 - share) ** 0.5
    y, x = torch.rand(2, generator=generator).tolist()
    top, bottom = _around(y, side, height)
    left, right = _around(x, side, width)
    result = images.clone()
    result[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return Mixed(result, labels[order.to(labels.device)], share)


def _around(centre: float, side: float, size: int) -> tuple[int, int]:
    """The pixels within half of `side` of a centre, both in shares of `size`."""
    return (max(0, round((centre - side / 2) * size)), min(size, round((centre + side / 2) * size)))
