"""Recordings of event cameras: every format, written byte by byte; what is wrong names the file."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from quadfire.data.aedat import read_aedat3
from quadfire.data.events import Events, events_of, to_frames
from quadfire.data.framing import Framing
from quadfire.data.own import read_own
from quadfire.data.recordings import read_recording
from quadfire.models.datasets import ImageDataset, event_dataset, load_dataset

pytestmark = pytest.mark.fast

#: (t, x, y, ON)
EVENTS = [(5, 0, 0, 1), (9, 33, 2, 0), (9, 7, 33, 1), (70_000, 20, 10, 0), (1 << 20, 3, 4, 1)]
SPIKES = Framing(spikes_above=0)


def columns(events) -> np.ndarray:
    return np.array([tuple(map(int, event)) for event in zip(*events, strict=True)])


def refused(path: Path, match: str, **options) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        read_recording(path, **options)
    told = str(caught.value)
    assert told.startswith(f"{path}: ") and told.count(str(path)) == 1 and "\n" not in told


# N-MNIST ------------------------------------------------------------------------------------------


def nmnist(events) -> bytes:
    """40 bits an event: column, row, polarity and 23 bits of microseconds, big-endian."""
    return b"".join(bytes([x, y]) + (on << 23 | t).to_bytes(3, "big") for t, x, y, on in events)


def test_nmnist(tmp_path):
    path = tmp_path / "00002.bin"
    path.write_bytes(nmnist(EVENTS))
    assert columns(read_recording(path)).tolist() == [list(event) for event in EVENTS]


def test_nmnist_whose_time_runs_over(tmp_path):
    """A row of 240 is no event: from it on, 2^13 microseconds are added."""
    path = tmp_path / "a.bin"
    path.write_bytes(nmnist([(1, 2, 3, 1), (0, 0, 240, 0), (2, 2, 3, 1), (0, 9, 240, 1),
                             (3, 2, 3, 0)]))
    assert read_recording(path).t.tolist() == [1, 2 + (1 << 13), 3 + (2 << 13)]


def test_nmnist_that_is_wrong(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(nmnist(EVENTS)[:-2])
    refused(path, "23 bytes are no number of events of 5 bytes")
    path.write_bytes(nmnist([(1, 2, 3, 1), (2, 34, 3, 1)]))
    refused(path, "event 1 at x = 34, y = 3, p = 1 is outside of a sensor of 34 x 34")
    assert len(read_recording(path, (240, 180)).t) == 2         # N-Caltech101
    path.write_bytes(b"")
    assert len(read_recording(path).t) == 0


# AEDAT 3.1 ----------------------------------------------------------------------------------------

HEADER3 = (b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2017\r\n"
           b"#!END-HEADER\r\n")


def packet(events, *, kind: int = 1, overflow: int = 0, valid: int = 1, size: int = 8,
           count: int | None = None) -> bytes:
    """A packet of events of pixels, or of any other kind."""
    count = len(events) if count is None else count
    raw = b"".join(struct.pack("<Ii", x << 17 | y << 2 | on << 1 | valid, t)
                   for t, x, y, on in events)
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, count, count, count) + raw


def test_aedat3(tmp_path):
    path = tmp_path / "user01_led.aedat"
    path.write_bytes(HEADER3 + packet(EVENTS[:2]) + packet([(1, 1, 1, 1)], kind=0)
                     + packet([(2, 2, 2, 1)], valid=0) + packet(EVENTS[2:]))
    want = [list(event) for event in EVENTS]
    assert columns(read_recording(path)).tolist() == want == columns(read_aedat3(path)).tolist()
    path.write_bytes(HEADER3 + packet(EVENTS, overflow=2))
    assert read_recording(path).t.tolist() == [event[0] + (2 << 31) for event in EVENTS]
    path.write_bytes(HEADER3)
    assert len(read_recording(path).t) == 0
    path.write_bytes(HEADER3 + packet([(1, 345, 259, 1)]))
    assert columns(read_recording(path, (346, 260))).tolist() == [[1, 345, 259, 1]]
    refused(path, "x = 345, y = 259, p = 1 is outside of a sensor of 128 x 128")


@pytest.mark.parametrize(("raw", "message"), [
    (packet(EVENTS)[:-3], "cut short, a packet has 5 events of 8 bytes and 37 bytes are left"),
    (packet(EVENTS)[:20], "cut short within the head of a packet"),
    (packet(EVENTS, size=0), "is damaged"), (packet(EVENTS, size=12), "is damaged"),
    (packet(EVENTS, count=-1), "is damaged"), (packet(EVENTS, overflow=-1), "is damaged"),
    (packet(EVENTS, count=1 << 30), "cut short, a packet has 1073741824 events"),
    (bytes(28), "is damaged"), (packet(EVENTS) + b"#", "cut short within the head"),
])
def test_aedat3_that_is_damaged(tmp_path, raw, message):
    path = tmp_path / "a.aedat"
    path.write_bytes(HEADER3 + raw)
    refused(path, message)


@pytest.mark.parametrize("name", ["a.aedat", "empty.aedat", "a.aedat4", "a.mat", "a.h5", "a.raw",
                                  "a.txt"])
def test_other_formats_are_named(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"" if "empty" in name else b"#!AER-DAT1.0\r\n" + bytes(16))
    refused(path, "not with #!AER-DAT2.0" if name.endswith(".aedat") else
            "recordings are .aedat|does not say how large" if name.endswith(".txt") else
            "format is not read: save its events as a structured array", sensor=None)


def test_aedat2_of_a_camera_that_is_not_known(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(b"#!AER-DAT2.0\r\n" + struct.pack(">II", 259 << 22 | 345 << 12 | 1 << 11, 7))
    assert columns(read_recording(path, (346, 260))).tolist() == [[7, 0, 0, 1]]
    refused(path, r"128 x 128 \(dvs128\) and 346 x 260 \(davis346\)", sensor=(240, 180))


# Structured arrays --------------------------------------------------------------------------------


def structured(events, fields) -> np.ndarray:
    """An array of events with its fields in the order of (name, type)."""
    values = dict(zip("txyp", np.array(events).T, strict=True))
    array = np.zeros(len(events), fields)
    for name, _ in fields:
        array[name] = values[name]
    return array


TONIC = [("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")]


@pytest.mark.parametrize("fields", [
    TONIC, [("t", "<i8"), ("x", "u1"), ("y", "u1"), ("p", "i1")],
    [("p", "u1"), ("t", ">u4"), ("y", ">u2"), ("x", "<u8")],
    [("x", "<i4"), ("polarity", "u1"), ("y", "<i4"), ("p", "<i8"), ("t", "<u8")]])
@pytest.mark.parametrize("save", [np.save, np.savez, np.savez_compressed])
def test_structured_arrays(tmp_path, fields, save):
    named = [field for field in fields if field[0] in "txyp"]
    array = structured(EVENTS, named)
    if len(named) < len(fields):
        wide = np.zeros(len(EVENTS), fields)
        for name, _ in named:
            wide[name] = array[name]
        array = wide
    path = tmp_path / f"a.{'npy' if save is np.save else 'npz'}"
    save(path, array)
    assert columns(read_recording(path, (34, 34))).tolist() == [list(event) for event in EVENTS]
    refused(path, "its format does not say how large the sensor is: name it, as --sensor 346x260")
    refused(path, "event 1 at x = 33, y = 2, p = 0 is outside of a sensor of 33 x 34",
            sensor=(33, 34))


def test_four_arrays(tmp_path):
    path = tmp_path / "a.npz"
    t, x, y, p = np.array(EVENTS).T
    np.savez(path, t=t, x=x.astype(np.uint8), y=y, p=p.astype(bool), more=t)
    assert columns(read_recording(path, (34, 34))).tolist() == [list(event) for event in EVENTS]
    np.savez(path, t=t, x=x)
    refused(path, "there is no p and no y", sensor=(34, 34))
    np.savez(path, t=t, x=x, y=y[1:], p=p)
    refused(path, "of one length", sensor=(34, 34))


@pytest.mark.parametrize(("polarity", "want"), [
    ([-1, 1, 1], [0, 1, 1]), ([0, 1, 1], [0, 1, 1]), ([True, False, True], [1, 0, 1]),
    ([-1, -1, -1], [0, 0, 0]), ([1, 1, 1], [1, 1, 1]), ([0, 0, 0], [0, 0, 0])])
def test_polarity(polarity, want):
    p = np.array(polarity)
    array = structured([(1, 2, 3, 0)] * 3, [*TONIC[:3], ("p", p.dtype)])
    array["p"] = p
    assert events_of(array).p.tolist() == want


@pytest.mark.parametrize(("array", "message"), [
    (structured(EVENTS, [*TONIC[:3], ("p", "i1")]), "must be 0 and 1, or -1 and .1, not -1, 0, 1"),
    (np.zeros((3, 4)), "events have the fields t, x, y and p; there is no p.*float64 has none"),
    (np.zeros(3, TONIC[:3]), "there is no p among x, y, t"),
    (np.zeros(3, [("t", "<f8"), *TONIC[:2], TONIC[3]]), "t of events must be integers, not float"),
    (np.zeros(3, [("x", "?"), *TONIC[1:]]), "x of events must be integers, not bool"),
    (np.zeros((2, 3), TONIC), "an array of one dimension"),
    (np.array([(1, 2, 1 << 63, 0)] * 2, [*TONIC[:2], ("t", "<u8"), ("p", "u1")]),
     "t of an event is 9223372036854775808"),
    (np.zeros(3, [*TONIC[:3], ("p", "<f4")]), "p of events must be integers"),
])
def test_arrays_that_hold_no_events(tmp_path, array, message):
    if "-1, 0, 1" in message:
        array["p"] = [-1, 0, 1, 1, 1]
    np.save(tmp_path / "a.npy", array)
    refused(tmp_path / "a.npy", message, sensor=(34, 34))


def test_hostile_arrays(tmp_path):
    """A header that claims 11 TiB, Python objects, and a file that is cut short."""
    path, file = tmp_path / "a.npy", io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": np.lib.format.dtype_to_descr(np.dtype(TONIC)), "fortran_order": False,
               "shape": (11 << 40,)})
    path.write_bytes(file.getvalue() + bytes(8))
    refused(path, r"it claims 157,230,162,771,968 bytes", sensor=(34, 34))
    np.save(path, np.array([{}, None]), allow_pickle=True)
    refused(path, "Python objects", sensor=(34, 34))
    np.save(path, structured(EVENTS, TONIC))
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, "it claims 65 bytes", sensor=(34, 34))
    path.write_bytes(b"nothing")
    refused(path, "magic string", sensor=(34, 34))


# Frames -------------------------------------------------------------------------------------------


def test_too_few_events_by_time_are_no_error():
    events = Events(*np.array([(10, 1, 2, 1), (19, 3, 4, 0), (19, 3, 4, 0)]).T)
    frames = to_frames(events, 10, by="time")
    assert frames.sum((1, 2, 3)).tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    with pytest.raises(ValueError, match="3 events are not enough for 10 frames"):
        to_frames(events, 10)
    with pytest.raises(ValueError, match="there are no events in it"):
        to_frames(Events(*np.zeros((4, 0), np.int64)), 10, by="time")
    far = Events(*np.array([(-(1 << 62), 1, 2, 1), (1 << 62, 3, 4, 0)]).T)
    with pytest.raises(ValueError, match="its time stamps reach from -4611686018427387904"):
        to_frames(far, 10, by="time")


def test_coarser_frames_count_the_same_events():
    rng = np.random.default_rng(1)
    events = Events(np.arange(500), rng.integers(0, 346, 500), rng.integers(0, 260, 500),
                    rng.integers(0, 2, 500))
    fine = to_frames(events, 4, sensor=(346, 260))
    coarse = to_frames(events, 4, sensor=(346, 260), size=(65, 86))
    assert fine.shape == (4, 2, 260, 346) and coarse.shape == (4, 2, 65, 86)
    want = np.zeros_like(coarse)
    for frame, p, y, x in np.argwhere(fine):
        want[frame, p, y * 65 // 260, x * 86 // 346] += fine[frame, p, y, x]
    assert np.array_equal(coarse, want) and coarse.sum() == 500
    with pytest.raises(ValueError, match="coarser, not finer"):
        to_frames(events, 4, sensor=(346, 260), size=(300, 300))


# Folders ------------------------------------------------------------------------------------------


def write_nmnist(top: Path, count: int = 5) -> None:
    rng = np.random.default_rng(1)
    for part, many in (("Train", count), ("Test", 2)):
        for label in range(3):
            (top / part / str(label)).mkdir(parents=True)
            for number in range(many):
                events = [(i, int(rng.integers(10 * label, 10 * label + 5)), 5, 1)
                          for i in range(40)]
                (top / part / str(label) / f"{number:05}.bin").write_bytes(nmnist(events))


def test_nmnist_as_it_is_published(tmp_path):
    write_nmnist(tmp_path)
    for name in ("nmnist", "own"):
        data = load_dataset(name, tmp_path, steps=4)
        assert isinstance(data, ImageDataset) and data.shape == (2, 34, 34) and data.steps == 4
        assert (len(data.train_samples), len(data.held_out_samples)) == (15, 6)
        assert "--spikes-above 0" in data.note
        frames, labels = data.held_out_samples.batch(torch.arange(6))
        assert frames.shape == (4, 6, 2, 34, 34) and labels.tolist() == [0, 0, 1, 1, 2, 2]
        assert frames.sum() == 6 * 40 and frames.max() > 1
    spikes = load_dataset("nmnist", tmp_path, steps=4, size=17, framing=SPIKES)
    frames, _ = spikes.held_out_samples.batch(torch.arange(6))
    assert frames.shape == (4, 6, 2, 17, 17) and frames.unique().tolist() == [0, 1]
    assert spikes.note == "" and spikes.name == "nmnist"


def test_twenty_recordings_one_of_three_events(tmp_path):
    """Ten frames of equally many events: the error names the file; by time there is none."""
    for label in range(2):
        (tmp_path / str(label)).mkdir()
        for number in range(10):
            short = (label, number) == (1, 4)
            np.save(tmp_path / str(label) / f"{number}.npy",
                    structured([(i, 3, 4, 1) for i in range(3 if short else 30)], TONIC))
    framing = Framing(sensor=(128, 128))
    data = read_own(tmp_path, steps=10, framing=framing)
    with pytest.raises(ValueError, match=r"1/4\.npy: 3 events are not enough for 10 frames "
                                         r"\(fewer --steps, or --by time\)$") as caught:
        data.read(np.arange(20))
    assert "\n" not in str(caught.value)
    by_time = read_own(tmp_path, steps=10, framing=Framing(sensor=(128, 128), by="time"))
    assert by_time.read(np.arange(20)).sum() == 19 * 30 + 3


def test_an_event_outside_names_the_file(tmp_path):
    for label in range(2):
        (tmp_path / str(label)).mkdir()
        for number in range(3):
            x = 130 if (label, number) == (0, 2) else 3
            np.save(tmp_path / str(label) / f"{number}.npy",
                    structured([(i, x, 4, 1) for i in range(30)], TONIC))
    data = read_own(tmp_path, steps=2, framing=Framing(sensor=(128, 128)))
    with pytest.raises(ValueError, match=r"0/2\.npy: event 0 at x = 130, y = 4, p = 1 is outside "
                                         "of a sensor of 128 x 128$"):
        data.read(np.arange(6))
    wide = read_own(tmp_path, steps=2, framing=Framing(sensor=(346, 260), spikes_above=0))
    assert wide.shape == (2, 260, 346) and wide.read(np.arange(6)).shape == (2, 6, 2, 260, 346)
    assert wide.read(np.array([2])).dtype == bool
    with pytest.raises(ValueError, match="--sensor 346x260"):
        read_own(tmp_path, steps=2)


def write_gestures(top: Path) -> None:
    """Two recordings of three gestures each, DVS Gesture's files."""
    for user, part in ((1, "train"), (2, "test")):
        name = f"user{user:02}_led"
        (top / f"trials_to_{part}.txt").write_text(f"{name}.aedat\n\n")
        rows = [f"{label},{1000 * label},{1000 * label + 99}" for label in (1, 2, 3)]
        (top / f"{name}_labels.csv").write_text("class,startTime_usec,endTime_usec\r\n"
                                                + "\r\n".join(rows) + "\r\n")
        events = [(t, 10 * (t // 1000), user, 1) for t in range(500, 4000, 10)]
        (top / f"{name}.aedat").write_bytes(HEADER3 + packet(events[:100]) + packet(events[100:]))


def test_gestures_are_cut_out_by_their_labels(tmp_path):
    write_gestures(tmp_path)
    data = load_dataset("dvsgesture", tmp_path, steps=5)
    assert isinstance(data, ImageDataset) and data.shape == (2, 128, 128) and data.classes == 3
    frames, labels = data.held_out_samples.batch(torch.arange(3))
    assert labels.tolist() == [0, 1, 2] and frames.sum((0, 2, 3, 4)).tolist() == [10, 10, 10]
    assert (frames[:, 1, 1, 2, 20] == 2).all()      # user 2: row 2; class 2: column 20
    assert data.train_samples.batch(torch.arange(3))[0][:, 0, 1, 1, 10].sum() == 10


@pytest.mark.parametrize(("name", "text", "message"), [
    ("user01_led_labels.csv", "class\n0,1,2\n", "line 2 has class 0, 1..2: classes are 1..11"),
    ("user01_led_labels.csv", "class\n1,5,5\n", "line 2 has class 1, 5..5"),
    ("user01_led_labels.csv", "class\n1,5\n", "line 2 is not class,first,last: '1,5'"),
    ("user01_led_labels.csv", "class\n", "names no gesture"),
    ("user01_led_labels.csv", "class\n1,\xff,2\n", "line 2 is not class,first,last"),
    ("trials_to_train.txt", "../secret.aedat\n", "is not the name of a recording"),
    ("trials_to_train.txt", "\n", "names no recording"),
    ("trials_to_test.txt", "absent.aedat\n", "absent_labels.csv: No such file or directory"),
])
def test_gestures_that_are_wrong(tmp_path, name, text, message):
    write_gestures(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("dvsgesture", tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_cifar10_dvs_has_one_sensor(tmp_path):
    with pytest.raises(ValueError, match="cifar10dvs has a sensor of 128 x 128"):
        load_dataset("cifar10dvs", tmp_path, framing=Framing(sensor=(3, 3)))
    with pytest.raises(ValueError, match="mnist has images: --by is for frames"):
        load_dataset("mnist", tmp_path, framing=Framing(by="time"))


# What tonic hands over ----------------------------------------------------------------------------


class Tonic:
    """A data set as tonic makes them: (structured events, class), and the size of its sensor."""

    sensor_size = (34, 34, 2)

    def __init__(self, recordings):
        self.recordings = recordings

    def __len__(self):
        return len(self.recordings)

    def __getitem__(self, index):
        return self.recordings[index]


def test_a_data_set_of_tonic():
    recordings = [(structured([(i, 3 * label, label, i % 2) for i in range(20)], TONIC),
                   np.int64(label)) for label in (0, 1, 2, 1)]
    data = event_dataset(Tonic(recordings), Tonic(recordings[:2]), classes=3, steps=4)
    assert data.shape == (2, 34, 34) and len(data.train_samples) == 4
    frames, labels = data.train_samples.batch(torch.tensor([2, 1]))
    assert labels.tolist() == [2, 1] and frames.shape == (4, 2, 2, 34, 34)
    # of five events in a row every second is ON
    assert frames[:, 0, 1, 2, 6].tolist() == [2, 3, 2, 3]
    assert frames[:, 0, 0, 2, 6].tolist() == [3, 2, 3, 2]
    assert frames[:, 1].sum() == 20
    wide = event_dataset(Tonic(recordings), Tonic(recordings), classes=3, steps=4,
                         sensor=(346, 260), framing=SPIKES)
    frames, _ = wide.train_samples.batch(torch.tensor([0]))
    assert frames.shape == (4, 1, 2, 260, 346) and frames.unique().tolist() == [0, 1]


@pytest.mark.parametrize(("recording", "message"), [
    ((np.zeros((20, 4)), 0), "recording 1: events have the fields t, x, y and p"),
    ((structured(EVENTS, TONIC), 0), "recording 1: 5 events are not enough for 6 frames"),
    ((structured([(1, 40, 2, 1)] * 9, TONIC), 0), "recording 1: event 0 at x = 40"),
    ((structured([(1, 4, 2, 1)] * 9, TONIC), "dog"), "recording 1: invalid literal"),
])
def test_a_recording_of_tonic_that_is_wrong(recording, message):
    data = event_dataset(Tonic([recording, recording]), Tonic([]), classes=3, steps=6)
    with pytest.raises(ValueError, match=message):
        data.train_samples.batch(torch.tensor([1]))


def test_recordings_without_a_sensor():
    with pytest.raises(ValueError, match="name it, as sensor="):
        event_dataset([], [], classes=3)
