"""Raster: the sites of a pass in raster order, and the sources that are read at each.

    for y in 0 .. height:  for x in 0 .. width:  for s in sources:  one *run*

At site (x, y), source s is read around pixel (x0 + x step_x, y0 + y step_y) of its map. What a pass
means in plain integers is `quadfire.rtl.fetch.geometry`; `Raster.model` is made of it.

With kernel taps, the banks are the taps of a 3 x 3 kernel in transposed form. Sums move on by one
site, and wait in a line buffer between the kernel rows (`quadfire.rtl.array.line_buffer`).
"""

from collections.abc import Mapping, Sequence

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS, SOURCE, SOURCE_WORDS
from quadfire.rtl.fetch import geometry
from quadfire.rtl.lib.memory_styles import BLOCK, DISTRIBUTED
from quadfire.rtl.lib.tape_layouts import PASS_LAYOUT, SOURCE_LAYOUT

__all__ = ["CARRIED", "Raster", "run_layout", "source_write_layout"]

#: Fields of a SOURCE that a run carries to the word reader.
CARRIED = ("slot_stride", "words", "wide", "any", "window_x_stride", "window_y_stride",
            "window_width", "window_height", "map_width", "map_height")


def source_write_layout(config: ArrayConfig) -> data.StructLayout:
    """A word on its way to the source tables of the next pass."""
    return data.StructLayout({"valid": 1, "half": 1, "source": range(max(config.sources, 2)),
                              "word": range(SOURCE_WORDS), "data": 32})


def run_layout(config: ArrayConfig) -> data.StructLayout:
    """One source at one site."""
    return data.StructLayout({
        "address": range(config.spike_words),   # of slot 0, word 0, first pixel of the window
        "x": SOURCE_LAYOUT.members["x0"],       # that pixel
        "y": SOURCE_LAYOUT.members["y0"],
        "row": range(config.weight_rows),
        **{name: SOURCE_LAYOUT.members[name] for name in CARRIED},
        "starts": 1,        # it starts the sums of every slot, even without a spike
        "blank": 1,         # the window leaves the map and its padding
        "shift": 1,         # kernel taps: every bank takes over the sum of the previous one
        "top": 1,           # kernel taps: nothing comes from above
        "emit": 1,          # kernel taps: what leaves is an output
        "end": 1,           # the last run of an output, or of the pass
        "final": 1,         # the last run of the pass
    })


class Raster(wiring.Component):
    """Gives the runs of a pass: every source at every site, in raster order.

    | port     | shape                     | meaning                                   |
    |----------|---------------------------|-------------------------------------------|
    | `start`  | in, 1                     | a pass begins                             |
    | `half`   | in, 1                     | half of the tables that holds its sources |
    | `fields` | in, `PASS_LAYOUT`         | the PASS, stable until the pass is over   |
    | `write`  | in, `source_write_layout` | a word of a source of the next pass       |
    | `runs`   | out, `run_layout`         | stream of runs                            |

    The executor writes sources into the half that the next `start` will name. In a configuration
    with one source per pass, the source stands in registers, which are written between passes.

    Latency: `latency` cycles from `start` to the first run. II: `interval` cycles.
    Backpressure: stalls; two runs are made ahead. With one source per pass, a run stays until the
    reader is through with it, and the next one is made then. Reset: idle.
    """

    interval = 3

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        super().__init__({
            "start": In(1),
            "half": In(1),
            "fields": In(PASS_LAYOUT),
            "write": In(source_write_layout(config)),
            "runs": Out(stream.Signature(run_layout(config))),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return 6 if config.sources > 1 else 4

    def model(self, fields: Mapping[str, int], sources: Sequence[Mapping[str, int]]
              ) -> list[dict[str, int]]:
        """The runs of a PASS as fields of `run_layout`, x and y signed."""
        config, runs = self.config, []
        width, (x, _) = fields["width"] + 1, geometry.sites(fields)
        emitted, ends = geometry.emitted(fields), geometry.ends(fields)
        windows = [geometry.windows(fields, source) for source in sources]
        starts = [geometry.starts(fields, index) for index in range(len(sources))]
        for site in range(len(x)):
            for index, (source, window) in enumerate(zip(sources, windows, strict=True)):
                last = index == len(sources) - 1
                run = {name: source[name] for name in CARRIED} | {
                    "address": window.address[site] % config.spike_words,
                    "x": window.x[site], "y": window.y[site],
                    "row": (source["weights"] + site * fields["site_rows"]) % config.weight_rows,
                    "starts": starts[index][site], "blank": window.blank[site],
                    "shift": fields["taps"] and not (fields["start"] and site == 0),
                    "top": fields["taps"] and fields["start"] and site < width - 1,
                    "emit": emitted[site], "end": last and ends[site],
                    "final": last and site == len(x) - 1}
                runs.append({name: int(value) for name, value in run.items()})
        return runs

    def elaborate(self, platform):
        m = Module()
        config, fields = self.config, self.fields
        depth = 1 << (max(config.sources, 2) - 1).bit_length()      # halves start at powers of two

        # A run is made from registers: the source's fields, where the source is, and the site. In
        # the next cycle the source's next place is stored, and in the one after that it can be
        # read. Until a pass starts, everything stands at what it begins with.
        source, next_source, shown = (Signal(range(depth), name=name, reset_less=True)
                                      for name in ("source", "next_source", "shown"))
        half, last_source = Signal(reset_less=True), Signal(reset_less=True)
        busy, advance = Signal(), Signal()
        m.d.comb += shown.eq(Mux(advance, next_source, source))
        m.d.sync += [
            source.eq(shown),
            last_source.eq(source == fields.sources),
            next_source.eq(Mux(last_source, 0, source + 1)),
        ]
        table = self._table(m, depth, shown, half)

        x, y = Signal(PASS["width"], reset_less=True), Signal(PASS["height"], reset_less=True)
        out_x, out_y = (Signal(PASS["width"], reset_less=True),
                        Signal(signed(PASS["row"] + 1), reset_less=True))
        first_site, extra = Signal(reset_less=True), Signal(reset_less=True)
        last_column, first_row, last_row, last_site, out_over = (
            Signal(name=name)
            for name in ("last_column", "first_row", "last_row", "last_site", "out_over"))
        m.d.sync += [
            last_column.eq(x == fields.width),
            out_over.eq(out_x == fields.width),
            first_row.eq(y == 0),
            last_row.eq(y == fields.height),
            last_site.eq(Mux(fields.flush, extra, last_row & last_column)),
        ]
        here = self._place(m, table, source, advance, first_site, last_column)
        emit = self._leaves(m, out_x, out_y)

        # The run is made, and with it sums whose signs tell whether its window is blank.
        rows = Signal(range(config.weight_rows), reset_less=True)       # of all sites before
        made, made_valid = Signal(run_layout(config), reset_less=True), Signal()
        free, take = Signal(), Signal()
        ahead = config.sources > 1
        run = Signal(run_layout(config), reset_less=True)
        m.d.comb += self.runs.payload.eq(run)
        carried = CARRIED
        if not ahead:               # these stay in the table
            m.d.comb += [self.runs.payload[name].eq(table[name]) for name in carried]
            carried = ()
        rest = Signal(range(self.latency), reset_less=True)     # cycles until a run can be made
        far_x, far_y = signed(SOURCE["x0"] + 1), signed(SOURCE["y0"] + 1)
        padded_x, padded_y = Signal(far_x), Signal(far_y)
        end_x, end_y = Signal(far_x), Signal(far_y)
        map_x, map_y = Signal(SOURCE["map_width"] + 1), Signal(SOURCE["map_height"] + 1)
        m.d.comb += [
            free.eq(~self.runs.valid | self.runs.ready if ahead else self.runs.ready),
            take.eq(made_valid & free),
        ]
        last_stage = m.d.sync if ahead else m.d.comb
        with m.If(free if ahead else C(1)):
            last_stage += [
                run.eq(made),
                run.blank.eq(padded_x[-1] | padded_y[-1] | ~(end_x - map_x)[-1]
                             | ~(end_y - map_y)[-1]),
                self.runs.valid.eq(made_valid),
            ]
        with m.If(take):
            m.d.sync += made_valid.eq(0)
        m.d.sync += advance.eq((rest <= 1) & ~advance & (~made_valid | free))
        with m.If(rest != 0):
            m.d.sync += rest.eq(rest - 1)
        with m.If(advance):
            m.d.sync += [
                made_valid.eq(1),
                made.address.eq(here.address),
                made.x.eq(here.x),
                made.y.eq(here.y),
                made.row.eq(table.weights + rows),
                *(made[name].eq(table[name]) for name in carried),
                made.starts.eq((source == 0) & (~fields.join | first_site)),
                made.shift.eq(fields.taps & ~(fields.start & first_site)),
                made.top.eq(fields.taps & fields.start & first_row & ~last_column),
                made.emit.eq(emit),
                made.end.eq(last_source & (last_site | ~(fields.taps | fields.join))),
                made.final.eq(last_source & last_site),
                padded_x.eq(here.x + table.pad),
                padded_y.eq(here.y + table.pad),
                end_x.eq(here.x + table.window_width),
                end_y.eq(here.y + table.window_height),
                map_x.eq(table.map_width + table.pad),
                map_y.eq(table.map_height + table.pad),
                rest.eq(self.interval - 1),
            ]
            with m.If(last_source):     # on to the next site
                m.d.sync += [first_site.eq(0), x.eq(x + 1), out_x.eq(out_x + 1),
                             rows.eq(rows + fields.site_rows)]
                with m.If(out_over):
                    m.d.sync += [out_x.eq(0), out_y.eq(out_y + 1)]
                with m.If(last_column):
                    m.d.sync += [x.eq(0), y.eq(y + 1), extra.eq(last_row)]
                with m.If(last_site):
                    m.d.sync += busy.eq(0)
        with m.If(~busy):
            m.d.sync += [
                busy.eq(self.start), half.eq(self.half), source.eq(0),
                rest.eq(self.latency - 2 - ahead), advance.eq(0),
                first_site.eq(1), extra.eq(0), x.eq(0), y.eq(0), rows.eq(0),
                out_x.eq(fields.width - 1),
                out_y.eq(fields.row.as_signed() - 2),
            ]
        return m

    def _table(self, m: Module, depth: int, shown: Signal, half: Signal) -> data.View:
        """The fields of source `shown`, a cycle after it; or of the only one there is."""
        config = self.config
        table = Signal(SOURCE_LAYOUT, reset_less=True)
        for word in range(SOURCE_WORDS):
            bits = table.as_value()[32 * word:32 * word + 32]
            if config.sources == 1:
                with m.If(self.write.valid & (self.write.word == word)):
                    m.d.sync += bits.eq(self.write.data)
                continue
            # No word is written while it is read: the executor writes the other half.
            memory = Memory(shape=32, depth=2 * depth, init=[], attrs=BLOCK)
            m.submodules[f"source_mem_{word}"] = memory
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                write.en.eq(self.write.valid & (self.write.word == word)),
                write.addr.eq(Cat(self.write.source, self.write.half)),
                write.data.eq(self.write.data),
                read.addr.eq(Cat(shown, half)),
            ]
            m.d.sync += bits.eq(read.data)
        return table

    def _place(self, m: Module, table: data.View, source: Signal, advance: Signal,
               first_site: Signal, last_column: Signal) -> data.View:
        """Where the source is at this site.

        A memory keeps two places of every source: at this site, and at the first site of the row.
        """
        config = self.config
        bits = bits_for(config.spike_words - 1)
        place = data.StructLayout({"address": bits, "row_address": bits,
                                   "x": signed(SOURCE["x0"]), "y": signed(SOURCE["y0"])})
        stored, here, following = Signal(place), Signal(place, reset_less=True), Signal(place)
        start = Signal(bits, reset_less=True)       # where the step to the next site begins
        m.d.sync += [here.eq(stored),
                     start.eq(Mux(last_column, stored.row_address, stored.address))]
        with m.If(first_site):
            m.d.sync += [here.address.eq(table.base), here.row_address.eq(table.base),
                         here.x.eq(table.x0), here.y.eq(table.y0), start.eq(table.base)]
        # The place at the next site: one to the right, or the first of the next row.
        moved, turned = Signal(place, reset_less=True), Signal(reset_less=True)
        made_source = Signal.like(source)
        with m.If(advance if config.sources == 1 else C(1)):
            m.d.sync += [
                moved.address.eq(start + Mux(last_column, table.y_stride, table.x_stride)),
                moved.row_address.eq(here.row_address),
                moved.x.eq(here.x + table.step_x),
                moved.y.eq(here.y + Mux(last_column, table.step_y, 0)),
                turned.eq(last_column),
                made_source.eq(source),
            ]
        m.d.comb += following.eq(moved)
        with m.If(turned):
            m.d.comb += [following.row_address.eq(moved.address), following.x.eq(table.x0)]
        if config.sources == 1:
            m.d.comb += stored.eq(following)
            return here
        m.submodules.place_mem = places = Memory(shape=place, depth=1 << len(source), init=[],
                                                 attrs=DISTRIBUTED)
        load, store = places.read_port(domain="comb"), places.write_port()
        m.d.sync += store.en.eq(advance)
        m.d.comb += [load.addr.eq(source), store.addr.eq(made_source),
                     store.data.eq(following), stored.eq(load.data)]
        return here

    def _leaves(self, m: Module, out_x: Signal, out_y: Signal) -> Signal:
        """Whether what leaves at this site, the sums of pixel (out_x, out_y), is an output.

        That pixel is two sites to the left and one row up, counted through.
        """
        fields = self.fields
        outside, even = Signal(4), Signal(2)
        mask = Signal(2)
        if self.config.kernel_taps:
            right, below = out_x - fields.x_low, out_y - fields.y_low
            m.d.comb += mask.eq(Mux(fields.stride == 0, 0, Mux(fields.stride == 1, 1, 3)))
            m.d.sync += [
                outside.eq(Cat(right[-1], (fields.x_high - out_x)[-1],
                               below[-1], (fields.y_high - out_y)[-1])),
                even.eq(Cat((right[:2] & mask) == 0, (below[:2] & mask) == 0)),
            ]
        emit = Signal()
        m.d.sync += emit.eq(fields.taps & ~outside.any() & even.all())
        return emit
