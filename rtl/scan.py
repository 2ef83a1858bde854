"""Scan: the sites of a pass in raster order, and at each the sources that are read there.

At site (x, y) of a pass, source s is read around pixel (x0 + x step_x, y0 + y step_y) of its map:

    for y in 0 .. height:  for x in 0 .. width:  for s in sources:  one *run*

With taps, the banks are the taps of a 3 x 3 kernel in transposed form. Sites count p = y width + x.
An event at site p adds tap (ky, kx) to the output q = p + 1 - kx + (1 - ky) width, so output q is
complete after site q + 1 + width, and leaves with the shifts of the site after. Sums move on by one
site; between kernel rows they wait in a line buffer (`rtl.lines`).
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .fields import PASS_LAYOUT, SOURCE_LAYOUT
from .memories import DISTRIBUTED
from .tape import SOURCE_WORDS

__all__ = ["Scanner", "run_layout", "source_write_layout"]

#: Fields of a SOURCE that a run carries on to where its words are read.
_CARRIED = ("slot_stride", "words", "wide", "any", "window_x_stride", "window_y_stride",
            "window_width", "window_height", "map_width", "map_height")


def source_write_layout(config: ArrayConfig) -> data.StructLayout:
    """A word on its way to the source tables of the next pass."""
    return data.StructLayout({"valid": 1, "half": 1, "source": range(max(config.sources, 2)),
                              "word": range(SOURCE_WORDS), "data": 32})


def run_layout(config: ArrayConfig) -> data.StructLayout:
    """One source at one site."""
    return data.StructLayout({
        "address": 16,      # spike word of slot 0, word 0, first pixel of the window
        "x": signed(11),    # that pixel
        "y": signed(11),
        "row": range(config.weight_rows),
        **{name: SOURCE_LAYOUT.members[name] for name in _CARRIED},
        "starts": 1,        # every slot starts its sums, be it with nothing
        "blank": 1,         # the window lies outside of the map and its padding
        "clear": 1,         # with taps: the chains start, nothing is taken over
        "top": 1,           # with taps: nothing comes from above
        "emit": 1,          # with taps: what leaves is an output
        "end": 1,           # the last run of an output, or of the pass
        "final": 1,         # the last run of the pass
    })


class Scanner(wiring.Component):
    """Gives the runs of a pass.

    write: words of the sources of the next pass, into the half that `start` will name. `fields`
    must stay until the pass is over.

    Latency: 2 cycles from `start` to the first run. II: 1 run. Backpressure: stalls as one.
    """

    latency = 2

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "start": In(1),
            "half": In(1),
            "fields": In(PASS_LAYOUT),
            "write": In(source_write_layout(config)),
            "runs": Out(stream.Signature(run_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        config, fields, run = self.config, self.fields, self.runs.payload
        depth = 1 << (max(config.sources, 2) - 1).bit_length()      # halves start at powers of two

        source = Signal(range(depth))
        half = Signal()
        table = Signal(SOURCE_LAYOUT)
        for word in range(SOURCE_WORDS):
            memory = Memory(shape=32, depth=2 * depth, init=[], attrs=DISTRIBUTED)
            m.submodules[f"source_mem_{word}"] = memory
            read, write = memory.read_port(domain="comb"), memory.write_port()
            m.d.comb += [
                write.en.eq(self.write.valid & (self.write.word == word)),
                write.addr.eq(Cat(self.write.source, self.write.half)),
                write.data.eq(self.write.data),
                read.addr.eq(Cat(source, half)),
                table.as_value()[32 * word:32 * word + 32].eq(read.data),
            ]

        # Where every source is: at this site, and at the first of this row.
        place = data.StructLayout({"address": 16, "row_address": 16, "x": signed(11),
                                   "y": signed(11)})
        m.submodules.place_mem = places = Memory(shape=place, depth=depth, init=[],
                                                 attrs=DISTRIBUTED)
        load, store = places.read_port(domain="comb"), places.write_port()
        here, following = Signal(place), Signal(place)
        x, y = Signal(10), Signal(10)
        busy, first_site, extra = Signal(), Signal(), Signal()
        last_column = Signal()
        m.d.comb += [
            load.addr.eq(source),
            store.addr.eq(source),
            store.data.eq(following),
            last_column.eq(x == fields.width),
            here.eq(load.data),
            following.eq(here),
        ]
        with m.If(first_site):
            m.d.comb += [here.address.eq(table.base), here.row_address.eq(table.base),
                         here.x.eq(table.x0), here.y.eq(table.y0)]
        with m.If(last_column):
            next_row = here.row_address + table.y_stride
            m.d.comb += [following.address.eq(next_row), following.row_address.eq(next_row),
                         following.x.eq(table.x0), following.y.eq(here.y + table.step_y)]
        with m.Else():
            m.d.comb += [following.address.eq(here.address + table.x_stride),
                         following.x.eq(here.x + table.step_x)]

        # The output that leaves at this site: two to the left, one up, counted through.
        out_x, out_y = Signal(10), Signal(signed(11))
        emit = Signal()
        mask = Signal(2)
        m.d.comb += [
            mask.eq(Mux(fields.stride == 0, 0, Mux(fields.stride == 1, 1, 3))),
            emit.eq(fields.taps
                    & (out_x >= fields.x_low) & (out_x <= fields.x_high)
                    & (out_y >= fields.y_low) & (out_y <= fields.y_high)
                    & (((out_x - fields.x_low)[:2] & mask) == 0)
                    & (((out_y - fields.y_low)[:2] & mask) == 0)),
        ]

        last_source, last_row, last_site = Signal(), Signal(), Signal()
        rows = Signal(range(config.weight_rows))        # of all sites before
        outside = Signal()
        advance = Signal()
        m.d.comb += [
            last_source.eq(source == fields.sources),
            last_row.eq(y == fields.height),
            last_site.eq(Mux(fields.flush, extra, last_row & last_column)),
            outside.eq((here.x + table.pad < 0) | (here.y + table.pad < 0)
                       | (here.x + table.window_width >= table.map_width + table.pad)
                       | (here.y + table.window_height >= table.map_height + table.pad)),
            advance.eq(busy & (~self.runs.valid | self.runs.ready)),
            store.en.eq(advance),
        ]
        with m.If(self.runs.ready):
            m.d.sync += self.runs.valid.eq(0)
        with m.If(advance):
            m.d.sync += [
                self.runs.valid.eq(1),
                run.address.eq(here.address),
                run.x.eq(here.x),
                run.y.eq(here.y),
                run.row.eq(table.weights + rows),
                *(run[name].eq(table[name]) for name in _CARRIED),
                run.starts.eq((source == 0) & (~fields.join | first_site)),
                run.blank.eq(outside),
                run.clear.eq(fields.taps & fields.start & first_site),
                run.top.eq(fields.taps & fields.start & (y == 0) & ~last_column),
                run.emit.eq(emit),
                run.end.eq(last_source & (last_site | ~(fields.taps | fields.join))),
                run.final.eq(last_source & last_site),
                source.eq(source + 1),
            ]
            with m.If(last_source):
                m.d.sync += [source.eq(0), first_site.eq(0), x.eq(x + 1), out_x.eq(out_x + 1),
                             rows.eq(rows + fields.site_rows)]
                with m.If(out_x == fields.width):
                    m.d.sync += [out_x.eq(0), out_y.eq(out_y + 1)]
                with m.If(last_column):
                    m.d.sync += [x.eq(0), y.eq(y + 1), extra.eq(last_row)]
                with m.If(last_site):
                    m.d.sync += busy.eq(0)
        with m.If(self.start):
            m.d.sync += [
                busy.eq(1), half.eq(self.half), source.eq(0), first_site.eq(1), extra.eq(0),
                x.eq(0), y.eq(0), rows.eq(0), out_x.eq(fields.width - 1),
                out_y.eq(fields.row.as_signed() - 2),
            ]
        return m
