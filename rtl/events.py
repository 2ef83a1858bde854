"""Events: the set bits of a map, one a cycle, silent words skipped while others are worked off."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .config import ArrayConfig
from .spikes import SpikeMemory
from .tree import tree_sum

__all__ = ["EventReader", "event_layout", "map_layout"]

#: Words that the reader holds or has on the way.
DEPTH = 8


def map_layout(config: ArrayConfig) -> data.StructLayout:
    """Where a map stands: `slots` rows of `words` words each (both less one), `stride` apart."""
    return data.StructLayout({
        "base": range(config.spike_words),
        "stride": range(config.spike_words),
        "words": range(config.spike_words),
        "slots": range(max(config.slots, 2)),
        "row": range(config.weight_rows),
    })


def event_layout(config: ArrayConfig) -> data.StructLayout:
    """One step of the array: add weight row `row` into slot `slot`; `null` adds nothing."""
    return data.StructLayout({
        "row": range(config.weight_rows),
        "slot": range(max(config.slots, 2)),
        "first": 1,     # of its slot
        "null": 1,      # the slot has no event: only start its sums
    })


class EventReader(wiring.Component):
    """Reads a map and gives one event per set bit, row = map.row + channel, slot by slot.

    A slot without a spike gives one `null` event. `busy` from `start` to the last event taken.
    A word costs one cycle to fetch, and its set bits one cycle each to give; both overlap, with up
    to `DEPTH` words in between.

    Latency: `latency` cycles from `start` to the first event of a first word that is not silent.
    II: 1 event. Backpressure: stalls as one.
    """

    latency = SpikeMemory.latency + 8

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "start": In(1),
            "map": In(map_layout(config)),
            "busy": Out(1),
            "address": Out(range(config.spike_words)),
            "word": In(config.word_bits),
            "events": Out(stream.Signature(event_layout(config))),
        })

    def model(self, words: list[list[int]], row: int) -> list[dict]:
        """The events of a map given as words [slot][word]."""
        events = []
        for slot, slot_words in enumerate(words):
            rows = [row + index * self.config.word_bits + bit
                    for index, word in enumerate(slot_words)
                    for bit in range(self.config.word_bits) if word >> bit & 1]
            events += [{"row": r, "slot": slot, "first": int(i == 0), "null": 0}
                       for i, r in enumerate(rows)] or [
                           {"row": 0, "slot": slot, "first": 1, "null": 1}]
        return events

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.word_bits
        place = data.StructLayout({
            "row": range(config.weight_rows),
            "slot": range(max(config.slots, 2)),
            "first": 1,
        })

        # Fetch: one word a cycle while there is room for it.
        fetching = Signal()
        room = Signal(range(DEPTH + 1), init=DEPTH)
        slot_base = Signal(range(config.spike_words), reset_less=True)
        index = Signal(range(config.spike_words), reset_less=True)
        slot = Signal(range(max(config.slots, 2)), reset_less=True)
        row = Signal(range(config.weight_rows), reset_less=True)
        address = Signal(range(config.spike_words), reset_less=True)
        fetch = Signal()
        end_of_slot = Signal()
        m.d.comb += [
            fetch.eq(fetching & (room != 0)),
            end_of_slot.eq(index == self.map.words),
            self.address.eq(address),
        ]
        with m.If(self.start):
            m.d.sync += [fetching.eq(1), slot.eq(0), index.eq(0), row.eq(self.map.row),
                         address.eq(self.map.base), slot_base.eq(self.map.base)]
        with m.Elif(fetch & ~end_of_slot):
            m.d.sync += [index.eq(index + 1), row.eq(row + width), address.eq(address + 1)]
        with m.Elif(fetch):
            following = slot_base + self.map.stride
            m.d.sync += [index.eq(0), row.eq(self.map.row), slot.eq(slot + 1),
                         address.eq(following), slot_base.eq(following),
                         fetching.eq(slot != self.map.slots)]

        # The word comes back, is counted, and is kept unless it is silent and not needed.
        on_way = data.StructLayout({"valid": 1, "row": range(config.weight_rows),
                                    "slot": range(max(config.slots, 2)), "end": 1})
        asked = Signal(on_way)
        m.d.comb += [asked.valid.eq(fetch), asked.row.eq(row), asked.slot.eq(slot),
                     asked.end.eq(end_of_slot)]
        for stage in range(1, SpikeMemory.latency + 1):
            later = Signal(on_way, name=f"fetch_{stage}")
            m.d.sync += later.eq(asked)
            asked = later
        counted = Signal(on_way)
        word = Signal(width, reset_less=True)
        quarter = width // 4
        partial = [Signal(bits_for(quarter), name=f"ones_{i}", reset_less=True) for i in range(4)]
        m.d.sync += [counted.eq(asked), word.eq(self.word)]
        m.d.sync += [part.eq(tree_sum(self.word.word_select(i, quarter)))
                     for i, part in enumerate(partial)]
        ones = Signal(bits_for(width), reset_less=True)
        weighed = Signal(on_way)
        weighed_word = Signal(width, reset_less=True)
        m.d.sync += [weighed.eq(counted), weighed_word.eq(word), ones.eq(tree_sum(partial))]

        seen = Signal()     # the slot has given an entry already
        keep = Signal()
        m.d.comb += keep.eq(weighed.valid & ((ones != 0) | (weighed.end & ~seen)))
        with m.If(weighed.valid):
            m.d.sync += seen.eq((seen | keep) & ~weighed.end)

        entry = data.StructLayout({"word": width, "ones": bits_for(width), "place": place})
        m.submodules.entries = entries = SyncFIFO(width=entry.size, depth=DEPTH)
        pushed, head = Signal(entry), Signal(entry)
        m.d.comb += [
            pushed.word.eq(weighed_word),
            pushed.ones.eq(ones),
            pushed.place.row.eq(weighed.row),
            pushed.place.slot.eq(weighed.slot),
            pushed.place.first.eq(~seen),
            entries.w_data.eq(pushed),
            entries.w_en.eq(keep),
            Value.cast(head).eq(entries.r_data),
        ]
        dropped, taken = weighed.valid & ~keep, entries.r_en & entries.r_rdy
        m.d.sync += room.eq(room - fetch + dropped + taken)

        # Take set bits from the lowest up.
        left = Signal(width, reset_less=True)
        count = Signal(bits_for(width), reset_less=True)
        current = Signal(place, reset_less=True)
        active, final = Signal(), Signal()
        move = Signal()
        rest = left & (left - 1)
        m.d.comb += entries.r_en.eq(move & (~active | final))
        with m.If(entries.r_en):
            m.d.sync += [active.eq(entries.r_rdy), left.eq(head.word), count.eq(head.ones),
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
        m.d.comb += move.eq(~self.events.valid | self.events.ready)
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
                self.events.payload.row.eq(Mux(s2_null, 0, s2_place.row + s2_index)),
                self.events.payload.slot.eq(s2_place.slot),
                self.events.payload.first.eq(s2_place.first),
                self.events.payload.null.eq(s2_null),
            ]
        in_flight = Signal()
        m.d.comb += in_flight.eq(active | s1_valid | s2_valid | self.events.valid)
        m.d.comb += self.busy.eq(fetching | (room != DEPTH) | in_flight)
        return m
