"""Event cameras: AEDAT 2.0 recordings, how they become frames, and the data set CIFAR10-DVS.

A file of AEDAT 2.0 begins with lines of text. Each starts with '#', the first is #!AER-DAT2.0.
Events follow, each of two big-endian 32-bit numbers: an address, and a time stamp in microseconds.
What the bits of an address mean depends on the camera:

| | DVS128 | DAVIS346 |
|---|---|---|
| sensor, width x height | 128 x 128 | 346 x 260 |
| column | bits 7..1, from the right | bits 21..12, from the right |
| row | bits 14..8, from below | bits 30..22, from below |
| polarity | bit 0, clear for ON | bit 11, set for ON |
| no event of a pixel where | any of bits 31..15 is set | bit 31 or bit 10 is set |

A DVS128 of CIFAR10-DVS stood on its side, so every reader of that data set exchanges rows and
columns to turn its pictures upright; the columns of the table above are those of the sensor.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.datasets.base import ImageDataset, missing
from quadfire.models.datasets.files import read_bytes

__all__ = ["CAMERAS", "CIFAR10_DVS", "EventSamples", "Events", "cifar10_dvs", "read_aedat",
           "to_frames"]

#: The classes, in the order of CIFAR-10.
CIFAR10_DVS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
               "truck")
LAYOUT = """\
  airplane/cifar10_airplane_0.aedat ... cifar10_airplane_999.aedat
  automobile/... and so on: bird, cat, deer, dog, frog, horse, ship, truck"""

#: Cameras whose addresses are known, and (width, height) of their pictures.
CAMERAS = {"dvs128": (128, 128), "davis346": (346, 260)}

#: The last line of a header, in files that say where it ends.
LAST_LINE = b"#End Of ASCII Header"


class Events(NamedTuple):
    """Events in the order of the file, one array each.

    | array | meaning |
    |---|---|
    | `t` | microseconds, int64 |
    | `x`, `y` | column and row in the picture, from the top left |
    | `p` | 1: ON, brighter; 0: OFF, darker |
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


def _header_size(raw: bytes) -> int:
    """Where the events begin. An address may begin with the byte '#' as well, a line is ASCII."""
    start = 0
    while raw[start:start + 1] == b"#":
        end = raw.find(b"\n", start) + 1 or len(raw)
        line = raw[start:end].rstrip()
        if not line.isascii() or any(byte < 32 and byte != 9 for byte in line):
            break
        start = end
        if line == LAST_LINE:
            break
    return start


def read_aedat(path: Path, camera: str = "dvs128") -> Events:
    """The events of the pixels in an AEDAT 2.0 file; others, as of synchronisation, are dropped.

    camera: one of CAMERAS. Raises ValueError that names the file if it is of another format, if it
    is cut short, or if an event lies outside of the sensor.
    """
    if camera not in CAMERAS:
        raise ValueError(f"camera must be {' or '.join(CAMERAS)}, not {camera!r}")
    raw = read_bytes(path)
    if not raw.startswith(b"#!AER-DAT2.0"):
        first = raw[:20].split(b"\n")[0].decode("ascii", "replace").strip()
        raise ValueError(f"{path}: begins with {first!r}, not with #!AER-DAT2.0: the files of "
                         "CIFAR10-DVS are AEDAT 2.0")
    start = _header_size(raw)
    if (len(raw) - start) % 8:
        raise ValueError(f"{path}: {len(raw) - start} bytes are no number of events of 8 bytes")
    address, t = np.frombuffer(raw, ">u4", offset=start).reshape(-1, 2).astype(np.int64).T
    width, height = CAMERAS[camera]
    if camera == "dvs128":
        of_pixel = address < 1 << 15
        x, y, p = 127 - (address >> 8 & 127), 127 - (address >> 1 & 127), 1 - (address & 1)
    else:
        of_pixel = address & (1 << 31 | 1 << 10) == 0
        x = width - 1 - (address >> 12 & 1023)
        y, p = height - 1 - (address >> 22 & 511), address >> 11 & 1
    events = Events(*(values[of_pixel] for values in (t, x, y, p)))
    try:
        _check_inside(events, width, height)
    except ValueError as error:
        raise ValueError(f"{path}: {error}: is it of another camera?") from None
    return events


def _check_inside(events: Events, width: int, height: int) -> None:
    """Raises ValueError for the first event outside of the sensor."""
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height) \
        | (events.p < 0) | (events.p > 1)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"event {first} at x = {events.x[first]}, y = {events.y[first]}, "
                         f"p = {events.p[first]} is outside of a sensor of {width} x {height}")


def to_frames(events: Events, steps: int, *, by: str = "number",
              sensor: tuple[int, int] = CAMERAS["dvs128"]) -> Tensor:
    """Counts of events, float32 [steps, 2, height, width]; channel 0 is OFF, 1 is ON.

    | argument | meaning |
    |---|---|
    | `steps` | number of frames |
    | `by` | "number": equally many events a frame, the last one takes the remainder |
    | | "time": frames of equal duration |
    | `sensor` | (width, height) |

    Every event is counted once. Raises ValueError for fewer events than frames, and for an event
    outside of the sensor.
    """
    count, (width, height) = len(events.t), sensor
    if steps < 1:
        raise ValueError(f"steps must be above 0, not {steps!r}")
    if count < steps:
        raise ValueError(f"{count} events are not enough for {steps} frames")
    _check_inside(events, width, height)
    if by == "number":
        frame = np.minimum(np.arange(count) // (count // steps), steps - 1)
    elif by == "time":
        first, duration = events.t.min(), np.ptp(events.t) + 1
        frame = (events.t - first) * steps // duration
    else:
        raise ValueError(f"by must be number or time, not {by!r}")
    cell = ((frame * 2 + events.p) * height + events.y) * width + events.x
    counts = np.bincount(cell, minlength=steps * 2 * height * width)
    return torch.from_numpy(counts.reshape(steps, 2, height, width)).float()


class EventSamples:
    """Recordings in files, read when they are asked for, as frames float32 [T, N, 2, H, W].

    | argument | meaning |
    |---|---|
    | `steps` | frames of a recording, T |
    | `size` | side of the frames; None keeps the sensor's height and width |
    | `by` | how a recording is cut, see `to_frames` |
    | `camera` | one of CAMERAS |

    Frames of another size than the sensor's are reduced bilinearly with antialiasing, which gives
    means of counts, not sums.
    """

    seeded = False

    def __init__(self, paths: list[Path], labels: list[int], steps: int, size: int | None = None,
                 by: str = "number", camera: str = "dvs128"):
        self.paths, self.labels = paths, torch.tensor(labels)
        self.steps, self.size, self.by, self.camera = steps, size, by, camera

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.stack([self._frames(self.paths[i]) for i in index.tolist()], 1), \
            self.labels[index]

    def _frames(self, path: Path) -> Tensor:
        """One recording, [T, 2, H, W]."""
        events, sensor = read_aedat(path, self.camera), CAMERAS[self.camera]
        try:
            counts = to_frames(events, self.steps, by=self.by, sensor=sensor)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if self.size is None or sensor == (self.size, self.size):
            return counts
        return functional.interpolate(counts, (self.size, self.size), mode="bilinear",
                                      antialias=True)


def cifar10_dvs(folder: Path, *, steps: int = 10, size: int = 48,
                by: str = "number") -> ImageDataset:
    """CIFAR10-DVS as frames.

    It brings no split: of each class, in the order of the files' numbers, the last tenth is held
    out.
    """
    train: list[tuple[Path, int]] = []
    held_out: list[tuple[Path, int]] = []
    for label, name in enumerate(CIFAR10_DVS):
        files = sorted((folder / name).glob("*.aedat"),
                       key=lambda path: [int(n) for n in re.findall(r"\d+", path.stem)])
        if not files:
            raise missing(folder, f"there are no .aedat files in {name}/", LAYOUT)
        cut = len(files) - max(1, len(files) // 10)
        train += [(path, label) for path in files[:cut]]
        held_out += [(path, label) for path in files[cut:]]
    sets = [EventSamples([path for path, _ in part], [label for _, label in part], steps, size, by)
            for part in (train, held_out)]
    return ImageDataset(name="cifar10dvs", shape=(2, size, size), classes=len(CIFAR10_DVS),
                        train_samples=sets[0], held_out_samples=sets[1], steps=steps)
