"""Random distortion of images, a batch at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Augment"]


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
        if self == Augment(shift=0, rotate=0, scale=0, shear=0, elastic=0):
            return images
        count = len(images)

        def uniform(largest: float, *shape: int) -> Tensor:
            return largest * (2 * torch.rand(count, *shape, generator=generator) - 1)

        angle = uniform(self.rotate).deg2rad()
        rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1)
        distortion = torch.eye(2) + uniform(self.scale, 2)[:, :, None] * torch.eye(2)
        distortion[:, 0, 1] += uniform(self.shear)
        # grid_sample measures in half sides, hence the factors of two
        affine = torch.cat([rotation.view(-1, 2, 2) @ distortion,
                            2 * uniform(self.shift, 2, 1)], 2)
        grid = functional.affine_grid(affine.contiguous(), [count, 1, side, side],
                                      align_corners=False)
        control = 2 * self.elastic * torch.randn(count, 2, 4, 4, generator=generator)
        grid = grid + functional.interpolate(control, (side, side), mode="bicubic",
                                             align_corners=True).permute(0, 2, 3, 1)
        pixels = functional.grid_sample(images.view(-1, 1, side, side).float(), grid,
                                        align_corners=False)
        return pixels.round().to(torch.uint8).view(count, -1)
