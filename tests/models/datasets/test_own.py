"""Data of one's own: a .npz, or a folder of pictures."""

import numpy as np
import pytest
import torch
from PIL import Image

from quadfire.models.datasets import Dataset, ImageDataset, load_dataset, own
from quadfire.models.networks import ConvNet
from quadfire.models.neurons import LIF
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.defaults import options_for
from quadfire.models.training.options import Options
from quadfire.models.training.train import fit, measure

RANDOM = np.random.default_rng(1)
LABELS = np.arange(30) % 3


def bytes_of(*shape: int) -> np.ndarray:
    return RANDOM.integers(256, size=shape, dtype=np.uint8)


def saved(path, **arrays):
    np.savez(path / "mine.npz", **arrays)
    return path / "mine.npz"


# Arrays -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 8, 8), (30, 1, 8, 8), (30, 64)])
def test_grey_images(tmp_path, shape):
    x = bytes_of(*shape)
    path = saved(tmp_path, x=x, y=LABELS.astype(np.int16))
    data = load_dataset("own", path)
    assert isinstance(data, Dataset) and (data.name, data.side, data.classes) == \
        ("own:mine.npz", 8, 3)
    assert np.array_equal(data.images.numpy(), x.reshape(30, 64)) and data.steps == 0
    assert data.labels.dtype == torch.int64 and data.labels.tolist() == LABELS.tolist()


def test_split_of_its_own_is_fixed_stratified_and_said(tmp_path):
    path = saved(tmp_path, x=bytes_of(30, 8, 8), y=LABELS)
    data, again = own(path), own(path)
    assert isinstance(data, Dataset) and isinstance(again, Dataset)
    assert data.held_out.tolist() == [2, 7, 18, 20, 21, 28] == again.held_out.tolist()
    assert data.labels[data.held_out].bincount().tolist() == [2, 2, 2]
    assert sorted([*data.train.tolist(), *data.held_out.tolist()]) == [*range(30)]
    assert data.note == ("it brings no test set: 6 samples are held out, a fifth of each class by "
                         "seed 2510; 24 are left to train on")


def test_test_set_of_its_own(tmp_path):
    x, x_test = bytes_of(30, 8, 8), bytes_of(4, 8, 8)
    data = own(saved(tmp_path, x=x, y=LABELS, x_test=x_test, y_test=LABELS[:4]))
    assert isinstance(data, Dataset) and data.note == ""
    assert np.array_equal(data.train_set[0].numpy(), x.reshape(30, -1))
    assert np.array_equal(data.held_out_set[0].numpy(), x_test.reshape(4, -1))


@pytest.mark.parametrize(("shape", "expected"), [
    ((30, 3, 6, 9), (3, 6, 9)), ((30, 6, 9), (1, 6, 9)), ((30, 10), (1, 1, 10)),
])
def test_other_images(tmp_path, shape, expected):
    x = bytes_of(*shape)
    data = own(saved(tmp_path, x=x, y=LABELS))
    assert isinstance(data, ImageDataset) and (data.shape, data.steps) == (expected, 0)
    found = torch.cat([part.batch(torch.arange(len(part)))[0] for part in
                       (data.train_samples, data.held_out_samples)])
    assert sorted(map(bytes, found.numpy())) == sorted(map(bytes, x.reshape(30, *expected)))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
@pytest.mark.parametrize(("shape", "expected"), [
    ((5, 30, 2, 6, 9), (2, 6, 9)), ((5, 30, 6, 9), (1, 6, 9)), ((5, 30, 16), (1, 4, 4)),
])
def test_frames(tmp_path, dtype, shape, expected):
    x = RANDOM.integers(2, size=shape).astype(dtype)
    test = {"x_test": x[:, :4], "y_test": LABELS[:4]}
    for extra in ({}, test):
        data = own(saved(tmp_path, x=x, y=LABELS, **extra))
        assert isinstance(data, ImageDataset)
        assert (data.shape, data.steps, data.classes) == (expected, 5, 3)
        assert bool(data.note) == (not extra)
    frames, labels = data.train_samples.batch(torch.tensor([7, 2]))
    assert frames.dtype == torch.float32 and labels.tolist() == [1, 2]
    assert np.array_equal(frames.numpy(), x[:, [7, 2]].reshape(5, 2, *expected))
    assert len(data.train_samples) == 30 and len(data.held_out_samples) == 4


def test_as_many_frames_as_samples(tmp_path):
    """bool means frames [T, N, ...], bytes mean images [N, C, ...]."""
    x = RANDOM.integers(2, size=(30, 30, 4, 4)).astype(np.uint8)
    assert own(saved(tmp_path, x=x, y=LABELS)).steps == 0
    assert own(saved(tmp_path, x=x.astype(bool), y=LABELS)).steps == 30


@pytest.mark.parametrize(("arrays", "message"), [
    ({"y": LABELS}, "has no array x"), ({}, "has no array x and y"),
    ({"x": bytes_of(30, 4), "y": LABELS, "x_test": bytes_of(3, 4)}, "must be there both"),
    ({"x": bytes_of(30, 4), "y": LABELS.astype(float)}, "y must be integers of shape"),
    ({"x": bytes_of(30, 4), "y": LABELS[:, None]}, "y must be integers of shape"),
    ({"x": bytes_of(30, 4), "y": np.array(["a"] * 30)}, "y must be integers of shape"),
    ({"x": bytes_of(30, 4), "y": LABELS - 1}, "class -1: classes count from 0"),
    ({"x": bytes_of(30, 4), "y": LABELS + 1}, "no sample is of class 0: number the classes"),
    ({"x": bytes_of(30, 4), "y": 2 * LABELS}, "goes up to 4, and no sample is of class 1"),
    ({"x": bytes_of(30, 4), "y": 0 * LABELS}, "y has a single class"),
    ({"x": bytes_of(0, 4), "y": LABELS[:0]}, "y is empty"),
    ({"x": bytes_of(29, 4), "y": LABELS}, r"x of shape \[29, 4\] has no axis of samples"),
    ({"x": bytes_of(30), "y": LABELS}, "has no axis of samples"),
    ({"x": bytes_of(30, 0, 4), "y": LABELS}, "has no axis of samples"),
    ({"x": np.ones((30, 4), np.float32), "y": LABELS}, "images must be uint8, 0..255, not float32"),
    ({"x": np.ones((30, 4), bool), "y": LABELS}, "images must be uint8, 0..255, not bool"),
    ({"x": np.full((5, 30, 4), 2), "y": LABELS}, r"x: frames must be 0 or 1, and 600 of 600 .* 2"),
    ({"x": np.full((5, 30, 4), 0.5), "y": LABELS}, "frames must be 0 or 1, .*up to 0.5.*--spikes"),
    ({"x": np.full((5, 30, 4), np.nan), "y": LABELS}, r"frames must be 0 or 1, .*up to nan"),
    ({"x": np.full((5, 30, 4), "1"), "y": LABELS}, "frames must be numbers"),
    ({"x": bytes_of(30, 4), "y": LABELS, "x_test": bytes_of(3, 9), "y_test": LABELS[:3]},
     "samples must be of one kind"),
    ({"x": np.ones((5, 30, 4), bool), "y": LABELS, "x_test": np.ones((6, 3, 4), bool),
      "y_test": LABELS[:3]}, "samples must be of one kind"),
    ({"x": bytes_of(30, 4), "y": LABELS, "x_test": bytes_of(3, 4), "y_test": LABELS[:3] + 1},
     "y_test has the class 3, y has 0..2"),
    ({"x": bytes_of(30, 4), "y": LABELS, "x_test": bytes_of(3, 4), "y_test": np.full(3, 0.5)},
     "y_test must be integers"),
    ({"x": bytes_of(3, 4), "y": LABELS[:3]}, "every class has one sample"),
    ({"x": np.array([{}] * 30), "y": LABELS}, "Python objects"),
])
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    path = saved(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        own(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_it_trains(tmp_path):
    """Images, and frames of spikes, from the file to a network that has learnt them."""
    labels = np.arange(60) % 3
    x = np.full((60, 1, 6, 8), 10, np.uint8)
    x[np.arange(60), 0, :, 2 * labels] = 240
    frames = np.repeat((x > 100)[None], 3, 0)
    for images, steps in ((x, 0), (frames, 3)):
        data = own(saved(tmp_path, x=images, y=labels))
        torch.manual_seed(1)
        network = ConvNet("8C3-3", LIF(), input_shape=data.shape, steps=data.steps or 4)
        assert data.steps == steps and options_for(data, "8C3-3", "none", {}).augment is None
        fit(network, data, Options(epochs=15, batch=16, rate=0.02, augment=None))
        assert measure(network, data.held_out_samples)[0] > 0.9


def test_augmentation_that_fits(tmp_path):
    """Vectors stay as they are, small images keep most of themselves, nothing is mirrored."""
    for x, expected in [
            (bytes_of(30, 16, 16), Augment()), (bytes_of(30, 256), None), (bytes_of(30, 10), None),
            (bytes_of(30, 3, 32, 40), ImageAugment(flip=False)),
            (bytes_of(30, 2, 8, 10), ImageAugment(crop=1, cutout=4, policy="", flip=False)),
            (np.ones((5, 30, 7), bool), None),
            (np.ones((5, 30, 2, 30, 20), bool),
             ImageAugment(crop=2, cutout=0, policy="", flip=False))]:
        data = own(saved(tmp_path, x=x, y=LABELS))
        assert options_for(data, "8C3-3", "auto", {}).augment == expected
        assert options_for(data, "8C3-3", "none", {}).augment is None


# Pictures -----------------------------------------------------------------------------------------


def write_pictures(top, count: int, size=(8, 8), mode: str = "RGB", kind: str = "png") -> None:
    """Two classes: "dark" and "light"."""
    for name, level in (("light", 200), ("dark", 30)):
        (top / name).mkdir(parents=True)
        for number in range(count):
            colour = level + number if mode == "L" else (level + number, 0, 255)
            Image.new(mode, size, colour).save(top / name / f"{number}.{kind}")


def test_pictures(tmp_path):
    write_pictures(tmp_path / "set", 5, (6, 4))
    (tmp_path / "set" / ".cache").mkdir()
    (tmp_path / "set" / "dark" / "notes.txt").write_text("not a picture")
    data = load_dataset("own", tmp_path / "set")
    assert isinstance(data, ImageDataset) and (data.name, data.shape) == ("own:set", (3, 4, 6))
    assert (len(data.train_samples), len(data.held_out_samples)) == (8, 2)
    assert "2 samples are held out" in data.note
    x, y = data.train_samples.batch(torch.arange(8))
    assert y.tolist() == [0] * 4 + [1] * 4                  # folders are sorted by name
    assert (x[y == 0, 0] < 40).all() and (x[y == 1, 0] >= 200).all() and (x[:, 2] == 255).all()


def test_grey_pictures_and_a_test_folder(tmp_path):
    write_pictures(tmp_path / "train", 3, mode="L")
    write_pictures(tmp_path / "val", 1, mode="L")
    data = own(tmp_path)
    assert isinstance(data, Dataset) and (data.side, data.note) == (8, "")
    assert data.train_set[0][:, 0].tolist() == [30, 31, 32, 200, 201, 202]
    assert data.held_out_set[0][:, 0].tolist() == [30, 200]
    Image.new("RGB", (8, 8)).save(tmp_path / "val" / "dark" / "colours.png")
    assert own(tmp_path).shape == (3, 8, 8)


def test_pictures_of_other_sizes(tmp_path):
    write_pictures(tmp_path, 2)
    Image.new("RGB", (9, 8)).save(tmp_path / "dark" / "wide.png")
    with pytest.raises(ValueError, match=r"wide.png: has 9 x 8 pixels, 0.png has 8 x 8: name one"):
        own(tmp_path)
    assert load_dataset("own", tmp_path, size=5).shape == (3, 5, 5)
    assert load_dataset("own", tmp_path, size=(5, 7)).shape == (3, 5, 7)
    with pytest.raises(ValueError, match="5 pictures of 40000 x 40000 are more than"):
        own(tmp_path, size=40_000)


def test_damaged_picture_is_named(tmp_path):
    write_pictures(tmp_path, 2)
    raw = (tmp_path / "light" / "1.png").read_bytes()
    (tmp_path / "light" / "1.png").write_bytes(raw[:50])
    with pytest.raises(ValueError, match=r"light/1.png: ") as caught:
        own(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_said_where_nothing_is(tmp_path):
    with pytest.raises(ValueError, match="(?s)there are 0 folders of classes.*FILE.npz"):
        own(tmp_path)
    with pytest.raises(ValueError, match="(?s)neither such a folder nor such a .npz.*x_test"):
        own(tmp_path / "absent")
    with pytest.raises(ValueError, match="absent.npz: there is neither"):
        load_dataset("own", tmp_path / "absent.npz")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="(?s)there are no pictures in .*/a\nExpected"):
        own(tmp_path)


def test_names_of_own_data(tmp_path, monkeypatch):
    """A .npz is data of one's own wherever it is named; a network says only what it is called."""
    path = saved(tmp_path, x=bytes_of(30, 8, 8), y=LABELS)
    monkeypatch.chdir(tmp_path)
    for arguments in (("own", path), ("own:mine.npz", path), ("mnist5k", str(path)), (str(path),),
                      ("mine.npz",)):
        assert load_dataset(*arguments).name == "own:mine.npz"
    with pytest.raises(ValueError, match="own:mine.npz is read from files: name their folder"):
        load_dataset("own:mine.npz")
    with pytest.raises(ValueError, match="no data set is called 'cifar10:x'"):
        load_dataset("cifar10:x", tmp_path)
