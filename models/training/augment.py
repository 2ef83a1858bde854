"""Random changes of images, a batch at a time.

An augmentation first draws what to do with each image of a batch, then does it. So processes that
share a batch draw the same for all of it and each changes its own part, and what a run sees does
not depend on how many processes it has.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["CIFAR10_POLICY", "OPERATIONS", "Augment", "ImageAugment", "augment_config",
           "augment_from_config"]

Draws = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """A random affine map and elastic displacement of every image, bilinear, black outside.

    shift: largest shift along an axis, in image sides. rotate: largest rotation, degrees.
    scale, shear: largest relative change. elastic: standard deviation of the displacement of a
    4 x 4 grid of control points, in image sides, interpolated bicubically in between.
    All zero: images stay as they are.
    """

    shift: float = 0.07
    rotate: float = 12.0
    scale: float = 0.12
    shear: float = 0.15
    elastic: float = 0.02

    def __call__(self, images: Tensor, side: int, generator: torch.Generator) -> Tensor:
        """Bytes [N, side * side] to bytes of the same shape."""
        draws = self.draw(len(images), generator)
        return self.apply(images.view(-1, 1, side, side), draws).view(images.shape)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """What happens to each of `count` images, as tensors [count, ...]."""
        if self == Augment(shift=0, rotate=0, scale=0, shear=0, elastic=0):
            return ()

        def uniform(largest: float, *shape: int) -> Tensor:
            return largest * (2 * torch.rand(count, *shape, generator=generator) - 1)

        return (uniform(self.rotate), uniform(self.scale, 2), uniform(self.shear),
                uniform(self.shift, 2, 1), torch.randn(count, 2, 4, 4, generator=generator))

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Bytes [N, C, H, H] to bytes of the same shape."""
        if not draws:
            return images
        (count, _, side, _), device = images.shape, images.device
        rotate, scale, shear, shift, bend = (drawn.to(device) for drawn in draws)
        angle = rotate.deg2rad()
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
        identity = torch.eye(2, device=device)
        distortion = identity + scale[:, :, None] * identity
        distortion[:, 0, 1] += shear
        # grid_sample measures in half sides, hence the factors of two
        affine = torch.cat([rotation.view(-1, 2, 2) @ distortion, 2 * shift], 2)
        grid = functional.affine_grid(affine.contiguous(), [count, 1, side, side],
                                      align_corners=False)
        control = 2 * self.elastic * bend
        grid = grid + functional.interpolate(control, (side, side), mode="bicubic",
                                             align_corners=True).permute(0, 2, 3, 1)
        pixels = functional.grid_sample(images.float(), grid, align_corners=False)
        return pixels.round().to(torch.uint8)


# Operations of AutoAugment ------------------------------------------------------------------------
#
# On bytes [N, 3, H, W] with a signed magnitude [N] in -1..1, except where only its size counts.


def _bytes(pixels: Tensor) -> Tensor:
    return pixels.round().clamp(0, 255).to(torch.uint8)


def _wide(magnitude: Tensor) -> Tensor:
    return magnitude.view(-1, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def _blend(other: Tensor, images: Tensor, magnitude: Tensor) -> Tensor:
    """other + (1 + 0.9 m) (images - other): factors of 0.1..1.9, 1 changes nothing."""
    return _bytes(other + (1 + 0.9 * _wide(magnitude)) * (images - other))


def _affine(images: Tensor, rows: list[list[Tensor | float]]) -> Tensor:
    """Nearest pixel under [[a, b, c], [d, e, f]], in half sides; grey (128) outside."""
    count, device = len(images), images.device
    matrix = torch.stack([torch.as_tensor(value, device=device, dtype=torch.float32).expand(count)
                          for row in rows for value in row], 1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return _bytes(128 + functional.grid_sample(images.float() - 128, grid, mode="nearest",
                                               align_corners=False))


def _rotate(images: Tensor, m: Tensor) -> Tensor:
    angle = (30 * m).deg2rad()
    return _affine(images, [[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]])


def _autocontrast(images: Tensor, m: Tensor) -> Tensor:
    pixels = images.float()
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    stretched = (pixels - low) * 255 / (high - low).clamp(min=1)
    return _bytes(torch.where(high > low, stretched, pixels))


def _equalize(images: Tensor, m: Tensor) -> Tensor:
    """Every channel through the cumulative histogram of itself, integers as in Pillow."""
    flat = images.flatten(2).long().flatten(0, 1)                           # [3 N, H W]
    histogram = torch.zeros(len(flat), 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, flat, torch.ones_like(flat))
    last = histogram.gather(1, flat.amax(1, keepdim=True))
    step = (flat.shape[1] - last) // 255
    table = (histogram.cumsum(1) - histogram + step // 2) // step.clamp(min=1)
    table = torch.where(step > 0, table.clamp(max=255), torch.arange(256, device=images.device))
    return table.gather(1, flat).to(torch.uint8).view_as(images)


def _sharpness(images: Tensor, m: Tensor) -> Tensor:
    kernel = torch.tensor([[1., 1, 1], [1, 5, 1], [1, 1, 1]], device=images.device) / 13
    pixels = images.float()
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(pixels.flatten(0, 1)[:, None], kernel[None, None]
                                                 ).view_as(smooth[:, :, 1:-1, 1:-1])
    return _blend(smooth, images, m)


def _posterize(images: Tensor, m: Tensor) -> Tensor:
    dropped = (4 * m.abs()).round().long().view(-1, 1, 1, 1)                # keeps 8..4 bits
    return ((images.long() >> dropped) << dropped).to(torch.uint8)


Operation = Callable[[Tensor, Tensor], Tensor]

#: Operations by the names and with the largest magnitudes of arXiv:1805.09501, table 6.
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


class _Step(NamedTuple):
    name: str
    probability: float
    magnitude: int          # 0..9


def _policy(text: str) -> tuple[tuple[_Step, _Step], ...]:
    steps = [_Step(name, float(probability), int(magnitude)) for name, probability, magnitude in
             (word.split(":") for word in text.split())]
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


@dataclass(frozen=True, kw_only=True)
class ImageAugment:
    """Random crop, mirror image, AutoAugment and Cutout, in this order.

    crop: the image is shifted by up to as many pixels along both axes, 0 comes in. flip: left and
    right change places in half of the images. policy: "cifar10", one pair of CIFAR10_POLICY for
    each image of 3 x bytes, or "". cutout: side of the square that is set to 0 (arXiv:1708.04552),
    its middle anywhere in the image.

    Takes frames [T, N, C, H, W] as well, all frames of a sample alike, if policy is "".
    """

    crop: int = 4
    flip: bool = True
    policy: str = "cifar10"
    cutout: int = 16

    def __post_init__(self) -> None:
        if self.policy not in ("", "cifar10"):
            raise ValueError(f"policy must be cifar10 or empty, not {self.policy!r}")
        if min(self.crop, self.cutout) < 0:
            raise ValueError("crop and cutout must not be negative, not "
                             f"{self.crop!r} and {self.cutout!r}")

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """What happens to each of `count` images, as tensors [count, ...]."""
        def integers(top: int, *shape: int) -> Tensor:
            return torch.randint(top, (count, *shape), generator=generator)

        return (integers(2 * self.crop + 1, 2), integers(2), torch.rand(count, 2,
                generator=generator), integers(len(CIFAR10_POLICY)),
                torch.rand(count, 2, generator=generator), 2 * integers(2, 2) - 1)

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Images [N, C, H, W] or frames [T, N, C, H, W] to the same shape and type."""
        if images.ndim == 5:
            steps = images.shape[0]
            together = self.apply(images.transpose(0, 1).flatten(1, 2), draws)
            return together.unflatten(1, (steps, -1)).transpose(0, 1)
        (count, channels, height, width), device = images.shape, images.device
        offsets, turned, centres, pairs, chances, signs = (drawn.to(device) for drawn in draws)
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        sample = torch.arange(count, device=device)[:, None, None]
        if self.crop:
            padded = functional.pad(images, [self.crop] * 4)
            y = offsets[:, 0, None, None] + rows[:, None]
            x = offsets[:, 1, None, None] + columns
            images = padded.permute(0, 2, 3, 1)[sample, y, x].permute(0, 3, 1, 2)
        if self.flip:
            images = torch.where(turned.bool().view(-1, 1, 1, 1), images.flip(3), images)
        if self.policy:
            if channels != 3 or images.dtype != torch.uint8:
                raise ValueError(f"AutoAugment is for bytes of 3 channels, not {channels} of "
                                 f"{images.dtype}")
            images = self._autoaugment(images.contiguous(), pairs, chances, signs)
        if self.cutout:
            top = (centres[:, 0] * height).long() - self.cutout // 2
            left = (centres[:, 1] * width).long() - self.cutout // 2
            y, x = rows - top[:, None], columns - left[:, None]
            hole = ((y >= 0) & (y < self.cutout))[:, :, None] & \
                ((x >= 0) & (x < self.cutout))[:, None, :]
            images = images.masked_fill(hole[:, None], 0)
        return images

    @staticmethod
    def _autoaugment(images: Tensor, pairs: Tensor, chances: Tensor, signs: Tensor) -> Tensor:
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


def augment_config(augment: Augment | ImageAugment | None) -> dict[str, Any] | None:
    """What makes this augmentation again, see `augment_from_config`."""
    if augment is None:
        return None
    return {**({"kind": "image"} if isinstance(augment, ImageAugment) else {}), **asdict(augment)}


def augment_from_config(config: dict[str, Any] | None) -> Augment | ImageAugment | None:
    """The augmentation of an `augment_config`."""
    if config is None:
        return None
    config = dict(config)
    return (ImageAugment if config.pop("kind", "") == "image" else Augment)(**config)
