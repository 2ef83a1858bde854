"""Events of a camera, and how they become frames.

| function | does |
|---|---|
| `events_of` | a structured array, of any order and width of its fields, as `Events` |
| `to_frames` | counts of events in frames, [T, 2, H, W] |
"""

import math
from typing import NamedTuple

import numpy as np

__all__ = ["Events", "check_inside", "events_of", "to_frames"]


class Events(NamedTuple):
    """Events in the order of the file, one int64 array each.

    | array | meaning |
    |---|---|
    | `t` | microseconds |
    | `x`, `y` | column and row in the picture, from the top left |
    | `p` | 1: ON, brighter; 0: OFF, darker |
    """

    t: np.ndarray
    x: np.ndarray
    y: np.ndarray
    p: np.ndarray


def events_of(array: np.ndarray) -> Events:
    """The events of a structured array with the fields t, x, y and p.

    The fields may stand in any order, of any width of integers; p is bool, 0 and 1, or -1 and +1.
    Raises ValueError for an array without these fields, for numbers that are no integers and for
    another polarity.
    """
    names = array.dtype.names or ()
    if lacking := {*Events._fields} - {*names}:
        raise ValueError(f"events have the fields t, x, y and p; there is no "
                         f"{' and no '.join(sorted(lacking))}"
                         + (f" among {', '.join(names)}" if names else f": {array.dtype} has none"))
    if array.ndim != 1:
        raise ValueError(f"events are an array of one dimension, not {list(array.shape)}")
    return of_fields({name: array[name] for name in Events._fields})


def of_fields(fields: dict[str, np.ndarray]) -> Events:
    """Events of four arrays of one length, named t, x, y and p; see `events_of`."""
    for name in Events._fields:
        values = fields[name]
        if values.dtype.kind not in ("biu" if name == "p" else "iu"):
            raise ValueError(f"{name} of events must be integers, not {values.dtype}")
        if values.ndim != 1 or len(values) != len(fields["t"]):
            raise ValueError("t, x, y and p of events must be of one length and one dimension")
        if values.dtype == np.uint64 and len(values) and values.max() >> 63:
            raise ValueError(f"{name} of an event is {values.max()}")
    p = fields["p"].astype(np.int64)
    if (p == -1).any() and not (p == 0).any():
        p[p == -1] = 0
    if ((p != 0) & (p != 1)).any():
        kinds = ", ".join(map(str, np.unique(fields["p"])[:5]))
        raise ValueError(f"the polarity of events must be 0 and 1, or -1 and +1, not {kinds}")
    t, x, y = (fields[name].astype(np.int64) for name in "txy")
    return Events(t, x, y, p)


def check_inside(events: Events, width: int, height: int) -> None:
    """Raises ValueError for the first event outside of the sensor."""
    outside = (events.x < 0) | (events.x >= width) | (events.y < 0) | (events.y >= height) \
        | (events.p < 0) | (events.p > 1)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(f"event {first} at x = {events.x[first]}, y = {events.y[first]}, "
                         f"p = {events.p[first]} is outside of a sensor of {width} x {height}")


def _frame_of(events: Events, steps: int, by: str) -> np.ndarray:
    """The frame of every event, 0..steps - 1."""
    count = len(events.t)
    if by == "number":
        if count < steps:
            raise ValueError(f"{count} events are not enough for {steps} frames")
        return np.minimum(np.arange(count) // (count // steps), steps - 1)
    if by != "time":
        raise ValueError(f"by must be number or time, not {by!r}")
    if not count:
        raise ValueError("there are no events in it")
    first, last = int(events.t.min()), int(events.t.max())
    if (last - first + 1) * steps >= 1 << 63:
        raise ValueError(f"its time stamps reach from {first} to {last} microseconds")
    return (events.t - first) * steps // (last - first + 1)


def to_frames(events: Events, steps: int, *, by: str = "number",
              sensor: tuple[int, int] = (128, 128), size: tuple[int, int] | None = None
              ) -> np.ndarray:
    """Counts of events in `steps` frames, int64 [steps, 2, H, W]; channel 0 is OFF, 1 is ON.

    | by | frames |
    |---|---|
    | "number" | of equally many events; what is left over is counted in the last one |
    | "time" | of equal duration; some may be empty |

    sensor: (width, height). size: (height, width) to which a picture is made smaller, every event
    falling into the pixel above it: column x into x W' // W. Raises ValueError for fewer than 1
    step, for fewer events than frames of equally many, and for an event outside of the sensor.
    """
    width, height = sensor
    if steps < 1:
        raise ValueError(f"steps must be above 0, not {steps!r}")
    frame = _frame_of(events, steps, by)
    check_inside(events, width, height)
    x, y = events.x, events.y
    if size is not None and size != (height, width):
        if size[0] > height or size[1] > width:
            raise ValueError(f"pictures of {width} x {height} cannot become {size[1]} x {size[0]}: "
                             "events are made coarser, not finer")
        x, y = x * size[1] // width, y * size[0] // height
        height, width = size
    cell = ((frame * 2 + events.p) * height + y) * width + x
    shape = (steps, 2, height, width)
    return np.bincount(cell, minlength=math.prod(shape)).reshape(shape)
