"""Checkpoints: what is written comes back, and what is wrong with a file is told."""

import json

import pytest
import torch
from safetensors.torch import save_file

from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import QIF
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from quadfire.paths import PRETRAINED


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
    (None, "not a checkpoint: 'quadfire'"),
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
