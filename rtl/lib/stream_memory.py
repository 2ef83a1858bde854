"""Stream memory: words in block RAM, read in order as a stream."""

from collections.abc import Mapping
from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.lib.memory_styles import BLOCK

__all__ = ["StreamMemory"]


class StreamMemory(wiring.Component):
    """Words are written field by field at any place, and read in order once they are valid.

    | argument     | meaning                                                         |
    |--------------|-----------------------------------------------------------------|
    | `shapes`     | fields of a word as {name: shape}; each has a memory of its own |
    | `depth`      | words, a power of two                                           |
    | `registered` | a register follows the memory's own, for a fast clock           |

    | port    | shape                           | meaning                                   |
    |---------|---------------------------------|-------------------------------------------|
    | `write` | in, per field {en, place, data} | write a field of the word at a place      |
    | `valid` | in                              | words before this place may be read       |
    | `place` | out                             | place of the next word that `o` transfers |
    | `o`     | out, stream of a word           | the words in order                        |

    `valid` and `place` count modulo twice the depth, which tells full from empty. A word is written
    before it is valid, and never while it can be read.

    Nothing stalls between the memory and `o`, because only plain registers can be packed into block
    RAM. When `o` stalls, the words on their way are dropped and read again.

    Latency: `latency` cycles from `valid` to `o`, one less without the register. II: 1 word, and 4
    cycles whenever `o` has stalled. Backpressure: as told. Reset: empty.
    Raises ValueError for a depth that is no power of two.
    """

    latency = 5

    def __init__(self, shapes: Mapping[str, Any], depth: int, *, registered: bool = True):
        if depth & (depth - 1) or depth < 2:
            raise ValueError(f"depth must be a power of two from 2 on, not {depth!r}")
        self.depth, self.registered = depth, registered
        self.latency = StreamMemory.latency - (not registered)
        self.shapes = data.StructLayout(dict(shapes))
        super().__init__({
            "write": In(data.StructLayout({
                name: data.StructLayout({"en": 1, "place": range(depth), "data": shape})
                for name, shape in shapes.items()})),
            "valid": In(range(2 * depth)),
            "place": Out(range(2 * depth)),
            "o": Out(stream.Signature(self.shapes)),
        })

    def elaborate(self, platform):
        m = Module()
        fetch = Signal(range(2 * self.depth))
        move, lost, take, took = Signal(), Signal(), Signal(), Signal()

        # What can be fetched was compared a cycle ago: one word, which may have been fetched since,
        # or more than one.
        valid, last = Signal.like(fetch), Signal.like(fetch, init=2 * self.depth - 1)
        some, more = Signal(), Signal()
        m.d.sync += [valid.eq(self.valid), last.eq(self.valid - 1), some.eq(fetch != valid),
                     more.eq(fetch != last), took.eq(take)]
        m.d.comb += [
            take.eq(some & (more | ~took)),
            move.eq(~self.o.valid | self.o.ready),
        ]

        # s1: the memory's word. s2: its register. Then o.
        s1_valid, s2_valid = Signal(), Signal()
        s2_word = Signal(self.shapes, reset_less=True)
        output = m.d.sync if self.registered else m.d.comb
        for name, shape in self.shapes.members.items():
            memory = Memory(shape=shape, depth=self.depth, init=[], attrs=BLOCK)
            m.submodules[f"{name}_mem"] = memory
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [read.addr.eq(fetch[:-1]), write.en.eq(self.write[name].en),
                         write.addr.eq(self.write[name].place),
                         write.data.eq(self.write[name].data)]
            output += s2_word[name].eq(read.data)
        output += s2_valid.eq(s1_valid & ~lost)
        m.d.sync += [s1_valid.eq(take & ~lost),
                     lost.eq(s2_valid & ~move & ~lost)]     # the word of s2, and so all behind it
        with m.If(lost):
            m.d.sync += fetch.eq(self.place)
        with m.Elif(take):
            m.d.sync += fetch.eq(fetch + 1)
        head = Signal(self.shapes, reset_less=True)
        m.d.comb += self.o.payload.eq(head)
        with m.If(move):
            m.d.sync += [self.o.valid.eq(s2_valid & ~lost), head.eq(s2_word)]
            with m.If(s2_valid & ~lost):
                m.d.sync += self.place.eq(self.place + 1)
        return m
