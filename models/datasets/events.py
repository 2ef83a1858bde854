"""Recordings of event cameras for PyTorch: CIFAR10-DVS, DVS Gesture, N-MNIST, and any other.

What is in the files is read by `quadfire.data`: `aedat`, `recordings`, `events`.
"""

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.data import events as events_module
from quadfire.data.aedat import CAMERAS
from quadfire.data.aedat import read_aedat2 as read_aedat
from quadfire.data.events import Events, events_of
from quadfire.data.files import missing
from quadfire.data.framing import AS_FOUND, Framing
from quadfire.data.recorded import frames_of
from quadfire.models.datasets.base import COUNTS, ImageDataset

__all__ = ["CAMERAS", "CIFAR10_DVS", "EventSamples", "Events", "Recordings", "cifar10_dvs",
           "event_dataset", "read_aedat", "to_frames"]

#: The classes, in the order of CIFAR-10.
CIFAR10_DVS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
               "truck")
LAYOUT = """\
  airplane/cifar10_airplane_0.aedat ... cifar10_airplane_999.aedat
  automobile/... and so on: bird, cat, deer, dog, frog, horse, ship, truck"""


def to_frames(events: Events, steps: int, *, by: str = "number",
              sensor: tuple[int, int] = (128, 128)) -> Tensor:
    """Counts of events, float32 [steps, 2, H, W]; see `quadfire.data.events.to_frames`."""
    return torch.from_numpy(events_module.to_frames(events, steps, by=by, sensor=sensor)).float()


class EventSamples:
    """Recordings in files, read when they are asked for, as frames float32 [T, N, 2, H, W].

    | argument | meaning |
    |---|---|
    | `steps` | frames of a recording, T |
    | `size` | side of the frames; None keeps the sensor's height and width |
    | `by` | how a recording is cut, see `to_frames` |
    | `camera` | one of CAMERAS |
    | `spikes_above` | frames are spikes, 1.0 where they are above this; None: counts of events |

    Frames of another size than the sensor's are reduced bilinearly with antialiasing, which gives
    means of counts, not sums.
    """

    seeded = False

    def __init__(self, paths: list[Path], labels: list[int], steps: int, size: int | None = None,
                 by: str = "number", camera: str = "dvs128",
                 spikes_above: float | None = None):
        self.paths, self.labels = paths, torch.tensor(labels)
        self.steps, self.size, self.by, self.camera = steps, size, by, camera
        self.spikes_above = spikes_above

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        frames = torch.stack([self._frames(self.paths[i]) for i in index.tolist()], 1)
        if self.spikes_above is not None:
            frames = (frames > self.spikes_above).float()
        return frames, self.labels[index]

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


def cifar10_dvs(folder: Path, *, steps: int = 10, size: int = 48, by: str = "number",
                spikes_above: float | None = None) -> ImageDataset:
    """CIFAR10-DVS as frames, of counts or of spikes, see `EventSamples`.

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
    sets = [EventSamples([path for path, _ in part], [label for _, label in part], steps, size, by,
                         spikes_above=spikes_above) for part in (train, held_out)]
    return ImageDataset(name="cifar10dvs", shape=(2, size, size), classes=len(CIFAR10_DVS),
                        train_samples=sets[0], held_out_samples=sets[1], steps=steps,
                        note=COUNTS if spikes_above is None else "")


# Recordings that Python holds ---------------------------------------------------------------------


class Recordings(Protocol):
    """Labelled recordings, such as a data set of tonic: [i] is (structured array, class)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[np.ndarray, Any]: ...


class _Held:
    """Samples of recordings that Python holds, as frames float32 [T, N, 2, H, W]."""

    seeded = False

    def __init__(self, recordings: Recordings, steps: int, sensor: tuple[int, int],
                 size: tuple[int, int] | None, framing: Framing):
        self.recordings, self.steps, self.sensor = recordings, steps, sensor
        self.size, self.framing = size, framing

    def __len__(self) -> int:
        return len(self.recordings)

    def batch(self, index: Tensor, seeds: Tensor | None = None) -> tuple[Tensor, Tensor]:
        frames, labels = [], []
        for i in index.tolist():
            events, label = self.recordings[i]
            try:
                frames.append(frames_of(events_of(np.asarray(events)), self.steps, self.sensor,
                                        self.size, self.framing))
                labels.append(int(label))
            except (TypeError, ValueError) as error:
                raise ValueError(f"recording {i}: {error}") from None
        return torch.from_numpy(np.stack(frames, 1)).float(), torch.tensor(labels)


def event_dataset(train: Recordings, held_out: Recordings, *, classes: int, steps: int = 10,
                  sensor: tuple[int, int] | None = None, size: tuple[int, int] | None = None,
                  framing: Framing = AS_FOUND, name: str = "own:recordings") -> ImageDataset:
    """A data set of recordings that Python holds, as tonic's data sets without a transform.

    | argument | meaning |
    |---|---|
    | `train`, `held_out` | `Recordings`: events with the fields t, x, y, p in any order, a class |
    | `classes` | number of classes |
    | `steps` | frames of a recording |
    | `sensor` | (width, height); None: that of `train.sensor_size`, (width, height, ...) |
    | `size` | (height, width) to which frames are made coarser |
    | `framing` | how frames are made |

    A batch raises ValueError that says which recording is wrong, and in what.
    """
    found: Any = sensor or framing.sensor or getattr(train, "sensor_size", None)
    if found is None:
        raise ValueError("recordings do not say how large the sensor is: name it, as "
                         "sensor=(346, 260)")
    width, height = found[:2]
    sets = [_Held(part, steps, (width, height), size, framing) for part in (train, held_out)]
    rows, columns = size or (height, width)
    return ImageDataset(name=name, shape=(2, rows, columns), classes=classes,
                        train_samples=sets[0], held_out_samples=sets[1], steps=steps,
                        note=COUNTS if framing.spikes_above is None else "")
