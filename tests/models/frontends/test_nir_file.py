"""The reader of NIR files: what it reads, and one line for everything that is wrong."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quadfire.models.frontends import nir_file
from quadfire.models.frontends.nir_file import KINDS, read_nir

from tests.models.frontends.nir_files import graph, write_file

h5py: Any = pytest.importorskip("h5py", reason="h5py is not installed")
pytestmark = pytest.mark.fast

EDGES = [("input", "fc"), ("fc", "lif"), ("lif", "output")]
NODES: dict[str, dict[str, Any]] = {
    "input": {"type": "Input", "shape": [3]},
    "fc": {"type": "Affine", "weight": np.arange(6.0).reshape(2, 3), "bias": np.ones(2)},
    "lif": {"type": "LIF", "tau": np.full(2, 0.5), "r": np.ones(2), "v_leak": np.zeros(2),
            "v_threshold": np.ones(2)},
    "output": {"type": "Output", "shape": [2]},
}


def changed(node: str, **values: Any) -> dict[str, Any]:
    """NODES, with other parameters of one node; None takes one away."""
    new = {k: v for k, v in (NODES[node] | values).items() if v is not None}
    return graph(NODES | {node: new}, EDGES)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def save(node: dict[str, Any]) -> Path:
        return write_file(tmp_path / "net.nir", node)

    return save


def test_reads_nodes_edges_and_metadata(save):
    read = read_nir(save({**changed("lif", metadata={"dt": 0.5, "note": "a", "table": np.eye(2)}),
                          "metadata": {"dt": 1, "reset": "zero"}}))
    assert read.version == "1.0.8"
    assert {name: node.kind for name, node in read.nodes.items()} == \
        {"input": "Input", "fc": "Affine", "lif": "LIF", "output": "Output"}
    assert set(read.edges) == set(EDGES)
    weight = read.nodes["fc"].values["weight"]
    assert isinstance(weight, np.ndarray) and weight.dtype == np.float64
    assert np.array_equal(weight, NODES["fc"]["weight"])
    assert read.nodes["input"].values["shape"].dtype == np.int64
    assert read.nodes["fc"].metadata == {"dt": 1.0, "reset": "zero"}
    assert read.nodes["lif"].metadata == {"dt": 0.5, "note": "a", "reset": "zero"}


def test_graphs_inside_of_graphs_are_flattened(save):
    inner = graph({"in": {"type": "Input", "shape": [2]}, "lif": NODES["lif"],
                   "out": {"type": "Output", "shape": [2]}}, [("in", "lif"), ("lif", "out")])
    middle = graph({"a": {"type": "Input", "shape": [2]}, "layer": inner,
                    "b": {"type": "Output", "shape": [2]}}, [("a", "layer"), ("layer", "b")])
    read = read_nir(save(graph(NODES | {"lif": middle}, EDGES)))
    assert set(read.edges) == {
        ("input", "fc"), ("fc", "lif.a"), ("lif.a", "lif.layer.in"),
        ("lif.layer.in", "lif.layer.lif"), ("lif.layer.lif", "lif.layer.out"),
        ("lif.layer.out", "lif.b"), ("lif.b", "output")}
    assert read.nodes["lif.layer.lif"].kind == "LIF"


def test_reads_every_type_as_the_library_writes_it(tmp_path):
    nir: Any = pytest.importorskip("nir", reason="nir is not installed")
    one, w = np.ones(2), np.ones((2, 2, 3, 3))
    nodes = {
        "Affine": nir.Affine(weight=np.eye(2), bias=one),
        "AvgPool2d": nir.AvgPool2d(kernel_size=np.array([2, 2]), stride=2, padding=0),
        "Conv1d": nir.Conv1d(input_shape=8, weight=w[0], stride=1, padding="same", dilation=1,
                             groups=1, bias=one),
        "Conv2d": nir.Conv2d(input_shape=(8, 8), weight=w, stride=1, padding=(1, 0), dilation=1,
                             groups=1, bias=one),
        "CubaLI": nir.CubaLI(tau_syn=one, tau_mem=one, r=one, v_leak=one),
        "CubaLIF": nir.CubaLIF(tau_syn=one, tau_mem=one, r=one, v_leak=one, v_threshold=one),
        "Delay": nir.Delay(delay=one),
        "Flatten": nir.Flatten(input_type=np.array([2, 3]), start_dim=0),
        "I": nir.I(r=one), "IF": nir.IF(r=one, v_threshold=one),
        "Input": nir.Input(np.array([2])), "LI": nir.LI(tau=one, r=one, v_leak=one),
        "LIF": nir.LIF(tau=one * np.inf, r=one * np.inf, v_leak=one, v_threshold=one),
        "Linear": nir.Linear(weight=np.eye(2)), "Output": nir.Output(np.array([2])),
        "Scale": nir.Scale(scale=one), "Threshold": nir.Threshold(threshold=one),
        "SumPool2d": nir.SumPool2d(kernel_size=np.array([2, 2]), stride=np.array([2, 2]),
                                   padding=np.array([0, 0])),
    }
    assert set(nodes) == set(KINDS)
    nir.write(tmp_path / "all.nir", nir.NIRGraph(nodes=nodes, edges=[], type_check=False))
    read = read_nir(tmp_path / "all.nir")
    for name, node in nodes.items():
        made = read.nodes[name]
        assert made.kind == name
        for key, value in made.values.items():
            written = getattr(node, {"shape": f"{name.lower()}_type"}.get(key, key))
            if isinstance(written, dict):
                written = written[next(iter(written))]
            assert np.array_equal(value, written), (name, key)


@pytest.mark.parametrize(("tree", "message"), [
    ({"type": "LIF"}, "holds a single LIF, not a graph of nodes"),
    (graph(NODES, [*EDGES, ("lif", "fc2")]), "edge 'lif' -> 'fc2': there is no node 'fc2'"),
    (graph(NODES, [*EDGES, EDGES[0]]), "edge 'input' -> 'fc' is there twice"),
    (graph(NODES | {"x": {"type": "Foo"}}, EDGES),
     "node 'x' Foo: there is no such type of node, only Affine,"),
    (graph(NODES | {"x": {"weight": 1.0}}, EDGES), "node 'x' has no type"),
    (graph(NODES | {"x": graph({}, [])}, [*EDGES, ("x", "lif")]),
     "edge 'x' -> 'lif': the graph 'x' has 0 nodes of type Output, one is needed"),
    ({"type": "NIRGraph", "nodes": NODES, "edges": np.ones((2, 2))},
     "the edges of the graph must be texts [n, 2]"),
    ({"type": "NIRGraph", "nodes": NODES}, "the graph has no edges"),
    ({"type": "NIRGraph", "edges": EDGES}, "the graph has no 'nodes'"),
    (changed("lif", v_leak=None), "node 'lif' LIF has no v_leak"),
    (changed("lif", refractory=1.0), "node 'lif' LIF has an unknown parameter 'refractory'"),
    (changed("fc", weight=np.array([[1.0, np.nan, 0]] * 2)), "node 'fc' Affine: weight is NaN"),
    (changed("fc", weight=np.full((2, 3), np.inf)), "node 'fc' Affine: weight is infinite"),
    (changed("lif", tau=np.full(2, -np.inf)), "node 'lif' LIF: tau is infinite"),
    (changed("lif", v_threshold=np.full(2, np.inf)), "node 'lif' LIF: v_threshold is infinite"),
    (changed("fc", weight="many"), "node 'fc' Affine: weight must be numbers, not object"),
    (changed("fc", weight=np.ones((2, 3), complex)),
     "node 'fc' Affine: weight must be numbers, not complex128"),
    (changed("fc", weight=np.ones((2, 0))), "node 'fc' Affine: weight is empty"),
    (changed("fc", weight={"a": 1.0}), "node 'fc' Affine: weight is not an array"),
    (changed("input", shape=[1.5]), "node 'input' Input: shape must be whole numbers, not float64"),
    (changed("input", shape=[[3]]),
     "node 'input' Input: shape must be one number or a row of them below 2^31"),
    (changed("input", shape=[1 << 40]),
     "node 'input' Input: shape must be one number or a row of them below 2^31"),
])
def test_a_wrong_file_is_told_in_one_line(save, tree, message):
    path = save(tree)
    with pytest.raises(ValueError) as caught:
        read_nir(path)
    assert str(caught.value).startswith(f"{path}: {message}") and "\n" not in str(caught.value)


def test_other_files(tmp_path):
    for name, content, message in (("a.nir", b"", "not a NIR file: NIR files are HDF5"),
                                   ("b.nir", b"PK\3\4 zip", "not a NIR file"),
                                   ("none.nir", None, "there is no such file")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            read_nir(tmp_path / name)
    with pytest.raises(ValueError, match="it is a folder"):
        read_nir(tmp_path)
    with h5py.File(tmp_path / "c.nir", "w") as file:
        file["weights"] = np.ones(3)
    with pytest.raises(ValueError, match="an HDF5 file, but not of NIR: it has no 'node'"):
        read_nir(tmp_path / "c.nir")


def test_sizes_are_checked_before_memory_is_taken(save, tmp_path):
    path = save(graph(NODES, EDGES))
    with h5py.File(path, "r+") as file:
        del file["node/nodes/fc/weight"]
        file["node/nodes/fc"].create_dataset("weight", (1 << 20, 1 << 20), "f4", chunks=True)
    with pytest.raises(ValueError, match="'fc' Affine: weight makes more than 134,217,728 values"):
        read_nir(path)
    with h5py.File(path, "r+") as file:
        del file["node/nodes/fc/weight"]
        file["node/nodes/fc"].create_dataset("weight", (1 << 13, 1 << 13), "f4", chunks=True)
    with pytest.raises(ValueError, match="weight claims 67,108,864 values in 0 bytes of the file"):
        read_nir(path)


def test_links_are_not_followed(save, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weight"] = np.ones((2, 3))
    for link, message in ((h5py.ExternalLink("other.h5", "weight"), "'weight' is a link to"),
                          (h5py.SoftLink("/node/nodes/fc/bias"), "'weight' is a link to")):
        path = save(graph(NODES, EDGES))
        with h5py.File(path, "r+") as file:
            del file["node/nodes/fc/weight"]
            file["node/nodes/fc/weight"] = link
        with pytest.raises(ValueError, match=message):
            read_nir(path)
    path = save(graph(NODES, EDGES))
    with h5py.File(path, "r+") as file:
        file["node/nodes/again"] = file["node"]     # a graph inside of itself
    with pytest.raises(ValueError, match="the group 'again' is reached twice"):
        read_nir(path)
    path = save(changed("fc", weight=None))
    layout = h5py.VirtualLayout((2, 3), "f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "weight", (2, 3))
    with h5py.File(path, "r+") as file:
        file["node/nodes/fc"].create_virtual_dataset("weight", layout)
    with pytest.raises(ValueError, match="weight lies in another file, which is not followed"):
        read_nir(path)


def test_a_file_that_is_cut_short_or_damaged_is_told_in_one_line(save):
    """Cuts, and changed bytes: a network, or a line with the path."""
    path = save(graph(NODES, EDGES))
    whole = path.read_bytes()
    rng, told = np.random.default_rng(1), 0
    cases = [whole[:size] for size in range(0, len(whole), 397)]
    heap = whole.index(b"GCOL")     # of texts, which HDF5 may never end to read: the next test
    with h5py.File(path) as file:
        edges = file["node/edges"].id.get_offset()
    for _ in range(100):
        bad = np.frombuffer(whole, np.uint8).copy()
        places = rng.integers(0, len(bad), rng.integers(1, 20))
        texts = (places >= heap) & (places < heap + 4096)
        texts |= (places >= edges) & (places < edges + 96)
        bad[places[~texts]] ^= np.uint8(rng.integers(1, 256))
        cases.append(bad.tobytes())
    for case in cases:
        path.write_bytes(case)
        try:
            read_nir(path)
        except ValueError as error:
            told += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert told > len(cases) // 4


def test_another_process_tells_what_hdf5_never_ends_to_read(save, monkeypatch):
    """The list of free space among the texts leads back to itself."""
    path = save(graph(NODES, EDGES))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"GCOL") + 16
    while int.from_bytes(raw[at:at + 2], "little"):         # objects: number, ..., size, bytes
        at += 16 + (int.from_bytes(raw[at + 8:at + 16], "little") + 7) // 8 * 8
    raw[at + 8:at + 16] = bytes(8)
    path.write_bytes(raw)
    monkeypatch.setattr(nir_file, "_PATIENCE", 3.0)
    with pytest.raises(ValueError, match=r"net\.nir: the file is damaged \(reading it takes more"):
        read_nir(path)


def test_another_process_tells_what_is_wrong(save):
    path = save(changed("lif", v_leak=None))
    with pytest.raises(ValueError) as caught:
        read_nir(path)
    assert str(caught.value) == f"{path}: node 'lif' LIF has no v_leak"
    assert len(read_nir(save(graph(NODES, EDGES))).nodes) == 4


def test_without_h5py_it_says_what_to_install(save, monkeypatch):
    path = save(graph(NODES, EDGES))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"pip install 'quadfire\[import\]'"):
        read_nir(path)


def test_needs_neither_torch_nor_nir(save):
    code = ("import sys; from quadfire.models.frontends.nir_file import read_nir; "
            f"read_nir({str(save(graph(NODES, EDGES)))!r}); "
            "print('torch' in sys.modules, 'nir' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
