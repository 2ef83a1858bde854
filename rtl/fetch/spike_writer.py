"""Spike writer: the place of every tile of spikes in the spike memory."""

from collections.abc import Iterator, Mapping

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS
from quadfire.rtl.lib.tape_layouts import PASS_LAYOUT

__all__ = ["SpikeWriter"]


class SpikeWriter(wiring.Component):
    """Counts the place of the next tile, its word and its column of that word.

    Tile j of output n in step t has its place at

        output_base + (n (steps + 1) + t) output_stride + (column + j) // tiles_per_word
        (column + j) % tiles_per_word

    | port      | shape             | meaning                                                    |
    |-----------|-------------------|------------------------------------------------------------|
    | `busy`    | in, 1             | a pass runs; until then the place is the first of `fields` |
    | `fields`  | in, `PASS_LAYOUT` | the PASS; its `steps` is one less than the number of steps |
    | `valid`   | in, 1             | a tile is written: on to the next step, tile, output       |
    | `address` | out               | word of the tile                                           |
    | `column`  | out               | its column                                                 |

    Latency: 0; from `busy` 1 cycle. II: `period` cycles. Backpressure: none.
    Reset: the counters of steps and tiles.
    """

    period = 3

    def __init__(self, config: ArrayConfig):
        assert config.readout_period >= self.period
        self.config = config
        super().__init__({
            "busy": In(1),
            "fields": In(PASS_LAYOUT),
            "valid": In(1),
            "address": Out(range(config.spike_words)),
            "column": Out(range(max(config.tiles_per_word, 2))),
        })

    def model(self, fields: Mapping[str, int], outputs: int) -> Iterator[tuple[int, int]]:
        """(word, column) of every tile of some outputs, in the order in which they come."""
        per_word, steps = self.config.tiles_per_word, fields["steps"] + 1
        for output in range(outputs):
            for tile in range(fields["rounds"] + 1):
                column = fields["column"] + tile
                for step in range(steps):
                    word = (fields["output_base"] + (output * steps + step)
                            * fields["output_stride"] + column // per_word)
                    yield word, column % per_word

    def elaborate(self, platform):
        m = Module()
        config, fields = self.config, self.fields
        words = range(config.spike_words)
        first = Signal(words, reset_less=True)      # of this tile
        beyond = Signal(words, reset_less=True)     # first place of the next output
        step, tile = Signal(PASS["steps"]), Signal(PASS["rounds"])

        # What the next `valid` does comes from registers, a cycle or two behind the place.
        last_step, last_tile, first_tile, last_column = (Signal(name=name) for name in (
            "last_step", "last_tile", "first_tile", "last_column"))
        following, tile_word = (Signal(words, name=name, reset_less=True)
                                for name in ("following", "tile_word"))
        m.d.sync += [
            last_step.eq(step == fields.steps),
            last_tile.eq(tile == fields.rounds),
            first_tile.eq(tile == 0),
            last_column.eq(self.column == config.tiles_per_word - 1),
            following.eq(self.address + fields.output_stride),
            tile_word.eq(first + last_column),
        ]
        with m.If(last_step & first_tile):
            m.d.sync += beyond.eq(following)

        running = Signal()
        m.d.sync += running.eq(self.busy)
        with m.If(~running):
            m.d.sync += [step.eq(0), tile.eq(0), first.eq(fields.output_base),
                         self.address.eq(fields.output_base), self.column.eq(fields.column)]
        with m.Elif(self.valid & ~last_step):
            m.d.sync += [step.eq(step + 1), self.address.eq(following)]
        with m.Elif(self.valid & ~last_tile):
            m.d.sync += [step.eq(0), tile.eq(tile + 1), first.eq(tile_word),
                         self.address.eq(tile_word),
                         self.column.eq(Mux(last_column, 0, self.column + 1))]
        with m.Elif(self.valid):
            m.d.sync += [step.eq(0), tile.eq(0), first.eq(beyond), self.address.eq(beyond),
                         self.column.eq(fields.column)]
        return m
