"""Collector: gives every tile of spikes its place in the spike memory."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .fields import PASS_LAYOUT

__all__ = ["Collector"]


class Collector(wiring.Component):
    """Tile j, step t goes to word output_base + (column + j) // tiles_per_word + t * output_stride.

    `start` loads the first place from `fields`; every `valid` moves on, time step by time step,
    then tile by tile. II: 1. Latency: 0.
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
        first = Signal(range(config.spike_words), reset_less=True)
        following = Signal(range(config.spike_words))
        step = Signal(4)
        m.d.comb += following.eq(first + (self.column == config.tiles_per_word - 1))
        with m.If(self.start):
            m.d.sync += [
                step.eq(0),
                first.eq(fields.output_base),
                self.address.eq(fields.output_base),
                self.column.eq(fields.column),
            ]
        with m.Elif(self.valid & (step != fields.steps)):
            m.d.sync += [step.eq(step + 1), self.address.eq(self.address + fields.output_stride)]
        with m.Elif(self.valid):
            m.d.sync += [step.eq(0), first.eq(following), self.address.eq(following),
                         self.column.eq(self.column + 1)]
            with m.If(self.column == config.tiles_per_word - 1):
                m.d.sync += self.column.eq(0)
        return m
