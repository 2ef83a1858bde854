"""tree_sum: exact, no wider than the sum needs, and balanced."""

import pytest
from amaranth import Module, Signal, signed, unsigned
from amaranth.sim import Simulator

from quadfire.rtl.lib.tree_sum import tree_sum

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("shape", [signed(8), unsigned(4), signed(1), unsigned(1)], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_the_extremes_are_exact_in_the_least_width(shape, count):
    terms = [Signal(shape, name=f"term_{index}") for index in range(count)]
    total = tree_sum(terms)
    assert total.shape() == type(total.shape())(shape.width + (count - 1).bit_length(),
                                                shape.signed)
    low = -(1 << shape.width - 1) if shape.signed else 0
    high = low + (1 << shape.width) - 1
    m = Module()
    result = Signal(total.shape())
    m.d.comb += result.eq(total)
    checked = []

    async def bench(ctx):
        for values in ([low] * count, [high] * count, [(low, high)[i % 2] for i in range(count)],
                       [(low + 3 * i) % (high + 1) for i in range(count)]):
            for term, value in zip(terms, values, strict=True):
                ctx.set(term, value)
            await ctx.delay(1e-9)
            assert ctx.get(result) == sum(values)
            checked.append(values)

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    assert len(checked) == 4


def test_sixteen_signed_bytes_need_12_bits_where_sum_makes_24():
    terms = [Signal(signed(8), name=f"t{i}") for i in range(16)]
    assert len(tree_sum(terms)) == 12
    assert len(sum(terms)) == 24


def test_no_value_is_refused():
    with pytest.raises(ValueError, match="at least one value"):
        tree_sum([])
