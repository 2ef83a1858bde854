"""The networks that come with the project do what is said of them."""

import pytest
import torch

from models import reference
from models.__main__ import CHECKPOINT, PRETRAINED
from models.datasets import mnist5k
from models.integer import IntegerNetwork
from models.train import accuracy, load_checkpoint


@pytest.fixture(scope="module")
def held_out():
    return mnist5k().held_out_set


def test_floating_point(held_out):
    network, about = load_checkpoint(CHECKPOINT)
    found = accuracy(network, *held_out)
    assert found >= 0.965
    assert found == pytest.approx(about["accuracy"]["held_out"], abs=0.002)
    assert about["command"].startswith("python -m models train")
    assert network.sizes == (784, 128, 10) and network.steps == 4


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 0.003), (4, 0.01)])
def test_integers(held_out, bits, tolerance):
    network = IntegerNetwork.load(PRETRAINED / f"{CHECKPOINT.stem}-int{bits}.safetensors")
    images, labels = held_out
    result = reference.run(network, images)
    found = (result.classes == labels).double().mean().item()
    assert found == network.about["accuracy"]["held_out"]
    assert found >= network.about["float_accuracy"]["held_out"] - tolerance
    assert {layer.weight_bits for layer in network.layers} == {bits}
    assert torch.unique(result.classes).tolist() == [*range(10)]
