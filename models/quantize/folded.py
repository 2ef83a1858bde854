"""The folded graph: what every network becomes before it is put on the grid.

    I = sum over branches of weight * source + bias,    then a neuron or the readout

Own networks (`fold`) and those of other libraries (`quadfire.models.frontends`) end up here alike.
All weights are float64, exact up to their rounding.
"""

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from quadfire.models.integer import PairField, Pool, Shape
from quadfire.models.neurons.canonical import Canonical

__all__ = ["Folded", "FoldedAnswer", "FoldedBranch", "FoldedLayer", "FoldedNeuron"]


class FoldedNeuron(Protocol):
    """What a layer asks of its neuron.

    window: half-width of the surrogate in units of the membrane potential. surrogate: its name.
    """

    @property
    def window(self) -> Any: ...

    @property
    def surrogate(self) -> str: ...

    def canonical(self) -> Canonical: ...


@dataclass(frozen=True, kw_only=True)
class FoldedBranch:
    """A `ConvBranch` in real numbers, or an `IdentityBranch` where weight is [outputs].

    weight: float64 [outputs, C, kh, kw] or [outputs]. gain: that of the `ConvBranch`, or 0 where
    the scales may choose it. The other fields are those of `ConvBranch`.
    """

    source: int
    weight: Tensor
    stride: PairField = PairField(1)
    padding: PairField = PairField(0)
    pool: Pool | None = None
    gain: int = 0


@dataclass(frozen=True, kw_only=True)
class FoldedLayer:
    """One layer of the graph.

    | field | meaning |
    |---|---|
    | name | of the layer |
    | branches, bias | I = sum of the branches + bias; bias is float64 [outputs] |
    | neuron | None for the readout |
    | shape | (C, H, W) of its map |
    | modules | names of the modules that it was made of, in order |
    | notes | what a user should know of it |
    | exact | its integers are exact: calibration leaves its bias alone |
    """

    name: str
    branches: tuple[FoldedBranch, ...]
    bias: Tensor
    neuron: FoldedNeuron | None
    shape: Shape
    modules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exact: bool = False


@dataclass(frozen=True, kw_only=True)
class FoldedAnswer:
    """A `MembraneAnswer` in real numbers: the answer is a potential of the last layer.

    over: as there. delta: as there, in units of w of the layer's own `canonical()`.
    """

    over: str
    delta: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A folded network, equal to the network in eval mode.

    | field | meaning |
    |---|---|
    | input_shape | (C, H, W) |
    | layers | in order; each reads the input or earlier ones |
    | steps | time steps T |
    | input_bits | 8 for bytes, 0 for spikes; None: the network runs on either |
    | count_bits | bits of the counts, which the layers read as bit planes; 0: it takes none |
    | answer | None: currents or the number of spikes; else potentials of the last layer |
    """

    input_shape: Shape
    layers: tuple[FoldedLayer, ...]
    steps: int
    input_bits: int | None = None
    count_bits: int = 0
    answer: FoldedAnswer | None = None

    @property
    def neurons(self) -> list[Canonical | None]:
        """The canonical neuron of every layer; None for the readout."""
        return [None if layer.neuron is None else layer.neuron.canonical()
                for layer in self.layers]

    def about(self) -> dict[str, Any]:
        """What the integer network says of where it came from, as JSON can hold it."""
        return {}
