"""The register table: every register of the AXI shell, its fields, their access and meaning.

The hardware (`register_file`), the Markdown, the C header, the Python class and the SystemRDL are
made from this table and from nothing else. Offsets do not depend on the configuration; the values
of the constants do (`constants`). A new field of `ArrayConfig` gets its register by itself.

Rules of the bus: registers are 32 bits wide, AXI4-Lite addresses are byte addresses whose two
lowest bits must be 0. SLVERR answers an address that is unaligned or holds no register, and a write
to a register of which nothing can be written; nothing is changed then, and `error.access` is set.
WSTRB chooses the bytes that are written; a write without a byte is answered OKAY.

This module needs no Amaranth.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, fields

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import MAGIC, VERSION, Fault

__all__ = ["ADDRESS_BITS", "MAP_VERSION", "REGISTERS", "STREAM_BITS", "Access", "Field", "Register",
           "constants", "find"]

#: Version of this table, major.minor, 16 bits each. Another major number: drivers must refuse.
MAP_VERSION = 0x00010000

#: Width of an AXI4-Lite address: the registers take 4 KiB.
ADDRESS_BITS = 12

#: Widths that the streams may have.
STREAM_BITS = (32, 64, 128)


class Access(enum.Enum):
    """What software may do with a field, and where its value comes from."""

    CONSTANT = "constant"   #: read: fixed when the Verilog was made
    STATUS = "status"       #: read: what the hardware says now
    COUNTER = "counter"     #: read: counts modulo 2^32; `control.clear` makes it 0
    CONTROL = "control"     #: read and write
    STROBE = "strobe"       #: write 1 to do it; reads as 0
    STICKY = "sticky"       #: set by the hardware, which goes before; write 1 to clear

    @property
    def writable(self) -> bool:
        return self in (Access.CONTROL, Access.STROBE, Access.STICKY)


@dataclass(frozen=True)
class Field:
    """`bits` bits of a register from bit `low` on; `values` names the values it can have."""

    name: str
    access: Access
    what: str
    low: int = 0
    bits: int = 1
    reset: int = 0
    values: type[enum.IntEnum] | None = None

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1 << self.low


@dataclass(frozen=True)
class Register:
    """A register at byte address `offset`."""

    name: str
    offset: int
    what: str
    fields: tuple[Field, ...]

    @property
    def writable(self) -> bool:
        return any(field.access.writable for field in self.fields)

    def field(self, name: str) -> Field:
        """The field called `name`; KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"register {self.name!r} has no field {name!r}")


def _number(name: str, what: str, access: Access) -> tuple[str, str, tuple[Field, ...]]:
    """A register that is one number."""
    return name, what, (Field("value", access, what, bits=32),)


def _bits(access: Access, /, **what: str) -> tuple[Field, ...]:
    """Fields of one bit each, from bit 0 on."""
    return tuple(Field(name, access, text, low) for low, (name, text) in enumerate(what.items()))


_IDENTITY = {
    "magic": "`QFIR` in ASCII, most significant byte first",
    "map_version": "version of this table, major in bits 31:16, minor below",
    "tape_version": "version of the tape, likewise",
    "configuration": "hash of the array's configuration, which every tape carries",
    "stream_bits": "width of both streams",
    "payload_words": "longest payload of a packet, in words",
}

_EVENTS = {
    "answer": "an output frame has left, TLAST included",
    "error": "a bit of `error` was set",
}

_COUNTERS = {
    "cycles": "clock cycles",
    "input_bytes": "bytes taken from s_axis (TKEEP counted)",
    "input_beats": "beats taken from s_axis",
    "input_frames": "beats with TLAST taken from s_axis",
    "input_packets": "packets passed to the core, damaged ones included",
    "input_stalls": "cycles in which s_axis had TVALID and not TREADY",
    "output_bytes": "bytes given to m_axis (TKEEP counted)",
    "output_beats": "beats given to m_axis",
    "output_frames": "beats with TLAST given to m_axis",
    "output_packets": "answers that came from the core",
    "output_stalls": "cycles in which m_axis had TVALID and not TREADY",
}


def _table() -> tuple[Register, ...]:
    table: list[Register] = []

    def block(offset: int, registers: Iterable[tuple[str, str, tuple[Field, ...]]]) -> None:
        for index, (name, what, parts) in enumerate(registers):
            table.append(Register(name, offset + 4 * index, what, parts))

    block(0x000, (_number(*item, Access.CONSTANT) for item in _IDENTITY.items()))
    block(0x040, [
        ("control", "What the host asks for.", (
            Field("reset", Access.CONTROL, "holds the core in reset: the network is forgotten, "
                  "input is taken and dropped, an output frame under way is ended by one word 0. "
                  "Write 0 once `status.input_waiting` is 0"),
            Field("clear", Access.STROBE, "makes all counters 0", low=1))),
        ("status", "What the shell does now.", _bits(
            Access.STATUS, held="the core is in reset",
            input_waiting="input beats wait in the FIFO", input_open="an input packet has begun",
            output_waiting="output beats wait in the FIFO",
            output_open="an output frame has begun")),
        ("frame", "How answers become frames of m_axis.", (
            Field("answers", Access.CONTROL, "answers in one frame, TLAST after the last; 0 counts "
                  "as 1. An ERROR answer always ends its frame", bits=16, reset=1),)),
        ("error", "What went wrong since it was cleared.", _bits(
            Access.STICKY, access="an AXI4-Lite access was answered with SLVERR",
            keep="TKEEP cut a word of the input in two; the word was dropped",
            truncated="TLAST came inside of a packet; the packet was ended there",
            oversize="a header had an impossible length; input was dropped up to TLAST",
            refused="the core answered ERROR: see `fault` and `fault_header`")),
        ("fault", "Why the core refused the first packet since `error.refused` was cleared.", (
            Field("cause", Access.STATUS, "cause of the ERROR answer", bits=8, values=Fault),)),
        _number("fault_header", "Header of that packet as received.", Access.STATUS),
        ("interrupt_enable", "Which events raise `irq`.", _bits(Access.CONTROL, **_EVENTS)),
        ("interrupt", "Which events have happened; `irq` is high while an enabled one is set.",
         _bits(Access.STICKY, **_EVENTS)),
    ])
    block(0x080, (_number(*item, Access.COUNTER) for item in _COUNTERS.items()))
    block(0x100, (_number(f"config_{field.name}", f"`{field.name}` of the array's configuration",
                         Access.CONSTANT) for field in fields(ArrayConfig)))
    return tuple(table)


#: All registers in order of their offsets.
REGISTERS = _table()


def find(name: str) -> Register:
    """The register called `name`; KeyError if there is none."""
    for register in REGISTERS:
        if register.name == name:
            return register
    raise KeyError(f"there is no register {name!r}")


def constants(config: ArrayConfig, stream_bits: int = 32) -> dict[str, int]:
    """Value of every register of constants, by name, in a device made from `config`."""
    if stream_bits not in STREAM_BITS:
        raise ValueError(f"stream_bits must be one of {', '.join(map(str, STREAM_BITS))}, "
                         f"not {stream_bits!r}")
    values = {"magic": MAGIC, "map_version": MAP_VERSION, "tape_version": VERSION,
              "configuration": config.hash, "stream_bits": stream_bits,
              "payload_words": config.payload_words}
    values |= {f"config_{name}": value for name, value in config.as_dict().items()}
    return {name: int(value) & 0xFFFFFFFF for name, value in values.items()}
