"""Skid: nothing lost, nothing changed, full rate, no path from `ready` to `ready`."""

import random

import pytest

from quadfire.rtl.lib.skid import Skid
from quadfire.sim.cocotb import vectors as golden

from tests.rtl.bench_tools import STALLS, Play, simulate

pytestmark = pytest.mark.fast


def words_through(count: int) -> dict:
    rng = random.Random(count)
    words = [rng.getrandbits(8) for _ in range(count)]
    return golden.vectors([golden.channel("i", words, ready="i__ready")],
                          [golden.channel("o", words, ready="o__ready")])


@pytest.mark.parametrize(("idle", "backpressure"), STALLS)
def test_words_stay_in_order(idle, backpressure):
    play = Play(Skid(8), words_through(60), idle=idle, backpressure=backpressure)
    if not idle and not backpressure:
        sent, got = play.moments["i"], play.moments["o"]
        assert sent == [*range(sent[0], sent[0] + 60)]
        assert got == [moment + Skid.latency for moment in sent]


def test_ready_does_not_follow_ready():
    dut = Skid(8)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for _ in range(4):
            await ctx.tick()
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 1)
        assert not ctx.get(dut.i.ready)
        await ctx.tick()
        assert ctx.get(dut.i.ready)

    simulate(dut, bench, "skid")
