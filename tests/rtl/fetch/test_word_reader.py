"""Word reader: the entries of random runs are those of the model, whatever stalls."""

import random

import pytest
from amaranth import Value

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.fetch.word_reader import WordReader, entry_layout

from tests.rtl.bench_tools import simulate, unpacked

pytestmark = pytest.mark.fast

CONFIG = preset("tiny-conv")


def random_run(rng: random.Random, config: ArrayConfig) -> dict:
    run = {name: rng.getrandbits(1) for name in (
        "wide", "any", "starts", "shift", "top", "emit", "end", "final")}
    return run | {
        "blank": rng.random() < 0.2, "address": rng.randrange(config.spike_words),
        "x": rng.randint(-2, 3), "y": rng.randint(-2, 3),
        "row": rng.randrange(config.weight_rows - 3 * config.word_bits),
        "slot_stride": rng.randrange(40), "words": rng.randrange(3),
        "window_x_stride": rng.randrange(20), "window_y_stride": rng.getrandbits(16),
        "window_width": rng.randrange(3), "window_height": rng.randrange(3),
        "map_width": rng.randint(1, 4), "map_height": rng.randint(1, 4)}


@pytest.mark.parametrize("backpressure", [0, 0.5, 0.95])
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_words_of_runs(slots, backpressure):
    dut = WordReader(CONFIG)

    async def bench(ctx):
        rng = random.Random(f"{slots} {backpressure}")
        memory = [rng.getrandbits(32) * (rng.random() < 0.4) for _ in range(CONFIG.spike_words)]
        runs = [random_run(rng, CONFIG) for _ in range(40)]
        expected = [entry for run in runs
                    for entry in dut.model(run, slots, memory)]
        ctx.set(dut.slots, slots - 1)
        await ctx.tick()        # known before there is a run
        waiting, addresses, got, cycle = list(runs), [0, 0], 0, 0
        while got < len(expected) or waiting:
            offers = bool(waiting) and rng.random() < 0.9
            ctx.set(dut.runs.valid, offers)
            if offers:
                ctx.set(dut.runs.payload, waiting[0])
            ctx.set(dut.word, memory[addresses[-2] % len(memory)])
            ctx.set(dut.entries.ready, ready := rng.random() >= backpressure)
            if ctx.get(dut.entries.valid) and ready:
                entry = unpacked(entry_layout(CONFIG), ctx.get(Value.cast(dut.entries.payload)))
                place = unpacked(entry_layout(CONFIG)["place"].shape, entry.pop("place"))
                seen = {**entry, **place}
                wanted = expected[got]
                assert {name: seen[name] for name in wanted} == wanted, (got, cycle)
                got += 1
            addresses.append(ctx.get(dut.address))
            if offers and ctx.get(dut.runs.ready):
                waiting.pop(0)
            await ctx.tick()
            cycle += 1
            assert cycle < 60_000
        ctx.set(dut.runs.valid, 0)
        for _ in range(60):
            assert not ctx.get(dut.entries.valid)
            await ctx.tick()

    simulate(dut, bench, "words")
