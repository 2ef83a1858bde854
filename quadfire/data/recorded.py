"""Recordings of events as frames, read when they are asked for."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from quadfire.data.events import Events, to_frames
from quadfire.data.framing import Framing
from quadfire.data.recordings import read_recording, sensor_of

__all__ = ["Recorded", "frames_of"]


def frames_of(events: Events, steps: int, sensor: tuple[int, int],
              size: tuple[int, int] | None, framing: Framing) -> np.ndarray:
    """Frames [steps, 2, H, W]: counts float32, or spikes bool where `framing` makes spikes."""
    counts = to_frames(events, steps, by=framing.by, sensor=sensor, size=size)
    level = framing.spikes_above
    return counts.astype(np.float32) if level is None else counts > level


@lru_cache(maxsize=2)
def _events(path: Path, sensor: tuple[int, int]) -> Events:
    """The events of a recording; several samples in a row may be parts of one."""
    return read_recording(path, sensor)


class Recorded:
    """Reads samples from recordings.

    | argument | meaning |
    |---|---|
    | `recordings` | (file, (first, last) microsecond of the sample, or None for all of it) |
    | `steps` | frames of a sample |
    | `size` | (height, width) of its frames; None for the sensor's |
    | `framing` | how frames are made |

    A call takes indices [n] and returns frames [steps, n, 2, H, W]. Raises ValueError of one line
    that names the file.
    """

    def __init__(self, recordings: list[tuple[Path, tuple[int, int] | None]], steps: int,
                 size: tuple[int, int] | None, framing: Framing):
        self.recordings, self.steps, self.framing = recordings, steps, framing
        self.sensor = sensor_of(recordings[0][0], framing.sensor)
        width, height = self.sensor
        self.size = size or (height, width)

    def __call__(self, index: np.ndarray) -> np.ndarray:
        return np.stack([self._sample(*self.recordings[i]) for i in index.tolist()], 1)

    def _sample(self, path: Path, span: tuple[int, int] | None) -> np.ndarray:
        """One sample, [steps, 2, H, W]."""
        events = _events(path, self.sensor)
        if span is not None:
            part = (events.t >= span[0]) & (events.t <= span[1])
            events = Events(*(values[part] for values in events))
        try:
            return frames_of(events, self.steps, self.sensor, self.size, self.framing)
        except ValueError as error:
            when = "" if span is None else f", {span[0]}..{span[1]} microseconds"
            remedy = " (fewer --steps, or --by time)" if "not enough" in str(error) else ""
            raise ValueError(f"{path}{when}: {error}{remedy}") from None
