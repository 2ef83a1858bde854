"""The file of an integer network: safetensors, with one JSON text that describes the layers.

A file holds no code and no pickle. Its tensors are the arrays of the layers:

| tensor | dtype and shape |
|---|---|
| LAYER.BRANCH.weight | int8 [outputs, C, kh, kw] of a convolution, int32 [outputs] of an identity |
| LAYER.shift | int8 [outputs] |
| LAYER.bias | int32 [outputs] |

LAYER and BRANCH are numbers from 0. The JSON text stands under the metadata key "quadfire":

| field | value |
|---|---|
| format, version | "quadfire-integer-network", 2 |
| input_shape, input_bits, steps, state_bits, fraction_bits | as in `IntegerNetwork` |
| layers | list of {name, weight_bits, neuron, branches} |
| neuron | the fields of `Neuron`, or null for the readout |
| branches | list of {kind, ...}, with the scalar fields of `ConvBranch` or `IdentityBranch` |
| size, stride, padding | one number, or [rows, columns] where the two differ |
| answer | the fields of `MembraneAnswer`; missing where there is none |
| count_bits | as in `IntegerNetwork`; missing where it is 0 |
| about | an object for the user, which nothing here reads; may be missing |

A file must have exactly these fields and tensors. Every one is checked for type and range, here or
by the class that it becomes, so a network that loads is written back byte for byte.
"""

import json
import reprlib
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from quadfire.data.kinds import told
from quadfire.files import whole_file
from quadfire.models.integer.answer import MembraneAnswer
from quadfire.models.integer.branches import Branch, ConvBranch, IdentityBranch, Pool
from quadfire.models.integer.checks import NetworkError
from quadfire.models.integer.layer import IntegerLayer
from quadfire.models.integer.pairs import PairField, number_or_pair
from quadfire.rtl.contract.numerics import Neuron

if TYPE_CHECKING:
    from quadfire.models.integer.network import IntegerNetwork

__all__ = ["FORMAT", "VERSION", "OtherFile", "format_of", "read", "write"]

FORMAT = "quadfire-integer-network"
#: The format of `models/training/checkpoint.py`, which needs PyTorch.
_CHECKPOINT = "quadfire-checkpoint"
VERSION = 2
#: Fields of the JSON text, but for those that may be missing.
HEAD = ("format", "version", "input_shape", "input_bits", "steps", "state_bits", "fraction_bits",
        "layers")
OPTIONAL = ("about", "answer", "count_bits")
LAYER = ("name", "weight_bits", "neuron", "branches")
#: Kinds of branches, by their names in a file.
KINDS: dict[str, type[ConvBranch] | type[IdentityBranch]] = {
    "conv": ConvBranch, "identity": IdentityBranch}

Tensors = dict[str, np.ndarray]


# Writing ------------------------------------------------------------------------------------------


def write(network: "IntegerNetwork", path: Path) -> None:
    """Write a network; the bytes depend on nothing but its content."""
    tensors, layers = {}, []
    for index, layer in enumerate(network.layers):
        for number, branch in enumerate(layer.branches):
            tensors[f"{index}.{number}.weight"] = branch.weight
        tensors |= {f"{index}.shift": layer.shift, f"{index}.bias": layer.bias}
        layers.append({"name": layer.name, "weight_bits": layer.weight_bits,
                       "branches": [_scalars(branch) for branch in layer.branches],
                       "neuron": None if layer.neuron is None else asdict(layer.neuron)})
    extra: dict[str, Any] = {} if network.answer is None else {"answer": asdict(network.answer)}
    if network.count_bits:
        extra["count_bits"] = network.count_bits
    text = json.dumps({"format": FORMAT, "version": VERSION, "steps": network.steps,
                       "input_shape": network.input_shape, "input_bits": network.input_bits,
                       "state_bits": network.state_bits, "fraction_bits": network.fraction_bits,
                       "layers": layers, "about": network.about, **extra}, sort_keys=True)
    with whole_file(path) as part:
        save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, part,
                  metadata={"quadfire": text})


def _scalars(branch: Branch) -> dict[str, Any]:
    """A branch as JSON can hold it, without its weight."""
    kind = next(name for name, made in KINDS.items() if isinstance(branch, made))
    values = {f.name: getattr(branch, f.name) for f in fields(branch) if f.name != "weight"}
    if pool := values.get("pool"):
        values["pool"] = _numbers(asdict(pool))
    return {"kind": kind, **_numbers(values)}


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    """The values with one number for every pair of equal numbers."""
    return {name: number_or_pair(value) if isinstance(value, tuple) else value
            for name, value in values.items()}


# Reading ------------------------------------------------------------------------------------------


class OtherFile(NetworkError):
    """A path that names something else, a folder or a checkpoint; the message has the path."""


def format_of(path: Path) -> str | None:
    """The `format` of a file of ours; None for any other file."""
    try:
        with safe_open(path, framework="numpy") as file:
            return json.loads(file.metadata()["quadfire"])["format"]
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def read(path: Path) -> dict[str, Any]:
    """The arguments of `IntegerNetwork` in a file. Raises NetworkError for an invalid file."""
    if path.is_dir():
        raise OtherFile(f"{path} is a folder: name a .safetensors file")
    if not path.is_file():
        raise NetworkError("there is no such file")
    if format_of(path) == _CHECKPOINT:
        raise OtherFile(f"{path} is a checkpoint, not an integer network: run "
                        f"`quadfire quantize {path}` first")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        raise NetworkError(f"not a safetensors file{told(path)}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise NetworkError(f"its tensors cannot be read: {error}") from None
    if "quadfire" not in metadata:
        raise NetworkError('no metadata under "quadfire": not an integer network' + told(path))
    head = _parse(metadata["quadfire"])
    for name, array in tensors.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NetworkError(f"tensor {name!r} holds NaN or infinite values")
    unread = dict(tensors)
    layers = tuple(_layer(index, entry, unread)
                   for index, entry in enumerate(_list("layers", head["layers"])))
    if unread:
        raise NetworkError(f"tensor {min(unread)!r} belongs to no layer")
    common = {name: head[name] for name in ("steps", "input_bits", "state_bits", "fraction_bits")}
    if "answer" in head:
        common["answer"] = _make(MembraneAnswer, "answer", head["answer"])
    if "count_bits" in head:
        common["count_bits"] = head["count_bits"]
        if common["count_bits"] == 0:
            raise NetworkError("count_bits must be missing where it is 0")
    return {**common, "layers": layers, "about": head.get("about", {}),
            "input_shape": tuple(_list("input_shape", head["input_shape"]))}


def _parse(text: str) -> dict[str, Any]:
    """The JSON text, of this format and version, with all of its fields and no other."""
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise NetworkError(f"the metadata has {twice!r} twice in one object")
        return values

    try:
        head = json.loads(text, object_pairs_hook=unique)
    except NetworkError:
        raise
    except (ValueError, RecursionError) as error:
        raise NetworkError(f"the metadata is not JSON: {error}") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise NetworkError(f"the format is not {FORMAT!r}")
    version = head.get("version")
    if type(version) is not int or version != VERSION:
        raise NetworkError(f"version {reprlib.repr(version)} cannot be read, only {VERSION}: "
                           "export the network again")
    _check_fields("the metadata", head, HEAD, optional=OPTIONAL)
    return head


def _list(what: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise NetworkError(f"{what} must be a list, not {reprlib.repr(value)}")
    return value


def _check_fields(what: str, value: Any, names: Iterable[str],
                  optional: Iterable[str] = ()) -> None:
    """Raise NetworkError unless value is an object with exactly these fields."""
    if not isinstance(value, dict):
        raise NetworkError(f"{what} must be an object, not {reprlib.repr(value)}")
    names, found = {*names}, {*value} - {*optional}
    if found != names:
        wrong = f"{min(names - found)!r} is missing" if names - found else \
            f"{min(found - names)!r} is not known"
        raise NetworkError(f"{what} must have exactly the fields {', '.join(sorted(names))}: "
                           f"{wrong}")


def _make(kind: type, what: str, values: Any, **arrays: np.ndarray) -> Any:
    """kind(**values, **arrays); values must be all other fields of kind. Errors name `what`."""
    _check_fields(what, values, {f.name for f in fields(kind)} - {*arrays})
    values = {name: _pair(f"{what}: {name}", value)
              if isinstance(value, list) and isinstance(vars(kind).get(name), PairField) else value
              for name, value in values.items()}
    try:
        return kind(**values, **arrays)
    except ValueError as error:
        raise NetworkError(f"{what}: {error}") from None


def _pair(what: str, values: list[Any]) -> tuple[Any, ...]:
    """The pair in a list of two numbers; equal ones are no pair, as `write` makes them one."""
    if len(values) != 2 or values[0] == values[1]:
        raise NetworkError(f"{what} must be a number, or a list of two that differ, not "
                           f"{reprlib.repr(values)}")
    return tuple(values)


def _take(tensors: Tensors, name: str) -> np.ndarray:
    if name not in tensors:
        raise NetworkError(f"tensor {name!r} is missing")
    return tensors.pop(name)


def _layer(index: int, entry: Any, unread: Tensors) -> IntegerLayer:
    """One layer; takes its tensors out of `unread`."""
    _check_fields(f"layer {index}", entry, LAYER)
    what, neuron = f"layer {entry['name']!r}", entry["neuron"]
    branches = tuple(_branch(f"{what}, branch {number}", values, unread,
                             f"{index}.{number}.weight")
                     for number, values in enumerate(_list(f"{what}: branches",
                                                           entry["branches"])))
    return IntegerLayer(
        name=entry["name"], weight_bits=entry["weight_bits"], branches=branches,
        neuron=None if neuron is None else _make(Neuron, f"{what}: the neuron", neuron),
        shift=_take(unread, f"{index}.shift"), bias=_take(unread, f"{index}.bias"))


def _branch(what: str, entry: Any, unread: Tensors, weight: str) -> Branch:
    """One branch; takes its weight out of `unread`."""
    if not isinstance(entry, dict) or "kind" not in entry:
        raise NetworkError(f"{what} must be an object with a kind, not {reprlib.repr(entry)}")
    values = dict(entry)
    kind = values.pop("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise NetworkError(f"{what}: kind {reprlib.repr(kind)} is not known")
    if values.get("pool") is not None:
        values["pool"] = _make(Pool, f"{what}: the pool", values["pool"])
    return _make(KINDS[kind], what, values, weight=_take(unread, weight))
