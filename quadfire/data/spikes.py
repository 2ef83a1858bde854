"""What a spike is: frames of 0 and 1, and how counts of events become them.

A network of spikes takes 0 and 1. A frame with counts is another input: a network in floating point
adds a weight as often as was counted, the array once. So counts are refused wherever frames enter a
network of spikes, and become spikes only where the user says so.
"""

import math
from typing import Any

__all__ = ["SPIKES_REMEDY", "check_spikes", "spikes_above"]

#: What to do with frames of other numbers.
SPIKES_REMEDY = ("a spike has no size. Make spikes of all that is above 0 by --spikes-above 0 (in "
                 "Python x > 0), or import the network with --input counts")


def check_spikes(frames: Any, what: str = "frames") -> Any:
    """Frames of 0 and 1, of any type, as bool.

    frames: an array of numpy or a tensor; what: its name in an error. Raises ValueError where it
    holds anything else, NaN included.
    """
    others = (frames != 0) & (frames != 1)
    if count := int(others.sum()):
        raise ValueError(
            f"{what} must be 0 or 1, and {count:,} of {math.prod(frames.shape):,} values are not "
            f"(up to {float(frames[others].max()):g}): {SPIKES_REMEDY}")
    return frames == 1


def spikes_above(frames: Any, level: float | None, what: str = "frames") -> Any:
    """Spikes where frames are above `level`, as bool; without a level they are spikes already."""
    return check_spikes(frames, what) if level is None else frames > level
