"""NIR files: the nodes and edges of a network, read with h5py alone.

A NIR file (https://neuroir.org) is HDF5:

| place | holds |
|---|---|
| `version` | of the library that wrote it |
| `node` | a node of type NIRGraph, the network |
| `NODE/type` | its type |
| `NODE/PARAMETER` | a number, an array, or a text |
| `NODE/metadata` | a group of anything, or missing |
| `GRAPH/nodes/NAME` | the nodes of a graph, which may be graphs themselves |
| `GRAPH/edges` | texts [n, 2]: from, to |

`read_nir` flattens graphs inside of graphs: a node `lif` of a graph `layer1` becomes `layer1.lif`.
The reader of the library `nir` is no way in. It fills in a `v_reset` that a file does not have.
"""

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["KINDS", "NirFile", "NirNode", "read_nir"]

#: Types of nodes and their parameters; one with a question mark may be missing.
KINDS: dict[str, str] = {
    "Affine": "weight bias",
    "AvgPool2d": "kernel_size stride padding",
    "Conv1d": "weight bias stride padding dilation groups input_shape?",
    "Conv2d": "weight bias stride padding dilation groups input_shape?",
    "CubaLI": "tau_syn tau_mem r v_leak w_in?",
    "CubaLIF": "tau_syn tau_mem r v_leak v_threshold v_reset? w_in?",
    "Delay": "delay",
    "Flatten": "start_dim end_dim input_type?",
    "I": "r",
    "IF": "r v_threshold v_reset?",
    "Input": "shape",
    "LI": "tau r v_leak",
    "LIF": "tau r v_leak v_threshold v_reset?",
    "Linear": "weight",
    "Output": "shape",
    "Scale": "scale",
    "SumPool2d": "kernel_size stride padding",
    "Threshold": "threshold",
}
_INTEGERS = frozenset({"dilation", "end_dim", "groups", "input_shape", "input_type", "kernel_size",
                       "padding", "shape", "start_dim", "stride"})
#: A neuron that does not leak has an infinite time constant, and with snnTorch an infinite r.
_INFINITE = frozenset({"r", "tau", "tau_mem", "tau_syn"})

#: What one array, and all of a file together, may hold, in values.
_MOST_VALUES = 1 << 27
_MOST_NODES = 1 << 16
#: Bytes of memory, and seconds beside those for its size, that a file may take to be read.
_MOST_MEMORY = 1 << 33
_PATIENCE = 20.0
#: Deflate packs at most 258 bytes into two bits, so that nothing honest shrinks by more.
_MOST_SHRINK = 1032

Value = np.ndarray | str


@dataclass(frozen=True, kw_only=True)
class NirNode:
    """One node: its name with those of the graphs around it, its type, its parameters.

    values: float64 or int64 arrays; `padding` may be a text.
    metadata: texts and numbers of the node and of the graphs around it; the innermost counts.
    """

    name: str
    kind: str
    values: dict[str, Value]
    metadata: dict[str, str | float]

    def __str__(self) -> str:
        return f"node {self.name!r} {self.kind}"


@dataclass(frozen=True, kw_only=True)
class NirFile:
    """A network as the file says it. Every edge leads from one of the nodes to another.

    version: of the library that wrote the file; empty where the file has none.
    """

    path: Path
    version: str
    nodes: dict[str, NirNode]
    edges: tuple[tuple[str, str], ...]


def read_nir(path: Path | str) -> NirFile:
    """The network in a NIR file.

    Raises ValueError in one line that begins with the path, and names the node, for a file that is
    missing, damaged, cut short or not a NIR file, and for a node of an unknown type, with a
    parameter too few or too many, or with one that is not finite. Raises ImportError without h5py.
    """
    path = Path(path)
    try:
        import h5py
    except ImportError:
        raise ImportError("NIR files are read through h5py: pip install 'quadfire[import]'"
                          ) from None
    if not path.is_file():
        raise ValueError(f"{path}: " + ("it is a folder, name a file in it" if path.is_dir() else
                                        "there is no such file"))
    with _named(path):
        if not h5py.is_hdf5(path):
            raise ValueError("not a NIR file: NIR files are HDF5")
    _try(path)
    return _read(path)


def _read(path: Path) -> NirFile:
    """The network in an HDF5 file."""
    import h5py

    with _named(path), h5py.File(path, "r") as file:
        return _Reader(path).read(file)


def _try(path: Path) -> None:
    """Let another process read the file first. Raises ValueError where that one fails.

    HDF5 checks the lengths of its texts so little that a damaged file makes it take any memory,
    loop for ever, or crash.
    """
    code = "import runpy, sys; runpy.run_path(sys.argv[1])['_trial'](sys.argv[2])"
    seconds = _PATIENCE + path.stat().st_size / 10e6
    try:
        done = subprocess.run([sys.executable, "-c", code, __file__, str(path)], timeout=seconds,
                              capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{path}: the file is damaged (reading it takes more than {seconds:.0f} "
                         "seconds)") from None
    if done.returncode:
        raise ValueError(done.stdout.strip() or f"{path}: the file is damaged (HDF5 fails on it)")


def _trial(path: str) -> None:
    """What the other process does: read the file, print what is wrong, exit with 1."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    except (ImportError, ValueError, OSError):
        pass        # no limits on this system: the timeout remains
    try:
        _read(Path(path))
    except ValueError as error:
        print(error)
        sys.exit(1)
    except MemoryError:
        sys.exit(2)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes a ValueError of one line that begins with the path."""
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError,
            OverflowError) as error:
        told = " ".join((str(error.args[0]) if error.args else str(error)).split())
        if not isinstance(error, ValueError):
            told = f"the file is damaged ({told})"
        raise ValueError(f"{path}: {told}") from None


class _Reader:
    """Walks through one file."""

    def __init__(self, path: Path):
        self.path = path
        self.nodes: dict[str, NirNode] = {}
        self.edges: dict[tuple[str, str], None] = {}
        self.values = 0
        self.seen: set[Any] = set()

    def read(self, file: Any) -> NirFile:
        root = self._group(file, "node")
        if root is None:
            raise ValueError("an HDF5 file, but not of NIR: it has no 'node'")
        if (kind := self._text(root, "type", "'node'")) != "NIRGraph":
            raise ValueError(f"holds a single {kind}, not a graph of nodes")
        version = self._text(file, "version", "the file") if "version" in file else ""
        self._graph(root, "", {})
        return NirFile(path=self.path, version=version, nodes=self.nodes, edges=tuple(self.edges))

    # Graphs ---------------------------------------------------------------------------------------

    def _graph(self, group: Any, prefix: str,
               metadata: dict[str, str | float]) -> tuple[list[str], list[str]]:
        """Adds all nodes and edges of a graph. Returns the names of its Inputs and Outputs."""
        told = f"node {prefix[:-1]!r} NIRGraph" if prefix else "the graph"
        if unknown := set(group) - {"type", "nodes", "edges", "metadata"}:
            raise ValueError(f"{told} has an unknown parameter {min(unknown)!r}")
        nodes = self._group(group, "nodes")
        if nodes is None:
            raise ValueError(f"{told} has no 'nodes'")
        metadata = metadata | self._metadata(group)
        ends: dict[str, tuple[list[str], list[str]]] = {}
        inputs: list[str] = []
        outputs: list[str] = []
        for own in nodes:
            name = prefix + own
            node = self._group(nodes, own)
            if node is None or name in self.nodes or len(self.nodes) >= _MOST_NODES:
                raise ValueError(f"node {name!r} is " + (
                    "no group" if node is None else "there twice" if name in self.nodes else
                    f"one too many: a file may have {_MOST_NODES:,}"))
            if self._text(node, "type", f"node {name!r}") == "NIRGraph":
                ends[own] = self._graph(node, f"{name}.", metadata)
                continue
            self.nodes[name] = made = self._node(node, name, metadata)
            ends[own] = ([name], [name])
            inputs += [name] * (made.kind == "Input")
            outputs += [name] * (made.kind == "Output")
        self._edges(group, prefix, told, ends)
        return inputs, outputs

    def _edges(self, group: Any, prefix: str, told: str,
               ends: dict[str, tuple[list[str], list[str]]]) -> None:
        """Adds the edges of a graph. One of a graph inside becomes one of its Input or Output."""
        for pair in self._texts(group, told):
            written = f"edge {prefix + pair[0]!r} -> {prefix + pair[1]!r}"
            edge = []
            for own, which, word in ((pair[0], 1, "Output"), (pair[1], 0, "Input")):
                if own not in ends:
                    raise ValueError(f"{written}: there is no node {prefix + own!r}")
                names = ends[own][which]
                if len(names) != 1:
                    raise ValueError(f"{written}: the graph {prefix + own!r} has {len(names)} "
                                     f"nodes of type {word}, one is needed")
                edge.append(names[0])
            if (edge[0], edge[1]) in self.edges:
                raise ValueError(f"{written} is there twice")
            self.edges[edge[0], edge[1]] = None

    def _texts(self, group: Any, told: str) -> list[tuple[str, str]]:
        """The edges of a graph as they are written."""
        data: Any = self._dataset(group, "edges", told)
        if 0 in data.shape:
            return []
        if data.ndim != 2 or data.shape[1] != 2 or not _is_text(data):
            raise ValueError(f"the edges of {told} must be texts [n, 2]")
        self._check_size(data, f"the edges of {told}")
        pairs: Any = data[()]
        return [(_decoded(a, told), _decoded(b, told)) for a, b in pairs]

    # Nodes ----------------------------------------------------------------------------------------

    def _node(self, group: Any, name: str,
              metadata: dict[str, str | float]) -> NirNode:
        """One node with all parameters that its type has, and no other."""
        kind = self._text(group, "type", f"node {name!r}")
        told = f"node {name!r} {kind}"
        if kind not in KINDS:
            raise ValueError(f"{told}: there is no such type of node, only {', '.join(KINDS)}")
        fields = KINDS[kind].split()
        if unknown := set(group) - {"type", "metadata", *(field.rstrip("?") for field in fields)}:
            raise ValueError(f"{told} has an unknown parameter {min(unknown)!r}")
        values: dict[str, Value] = {}
        for field in fields:
            if (key := field.rstrip("?")) in group:
                values[key] = self._value(group, key, told)
            elif key == field:
                raise ValueError(f"{told} has no {key}")
        return NirNode(name=name, kind=kind, values=values,
                       metadata=metadata | self._metadata(group))

    def _value(self, group: Any, key: str, told: str) -> Value:
        """One parameter; whole numbers where it counts something, else finite real ones."""
        data, what = self._dataset(group, key, told), f"{told}: {key}"
        if key == "padding" and _is_text(data):
            return self._text(group, key, told)
        if data.dtype.kind not in ("iu" if key in _INTEGERS else "iuf"):
            raise ValueError(f"{what} must be {'whole ' if key in _INTEGERS else ''}numbers, not "
                             f"{data.dtype}")
        self._check_size(data, what)
        array = np.asarray(data[()])
        if not array.size and key not in ("input_shape", "input_type"):
            raise ValueError(f"{what} is empty")
        if key in _INTEGERS:
            if array.ndim > 1 or array.size and (array.max() >= 1 << 31 or array.min() < -1 << 31):
                raise ValueError(f"{what} must be one number or a row of them below 2^31")
            return array.astype(np.int64)
        array = array.astype(np.float64)
        if np.isnan(array).any():
            raise ValueError(f"{what} is NaN")
        if np.isinf(array if key not in _INFINITE else np.minimum(array, 0)).any():
            raise ValueError(f"{what} is infinite")
        return array

    def _metadata(self, group: Any) -> dict[str, str | float]:
        """Texts and single numbers among the metadata. All else says nothing to us."""
        made: dict[str, str | float] = {}
        if (found := self._group(group, "metadata")) is None:
            return made
        for key in found:
            data = self._item(found, key)
            if getattr(data, "shape", None) == ():
                if _is_text(data):
                    made[key] = _decoded(data[()], "metadata")
                elif data.dtype.kind in "iuf":
                    made[key] = float(data[()])
        return made

    # HDF5 -----------------------------------------------------------------------------------------

    def _item(self, group: Any, key: str) -> Any:
        """What is there under a name, or None. Links to elsewhere are not followed."""
        import h5py

        if key not in group:
            return None
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise ValueError(f"{key!r} is a link to elsewhere, which is not followed")
        return group[key]

    def _group(self, group: Any, key: str) -> Any:
        """A group, or None where there is none. Each may be reached once only."""
        import h5py

        found = self._item(group, key)
        if not isinstance(found, h5py.Group):
            return None
        address = h5py.h5o.get_info(found.id).addr  # pyright: ignore[reportAttributeAccessIssue]
        if address in self.seen:
            raise ValueError(f"the group {key!r} is reached twice")
        self.seen.add(address)
        return found

    def _dataset(self, group: Any, key: str, told: str) -> Any:
        """An array, not yet read."""
        import h5py

        found = self._item(group, key)
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            raise ValueError(f"{told} has no {key}" if found is None else
                             f"{told}: {key} is empty" if isinstance(found, h5py.Dataset) else
                             f"{told}: {key} is not an array")
        return found

    def _check_size(self, data: Any, what: str) -> None:
        """Raise ValueError unless the values, of this array and of the file, can be in the file."""
        if data.is_virtual or data.external:
            raise ValueError(f"{what} lies in another file, which is not followed")
        size = math.prod(data.shape)
        chunk = math.prod(data.chunks) if data.chunks else 0
        stored = data.id.get_storage_size()
        self.values += size
        if max(self.values, chunk) > _MOST_VALUES:
            raise ValueError(f"{what} makes more than {_MOST_VALUES:,} values in this file")
        if size * data.dtype.itemsize > _MOST_SHRINK * stored:
            raise ValueError(f"{what} claims {size:,} values in {stored:,} bytes of the file")
        plist = data.id.get_create_plist()
        filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
        if len(set(filters)) < len(filters):
            raise ValueError(f"{what} is packed twice")

    def _text(self, group: Any, key: str, told: str) -> str:
        """A single text."""
        data = self._dataset(group, key, told)
        if data.shape != () or not _is_text(data):
            raise ValueError(f"{told}: {key} must be a text")
        return _decoded(data[()], told)


def _is_text(data: Any) -> bool:
    """Whether an array holds texts."""
    import h5py

    return h5py.check_string_dtype(data.dtype) is not None


def _decoded(text: Any, told: str) -> str:
    """A text of HDF5, which is bytes in UTF-8."""
    try:
        return text.decode() if isinstance(text, bytes) else str(text)
    except UnicodeDecodeError:
        raise ValueError(f"{told}: a text is not in UTF-8") from None
