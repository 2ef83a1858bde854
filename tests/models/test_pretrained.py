"""The networks that come with the project do what is said of them."""

import pytest
import torch

from quadfire.models.commands.common import CHECKPOINT, PRETRAINED
from quadfire.models.datasets import mnist5k
from quadfire.models.integer import IntegerNetwork, Pool, reference
from quadfire.models.quantize.report import Selection, integer_accuracy
from quadfire.models.training.checkpoint import load_checkpoint
from quadfire.models.training.train import accuracy, measure

CONV = PRETRAINED / "mnist5k-conv.safetensors"


@pytest.fixture(scope="module")
def held_out():
    return mnist5k().held_out_set


def test_floating_point(held_out):
    network, about = load_checkpoint(CHECKPOINT)
    found = accuracy(network, *held_out)
    assert found >= 0.965
    assert found == pytest.approx(about["accuracy"]["held_out"], abs=0.002)
    assert about["command"].startswith("quadfire train")
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


def test_convolutions_in_floating_point():
    network, about = load_checkpoint(CONV)
    found, _ = measure(network, Selection(mnist5k().held_out_samples, 250))
    assert found >= 0.965 and about["accuracy"]["held_out"] >= 0.98
    assert about["command"] == ("quadfire train --network 16C3-P2-32C3-P2-128-10 "
                                f"--epochs 40 --out models/pretrained/{CONV.name}")
    assert network.config()["layers"] == "16C3-P2-32C3-P2-128-10" and network.steps == 4


@pytest.mark.parametrize("bits", [8, 4])
def test_convolutions_in_integers(bits):
    network = IntegerNetwork.load(CONV.with_stem(f"{CONV.stem}-int{bits}"))
    assert integer_accuracy(network, mnist5k().held_out_samples) == \
        network.about["accuracy"]["held_out"] >= 0.98
    assert {layer.weight_bits for layer in network.layers} == {bits}
    assert network.input_shape == (1, 28, 28)
    assert network.shapes == ((16, 28, 28), (32, 14, 14), (128, 1, 1), (10, 1, 1))
    assert [layer.branches[0].pool for layer in network.layers] == [
        None, *[Pool(kind="max", size=2, stride=2)] * 2, None]
