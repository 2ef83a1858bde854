"""Frames of one's own from the command line, from the file to the Verilated array."""

import json

import numpy as np
import pytest

from quadfire.models.integer import IntegerNetwork, reference

from tests.command import quadfire
from tests.data.test_recordings import write_nmnist

ARRAY = ("-c", "tiny", "--set", "weight_rows=512", "--set", "spike_words=512")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """(folder, x float32 0/1 [5, 60, 6, 1, 40], y): a burst in one of three places."""
    folder = tmp_path_factory.mktemp("own data")
    rng = np.random.default_rng(1)
    y = np.arange(60) % 3
    x = (rng.random((5, 60, 6, 1, 40)) < 0.05).astype(np.float32)
    for sample, label in enumerate(y):
        x[:, sample, :, 0, 12 * label:12 * label + 10] = rng.random((5, 6, 10)) < 0.6
    np.savez(folder / "frames.npz", x=x, y=y)
    return folder, x, y


@pytest.fixture(scope="module")
def integers(frames):
    """An integer network that was trained and quantised from the command line."""
    folder, *_ = frames
    data, checkpoint = folder / "frames.npz", folder / "net.safetensors"
    for words in (("train", "--network", "8-3", "--data", data, "--epochs", 12, "--out",
                   checkpoint),
                  ("quantize", checkpoint, "--data", data, "--epochs", 1, "--out",
                   folder / "int8.safetensors"),
                  ("report", checkpoint, "--data", data)):
        done = quadfire(*words)
        assert done.status == 0, done.text
    return folder / "int8.safetensors"


def test_run(frames, integers, tmp_path):
    folder, x, y = frames
    done = quadfire("run", integers, "--data", folder / "frames.npz", "--images", 5, *ARRAY, "-o",
                    tmp_path / "answers.json")
    assert done.status == 0, done.text
    answers = json.loads((tmp_path / "answers.json").read_text())
    network = IntegerNetwork.load(integers)
    right = sum(a == b for a, b in zip(answers["classes"], answers["labels"], strict=True))
    assert f"{right} of 5 held-out samples are right" in done.out and right >= 4
    # the answers are those of the frames themselves
    wanted = reference.run(network, x.astype(np.uint8)).logits.numpy()
    found = [int(np.flatnonzero((wanted == logits).all(1) & (y == label))[0])
             for logits, label in zip(answers["outputs"], answers["labels"], strict=True)]
    assert len({*found}) == 5
    np.save(tmp_path / "x.npy", x[:, found])        # and given as a file of inputs
    done = quadfire("simulate", integers, tmp_path / "x.npy", *ARRAY)
    assert done.status == 0 and " ".join(map(str, answers["classes"])) in done.out, done.text


def test_estimate_counts_the_spikes_of_the_data(frames, integers):
    folder, x, _ = frames
    done = quadfire("estimate", integers, "--data", folder / "frames.npz", *ARRAY)
    assert done.status == 0 and "mean of 8 held-out samples" in done.out, done.text
    np.savez(folder / "silent.npz", x=0 * x, y=np.arange(60) % 3)
    silent = quadfire("estimate", integers, "--data", folder / "silent.npz", *ARRAY)
    cycles = [int(done.out.split(" cycles of computing")[0].split()[-1].replace(",", ""))
              for done in (done, silent)]
    assert cycles[1] < cycles[0]


@pytest.mark.parametrize(("words", "told"), [
    (("run",), "give inputs, or labelled data (--data)"),
    (("run", "x.npy", "--data", "frames.npz"), "not both"),
    (("simulate", "x.npy", "--spikes-above", 0), "--sensor are for --data"),
    (("estimate", "--spikes-above", 0), "--sensor are for --data"),
    (("estimate", "--rate", 0.2, "--data", "frames.npz"), "give one of them"),
    (("run", "--data", "counts.npz"), "counts.npz: x: frames must be 0 or 1, and "),
    (("estimate", "--data", "counts.npz"), "Make spikes of all that is above 0 by --spikes-above"),
    (("run", "--data", "images.npz"), "images.npz: holds images, and the network takes spikes"),
    (("run", "--data", "long.npz"), "long.npz: has frames of 6 time steps, the network 5"),
    (("run", "--data", "wide.npz"), "wide.npz: its samples are 6 x 1 x 41, but the network takes"),
    (("run", "--data", "absent.npz"), "absent.npz: there is neither such a folder nor"),
    (("run", "--data", "frames.npz", "--sensor", "3x3"), "holds no recordings of events: --sensor"),
    (("run", "--data", "images.npz", "--spikes-above", 0), "x has images: --spikes-above is for"),
])
def test_what_does_not_fit(frames, integers, monkeypatch, words, told):
    folder, x, y = frames
    monkeypatch.chdir(folder)
    np.savez("counts.npz", x=x + 4 * x, y=y)
    np.savez("images.npz", x=(255 * x[0]).astype(np.uint8), y=y)
    np.savez("long.npz", x=np.concatenate([x, x[:1]]), y=y)
    np.savez("wide.npz", x=np.concatenate([x, x[..., :1]], -1), y=y)
    done = quadfire(words[0], integers, *words[1:])
    assert done.status == 2 and told in done.err, done.text


def test_counts_become_spikes_where_the_user_says_so(frames, integers):
    """At every command, and kept in the files: a network is measured on what it was trained on."""
    folder, x, y = frames
    data = folder / "many.npz"
    np.savez(data, x=3 * x, y=y)
    net, integer = folder / "counted.safetensors", folder / "counted-int8.safetensors"
    refused = quadfire("train", "--network", "8-3", "--data", data, "--epochs", 1, "--out", net)
    assert refused.status == 2 and "--spikes-above 0" in refused.err
    for words in (("train", "--network", "8-3", "--data", data, "--epochs", 1, "--out", net,
                   "--spikes-above", 0),
                  ("quantize", net, "--data", data, "--epochs", 0, "--out", integer),
                  ("report", net, "--data", data, "--images", 6), ("evaluate", net, integer,
                                                                   "--data", data),
                  ("estimate", integer, "--data", data, *ARRAY),
                  ("run", integer, "--data", data, "--images", 2, *ARRAY)):
        done = quadfire(*words)
        assert done.status == 0, done.text
    assert IntegerNetwork.load(integer).about["frames"] == {"spikes_above": 0.0}
    # the network that was trained on spikes already says what is in the way
    for verb in ("run", "estimate"):
        done = quadfire(verb, integers, "--data", data, *ARRAY)
        assert done.status == 2 and "--spikes-above 0" in done.err
    assert quadfire("run", integers, "--data", data, "--images", 1, "--spikes-above", 0.5,
                    *ARRAY).status == 0


def test_recordings_of_events(tmp_path):
    """N-MNIST's files, coarser, as spikes: trained, quantised, estimated, run."""
    write_nmnist(tmp_path / "nmnist", 12)
    data, net = tmp_path / "nmnist", tmp_path / "net.safetensors"
    integer = tmp_path / "int.safetensors"
    framing = ("--spikes-above", 0, "--by", "time")
    for words in (("train", "--dataset", "nmnist", "--network", "8-3", "--size", 8, "--steps", 4,
                   "--epochs", 15, "--batch", 9, "--augment", "none", "--out", net, "--data", data,
                   *framing),
                  ("quantize", net, "--epochs", 1, "--out", integer, "--data", data),
                  ("estimate", integer, "--data", data, *ARRAY)):
        done = quadfire(*words)
        assert done.status == 0, done.text
    network = IntegerNetwork.load(integer)
    assert network.input_shape == (2, 8, 8) and network.steps == 4 and network.input_bits == 0
    assert network.about["frames"] == {"spikes_above": 0, "by": "time"}
    done = quadfire("run", integer, "--data", data, *ARRAY)
    assert done.status == 0 and "of 6 held-out samples are right" in done.out, done.text
    share = network.about["accuracy"]["held_out"]
    assert f"{round(6 * share)} of 6 held-out" in done.out and share > 0.6
    (data / "Test" / "0" / "00000.bin").write_bytes(b"\x82\0\0\0\0")
    done = quadfire("run", integer, "--data", data, *ARRAY)
    assert done.status == 2
    assert "00000.bin: event 0 at x = 130, y = 0, p = 0 is outside of a sensor of 34 x" in done.err
