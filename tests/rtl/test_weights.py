"""The weight memory: latency, zero where nothing is read, every row on its own."""

import random

import pytest

from rtl.config import ArrayConfig, preset
from rtl.weights import WeightMemory

from .bench_tools import simulate

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("config", [preset("tiny"), ArrayConfig(weight_rows=9, group_lanes=8,
                                                                weight_bits=4, banks=1),
                                    ArrayConfig(weight_rows=40, weight_ports=1)], ids=str)
def test_rows_come_after_three_cycles_and_zero_where_none_is_read(config):
    dut = WeightMemory(config)
    assert dut.latency == 3

    async def bench(ctx):
        rng = random.Random(1)
        rows = [rng.getrandbits(dut.width) | 1 for _ in range(config.weight_rows)]
        rows[0], rows[-1] = (1 << dut.width) - 1, 1 << dut.width - 1
        for address, row in enumerate(rows):
            ctx.set(dut.write, 1)
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_data, row)
            await ctx.tick()
        ctx.set(dut.write, 0)
        ctx.set(dut.write_data, 0)
        await ctx.tick()
        expected = [0] * 3
        for cycle in range(200):
            read, address = rng.random() < 0.6, rng.randrange(config.weight_rows)
            ctx.set(dut.read, read)
            ctx.set(dut.address, address)
            # Writing another row meanwhile does not disturb, where there is a port for it.
            ctx.set(dut.write, config.weight_ports == 2 or not read)
            ctx.set(dut.write_address, other := (address + 1) % config.weight_rows)
            ctx.set(dut.write_data, rows[other])
            expected.append(rows[address] if read else 0)
            assert ctx.get(dut.weights) == expected[cycle], cycle
            await ctx.tick()

    simulate(dut, bench, "weights")


def test_a_row_not_written_keeps_its_value():
    config = preset("tiny")
    dut = WeightMemory(config)

    async def bench(ctx):
        for enable, value in ((1, 0x1234), (0, 0xFFFF)):
            ctx.set(dut.write, enable)
            ctx.set(dut.write_address, 5)
            ctx.set(dut.write_data, value)
            await ctx.tick()
        ctx.set(dut.read, 1)
        ctx.set(dut.address, 5)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.weights) == 0x1234

    simulate(dut, bench, "weights")
