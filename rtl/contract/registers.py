"""The register table: every register of the AXI shell, its fields, their access and meaning.

This table is the only source: the hardware (`quadfire.rtl.shell.register_file`) and all texts
(`quadfire.rtl.shell.render`) are made from it. Offsets are the same for every configuration; the
values of constants are not (`constants`). Every field of `ArrayConfig` has a register, also one
that is added later.

| rule of the bus | |
|---|---|
| width | registers have 32 bits |
| address | AXI4-Lite byte addresses, multiples of 4 |
| WSTRB | selects the bytes to write; none at all is answered with OKAY |
| SLVERR | address not aligned or without a register; write to a register that is read-only |

An access that is answered with SLVERR changes nothing but `error.access`, which it sets. This
module needs no Amaranth.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass, fields

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import MAGIC, VERSION, Fault

__all__ = ["ADDRESS_BITS", "MAP_VERSION", "REGISTERS", "STREAM_BITS", "Access", "Field", "Register",
           "constants", "find"]

#: Version of this table, major.minor, 16 bits each. A driver must refuse another major version.
MAP_VERSION = 0x00010001

#: Width of an AXI4-Lite address: the registers lie in 4 KiB.
ADDRESS_BITS = 12

#: Widths that the streams may have.
STREAM_BITS = (32, 64, 128)


class Access(enum.Enum):
    """What software may do with a field, and where its value comes from."""

    CONSTANT = "constant"   #: read only: fixed when the Verilog is made
    STATUS = "status"       #: read only: the present state of the hardware
    COUNTER = "counter"     #: read only: counts modulo 2^32; `control.clear` sets it to 0
    CONTROL = "control"     #: read and write: set by software alone
    STROBE = "strobe"       #: write 1 to trigger; reads as 0
    STICKY = "sticky"       #: set by hardware, which wins; write 1 to clear

    @property
    def writable(self) -> bool:
        return self in (Access.CONTROL, Access.STROBE, Access.STICKY)


@dataclass(frozen=True)
class Field:
    """A field of a register.

    | attribute | meaning |
    |---|---|
    | name, description | what it is called, and what it means |
    | low, bits | lowest bit, number of bits |
    | reset | value after reset; of a CONSTANT see `constants` |
    | values | names of its values, where they have names |
    """

    name: str
    access: Access
    description: str
    low: int = 0
    bits: int = 1
    reset: int = 0
    values: type[enum.IntEnum] | None = None

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1 << self.low


@dataclass(frozen=True)
class Register:
    """A register at byte address `offset`, with its fields from low to high bits."""

    name: str
    offset: int
    description: str
    fields: tuple[Field, ...]

    @property
    def writable(self) -> bool:
        return any(field.access.writable for field in self.fields)

    def field(self, name: str) -> Field:
        """Field by name. Raises KeyError where there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"register {self.name!r} has no field {name!r}")


def _number(name: str, description: str, access: Access) -> tuple[str, str, tuple[Field, ...]]:
    """Name, description and fields of a register that is one number."""
    return name, description, (Field("value", access, description, bits=32),)


def _bits(access: Access, /, **descriptions: str) -> tuple[Field, ...]:
    """Fields of one bit each, from bit 0 on."""
    return tuple(Field(name, access, description, low)
                 for low, (name, description) in enumerate(descriptions.items()))


_IDENTITY = {
    "magic": "`QFIR` in ASCII, the first letter in the most significant byte",
    "map_version": "version of this table: major in bits 31:16, minor in bits 15:0",
    "tape_version": "version of the tape: major in bits 31:16, minor in bits 15:0",
    "configuration": "hash of the array's configuration; every tape carries it",
    "stream_bits": "width of both streams",
    "payload_words": "longest payload of a packet, in 32-bit words",
}

_EVENTS = {
    "answer": "an output frame has left, up to its TLAST",
    "error": "a bit of `error` was set",
}

_COUNTERS = {
    "cycles": "clock cycles",
    "input_bytes": "bytes taken from s_axis, as TKEEP counts them",
    "input_beats": "beats taken from s_axis",
    "input_frames": "beats with TLAST taken from s_axis",
    "input_packets": "packets given to the core, damaged ones included",
    "input_stalls": "cycles in which s_axis had TVALID but not TREADY",
    "output_bytes": "bytes given to m_axis, as TKEEP counts them",
    "output_beats": "beats given to m_axis",
    "output_frames": "beats with TLAST given to m_axis",
    "output_packets": "answers of the core",
    "output_stalls": "cycles in which m_axis had TVALID but not TREADY",
}


def _table() -> tuple[Register, ...]:
    """The registers, block by block, in the order of their offsets."""
    table: list[Register] = []

    def block(offset: int, registers: Iterable[tuple[str, str, tuple[Field, ...]]]) -> None:
        for index, (name, description, members) in enumerate(registers):
            table.append(Register(name, offset + 4 * index, description, members))

    block(0x000, (_number(*item, Access.CONSTANT) for item in _IDENTITY.items()))
    block(0x040, [
        ("control", "What the host asks for.", (
            Field("reset", Access.CONTROL, "holds the core in reset: it forgets the network, input "
                  "is taken and dropped, an output frame under way is ended by one word 0. Write 0 "
                  "once `status.input_waiting` is 0"),
            Field("clear", Access.STROBE, "sets all counters to 0", low=1))),
        ("status", "What the shell is doing.", _bits(
            Access.STATUS, held="the core is in reset",
            input_waiting="input beats wait in the FIFO",
            input_open="an input packet has begun and not ended",
            output_waiting="output beats wait in the FIFO",
            output_open="an output frame has begun and not ended")),
        ("frame", "How answers are joined to frames of m_axis.", (
            Field("answers", Access.CONTROL, "answers in a frame, whose last word has TLAST; 0 "
                  "counts as 1. An ERROR answer always ends its frame", bits=16, reset=1),)),
        ("error", "What went wrong since the bits were cleared.", _bits(
            Access.STICKY, access="an AXI4-Lite access was answered with SLVERR",
            keep="TKEEP kept only some bytes of an input word; the word was dropped",
            truncated="TLAST came inside a packet, which was ended there",
            oversize="a header had an impossible length; input up to TLAST was dropped",
            refused="the core answered ERROR: see `fault` and `fault_header`")),
        ("fault", "Why the core refused the first packet since `error.refused` was cleared.", (
            Field("cause", Access.STATUS, "cause of the ERROR answer", bits=8, values=Fault),)),
        _number("fault_header", "Header of that packet, as it was received.", Access.STATUS),
        ("interrupt_enable", "Which events raise `irq`.", _bits(Access.CONTROL, **_EVENTS)),
        ("interrupt", "Which events have happened. `irq` is high while an enabled one is set.",
         _bits(Access.STICKY, **_EVENTS)),
    ])
    block(0x080, (_number(*item, Access.COUNTER) for item in _COUNTERS.items()))
    block(0x100, (_number(f"config_{field.name}", f"`{field.name}` of the array's configuration",
                         Access.CONSTANT) for field in fields(ArrayConfig)))
    return tuple(table)


#: All registers, in the order of their offsets.
REGISTERS = _table()


def find(name: str) -> Register:
    """Register by name. Raises KeyError where there is none."""
    for register in REGISTERS:
        if register.name == name:
            return register
    raise KeyError(f"there is no register {name!r}")


def constants(config: ArrayConfig, stream_bits: int = 32) -> dict[str, int]:
    """Values of the CONSTANT registers, by name, in a device made from `config`.

    Raises ValueError for a `stream_bits` that is not in `STREAM_BITS`.
    """
    if stream_bits not in STREAM_BITS:
        raise ValueError(f"stream_bits must be one of {', '.join(map(str, STREAM_BITS))}, "
                         f"not {stream_bits!r}")
    values = {"magic": MAGIC, "map_version": MAP_VERSION, "tape_version": VERSION,
              "configuration": config.hash, "stream_bits": stream_bits,
              "payload_words": config.payload_words}
    values |= {f"config_{name}": value for name, value in config.as_dict().items()}
    return {name: int(value) & 0xFFFFFFFF for name, value in values.items()}
