"""Counters: every strobe counts once, whenever they are cleared or held."""

import random

import pytest

from quadfire.rtl.control.counters import Counters

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("registered", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.7, 1.0])
def test_every_strobe_counts_once(rate, registered):
    dut = Counters(registered=registered)

    async def bench(ctx):
        rng = random.Random(3)
        for cycles in [0, 1, 2, 5, 8, 9, 15, 16, 17, 40, 300]:
            counts = [0] * dut.count
            for _ in range(cycles):
                strobes = sum((rng.random() < rate) << number for number in range(dut.count))
                ctx.set(dut.strobes, strobes)
                counts = [n + (strobes >> number & 1) for number, n in enumerate(counts)]
                await ctx.tick()
            ctx.set(dut.hold, 1)
            ctx.set(dut.strobes, (1 << dut.count) - 1)
            waited = 0
            while not ctx.get(dut.settled):
                await ctx.tick()
                waited += 1
            if cycles > 2 * dut.count:      # no sum is being cleared any more
                assert waited == 9 + registered
            for _ in range(rng.randrange(20)):
                await ctx.tick()
            for _ in range(dut.count):
                turn = ctx.get(dut.turn)
                await ctx.tick()
                assert ctx.get(dut.word) == counts[turn], (cycles, turn)
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            ctx.set(dut.hold, 0)
            ctx.set(dut.strobes, 0)
            await ctx.tick()

    simulate(dut, bench, "counters")
