"""Spike memory: spike maps, and bit planes of pixels, between the layers."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.memory_styles import BLOCK

__all__ = ["SpikeMemory"]

#: For an input that is high where nothing drives it.
UP: Any = {"init": 1}


class SpikeMemory(wiring.Component):
    """`spike_words` words of `word_bits`, written in columns of `column_bits`.

    | port           | shape            | meaning                                          |
    |----------------|------------------|--------------------------------------------------|
    | `move`         | in, 1            | the read pipeline moves on                       |
    | `address`      | in               | word to read                                     |
    | `word`         | out, `word_bits` | that word, `latency` cycles of `move` later      |
    | `tile_coming`  | in, 1            | `tile_write` of the next cycle                   |
    | `tile_write`   | in, 1            | the neurons write a tile of spikes; always taken |
    | `tile_address` | in               | its word                                         |
    | `tile_column`  | in               | its column of that word                          |
    | `tile`         | in, `lanes`      | its spikes                                       |
    | `host_write`   | in, 1            | the host writes a stream word                    |
    | `host_ready`   | out, 1           | it is taken: no tile is written in this cycle    |
    | `host_address` | in               | its word                                         |
    | `host_part`    | in               | number of the stream word in that word           |
    | `host_word`    | in, 32           | the stream word                                  |

    A tile clears the columns after its own, so a word whose last columns hold no tile has no spikes
    there. `tile_coming` announces a tile one cycle ahead, so that `host_ready` is a register.

    Latency: 2 cycles in which `move` is high; 1 if not `pipelined`. II: 1. Reset: nothing.
    Reading a word in the cycle in which it is written gives an undefined word. No pass reads what
    is being written.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        depth, columns = config.spike_words, config.word_columns
        super().__init__({
            "move": In(1, **UP),
            "address": In(range(depth)),
            "word": Out(config.word_bits),
            "tile_coming": In(1),
            "tile_write": In(1),
            "tile_address": In(range(depth)),
            "tile_column": In(range(max(config.tiles_per_word, 2))),
            "tile": In(config.lanes),
            "host_write": In(1),
            "host_ready": Out(1),
            "host_address": In(range(depth)),
            "host_part": In(range(max(config.stream_words, 2))),
            "host_word": In(32),
        })
        assert columns * config.column_bits == config.word_bits

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return 2 if config.pipelined else 1

    def elaborate(self, platform):
        m = Module()
        config = self.config
        free = Signal(init=1)
        m.d.sync += free.eq(~self.tile_coming)
        m.d.comb += self.host_ready.eq(free)
        word = Signal(config.word_bits, reset_less=True)
        m.d.comb += self.word.eq(word)
        # A device without LUT RAM has narrow block RAM that writes single bits: there one memory
        # holds all columns. Elsewhere every column has a memory of its own.
        columns = config.word_columns
        memories = columns if config.lut_ram else 1
        reads, writes = [], []
        for number in range(memories):
            memory = Memory(shape=config.word_bits // memories, depth=config.spike_words, init=[],
                            attrs=BLOCK)
            m.submodules[f"spike_mem_{number}"] = memory
            reads.append(memory.read_port())
            writes.append(memory.write_port(granularity=config.column_bits))
            m.d.comb += [
                reads[-1].addr.eq(self.address),
                reads[-1].en.eq(self.move),
                writes[-1].addr.eq(Mux(self.tile_write, self.tile_address, self.host_address)),
            ]
        output = m.d[config.stage_domain]
        with m.If(self.move if config.pipelined else C(1)):
            output += word.eq(Cat(read.data for read in reads))
        data, enable = Cat(write.data for write in writes), Cat(write.en for write in writes)
        for column in range(columns):
            first = column * config.column_bits
            bits = slice(first, first + config.column_bits)
            inside = slice(first % 32, first % 32 + config.column_bits)
            final = column == columns - 1
            if config.lanes < 32:       # a tile is one column, and clears those after it
                tile = Mux(self.tile_column == column, self.tile, 0)
                taken = C(1) if final else self.tile_column <= column
            else:                       # a tile is all columns
                tile, taken = self.tile[bits], C(1)
            m.d.comb += [
                data[bits].eq(Mux(self.tile_write, tile, self.host_word[inside])),
                enable[column].eq(Mux(self.tile_write, taken,
                                      self.host_write & (self.host_part == first // 32))),
            ]
        return m
