"""Collector: gives every tile of spikes its place in the spike memory."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .fields import PASS_LAYOUT

__all__ = ["Collector"]


class Collector(wiring.Component):
    """Tile j, step t of output n has its place, word and column of it, at

        output_base + (n (steps + 1) + t) output_stride + (column + j) // tiles_per_word
        (column + j) % tiles_per_word

    with `fields.steps` one less than the number of steps. `start` loads the first place from
    `fields`; every `valid` moves on: step by step, then tile by tile, then output by output.
    II: 1. Latency: 0.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "start": In(1),
            "fields": In(PASS_LAYOUT),
            "valid": In(1),
            "address": Out(range(config.spike_words)),
            "column": Out(range(max(config.tiles_per_word, 2))),
        })

    def elaborate(self, platform):
        m = Module()
        config, fields = self.config, self.fields
        words = range(config.spike_words)
        first = Signal(words, reset_less=True)      # of this tile
        beyond = Signal(words, reset_less=True)     # first place of the next output
        following, tile_word = Signal(words), Signal(words)
        step, tile = Signal(4), Signal(4)
        last_column = self.column == config.tiles_per_word - 1
        m.d.comb += [
            following.eq(self.address + fields.output_stride),
            tile_word.eq(first + last_column),
        ]
        with m.If(self.start):
            m.d.sync += [
                step.eq(0),
                tile.eq(0),
                first.eq(fields.output_base),
                self.address.eq(fields.output_base),
                self.column.eq(fields.column),
            ]
        with m.Elif(self.valid & (step != fields.steps)):
            m.d.sync += [step.eq(step + 1), self.address.eq(following)]
        with m.Elif(self.valid & (tile != fields.rounds)):
            m.d.sync += [step.eq(0), tile.eq(tile + 1), first.eq(tile_word),
                         self.address.eq(tile_word),
                         self.column.eq(Mux(last_column, 0, self.column + 1))]
        with m.Elif(self.valid):
            new = Mux(tile == 0, following, beyond)
            m.d.sync += [step.eq(0), tile.eq(0), first.eq(new), self.address.eq(new),
                         self.column.eq(fields.column)]
        with m.If(self.valid & (step == fields.steps) & (tile == 0)):
            m.d.sync += beyond.eq(following)
        return m
