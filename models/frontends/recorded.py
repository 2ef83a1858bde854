"""What a recording is made of: nodes, what they read, and the whole graph."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

__all__ = ["Node", "Recording", "Ref", "Traced"]


@dataclass(eq=False)
class Node:
    """One operation on earlier nodes.

    | field | meaning |
    |---|---|
    | kind | "input", "module", "neuron", "function" or "unknown" |
    | name | of the module, or of the function as the user wrote it |
    | inputs | what it reads; of a neuron, its input current alone |
    | module | for modules and neurons |
    | operation | what a function computes, see `functions` |
    | arguments | of the operation, apart from what it reads |
    | shape | of the tensor that it gave at its first call |
    | sides | the axes of one sample of the tensor that it read |
    | where | name of the module whose `forward` called a function |
    | calls | how often it was called |
    | kept | what every call read and gave (input, output), if asked for |
    """

    kind: str
    name: str
    inputs: tuple["Ref", ...] = ()
    module: nn.Module | None = None
    operation: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    sides: tuple[int, ...] = ()
    where: str = ""
    calls: int = 0
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The node as errors name it."""
        if self.kind in ("module", "neuron"):
            return f"layer {self.name!r}"
        if self.kind == "input":
            return "the input"
        inside = f" in {self.where!r}" if self.where else ""
        return f"{self.name!r}{inside}"


@dataclass(frozen=True)
class Ref:
    """One result of a node: port 0 is the first tensor that it gives."""

    node: Node
    port: int = 0


@dataclass(frozen=True)
class Traced:
    """An output of the network.

    over: "sum", "mean", "max" or "last" of the time steps; empty: every step by itself.
    """

    ref: Ref
    over: str = ""


@dataclass(frozen=True)
class Recording:
    """The graph of a run.

    | field | meaning |
    |---|---|
    | nodes | in order of their first calls; the input comes first |
    | outputs | the tensors that `forward` gave, those that come from the input |
    | steps | how often the neurons were called, or their time axis is long; 1 for a single step |
    | time_axis | which axis of the example is time, where the network reads it so; None: none |
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Traced, ...]
    steps: int
    time_axis: int | None
