"""Skid buffer: a register on a stream that breaks all its paths, `ready` included."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Skid"]


class Skid(wiring.Component):
    """A two-entry buffer: o is i, one cycle later.

    | port | shape             | meaning       |
    |------|-------------------|---------------|
    | `i`  | in, stream shape  | words come in |
    | `o`  | out, stream shape | words leave   |

    When `o` stalls, a spare register takes the word that is already on its way. So `i.ready` comes
    from a register.

    Latency: 1 cycle. II: 1. Backpressure: stalls a cycle after `o` does. Reset: valid bits only.
    """

    latency = 1

    def __init__(self, shape):
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        word = Value.cast(self.i.payload)
        spare = Signal.like(word, reset_less=True)
        full, move = Signal(), Signal()
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), self.i.ready.eq(~full)]
        with m.If(~full):
            m.d.sync += spare.eq(word)
        head = Signal.like(word, reset_less=True)
        m.d.comb += Value.cast(self.o.payload).eq(head)
        with m.If(move):
            m.d.sync += [self.o.valid.eq(full | self.i.valid), full.eq(0),
                         head.eq(Mux(full, spare, word))]
        with m.Elif(self.i.valid):
            m.d.sync += full.eq(1)
        return m
