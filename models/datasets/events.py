"""CIFAR10-DVS: event streams in AEDAT 2.0 files, and how they become frames.

An AEDAT 2.0 file is lines of header that begin with '#', the first of them #!AER-DAT2.0, then
events of two big-endian 32-bit numbers, address and time stamp in microseconds. In the address of
a DVS128, bits 1..7 are the column and 8..14 the row, counted from the right and from below as the
sensor stands, and bit 0 is clear where the brightness rose (ON). Bits above are set in special
events only. The recordings of the data set lie on their side: as everyone who reads it does, rows
and columns are exchanged here, which makes the pictures upright.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.datasets.base import ImageDataset, missing

__all__ = ["CIFAR10_DVS", "EventSamples", "Events", "cifar10_dvs", "read_aedat", "to_frames"]

#: The classes, in the order of CIFAR-10.
CIFAR10_DVS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
               "truck")
SIDE = 128
LAYOUT = """\
  airplane/cifar10_airplane_0.aedat ... cifar10_airplane_999.aedat
  automobile/... and so on: bird, cat, deer, dog, frog, horse, ship, truck"""


class Events(NamedTuple):
    """Events in the order of the file, each an array of one length.

    t: microseconds, int64. x, y: column and row, 0..127 from the top left. p: 1 ON, 0 OFF.
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


def read_aedat(path: Path) -> Events:
    """The events of an AEDAT 2.0 file of a DVS128. Raises ValueError for any other file."""
    raw = path.read_bytes()
    if not raw.startswith(b"#!AER-DAT2.0"):
        first = raw[:20].split(b"\n")[0].decode("ascii", "replace").strip()
        raise ValueError(f"{path}: begins with {first!r}, not with #!AER-DAT2.0: the files of "
                         "CIFAR10-DVS are AEDAT 2.0")
    start = 0
    while raw[start:start + 1] == b"#":         # the address of an event begins with a zero byte
        start = raw.find(b"\n", start) + 1 or len(raw)
    if (len(raw) - start) % 8:
        raise ValueError(f"{path}: {len(raw) - start} bytes are no number of events of 8 bytes")
    address, t = np.frombuffer(raw, ">u4", offset=start).reshape(-1, 2).astype(np.int64).T
    normal = address < 1 << 15
    address, t = address[normal], t[normal]
    return Events(t=t, x=127 - (address >> 8 & 127), y=127 - (address >> 1 & 127),
                  p=1 - (address & 1))


def to_frames(events: Events, steps: int, *, by: str = "number", side: int = SIDE) -> Tensor:
    """Counts of events, float32 [steps, 2, side, side]; channel 0 is OFF, 1 is ON.

    by: "number", as many events in every frame (the last takes the remainder), or "time", frames of
    equal duration. Raises ValueError for fewer than `steps` events, or another `by`.
    """
    count = len(events.t)
    if count < steps:
        raise ValueError(f"{count} events are not enough for {steps} frames")
    if by == "number":
        frame = np.minimum(np.arange(count) // (count // steps), steps - 1)
    elif by == "time":
        first, duration = events.t.min(), np.ptp(events.t) + 1
        frame = (events.t - first) * steps // duration
    else:
        raise ValueError(f"by must be number or time, not {by!r}")
    cell = ((frame * 2 + events.p) * side + events.y) * side + events.x
    counts = np.bincount(cell, minlength=steps * 2 * side * side)
    return torch.from_numpy(counts.reshape(steps, 2, side, side)).float()


class EventSamples:
    """Event files, read when they are asked for, as frames float32 [T, N, 2, size, size].

    Counts are reduced from 128 x 128 bilinearly, with antialiasing: means, not sums.
    """

    seeded = False

    def __init__(self, paths: list[Path], labels: list[int], steps: int, size: int, by: str):
        self.paths, self.labels = paths, torch.tensor(labels)
        self.steps, self.size, self.by = steps, size, by

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        frames = []
        for i in index.tolist():
            counts = to_frames(read_aedat(self.paths[i]), self.steps, by=self.by)
            if self.size != SIDE:
                counts = functional.interpolate(counts, (self.size, self.size), mode="bilinear",
                                                antialias=True)
            frames.append(counts)
        return torch.stack(frames, 1), self.labels[index]


def cifar10_dvs(folder: Path, *, steps: int = 10, size: int = 48,
                by: str = "number") -> ImageDataset:
    """CIFAR10-DVS as frames. It has no split of its own: of each class, in the order of their
    numbers, the last tenth is held out."""
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
    parts = [EventSamples([path for path, _ in part], [label for _, label in part], steps, size,
                          by) for part in (train, held_out)]
    return ImageDataset(name="cifar10dvs", shape=(2, size, size), classes=len(CIFAR10_DVS),
                        train_samples=parts[0], held_out_samples=parts[1], steps=steps)
