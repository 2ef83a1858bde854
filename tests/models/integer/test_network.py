"""The integer network's file: it comes back, and a bad one is refused with the reason."""

import functools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from quadfire.models.integer import (
    ConvBranch,
    IdentityBranch,
    IntegerLayer,
    IntegerNetwork,
    MembraneAnswer,
    NetworkError,
    Pool,
    dense,
)
from quadfire.models.integer.random_network import random_conv_network, random_network
from quadfire.paths import PRETRAINED
from quadfire.rtl.contract.config import PRESETS
from quadfire.rtl.contract.numerics import Neuron

pytestmark = pytest.mark.fast


@pytest.fixture
def network() -> IntegerNetwork:
    return random_network(np.random.default_rng(2), PRESETS["tiny"], sizes=[6, 5, 4], readout=True,
                          weight_bits=4, input_bits=8)


@pytest.fixture
def parts(network, tmp_path):
    """(path, head, tensors) of a good file, to be spoilt."""
    path = tmp_path / "network.safetensors"
    network.save(path)
    with safe_open(path, framework="numpy") as file:
        return path, json.loads(file.metadata()["quadfire"]), {
            name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def rewrite(path, head, tensors):
    save_file(tensors, path, {"quadfire": json.dumps(head)})


@pytest.mark.parametrize("seed", range(12))
def test_network_comes_back(tmp_path, seed):
    path, again = tmp_path / "a" / "one.safetensors", tmp_path / "two.safetensors"
    network = random_conv_network(np.random.default_rng(seed), PRESETS["default"])
    network.about["accuracy"] = 0.5
    network.save(path)
    loaded = IntegerNetwork.load(path)
    assert loaded.about == {"accuracy": 0.5}
    for name in ("input_shape", "shapes", "steps", "input_bits", "state_bits", "fraction_bits"):
        assert getattr(network, name) == getattr(loaded, name)
    for before, after in zip(network.layers, loaded.layers, strict=True):
        assert np.array_equal(before.shift, after.shift)
        assert np.array_equal(before.bias, after.bias)
        for name in ("name", "neuron", "weight_bits", "outputs"):
            assert getattr(before, name) == getattr(after, name)
        for one, other in zip(before.branches, after.branches, strict=True):
            assert np.array_equal(one.weight, other.weight)
            assert replace(one, weight=other.weight) == other
    loaded.save(again)
    assert path.read_bytes() == again.read_bytes()


def change_head(**changes):
    return lambda head, tensors: head.update(changes)


def change_layer(**changes):
    return lambda head, tensors: head["layers"][0].update(changes)


def change_branch(layer=0, **changes):
    return lambda head, tensors: head["layers"][layer]["branches"][0].update(changes)


def change_neuron(**changes):
    return lambda head, tensors: head["layers"][0]["neuron"].update(changes)


def change_tensor(name, function):
    return lambda head, tensors: tensors.update({name: function(tensors[name])})


@pytest.mark.parametrize(("change", "message"), [
    (change_head(version=1), "version 1 cannot be read, only 2: export the network again"),
    (change_head(format="onnx"), "the format is not 'quadfire-integer-network'"),
    (change_head(steps=0), "steps must be an integer in 1..65536, not 0"),
    (change_head(steps=True), "steps must be an integer"),
    (change_head(input_bits=9), "input_bits must be an integer in 0..8, not 9"),
    (change_head(fraction_bits=11), "fraction_bits must be at most state_bits - 2"),
    (change_head(layers=[]), "tensor '0.0.weight' belongs to no layer"),
    (lambda head, tensors: head.pop("steps"), "'steps' is missing"),
    (change_head(input_shape=[6, 1]), "input_shape must be"),
    (change_head(input_shape=6), "input_shape must be a list, not 6"),
    (change_head(input_shape=[6, 0, 1]), "H of input_shape must be an integer in 1"),
    (change_head(input_shape=[6, 2, 1]), "the last map must be 1 x 1, not 2 x 1"),
    (change_branch(kind="attention"), "branch 0: kind 'attention' is not known"),
    (change_branch(dilation=2), "branch 0 must have exactly the fields gain, padding, pool,"),
    (change_branch(source=0), "layer 'layer0': source 0 is not an earlier layer"),
    (change_branch(source=-2), "branch 0: source must be an integer in -1"),
    (change_branch(stride=0), "stride must be an integer in 1..255, not 0"),
    (change_branch(padding=1), "padding must be an integer in 0..0, not 1"),
    (change_branch(gain=0), "gain must be an integer in 1..16, not 0"),
    (change_branch(pool={"kind": "mean", "size": 1, "stride": 1, "padding": 0}),
     "the pool: the kind of a pool must be 'sum' or 'max', not 'mean'"),
    (change_branch(pool={"kind": "sum", "size": 1}), "the pool must have exactly the fields"),
    (change_branch(pool={"kind": "sum", "size": 2, "stride": 1, "padding": 0}),
     "pixels can neither be pooled"),
    (change_branch(1, pool={"kind": "sum", "size": 2, "stride": 1, "padding": 0}),
     "layer 'layer1', branch 0: no window of 2 x 2 fits in a map of 1 x 1"),
    (change_layer(name=7), "layer 7: its name must be a text"),
    (change_layer(weight_bits=5), "weight_bits must be 4 or 8, not 5"),
    (change_layer(neuron=None), "only the last layer may be a readout"),
    (change_neuron(theta=99999), "theta must lie in"),
    (change_neuron(hi=4000), "hi must fit in 12 signed bits, not 4000"),
    (change_neuron(threshold=1), "the neuron must have exactly the fields"),
    (change_tensor("0.0.weight", lambda w: w * 0 + 8),
     "branch 0: weight .0, 0, 0, 0. = 8 is outside of 4 signed bits"),
    (change_tensor("0.0.weight", lambda w: w.astype(np.float32) * np.nan), "'0.0.weight' holds"),
    (change_tensor("0.0.weight", lambda w: w.astype(np.int16)), "weight must be int8, not int16"),
    (change_tensor("0.0.weight", lambda w: w[0]),
     r"weight must have shape .outputs, channels, height, width., not"),
    (change_tensor("0.shift", lambda s: s[1:]), r"shift must have shape \[5\], not \[4\]"),
    (change_tensor("0.shift", lambda s: s * 0 + 40), "shift of channel 0 must be in"),
    (change_tensor("1.0.weight", lambda w: w[:, 1:].copy()),
     "layer 'layer1', branch 0: takes 4 channels, its source has 5"),
    (lambda head, tensors: tensors.pop("1.bias"), "'1.bias' is missing"),
    (lambda head, tensors: tensors.update(extra=np.zeros(2)), "'extra' belongs to no layer"),
])
def test_a_bad_file_is_refused(parts, change, message):
    path, head, tensors = parts
    change(head, tensors)
    rewrite(path, head, tensors)
    with pytest.raises(NetworkError, match=message):
        IntegerNetwork.load(path)


@pytest.mark.parametrize(("change", "message"), [
    (change_head(version=2.0), "version 2.0 cannot be read"),
    (change_head(version=True), "version True cannot be read"),
    (change_head(about=None), "about must be an object, not None"),
    (change_head(about=[1]), "about must be an object"),
    (change_head(layers={"0": {}}), "layers must be a list, not {'0': {}}"),
    (change_head(layers=[7]), "layer 0 must be an object, not 7"),
    (change_head(dropout=0.5), "exactly the fields .*: 'dropout' is not known"),
    (change_layer(dilation=2), "layer 0 must have exactly the fields .*: 'dilation' is not known"),
    (change_layer(weight_bits=4.0), "weight_bits must be 4 or 8, not 4.0"),
    (change_layer(branches=None), "layer 'layer0': branches must be a list, not None"),
    (change_layer(branches=[None]), "layer 'layer0', branch 0 must be an object with a kind"),
    (change_layer(branches=[]), "layer 'layer0': needs at least one branch"),
    (change_layer(neuron=0), "layer 'layer0': the neuron must be an object, not 0"),
    (change_layer(neuron={}), "the neuron must have exactly the fields .*: 'delta' is missing"),
    (change_branch(kind=["conv"]), "branch 0: kind .'conv'. is not known"),
    (change_branch(pool=False), "branch 0: the pool must be an object, not False"),
    (change_branch(pool={}), "the pool must have exactly the fields .*: 'kind' is missing"),
    (change_branch(stride=1.0), "stride must be an integer in 1..255, not 1.0"),
    (change_branch(gain=True), "gain must be an integer in 1..16, not True"),
    (change_neuron(soft=2), "layer 'layer0': the neuron: soft must be True or False, not 2"),
    (change_neuron(square="no"), "square must be True or False, not 'no'"),
    (change_neuron(square=1.0), "square must be True or False, not 1.0"),
    (change_neuron(square=None), "square must be True or False, not None"),
    (change_neuron(soft=-1), "soft must be True or False, not -1"),
    (change_neuron(delta=-1), "delta must lie in 0..theta - lo"),
    (change_neuron(theta=float("nan")), "theta must be an integer, not nan"),
    (change_tensor("0.bias", lambda b: b.astype(np.int64)), "bias must be int32, not int64"),
])
def test_a_field_of_the_wrong_kind_is_refused(parts, change, message):
    path, head, tensors = parts
    change(head, tensors)
    rewrite(path, head, tensors)
    with pytest.raises(NetworkError, match=message) as error:
        IntegerNetwork.load(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("before", "after", "message"), [
    ('"soft": ', '"soft": false, "soft": ', "the metadata has 'soft' twice in one object"),
    ('"steps": ', '"steps": 1, "steps": ', "the metadata has 'steps' twice in one object"),
    ('"steps": ', '"steps": 1' + "0" * 5000 + ', "x": ', "the metadata is not JSON: Exceeds"),
    ('"about": {}', '"about": ' + "[" * 100_000, "the metadata is not JSON: maximum recursion"),
])
def test_a_text_that_json_reads_otherwise_is_refused(parts, before, after, message):
    path, head, tensors = parts
    text = json.dumps(head)
    assert before in text
    save_file(tensors, path, {"quadfire": text.replace(before, after, 1)})
    with pytest.raises(NetworkError, match=message):
        IntegerNetwork.load(path)


def places(value, path=()):
    """The path of every value in a JSON text, the text itself aside."""
    inner = value.items() if isinstance(value, dict) else \
        enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def answering(rng, config):
    """A network on counts whose answer is membranes."""
    network = random_network(rng, config, sizes=[6, 5, 4], readout=False, input_bits=0)
    return replace(network, input_shape=(2, 1, 1), count_bits=3,
                   answer=MembraneAnswer(over="max", delta=7))


def test_fields_that_say_nothing_are_not_written(tmp_path):
    """Files of networks without counts and membranes as answers stay what they were."""
    path = tmp_path / "network.safetensors"
    random_network(np.random.default_rng(8), PRESETS["tiny"]).save(path)
    with safe_open(path, framework="numpy") as file:
        assert not {"answer", "count_bits"} & {*json.loads(file.metadata()["quadfire"])}


@pytest.mark.parametrize(("change", "message"), [
    ({"answer": "last"}, "answer must be a MembraneAnswer"),
    ({"count_bits": 9}, r"count_bits must be an integer in 0\.\.8, not 9"),
    ({"count_bits": 2}, "takes 6 channels, its source has 4"),
    ({"input_bits": 1}, "counts or pixels"),
    ({"layers": None}, "is a readout, which has none"),
])
def test_answers_and_counts_that_do_not_fit_are_refused(change, message):
    network = answering(np.random.default_rng(8), PRESETS["tiny"])
    if "layers" in change:
        change = {"layers": (network.layers[0], replace(network.layers[1], neuron=None))}
    with pytest.raises(NetworkError, match=message):
        replace(network, **change)
    with pytest.raises(NetworkError, match="over must be last, mean, sum, max, not 'first'"):
        MembraneAnswer(over="first")


@pytest.mark.parametrize(("make", "options"), [
    (random_network, {"sizes": [6, 5, 4], "readout": True, "input_bits": 8}),
    (random_conv_network, {"layers": 3, "readout": False, "kind": "lif"}),
    (random_conv_network, {"layers": 3, "readout": False, "kind": "lif", "pairs": 1.0}),
    (answering, {}),
], ids=["dense", "convolutions", "pairs", "answer and counts"])
def test_no_field_of_a_file_is_taken_on_trust(tmp_path, make, options):
    """Every field, replaced by every odd value: refused in one line, or written back as it was."""
    path, again = tmp_path / "network.safetensors", tmp_path / "again.safetensors"
    make(np.random.default_rng(8), PRESETS["tiny"], **options).save(path)
    with safe_open(path, framework="numpy") as file:
        text = file.metadata()["quadfire"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    odd = [None, True, False, -1, 0, 1, 2, 3, 1 << 40, -(1 << 70), 0.0, 1.0, 2.5, "", "no", "conv",
           [], [1], [1, 2], [2, 2], [1, 2, 3], [True, 2], [1, 2.0], {}, {"kind": "max"}]
    refused = 0
    for place in places(json.loads(text)):
        for value in [*odd, "a missing field"]:
            head = json.loads(text)
            *outer, last = place
            inside = functools.reduce(lambda part, key: part[key], outer, head)
            if value == "a missing field":
                del inside[last]
            else:
                inside[last] = value
            rewrite(path, head, tensors)
            try:
                IntegerNetwork.load(path).save(again)
            except NetworkError as error:
                assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
                refused += 1
            else:
                with safe_open(again, framework="numpy") as file:
                    found = file.metadata()["quadfire"]
                assert found == json.dumps({"about": {}, **head}, sort_keys=True), (place, value)
    assert refused > 800


NEURON = Neuron(square=True, soft=False, factor=0, theta=512, lo=-2048, hi=2047, initial=0, reset=0,
                delta=0)


def conv(source: int, *shape: int, **options) -> ConvBranch:
    return ConvBranch(source=source, weight=np.ones(shape, np.int8), **options)


def identity(source: int, outputs: int, value: int = 1) -> IdentityBranch:
    return IdentityBranch(source=source, weight=np.full(outputs, value, np.int32))


def layer(name: str, *branches, neuron=NEURON) -> IntegerLayer:
    outputs = branches[0].outputs
    return IntegerLayer(name=name, branches=branches, weight_bits=8, neuron=neuron,
                        shift=np.zeros(outputs, np.int8), bias=np.zeros(outputs, np.int32))


def build(*layers: IntegerLayer, input_bits: int = 0) -> IntegerNetwork:
    return IntegerNetwork(input_shape=(3, 6, 5), layers=layers, steps=2, input_bits=input_bits,
                          state_bits=12, fraction_bits=10)


def test_shapes_of_a_graph():
    network = build(
        layer("a", conv(-1, 4, 3, 3, 3, padding=1)),
        layer("b", conv(0, 4, 4, 3, 3, padding=1), identity(0, 4)),
        layer("c", conv(1, 7, 4, 3, 3, stride=2, padding=1), conv(0, 7, 4, 1, 1, stride=2, gain=2)),
        layer("d", conv(2, 2, 7, 1, 1, pool=Pool(kind="sum", size=3, stride=3))), input_bits=8)
    assert network.shapes == ((4, 6, 5), (4, 6, 5), (7, 3, 3), (2, 1, 1))
    assert (network.inputs, network.outputs) == (90, 2)
    assert [network.bits_of(one) for one in network.layers] == [8, 0, 0, 0]
    low, high = network.layers[2].sum_range()
    assert (low == 0).all() and (high == 4 * 9 + 2 * 4).all()
    assert (network.layers[3].sum_range()[1] == 9 * 7).all()
    assert (layer("e", identity(0, 3, -500), conv(-1, 3, 1, 1, 1)).sum_range()[0] == -500).all()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: build(layer("a", conv(-1, 4, 3, 3, 3)), layer("b", conv(-1, 1, 3, 6, 5))),
     "layer 'a': no later layer reads it"),
    (lambda: build(layer("a", conv(-1, 3, 3, 1, 1), identity(-1, 3)), input_bits=4),
     "layer 'a': pixels can neither be pooled nor pass by an identity"),
    (lambda: build(layer("a", conv(-1, 3, 3, 1, 1)), layer("b", conv(0, 3, 3, 1, 1), conv(
        -1, 3, 3, 1, 1)), input_bits=4), "layer 'b': cannot add pixels and spikes"),
    (lambda: build(layer("a", conv(-1, 3, 3, 2, 2), conv(-1, 3, 3, 1, 1))),
     r"layer 'a', branch 1: makes a map of \[3, 6, 5\], branch 0 one of \[3, 5, 4\]"),
    (lambda: build(layer("a", conv(-1, 3, 3, 7, 7))), "kernel of 7 x 7 is larger than its map of"),
    (lambda: build(layer("a", conv(-1, 3, 3, 1, 1), identity(-1, 4))), "branch 1: has 4 outputs"),
    (lambda: build(layer("a", conv(-1, 4, 3, 1, 1), identity(-1, 4))),
     "branch 1: has 4 weights, its source 3 channels"),
    (lambda: identity(0, 3, 1 << 19), r"weight \[0\] = 524288 is outside of 20 signed bits"),
    (lambda: Pool(kind="max", size=3, stride=1, padding=2), "padding of a pool must be an integer"),
    (lambda: layer("a", conv(-1, 3, 3, 2, 2, stride=2)).weight, "is more than one matrix"),
    (lambda: dense("a", np.ones((2, 5), np.int8), weight_bits=8, shift=np.zeros(2, np.int8),
                   bias=np.zeros(2, np.int32), neuron=None, source=-1, shape=(2, 2, 1)),
     r"weight must have shape \[outputs, 4\], not \[2, 5\]"),
])
def test_graphs_that_cannot_be(make, message):
    with pytest.raises(NetworkError, match=message):
        make()


def test_a_dense_layer_reads_a_map_in_order():
    weight = np.arange(2 * 90, dtype=np.int8).reshape(2, 90)
    made = dense("a", weight, weight_bits=8, shift=np.zeros(2, np.int8),
                 bias=np.zeros(2, np.int32), neuron=None, source=-1, shape=(3, 6, 5))
    assert np.array_equal(made.weight, weight) and made.inputs == 90
    assert np.array_equal(made.branches[0].weight[1, 2, 3], weight[1, 75:80])
    assert build(made).shapes == ((2, 1, 1),)


def test_files_that_are_none(parts):
    path, _, tensors = parts
    whole = path.read_bytes()
    for content in (whole[:-7], whole[:60], b"", b"PK\x03\x04 a zip of pickles"):
        path.write_bytes(content)
        with pytest.raises(NetworkError, match="not a safetensors file$"):
            IntegerNetwork.load(path)
    save_file(tensors, path)
    with pytest.raises(NetworkError, match='no metadata under "quadfire"'):
        IntegerNetwork.load(path)
    save_file(tensors, path, {"quadfire": "{"})
    with pytest.raises(NetworkError, match="not JSON"):
        IntegerNetwork.load(path)
    path.unlink()
    with pytest.raises(NetworkError, match="there is no such file"):
        IntegerNetwork.load(path)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "BF16", "U8", "X9"])
def test_tensors_of_kinds_that_numpy_has_not(parts, kind):
    """Tensors of 8 and 4 bits of floating point, which safetensors knows."""
    path, _, _ = parts
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + length])
    name = next(name for name in head if name.endswith("weight"))
    head[name]["dtype"] = kind
    head[name]["shape"][-1] = {"BF16": head[name]["shape"][-1] // 2,
                               "F4": head[name]["shape"][-1] * 2}.get(kind,
                                                                      head[name]["shape"][-1])
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length:])
    with pytest.raises(NetworkError) as error:
        IntegerNetwork.load(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_what_is_something_else_is_named(tmp_path):
    checkpoint = PRETRAINED / "mnist5k-784-128-10.safetensors"
    for path, message in (
            (checkpoint, f"{checkpoint} is a checkpoint, not an integer network: run "
                         f"`quadfire quantize {checkpoint}` first"),
            (tmp_path, f"{tmp_path} is a folder: name a .safetensors file")):
        with pytest.raises(NetworkError) as error:
            IntegerNetwork.load(path)
        assert str(error.value) == message


def test_reading_a_network_needs_no_torch():
    """Where torch cannot be imported, all modules but `encoding` and `reference` still can."""
    code = ("import sys; sys.modules['torch'] = None\n"
            "from quadfire.models.integer import IntegerLayer, IntegerNetwork, NetworkError\n"
            "import quadfire.models.integer.bounds, quadfire.models.integer.random_network\n"
            "print(IntegerNetwork.load(sys.argv[1]).outputs)")
    path = PRETRAINED / "mnist5k-conv-int8.safetensors"
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True,
                          text=True)
    assert done.stdout == "10\n"
