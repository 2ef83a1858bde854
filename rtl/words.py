"""Words: what a run reads from the spike memory, word by word, silent ones left out."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .config import ArrayConfig
from .scan import run_layout
from .spikes import SpikeMemory
from .tree import tree_sum

__all__ = ["DEPTH", "WordReader", "entry_layout", "place_layout"]

#: Words that the reader holds or has on the way.
DEPTH = 8


def place_layout(config: ArrayConfig) -> data.StructLayout:
    """What goes with the events of a word."""
    return data.StructLayout({
        "row": range(config.weight_rows),       # of the word's first bit
        "slot": range(max(config.slots, 2)),
        "first": 1,     # the first event of its slot at this site
        "wide": 1,      # the rows hold wide weights
        "clear": 1, "top": 1, "emit": 1, "final": 1,    # see `rtl.scan.run_layout`
        "end": 1,       # no word: the run before was the last of an output, or of the pass
    })


def entry_layout(config: ArrayConfig) -> data.StructLayout:
    """A word that holds spikes, or that starts a slot without any, or the end of an output."""
    return data.StructLayout({"word": config.word_bits, "ones": bits_for(config.word_bits),
                              "place": place_layout(config)})


class WordReader(wiring.Component):
    """For slot, for word, for the pixels of the window: fetch; keep what holds a spike.

    A run whose window lies outside of its map takes one fetch, or one a slot where it starts sums.
    A run that ends an output takes one more, for the entry that says so.

    Latency: `latency` cycles from a run to the entry of its first word. II: 1 word. Backpressure:
    fetching stops while `DEPTH` words are kept or under way.
    """

    latency = SpikeMemory.latency + 5

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "slots": In(range(max(config.slots, 2))),
            "runs": In(stream.Signature(run_layout(config))),
            "address": Out(range(config.spike_words)),
            "word": In(config.word_bits),
            "entries": Out(stream.Signature(entry_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        width = config.word_bits

        # Loops, from the innermost: column and row of the window, word, slot.
        run = Signal(run_layout(config), reset_less=True)
        active, marking = Signal(), Signal()
        column, row = Signal(5), Signal(5)
        word, slot = Signal(12), Signal(range(max(config.slots, 2)))
        address, row_address, word_address, slot_address = (
            Signal(16, name=name, reset_less=True)
            for name in ("address", "row_address", "word_address", "slot_address"))
        pixel_x, pixel_y = Signal(signed(11), reset_less=True), Signal(signed(11), reset_less=True)
        weight_row = Signal(range(config.weight_rows), reset_less=True)

        room = Signal(range(DEPTH + 1), init=DEPTH)
        fetch, load = Signal(), Signal()
        last_column, last_row, last_word, last_slot, over = (
            Signal(name=name)
            for name in ("last_column", "last_row", "last_word", "last_slot", "over"))
        window_over = last_column & last_row
        m.d.comb += [
            fetch.eq((active | marking) & (room != 0)),
            last_column.eq(run.blank | (column == run.window_width)),
            last_row.eq(run.blank | (row == run.window_height)),
            last_word.eq(run.blank | (word == run.words)),
            last_slot.eq((run.blank & ~run.starts) | (slot == self.slots)),
            over.eq(window_over & last_word & last_slot),
            self.address.eq(address),
            load.eq(Mux(active, fetch & over & ~run.end, ~marking | fetch)),
            self.runs.ready.eq(load),
        ]

        start, step = Signal(16), Signal(16)    # one adder for every step
        m.d.comb += [start.eq(slot_address), step.eq(run.slot_stride)]
        with m.If(~last_column):
            m.d.comb += [start.eq(address), step.eq(run.window_x_stride)]
        with m.Elif(~last_row):
            m.d.comb += [start.eq(row_address), step.eq(run.window_y_stride)]
        with m.Elif(~last_word):
            m.d.comb += [start.eq(word_address), step.eq(1)]
        following = (start + step)[:16]

        with m.If(load):
            m.d.sync += [
                active.eq(self.runs.valid), marking.eq(0), run.eq(self.runs.payload),
                column.eq(0), row.eq(0), word.eq(0), slot.eq(0),
                address.eq(self.runs.payload.address), row_address.eq(self.runs.payload.address),
                word_address.eq(self.runs.payload.address),
                slot_address.eq(self.runs.payload.address),
                pixel_x.eq(self.runs.payload.x), pixel_y.eq(self.runs.payload.y),
                weight_row.eq(self.runs.payload.row),
            ]
        with m.Elif(fetch & active):
            m.d.sync += [address.eq(following), column.eq(column + 1), pixel_x.eq(pixel_x + 1)]
            with m.If(last_column):
                m.d.sync += [row_address.eq(following), column.eq(0), row.eq(row + 1),
                             pixel_x.eq(run.x), pixel_y.eq(pixel_y + 1)]
            with m.If(window_over):
                m.d.sync += [word_address.eq(following), row.eq(0), word.eq(word + 1),
                             pixel_y.eq(run.y), weight_row.eq(weight_row + width)]
            with m.If(window_over & last_word):
                m.d.sync += [slot_address.eq(following), word.eq(0), slot.eq(slot + 1),
                             weight_row.eq(run.row)]
            with m.If(over):
                m.d.sync += [active.eq(0), marking.eq(1)]

        # The word comes back.
        on_way = data.StructLayout({
            "valid": 1, "inside": 1, "begin": 1, "whole": 1, "any": 1, "starts": 1, "slot_over": 1,
            "place": place_layout(config)})
        asked = Signal(on_way)
        m.d.comb += [
            asked.valid.eq(fetch),
            asked.inside.eq(active & ~run.blank
                            & (pixel_x >= 0) & (pixel_x < run.map_width.as_unsigned())
                            & (pixel_y >= 0) & (pixel_y < run.map_height.as_unsigned())),
            asked.begin.eq((column == 0) & (row == 0)),
            asked.whole.eq(~run.any | window_over),
            asked.any.eq(run.any),
            asked.starts.eq(run.starts & active),
            asked.slot_over.eq(window_over & last_word),
            asked.place.row.eq(weight_row),
            asked.place.slot.eq(slot),
            asked.place.wide.eq(run.wide),
            asked.place.clear.eq(run.clear),
            asked.place.top.eq(run.top),
            asked.place.emit.eq(run.emit),
            asked.place.final.eq(run.final),
            asked.place.end.eq(marking),
        ]
        for stage in range(1, SpikeMemory.latency + 1):
            later = Signal(on_way, name=f"fetch_{stage}")
            m.d.sync += later.eq(asked)
            asked = later

        # s1: pixels outside are silent; the pixels of a window are one where any of them counts
        s1, s1_word = Signal(on_way), Signal(width, reset_less=True)
        m.d.sync += s1.eq(asked)
        with m.If(asked.valid):
            m.d.sync += s1_word.eq(Mux(asked.inside, self.word, 0)
                                   | Mux(asked.any & ~asked.begin, s1_word, 0))

        # s2, s3: its spikes are counted
        s2, s2_word = Signal(on_way), Signal(width, reset_less=True)
        quarter = width // 4
        partial = [Signal(bits_for(quarter), name=f"s2_ones_{i}", reset_less=True)
                   for i in range(4)]
        s3, s3_word = Signal(on_way), Signal(width, reset_less=True)
        s3_ones = Signal(bits_for(width), reset_less=True)
        m.d.sync += [s2.eq(s1), s2_word.eq(s1_word), s3.eq(s2), s3_word.eq(s2_word),
                     s3_ones.eq(tree_sum(partial))]
        m.d.sync += [part.eq(tree_sum(s1_word.word_select(i, quarter)))
                     for i, part in enumerate(partial)]

        # It is kept unless it is silent and not needed.
        seen, keep = Signal(), Signal()     # seen: the slot has given an entry already
        m.d.comb += keep.eq(s3.valid & (s3.place.end | (s3.whole & (s3_ones != 0))
                                        | (s3.starts & s3.slot_over & ~seen)))
        with m.If(s3.valid & s3.starts):
            m.d.sync += seen.eq((seen | keep) & ~s3.slot_over)

        entry = Signal(entry_layout(config))
        m.submodules.entry_fifo = fifo = SyncFIFO(width=len(entry.as_value()), depth=DEPTH)
        taken = self.entries.valid & self.entries.ready
        m.d.comb += [
            entry.word.eq(s3_word),
            entry.ones.eq(Mux(s3.place.end, 0, s3_ones)),
            entry.place.eq(s3.place),
            entry.place.first.eq(s3.starts & ~seen),
            fifo.w_data.eq(entry),
            fifo.w_en.eq(keep),
            Value.cast(self.entries.payload).eq(fifo.r_data),
            self.entries.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.entries.ready),
        ]
        m.d.sync += room.eq(room - fetch + (s3.valid & ~keep) + taken)
        return m
