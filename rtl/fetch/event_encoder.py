"""Event encoder: the set bits of words, one a cycle."""

from collections.abc import Mapping, Sequence

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fetch.word_reader import SLICE_BITS, entry_layout, place_layout, slices
from quadfire.rtl.lib.bits import several, split_lowest
from quadfire.rtl.lib.skid import Skid

__all__ = ["EventEncoder", "event_layout"]


def event_layout(config: ArrayConfig) -> data.StructLayout:
    """One step of the array: add weight row `place.row` into slot `place.slot`.

    What `fresh`, `shift` and `scan` do is told in `quadfire.rtl.lib.chain_layouts`.
    """
    return data.StructLayout({
        "place": place_layout(config),
        "null": 1,      # no weight is added: the sums start, or with `place.end` an output ends
        "load": 1,      # its sum waits in its slot: the event before was of another slot or pass
        "fresh": 1, "shift": 1, "scan": 1})


class EventEncoder(wiring.Component):
    """One event per set bit of an entry, lowest first; one null event for an entry without any.

    | port      | shape               | meaning                                          |
    |-----------|---------------------|--------------------------------------------------|
    | `own`     | in, 1               | the pass goes on with the sums of the one before |
    | `entries` | in, `entry_layout`  | stream of words                                  |
    | `events`  | out, `event_layout` | stream of events                                 |

    A word is taken apart in two steps: first its next slice that holds a spike, then the bits of
    that slice. The next word is taken while the last slice of the previous one is worked off.

    Latency: `latency` cycles from an entry to its first event. II: 1 event. Backpressure: the whole
    encoder stalls together. If `pipelined`, a skid buffer stands before `events`, so no path of
    `ready` comes in here. Reset: valid bits.
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

    def model(self, entries: Sequence[Mapping], *, own: int = 0) -> list[dict]:
        """The events of some entries as fields of `event_layout`.

        The event before them is taken to be of slot 0: an entry of slot 0 that goes on with its
        sums needs no `load`, one of another slot does.

        entries: {"word": bits, "place": fields of `place_layout`}.
        """
        events, slot = [], 0
        for entry in entries:
            word, place = entry["word"], entry["place"]
            bits = [bit for bit in range(self.config.word_bits) if word >> bit & 1]
            for index, bit in enumerate(bits or [0]):
                first = int(place["first"] and index == 0)
                here = {**place, "row": place["row"] + bit, "first": first}
                events.append({
                    "place": here, "null": int(not bits),
                    "load": int(not here["end"] and (own if first else here["slot"] != slot)),
                    "fresh": int(first and not own), "shift": first & here["shift"],
                    "scan": first & here["emit"]})
                slot = here["slot"]
        return events

    def elaborate(self, platform):
        m = Module()
        config = self.config
        count = slices(config)

        head = self.entries.payload
        place = place_layout(config)
        move, taken = Signal(), Signal()
        s2_last = Signal(init=1)        # the next slice can be taken
        events = stream.Signature(event_layout(config)).create()
        if config.pipelined:
            m.submodules.events_out = skid = Skid(event_layout(config))
            wiring.connect(m, events, skid.i)
            wiring.connect(m, skid.o, wiring.flipped(self.events))
        else:
            wiring.connect(m, events, wiring.flipped(self.events))
        m.d.comb += [move.eq(~events.valid | events.ready), self.entries.ready.eq(taken)]

        # s1: the slices of a word that hold spikes, lowest first; none for a silent word
        s1_valid = Signal()
        s1_word = Signal(config.word_bits, reset_less=True)
        s1_part, s1_left = Signal(count, reset_less=True), Signal(count, reset_less=True)
        s1_many = Signal(count, reset_less=True)        # slices with more than one spike
        s1_last = Signal(reset_less=True)               # no slice is left
        s1_place = Signal(place, reset_less=True)
        m.d.comb += taken.eq(move & (~s1_valid | (s2_last & s1_last)))
        with m.If(taken):
            m.d.sync += [s1_valid.eq(self.entries.valid), s1_word.eq(head.word),
                         s1_part.eq(head.part), s1_left.eq(head.left), s1_place.eq(head.place),
                         s1_last.eq(head.single),
                         s1_many.eq(Cat(several(head.word.word_select(i, SLICE_BITS))
                                        for i in range(count)))]
        with m.Elif(move & s2_last):
            lowest_slice, others = split_lowest(s1_left)
            # With more than eight slices a tree is faster: synthesis finds none in `split_lowest`.
            last = others == 0 if count <= 8 else ~several(s1_left)
            m.d.sync += [s1_part.eq(lowest_slice), s1_left.eq(others), s1_last.eq(last),
                         s1_place.first.eq(0)]

        # s2: the bits of a slice
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
