"""MNIST and CIFAR, each on a small file in the format it is published in."""

import gzip
import re
import struct

import numpy as np
import pytest
import torch

from quadfire.models.datasets import Dataset, ImageDataset, load_dataset, read_idx


def image_dataset(name: str, folder, **options) -> ImageDataset:
    data = load_dataset(name, folder, **options)
    assert isinstance(data, ImageDataset)
    return data


# MNIST --------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) \
        + array.astype(np.uint8).tobytes()


@pytest.fixture
def digits_on_disk(tmp_path):
    random = np.random.default_rng(1)
    parts = {}
    for part, count in (("train", 12), ("t10k", 5)):
        pixels, labels = random.integers(256, size=(count, 28, 28)), np.arange(count) % 10
        parts[part] = pixels, labels
        packed = gzip.compress if part == "t10k" else bytes
        suffix = ".gz" if part == "t10k" else ""
        (tmp_path / f"{part}-images-idx3-ubyte{suffix}").write_bytes(packed(idx(pixels)))
        (tmp_path / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(packed(idx(labels)))
    return tmp_path, parts


def test_mnist(digits_on_disk):
    folder, parts = digits_on_disk
    data = load_dataset("mnist", folder)
    assert isinstance(data, Dataset) and (data.side, data.classes) == (28, 10)
    for part, found in (("train", data.train_set), ("t10k", data.held_out_set)):
        pixels, labels = parts[part]
        assert np.array_equal(found[0].numpy(), pixels.reshape(len(pixels), -1))
        assert found[0].dtype == torch.uint8 and np.array_equal(found[1].numpy(), labels)


def test_mnist_with_the_other_spelling(digits_on_disk):
    folder, _ = digits_on_disk
    for path in folder.glob("*-idx?-*"):
        path.rename(folder / re.sub("-(idx.)", r".\1", path.name))
    assert len(load_dataset("mnist", folder).train_samples) == 12


@pytest.mark.parametrize(("raw", "message"), [
    (b"", "not an IDX file of bytes"), (b"\0\0\x0d\x01\0\0\0\1\0\0\0\0", "not an IDX file"),
    (idx(np.zeros((2, 3)))[:-1], r"5 values where the shape \(2, 3\) needs 6"),
])
def test_broken_idx(tmp_path, raw, message):
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        read_idx(tmp_path / "file")


# CIFAR --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "inner", "train", "test", "labels", "classes"), [
    ("cifar10", "cifar-10-batches-bin", [f"data_batch_{n}.bin" for n in range(1, 6)],
     "test_batch.bin", 1, 10),
    ("cifar100", "cifar-100-binary", ["train.bin"], "test.bin", 2, 100),
])
@pytest.mark.parametrize("outside", [True, False])
def test_cifar(tmp_path, name, inner, train, test, labels, classes, outside):
    folder = tmp_path / inner
    folder.mkdir()
    random, every = np.random.default_rng(1), []
    for file in [*train, test]:
        pixels = random.integers(256, size=(4, 3, 32, 32), dtype=np.uint8)
        found = random.integers(classes, size=4).astype(np.uint8)
        # the coarse label of CIFAR-100 comes first, and is not what is asked for
        heads = [np.full(4, 19, np.uint8)] * (labels - 1) + [found]
        (folder / file).write_bytes(b"".join(
            bytes(head[i] for head in heads) + pixels[i].tobytes() for i in range(4)))
        every.append((pixels, found))
    data = image_dataset(name, tmp_path if outside else folder)
    assert (data.shape, data.classes, data.steps) == ((3, 32, 32), classes, 0)
    assert len(data.train_samples) == 4 * len(train) and len(data.held_out_samples) == 4
    x, y = data.train_samples.batch(torch.arange(4 * len(train)))
    assert np.array_equal(x.numpy(), np.concatenate([pixels for pixels, _ in every[:-1]]))
    assert np.array_equal(y.numpy(), np.concatenate([found for _, found in every[:-1]]))
    x, y = data.held_out_samples.batch(torch.tensor([2, 0]))
    assert np.array_equal(x.numpy(), every[-1][0][[2, 0]]) and y.tolist() == [*every[-1][1][[2, 0]]]


def test_cifar_in_pickles_is_refused(tmp_path):
    """By its folder: no pickle is opened to find out."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"\x80\x04not to be read")
    with pytest.raises(ValueError, match="(?s)there is no test_batch.bin.*files are pickles.*"
                                         "binary version, cifar-10-batches-bin, instead"):
        load_dataset("cifar10", tmp_path)


def test_cifar_with_broken_files(tmp_path):
    for n in range(1, 6):
        (tmp_path / f"data_batch_{n}.bin").write_bytes(bytes(3073))
    (tmp_path / "test_batch.bin").write_bytes(bytes(3072))
    with pytest.raises(ValueError, match="test_batch.bin: 3072 bytes are no number of records"):
        load_dataset("cifar10", tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(ValueError, match="label 10 of 10 classes"):
        load_dataset("cifar10", tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match="there is no data_batch_3.bin"):
        load_dataset("cifar10", tmp_path)


# What is said when files are missing --------------------------------------------------------------


@pytest.mark.parametrize(("name", "message"), [
    ("mnist", "(?s)there is no train-images-idx3-ubyte.*t10k-labels-idx1-ubyte"),
    ("cifar10", "(?s)there is no test_batch.bin.*cifar-10-batches-bin/data_batch_1.bin"),
    ("cifar100", "(?s)there is no test.bin.*cifar-100-binary/train.bin"),
    ("imagenet", "(?s)there is no folder train/.*val/n01440764"),
    ("cifar10dvs", r"(?s)there are no .aedat files in airplane/.*cifar10_airplane_0.aedat"),
])
def test_missing_files_say_how_they_should_lie(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(name, tmp_path)
    with pytest.raises(ValueError, match=f"{name} is read from files: name their folder"):
        load_dataset(name)
