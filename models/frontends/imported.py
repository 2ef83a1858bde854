"""An imported network: its graph, what was read, and how it became what it is."""

from dataclasses import dataclass
from typing import Any

from quadfire.models.quantize.folded import Folded

__all__ = ["ImportProblems", "Imported", "Line"]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of `explain`: a layer of the user's network.

    | field | meaning |
    |---|---|
    | name, read | of the module or node, and what it is |
    | becomes | what the array does with it |
    | condition | under which that is exact; empty: always |
    | problem | why it cannot be honoured; empty: it can |
    """

    name: str
    read: str
    becomes: str
    condition: str = ""
    problem: str = ""

    @property
    def verdict(self) -> str:
        """"exact", "exact while ...", or "no: ..."."""
        if self.problem:
            return f"no: {self.problem}"
        return f"exact {self.condition}" if self.condition else "exact"


class ImportProblems(ValueError):
    """What of a network cannot be honoured, all of it. lines: as in `Imported`."""

    def __init__(self, problems: list[str], lines: list[Line]):
        super().__init__("\n".join(problems))
        self.problems, self.lines = problems, lines


@dataclass(frozen=True, kw_only=True)
class Imported(Folded):
    """A network of another library as a `Folded` graph.

    | field | meaning |
    |---|---|
    | lines | a line a layer of the user's network |
    | library | the library that it came from, and its version |
    | input, output | what it takes (pixels, spikes, counts) and gives (count, current, membrane) |
    | count_bits | bits of the counts; 0 for other inputs |
    | repeat | how often the module is called for an input, if it runs one step a call; else 0 |
    | mean, std, move_pools | as `from_module` was told |
    | remarks | what a user should know of the whole |
    """

    lines: tuple[Line, ...] = ()
    library: str = ""
    input: str = "spikes"
    output: str = "count"
    count_bits: int = 0
    repeat: int = 0
    mean: Any = 0.0
    std: Any = 1.0
    move_pools: bool = False
    remarks: tuple[str, ...] = ()

    def explain(self) -> str:
        """The network as text: a line a layer, as read, as mapped, exact or why not."""
        rows = [("layer", "as read", "as mapped", "")]
        rows += [(line.name, line.read, line.becomes, line.verdict) for line in self.lines]
        widths = [min(max(len(row[at]) for row in rows), limit)
                  for at, limit in enumerate((24, 60, 60))]
        text = [f"{self.library}; input: {self.input} of {list(self.input_shape)}, "
                f"{self.steps} steps; answer: {self.output}"]
        text += ["  ".join(cell.ljust(width) for cell, width in
                           zip(row[:3], widths, strict=True)) + f"  {row[3]}" for row in rows]
        text += [*self.remarks, *(f"{layer.name}: {note}" for layer in self.layers
                                  for note in layer.notes)]
        return "\n".join(line.rstrip() for line in text)
