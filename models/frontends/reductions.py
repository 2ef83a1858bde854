"""Sums and means over axes: over rows and columns, over time, over stacked maps."""

import math
from typing import Any

import torch
from torch import Tensor

from quadfire.models.frontends.arithmetic import Arithmetic, Unknown
from quadfire.models.frontends.functions import options
from quadfire.models.frontends.graph import Source, tensors_in
from quadfire.models.frontends.provenance import sample_of, step_of
from quadfire.models.frontends.recorded import Ref

__all__ = ["Reductions"]

#: Maps, or channels of one, that one sum may add up.
MOST_SUMMED = 16


class Reductions(Arithmetic):
    """Records sums, means and maxima over axes into a graph."""

    def _reduce(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        """A sum or mean over the rows and columns of maps, and over time."""
        named = options(name, args, kwargs)
        tensor, dim = args[0], named.get("dim")
        given = next(tensors_in(result))
        kind = kwargs.get("dtype")
        if isinstance(dim, Tensor) or kind is not None and not kind.is_floating_point:
            raise Unknown
        axes = range(tensor.ndim) if dim is None or dim == () else \
            (dim,) if isinstance(dim, int) else dim
        wanted = sorted({axis % tensor.ndim for axis in axes})
        ids = self.graph.entry(tensor).ids()
        if int(ids.min()) < 0:
            raise ValueError("sums a tensor that is a constant in parts")
        if self.graph.results.within(ids.reshape(-1))[0].raw is not None:
            self.graph.example.split(tensor.shape, None)
        area, time, refs = self._kinds(ids, wanted)
        kept = tuple(1 if a in wanted else n for a, n in enumerate(tensor.shape))
        if len(area) == 1 and not refs and not time and not self._is_area(ids, area):
            area, refs = [], area
        if area:
            ids = self._over_area(name, ids, area)
        if refs:
            self._over_maps(name, ids, refs, given)
            return
        if time:
            self._over_time("max" if name == "amax" else name, ids, time, given)
            return
        if not area:        # axes of length 1
            self.graph.move(given, ids.reshape(given.shape), (repr(name),))
            return
        assert ids.numel() == math.prod(kept)
        self.graph.move(given, ids.reshape(given.shape), ())

    def _kinds(self, ids: Tensor, axes: list[int]) -> tuple[list[int], list[int], list[int]]:
        """The axes along which the position in a map, the time step, or the node changes."""
        found: tuple[list[int], list[int], list[int]] = ([], [], [])
        for axis in axes:
            if ids.shape[axis] == 1:
                continue
            line = ids.movedim(axis, -1).reshape(-1, ids.shape[axis])[0]
            at = self.graph.results.located(line)
            moves = [bool((values != values[0]).any()) for values in (
                at.position, step_of(at.place), at.source)]
            if (sample_of(at.place) != sample_of(at.place)[0]).any() or not any(moves) or \
                    moves[1] and sum(moves) > 1:
                raise ValueError(f"goes over axis {axis}, which is neither time nor the rows and "
                                 "columns of a map")
            found[2 if sum(moves) > 1 else moves.index(True)].append(axis)
        return found

    def _is_area(self, ids: Tensor, axes: list[int]) -> bool:
        """Whether the values along axes are those of a whole channel each."""
        at = self.graph.results.located(self._lines(ids, axes))
        area = math.prod(self.graph.results.sides(at.results[0])[1:])
        return at.position.shape[1] == area and bool(
            (at.position // area == at.position[:, :1] // area).all())

    def _lines(self, ids: Tensor, axes: list[int]) -> Tensor:
        """Values by what they are reduced to: [results, values]."""
        rest = [axis for axis in range(ids.ndim) if axis not in axes]
        return ids.permute(*rest, *axes).reshape(-1, math.prod(ids.shape[a] for a in axes))

    def _over_area(self, name: str, ids: Tensor, axes: list[int]) -> Tensor:
        """A node for the sum or mean over whole channels; the numbers that are left, axes of 1."""
        if name not in ("sum", "mean"):
            raise Unknown
        lines = self._lines(ids, axes)
        at = self.graph.results.located(lines)
        ref = at.results[0].ref
        sides = self.graph.results.sides(at.results[0])
        area = math.prod(sides[1:])
        channel = at.position[:, :1] // area
        whole = lines.shape[1] == area and bool(
            (at.position.sort(1).values == channel * area + torch.arange(area)).all())
        if not whole or (at.place != at.place[:, :1]).any() or len(sides) == 1 \
                or any(result.ref != ref for result in at.results):
            raise ValueError(f"a {name} over axes {axes}: only that over all rows and columns of a "
                             "map, or over time at the end, is a layer")
        over = {(result.over, result.steps) for result in at.results}
        if len(over) > 1:
            raise ValueError("joins sums over different time steps")
        (kind, steps), = over
        rows = at.place[:, 0].view(-1, sides[0])
        if (rows != rows[:, :1]).any() or (channel.view(-1, sides[0]) != torch.arange(
                sides[0])).any():
            raise ValueError(f"a {name} over maps whose channels are not in order")
        source = Source(ref, (sides[0], 1, 1)[:len(sides)], rows[:, 0], kind, steps)
        source = self.graph.whole(source, name)
        node = self.graph.node("function", name, (source.ref,), operation="area",
                               arguments={"mean": name == "mean"})
        node.calls += 1
        made = self.graph.results.add(Ref(node), rows.numel(), source.sides, source.rows,
                                      over=source.over, steps=source.steps)
        return made.numbers([1 if a in axes else n for a, n in enumerate(ids.shape)])

    def _over_time(self, name: str, ids: Tensor, axes: list[int], result: Tensor) -> None:
        at = self.graph.results.located(self._lines(ids, axes))
        steps, samples = step_of(at.place), sample_of(at.place)
        if any(r.over for r in at.results) or (steps != steps[:1]).any() or (
                samples != samples[:, :1]).any() or (at.position != at.position[:, :1]).any() or (
                at.source != at.source[:1, :1]).any() or int(steps.min()) < 0:
            raise ValueError(f"a {name} over axes that mix time steps with others")
        ref, sides = at.results[0].ref, self.graph.results.sides(at.results[0])
        position = at.position[:, 0].view(-1, math.prod(sides))
        rows = samples[:, 0].view(-1, math.prod(sides))
        if (position != torch.arange(math.prod(sides))).any() or (rows != rows[:, :1]).any():
            raise ValueError(f"a {name} over time of maps whose values are not in order")
        numbers = steps[0].tolist()
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"a {name} that counts time steps twice")
        source = Source(ref, sides, -1 - rows[:, 0], name, frozenset(numbers))
        self.graph.give(result, source, ref)

    def _over_maps(self, name: str, ids: Tensor, axes: list[int], result: Tensor) -> None:
        """The sum of maps of several nodes that were stacked."""
        if name not in ("sum", "mean") or len(axes) > 1 or ids.shape[axes[0]] > MOST_SUMMED:
            raise ValueError(f"a {name} over axes {axes}: only that over all rows and columns of a "
                             "map, or over time at the end, is a layer")
        total: Tensor | None = None
        for part in ids.unbind(axes[0]):
            tensor = torch.empty(part.shape)
            self.graph.move(tensor, part, ())
            if total is None:
                total = tensor
                continue
            made = torch.empty(part.shape)
            self._add_maps("add", (total, tensor), (1.0, 1.0), made)
            total = made
        assert total is not None
        if name == "mean":
            self._affine(name, total, 1 / ids.shape[axes[0]], result, lambda c: (c, 0.0))
            return
        self.graph.move(result, self.graph.entry(total).ids().reshape(result.shape), ())
