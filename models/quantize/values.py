"""Values between the layers of neurons: spikes, and sums of them.

| value | what it stands for |
|---|---|
| `Maps` | spikes: maps of layers or of the input, pooled, scaled, shifted; side by side or added |
| `Current` | sums: branches that read such maps, and a bias |
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quadfire.models.integer import INPUT, Pair, Pool, Shape
from quadfire.models.quantize.folded import FoldedBranch

__all__ = ["Current", "Maps", "Source", "Value", "as_kernel", "binary", "can_join",
           "merged"]


@dataclass(frozen=True)
class Source:
    """One map as its readers see it: scale * pool(map) + shift, [C, H, W].

    | field | meaning |
    |---|---|
    | layer | the layer that makes the map, or INPUT |
    | shape | (C, H, W) after the pool |
    | scale, shift | float64 [C] each |
    | pool | or None |
    | first, total | the channels first .. first + C - 1 of a map of `total` channels |
    | gain | of the branches that read it, or 0, see `FoldedBranch` |
    """

    layer: int
    shape: Shape
    scale: Tensor
    shift: Tensor
    pool: Pool | None = None
    first: int = 0
    total: int = 0
    gain: int = 0

    @property
    def size(self) -> int:
        """C H W."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def plain(self) -> bool:
        """Whether it is the spikes of a whole map as they are."""
        return (self.pool is None and self.total == self.shape[0] and not self.gain
                and bool((self.scale == 1).all()) and not self.shift.any())

    def branch(self, weight: Tensor, stride: Pair, padding: Pair) -> tuple[FoldedBranch, Tensor]:
        """A convolution that reads it: (branch, what the shift adds to the bias [outputs])."""
        if self.shift.any() and any(padding):
            raise ValueError("its input is shifted by a norm or a constant before the padding, "
                             "so borders would differ: put the norm behind the convolution")
        bias = torch.einsum("ochw,c->o", weight, self.shift)
        weight = weight * self.scale[:, None, None]
        if self.total != self.shape[0]:
            wide = weight.new_zeros(len(weight), self.total, *weight.shape[2:])
            wide[:, self.first:self.first + self.shape[0]] = weight
            weight = wide
        return FoldedBranch(source=self.layer, weight=weight, stride=stride, padding=padding,
                            pool=self.pool, gain=self.gain), bias

    def channels(self, first: int, count: int) -> "Source":
        """Some of its channels."""
        own = slice(first, first + count)
        return replace(self, shape=(count, *self.shape[1:]), first=self.first + first,
                       scale=self.scale[own], shift=self.shift[own])

    def pooled(self, pool: Pool, divisor: float) -> "Source":
        """This map after one more pool. Raises ValueError where two pools are no single one."""
        shape = pool.output_shape(self.shape)
        if self.shift.any() and pool.kind == "sum" and any(pool.padding):
            raise ValueError("a mean with padding behind a norm or a constant: borders differ")
        count = pool.size[0] * pool.size[1]
        if pool.kind == "max":
            if (self.scale <= 0).any():
                raise ValueError("the largest of spikes times a weight of 0 or below is no OR")
            count, divisor = 1, 1.0
        if self.pool is not None:
            pool = _both(self.pool, pool)
        return replace(self, shape=shape, pool=pool, scale=self.scale / divisor,
                       shift=self.shift * count / divisor)


def can_join(first: Pool, second: Pool) -> bool:
    """Whether two pools, one after the other, are one."""
    return first.kind == second.kind and all(p.size == p.stride and p.padding == (0, 0)
                                             for p in (first, second))


def _both(first: Pool, second: Pool) -> Pool:
    """One pool that does what two do, one after the other."""
    if not can_join(first, second):
        raise ValueError("a pool of a pool must be of the same kind, both without overlap and "
                         "padding: put a layer between them")
    size = (first.size[0] * second.size[0], first.size[1] * second.size[1])
    return Pool(kind=first.kind, size=size, stride=size)


@dataclass(frozen=True)
class Maps:
    """Spikes [C, H, W]: sources, each with the number of the first value that it is added to.

    The values count in C, H, W order. Two sources may cover the same values: then they add up.
    """

    shape: Shape
    parts: tuple[tuple[int, Source], ...]
    names: tuple[str, ...] = ()

    def channels(self) -> Iterable[tuple[int, Source]]:
        """(first channel, source) of every part, where the parts are maps of the same size."""
        area = self.shape[1] * self.shape[2]
        for first, source in self.parts:
            if source.shape[1:] != self.shape[1:] or first % area:
                raise ValueError("it joins maps of different sizes, which only a fully connected "
                                 "layer can read")
            yield first // area, source


@dataclass(frozen=True)
class Current:
    """Sums [C, H, W] before a neuron.

    moved: max pools that shall follow the neuron. sums: (C, H, W) before these; shape: after.
    """

    shape: Shape
    branches: tuple[FoldedBranch, ...]
    bias: Tensor
    names: tuple[str, ...] = ()
    moved: tuple[Pool, ...] = ()
    sums: Shape | None = None


Value = Maps | Current


def as_kernel(branch: FoldedBranch) -> FoldedBranch:
    """An identity as a convolution of 1 x 1."""
    if branch.weight.ndim > 1:
        return branch
    return replace(branch, weight=torch.diag(branch.weight)[:, :, None, None])


def merged(branches: Iterable[FoldedBranch]) -> tuple[FoldedBranch, ...]:
    """Branches that read the same map in the same way are one, of the sum of their weights."""
    made: dict[tuple, FoldedBranch] = {}
    for branch in branches:
        key = (branch.source, branch.pool, branch.stride, branch.padding, branch.gain,
               tuple(branch.weight.shape))
        made[key] = replace(branch, weight=made[key].weight + branch.weight) if key in made \
            else branch
    return tuple(made.values())


def binary(value: Value) -> bool:
    """Whether all values are known to be 0 and 1: spikes of a layer, or 1 - such spikes."""
    if not isinstance(value, Maps):
        return False
    ends = sorted((first, first + source.size) for first, source in value.parts)
    return all(_binary(source) for _, source in value.parts) and all(
        a[1] <= b[0] for a, b in zip(ends, ends[1:], strict=False))


def _binary(source: Source) -> bool:
    """Whether its values are 0 and 1: spikes, or 1 - spikes."""
    if source.pool is not None and source.pool.kind != "max" or source.layer == INPUT:
        return False
    scale, shift = source.scale, source.shift
    return bool(((scale == 1) & (shift == 0)).all() or ((scale == -1) & (shift == 1)).all())


