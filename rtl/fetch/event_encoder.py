"""Events: the set bits of words, one a cycle."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.bits import several, split_lowest
from quadfire.rtl.lib.skid import Skid
from quadfire.rtl.fetch.word_reader import SLICE_BITS, entry_layout, place_layout, slices

__all__ = ["EventEncoder", "event_layout"]


def event_layout(config: ArrayConfig) -> data.StructLayout:
    """One step of the array: add weight row `place.row` into slot `place.slot`.

    null: there is nothing to add, only the slot's sums start, or (`place.end`) an output is
    complete. load: the sum that it adds to is not under way, but kept in its slot: that is another
    one than that of the event before, or the sum is of the pass before. fresh, shift, scan: what
    the array does beside it, see `quadfire.rtl.lib.chain_layouts`.
    """
    return data.StructLayout({"place": place_layout(config), "null": 1, "load": 1,
                              "fresh": 1, "shift": 1, "scan": 1})


class EventEncoder(wiring.Component):
    """One event per set bit of an entry, from the lowest; one null where an entry has none.

    A word is taken apart in two steps: its next part of four bits that holds one, then the bits of
    that part. The next word is taken while the last part of the one before is worked off.

    own: the pass goes on with the sums of the one before.

    Latency: `latency` cycles from an entry to its first event. II: 1 event. Backpressure: stalls as
    one. Where the clock is fast a skid stands before `events`: no path of `ready` comes in here.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        super().__init__({
            "own": In(1),
            "entries": In(stream.Signature(entry_layout(config))),
            "events": Out(stream.Signature(event_layout(config))),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return 3 + Skid.latency * config.pipelined

    def model(self, entries: list[tuple[int, int]]) -> list[tuple[int, bool]]:
        """(row, null) of every event of entries (word, row)."""
        return [event for word, row in entries for event in
                ([(row + bit, False) for bit in range(self.config.word_bits) if word >> bit & 1]
                 or [(row, True)])]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        count = slices(config)

        head = self.entries.payload
        place = place_layout(config)
        move, taken = Signal(), Signal()
        s2_last = Signal(init=1)        # the next part can be taken
        events = stream.Signature(event_layout(config)).create()
        if config.pipelined:
            m.submodules.events_out = skid = Skid(event_layout(config))
            wiring.connect(m, events, skid.i)
            wiring.connect(m, skid.o, wiring.flipped(self.events))
        else:
            wiring.connect(m, events, wiring.flipped(self.events))
        m.d.comb += [move.eq(~events.valid | events.ready), self.entries.ready.eq(taken)]

        # The parts of a word that hold spikes, from the lowest; none of a word without.
        s1_valid = Signal()
        s1_word = Signal(config.word_bits, reset_less=True)
        s1_part, s1_left = Signal(count, reset_less=True), Signal(count, reset_less=True)
        s1_many = Signal(count, reset_less=True)        # parts with more than one spike
        s1_last = Signal(reset_less=True)               # no part is left
        s1_place = Signal(place, reset_less=True)
        m.d.comb += taken.eq(move & (~s1_valid | (s2_last & s1_last)))
        with m.If(taken):
            m.d.sync += [s1_valid.eq(self.entries.valid), s1_word.eq(head.word),
                         s1_part.eq(head.part), s1_left.eq(head.left), s1_place.eq(head.place),
                         s1_last.eq(head.single),
                         s1_many.eq(Cat(several(head.word.word_select(i, SLICE_BITS))
                                        for i in range(count)))]
        with m.Elif(move & s2_last):
            part, left = split_lowest(s1_left)
            # of more than eight slices as a tree: synthesis finds none in `split_lowest`
            last = left == 0 if count <= 8 else ~several(s1_left)
            m.d.sync += [s1_part.eq(part), s1_left.eq(left), s1_last.eq(last),
                         s1_place.first.eq(0)]

        # The bits of a part.
        s2_valid = Signal()
        s2_bits = Signal(SLICE_BITS, reset_less=True)
        s2_index = Signal(range(count), reset_less=True)
        s2_place = Signal(place, reset_less=True)
        lowest, rest = Signal(range(SLICE_BITS)), Signal(SLICE_BITS)
        m.d.comb += [
            rest.eq(s2_bits & (s2_bits - 1)),
            lowest.eq(Mux(s2_bits[0], 0, Mux(s2_bits[1], 1, Mux(s2_bits[2], 2, s2_bits[3] * 3)))),
        ]
        event = Signal(event_layout(config), reset_less=True)
        m.d.comb += events.payload.eq(event)
        slot = Signal.like(s2_place.slot, reset_less=True)      # of the last event
        with m.If(move & s2_valid):
            m.d.sync += slot.eq(s2_place.slot)
        with m.If(move):
            m.d.sync += [
                events.valid.eq(s2_valid),
                event.place.eq(s2_place),
                event.place.row.eq(s2_place.row + Cat(lowest, s2_index)),
                event.null.eq(s2_bits == 0),
                event.fresh.eq(s2_place.first & ~self.own),
                event.shift.eq(s2_place.first & s2_place.shift),
                event.scan.eq(s2_place.first & s2_place.emit),
                event.load.eq(Mux(s2_place.first, self.own, s2_place.slot != slot)
                              & ~s2_place.end),
                s2_bits.eq(rest),
                s2_last.eq(~several(rest)),
                s2_place.first.eq(0),
            ]
            with m.If(s2_last):
                m.d.sync += [
                    s2_valid.eq(s1_valid),
                    s2_place.eq(s1_place),
                    s2_last.eq(~s1_valid | ~(s1_many & s1_part).any()),
                    s2_bits.eq(Cat(Cat(s1_word[SLICE_BITS * i + bit] & s1_part[i]
                                       for i in range(count)).any() for bit in range(SLICE_BITS))),
                    s2_index.eq(Cat(Cat(s1_part[i] for i in range(count) if i >> bit & 1).any()
                                    for bit in range(len(s2_index)))),
                ]
        return m
