"""The collector: the place of every tile in the spike memory."""

import random

import pytest

from rtl.collector import Collector
from rtl.config import ArrayConfig, preset

from .bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("config", [
    preset("tiny"), ArrayConfig(banks=16, lanes=1, group_lanes=1, spike_words=1000),
    ArrayConfig(lanes=32), ArrayConfig(lanes=16, banks=5), ArrayConfig(lanes=128)], ids=str)
def test_places_are_those_of_the_formula(config):
    dut = Collector(config)

    async def bench(ctx):
        rng = random.Random(4)
        for _ in range(25):
            steps = rng.randint(1, config.slots)
            tiles = rng.randint(1, config.banks)
            column = rng.randrange(config.tiles_per_word)
            words = (column + tiles - 1) // config.tiles_per_word + 1
            stride = words + rng.randrange(3)
            if stride * steps > config.spike_words:
                stride, steps = words, 1
            base = rng.randint(0, config.spike_words - stride * (steps - 1) - words)
            ctx.set(dut.fields, {"output_base": base, "output_stride": stride, "steps": steps - 1,
                                 "column": column})
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for tile in range(tiles):
                for step in range(steps):
                    ctx.set(dut.valid, 0)
                    await ctx.tick().repeat(rng.randint(1, 2))
                    ctx.set(dut.valid, 1)
                    word = base + (column + tile) // config.tiles_per_word + step * stride
                    assert (ctx.get(dut.address), ctx.get(dut.column)) == (
                        word, (column + tile) % config.tiles_per_word)
                    await ctx.tick()
            ctx.set(dut.valid, 0)

    simulate(dut, bench, "collector")
