"""Data of one's own from the command line: train, quantise, report, evaluate, compile."""

import numpy as np
import pytest

from quadfire.models.integer import IntegerNetwork

from tests.command import quadfire


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
                    "--no-augment")
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
