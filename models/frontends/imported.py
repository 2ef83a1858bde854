"""An imported network: its graph, what was read, and how it became what it is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from quadfire.models.quantize.folded import Folded

if TYPE_CHECKING:
    from quadfire.models.frontends.check import CheckReport
    from quadfire.models.quantize.fake_quant import GridNetwork

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
    | changed | what it computes now that it did not; empty: nothing |
    """

    name: str
    read: str
    becomes: str
    condition: str = ""
    problem: str = ""
    changed: str = ""

    @property
    def verdict(self) -> str:
        """"exact", "exact while ...", "changed: ..." or "no: ..."."""
        if self.problem:
            return f"no: {self.problem}"
        if self.changed:
            return f"changed: {self.changed}"
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
    | layout | axes of the module's input before those of a sample: "N", "TN", "NT" or "(NT)" |
    | repeat | how often the module is called for an input, if it runs one step a call; else 0 |
    | mean, std, move_pools | as `from_module` was told |
    | remarks | what a user should know of the whole |
    """

    lines: tuple[Line, ...] = ()
    library: str = ""
    input: str = "spikes"
    output: str = "count"
    layout: str = "TN"
    repeat: int = 0
    mean: Any = 0.0
    std: Any = 1.0
    move_pools: bool = False
    remarks: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """Where the network came from and what it takes and gives, as JSON can hold it."""
        made: dict[str, Any] = {"library": self.library, "input": self.input,
                                "answer": self.output}
        if self.input == "pixels":
            made |= {name: torch.as_tensor(getattr(self, name), dtype=torch.float64).tolist()
                     for name in ("mean", "std")}
        if self.move_pools:
            made["move_pools"] = True
        return made

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

    def check(self, module: nn.Module, x: Tensor) -> "CheckReport":
        """Every spike of every layer of `module` on x against this map, in float64: `check`."""
        from quadfire.models.frontends.check import check

        return check(self, module, x)

    def inputs(self, x: Tensor) -> Tensor:
        """Inputs as the module takes them, as the array takes them.

        | input | x | result |
        |---|---|---|
        | pixels | [N, ...] in the module's own units | uint8 [N, C, H, W], rounded |
        | spikes | [T, N, ...] of 0 and 1 | uint8 [T, N, C, H, W] |
        | counts | [T, N, ...] of 0, 1, 2... | uint8 [T, N, C, H, W] |

        Raises ValueError for values that the array has no number for.
        """
        from quadfire.models.frontends.encoding import array_inputs

        return array_inputs(self, x)

    def to_grid(self, **options: Any) -> "GridNetwork":
        """The network on the grid, see `quadfire.models.quantize.quantize.to_grid`."""
        from quadfire.models.quantize.quantize import to_grid

        return to_grid(self, **options)
