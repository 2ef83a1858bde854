"""The weight memory: latency, zero where nothing is read, every row on its own, wide weights."""

import random

import pytest

from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.contract.config import ArrayConfig, preset

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast

CONFIGS = {
    "tiny-conv": preset("tiny-conv"),
    "eight lanes of 4 bits": ArrayConfig(weight_rows=9, group_lanes=8, weight_bits=4),
    "one lane of 4 bits": ArrayConfig(weight_rows=8, lanes=1, group_lanes=1, weight_bits=4,
                                      accumulator_bits=8),
    "narrow accumulator": ArrayConfig(weight_rows=8, accumulator_bits=12),
    "one port": ArrayConfig(weight_rows=40, weight_ports=1),
}


async def write(ctx, dut, address: int, row: int, enable: int = 1):
    ctx.set(dut.write, enable)
    ctx.set(dut.write_address, address)
    ctx.set(dut.write_data, row)
    await ctx.tick()
    ctx.set(dut.write, 0)


def weights(ctx, dut) -> list[int]:
    return [ctx.get(dut.weights[lane]) for lane in range(dut.config.group_lanes)]


@pytest.mark.parametrize("takes_wide", [False, True], ids=["narrow", "wide"])
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_come_after_three_cycles_and_zero_where_none_is_read(name, takes_wide):
    config = CONFIGS[name]
    dut = WeightMemory(config, takes_wide=takes_wide)
    assert dut.latency == 3

    async def bench(ctx):
        rng = random.Random(1)
        rows = [rng.getrandbits(config.row_bits) | 1 for _ in range(config.weight_rows)]
        rows[0], rows[-1] = (1 << config.row_bits) - 1, 1 << config.row_bits - 1
        for address, row in enumerate(rows):
            await write(ctx, dut, address, row)
        await ctx.tick()
        expected = [[0] * config.group_lanes] * 3
        for cycle in range(300):
            read, wide = rng.random() < 0.7, rng.random() < 0.5
            address = rng.choice([0, -1, rng.randrange(config.weight_rows)]) % config.weight_rows
            ctx.set(dut.read, read)
            ctx.set(dut.wide, wide)
            ctx.set(dut.address, address)
            expected.append([read * weight for weight in
                             dut.model(rows[address], wide=wide)])
            assert weights(ctx, dut) == expected[cycle], cycle
            # Writing another row meanwhile does not disturb, where there is a port for it.
            other, row = (address + 1) % config.weight_rows, rng.getrandbits(config.row_bits)
            free = config.weight_ports == 2 or not read
            if free:
                rows[other] = row
            await write(ctx, dut, other, row, free)

    simulate(dut, bench, "weights")


def test_a_row_not_written_keeps_its_value():
    config = preset("tiny")
    dut = WeightMemory(config)

    async def bench(ctx):
        for enable, value in ((1, 0x1234), (0, 0xFFFF)):
            await write(ctx, dut, 5, value, enable)
        ctx.set(dut.read, 1)
        ctx.set(dut.address, 5)
        await ctx.tick().repeat(3)
        assert weights(ctx, dut) == [0x34, 0x12]

    simulate(dut, bench, "weights")
