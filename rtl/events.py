"""Events: the set bits of words, one a cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .config import ArrayConfig
from .words import entry_layout, place_layout

__all__ = ["EventReader", "event_layout"]


def event_layout(config: ArrayConfig) -> data.StructLayout:
    """One step of the array: add weight row `place.row` into slot `place.slot`.

    null: there is nothing to add, only the slot's sums start, or (`place.end`) an output is
    complete.
    """
    return data.StructLayout({"place": place_layout(config), "null": 1})


class EventReader(wiring.Component):
    """One event per set bit of an entry, from the lowest; one null where an entry has none.

    Latency: `latency` cycles from an entry to its first event. II: 1 event. Backpressure: stalls as
    one.
    """

    latency = 4

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "entries": In(stream.Signature(entry_layout(config))),
            "events": Out(stream.Signature(event_layout(config))),
        })

    def model(self, entries: list[tuple[int, int]]) -> list[tuple[int, bool]]:
        """(row, null) of every event of entries (word, row)."""
        return [event for word, row in entries for event in
                ([(row + bit, False) for bit in range(self.config.word_bits) if word >> bit & 1]
                 or [(row, True)])]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.word_bits
        place = place_layout(config)
        head = self.entries.payload

        # Take set bits from the lowest up.
        left = Signal(width, reset_less=True)
        count = Signal(bits_for(width), reset_less=True)
        current = Signal(place, reset_less=True)
        active, final, move = Signal(), Signal(), Signal()
        rest = left & (left - 1)
        m.d.comb += [
            move.eq(~self.events.valid | self.events.ready),
            self.entries.ready.eq(move & (~active | final)),
        ]
        with m.If(self.entries.ready):
            m.d.sync += [active.eq(self.entries.valid), left.eq(head.word), count.eq(head.ones),
                         current.eq(head.place), final.eq(head.ones <= 1)]
        with m.Elif(move):
            m.d.sync += [left.eq(rest), count.eq(count - 1), current.first.eq(0),
                         final.eq(count == 2)]

        # s1: one-hot. s2: binary.
        s1_valid, s2_valid = Signal(), Signal()
        s1_bit = Signal(width, reset_less=True)
        s1_place, s2_place = Signal(place, reset_less=True), Signal(place, reset_less=True)
        s1_null, s2_null = Signal(reset_less=True), Signal(reset_less=True)
        s2_index = Signal(range(width), reset_less=True)
        event = self.events.payload
        with m.If(move):
            m.d.sync += [
                s1_valid.eq(active),
                s1_bit.eq(left & ~rest),
                s1_place.eq(current),
                s1_null.eq(count == 0),
                s2_valid.eq(s1_valid),
                s2_place.eq(s1_place),
                s2_null.eq(s1_null),
                s2_index.eq(Cat(Cat(s1_bit[i] for i in range(width) if i >> bit & 1).any()
                                for bit in range(len(s2_index)))),
                self.events.valid.eq(s2_valid),
                event.place.eq(s2_place),
                event.place.row.eq(s2_place.row + s2_index),
                event.null.eq(s2_null),
            ]
        return m
