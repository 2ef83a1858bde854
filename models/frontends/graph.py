"""The graph while it is recorded: its nodes, and what is known of every tensor.

Time folds up by itself: a node is *the same* operation on *the same* nodes, so the calls of a
module in every time step are one node, called T times.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from quadfire.models.frontends.provenance import Entry, Example, Piece, Reading, Result, Results
from quadfire.models.frontends.recorded import Node, Ref

__all__ = ["Graph", "Source", "map_sides", "tensors_in"]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples, dictionaries and plain objects, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
    elif hasattr(value, "__dict__") and not isinstance(value, nn.Module | type):
        for each in vars(value).values():
            if isinstance(each, Tensor):
                yield each


def map_sides(sides: tuple[int, ...]) -> tuple[int, ...]:
    """(C, H, W) of the axes of a sample: [C], [C, L] or [C, H, W]."""
    if len(sides) == 1:
        return (sides[0], 1, 1)
    return (sides[0], 1, sides[1]) if len(sides) == 2 else tuple(sides)


def _key(value: Any) -> Any:
    """An argument as a key: the values of tensors, all else as it prints."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        return tuple(value.shape), str(value.dtype), value.numpy().tobytes()
    if isinstance(value, list | tuple):
        return tuple(map(_key, value))
    if isinstance(value, dict):
        return tuple((name, _key(each)) for name, each in sorted(value.items()))
    return repr(value)


@dataclass(frozen=True, eq=False)
class Source:
    """What an operation reads: a node, the axes of its samples, the rows; over time or not."""

    ref: Ref
    sides: tuple[int, ...]
    rows: Tensor
    over: str = ""
    steps: frozenset[int] = frozenset()


@dataclass
class Graph:
    """All that is known so far.

    | field | meaning |
    |---|---|
    | example, results | see `provenance` |
    | nodes | in order of their first calls |
    | entries | what is known of every living tensor that comes from the input |
    | constants | tensors that are the same in every run |
    | where | names of the modules that are running, the innermost last |
    | described | a module that does nothing but move values, while it runs: what it is |
    | partial | (what reads it, the steps) of every sum over time that must be complete in the end |
    """

    example: Example
    results: Results
    nodes: list[Node] = field(default_factory=list)
    entries: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    constants: WeakTensorKeyDictionary = field(default_factory=WeakTensorKeyDictionary)
    where: list[str] = field(default_factory=list)
    described: str = ""
    partial: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    by_key: dict[tuple, Node] = field(default_factory=dict)

    # Nodes ----------------------------------------------------------------------------------------

    def node(self, kind: str, name: str, inputs: tuple[Ref, ...], *, shape: tuple[int, ...] = (),
             sides: tuple[int, ...] = (), module: nn.Module | None = None, operation: str = "",
             arguments: dict[str, Any] | None = None) -> Node:
        """The node of this operation; a new one if it is the first call."""
        key = (kind, name, operation, id(module), inputs, _key(arguments or {}))
        if key not in self.by_key:
            where = self.where[-1] if self.where else ""
            kept = {name: value.detach().clone() if isinstance(value, Tensor) else value
                    for name, value in (arguments or {}).items()}
            self.by_key[key] = Node(kind, name, inputs, module, operation, kept, shape, sides,
                                    where)
            self.nodes.append(self.by_key[key])
        return self.by_key[key]

    # Tensors --------------------------------------------------------------------------------------

    def knows(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and tensor in self.entries

    def traced(self, value: Any) -> list[Tensor]:
        """The tensors in a value that come from the input."""
        return [tensor for tensor in tensors_in(value) if tensor in self.entries]

    def entry(self, tensor: Tensor) -> Entry:
        """What is known of a tensor. Raises ValueError where it was changed behind its back."""
        entry = self.entries[tensor]
        if tensor._version != entry.version:
            raise ValueError("a tensor was changed in place through another view of it: write "
                             "the operation without changing tensors in place")
        return entry

    def give(self, tensor: Tensor, source: Source, ref: Ref, *, call: int = 0,
             sides: tuple[int, ...] | None = None, raw: Tensor | None = None) -> None:
        """A tensor is the result of a node, whose rows and time are those of a source."""
        result = self.results.add(ref, tensor.numel(), source.sides if sides is None else sides,
                                  source.rows, call=call, over=source.over, steps=source.steps,
                                  raw=raw)
        self.entries[tensor] = Entry(tuple(tensor.shape), tensor._version, result)

    def move(self, tensor: Tensor, numbers: Tensor, moved: tuple[str, ...]) -> None:
        """A tensor's values come from elsewhere, by numbers."""
        self.entries[tensor] = Entry(tuple(tensor.shape), tensor._version, numbers=numbers,
                                     moved=moved)

    def same(self, tensor: Tensor, entry: Entry) -> None:
        """A tensor holds the values of another one."""
        if tuple(tensor.shape) == entry.shape:
            self.entries[tensor] = replace(entry, version=tensor._version)
        else:
            raise ValueError(f"gave a tensor of {list(tensor.shape)} instead of "
                             f"{list(entry.shape)}")

    def result(self, tensor: Any) -> Result | None:
        """The result that a tensor is, in its own order; None if it is none."""
        if not self.knows(tensor):
            return None
        entry = self.entry(tensor)
        if entry.result is not None:
            return entry.result
        ids = entry.ids().reshape(-1)
        if int(ids.min()) < 0:
            return None
        found = self.results.within(ids[:1])[0]
        whole = len(ids) == found.size and bool((ids == found.numbers(ids.shape)).all())
        return found if whole else None

    # Reading --------------------------------------------------------------------------------------

    def reading(self, tensor: Tensor, axes: int | None, shape: tuple[int, ...] | None = None,
                size: int = 0) -> tuple[Reading, int]:
        """(what a tensor holds, row by row; how many trailing axes are those of a sample).

        axes: these, if the reader knows. shape: to which the tensor spreads. size: how many values
        a sample has, if that is known of another operand.
        """
        entry = self.entry(tensor)
        shape = entry.shape if shape is None else shape
        sources = [entry.result] if entry.result is not None else []
        if not sources:
            ids = entry.ids()
            if int(ids.min()) < 0:
                raise ValueError(f"reads a tensor that is a constant in parts{_after(entry)}: "
                                 "write it as a sum or a product of whole maps")
            sources = self.results.within(ids.reshape(-1))
        try:
            if any(source.raw is not None for source in sources):
                self.example.split(entry.shape, axes, size)
            if axes is None:
                axes = self._axes(entry, shape, sources)
            whole = sources[0]
            if entry.result is not None and shape == entry.shape and whole.raw is None and \
                    math.prod(shape[len(shape) - axes:]) == math.prod(whole.sides):
                return _reading_of(whole, self.example.resolved(whole.rows)), axes
            return self.results.read(entry.ids().expand(shape), axes), axes
        except ValueError as error:
            raise ValueError(f"{error}{_after(entry)}") from None

    def _axes(self, entry: Entry, shape: tuple[int, ...], sources: list[Result]) -> int:
        """How many trailing axes of a tensor hold a sample: those that hold whole maps."""
        sizes = {math.prod(self.results.sides(source)) for source in sources}
        limit = len(shape)
        if len({source.ref for source in sources}) == 1:
            for axes in range(1, limit + 1):
                if math.prod(shape[limit - axes:]) in sizes:
                    return axes
        for axes in reversed(range(1, min(limit, 4))):
            try:
                self.results.read(entry.ids().expand(shape), axes)
            except ValueError:
                continue
            return axes
        raise ValueError("reads maps whose values are not in order")

    def source(self, tensor: Tensor, axes: int | None, *, shape: tuple[int, ...] | None = None,
               spatial: bool = False, size: int = 0) -> tuple[Source, int]:
        """(one node that holds what a tensor holds; how many trailing axes are a sample's).

        Maps side by side become a node "cat", some channels a node "channels".
        spatial: the axes must be those of the maps themselves. Raises ValueError else.
        """
        reading, axes = self.reading(tensor, axes, shape, size)
        made: list[tuple[Ref, tuple[int, ...]]] = []
        for piece in reading.pieces:
            ref, sides = piece.ref, piece.sides
            if piece.length != math.prod(sides):
                area = math.prod(sides[1:])
                if piece.start % area or piece.length % area:
                    raise ValueError("reads parts of maps: only whole channels can be taken"
                                     f"{_after(self.entry(tensor))}")
                part = {"first": piece.start // area, "count": piece.length // area}
                node = self.node("function", "channels", (ref,), operation="channels",
                                 arguments=part)
                ref, sides = Ref(node), (part["count"], *sides[1:])
            made.append((ref, sides))
        ref, sides = made[0]
        if len(made) > 1:
            node = self.node("function", "cat", tuple(ref for ref, _ in made), operation="cat")
            areas = {map_sides(sides)[1:] for _, sides in made}
            sides = (sum(math.prod(s) for _, s in made),) if len(areas) > 1 else \
                (sum(s[0] for _, s in made), *made[0][1][1:])
            ref = Ref(node)
        given = (shape or self.entry(tensor).shape)
        given = given[len(given) - axes:]
        if spatial and map_sides(given) != map_sides(sides):
            what = "the example" if ref.node.kind == "input" else ref.node.label
            raise ValueError(f"reads maps of {' x '.join(map(str, given))}, {what} gives "
                             f"{' x '.join(map(str, sides))}{_after(self.entry(tensor))}: "
                             + ("give the example in that shape" if ref.node.kind == "input" else
                                "a change of shape that makes other maps cannot be imported"))
        return Source(ref, sides, reading.rows, reading.over, reading.steps), axes

    def whole(self, source: Source, what: str, linear: bool = True) -> Source:
        """A source for an operation. A sum over time must be complete, and becomes T means."""
        if not source.over:
            return source
        if source.over not in ("sum", "mean") or not linear:
            raise ValueError(f"reads a {source.over} over time steps, which only a layer without "
                             "neurons and max pools may")
        self.partial.append((what, source.steps))
        if source.over == "sum":
            node = self.node("function", "steps", (source.ref,), operation="steps")
            return replace(source, ref=Ref(node), over="mean")
        return source


def _reading_of(result: Result, rows: Tensor) -> Reading:
    return Reading((Piece(result.ref, result.sides, 0, math.prod(result.sides)),), rows,
                   result.over, result.steps)


def _after(entry: Entry) -> str:
    """What moved the values of a tensor, for an error."""
    moved = tuple(dict.fromkeys(entry.moved))
    return f", after {' and '.join(moved)}" if moved else ""
