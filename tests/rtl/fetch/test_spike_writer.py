# amaranth: UnusedElaboratable=no
"""Spike writer: the place of every tile of every output in the spike memory."""

import random

import pytest

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.fetch.spike_writer import SpikeWriter

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("config", [
    preset("tiny"), preset("tiny-conv"), ArrayConfig(lanes=128),
    ArrayConfig(banks=16, lanes=1, group_lanes=1, line_words=0, spike_words=1000),
    ArrayConfig(lanes=16, banks=5, line_words=0)], ids=str)
def test_places_are_those_of_the_formula(config):
    dut = SpikeWriter(config)

    async def bench(ctx):
        rng = random.Random(4)
        for _ in range(30):
            steps = rng.choice([1, rng.randint(1, config.slots)])
            tiles = rng.choice([1, rng.randint(1, config.banks)])
            column = rng.randrange(config.tiles_per_word)
            words = (column + tiles - 1) // config.tiles_per_word + 1
            stride = words + rng.randrange(3)
            if stride * steps > config.spike_words:
                stride, steps = words, 1
            outputs = rng.randint(1, min(5, config.spike_words // (stride * steps)))
            room = config.spike_words - stride * (outputs * steps - 1) - words
            base = rng.choice([0, room, rng.randint(0, room)])
            fields = {"output_base": base, "output_stride": stride, "steps": steps - 1,
                      "column": column, "rounds": tiles - 1}
            ctx.set(dut.fields, fields)
            ctx.set(dut.busy, 0)
            await ctx.tick().repeat(2)
            ctx.set(dut.busy, 1)
            places = list(dut.model(fields, outputs))
            assert len(places) == outputs * tiles * steps
            for index, place in enumerate(places):
                ctx.set(dut.valid, 0)
                for _ in range(dut.period - 1 + rng.choice([0, rng.randrange(3)])):
                    await ctx.tick()
                ctx.set(dut.valid, 1)
                assert (ctx.get(dut.address), ctx.get(dut.column)) == place, index
                await ctx.tick()
            ctx.set(dut.valid, 0)

    simulate(dut, bench, "spike_writer")


def test_the_model_by_hand():
    """Two columns a word; tile 1 of the second output goes into the word after its first."""
    dut = SpikeWriter(ArrayConfig(lanes=16, banks=5, line_words=0))
    fields = {"output_base": 10, "output_stride": 2, "steps": 1, "column": 1, "rounds": 1}
    assert list(dut.model(fields, 2)) == [(10, 1), (12, 1), (11, 0), (13, 0),
                                          (14, 1), (16, 1), (15, 0), (17, 0)]
