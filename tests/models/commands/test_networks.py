"""`quadfire` on convolutional networks: defaults, errors, training to integers."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from quadfire.models.datasets import ImageDataset, digits
from quadfire.models.integer import IntegerNetwork
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.checkpoint import load_checkpoint
from quadfire.models.training.defaults import options_for
from quadfire.models.training.options import Options

from tests.command import quadfire
from tests.models.datasets.test_events import CIFAR10_DVS, aedat
from tests.models.training.test_fit import coloured


def run(*words) -> str:
    result = quadfire(*words)
    assert result.status == 0, result.text
    return result.text


@pytest.fixture(scope="module")
def spelled_out(tmp_path_factory):
    """A checkpoint of a network written out in letters."""
    path = tmp_path_factory.mktemp("spelled") / "net.safetensors"
    output = run("train", "--dataset", "digits", "--network", "8C3-P2-32-10", "--epochs", 3,
                 "--rate", 0.01, "--augment", "none", "--out", path)
    assert "epoch 3:" in output and "spike rate by layer" in output
    return path


def test_a_network_written_out(spelled_out):
    path = spelled_out
    network, about = load_checkpoint(path)
    share = about["accuracy"]["held_out"]
    assert share > 0.6 and about["options"]["decay"] == "weights"
    assert [epoch["number"] for epoch in about["history"]] == [1, 2, 3]
    assert f"{share:.2%}" in run("evaluate", path)
    assert "ConvLayer" in run("show", path)
    assert not [*path.parent.glob("*.run.*")]               # the state of the run is gone


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """A folder of events, and a checkpoint that was trained on them."""
    tmp_path = tmp_path_factory.mktemp("events")
    for label, name in enumerate(CIFAR10_DVS):
        (tmp_path / name).mkdir()
        for number in range(2):
            events = [(t, t % 128, 8 * label + number, 1) for t in range(100)]
            (tmp_path / name / f"cifar10_{name}_{number}.aedat").write_bytes(aedat(events))
    path = tmp_path / "net.safetensors"
    run("train", "--dataset", "cifar10dvs", "--data", tmp_path, "--network", "vggsnn", "--width",
        0.05, "--steps", 3, "--epochs", 1, "--batch", 5, "--out", path)
    return tmp_path, path


def test_events(events):
    tmp_path, path = events
    network, about = load_checkpoint(path)
    assert "frames" not in about and "input_bits" not in about
    assert network.steps == 3 and network.input_shape == (2, 48, 48)
    assert about["options"]["augment"] == {"kind": "image", "crop": 4, "flip": True, "policy": "",
                                           "cutout": 0}
    assert "10" in run("evaluate", path, "--data", tmp_path)


def test_photographs(tmp_path):
    for part in ("train", "val"):
        for shade, name in ((30, "dark"), (220, "light")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.full((40, 50, 3), shade + number, np.uint8)).save(
                    tmp_path / part / name / f"{number}.JPEG")
    path = tmp_path / "net.safetensors"
    run("train", "--dataset", "imagenet", "--data", tmp_path, "--size", 64, "--network", "resnet34",
        "--width", 0.05, "--steps", 2, "--epochs", 1, "--batch", 3, "--workers", 1, "--out", path)
    network, about = load_checkpoint(path)
    assert network.classes == 2 and about["options"]["augment"] is None
    assert "6" in run("evaluate", path, "--data", tmp_path)


def test_defaults():
    colour = ImageDataset(name="cifar10", shape=(3, 12, 12), classes=4,
                          train_samples=coloured(), held_out_samples=coloured())
    assert options_for(digits(), "mlp", "auto", {"seed": 1}) == Options()
    assert options_for(digits(), "16C3-10", "auto", {}) == Options(decay="weights",
                                                                   augment=Augment())
    named = options_for(colour, "resnet19", "auto", {})
    assert (named.optimizer, named.rate, named.loss, named.epochs, named.augment) == (
        "sgd", 0.1, "tet", 200, ImageAugment())
    adamw = options_for(colour, "resnet19", "none", {"optimizer": "adamw"})
    assert (adamw.rate, adamw.weight_decay, adamw.augment) == (3e-3, 0.02, None)
    sgd = options_for(colour, "16C3-4", "auto", {"optimizer": "sgd", "weight_decay": 1e-3})
    assert (sgd.rate, sgd.weight_decay) == (0.1, 1e-3)


def test_help_teaches():
    output = run("train", "--help")
    for word in ("torchrun", "--resume", "16C3-P2-32C3-P2-128-10", "resnet34", "cifar10dvs", "TET"):
        assert word in output


@pytest.mark.parametrize(("words", "message"), [
    (["--dataset", "cifar10"], "cifar10 is read from files: name their folder"),
    (["--network", "resnet20"], "no network is called 'resnet20'; there are vgg11"),
    (["--network", "16C3-11"], "ends in 11 outputs, the data has 10 classes"),
    (["--device", "abacus"], "there is no device 'abacus'"),
    (["--precision", "float16", "--device", "cpu", "--dataset", "digits"], "float16 is for GPUs"),
])
def test_errors_are_one_line(monkeypatch, capsys, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    done = quadfire("train", *words)
    assert done.status == 2
    error = done.err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize("words", [["--epochs", 1], ["--epochs", 0, "--calibrate", 100],
                                   ["--epochs", 1, "--learn-scales", "--images", 50]])
def test_integers_of_convolutions(spelled_out, words):
    path = spelled_out.with_name("integers.safetensors")
    output = run("quantize", spelled_out, "--bits", 4, *words, "--out", path)
    assert "rounded" in output and "adapted" in output
    integer = IntegerNetwork.load(path)
    assert integer.shapes == ((8, 8, 8), (32, 1, 1), (10, 1, 1)) and integer.input_bits == 8
    share = integer.about["accuracy"]
    assert share["held_out"] > integer.about["float_accuracy"]["held_out"] - 0.1
    assert share.get("images") == (50 if "--images" in words else None)
    if "--images" not in words:
        assert f"{share['held_out']:.2%}" in run("evaluate", path)
    output = " ".join(run("show", path).split())
    assert "input 3x3/1" in output and "conv0 max" in output


def test_report(spelled_out):
    path = spelled_out.with_name("report.json")
    output = run("report", spelled_out, "--bits", 4, "--images", 100, "--out", path)
    assert "8x8x8" in output and "100 held-out images" in output
    rows = json.loads(path.read_text())
    assert [row["name"] for row in rows["layers"]] == ["conv0", "hidden1", "readout"]
    assert f"{rows['rounded']:.2%}" in output and f"{rows['real']:.2%}" in output


@pytest.mark.parametrize("words", [["resnet19", "--width", 0.05, "--bits", 4],
                                   ["vggsnn", "--width", 0.05, "--shape", 2, 32, 32, "--events"]])
def test_untrained(tmp_path, words):
    path = tmp_path / "net.safetensors"
    output = run("untrained", *words, "--steps", 2, "--out", path)
    network = IntegerNetwork.load(path)
    assert network.input_bits == (0 if "--events" in words else 8) and network.steps == 2
    rates = [float(word) for word in re.findall(r"\d\.\d\d", output)]
    assert len(rates) == len(network.layers) - 1 and all(0.05 < rate < 0.4 for rate in rates)
    again = path.with_name("again.safetensors")
    run("untrained", *words, "--steps", 2, "--out", again)
    assert all(np.array_equal(a.branches[0].weight, b.branches[0].weight) for a, b in zip(
        network.layers, IntegerNetwork.load(again).layers, strict=True))


def test_integers_of_events(events, tmp_path):
    folder, path = events
    out = tmp_path / "integers.safetensors"
    words = ("quantize", path, "--data", folder, "--epochs", 1, "--rate", 1e-3, "--out", out)
    done = quadfire(*words)         # it was trained on counts
    assert done.status == 2 and "Make spikes of all that is above 0" in done.err, done.text
    assert not out.exists()
    assert "was trained on other frames" in run(*words, "--spikes-above", 0)
    integer = IntegerNetwork.load(out)
    assert integer.input_bits == 0 and integer.input_shape == (2, 48, 48) and integer.steps == 3
    assert "10" in run("evaluate", out, "--data", folder)
