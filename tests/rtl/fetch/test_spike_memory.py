"""The spike memory: tiles and stream words into columns, whole words out."""

import random

import pytest

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.fetch.spike_memory import SpikeMemory

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("config", [
    preset("tiny"), ArrayConfig(banks=1, lanes=1, group_lanes=1, line_words=0, spike_words=16),
    ArrayConfig(lanes=32, spike_words=17), ArrayConfig(lanes=64, spike_words=30),
    ArrayConfig(lanes=128, spike_words=20)], ids=str)
def test_against_a_plain_memory(config):
    dut = SpikeMemory(config)

    async def bench(ctx):
        rng = random.Random(2)
        memory = [rng.getrandbits(config.word_bits) for _ in range(config.spike_words)]
        for address, word in enumerate(memory):
            for part in range(config.stream_words):
                ctx.set(dut.host_write, 1)
                ctx.set(dut.host_address, address)
                ctx.set(dut.host_part, part)
                ctx.set(dut.host_word, word >> 32 * part & 0xFFFFFFFF)
                assert ctx.get(dut.host_ready)
                await ctx.tick()
        refused, coming = 0, False
        for _ in range(300):
            # A tile and a stream word at once: the tile is written, the stream word has to wait.
            at, column, tile = (rng.randrange(config.spike_words),
                                rng.randrange(config.tiles_per_word), rng.getrandbits(config.lanes))
            write, coming = coming, rng.random() < 0.5
            ctx.set(dut.tile_write, int(write))
            ctx.set(dut.tile_coming, int(coming))
            ctx.set(dut.tile_address, at)
            ctx.set(dut.tile_column, column)
            ctx.set(dut.tile, tile)
            other, part, word = (rng.randrange(config.spike_words),
                                 rng.randrange(config.stream_words), rng.getrandbits(32))
            host = rng.random() < 0.5
            ctx.set(dut.host_write, int(host))
            ctx.set(dut.host_address, other)
            ctx.set(dut.host_part, part)
            ctx.set(dut.host_word, word)
            assert ctx.get(dut.host_ready) == (not write)
            refused += write and host
            if write:   # a tile clears what follows it in the word
                below = memory[at] & (1 << column * config.lanes) - 1
                memory[at] = below | tile << column * config.lanes
            elif host:
                mask = 0xFFFFFFFF << 32 * part
                memory[other] = memory[other] & ~mask | word << 32 * part
            await ctx.tick()
            ctx.set(dut.tile_write, 0)
            ctx.set(dut.host_write, 0)
            if rng.random() < 0.2:
                first = rng.randrange(config.spike_words)
                ctx.set(dut.address, first)
                await ctx.tick()
                ctx.set(dut.address, other)
                await ctx.tick()
                assert ctx.get(dut.word) == memory[first]
                await ctx.tick()
                assert ctx.get(dut.word) == memory[other]
        for address, word in enumerate(memory):
            ctx.set(dut.address, address)
            await ctx.tick().repeat(dut.latency)
            assert ctx.get(dut.word) == word, address
        assert refused

    assert dut.latency == 2
    simulate(dut, bench, "spikes")
