"""Queue: words wait in LUT RAM. The writer knows that there is room."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from quadfire.rtl.lib.memory_styles import DISTRIBUTED

__all__ = ["Queue"]


class Queue(wiring.Component):
    """A first-in first-out queue of at most `depth` words that never says that it is full.

    | port    | shape             | meaning                          |
    |---------|-------------------|----------------------------------|
    | `write` | in, 1             | write `word`; there must be room |
    | `word`  | in, shape         | the word                         |
    | `o`     | out, stream shape | words leave in order             |

    The writer counts. A word too many would overwrite the oldest one. So `write` is a plain write
    enable, and `o.valid` comes from a register. In a large array, the words and the counters need
    not stand side by side, as they must for the queues of Amaranth's library, which guard
    themselves.

    Latency: 1 cycle from `write` to `o`. II: 1. Backpressure: words stay. Reset: empty.
    """

    latency = 1

    def __init__(self, shape, depth: int):
        self.depth = depth
        super().__init__({"write": In(1), "word": In(shape), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        word = Value.cast(self.word)
        m.submodules.queue_mem = memory = Memory(      # addresses wrap
            shape=len(word), depth=max(1 << ceil_log2(self.depth), 2), init=[], attrs=DISTRIBUTED)
        read, write = memory.read_port(domain="comb"), memory.write_port()
        m.d.comb += [write.en.eq(self.write), write.data.eq(word),
                     Value.cast(self.o.payload).eq(read.data)]
        level, many = Signal(range(self.depth + 1)), Signal()       # words; are there two or more
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        for go, port in ((self.write, write), (taken, read)):
            with m.If(go):
                m.d.sync += port.addr.eq(port.addr + 1)
        with m.If(self.write != taken):     # `write` tells which of the two: `taken` comes late
            m.d.sync += [level.eq(Mux(self.write, level + 1, level - 1)),
                         self.o.valid.eq(self.write | many),
                         many.eq(Mux(self.write, self.o.valid, level > 2))]
        return m
