"""Checkpoints: what is written comes back, and what is wrong with a file is told."""

import json

import pytest
import torch
from safetensors.torch import save_file

from quadfire.models.networks import ConvNet
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import LIF, QIF
from quadfire.models.training import checkpoint
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from quadfire.paths import PRETRAINED

from tests.command import quadfire


def test_checkpoint_comes_back(trained, data, tmp_path):
    path = tmp_path / "new" / "network.safetensors"
    save_checkpoint(path, trained, {"seed": 3})
    network, about = load_checkpoint(path)
    assert about == {"seed": 3} and network.config() == trained.config()
    images = data.images[:50]
    with torch.no_grad():
        assert torch.equal(network(images), trained.eval()(images))


def _header(**changes) -> dict[str, str]:
    head = {"format": "quadfire-checkpoint", "version": 1, "about": {},
            "config": SpikingMLP([4, 3, 2], QIF()).config(), **changes}
    return {"quadfire": json.dumps(head)}


@pytest.mark.parametrize(("metadata", "message"), [
    (None, "not a checkpoint: it is a state dict of tensors"),
    ({"quadfire": "{"}, "not a checkpoint: Expecting"),
    (_header(version=2), "version 2, not quadfire-checkpoint version 1"),
    (_header(format="other"), "holds other version 1"),
    (_header(config={"sizes": [4, 3, 2], "neuron": {"kind": "hh"}}), "no neuron is called 'hh'"),
    (_header(), "Missing key"),
])
def test_checkpoint_errors(tmp_path, metadata, message):
    path = tmp_path / "bad.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_checkpoint_file_errors(tmp_path):
    path = tmp_path / "bad.safetensors"
    with pytest.raises(CheckpointError, match=r"bad\.safetensors: there is no such file"):
        load_checkpoint(path)
    path.write_bytes(b"not a safetensors file at all")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match="is a folder: name a .safetensors file"):
        load_checkpoint(tmp_path)
    network = PRETRAINED / "mnist5k-784-128-10-int8.safetensors"
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(network)
    assert str(error.value) == (f"{network} is an integer network already: name the checkpoint "
                                "that it was made from")


@pytest.mark.parametrize(("change", "message"), [
    ({"about": []}, "about must be an object"), ({"about": None}, "about must be an object"),
    ({"config": []}, "not a checkpoint"), ({"config": {}}, "not a checkpoint"),
    ({"config": {"network": "conv", "layers": "3C3-5"}}, "not a checkpoint"), ("steps", "integer"),
    ("tensors", "Missing key"), ("deep", "not a checkpoint|neither|JSON|recursion")])
def test_a_checkpoint_that_is_damaged(tmp_path, change, message):
    """Python and the commands say it in one line."""
    path = tmp_path / "net.safetensors"
    network = ConvNet("3C3-5", LIF(), input_shape=(1, 8, 8))
    head = {"config": network.config(), "about": {}}
    tensors = network.state_dict()
    if change == "steps":
        head["config"]["steps"] = 4.0
    elif change == "tensors":
        tensors = {"x": tensors["readout.weight"]}
    elif change != "deep":
        head |= change
    checkpoint.write(path, checkpoint.FORMAT, tensors, head)
    if change == "deep":
        text = '{"a":' * 5000 + "1" + "}" * 5000
        save_file(tensors, path, {"quadfire": text})
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    for verb in ("quantize", "show", "report", "evaluate"):
        done = quadfire(verb, path)
        assert done.status == 2 and len(done.err.splitlines()) == 1, done.text


def test_a_checkpoint_of_python(tmp_path):
    """It says nothing of itself: `show` takes it, `quantize` says what is missing."""
    save_checkpoint(tmp_path / "net", ConvNet("3C3-5", LIF(), input_shape=(1, 8, 8)), {})
    assert quadfire("show", tmp_path / "net").status == 0
    for verb in ("quantize", "report"):
        done = quadfire(verb, tmp_path / "net")
        assert done.status == 2 and "does not say its dataset and accuracy and options" in done.err
