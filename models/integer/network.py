"""The integer network: what the hardware computes, as plain arrays, and its file.

A file is safetensors: the arrays of every layer, and one JSON text under the metadata key
"quadfire" with format, version, state format, time steps, input and the layers' scalars. It holds
no code and no pickle, and everything in it is checked when it is loaded.

Tensors are called INDEX.shift and INDEX.bias of a layer, INDEX.BRANCH.weight of its branches.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from quadfire.rtl.contract.numerics import Neuron

from quadfire.models.integer.layer import (
    INPUT, Branch, ConvBranch, IdentityBranch, Layer, NetworkError, Pool, Shape, check_integer,
    dense,
)

__all__ = ["FORMAT", "INPUT", "VERSION", "Branch", "ConvBranch", "IdentityBranch",
           "IntegerNetwork", "Layer", "NetworkError", "Pool", "Shape", "dense"]

FORMAT = "quadfire-integer-network"
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class IntegerNetwork:
    """Layers in order, each reading maps of earlier ones, and what they have in common.

    input_shape: (C, H, W); a plain vector of n inputs is (n, 1, 1).
    state_bits, fraction_bits: format of the membrane potential, Q(W-F).F.
    steps: time steps T. input_bits: 0 for spikes [steps, C, H, W], 1..8 for pixels of that many
    bits, the same in every step (direct encoding).
    Raises NetworkError when the parts do not fit: a layer that reads itself or a later one, or
    both pixels and spikes; pixels that are pooled or read by an identity; a layer that nothing
    reads; a last map that is not 1 x 1.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    steps: int
    input_bits: int
    state_bits: int
    fraction_bits: int
    about: dict = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """C H W of the input."""
        return math.prod(self.input_shape)

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
                lambda source: self.input_shape if source == INPUT else shapes[source]))
        return tuple(shapes)

    def shape_of(self, source: int) -> Shape:
        """Shape of what a branch with this source reads."""
        return self.input_shape if source == INPUT else self.shapes[source]

    def bits_of(self, layer: Layer) -> int:
        """Bits of the pixels that a layer reads, 0 where it reads spikes."""
        return self.input_bits if layer.reads_input else 0

    def __post_init__(self):
        if len(self.input_shape) != 3:
            raise NetworkError(f"input_shape must be (C, H, W), not {self.input_shape!r}")
        for name, value in zip(("C", "H", "W"), self.input_shape, strict=True):
            check_integer(f"{name} of input_shape", value, 1, 1 << 20)
        for name, low, high in (("steps", 1, 65536), ("input_bits", 0, 8), ("state_bits", 8, 18),
                                ("fraction_bits", 4, 16)):
            check_integer(name, getattr(self, name), low, high)
        if self.fraction_bits > self.state_bits - 2:
            raise NetworkError("fraction_bits must be at most state_bits - 2, "
                               f"not {self.fraction_bits}")
        if not self.layers:
            raise NetworkError("a network needs at least one layer")
        for index, layer in enumerate(self.layers):
            if problem := self._problem(index, layer):
                raise NetworkError(f"layer {layer.name!r}: {problem}")
        if self.shapes[-1][1:] != (1, 1):
            raise NetworkError(f"layer {self.layers[-1].name!r}: the last map must be 1 x 1, "
                               f"not {self.shapes[-1][1]} x {self.shapes[-1][2]}")

    def _problem(self, index: int, layer: Layer) -> str:
        """What is wrong with a layer at its place, shapes aside; empty if nothing is."""
        if layer.neuron is None and index < len(self.layers) - 1:
            return "only the last layer may be a readout"
        for source in layer.sources:
            if source >= index:
                return f"source {source} is not an earlier layer"
        if self.input_bits and layer.reads_input:
            if {*layer.sources} != {INPUT}:
                return "cannot add pixels and spikes"
            if any(isinstance(branch, IdentityBranch) or branch.pool for branch in layer.branches):
                return "pixels can neither be pooled nor pass by an identity"
        if index < len(self.layers) - 1 and not any(
                index in later.sources for later in self.layers[index + 1:]):
            return "no later layer reads it"
        if layer.neuron is not None:
            try:
                layer.neuron.check_width(self.state_bits)
            except ValueError as error:
                return str(error)
        return ""

    # File --------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the network; the bytes depend on nothing but its content."""
        tensors, layers = {}, []
        for index, layer in enumerate(self.layers):
            branches = []
            for number, branch in enumerate(layer.branches):
                tensors[f"{index}.{number}.weight"] = branch.weight
                branches.append(_scalars(branch))
            tensors |= {f"{index}.shift": layer.shift, f"{index}.bias": layer.bias}
            layers.append({"name": layer.name, "weight_bits": layer.weight_bits,
                           "branches": branches,
                           "neuron": None if layer.neuron is None else asdict(layer.neuron)})
        text = json.dumps({"format": FORMAT, "version": VERSION, "steps": self.steps,
                           "input_shape": self.input_shape, "input_bits": self.input_bits,
                           "state_bits": self.state_bits, "fraction_bits": self.fraction_bits,
                           "layers": layers, "about": self.about}, sort_keys=True)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path,
                  metadata={"quadfire": text})

    @classmethod
    def load(cls, path: str | Path) -> "IntegerNetwork":
        """Read and check a network; raises NetworkError that says what is wrong with the file."""
        path = Path(path)
        if not path.is_file():
            raise NetworkError(f"{path}: there is no such file")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, TypeError, ValueError) as error:
            raise NetworkError(f"{path}: not a safetensors file: {error}") from None
        try:
            return cls._from_parts(metadata, tensors)
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from None

    @classmethod
    def _from_parts(cls, metadata: dict[str, str], tensors: dict[str, np.ndarray]):
        try:
            head = json.loads(metadata["quadfire"])
        except KeyError:
            raise NetworkError('no metadata under "quadfire": not an integer network') from None
        except json.JSONDecodeError as error:
            raise NetworkError(f"the metadata is not JSON: {error}") from None
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise NetworkError(f"the format is not {FORMAT!r}")
        if head.get("version") != VERSION:
            raise NetworkError(f"version {head.get('version')!r} cannot be read, only {VERSION}: "
                               "export the network again")
        for name, array in tensors.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise NetworkError(f"tensor {name!r} holds NaN or infinite values")
        unread = set(tensors)
        try:
            layers = tuple(_layer(index, entry, tensors, unread)
                           for index, entry in enumerate(head["layers"]))
            if unread:
                raise NetworkError(f"tensor {min(unread)!r} belongs to no layer")
            return cls(layers=layers, steps=head["steps"], input_bits=head["input_bits"],
                       input_shape=tuple(head["input_shape"]), state_bits=head["state_bits"],
                       fraction_bits=head["fraction_bits"], about=head.get("about", {}))
        except KeyError as error:
            raise NetworkError(f"{error.args[0]!r} is missing") from None
        except (TypeError, AttributeError) as error:
            raise NetworkError(f"the metadata is malformed: {error}") from None


#: Kinds of branches, by their names in a file.
KINDS: dict[str, type[ConvBranch] | type[IdentityBranch]] = {
    "conv": ConvBranch, "identity": IdentityBranch}


def _scalars(branch: Branch) -> dict[str, Any]:
    """A branch as JSON can hold it, without its weight."""
    kind = next(name for name, made in KINDS.items() if isinstance(branch, made))
    values = {f.name: getattr(branch, f.name) for f in fields(branch) if f.name != "weight"}
    if pool := values.get("pool"):
        values["pool"] = asdict(pool)
    return {"kind": kind, **values}


def _make(kind: type, what: str, values: dict[str, Any]) -> Any:
    """kind(**values), which must be exactly its fields; errors say of `what`."""
    names = {f.name for f in fields(kind)}
    if set(values) != names:
        raise NetworkError(f"{what} must have exactly the fields {', '.join(sorted(names))}")
    try:
        return kind(**values)
    except ValueError as error:
        raise NetworkError(f"{what}: {error}") from None


def _layer(index: int, entry: dict[str, Any], tensors: dict[str, np.ndarray],
           unread: set[str]) -> Layer:
    where = f"layer {entry['name']!r}"

    def tensor(name: str) -> np.ndarray:
        unread.discard(name)
        return tensors[name]

    def branch(number: int, values: dict[str, Any]) -> Branch:
        kind, what = values.pop("kind"), f"{where}, branch {number}"
        if kind not in KINDS:
            raise NetworkError(f"{what}: kind {kind!r} is not known")
        if values.get("pool"):
            values["pool"] = _make(Pool, f"{what}: the pool", values["pool"])
        return _make(KINDS[kind], what, {**values, "weight": tensor(f"{index}.{number}.weight")})

    neuron = entry["neuron"]
    return Layer(name=entry["name"], weight_bits=entry["weight_bits"],
                 branches=tuple(branch(n, dict(values)) for n, values in
                                enumerate(entry["branches"])),
                 neuron=neuron and _make(Neuron, f"{where}: the neuron", neuron),
                 shift=tensor(f"{index}.shift"), bias=tensor(f"{index}.bias"))
