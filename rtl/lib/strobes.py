"""Layouts that name their strobes, and pipeline registers that reset those alone."""

from collections.abc import Iterable, Mapping
from typing import Any

from amaranth import *
from amaranth.lib import data

__all__ = ["StrobedLayout", "registered"]


class StrobedLayout(data.StructLayout):
    """A structure of strobes and payload.

    A strobe makes something happen. The payload says what, and means nothing while all strobes
    are low. Only the strobes are reset, see `registered`.

    | argument  | meaning                    |
    |-----------|----------------------------|
    | `members` | fields as {name: shape}    |
    | `strobes` | names of the strobe fields |

    Raises ValueError without a strobe, and for a strobe that is no field.
    """

    def __init__(self, members: Mapping[str, Any], *, strobes: Iterable[str]):
        super().__init__(members)
        self.strobes = tuple(sorted(strobes))
        if not self.strobes:
            raise ValueError("a layout without strobes is a plain StructLayout")
        for name in self.strobes:
            if name not in members:
                raise ValueError(f"a strobe must be one of {', '.join(members)}, not {name!r}")


def registered(m: Module, source: Any, name: str, domain: str = "sync") -> Any:
    """`source` one cycle later; `source` itself where the domain is "comb".

    Only the strobes of a `StrobedLayout` are reset, and nothing of any other shape. Resetting the
    payload of a large array would cost more routing than any of its data signals.

    | argument | meaning                                        |
    |----------|------------------------------------------------|
    | `source` | a value, or a view of a layout                 |
    | `name`   | of the register                                |
    | `domain` | "sync", "comb" for no register, or another one |
    """
    if domain == "comb":
        return source
    shape = source.shape()
    later = Signal(shape, name=name, reset_less=True)
    m.d[domain] += later.eq(source)
    if not isinstance(shape, StrobedLayout):
        return later
    whole = Signal(shape, name=f"{name}_whole")
    m.d.comb += whole.eq(later)
    for strobe in shape.strobes:
        bit = Signal.like(source[strobe], name=f"{name}_{strobe}", reset_less=False)
        m.d[domain] += bit.eq(source[strobe])
        m.d.comb += whole[strobe].eq(bit)
    return whole
