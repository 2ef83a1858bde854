"""The integer network's file: it comes back, and a bad one is refused with the reason."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from models.integer import IntegerNetwork, NetworkError
from models.random_network import random_network
from rtl.config import PRESETS

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


def test_network_comes_back(network, tmp_path):
    path, again = tmp_path / "a" / "one.safetensors", tmp_path / "two.safetensors"
    network.about["accuracy"] = 0.5
    network.save(path)
    loaded = IntegerNetwork.load(path)
    for before, after in zip(network.layers, loaded.layers, strict=True):
        for name in ("weight", "shift", "bias"):
            assert np.array_equal(getattr(before, name), getattr(after, name))
        assert (before.name, before.neuron) == (after.name, after.neuron)
    assert loaded.about == {"accuracy": 0.5}
    loaded.save(again)
    assert path.read_bytes() == again.read_bytes()


def change_head(**changes):
    return lambda head, tensors: head.update(changes)


def change_layer(**changes):
    return lambda head, tensors: head["layers"][0].update(changes)


def change_neuron(**changes):
    return lambda head, tensors: head["layers"][0]["neuron"].update(changes)


def change_tensor(name, function):
    return lambda head, tensors: tensors.update({name: function(tensors[name])})


@pytest.mark.parametrize(("change", "message"), [
    (change_head(version=2), "version 2 cannot be read, only 1"),
    (change_head(format="onnx"), "the format is not 'quadfire-integer-network'"),
    (change_head(steps=0), "steps must be an integer in 1..65536, not 0"),
    (change_head(steps=True), "steps must be an integer"),
    (change_head(input_bits=9), "input_bits must be an integer in 0..8, not 9"),
    (change_head(fraction_bits=11), "fraction_bits must be at most state_bits - 2"),
    (change_head(layers=[]), "tensor '0.bias' belongs to no layer"),
    (lambda head, tensors: head.pop("steps"), "'steps' is missing"),
    (change_layer(kind="attention"), "kind 'attention' is not known"),
    (change_layer(weight_bits=5), "weight_bits must be 4 or 8, not 5"),
    (change_layer(neuron=None), "only the last layer may be a readout"),
    (change_neuron(theta=99999), "theta must lie in"),
    (change_neuron(hi=4000), "hi must fit in 12 signed bits, not 4000"),
    (change_neuron(threshold=1), "the neuron must have exactly the fields"),
    (change_tensor("0.weight", lambda w: w * 0 + 8), "weight .0, 0. = 8 is outside of 4 signed"),
    (change_tensor("0.weight", lambda w: w.astype(np.float32) * np.nan), "'0.weight' holds NaN"),
    (change_tensor("0.weight", lambda w: w.astype(np.int16)), "weight must be int8, not int16"),
    (change_tensor("0.weight", lambda w: w[0]), r"weight must have shape .outputs, inputs., not"),
    (change_tensor("0.shift", lambda s: s[1:]), r"shift must have shape \[5\], not \[4\]"),
    (change_tensor("0.shift", lambda s: s * 0 + 40), "shift of channel 0 must be in"),
    (change_tensor("1.weight", lambda w: w[:, 1:].copy()), "takes 4 inputs, but 'layer0' before"),
    (lambda head, tensors: tensors.pop("1.bias"), "'1.bias' is missing"),
    (lambda head, tensors: tensors.update(extra=np.zeros(2)), "'extra' belongs to no layer"),
])
def test_a_bad_file_is_refused(parts, change, message):
    path, head, tensors = parts
    change(head, tensors)
    rewrite(path, head, tensors)
    with pytest.raises(NetworkError, match=message):
        IntegerNetwork.load(path)


def test_files_that_are_none(parts):
    path, _, tensors = parts
    whole = path.read_bytes()
    for content in (whole[:-7], whole[:60], b"", b"PK\x03\x04 a zip of pickles"):
        path.write_bytes(content)
        with pytest.raises(NetworkError, match="not a safetensors file"):
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


def test_reading_a_network_needs_no_torch():
    code = ("import sys, models.integer, models.bounds, models.random_network; "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
