"""Queue: order, the cycle a word shows up in, every level from empty to full."""

import random
from collections import deque

import pytest

from quadfire.rtl.lib.queue import Queue

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("depth", [1, 2, 3, 15, 16])
def test_words_stay_in_order(depth):
    dut = Queue(16, depth)

    async def bench(ctx):
        rng, waiting, levels = random.Random(depth), deque(), set()
        for cycle in range(1000):
            # fills, empties, and both at full rate
            eager_writer, eager_reader = (rng.random() < share for share in (
                ((0.9, 0.3), (0.3, 0.9), (1, 1))[cycle // 40 % 3]))
            assert ctx.get(dut.o.valid) == bool(waiting)
            if waiting:
                assert ctx.get(dut.o.payload) == waiting[0]
            ready = int(eager_reader)
            ctx.set(dut.o.ready, ready)
            word = rng.getrandbits(16)
            write = int(eager_writer and len(waiting) - bool(waiting and ready) < depth)
            ctx.set(dut.write, write)
            ctx.set(dut.word, word)
            await ctx.tick()
            if waiting and ready:
                waiting.popleft()
            if write:
                waiting.append(word)
            levels.add(len(waiting))
        assert levels == set(range(depth + 1))

    simulate(dut, bench, "queue")
