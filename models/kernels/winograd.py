"""3 x 3 convolutions by Winograd's F(4 x 4, 3 x 3): a quarter of the products (`winograd.cpp`).

Results differ from those of the direct sum by rounding alone, up to 1e-5 of the largest.
"""

import ctypes
from collections.abc import Iterator

import torch
from torch import Tensor

from quadfire.models.kernels.native import address, library, threads

__all__ = ["by_weights", "forward"]

#: Tiles at once: what lies between the transforms stays in the cache.
TILES = 256

#: G of the transform of weights.
_G = torch.tensor([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
                   [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
                  dtype=torch.float64)


class _Maps(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("images", "height", "width", "channels")]


def _tiles(x: Tensor) -> int:
    """Tiles of one image of maps [B, H, W, C]."""
    return -(-x.shape[1] // 4) * -(-x.shape[2] // 4)


def _parts(x: Tensor) -> Iterator[slice]:
    """Images of maps [B, H, W, C], as many at once as have TILES tiles."""
    count = max(1, TILES // _tiles(x))
    return (slice(first, min(first + count, len(x))) for first in range(0, len(x), count))


def _run(name: str, maps: Tensor, source: Tensor, target: Tensor) -> None:
    """One transform of all of `maps` [B, H, W, C], from source to target."""
    lib = library()
    assert lib is not None
    getattr(lib, name)(ctypes.byref(_Maps(*maps.shape)), address(source), address(target),
                       threads())


def _room(x: Tensor) -> Tensor:
    """Room for [36, tiles, C] of the largest part of maps [B, H, W, C]."""
    return x.new_empty(36 * len(x[next(_parts(x))]) * _tiles(x) * x.shape[-1])


def _products(room: Tensor, part: Tensor) -> Tensor:
    """[36, tiles, C] of maps [B, H, W, C], at the beginning of some room."""
    shape = 36, len(part) * _tiles(part), part.shape[-1]
    return room[:shape[0] * shape[1] * shape[2]].view(shape)


def forward(x: Tensor, weight: Tensor) -> Tensor:
    """Maps [B, H, W, inputs] by weights [outputs, inputs, 3, 3], padding 1, to [B, H, W, outputs].

    Both numbers of channels are multiples of 8.
    """
    spread = torch.einsum("ai,oxij,bj->abxo", _G, weight.double(), _G).float().flatten(0, 1)
    out = x.new_empty(*x.shape[:3], len(weight))
    rooms = _room(x), _room(out)
    for part in _parts(x):
        inputs, outputs = _products(rooms[0], x[part]), _products(rooms[1], out[part])
        _run("qf_winograd_inputs", x[part], x[part], inputs)
        torch.bmm(inputs, spread, out=outputs)
        _run("qf_winograd_outputs", out[part], outputs, out[part])
    return out


def by_weights(x: Tensor, by_out: Tensor) -> Tensor:
    """The gradient [outputs, inputs, 3, 3] by weights, of maps and the gradient by outputs."""
    total = x.new_zeros(36, x.shape[-1], by_out.shape[-1])
    rooms = _room(x), _room(by_out)
    for part in _parts(x):
        inputs, gradients = _products(rooms[0], x[part]), _products(rooms[1], by_out[part])
        _run("qf_winograd_inputs", x[part], x[part], inputs)
        _run("qf_winograd_gradients", by_out[part], by_out[part], gradients)
        total.baddbmm_(inputs.transpose(1, 2), gradients)
    places = total.double().unflatten(0, (6, 6))
    return torch.einsum("ai,abxo,bj->oxij", _G, places, _G).float()
