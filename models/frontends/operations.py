"""Functions outside of known modules: each becomes a node, moves values, or is unknown.

| operation | arguments | computes |
|---|---|---|
| affine | scale, shift | scale x + shift, numbers or one for every channel |
| add | factors | the sum of two maps, each times its factor |
| product | | the product of two maps |
| not | | 1 - x of spikes |
| spikes | | x, if it is spikes: a change of format |
| cat, channels | first, count | maps side by side; some channels of one |
| pool | module | what this module of torch computes |
| linear, conv | weight, bias, module | with weights that are constants |
| area | mean | sum or mean over the rows and columns of a map |
| steps | | T x: a sum over all time steps, as T times their mean |
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends.functions import (
    CONSTANTS,
    JOINS,
    MOVES,
    RANDOM,
    READS,
    SAME,
    options,
)
from quadfire.models.frontends.graph import Graph, Source, tensors_in
from quadfire.models.frontends.provenance import combined, sample_of, step_of
from quadfire.models.frontends.recorded import Ref

__all__ = ["Operations"]

#: Maps, or channels of one, that one sum may add up.
MOST_SUMMED = 16

_POOLS = {"max_pool2d": nn.MaxPool2d, "max_pool1d": nn.MaxPool1d, "avg_pool2d": nn.AvgPool2d,
          "avg_pool1d": nn.AvgPool1d, "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
          "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d}


class _Unknown(Exception):
    """A known function, used in a way that is in no table."""


class Operations:
    """Records functions into a graph."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def run(self, name: str, func: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """Call a function and record what it did. Returns what it gave."""
        graph = self.graph
        if name in RANDOM or name == "dropout" and _is_on(args, kwargs):
            raise ValueError("draws random numbers: " + (
                "give it training=self.training" if name == "dropout" else
                "draw spikes before the network, or leave them out in eval mode"))
        traced = graph.traced((args, kwargs))
        entries = [graph.entry(tensor) for tensor in traced] if name not in READS else []
        if name == "__iter__":
            parts = args[0].unbind()
            self._move("unbind", Tensor.unbind, args, {}, parts)
            return iter(parts)
        result = func(*args, **kwargs)
        if not traced:
            self._constant(args, kwargs, result)
            return result
        if name != "__setitem__" and isinstance(result, Tensor) and graph.knows(result):
            graph.same(result, graph.entries[result])       # changed in place, and read below
        if name in READS or isinstance(result, torch.Size):
            return result
        if name in SAME and isinstance(result, Tensor):
            if result.is_floating_point() and result.dtype != torch.float64:
                result = args[0].double()       # all is float64 here
            self._same(name, args[0], entries[0], result)
        elif name == "__setitem__":
            self._set(args)
        elif name in CONSTANTS:
            for tensor in tensors_in(result):
                graph.constants[tensor] = True
        elif not any(True for _ in tensors_in(result)):
            raise ValueError("reads the values of a tensor: what a network computes must be "
                             "written with tensors")
        elif name in MOVES and not self._reinterprets(args, result):
            self._move(name, func, args, kwargs, result)
        else:
            self._compute(name, args, kwargs, result)
        return result

    # Values that stay -----------------------------------------------------------------------------

    def _constant(self, args: tuple, kwargs: dict, result: Any) -> None:
        """A function of constants alone makes constants."""
        if all(tensor in self.graph.constants for tensor in tensors_in((args, kwargs))):
            for tensor in tensors_in(result):
                self.graph.constants[tensor] = True

    def _same(self, name: str, tensor: Tensor, entry: Any, result: Tensor) -> None:
        """The same values. Only spikes may become integers or truth values."""
        if result.is_floating_point() or result.dtype == tensor.dtype:
            self.graph.same(result, entry)
            return
        source, axes = self.graph.source(tensor, None)
        if source.over:
            raise ValueError("rounds a sum over time steps to integers")
        self._give("spikes", name, (source,), source, result, {}, axes)

    @staticmethod
    def _reinterprets(args: tuple, result: Any) -> bool:
        """Whether `view(dtype)` reads the bits of a tensor as other numbers."""
        first = next(tensors_in(args))
        return any(tensor.dtype != first.dtype for tensor in tensors_in(result))

    def _ids(self, value: Any, joins: bool) -> Any:
        """Arguments with numbers for the tensors that come from the input."""
        if isinstance(value, Tensor):
            if self.graph.knows(value):
                return self.graph.entry(value).ids()
            return torch.full(value.shape, -1) if joins else value
        if isinstance(value, list | tuple):
            return type(value)(self._ids(each, joins) for each in value) \
                if not isinstance(value, torch.Size) else value
        return value

    def _move(self, name: str, func: Callable[..., Any], args: tuple, kwargs: dict,
              result: Any) -> None:
        """A function that moves values runs on their numbers as well."""
        joins = name in JOINS
        for tensor in tensors_in((args[1:], kwargs)) if not joins else ():
            if self.graph.knows(tensor) and name not in ("view_as", "reshape_as", "expand_as"):
                raise ValueError("takes values at places that depend on the input")
        numbers = self._ids(args, joins)
        if name.endswith("_") and not name.startswith("__"):
            numbers = (numbers[0].clone(), *numbers[1:])
        found = func(*numbers, **{key: self._ids(value, joins) for key, value in kwargs.items()})
        moved = tuple(step for tensor in self.graph.traced((args, kwargs))
                      for step in self.graph.entry(tensor).moved)
        inside = self.graph.where[-1] if self.graph.where else ""
        where = self.graph.described or f"{name!r}" + (f" in {inside!r}" if inside else "")
        for tensor, ids in zip(tensors_in(result), tensors_in(found), strict=True):
            self.graph.move(tensor, ids, tuple(dict.fromkeys((*moved, where))))

    def _set(self, args: tuple) -> None:
        """x[index] = value: a tensor that is filled step by step."""
        target, index, value = args
        if any(True for _ in self.graph.traced((index,))):
            raise ValueError("writes to places that depend on the input")
        if self.graph.knows(target):
            before = self.graph.entries[target]
            ids, moved = before.ids().clone(), before.moved
        else:
            ids, moved = torch.full(target.shape, -1), ()
        numbers = self.graph.entry(value).ids() if self.graph.knows(value) else -1
        if self.graph.knows(value):
            moved += self.graph.entry(value).moved
        ids[index] = numbers
        self.graph.move(target, ids, (*moved, "writing into a tensor"))

    # Operations -----------------------------------------------------------------------------------

    def _compute(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        try:
            if name in ("add", "sub", "rsub"):
                self._add(name, args, kwargs, result)
            elif name in ("mul", "div", "neg", "logical_and", "logical_not"):
                self._multiply(name, args, kwargs, result)
            elif name in ("mean", "sum", "max", "amax"):
                self._reduce(name, args, kwargs, result)
            elif name in _POOLS:
                self._pool(name, args, kwargs, result)
            elif name in ("linear", "matmul", "conv1d", "conv2d"):
                self._weights(name, args, kwargs, result)
            elif name == "batch_norm":
                self._norm(args, kwargs, result)
            elif name == "dropout":
                self.graph.same(result, self.graph.entry(args[0]))
            else:
                raise _Unknown
        except _Unknown:
            self._unknown(name, args, kwargs, result)

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

    def _unknown(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        """A function that the array has no layer for: refused later, if an answer needs it."""
        sources = []
        for tensor in self.graph.traced((args, kwargs)):
            try:
                sources.append((self.graph.source(tensor, None)[0], tensor))
            except ValueError:
                continue
        given = [tensor for tensor in tensors_in(result)]
        source = next((s for s, tensor in sources if tensor.shape == given[0].shape), None)
        node = self.graph.node("unknown", name, tuple(s.ref for s, _ in sources),
                               shape=tuple(given[0].shape))
        for tensor in given:
            if source is None or tensor.shape != given[0].shape:
                rows = torch.full((1,), 0) if source is None else source.rows
                source_ = Source(Ref(node), (max(tensor.numel() // len(rows), 1),), rows)
            else:
                source_ = source
            self.graph.give(tensor, source_, Ref(node))

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
                raise _Unknown
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
            raise _Unknown
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
            raise _Unknown
        pair = (*args, kwargs["other"]) if "other" in kwargs else args[:2]
        if name == "neg":
            self._affine(name, pair[0], -1, result, lambda c: (c, 0.0))
            return
        if name == "logical_not":
            if result.dtype != torch.bool:
                raise _Unknown
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
            raise _Unknown
        at = known.index(True)
        self._affine(name, pair[at], pair[1 - at], result,
                     lambda c: (1 / c if name == "div" else c, 0.0))

    # Sums and means over axes ---------------------------------------------------------------------

    def _reduce(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        """A sum or mean over the rows and columns of maps, and over time."""
        named = options(name, args, kwargs)
        tensor, dim = args[0], named.get("dim")
        given = next(tensors_in(result))
        kind = kwargs.get("dtype")
        if isinstance(dim, Tensor) or kind is not None and not kind.is_floating_point:
            raise _Unknown
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
            raise _Unknown
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

    # Layers as functions --------------------------------------------------------------------------

    def _pool(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        module = _POOLS[name](**options(name, args, kwargs))
        axes = 3 if name.endswith("2d") else 2
        given = next(tensors_in(result))
        source, _ = self.graph.source(args[0], axes, spatial=True)
        source = self.graph.whole(source, name, linear=not name.startswith("max"))
        self._give("pool", name, (source,), source, given, {"module": module}, axes,
                   sides=tuple(given.shape[given.ndim - axes:]))

    def _weights(self, name: str, args: tuple, kwargs: dict, result: Tensor) -> None:
        """A linear layer or a convolution with constants as its weights."""
        named = options(name, args, kwargs)
        weight, bias = named.pop("weight"), named.pop("bias", None)
        for value in (weight, bias):
            if value is not None and (not isinstance(value, Tensor)
                                      or value not in self.graph.constants):
                raise _Unknown
        weight = weight.detach().double()
        if name == "matmul":
            weight = weight.T
        if name in ("linear", "matmul"):
            if weight.ndim != 2:
                raise _Unknown
            source, _ = self.graph.source(args[0], 1)
            source, sides = self.graph.whole(source, name), (len(weight),)
            arguments: dict[str, Any] = {"weight": weight}
            operation, axes = "linear", 1
        else:
            axes = 3 if name == "conv2d" else 2
            source, _ = self.graph.source(args[0], axes, spatial=True)
            source = self.graph.whole(source, name)
            sides = tuple(result.shape[result.ndim - axes:])
            groups = named.get("groups", 1)
            module = (nn.Conv2d if axes == 3 else nn.Conv1d)(
                weight.shape[1] * groups, len(weight), tuple(weight.shape[2:]), bias=False,
                device="meta", **named)
            operation, arguments = "conv", {"module": module, "weight": weight}
        if bias is not None:
            arguments["bias"] = bias.detach().double()
        self._give(operation, name, (source,), source, result, arguments, axes, sides=sides)

    def _norm(self, args: tuple, kwargs: dict, result: Tensor) -> None:
        named = options("batch_norm", args, kwargs)
        mean, var = named.get("running_mean"), named.get("running_var")
        if named.get("training") or mean is None or var is None or any(
                isinstance(v, Tensor) and v not in self.graph.constants for v in named.values()):
            raise _Unknown
        scale = (var.double() + named.get("eps", 1e-5)).rsqrt()
        if named.get("weight") is not None:
            scale = scale * named["weight"].double()
        shift = -mean.double() * scale
        if named.get("bias") is not None:
            shift = shift + named["bias"].double()
        axes = args[0].ndim - 1
        source, _ = self.graph.source(args[0], axes, spatial=True)
        source = self.graph.whole(source, "batch_norm")
        self._give("affine", "batch_norm", (source,), source, result,
                   {"scale": scale, "shift": shift}, axes)


def _steps(source: Source) -> frozenset[int]:
    """The time steps that a source holds: those of its sum, or its one step; empty: neither."""
    if source.over:
        return source.steps if source.over == "sum" else frozenset()
    steps = step_of(source.rows).unique().tolist()
    return frozenset(steps) if len(steps) == 1 and steps[0] >= 0 else frozenset()


def _is_on(args: tuple, kwargs: dict) -> bool:
    """Whether a dropout is on."""
    named = options("dropout", args, kwargs)
    return bool(named.get("training", named.get("train", True)))
