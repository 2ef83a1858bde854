# amaranth: UnusedElaboratable=no
"""Stream memory: words are read once valid, in order, whatever stalls."""

import random

import pytest

from quadfire.rtl.lib.stream_memory import StreamMemory

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("depth", [0, 1, 3, 48])
def test_wrong_depths(depth):
    with pytest.raises(ValueError, match="depth must be a power of two"):
        StreamMemory({"word": 8}, depth)


@pytest.mark.parametrize("ready", [1.0, 0.5, 0.1])
def test_words_leave_in_order(ready):
    dut = StreamMemory({"word": 8, "mark": 2}, 16)

    async def bench(ctx):
        rng = random.Random(5)
        words = [(rng.getrandbits(8), rng.getrandbits(2)) for _ in range(300)]
        written = valid = 0
        got, held = [], None
        while len(got) < len(words):
            ctx.set(dut.o.ready, rng.random() < ready)
            room = (written - ctx.get(dut.place)) % 32 < 16
            word, mark = words[written] if written < len(words) else (0, 0)
            writes = room and written < len(words) and rng.random() < 0.8
            for part, value in (("word", word), ("mark", mark)):
                ctx.set(dut.write[part], {"en": writes, "place": written % 16, "data": value})
            ctx.set(dut.valid, valid % 32)
            out = ctx.get(dut.o.payload.word), ctx.get(dut.o.payload.mark)
            if ctx.get(dut.o.valid):
                assert held in (None, out)
                held = None if ctx.get(dut.o.ready) else out
                if ctx.get(dut.o.ready):
                    got.append(out)
            else:
                assert held is None
            await ctx.tick()
            written += writes
            if rng.random() < 0.3 or written == len(words):
                valid = written
        assert got == words

    simulate(dut, bench, "store")


def test_latency_and_full_rate():
    dut = StreamMemory({"word": 8}, 16)

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for number in range(10):
            ctx.set(dut.write.word, {"en": 1, "place": number, "data": number + 1})
            await ctx.tick()
        ctx.set(dut.valid, 10)
        for cycle in range(dut.latency + 12):
            number = cycle - dut.latency
            assert ctx.get(dut.o.valid) == (0 <= number < 10)
            if 0 <= number < 10:
                assert ctx.get(dut.o.payload.word) == number + 1
            await ctx.tick()

    simulate(dut, bench, "store")
