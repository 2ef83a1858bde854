"""Sums, products and factors of tensors become nodes; see `operations`."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from quadfire.models.frontends.graph import Graph, Source
from quadfire.models.frontends.provenance import combined, sample_of, step_of
from quadfire.models.frontends.recorded import Ref

__all__ = ["Arithmetic", "Unknown"]


class Unknown(Exception):
    """A known function, used in a way that is in no table."""


class Arithmetic:
    """Records sums and products into a graph."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def _give(self, operation: str, name: str, inputs: tuple[Source, ...], like: Source,
              result: Tensor, arguments: dict[str, Any], axes: int,
              sides: tuple[int, ...] | None = None) -> None:
        """A node of an operation, and what it gave. like: rows and time of the result."""
        node = self.graph.node("function", name, tuple(source.ref for source in inputs),
                               shape=tuple(result.shape), operation=operation,
                               arguments=arguments,
                               sides=tuple(result.shape[result.ndim - axes:]))
        node.calls += 1
        self.graph.give(result, like, Ref(node), call=node.calls - 1, sides=sides)

    def _operands(self, args: tuple, result: Tensor) -> tuple[list[Source | Any], int]:
        """(sources, or constants as they are, of two operands; how many axes a sample has)."""
        shape, axes = tuple(result.shape), 0
        size = 0
        found: list[Any] = []
        for value in args[:2]:
            if not self.graph.knows(value):
                found.append(value)
                continue
            source, axes = self.graph.source(value, axes or None, shape=shape, size=size)
            size = math.prod(source.sides)
            found.append(source)
        return found, axes

    def _numbers(self, value: Any, result: Tensor, source: Source, axes: int) -> Tensor:
        """A constant as one number, or one for every channel of a source."""
        if not isinstance(value, Tensor):
            if not isinstance(value, int | float):
                raise Unknown
            return torch.tensor(float(value), dtype=torch.float64)
        if value not in self.graph.constants:
            raise ValueError("computes with a tensor that is neither a weight nor comes from the "
                             "input by recorded operations: a custom autograd function, NumPy or "
                             "random numbers; keep constants as buffers, draw spikes before")
        value = value.detach().double()
        if value.numel() == 1:
            return value.reshape(()).clone()
        rows = value.expand(result.shape).reshape(-1, math.prod(source.sides))
        if (rows != rows[:1]).any():
            raise ValueError("computes with a constant that differs between time steps or samples")
        each = rows[0].reshape(source.sides[0], -1)
        if (each != each[:, :1]).any():
            raise ValueError("computes with a constant that differs within a channel: the array "
                             "has one number for every channel")
        return each[:, 0].clone()

    def _affine(self, name: str, tensor: Tensor, value: Any, result: Tensor,
                made: Callable[[Tensor], tuple[Any, Any]]) -> None:
        """scale x + shift with constants. made: (scale, shift) of the constant."""
        one = not isinstance(value, Tensor) or value.numel() == 1
        entry = self.graph.entry(tensor)
        if entry.result is not None and entry.result.raw is not None \
                and not self.graph.example.leading and tensor.shape == result.shape:
            if one:
                self._affine_raw(name, tensor, value, result, made)
                return
            moving = value.expand(result.shape)
            axis = next((a for a in range(result.ndim)
                         if (moving != moving.narrow(a, 0, 1)).any()), 1)
            self.graph.example.split(tensor.shape, result.ndim - axis)
        source, axes = self.graph.source(tensor, None, shape=tuple(result.shape))
        source = self.graph.whole(source, name)
        scale, shift = (torch.as_tensor(v, dtype=torch.float64) for v in made(
            self._numbers(value, result, source, axes)))
        self._give("affine", name, (source,), source, result, {"scale": scale, "shift": shift},
                   axes)

    def _affine_raw(self, name: str, tensor: Tensor, value: Any, result: Tensor,
                    made: Callable[[Tensor], tuple[Any, Any]]) -> None:
        """The same of the example, before its axes are known."""
        found = self.graph.entry(tensor).result
        assert found is not None and found.raw is not None
        source = Source(found.ref, (), found.rows)
        number = self._numbers(value, result, source, 0)
        scale, shift = (torch.as_tensor(v, dtype=torch.float64) for v in made(number))
        node = self.graph.node("function", name, (found.ref,), shape=tuple(result.shape),
                               operation="affine", arguments={"scale": scale, "shift": shift})
        node.calls += 1
        self.graph.give(result, source, Ref(node), raw=found.raw)

    def _add(self, name: str, args: tuple, kwargs: dict, result: Tensor) -> None:
        alpha = kwargs.get("alpha", 1)
        if set(kwargs) - {"alpha", "out", "other"} or not isinstance(alpha, int | float):
            raise Unknown
        pair = (*args, kwargs["other"]) if "other" in kwargs else args[:2]
        if result.dtype in (torch.bool, torch.uint8, torch.int8):
            raise ValueError(f"adds values of {result.dtype}, which saturate or wrap: make "
                             "floating point numbers of them first")
        # sub(a, b) = a - alpha b, rsub(a, b) = b - alpha a
        factors = {"add": (1.0, alpha), "sub": (1.0, -alpha), "rsub": (-alpha, 1.0)}[name]
        known = [self.graph.knows(value) for value in pair]
        if all(known):
            self._add_maps(name, pair, factors, result)
            return
        at = known.index(True)
        mine, other = factors[at], factors[1 - at]
        constant = pair[1 - at]
        zero = not constant.any() and constant in self.graph.constants \
            if isinstance(constant, Tensor) else constant == 0
        if zero and mine == 1 and pair[at].shape == result.shape:
            self.graph.same(result, self.graph.entry(pair[at]))
            return
        self._affine(name, pair[at], constant, result, lambda c: (mine, c * other))

    def _add_maps(self, name: str, pair: tuple, factors: tuple[float, float],
                  result: Tensor) -> None:
        """A sum of two maps, or of time steps of one."""
        (a, b), axes = self._operands(pair, result)
        if a.ref == b.ref and name == "add" and factors == (1, 1):
            steps = [_steps(source) for source in (a, b)]
            if all(steps) and not steps[0] & steps[1]:
                rows = -1 - sample_of(a.rows)
                if (rows != -1 - sample_of(b.rows)).any():
                    raise ValueError("joins different samples of a batch")
                made = Source(a.ref, a.sides, rows, "sum", steps[0] | steps[1])
                self.graph.give(result, made, a.ref)
                return
        self._sum(name, [a, b], factors, result, axes)

    def _sum(self, name: str, sources: list[Source], factors: tuple[float, ...], result: Tensor,
             axes: int) -> None:
        a, b = (self.graph.whole(source, name) for source in sources)
        if a.sides != b.sides:
            a, b = (replace(s, sides=max(a.sides, b.sides, key=len)) for s in (a, b))
        like = replace(a, rows=combined(a.rows, b.rows), over=a.over or b.over,
                       steps=a.steps | b.steps)
        self._give("add", name, (a, b), like, result, {"factors": factors}, axes)

    def _multiply(self, name: str, args: tuple, kwargs: dict, result: Tensor) -> None:
        if set(kwargs) - {"out", "other", "rounding_mode"} or kwargs.get("rounding_mode"):
            raise Unknown
        pair = (*args, kwargs["other"]) if "other" in kwargs else args[:2]
        if name == "neg":
            self._affine(name, pair[0], -1, result, lambda c: (c, 0.0))
            return
        if name == "logical_not":
            if result.dtype != torch.bool:
                raise Unknown
            source, axes = self.graph.source(pair[0], None)
            source = self.graph.whole(source, name, linear=False)
            self._give("not", name, (source,), source, result, {}, axes)
            return
        known = [self.graph.knows(value) for value in pair]
        if all(known) and name != "div":
            (a, b), axes = self._operands(pair, result)
            a, b = (self.graph.whole(source, name, linear=False) for source in (a, b))
            like = replace(a, rows=combined(a.rows, b.rows))
            self._give("product", name, (a, b), like, result, {}, axes)
            return
        if name == "logical_and" or all(known) or name == "div" and not known[0]:
            raise Unknown
        at = known.index(True)
        self._affine(name, pair[at], pair[1 - at], result,
                     lambda c: (1 / c if name == "div" else c, 0.0))


def _steps(source: Source) -> frozenset[int]:
    """The time steps that a source holds: those of its sum, or its one step; empty: neither."""
    if source.over:
        return source.steps if source.over == "sum" else frozenset()
    steps = step_of(source.rows).unique().tolist()
    return frozenset(steps) if len(steps) == 1 and steps[0] >= 0 else frozenset()
