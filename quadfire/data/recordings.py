"""Recordings of event cameras in files: which format it is, and the events in it.

| ending | format | sensor |
|---|---|---|
| .aedat | AEDAT 2.0 (CIFAR10-DVS) or 3.1 (DVS Gesture), see `aedat` | 128 x 128 |
| .bin | N-MNIST, N-Caltech101: 40 bits an event | 34 x 34 |
| .npy, .npz | a structured array with the fields t, x, y, p; or, in a .npz, four arrays | named |

An event of a .bin is big-endian: column (8 bits), row (8), polarity (1, set for ON), microseconds
(23). A row of 240 is no event: its time stamp has run over, and from it on 2^13 is added.
"""

import zipfile
from pathlib import Path

import numpy as np

from quadfire.data.aedat import CAMERAS, read_aedat2, read_aedat3
from quadfire.data.events import Events, check_inside, events_of, of_fields
from quadfire.data.files import checked, read_arrays, read_bytes, read_npy

__all__ = ["RECORDINGS", "read_recording", "sensor_of"]

#: Endings of recordings.
RECORDINGS = (".aedat", ".bin", ".npy", ".npz")

#: (width, height) of the sensors of formats that belong to one.
_SENSORS = {".aedat": (128, 128), ".bin": (34, 34)}

#: Formats that are known by name only, and what to do.
_UNREAD = {".aedat4": "AEDAT 4", ".raw": "Prophesee's RAW", ".dat": "Prophesee's DAT",
           ".mat": "MATLAB's", ".h5": "HDF5", ".hdf5": "HDF5", ".es": "Event Stream"}

#: The row of an event of a .bin that says that time stamps have run over, and what is added then.
_RUN_OVER, _LATER = 240, 1 << 13


def sensor_of(path: Path, sensor: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) of a recording: `sensor`, or that of its format."""
    found = sensor or _SENSORS.get(path.suffix.lower())
    if found is None:
        raise ValueError(f"{path}: its format does not say how large the sensor is: name it, as "
                         "--sensor 346x260")
    return found


def read_recording(path: Path, sensor: tuple[int, int] | None = None) -> Events:
    """The events of a recording.

    sensor: (width, height), None for that of the format. Raises ValueError of one line that names
    the file if it is of another format, damaged or cut short, or if an event lies outside of the
    sensor.
    """
    kind = path.suffix.lower()
    if kind in _UNREAD:
        raise ValueError(f"{path}: {_UNREAD[kind]} format is not read: save its events as a "
                         "structured array with the fields t, x, y, p (numpy.save)")
    width, height = sensor_of(path, sensor)
    with checked(path):
        if kind == ".aedat":
            events = _read_aedat(path, (width, height))
        elif kind == ".bin":
            events = _read_bin(path)
        elif kind in (".npy", ".npz"):
            events = _read_array(path)
        else:
            raise ValueError(f"recordings are {', '.join(RECORDINGS)}, not {kind!r}")
        check_inside(events, width, height)
    return events


def _read_aedat(path: Path, sensor: tuple[int, int]) -> Events:
    """Either version; the sensor tells the camera of AEDAT 2.0."""
    with path.open("rb") as file:
        first = file.read(12)
    if first.startswith(b"#!AER-DAT3"):
        return read_aedat3(path)
    if sensor not in CAMERAS.values():
        raise ValueError(f"AEDAT 2.0 of a sensor of {sensor[0]} x {sensor[1]} is not known, only "
                         + " and ".join(f"{w} x {h} ({name})" for name, (w, h) in CAMERAS.items()))
    return read_aedat2(path, next(name for name, size in CAMERAS.items() if size == sensor))


def _read_bin(path: Path) -> Events:
    """The events of N-MNIST's format."""
    raw = read_bytes(path)
    if len(raw) % 5:
        raise ValueError(f"{len(raw)} bytes are no number of events of 5 bytes")
    x, y, high, middle, low = np.frombuffer(raw, np.uint8).reshape(-1, 5).astype(np.int64).T
    t = (high & 127) << 16 | middle << 8 | low
    t = t + _LATER * np.cumsum(y == _RUN_OVER)
    real = y != _RUN_OVER
    return Events(t[real], x[real], y[real], high[real] >> 7)


def _read_array(path: Path) -> Events:
    """A structured array, or four arrays of a .npz."""
    if not zipfile.is_zipfile(path):
        return events_of(read_npy(path))
    with zipfile.ZipFile(path) as archive:
        names = [info.filename.removesuffix(".npy") for info in archive.infolist()]
    if len(names) == 1:
        return events_of(read_arrays(path, names)[names[0]])
    arrays = read_arrays(path, Events._fields)
    if lacking := {*Events._fields} - {*arrays}:
        raise ValueError("a recording is one structured array, or four arrays t, x, y and p; there "
                         f"is no {' and no '.join(sorted(lacking))}")
    return of_fields(arrays)
