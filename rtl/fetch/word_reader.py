"""Words: what a run reads from the spike memory, word by word, silent ones left out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import SOURCE
from quadfire.rtl.lib.bits import split_lowest
from quadfire.rtl.lib.queue import Queue
from quadfire.rtl.fetch.raster import run_layout
from quadfire.rtl.lib.chain_layouts import registered
from quadfire.rtl.fetch.spike_memory import SpikeMemory

__all__ = ["DEPTH", "SLICE_BITS", "WordReader", "entry_layout", "place_layout", "slices"]

#: Words that the reader holds or has on the way.
DEPTH = 15
#: Width of a slice of a word. Spikes are looked for slice by slice.
SLICE_BITS = 4


def slices(config: ArrayConfig) -> int:
    """Slices of a word."""
    return config.word_bits // SLICE_BITS


def place_layout(config: ArrayConfig) -> data.StructLayout:
    """What goes with the events of a word."""
    return data.StructLayout({
        "row": range(config.weight_rows),       # of the word's first bit
        "slot": range(max(config.slots, 2)),
        "zeroth": 1, "last": 1,     # this slot is
        "first": 1,     # the first event of its slot at this site
        "wide": 1,      # the rows hold wide weights
        "shift": 1, "top": 1, "emit": 1, "final": 1,    # see `quadfire.rtl.fetch.raster.run_layout`
        "end": 1,       # no word: the run before was the last of an output, or of the pass
    })


def entry_layout(config: ArrayConfig) -> data.StructLayout:
    """A word that holds spikes, or that starts a slot without any, or the end of an output.

    part, left: of its parts that hold spikes the lowest, and the others, one bit each.
    single: there are no others.
    """
    return data.StructLayout({"word": config.word_bits, "part": slices(config),
                              "left": slices(config), "single": 1, "place": place_layout(config)})


class WordReader(wiring.Component):
    """For slot, for word, for the pixels of the window: fetch; keep what holds a spike.

    A run whose window lies outside of its map takes one fetch, or one a slot where it starts sums.
    A run that ends an output takes one more, for the entry that says so. From run to run passes a
    cycle without a fetch; where a pass has one source, two.

    slots: of the pass, less one; known a cycle before its first run.

    Latency: `latency` cycles from a run to the entry of its first word. II: 1 word. Backpressure:
    fetching stops while `DEPTH` words are kept or under way. If not `pipelined`, as a queue is dear
    and the clock slow, there are fewer stages and no queue: while an entry is not taken all stop as
    one, the spike memory with them (`move`).
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        super().__init__({
            "slots": In(range(max(config.slots, 2))),
            "runs": In(stream.Signature(run_layout(config))),
            "address": Out(range(config.spike_words)),
            "word": In(config.word_bits),
            "move": Out(1),
            "entries": Out(stream.Signature(entry_layout(config))),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return SpikeMemory.latency_of(config) + (8 if config.pipelined else 2)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.word_bits
        pipeline = m
        if not config.pipelined:
            pipeline = Module()
            m.submodules.pipeline = EnableInserter(self.move)(pipeline)

        bits = bits_for(config.spike_words - 1)     # of an address

        # Loops, from the innermost: column and row of the window, word, slot. Whether a loop is at
        # its end is known a step ahead. While no run is active all stand at what a run begins with.
        payload = self.runs.payload
        # Where a pass has one source the scanner keeps the run until it is over.
        run = Signal(run_layout(config), reset_less=True) if config.sources > 1 else payload
        active, marking = Signal(), Signal()
        x_bits, y_bits = SOURCE["window_width"], SOURCE["window_height"]
        column, row = Signal(x_bits, reset_less=True), Signal(y_bits, reset_less=True)
        slot = Signal(range(max(config.slots, 2)), reset_less=True)
        columns, rows = Signal(x_bits, reset_less=True), Signal(y_bits, reset_less=True)   # left
        words = Signal(SOURCE["words"], name="words_left", reset_less=True)
        slots = Signal(range(max(config.slots, 2)), name="slots_left", reset_less=True)
        one_slot = Signal(reset_less=True)
        m.d.sync += one_slot.eq(self.slots == 0)
        single_column, single_row, single_word = (
            Signal(name=name, reset_less=True)
            for name in ("single_column", "single_row", "single_word"))
        last_column, last_row, last_word, last_slot = (
            Signal(name=name, reset_less=True)
            for name in ("last_column", "last_row", "last_word", "last_slot"))
        # address = run.address + place of slot and word + place in the window
        window, next_row, word, next_slot = (
            Signal(bits, name=name, reset_less=True)
            for name in ("window", "next_row", "word", "next_slot"))    # next: places known ahead
        word_row = Signal(range(max(-(-config.weight_rows // width), 2)), reset_less=True)

        room, free = Signal(range(DEPTH + 1), init=DEPTH), Signal(init=1)   # free: there is room
        fetch, load, step = Signal(), Signal(), Signal()
        window_over, slot_over, over = Signal(), Signal(), Signal()
        m.d.comb += [
            fetch.eq((active | marking) & free),
            load.eq(~active & ~marking & self.runs.valid),
            step.eq(~active | free),
            window_over.eq(last_column & last_row),
            slot_over.eq(window_over & last_word),
            over.eq(slot_over & last_slot),
        ]
        with m.If(active):
            with m.If(free & over):
                m.d.sync += [active.eq(0), marking.eq(run.end)]
        with m.Else():
            m.d.sync += active.eq(load)
            with m.If(free):
                m.d.sync += marking.eq(0)
        with m.If(~active):
            m.d.sync += [
                columns.eq(payload.window_width), rows.eq(payload.window_height),
                words.eq(payload.words), slots.eq(self.slots), slot.eq(0),
            ]
            for single, last, value in (
                    (single_column, last_column, payload.blank | (payload.window_width == 0)),
                    (single_row, last_row, payload.blank | (payload.window_height == 0)),
                    (single_word, last_word, payload.blank | (payload.words == 0))):
                m.d.sync += [single.eq(value), last.eq(value)]
            m.d.sync += last_slot.eq((payload.blank & ~payload.starts) | one_slot)
        with m.Elif(free):
            m.d.sync += [columns.eq(columns - 1), last_column.eq(columns == 1)]
            with m.If(last_column):
                m.d.sync += [columns.eq(run.window_width), last_column.eq(single_column),
                             rows.eq(rows - 1), last_row.eq(rows == 1)]
            with m.If(window_over):
                m.d.sync += [rows.eq(run.window_height), last_row.eq(single_row),
                             words.eq(words - 1), last_word.eq(words == 1)]
            with m.If(slot_over):
                m.d.sync += [words.eq(run.words), last_word.eq(single_word), slot.eq(slot + 1),
                             slots.eq(slots - 1), last_slot.eq(slots == 1)]
        if config.sources > 1:
            m.d.comb += self.runs.ready.eq(~active & ~marking)
            with m.If(load):
                m.d.sync += run.eq(payload)
        else:
            m.d.comb += self.runs.ready.eq(free & Mux(active, over & ~run.end, marking))

        with m.If(step):
            m.d.sync += [column.eq(column + 1), window.eq(window + run.window_x_stride)]
            with m.If(last_column | ~active):
                m.d.sync += [column.eq(0), window.eq(next_row), row.eq(row + 1),
                             next_row.eq(next_row + run.window_y_stride)]
                with m.If(last_row | ~active):
                    m.d.sync += [row.eq(0), next_row.eq(Mux(active, run.window_y_stride,
                                                            payload.window_y_stride))]
            with m.If(window_over | ~active):
                m.d.sync += [window.eq(0), word.eq(word + 1), word_row.eq(word_row + 1)]
                with m.If(last_word):
                    m.d.sync += word.eq(next_slot)
                with m.If(last_word | ~active):
                    m.d.sync += word_row.eq(0)
            with m.If(slot_over):
                m.d.sync += next_slot.eq(next_slot + run.slot_stride)
        with m.If(~active):
            m.d.sync += [word.eq(0), next_slot.eq(payload.slot_stride)]

        # Where that is, in two additions, and whether it is inside of the map.
        on_way = data.StructLayout({
            "valid": 1, "inside": 1, "begin": 1, "whole": 1, "any": 1, "starts": 1, "slot_over": 1,
            "place": place_layout(config)})
        asked, f2 = Signal(on_way), Signal(on_way)
        f1_address, f1_word, f2_address = (
            Signal(bits, name=name, reset_less=True)
            for name in ("f1_address", "f1_word", "f2_address"))
        f1_x, f1_y = Signal(SOURCE["x0"], reset_less=True), Signal(SOURCE["y0"], reset_less=True)
        f1_width, f1_height = (Signal(SOURCE["map_width"], reset_less=True),
                               Signal(SOURCE["map_height"], reset_less=True))
        m.d.comb += [
            asked.valid.eq(fetch),
            asked.inside.eq(active & ~run.blank),
            asked.begin.eq((column == 0) & (row == 0)),
            asked.whole.eq(~run.any | window_over),
            asked.any.eq(run.any),
            asked.starts.eq(run.starts & active),
            asked.slot_over.eq(slot_over),
            asked.place.row.eq(run.row + (word_row << (width.bit_length() - 1))),
            asked.place.slot.eq(slot),
            asked.place.zeroth.eq(slot == 0),
            asked.place.last.eq(last_slot),
            asked.place.wide.eq(run.wide),
            asked.place.shift.eq(run.shift),
            asked.place.top.eq(run.top),
            asked.place.emit.eq(run.emit),
            asked.place.final.eq(run.final),
            asked.place.end.eq(marking),
            self.address.eq(f2_address),
        ]
        f1 = registered(m, asked, "f1", config.stage_domain)
        m.d[config.stage_domain] += [
            f1_address.eq(run.address + window),
            f1_word.eq(word),
            f1_x.eq(run.x + column),
            f1_y.eq(run.y + row),
            f1_width.eq(run.map_width),
            f1_height.eq(run.map_height),
            f2_address.eq(f1_address + f1_word),
        ]
        placed = Signal(on_way)
        m.d.comb += [
            placed.eq(f1),
            # as unsigned numbers, those below 0 are beyond every map
            placed.inside.eq(f1.inside & (f1_x < f1_width) & (f1_y < f1_height)),
            f2.eq(registered(m, placed, "f2", config.stage_domain)),
        ]
        back = f2
        for stage in range(1, SpikeMemory.latency_of(config) + 1):
            back = registered(pipeline, back, f"read_{stage}")

        # s1: pixels outside are silent; the pixels of a window are one where any of them counts
        s1, s1_word = registered(pipeline, back, "s1"), Signal(width, reset_less=True)
        with pipeline.If(back.valid):
            pipeline.d.sync += s1_word.eq(Mux(back.inside, self.word, 0)
                                   | Mux(back.any & ~back.begin, s1_word, 0))

        # s2, s3: which of its parts hold spikes
        s2, s2_word = registered(m, s1, "s2", config.stage_domain), Signal(width, reset_less=True)
        s2_parts = Signal(slices(config), reset_less=True)
        s3, s3_word = registered(m, s2, "s3", config.stage_domain), Signal(width, reset_less=True)
        s3_part, s3_left = (Signal(slices(config), name=name, reset_less=True)
                            for name in ("s3_part", "s3_left"))
        s3_spikes = Signal(reset_less=True)
        part, left = split_lowest(s2_parts)
        m.d[config.stage_domain] += [
            s2_word.eq(s1_word),
            s2_parts.eq(Cat(s1_word.word_select(i, SLICE_BITS).any()
                            for i in range(slices(config)))),
            s3_word.eq(s2_word),
            s3_part.eq(part),
            s3_left.eq(left),
            s3_spikes.eq(s2.whole & s2_parts.any()),
        ]

        # It is kept unless it is silent and not needed. The entry that marks an end has no spikes:
        # it is outside of the map.
        seen, keep = Signal(), Signal()     # seen: the slot has given an entry already
        m.d.comb += keep.eq(s3.valid & (s3.place.end | s3_spikes
                                        | (s3.starts & s3.slot_over & ~seen)))
        with pipeline.If(s3.valid & s3.starts):
            pipeline.d.sync += seen.eq((seen | keep) & ~s3.slot_over)

        entry = Signal(entry_layout(config))
        m.d.comb += [
            entry.word.eq(s3_word),
            entry.part.eq(s3_part),
            entry.left.eq(s3_left),
            entry.single.eq(s3_left == 0),
            entry.place.eq(s3.place),
            entry.place.first.eq(s3.starts & ~seen),
        ]
        if not config.pipelined:
            m.d.comb += [
                self.entries.payload.eq(entry),
                self.entries.valid.eq(keep),
                self.move.eq(~keep | self.entries.ready),
                free.eq(self.move),
            ]
            return m
        m.submodules.entry_queue = queue = Queue(entry_layout(config), DEPTH)
        freed = Signal(2)
        m.d.sync += queue.write.eq(keep)
        m.d.comb += [queue.word.eq(registered(m, entry, "kept")), self.move.eq(1)]
        wiring.connect(m, queue.o, wiring.flipped(self.entries))
        m.d.sync += [
            freed.eq((s3.valid & ~keep) + (self.entries.valid & self.entries.ready)),
            room.eq(room - fetch + freed),
            free.eq(Mux(fetch, (room > 1) | freed.any(), room.any() | freed.any())),
        ]
        return m
