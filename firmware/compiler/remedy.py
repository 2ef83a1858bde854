"""Remedies: the array that would do, as an error proposes it.

A remedy can be followed as it stands: every array that is named here can be built, and the
`FIELD = VALUE` of its text are what `--set FIELD=VALUE` takes.
"""

from dataclasses import replace

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS_WORDS, SOURCE_WORDS

__all__ = ["array_with", "remedies"]


def array_with(config: ArrayConfig, **changes: int) -> str:
    """"use one with FIELD = VALUE and ...": `config` with changes, or "" if it cannot be built.

    What the changes call for is changed with them: a packet buffer for more sources, currents no
    narrower than membranes, groups whose weights are one memory word, and what line buffers need.
    """
    def value(name: str) -> int:
        return changes[name] if name in changes else getattr(config, name)

    if value("line_words") > config.line_words:
        changes["line_words"] = max(value("line_words"), 8)
        changes |= {"banks": 9, "lut_ram": 1, "readout_queue": max(value("readout_queue"), 3)}
    if "weight_bits" in changes:
        changes["group_lanes"] = min(value("group_lanes"), 32 // changes["weight_bits"])
    changes["current_bits"] = max(value("current_bits"), value("state_bits"))
    words = 2 * (PASS_WORDS + SOURCE_WORDS * value("sources") + 2)
    changes["packet_words"] = max(value("packet_words"), 1 << (words - 1).bit_length())
    changes = {name: new for name, new in changes.items() if new != getattr(config, name)}
    try:
        replace(config, **changes)
    except ValueError:
        return ""
    return "use one with " + " and ".join(f"{name} = {new}" for name, new in changes.items())


def remedies(*ways: str) -> str:
    """What one can do, joined by "or"; empty ways are left out."""
    return ", or ".join(way for way in ways if way)
