"""Recordings of event cameras: AEDAT 2.0, frames, and CIFAR10-DVS."""

import struct

import numpy as np
import pytest
import torch

from quadfire.models.datasets import (
    CIFAR10_DVS,
    ImageDataset,
    cifar10_dvs,
    load_dataset,
    read_aedat,
    to_frames,
)
from quadfire.models.datasets.events import Events, EventSamples


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
    events = Events(t=np.array([100, 149, 150, 199, 199]), x=np.arange(5), y=np.arange(5, 10),
                    p=np.array([0, 1, 1, 1, 1]))
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


# Other sensors, and damaged recordings ------------------------------------------------------------


def davis(events: list[tuple[int, int, int, int]], end: bytes = b"#End Of ASCII Header\r\n"
          ) -> bytes:
    """A file of a DAVIS346 from (t, x, y, ON), x and y from the top left."""
    raw = b"".join(struct.pack(">II", (259 - y) << 22 | (345 - x) << 12 | on << 11, t)
                   for t, x, y, on in events)
    special = struct.pack(">II", 1 << 31, 3) + struct.pack(">II", 1 << 10, 3)
    return HEADER + end + special + raw


@pytest.mark.parametrize("end", [b"#End Of ASCII Header\r\n", b""])
def test_davis346(tmp_path, end):
    """Rows of 116 to 119 make addresses that begin with '#', as the lines of the header do."""
    events = [(5, 0, 0, 1), (9, 345, 259, 0), (10, 345, 0, 1), (11, 0, 259, 0), (12, 7, 117, 1)]
    path = tmp_path / "a.aedat"
    path.write_bytes(davis(events, end))
    found = read_aedat(path, "davis346")
    assert [tuple(map(int, event)) for event in zip(*found, strict=True)] == events
    path.write_bytes(davis(events[::-1], end).replace(struct.pack(">II", 1 << 31, 3), b"")
                     .replace(struct.pack(">II", 1 << 10, 3), b""))
    found = read_aedat(path, "davis346")
    assert [tuple(map(int, event)) for event in zip(*found, strict=True)] == events[::-1]


def test_sensor_that_is_not_square(tmp_path):
    events = [(t, 345, 7, 1) for t in range(10)] + [(10, 2, 259, 0)]
    path = tmp_path / "a.aedat"
    path.write_bytes(davis(events))
    samples = EventSamples([path, path], [1, 0], 4, camera="davis346")
    frames, labels = samples.batch(torch.tensor([1, 0]))
    assert frames.shape == (4, 2, 2, 260, 346) and labels.tolist() == [0, 1]
    expected = torch.zeros(4, 2, 260, 346)
    expected[:, 1, 7, 345] = torch.tensor([2.0, 2, 2, 4])
    expected[3, 0, 259, 2] = 1
    assert torch.equal(frames[:, 0], expected) and torch.equal(frames[:, 1], expected)
    small, _ = EventSamples([path], [0], 4, 32, camera="davis346").batch(torch.tensor([0]))
    assert small.shape == (4, 1, 2, 32, 32)
    with pytest.raises(ValueError, match="camera must be dvs128 or davis346, not 'dvs'"):
        read_aedat(path, "dvs")


def test_event_outside_of_the_sensor(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(davis([(1, 3, 3, 1)]) + struct.pack(">II", 400 << 12, 9))
    with pytest.raises(ValueError, match=r"a\.aedat: event 1 at x = -55, y = 259, p = 0 is outside "
                                         "of a sensor of 346 x 260: is it of another camera") as e:
        read_aedat(path, "davis346")
    assert "\n" not in str(e.value)
    inside = Events(*np.array([[1, 2], [3, 345], [4, 259], [1, 0]]))
    assert to_frames(inside, 1, sensor=(346, 260)).sum() == 2
    for sensor in ((345, 260), (346, 259), (260, 346)):
        with pytest.raises(ValueError, match="event 1 at x = 345, y = 259, p = 0 is outside"):
            to_frames(inside, 1, sensor=sensor)
    for name in ("x", "y", "p"):
        with pytest.raises(ValueError, match="event 0 at .*-1.* is outside of a sensor"):
            to_frames(inside._replace(**{name: np.array([-1, 0])}), 1, sensor=(346, 260))


@pytest.mark.parametrize(("raw", "message"), [
    (b"", "begins with ''"), (HEADER, "0 events are not enough for 4 frames"),
    (HEADER[:50], "0 events are not enough for 4 frames"),
    (aedat([(1, 2, 3, 1)] * 3), "3 events are not enough for 4 frames"),
    (aedat([(1, 2, 3, 1)] * 9)[:-3], "69 bytes are no number of events"),
])
def test_recording_that_is_too_short_is_named(tmp_path, raw, message):
    path = tmp_path / "short.aedat"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=message) as caught:
        EventSamples([path], [0], 4).batch(torch.tensor([0]))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_no_frames():
    with pytest.raises(ValueError, match="steps must be above 0, not 0"):
        to_frames(stream(3), 0)
