"""`several` and `split_lowest` over words of any width."""

import pytest
from amaranth import Module, Signal
from amaranth.sim import Simulator

from quadfire.rtl.lib.bits import several, split_lowest

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 16, 32])
def test_words_with_no_bit_one_two_and_all(count):
    m = Module()
    bits, more = Signal(count), Signal()
    lowest, rest = Signal(count), Signal(count)
    split = split_lowest(bits)
    m.d.comb += [more.eq(several(bits)), lowest.eq(split[0]), rest.eq(split[1])]
    words = {0, (1 << count) - 1,
             *(1 << one | 1 << other for one in range(count) for other in range(count))}
    checked = []

    async def bench(ctx):
        for word in words:
            ctx.set(bits, word)
            await ctx.delay(1e-9)
            assert ctx.get(more) == (word.bit_count() > 1), f"{word:b}"
            assert (ctx.get(lowest), ctx.get(rest)) == (word & -word, word & word - 1), f"{word:b}"
            checked.append(word)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(checked) == len(words)
