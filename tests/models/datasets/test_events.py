"""Recordings of event cameras: AEDAT 2.0, frames, and CIFAR10-DVS."""

import struct

import numpy as np
import pytest
import torch

from quadfire.models.datasets import (
    CIFAR10_DVS, ImageDataset, cifar10_dvs, load_dataset, read_aedat, to_frames,
)
from quadfire.models.datasets.events import Events


def image_dataset(name: str, folder, **options) -> ImageDataset:
    data = load_dataset(name, folder, **options)
    assert isinstance(data, ImageDataset)
    return data


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
    data = image_dataset("cifar10dvs", tmp_path, steps=4, size=128)
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
