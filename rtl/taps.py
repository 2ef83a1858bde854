"""Tap words of a group: logits or membrane potentials, sent along the chain on demand."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .current import lane_layout
from .memories import DISTRIBUTED
from .numerics import READOUT_BITS
from .signals import TAP

__all__ = ["Taps"]


class Taps(wiring.Component):
    """Keeps one word per lane: the running sum of J (readout) or the membrane potential.

    When a scan with `emit` is complete, the words of all groups leave on the tap chain, group by
    group, lane by lane: the first group starts, every other appends its own to what passes by.
    Until the last word has left the chain no further scan may come.

    Latency: `done` to memory 2 cycles. Overflow: the sum wraps at 32 bits; the compiler proves that
    it cannot.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "first": In(1),
            "readout": In(1),
            "done": In(lane_layout(config)),
            "membrane": In(signed(config.state_bits)),
            "current": In(signed(config.current_bits)),
            "tap_in": In(TAP),
            "tap_out": Out(TAP),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.group_lanes
        m.submodules.tap_mem = memory = Memory(
            shape=signed(READOUT_BITS), depth=max(lanes, 2), init=[],
            attrs=DISTRIBUTED)
        old, sending, new = (memory.read_port(domain="comb"), memory.read_port(domain="comb"),
                             memory.write_port())

        # s1: running sum or membrane
        s1_valid = Signal()
        s1_lane = Signal.like(self.done.lane, reset_less=True)
        s1_word = Signal(signed(READOUT_BITS), reset_less=True)
        m.d.comb += old.addr.eq(self.done.lane)
        m.d.sync += [s1_valid.eq(self.done.valid), s1_lane.eq(self.done.lane)]
        with m.If(self.readout):
            m.d.sync += s1_word.eq(Mux(self.done.how.begin, 0, old.data) + self.current)
        with m.Else():
            m.d.sync += s1_word.eq(self.membrane)
        m.d.comb += [new.en.eq(s1_valid), new.addr.eq(s1_lane), new.data.eq(s1_word)]

        # chain: pass on what comes, then append
        ready = Signal()
        m.d.sync += ready.eq(self.done.valid & self.done.how.emit & (self.done.lane == lanes - 1))
        sends = Signal()
        lane = Signal(range(max(lanes, 2)))
        m.d.comb += sending.addr.eq(lane)
        with m.If(Mux(self.first, ready, self.tap_in.valid & self.tap_in.last)):
            m.d.sync += [sends.eq(1), lane.eq(0)]
        with m.Elif(lane == lanes - 1):
            m.d.sync += sends.eq(0)
        with m.Else():
            m.d.sync += lane.eq(lane + 1)
        with m.If(sends):
            m.d.sync += [self.tap_out.valid.eq(1), self.tap_out.word.eq(sending.data),
                         self.tap_out.last.eq(lane == lanes - 1)]
        with m.Else():
            m.d.sync += [self.tap_out.valid.eq(self.tap_in.valid),
                         self.tap_out.word.eq(self.tap_in.word), self.tap_out.last.eq(0)]
        return m
