"""Random changes of images, a batch at a time.

An augmentation works in two steps. `draw` decides what happens to each image of a batch, `apply`
does it. Processes that share a batch draw for all of it, and each changes its own part: what a run
sees does not depend on the number of processes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.training.autoaugment import CIFAR10_POLICY, OPERATIONS, autoaugment

__all__ = ["CIFAR10_POLICY", "OPERATIONS", "Augment", "ImageAugment", "augment_config",
           "augment_from_config"]

Draws = tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Augment:
    """For digits: a random affine map and an elastic displacement, bilinear, black outside.

    | field | meaning |
    |---|---|
    | `shift` | largest shift along an axis, in image sides |
    | `rotate` | largest rotation, degrees |
    | `scale`, `shear` | largest relative change |
    | `elastic` | standard deviation of the displacement, in image sides |

    The displacement is drawn at 4 x 4 control points and interpolated bicubically in between. If
    all fields are 0, images stay as they are.
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


@dataclass(frozen=True, kw_only=True)
class ImageAugment:
    """For photographs: random crop, mirror image, AutoAugment and Cutout, in this order.

    | field | meaning |
    |---|---|
    | `crop` | largest shift along both axes, in pixels; 0 comes in |
    | `flip` | whether half of the images are mirrored, left to right |
    | `policy` | "cifar10": one pair of CIFAR10_POLICY per image, of 3 channels of bytes; "": none |
    | `cutout` | side of a square that is set to 0, anywhere in the image (arXiv:1708.04552) |

    Frames [T, N, C, H, W] are taken as well where `policy` is "". All frames of a sample then
    change alike.
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
        offsets, mirrored, centres, pairs, chances, signs = (drawn.to(images.device)
                                                             for drawn in draws)
        if self.crop:
            images = self._cropped(images, offsets)
        if self.flip:
            images = torch.where(mirrored.bool().view(-1, 1, 1, 1), images.flip(3), images)
        if self.policy:
            if images.shape[1] != 3 or images.dtype != torch.uint8:
                raise ValueError(f"AutoAugment is for bytes of 3 channels, not {images.shape[1]} "
                                 f"of {images.dtype}")
            images = autoaugment(images.contiguous(), pairs, chances, signs)
        return self._with_hole(images, centres) if self.cutout else images

    def _cropped(self, images: Tensor, offsets: Tensor) -> Tensor:
        """Each image shifted by its own offset [N, 2], less `crop`."""
        (count, _, height, width), device = images.shape, images.device
        padded = functional.pad(images, [self.crop] * 4)
        sample = torch.arange(count, device=device)[:, None, None]
        y = offsets[:, 0, None, None] + torch.arange(height, device=device)[:, None]
        x = offsets[:, 1, None, None] + torch.arange(width, device=device)
        return padded.permute(0, 2, 3, 1)[sample, y, x].permute(0, 3, 1, 2)

    def _with_hole(self, images: Tensor, centres: Tensor) -> Tensor:
        """Each image with a black square around its own centre [N, 2], 0..1 of the sides."""
        (height, width), device = images.shape[2:], images.device
        top = (centres[:, 0] * height).long() - self.cutout // 2
        left = (centres[:, 1] * width).long() - self.cutout // 2
        y = torch.arange(height, device=device) - top[:, None]
        x = torch.arange(width, device=device) - left[:, None]
        hole = ((y >= 0) & (y < self.cutout))[:, :, None] & \
            ((x >= 0) & (x < self.cutout))[:, None, :]
        return images.masked_fill(hole[:, None], 0)


def augment_config(augment: Augment | ImageAugment | None) -> dict[str, Any] | None:
    """The fields of an augmentation as JSON can hold them."""
    if augment is None:
        return None
    return {**({"kind": "image"} if isinstance(augment, ImageAugment) else {}), **asdict(augment)}


def augment_from_config(config: dict[str, Any] | None) -> Augment | ImageAugment | None:
    """The augmentation of an `augment_config`."""
    if config is None:
        return None
    config = dict(config)
    return (ImageAugment if config.pop("kind", "") == "image" else Augment)(**config)
