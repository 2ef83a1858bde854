"""The integer network: what the hardware computes, as plain arrays, and its file.

A file is safetensors: the arrays of every layer, and one JSON text under the metadata key
"quadfire" with format, version, state format, time steps, input and the layers' scalars. It holds
no code and no pickle, and everything in it is checked when it is loaded.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from rtl.numerics import Neuron

__all__ = ["FORMAT", "VERSION", "DenseLayer", "IntegerNetwork", "NetworkError"]

FORMAT = "quadfire-integer-network"
VERSION = 1

#: Shifts that a layer may ask for; an array may hold fewer (see `firmware.compiler`).
SHIFT_RANGE = (-16, 31)


class NetworkError(ValueError):
    """A network that cannot be: wrong version, shape, range or missing part."""


@dataclass(frozen=True, kw_only=True)
class DenseLayer:
    """J[o] = round(2^-shift[o] * sum_i weight[o, i] s[i]) + bias[o], then a neuron or a readout.

    weight: int8 [outputs, inputs], within `weight_bits` signed bits.
    shift: int8 [outputs]. bias: int32 [outputs], in state LSBs (readout: in units of its sum).
    neuron: None for the readout, which sums J over the time steps.
    """

    name: str
    weight: np.ndarray
    weight_bits: int
    shift: np.ndarray
    bias: np.ndarray
    neuron: Neuron | None

    @property
    def inputs(self) -> int:
        return self.weight.shape[1]

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    def __post_init__(self):
        def fail(text: str):
            raise NetworkError(f"layer {self.name!r}: {text}")

        if self.weight_bits not in (4, 8):
            fail(f"weight_bits must be 4 or 8, not {self.weight_bits!r}")
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            fail(f"weight must have shape [outputs, inputs], not {list(self.weight.shape)}")
        for name, dtype, shape in (("weight", np.int8, self.weight.shape),
                                   ("shift", np.int8, (self.outputs,)),
                                   ("bias", np.int32, (self.outputs,))):
            array = getattr(self, name)
            if array.dtype != dtype:
                fail(f"{name} must be {np.dtype(dtype).name}, not {array.dtype.name}")
            if array.shape != shape:
                fail(f"{name} must have shape {list(shape)}, not {list(array.shape)}")
        limit = 1 << (self.weight_bits - 1)
        bad = np.argwhere((self.weight < -limit) | (self.weight >= limit))
        if len(bad):
            o, i = bad[0]
            fail(f"weight [{o}, {i}] = {self.weight[o, i]} is outside of {self.weight_bits} signed "
                 "bits")
        low, high = SHIFT_RANGE
        bad = np.flatnonzero((self.shift < low) | (self.shift > high))
        if len(bad):
            fail(f"shift of channel {bad[0]} must be in {low}..{high}, not {self.shift[bad[0]]}")


@dataclass(frozen=True, kw_only=True)
class IntegerNetwork:
    """Layers in order, and what they have in common.

    state_bits, fraction_bits: format of the membrane potential, Q(W-F).F.
    steps: time steps T. input_bits: 0 for spikes [steps, inputs], 1..8 for pixels of that many
    bits, the same in every step (direct encoding). Raises NetworkError when the parts do not fit.
    """

    layers: tuple[DenseLayer, ...]
    steps: int
    input_bits: int
    state_bits: int
    fraction_bits: int
    about: dict = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    def __post_init__(self):
        for name, low, high in (("steps", 1, 65536), ("input_bits", 0, 8), ("state_bits", 8, 18),
                                ("fraction_bits", 4, 16)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise NetworkError(f"{name} must be an integer in {low}..{high}, not {value!r}")
        if self.fraction_bits > self.state_bits - 2:
            raise NetworkError("fraction_bits must be at most state_bits - 2, "
                               f"not {self.fraction_bits}")
        if not self.layers:
            raise NetworkError("a network needs at least one layer")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.neuron is None:
                raise NetworkError(f"layer {before.name!r}: only the last layer may be a readout")
            if before.outputs != after.inputs:
                raise NetworkError(f"layer {after.name!r}: takes {after.inputs} inputs, but "
                                   f"{before.name!r} before it has {before.outputs} outputs")
        for layer in self.layers:
            if layer.neuron is not None:
                try:
                    layer.neuron.check_width(self.state_bits)
                except ValueError as error:
                    raise NetworkError(f"layer {layer.name!r}: {error}") from None

    # File --------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the network; the bytes depend on nothing but its content."""
        tensors, layers = {}, []
        for index, layer in enumerate(self.layers):
            for name in ("weight", "shift", "bias"):
                tensors[f"{index}.{name}"] = np.ascontiguousarray(getattr(layer, name))
            layers.append({"kind": "dense", "name": layer.name, "weight_bits": layer.weight_bits,
                           "neuron": None if layer.neuron is None else asdict(layer.neuron)})
        text = json.dumps({"format": FORMAT, "version": VERSION, "steps": self.steps,
                           "input_bits": self.input_bits, "state_bits": self.state_bits,
                           "fraction_bits": self.fraction_bits, "layers": layers,
                           "about": self.about}, sort_keys=True)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"quadfire": text})

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
        try:
            layers = tuple(cls._layer(index, entry, tensors)
                           for index, entry in enumerate(head["layers"]))
            if extra := sorted(set(tensors) - {f"{i}.{name}" for i in range(len(layers))
                                               for name in ("weight", "shift", "bias")}):
                raise NetworkError(f"tensor {extra[0]!r} belongs to no layer")
            return cls(layers=layers, steps=head["steps"], input_bits=head["input_bits"],
                       state_bits=head["state_bits"], fraction_bits=head["fraction_bits"],
                       about=head.get("about", {}))
        except KeyError as error:
            raise NetworkError(f"{error.args[0]!r} is missing") from None

    @staticmethod
    def _layer(index: int, entry: dict, tensors: dict[str, np.ndarray]) -> DenseLayer:
        name = entry["name"]
        if entry["kind"] != "dense":
            raise NetworkError(f"layer {name!r}: kind {entry['kind']!r} is not known")
        neuron = entry["neuron"]
        if neuron is not None:
            names = {f.name for f in fields(Neuron)}
            if set(neuron) != names:
                raise NetworkError(f"layer {name!r}: the neuron must have exactly the fields "
                                   f"{', '.join(sorted(names))}")
            try:
                neuron = Neuron(**neuron)
            except ValueError as error:
                raise NetworkError(f"layer {name!r}: {error}") from None
        return DenseLayer(name=name, weight_bits=entry["weight_bits"], neuron=neuron,
                          **{part: tensors[f"{index}.{part}"]
                             for part in ("weight", "shift", "bias")})
