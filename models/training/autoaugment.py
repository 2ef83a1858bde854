"""AutoAugment: its operations on batches of images, and the policy found for CIFAR-10.

An operation takes bytes [N, 3, H, W] and a magnitude [N] of -1..1. Some use the size of the
magnitude only, some none of it. Each is equal to Pillow's up to one level of rounding.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CIFAR10_POLICY", "OPERATIONS", "autoaugment"]


def _bytes(pixels: Tensor) -> Tensor:
    """To the nearest byte."""
    return pixels.round().clamp(0, 255).to(torch.uint8)


def _wide(magnitude: Tensor) -> Tensor:
    """Magnitudes [N] as [N, 1, 1, 1]."""
    return magnitude.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    """Luminance, float32 [N, 1, H, W]."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _blend(other: Tensor, images: Tensor, magnitude: Tensor) -> Tensor:
    """other + (1 + 0.9 m) (images - other): factors of 0.1..1.9, where 1 changes nothing."""
    return _bytes(other + (1 + 0.9 * _wide(magnitude)) * (images - other))


def _affine(images: Tensor, rows: list[list[Tensor | float]]) -> Tensor:
    """The nearest pixel under the map [[a, b, c], [d, e, f]], in half sides; 128 outside."""
    count, device = len(images), images.device
    matrix = torch.stack([torch.as_tensor(value, device=device, dtype=torch.float32).expand(count)
                          for row in rows for value in row], 1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return _bytes(128 + functional.grid_sample(images.float() - 128, grid, mode="nearest",
                                               align_corners=False))


def _rotate(images: Tensor, m: Tensor) -> Tensor:
    """By up to 30 degrees."""
    angle = (30 * m).deg2rad()
    return _affine(images, [[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])


def _autocontrast(images: Tensor, m: Tensor) -> Tensor:
    """Each channel stretched to 0..255; a channel of one level stays as it is."""
    pixels = images.float()
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    stretched = (pixels - low) * 255 / (high - low).clamp(min=1)
    return _bytes(torch.where(high > low, stretched, pixels))


def _equalize(images: Tensor, m: Tensor) -> Tensor:
    """Each channel through its own cumulative histogram, in integers as in Pillow."""
    flat = images.flatten(2).long().flatten(0, 1)                           # [3 N, H W]
    histogram = torch.zeros(len(flat), 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, flat, torch.ones_like(flat))
    last = histogram.gather(1, flat.amax(1, keepdim=True))
    step = (flat.shape[1] - last) // 255
    table = (histogram.cumsum(1) - histogram + step // 2) // step.clamp(min=1)
    table = torch.where(step > 0, table.clamp(max=255), torch.arange(256, device=images.device))
    return table.gather(1, flat).to(torch.uint8).view_as(images)


def _sharpness(images: Tensor, m: Tensor) -> Tensor:
    """Towards a smoothed image or away from it. Pixels at the edge are not smoothed."""
    kernel = torch.tensor([[1., 1, 1], [1, 5, 1], [1, 1, 1]], device=images.device) / 13
    pixels = images.float()
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(pixels.flatten(0, 1)[:, None], kernel[None, None]
                                                 ).view_as(smooth[:, :, 1:-1, 1:-1])
    return _blend(smooth, images, m)


def _posterize(images: Tensor, m: Tensor) -> Tensor:
    """The upper 8..4 bits of each pixel."""
    dropped = (4 * m.abs()).round().long().view(-1, 1, 1, 1)
    return ((images.long() >> dropped) << dropped).to(torch.uint8)


Operation = Callable[[Tensor, Tensor], Tensor]

#: The operations, with names and largest magnitudes as in arXiv:1805.09501, table 6.
OPERATIONS: dict[str, Operation] = {
    "shear_x": lambda x, m: _affine(x, [[1.0, 0.3 * m, 0.0], [0.0, 1.0, 0.0]]),
    "shear_y": lambda x, m: _affine(x, [[1.0, 0.0, 0.0], [0.3 * m, 1.0, 0.0]]),
    "translate_x": lambda x, m: _affine(x, [[1.0, 0.0, 2 * 150 / 331 * m], [0.0, 1.0, 0.0]]),
    "translate_y": lambda x, m: _affine(x, [[1.0, 0.0, 0.0], [0.0, 1.0, 2 * 150 / 331 * m]]),
    "rotate": _rotate,
    "autocontrast": _autocontrast,
    "invert": lambda x, m: 255 - x,
    "equalize": _equalize,
    "solarize": lambda x, m: torch.where(x >= 256 * (1 - _wide(m.abs())), 255 - x, x),
    "posterize": _posterize,
    "contrast": lambda x, m: _blend(_grey(x).mean((2, 3), keepdim=True).round(), x, m),
    "color": lambda x, m: _blend(_grey(x), x, m),
    "brightness": lambda x, m: _blend(torch.zeros_like(x, dtype=torch.float32), x, m),
    "sharpness": _sharpness,
}


class _PolicyStep(NamedTuple):
    """One operation of a pair: how often it is done, and how strongly."""

    name: str
    probability: float
    magnitude: int          # 0..9


def _policy(text: str) -> tuple[tuple[_PolicyStep, _PolicyStep], ...]:
    """Pairs of operations from name:probability:magnitude, separated by spaces."""
    steps = [_PolicyStep(name, float(probability), int(magnitude))
             for name, probability, magnitude in (word.split(":") for word in text.split())]
    return tuple(zip(steps[::2], steps[1::2], strict=True))


#: The 25 pairs found for CIFAR-10 (arXiv:1805.09501, table 7): operation:probability:magnitude.
CIFAR10_POLICY = _policy("""
    invert:.1:7 contrast:.2:6            rotate:.7:2 translate_x:.3:9
    sharpness:.8:1 sharpness:.9:3        shear_y:.5:8 translate_y:.7:9
    autocontrast:.5:8 equalize:.9:2      shear_y:.2:7 posterize:.3:7
    color:.4:3 brightness:.6:7           sharpness:.3:9 brightness:.7:9
    equalize:.6:5 equalize:.5:1          contrast:.6:7 sharpness:.6:5
    color:.7:7 translate_x:.5:8          equalize:.3:7 autocontrast:.4:8
    translate_y:.4:3 sharpness:.2:6      brightness:.9:6 color:.2:8
    solarize:.5:2 invert:0:3             equalize:.2:0 autocontrast:.6:0
    equalize:.2:8 equalize:.6:4          color:.9:9 equalize:.6:6
    autocontrast:.8:4 solarize:.2:8      brightness:.1:3 color:.7:0
    solarize:.4:5 autocontrast:.9:3      translate_y:.9:9 translate_y:.7:9
    autocontrast:.9:2 solarize:.8:3      equalize:.8:8 invert:.1:3
    translate_y:.7:9 autocontrast:.9:1
""")


def autoaugment(images: Tensor, pairs: Tensor, chances: Tensor, signs: Tensor) -> Tensor:
    """Each image after both operations of one pair of CIFAR10_POLICY.

    | argument | shape | meaning |
    |---|---|---|
    | `images` | uint8 [N, 3, H, W] | |
    | `pairs` | int [N] | index of the pair |
    | `chances` | float [N, 2] | 0..1; an operation is done if this is below its probability |
    | `signs` | int [N, 2] | +-1, the sign of the magnitude |
    """
    names = [*OPERATIONS]
    images = images.clone()
    for turn in (0, 1):
        # for each pair of the policy: which operation, how often, how much
        code, probability, magnitude = (
            torch.tensor([float(value) for value in column], device=images.device)[pairs]
            for column in zip(*((names.index(pair[turn].name), pair[turn].probability,
                                 pair[turn].magnitude / 9) for pair in CIFAR10_POLICY),
                              strict=True))
        code = code.where(chances[:, turn] < probability, -1)
        for number, name in enumerate(names):
            if len(index := (code == number).nonzero()[:, 0]):
                images[index] = OPERATIONS[name](
                    images[index], (signs[:, turn] * magnitude)[index])
    return images
