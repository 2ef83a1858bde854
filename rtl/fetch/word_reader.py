"""Word reader: what a run reads from the spike memory, word by word, silent words left out."""

import functools
import operator
from collections.abc import Mapping, Sequence

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import SOURCE
from quadfire.rtl.fetch import geometry
from quadfire.rtl.fetch.raster import run_layout
from quadfire.rtl.fetch.spike_memory import SpikeMemory
from quadfire.rtl.lib.bits import split_lowest
from quadfire.rtl.lib.queue import Queue
from quadfire.rtl.lib.strobes import StrobedLayout, registered

__all__ = ["DEPTH", "SLICE_BITS", "WordReader", "entry_layout", "place_layout", "slices"]

#: Words that the reader holds, or that are on their way to it.
DEPTH = 15
#: Width of a slice of a word. Spikes are looked for slice by slice.
SLICE_BITS = 4


def slices(config: ArrayConfig) -> int:
    """Slices of a word."""
    return config.word_bits // SLICE_BITS


def place_layout(config: ArrayConfig) -> data.StructLayout:
    """What goes with the events of a word."""
    return data.StructLayout({
        "row": range(config.weight_rows),       # weight row of the word's first bit
        "slot": range(max(config.slots, 2)),
        "zeroth": 1, "last": 1,     # it is the first slot, the last slot
        "first": 1,     # the first event of its slot at this site
        "wide": 1,      # the rows hold wide weights
        "shift": 1, "top": 1, "emit": 1, "final": 1,    # see `quadfire.rtl.fetch.raster.run_layout`
        "end": 1,       # no word: the run before was the last of an output, or of the pass
    })


def entry_layout(config: ArrayConfig) -> data.StructLayout:
    """A word with spikes, or one without that starts a slot, or the end of an output.

    Slices that hold a spike are marked by one bit each: the lowest in `part`, all others in `left`.
    `single` says that there are no others.
    """
    return data.StructLayout({"word": config.word_bits, "part": slices(config),
                              "left": slices(config), "single": 1, "place": place_layout(config)})


def _fetch_layout(config: ArrayConfig) -> StrobedLayout:
    """A fetch on its way to the memory and back."""
    return StrobedLayout({
        "valid": 1,
        "inside": 1,    # the pixel is in its map
        "begin": 1,     # the first pixel of its window
        "whole": 1,     # with it the word is complete
        "any": 1, "starts": 1,      # of the run
        "slot_over": 1,     # the last word of its slot
        "place": place_layout(config)}, strobes=["valid"])


class _Loops:
    """Registers of the four loops of a run, from the innermost: column, row, word, slot.

    Counters say how many turns are left, `last_*` that a loop is in its last turn, `single_*` that
    it has only one. Places are sums: run.address + `word` (of slot and word) + `window`. `next_*`
    are places known ahead. While no run is active, everything stands at what a run begins with.
    """

    def __init__(self, config: ArrayConfig, payload: data.View):
        bits = bits_for(config.spike_words - 1)     # of an address
        # With one source per pass, the raster keeps the run until it is over.
        self.run = Signal(run_layout(config), reset_less=True) if config.sources > 1 else payload
        # marking: the entry of an end is made
        self.active, self.marking = Signal(), Signal(name="marking")
        x_bits, y_bits = SOURCE["window_width"], SOURCE["window_height"]
        self.column, self.row = (Signal(x_bits, reset_less=True),
                                 Signal(y_bits, name="row", reset_less=True))
        self.slot = Signal(range(max(config.slots, 2)), reset_less=True)
        self.columns, self.rows = (Signal(x_bits, reset_less=True),
                                   Signal(y_bits, name="rows", reset_less=True))
        self.words = Signal(SOURCE["words"], name="words_left", reset_less=True)
        self.slots = Signal(range(max(config.slots, 2)), name="slots_left", reset_less=True)
        self.one_slot = Signal(reset_less=True)
        self.single_column, self.single_row, self.single_word = (
            Signal(name=name, reset_less=True)
            for name in ("single_column", "single_row", "single_word"))
        self.last_column, self.last_row, self.last_word, self.last_slot = (
            Signal(name=name, reset_less=True)
            for name in ("last_column", "last_row", "last_word", "last_slot"))
        self.window, self.next_row, self.word, self.next_slot = (
            Signal(bits, name=name, reset_less=True)
            for name in ("window", "next_row", "word", "next_slot"))
        self.word_row = Signal(range(max(-(-config.weight_rows // config.word_bits), 2)),
                               reset_less=True)
        # room: for so many words; free: for one
        self.room, self.free = (Signal(range(DEPTH + 1), init=DEPTH),
                                Signal(init=1, name="free"))
        self.fetch, self.load, self.step = Signal(), Signal(), Signal(name="step")
        self.window_over, self.slot_over, self.over = Signal(), Signal(), Signal(name="over")


class WordReader(wiring.Component):
    """For slot, for word, for pixel of the window: fetch the word, and keep it if it has a spike.

    | port      | shape               | meaning                                                    |
    |-----------|---------------------|------------------------------------------------------------|
    | `slots`   | in                  | slots of the pass, less one; known a cycle before its runs |
    | `runs`    | in, `run_layout`    | stream of runs                                             |
    | `address` | out                 | address to the spike memory                                |
    | `word`    | in, `word_bits`     | its word                                                   |
    | `move`    | out, 1              | the spike memory and the pipeline behind it move on        |
    | `entries` | out, `entry_layout` | stream of words with spikes, starts and ends               |

    A blank run takes one fetch, or one per slot if it starts the sums. A run that ends an output
    takes one more, for the entry that says so. Between runs there is one cycle without a fetch, or
    two with one source per pass.

    Latency: `latency` cycles from a run to the entry of its first word. II: 1 word.
    Backpressure: fetching stops while `DEPTH` words are held or on their way. A configuration that
    is not `pipelined` has fewer stages and no queue: while an entry waits, everything stops as
    one, the spike memory included (`move`).
    Reset: idle, no word held.
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

    def model(self, run: Mapping[str, int], slots: int, memory: Sequence[int]
              ) -> list[dict[str, int]]:
        """The entries of one run, as fields of `entry_layout` and `place_layout`.

        run: as `Raster.model` gives it. memory: the words of the spike memory.
        The entry of an end has only the fields that matter.
        """
        width = self.config.word_bits
        inside = geometry.window_inside(run).ravel()
        offsets = geometry.word_offsets(run, slots)
        offsets = offsets.reshape(*offsets.shape[:2], -1)
        if run["blank"]:        # one fetch, or one per slot
            offsets = offsets[:slots if run["starts"] else 1, :1, :1]
        carried = {name: run[name] for name in ("wide", "shift", "top", "emit", "final")}
        entries = []
        for slot, of_slot in enumerate(offsets):
            words = []      # (word, weight row)
            for index, places in enumerate(of_slot):
                window = [memory[(run["address"] + int(at)) % len(memory)] if counts else 0
                          for at, counts in zip(places, inside, strict=False)]
                if run["any"]:
                    window = [functools.reduce(operator.or_, window)]
                words += [(word, run["row"] + index * width) for word in window]
            kept = [pair for pair in words if pair[0]] or words[-1:] * run["starts"]
            entries += [self.entry(word) | {"row": row, "slot": slot, "end": 0,
                                            "first": int(run["starts"] and index == 0), **carried}
                        for index, (word, row) in enumerate(kept)]
        if run["end"]:
            entries.append(self.entry(0) | {"end": 1, "final": run["final"]})
        return entries

    def entry(self, word: int) -> dict[str, int]:
        """A word of an entry, and which of its slices hold a spike."""
        mask = (1 << SLICE_BITS) - 1
        held = sum(1 << index for index in range(slices(self.config))
                   if word >> SLICE_BITS * index & mask)
        return {"word": word, "part": held & -held, "left": held & (held - 1),
                "single": int(not held & (held - 1))}

    def elaborate(self, platform):
        m = Module()
        pipeline = m        # what stops with `move`
        if not self.config.pipelined:
            pipeline = Module()
            m.submodules.pipeline = EnableInserter(self.move)(pipeline)
        at = _Loops(self.config, self.runs.payload)
        self._turns(m, at)
        self._places(m, at)
        back = self._fetches(m, pipeline, at)
        self._entries(m, pipeline, at, back)
        return m

    def _turns(self, m: Module, at: _Loops):
        """Runs come and go; loops count their turns."""
        payload, run = self.runs.payload, at.run
        m.d.sync += at.one_slot.eq(self.slots == 0)
        m.d.comb += [
            at.fetch.eq((at.active | at.marking) & at.free),
            at.load.eq(~at.active & ~at.marking & self.runs.valid),
            at.step.eq(~at.active | at.free),
            at.window_over.eq(at.last_column & at.last_row),
            at.slot_over.eq(at.window_over & at.last_word),
            at.over.eq(at.slot_over & at.last_slot),
        ]
        with m.If(at.active):
            with m.If(at.free & at.over):
                m.d.sync += [at.active.eq(0), at.marking.eq(run.end)]
        with m.Else():
            m.d.sync += at.active.eq(at.load)
            with m.If(at.free):
                m.d.sync += at.marking.eq(0)
        with m.If(~at.active):
            m.d.sync += [
                at.columns.eq(payload.window_width), at.rows.eq(payload.window_height),
                at.words.eq(payload.words), at.slots.eq(self.slots), at.slot.eq(0),
            ]
            for single, last, value in (
                    (at.single_column, at.last_column, payload.blank | (payload.window_width == 0)),
                    (at.single_row, at.last_row, payload.blank | (payload.window_height == 0)),
                    (at.single_word, at.last_word, payload.blank | (payload.words == 0))):
                m.d.sync += [single.eq(value), last.eq(value)]
            m.d.sync += at.last_slot.eq((payload.blank & ~payload.starts) | at.one_slot)
        with m.Elif(at.free):
            m.d.sync += [at.columns.eq(at.columns - 1), at.last_column.eq(at.columns == 1)]
            with m.If(at.last_column):
                m.d.sync += [at.columns.eq(run.window_width), at.last_column.eq(at.single_column),
                             at.rows.eq(at.rows - 1), at.last_row.eq(at.rows == 1)]
            with m.If(at.window_over):
                m.d.sync += [at.rows.eq(run.window_height), at.last_row.eq(at.single_row),
                             at.words.eq(at.words - 1), at.last_word.eq(at.words == 1)]
            with m.If(at.slot_over):
                m.d.sync += [at.words.eq(run.words), at.last_word.eq(at.single_word),
                             at.slot.eq(at.slot + 1), at.slots.eq(at.slots - 1),
                             at.last_slot.eq(at.slots == 1)]
        if self.config.sources > 1:
            m.d.comb += self.runs.ready.eq(~at.active & ~at.marking)
            with m.If(at.load):
                m.d.sync += run.eq(payload)
        else:
            m.d.comb += self.runs.ready.eq(at.free & Mux(at.active, at.over & ~run.end, at.marking))

    def _places(self, m: Module, at: _Loops):
        """The pixel, the word and their places step with the loops."""
        payload, run = self.runs.payload, at.run
        with m.If(at.step):
            m.d.sync += [at.column.eq(at.column + 1), at.window.eq(at.window + run.window_x_stride)]
            with m.If(at.last_column | ~at.active):
                m.d.sync += [at.column.eq(0), at.window.eq(at.next_row), at.row.eq(at.row + 1),
                             at.next_row.eq(at.next_row + run.window_y_stride)]
                with m.If(at.last_row | ~at.active):
                    m.d.sync += [at.row.eq(0), at.next_row.eq(Mux(
                        at.active, run.window_y_stride, payload.window_y_stride))]
            with m.If(at.window_over | ~at.active):
                m.d.sync += [at.window.eq(0), at.word.eq(at.word + 1),
                             at.word_row.eq(at.word_row + 1)]
                with m.If(at.last_word):
                    m.d.sync += at.word.eq(at.next_slot)
                with m.If(at.last_word | ~at.active):
                    m.d.sync += at.word_row.eq(0)
            with m.If(at.slot_over):
                m.d.sync += at.next_slot.eq(at.next_slot + run.slot_stride)
        with m.If(~at.active):
            m.d.sync += [at.word.eq(0), at.next_slot.eq(payload.slot_stride)]

    def _fetches(self, m: Module, pipeline: Module, at: _Loops) -> data.View:
        """f1, f2: the address in two additions, and whether the pixel is inside of the map.

        Returns the fetch as it comes back from the memory.
        """
        config, run = self.config, at.run
        on_way = _fetch_layout(config)
        asked, f2 = Signal(on_way), Signal(on_way)
        f1_address, f1_word, f2_address = (
            Signal(bits_for(config.spike_words - 1), name=name, reset_less=True)
            for name in ("f1_address", "f1_word", "f2_address"))
        f1_x, f1_y = Signal(SOURCE["x0"], reset_less=True), Signal(SOURCE["y0"], reset_less=True)
        f1_width, f1_height = (Signal(SOURCE["map_width"], reset_less=True),
                               Signal(SOURCE["map_height"], reset_less=True))
        m.d.comb += [
            asked.valid.eq(at.fetch),
            asked.inside.eq(at.active & ~run.blank),
            asked.begin.eq((at.column == 0) & (at.row == 0)),
            asked.whole.eq(~run.any | at.window_over),
            asked.any.eq(run.any),
            asked.starts.eq(run.starts & at.active),
            asked.slot_over.eq(at.slot_over),
            asked.place.row.eq(run.row + (at.word_row << (config.word_bits.bit_length() - 1))),
            asked.place.slot.eq(at.slot),
            asked.place.zeroth.eq(at.slot == 0),
            asked.place.last.eq(at.last_slot),
            asked.place.wide.eq(run.wide),
            asked.place.shift.eq(run.shift),
            asked.place.top.eq(run.top),
            asked.place.emit.eq(run.emit),
            asked.place.final.eq(run.final),
            asked.place.end.eq(at.marking),
            self.address.eq(f2_address),
        ]
        f1 = registered(m, asked, "f1", config.stage_domain)
        m.d[config.stage_domain] += [
            f1_address.eq(run.address + at.window),
            f1_word.eq(at.word),
            f1_x.eq(run.x + at.column),
            f1_y.eq(run.y + at.row),
            f1_width.eq(run.map_width),
            f1_height.eq(run.map_height),
            f2_address.eq(f1_address + f1_word),
        ]
        placed = Signal(on_way)
        m.d.comb += [
            placed.eq(f1),
            # As unsigned numbers, pixels below 0 are beyond every map.
            placed.inside.eq(f1.inside & (f1_x < f1_width) & (f1_y < f1_height)),
            f2.eq(registered(m, placed, "f2", config.stage_domain)),
        ]
        back = f2
        for stage in range(1, SpikeMemory.latency_of(config) + 1):
            back = registered(pipeline, back, f"read_{stage}")
        return back

    def _entries(self, m: Module, pipeline: Module, at: _Loops, back: data.View):
        """s1 to s3: a word comes back, its slices are looked at, and it is kept or dropped."""
        config = self.config
        width, stage_domain = config.word_bits, config.stage_domain

        # s1: pixels outside are silent. With `any`, the pixels of a window are joined by OR.
        s1, s1_word = registered(pipeline, back, "s1"), Signal(width, reset_less=True)
        with pipeline.If(back.valid):
            pipeline.d.sync += s1_word.eq(Mux(back.inside, self.word, 0)
                                   | Mux(back.any & ~back.begin, s1_word, 0))

        # s2, s3: which of its slices hold spikes
        s2, s2_word = registered(m, s1, "s2", stage_domain), Signal(width, reset_less=True)
        s2_parts = Signal(slices(config), reset_less=True)
        s3, s3_word = registered(m, s2, "s3", stage_domain), Signal(width, reset_less=True)
        s3_part, s3_left = (Signal(slices(config), name=name, reset_less=True)
                            for name in ("s3_part", "s3_left"))
        s3_spikes = Signal(reset_less=True)
        lowest, others = split_lowest(s2_parts)
        m.d[stage_domain] += [
            s2_word.eq(s1_word),
            s2_parts.eq(Cat(s1_word.word_select(i, SLICE_BITS).any()
                            for i in range(slices(config)))),
            s3_word.eq(s2_word),
            s3_part.eq(lowest),
            s3_left.eq(others),
            s3_spikes.eq(s2.whole & s2_parts.any()),
        ]

        # A silent word is kept only where a slot would otherwise not start. The entry of an end is
        # kept, too; it has no spikes, because it lies outside of the map.
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
                at.free.eq(self.move),
            ]
            return
        m.submodules.entry_queue = queue = Queue(entry_layout(config), DEPTH)
        freed = Signal(2)
        m.d.sync += queue.write.eq(keep)
        m.d.comb += [queue.word.eq(registered(m, entry, "kept")), self.move.eq(1)]
        wiring.connect(m, queue.o, wiring.flipped(self.entries))
        m.d.sync += [
            freed.eq((s3.valid & ~keep) + (self.entries.valid & self.entries.ready)),
            at.room.eq(at.room - at.fetch + freed),
            at.free.eq(Mux(at.fetch, (at.room > 1) | freed.any(), at.room.any() | freed.any())),
        ]
