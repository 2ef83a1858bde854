"""The integer network: what the hardware computes, as plain arrays.

`network_file` writes and reads its file; `reference` computes it. numpy only.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from quadfire.models.integer import network_file
from quadfire.models.integer.answer import MembraneAnswer
from quadfire.models.integer.branches import INPUT, IdentityBranch, Shape
from quadfire.models.integer.checks import NetworkError, check_integer
from quadfire.models.integer.layer import IntegerLayer

__all__ = ["IntegerNetwork"]


@dataclass(frozen=True, kw_only=True)
class IntegerNetwork:
    """Layers in order, each reading maps of earlier ones, and what they have in common.

    | field | meaning |
    |---|---|
    | input_shape | (C, H, W); a plain vector of n inputs is (n, 1, 1) |
    | layers | all have neurons, the last may be a readout; its map is 1 x 1 |
    | steps | time steps T, 1..65536 |
    | input_bits | 0: spikes [T, C, H, W]; 1..8: pixels of that many bits, the same in every step |
    | state_bits, fraction_bits | the membrane potential is Q(W-F).F: W in 8..18, F in 4..W-2 |
    | answer | None: the sum of the readout's currents, or without a readout the number of spikes; |
    |  | or the membranes of the last layer, which then has neurons |
    | count_bits | n: the input is counts 0..2^n - 1 [T, C, H, W], which the layers read as n C |
    |  | channels of spikes, bit planes, lowest bit first; 0: it is not counts |
    | about | whatever the user wants to keep with it, as JSON can hold |

    Raises NetworkError when the parts do not fit: a layer that reads itself or a later one, or
    both pixels and spikes; pixels that are pooled or read by an identity; a layer that nothing
    reads; shapes that do not match; a neuron that the state format cannot hold.
    """

    input_shape: Shape
    layers: tuple[IntegerLayer, ...]
    steps: int
    input_bits: int
    state_bits: int
    fraction_bits: int
    answer: MembraneAnswer | None = None
    count_bits: int = 0
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        if len(self.input_shape) != 3:
            raise NetworkError(f"input_shape must be (C, H, W), not {self.input_shape!r}")
        for name, value in zip(("C", "H", "W"), self.input_shape, strict=True):
            check_integer(f"{name} of input_shape", value, 1, 1 << 20)
        for name, low, high in (("steps", 1, 65536), ("input_bits", 0, 8), ("state_bits", 8, 18),
                                ("fraction_bits", 4, 16), ("count_bits", 0, 8)):
            check_integer(name, getattr(self, name), low, high)
        if self.fraction_bits > self.state_bits - 2:
            raise NetworkError("fraction_bits must be at most state_bits - 2, "
                               f"not {self.fraction_bits}")
        if self.count_bits and self.input_bits:
            raise NetworkError("the input is counts or pixels: count_bits or input_bits must be 0, "
                               f"not {self.count_bits} and {self.input_bits}")
        if not isinstance(self.about, dict):
            raise NetworkError(f"about must be an object, not {self.about!r}")
        if not self.layers:
            raise NetworkError("a network needs at least one layer")
        self._check_answer()
        for index, layer in enumerate(self.layers):
            if problem := self._problem(index, layer):
                raise NetworkError(f"layer {layer.name!r}: {problem}")
        if self.shapes[-1][1:] != (1, 1):
            raise NetworkError(f"layer {self.layers[-1].name!r}: the last map must be 1 x 1, "
                               f"not {self.shapes[-1][1]} x {self.shapes[-1][2]}")

    def _check_answer(self) -> None:
        """Raise NetworkError where the last layer cannot give the answer."""
        if self.answer is None:
            return
        if not isinstance(self.answer, MembraneAnswer):
            raise NetworkError(f"answer must be a MembraneAnswer or None, not {self.answer!r}")
        if self.layers[-1].neuron is None:
            raise NetworkError(f"layer {self.layers[-1].name!r}: the answer is its membranes, but "
                               "it is a readout, which has none")

    def _problem(self, index: int, layer: IntegerLayer) -> str:
        """What is wrong with a layer at its place, apart from shapes; empty if nothing is."""
        last = index == len(self.layers) - 1
        if layer.neuron is None and not last:
            return "only the last layer may be a readout"
        for source in layer.sources:
            if source >= index:
                return f"source {source} is not an earlier layer"
        if self.input_bits and layer.reads_input:
            if {*layer.sources} != {INPUT}:
                return "cannot add pixels and spikes"
            if any(isinstance(branch, IdentityBranch) or branch.pool for branch in layer.branches):
                return "pixels can neither be pooled nor pass by an identity"
        if not last and not any(index in later.sources for later in self.layers[index + 1:]):
            return "no later layer reads it"
        if layer.neuron is not None:
            try:
                layer.neuron.check_width(self.state_bits)
            except ValueError as error:
                return str(error)
        return ""

    @property
    def inputs(self) -> int:
        """C H W of the input."""
        return math.prod(self.input_shape)

    @property
    def planes_shape(self) -> Shape:
        """(C, H, W) of the input as the layers read it: of counts, the bit planes."""
        channels, height, width = self.input_shape
        return channels * max(self.count_bits, 1), height, width

    @property
    def outputs(self) -> int:
        """Channels of the last layer, whose map is 1 x 1."""
        return self.layers[-1].outputs

    @cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """(C, H, W) of the map of every layer."""
        shapes: list[Shape] = []
        for layer in self.layers:
            shapes.append(layer.output_shape(
                lambda source: self.planes_shape if source == INPUT else shapes[source]))
        return tuple(shapes)

    def shape_of(self, source: int) -> Shape:
        """Shape of the map that a branch with this source reads."""
        return self.planes_shape if source == INPUT else self.shapes[source]

    def bits_of(self, layer: IntegerLayer) -> int:
        """Bits of the pixels that a layer reads, 0 where it reads spikes."""
        return self.input_bits if layer.reads_input else 0

    def save(self, path: str | Path) -> None:
        """Write the network; the bytes depend on nothing but its content."""
        network_file.write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> "IntegerNetwork":
        """Read and check a network. Raises NetworkError naming the file and what is wrong."""
        try:
            return cls(**network_file.read(Path(path)))
        except network_file.OtherFile:
            raise
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from None
