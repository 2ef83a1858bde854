"""How frames are made of what a file holds, stated once for all commands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["AS_FOUND", "Framing"]


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How frames are made of what a file holds.

    | field | meaning |
    |---|---|
    | `spikes_above` | a spike where a frame is above this; None: frames hold spikes already |
    | `by` | a recording is cut into frames of equally many events ("number") or of equal "time" |
    | `sensor` | (width, height) of recordings; None: that of their format |

    What differs from the defaults is kept in the files of checkpoints and networks, under "frames",
    so that they are measured on the frames that they were trained on.
    """

    spikes_above: float | None = None
    by: str = "number"
    sensor: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        level, sensor = self.spikes_above, self.sensor
        if level is not None and (isinstance(level, bool) or not isinstance(level, (int, float))
                                  or level != level):
            raise ValueError(f"spikes_above must be a number or None, not {level!r}")
        if self.by not in ("number", "time"):
            raise ValueError(f"by must be number or time, not {self.by!r}")
        if sensor is not None and not (isinstance(sensor, tuple) and len(sensor) == 2 and all(
                type(side) is int and 0 < side <= 1 << 14 for side in sensor)):
            raise ValueError(f"a sensor must be WIDTHxHEIGHT, such as 346x260, not {sensor!r}")

    @classmethod
    def read(cls, about: Mapping[str, Any], spikes_above: float | None = None,
             by: str | None = None, sensor: str | None = None) -> "Framing":
        """The framing that a file says it was trained with, with what a user names in its place.

        about: what a checkpoint or a network says of itself. sensor: as WIDTHxHEIGHT. Raises
        ValueError for a value of another kind.
        """
        kept = about.get("frames", {})
        if not isinstance(kept, dict) or {*kept} - {"spikes_above", "by", "sensor"}:
            raise ValueError(f"frames must be what a framing is made of, not {kept!r}")
        values = {name: tuple(value) if isinstance(value, list) else value
                  for name, value in kept.items()}
        if sensor is not None:
            sides = re.fullmatch(r"(\d{1,5})x(\d{1,5})", sensor)
            if sides is None:
                raise ValueError(f"--sensor is WIDTHxHEIGHT, such as 346x260, not {sensor!r}")
            values["sensor"] = (int(sides[1]), int(sides[2]))
        named = {"spikes_above": spikes_above, "by": by}
        return cls(**{**values, **{name: value for name, value in named.items()
                                   if value is not None}})

    @property
    def options(self) -> str:
        """The options that make it what it is, for an error that refuses them."""
        named = {"--spikes-above": self.spikes_above is not None, "--by": self.by != "number",
                 "--sensor": self.sensor is not None}
        return ", ".join(name for name, given in named.items() if given)

    def about(self) -> dict[str, Any]:
        """What a file should keep of it: {"frames": ...}, or nothing for the defaults."""
        values = {"spikes_above": self.spikes_above, "by": None if self.by == "number" else self.by,
                  "sensor": self.sensor and [*self.sensor]}
        kept = {name: value for name, value in values.items() if value is not None}
        return {"frames": kept} if kept else {}


#: Frames hold spikes already.
AS_FOUND = Framing()
