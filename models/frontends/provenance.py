"""Provenance: where every value of a tensor comes from.

Every tensor that a node gives is a `Result`, and each of its values has a number of its own. A
function that only moves values (`view`, `permute`, `stack`, slices) runs on these numbers as well.
So what a layer reads is known value by value, whatever moved it: it must be whole maps in their
order, one a row, and a row must be one sample in one time step. Nothing is guessed from shapes.

A row's place is a number, too:

| place | meaning |
|---|---|
| (t + 1) 2^32 + n | sample n in time step t |
| 0 .. 2^32 - 1 | of the example: a sample alone, until a neuron shows that it has time steps |
| -1 - n | sample n, over time steps (a sum or a mean of them) |
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from quadfire.models.frontends.recorded import Ref

__all__ = ["TIMED", "Entry", "Example", "Reading", "Result", "Results", "combined", "places",
           "sample_of", "step_of"]

#: Places from here on have a time step.
TIMED = 1 << 32


def places(step: Tensor | int, sample: Tensor) -> Tensor:
    """The places of samples in time steps."""
    return (step + 1) * TIMED + sample


def step_of(place: Tensor) -> Tensor:
    """The time step of a place; -1 without one."""
    return torch.where(place >= TIMED, place // TIMED, torch.zeros_like(place)) - 1


def sample_of(place: Tensor) -> Tensor:
    """The sample of a place."""
    return torch.where(place < 0, -1 - place, place % TIMED)


def combined(first: Tensor, second: Tensor) -> Tensor:
    """The places of an operation on two values: a sample without time is the same in all steps.

    Raises ValueError where they are of different samples or time steps.
    """
    if (sample_of(first) != sample_of(second)).any():
        raise ValueError("joins different samples of a batch")
    steps = step_of(first), step_of(second)
    timed = (steps[0] >= 0) & (steps[1] >= 0)
    if (timed & (steps[0] != steps[1])).any():
        at = int((timed & (steps[0] != steps[1])).nonzero()[0, 0])
        raise ValueError(f"reads time steps {int(steps[0][at])} and {int(steps[1][at])} at once: "
                         "delays, feedback and layers that mix time steps cannot be imported "
                         "yet")
    if ((first < 0) & timed.logical_not() & (steps[1] >= 0)
            | (second < 0) & (steps[0] >= 0)).any():
        raise ValueError("joins a sum or mean over time steps with single steps")
    first_timed, over = steps[0] >= 0, first < 0
    return torch.where(first_timed | over, first, second)


class Example:
    """The example: which of its axes are those of a sample, and what the others mean.

    | field | meaning |
    |---|---|
    | shape | of the example |
    | leading | how many axes come before those of a sample; 0: not known yet |
    | layout | "N", "TN", "NT" or "(NT)", once a neuron has read it; empty before |
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self.leading = 0
        self.layout = ""
        self.meaning: Tensor | None = None

    @property
    def sides(self) -> tuple[int, ...]:
        """The axes of one sample."""
        return self.shape[self.leading:]

    @property
    def rows(self) -> int:
        """How many samples and steps it has."""
        return math.prod(self.shape[:self.leading])

    def split(self, shape: Sequence[int], axes: int | None, size: int = 0) -> None:
        """Find out which axes are a sample's, from a tensor of its values.

        axes: how many trailing axes of that tensor are those of a sample, if known. size: how many
        values a sample has, if known. Where axes of length 1 leave a choice, it does not matter.
        """
        if self.leading:
            return
        choice = [k for k in (2, 1) if 1 <= len(self.shape) - k <= 3]
        if axes is not None:
            size = math.prod(shape[len(shape) - axes:])
        if size:
            choice = [k for k in choice if math.prod(self.shape[k:]) == size]
        if not choice:
            raise ValueError(f"reads the example of {list(self.shape)} with axes that are no "
                             "sample's: give it as [T, N, ...] or [N, ...], with its batch axis")
        part = math.prod(shape) < math.prod(self.shape)
        for wanted in (2 if part else 0, len(self.shape) - (axes or 0) if axes else 0,
                       len(shape) - (axes or 0) if axes else 0):
            if wanted in choice:
                choice = [wanted]
        self.leading = choice[-1] if size or axes else choice[0]

    def resolved(self, place: Tensor) -> Tensor:
        """Places with what the example's rows have turned out to mean."""
        if self.meaning is None:
            return place
        inside = (place >= 0) & (place < TIMED)
        return torch.where(inside, self.meaning[place.clamp(0, len(self.meaning) - 1)], place)

    def is_open(self, place: Tensor) -> bool:
        """Whether these are rows of the example whose meaning is not known yet."""
        return self.layout == "" and bool(((place >= 0) & (place < TIMED)).all())

    def settle(self, layout: str, meaning: Tensor | None = None) -> None:
        self.layout, self.meaning = layout, meaning


@dataclass(eq=False)
class Result:
    """One tensor that a node gave in one call.

    | field | meaning |
    |---|---|
    | ref | the node |
    | first, size | the number of its first value; how many it has |
    | sides | the axes of one sample; those of the example, where `raw` |
    | rows | the place of every row |
    | call | which call of its node it comes from |
    | over, steps | "sum", "mean" or "max" over these time steps; else empty |
    | raw | values of the example before its axes are known: the position of each in it |
    """

    ref: Ref
    first: int
    size: int
    sides: tuple[int, ...]
    rows: Tensor
    call: int = 0
    over: str = ""
    steps: frozenset[int] = frozenset()
    raw: Tensor | None = None

    def numbers(self, shape: Sequence[int]) -> Tensor:
        """The numbers of its values, in its own order."""
        return torch.arange(self.first, self.first + self.size).view(tuple(shape))


@dataclass(eq=False)
class Entry:
    """What is known of one tensor.

    result: where it is a result as it was given; else numbers says where its values come from, -1
    for constants. version: of the tensor then. moved: the functions that moved its values.
    """

    shape: tuple[int, ...]
    version: int
    result: Result | None = None
    numbers: Tensor | None = None
    moved: tuple[str, ...] = ()

    def ids(self) -> Tensor:
        """The numbers of all values."""
        if self.numbers is None:
            assert self.result is not None
            return self.result.numbers(self.shape)
        return self.numbers


@dataclass(frozen=True, eq=False)
class Piece:
    """A run of values of one node in a row: positions start .. start + length - 1 of its map."""

    ref: Ref
    sides: tuple[int, ...]
    start: int
    length: int


@dataclass(frozen=True, eq=False)
class Reading:
    """What a layer reads: the pieces of a row, side by side, and the place of every row."""

    pieces: tuple[Piece, ...]
    rows: Tensor
    over: str = ""
    steps: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Located:
    """Every value of a tensor: position in its map, place of its row, index of its result."""

    position: Tensor
    place: Tensor
    source: Tensor
    results: list[Result]

    def view(self, *shape: int) -> "Located":
        return Located(self.position.reshape(shape), self.place.reshape(shape),
                       self.source.reshape(shape), self.results)


class Results:
    """All results of a run, and where the numbers of values lead."""

    def __init__(self, example: Example):
        self.example = example
        self.all: list[Result] = []
        self.firsts: list[int] = []
        self.next = 0

    def add(self, ref: Ref, size: int, sides: tuple[int, ...], rows: Tensor,
            **fields: object) -> Result:
        result = Result(ref, self.next, size, sides, rows, **fields)  # pyright: ignore[reportArgumentType]
        self.all.append(result)
        self.firsts.append(self.next)
        self.next += size
        return result

    def sides(self, result: Result) -> tuple[int, ...]:
        return result.sides if result.raw is None else self.example.sides

    def within(self, ids: Tensor) -> list[Result]:
        """The results that these numbers come from, in order."""
        flat = ids.reshape(-1).contiguous()
        low, high = (bisect_right(self.firsts, int(v)) - 1 for v in (flat.min(), flat.max()))
        if low == high:
            return [self.all[low]]
        firsts = torch.tensor(self.firsts[low:high + 1])
        index = torch.searchsorted(firsts, flat, right=True) - 1
        return [self.all[low + i] for i in index.unique().tolist()]

    def located(self, ids: Tensor) -> Located:
        """Where values come from. source: the first result with the same node and port."""
        flat = ids.reshape(-1).contiguous()
        results = self.within(flat)
        index = torch.searchsorted(torch.tensor([r.first for r in results]), flat, right=True) - 1 \
            if len(results) > 1 else torch.zeros_like(flat)
        local = flat - torch.tensor([r.first for r in results])[index]
        for number, result in enumerate(results):
            if result.raw is not None:
                own = index == number
                local[own] = result.raw[local[own]]
        size = torch.tensor([math.prod(self.sides(r)) for r in results])[index]
        rows = [r.rows if r.raw is None else torch.arange(self.example.rows) for r in results]
        start = torch.tensor([0, *(len(r) for r in rows[:-1])]).cumsum(0)
        place = torch.cat(rows)[start[index] + local // size]
        same: dict[Ref, int] = {}
        source = torch.tensor([same.setdefault(r.ref, i) for i, r in enumerate(results)])[index]
        found = Located(local % size, self.example.resolved(place), source, results)
        return found.view(*ids.shape)

    def read(self, ids: Tensor, axes: int) -> Reading:
        """Whole maps or parts of them, one row a sample in a time step.

        axes: how many trailing axes are those of a sample. Raises ValueError where rows differ in
        what they hold, or mix samples or time steps.
        """
        shape = tuple(ids.shape)
        size = math.prod(shape[len(shape) - axes:])
        at = self.located(ids).view(-1, size)
        over = {(r.over, r.steps) for r in at.results}
        if len(over) > 1:
            raise ValueError("joins sums over different time steps")
        if (at.position != at.position[:1]).any() or (at.source != at.source[:1]).any():
            raise ValueError("reads maps whose values are not in order")
        new = (at.source[0, 1:] != at.source[0, :-1]) \
            | (at.position[0, 1:] != at.position[0, :-1] + 1)
        bounds = [0, *(new.nonzero().flatten() + 1).tolist(), size]
        pieces, rows = [], None
        for begin, end in zip(bounds, bounds[1:], strict=False):
            place = at.place[:, begin:end]
            if (place != place[:, :1]).any():
                raise ValueError("reads rows that mix samples or time steps")
            rows = place[:, 0] if rows is None else combined(rows, place[:, 0])
            result = at.results[int(at.source[0, begin])]
            pieces.append(Piece(result.ref, self.sides(result), int(at.position[0, begin]),
                                end - begin))
        assert rows is not None
        (kind, steps), = over
        return Reading(tuple(pieces), rows, kind, steps)
