"""What a network is given: pixels (direct encoding) or spikes.

Direct encoding: the byte p of a pixel is a constant input current p / 256 in each of T steps, and
n-bit pixels are p / 2^n. That is exact in binary, so hardware, integer reference and float network
start from the same number.
"""

import torch
from torch import Tensor

__all__ = ["present", "present_images", "present_maps"]


def present(x: Tensor, *, inputs: int, steps: int, input_bits: int) -> Tensor:
    """Check x and give it a time axis: [steps, N, inputs], or [1, N, inputs] for pixels.

    input_bits = 1..8: x is uint8 [N, inputs], pixels below 2^input_bits, the same in every step.
    input_bits = 0: x is uint8 or bool [steps, N, inputs], spikes 0 and 1.
    Raises TypeError for another type, ValueError for another shape or a value out of range.
    """
    if x.dtype not in ((torch.uint8,) if input_bits else (torch.uint8, torch.bool)):
        raise TypeError(f"inputs must be uint8{'' if input_bits else ' or bool'}, not {x.dtype}")
    shape = ("N", inputs) if input_bits else (steps, "N", inputs)
    batch = x.shape[-2] if x.ndim > 1 else None
    if tuple(x.shape) != tuple(batch if size == "N" else size for size in shape):
        raise ValueError(f"inputs must have shape [{', '.join(map(str, shape))}], "
                         f"not {list(x.shape)}")
    limit = 1 << max(input_bits, 1)
    if x.dtype == torch.uint8 and x.numel() and (highest := int(x.max())) >= limit:
        raise ValueError(f"inputs must be below {limit}, not {highest}")
    return x[None] if input_bits else x


def present_maps(x: Tensor, *, shape: tuple[int, int, int], steps: int,
                 input_bits: int) -> Tensor:
    """`present` of maps: [steps, N, C, H, W], or [1, N, C, H, W] for pixels, of shape (C, H, W).

    x has maps or is flat, [..., C * H * W]. Raises the errors of `present`.
    """
    maps = 4 if input_bits else 5
    if x.ndim == maps and tuple(x.shape[-3:]) == shape:
        x = x.flatten(-3)
    flat = shape[0] * shape[1] * shape[2]
    if x.ndim == maps and shape[1:] != (1, 1):
        raise ValueError(f"inputs must have shape [{'' if input_bits else f'{steps}, '}N, "
                         f"{', '.join(map(str, shape))}], not {list(x.shape)}")
    return present(x, inputs=flat, steps=steps, input_bits=input_bits).unflatten(-1, shape)


def present_images(x: Tensor, *, shape: tuple[int, int, int], steps: int,
                   dtype: torch.dtype = torch.float32) -> Tensor:
    """Check x and give it a time axis: [steps, N, C, H, W], or [1, N, C, H, W] for pixels.

    shape: (C, H, W). x is uint8 [N, C, H, W] or flat [N, C * H * W]: pixels, p / 256 in every step.
    Or it is [steps, N, C, H, W] of uint8, bool or floating point: spikes, or counts of events, that
    stay as they are. Raises TypeError for another type, ValueError for another shape.
    """
    flat = (shape[0] * shape[1] * shape[2],)
    if x.ndim == 5:
        if x.dtype not in (torch.uint8, torch.bool) and not x.is_floating_point():
            raise TypeError(f"frames must be uint8, bool or floating point, not {x.dtype}")
        if x.shape[0] != steps or x.shape[2:] != shape:
            raise ValueError(f"frames must have shape [{steps}, N, {', '.join(map(str, shape))}], "
                             f"not {list(x.shape)}")
        return x.to(dtype)
    if x.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {x.dtype}")
    if x.ndim == 0 or x.shape[1:] not in (shape, flat):
        raise ValueError(f"images must have shape [N, {', '.join(map(str, shape))}], or frames "
                         f"[{steps}, N, ...], not {list(x.shape)}")
    return x.view(1, -1, *shape).to(dtype) / 256
