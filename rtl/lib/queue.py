"""Queue: words wait in LUT RAM. Whoever writes knows that there is room."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from quadfire.rtl.lib.memory_styles import DISTRIBUTED

__all__ = ["Queue"]


class Queue(wiring.Component):
    """A first-in first-out queue of at most `depth` words that is never asked whether it is full.

    The writer counts, and writes no word that does not fit: it would take the place of the oldest.
    So `write` is nothing but a write enable, and all that `o` shows but the word itself comes out
    of registers: in a large array the queue's words and its counters need not stand side by side,
    as for the queues of Amaranth's library, which guard themselves.

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
        level, many = Signal(range(self.depth + 1)), Signal()       # words; there are two or more
        taken = Signal()
        m.d.comb += taken.eq(self.o.valid & self.o.ready)
        for go, port in ((self.write, write), (taken, read)):
            with m.If(go):
                m.d.sync += port.addr.eq(port.addr + 1)
        with m.If(self.write != taken):     # of the two `write` tells which: `taken` comes late
            m.d.sync += [level.eq(Mux(self.write, level + 1, level - 1)),
                         self.o.valid.eq(self.write | many),
                         many.eq(Mux(self.write, self.o.valid, level > 2))]
        return m
