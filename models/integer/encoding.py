"""Checks the input of a network, pixels, spikes or counts, and gives it a time axis.

Direct encoding: a pixel p of n bits is the constant input current p / 2^n in each of the T time
steps. This is exact in binary, so hardware, integer reference and float network start from the same
number. A pixel has a time axis of length 1, since it is the same in every step.

A count of n bits is n spikes, one in each of n bit planes, which the network reads with weights of
1, 2, 4...
"""

import torch
from torch import Tensor

from quadfire.data.spikes import SPIKES_REMEDY

__all__ = ["count_planes", "present", "present_images", "present_maps"]


def count_planes(x: Tensor, bits: int) -> Tensor:
    """Counts [..., C, H, W] as bit planes uint8 [..., bits C, H, W], lowest bit first.

    x: of any type. Raises ValueError unless it holds whole numbers in 0..2^bits - 1.
    """
    top = (1 << bits) - 1
    wrong = (x < 0) | (x > top) | (x != x.long())
    if count := int(wrong.sum()):
        raise ValueError(f"counts must be whole numbers in 0..{top}, and {count:,} of "
                         f"{x.numel():,} are not (such as {x[wrong][0].item():g}): clip them, or "
                         "import the network with an example that holds the largest count")
    return torch.cat([x.to(torch.uint8) >> bit & 1 for bit in range(bits)], dim=-3)


def present(x: Tensor, *, inputs: int, steps: int, input_bits: int) -> Tensor:
    """A checked input with a time axis.

    | input_bits | x | result |
    |---|---|---|
    | 1..8 | uint8 [N, inputs], pixels below 2^input_bits | [1, N, inputs] |
    | 0 | uint8 or bool [steps, N, inputs], spikes 0 and 1 | [steps, N, inputs] |

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
        raise ValueError(f"inputs must be below {limit}, not {highest}"
                         + ("" if input_bits else f": {SPIKES_REMEDY}"))
    return x[None] if input_bits else x


def present_maps(x: Tensor, *, shape: tuple[int, int, int], steps: int,
                 input_bits: int, count_bits: int = 0) -> Tensor:
    """`present` for maps of shape (C, H, W); the result ends in C, H, W.

    x: maps [..., C, H, W] or flat, [..., C H W]. count_bits: x is counts of that many bits, of any
    type; the result is their bit planes, see `count_planes`. Raises the errors of `present`.
    """
    maps = 4 if input_bits else 5
    if count_bits:
        x = count_planes(_maps(x, shape), count_bits)
        shape = (shape[0] * count_bits, *shape[1:])
    if x.ndim == maps and tuple(x.shape[-3:]) == shape:
        x = x.flatten(-3)
    flat = shape[0] * shape[1] * shape[2]
    if x.ndim == maps and shape[1:] != (1, 1):
        raise ValueError(f"inputs must have shape [{'' if input_bits else f'{steps}, '}N, "
                         f"{', '.join(map(str, shape))}], not {list(x.shape)}")
    return present(x, inputs=flat, steps=steps, input_bits=input_bits).unflatten(-1, shape)


def _maps(x: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Frames that end in C, H, W; ValueError unless they do, or are flat."""
    if x.ndim == 5 and tuple(x.shape[2:]) == shape:
        return x
    if x.ndim == 3 and x.shape[2] == shape[0] * shape[1] * shape[2]:
        return x.unflatten(2, shape)
    raise ValueError(f"counts must have shape [T, N, {', '.join(map(str, shape))}], not "
                     f"{list(x.shape)}")


def present_images(x: Tensor, *, shape: tuple[int, int, int], steps: int,
                   dtype: torch.dtype = torch.float32) -> Tensor:
    """The input of a float network, checked, with a time axis and in `dtype`.

    | x | result |
    |---|---|
    | uint8 [N, C, H, W] or flat [N, C H W]: pixels | [1, N, C, H, W], divided by 256 |
    | uint8, bool or float [steps, N, C, H, W]: spikes or counts of events | unchanged |

    shape: (C, H, W). Raises TypeError for another type, ValueError for another shape.
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
