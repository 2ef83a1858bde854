"""Raster: the runs of random passes are those of the model, first and last in time."""

import random

import pytest
from amaranth import Value

from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import SOURCE_WORDS
from quadfire.rtl.fetch.raster import Raster, run_layout
from quadfire.rtl.lib.tape_layouts import SOURCE_LAYOUT

from tests.rtl.bench_tools import packed, simulate, unpacked

pytestmark = pytest.mark.fast

CONFIG = preset("tiny-conv")


def random_pass(rng: random.Random, kind: str) -> tuple[dict, list[dict]]:
    """Fields and sources: kernel taps (a whole map or a segment of one), join, or tiles."""
    taps, join = kind == "taps", kind == "join"
    segment = taps and rng.random() < 0.5
    fields = {"taps": taps, "join": join, "width": rng.randint(2 if taps else 0, 5),
              "height": rng.randint(0, 4), "sources": rng.choice([0, 1, 2, 8]),
              "site_rows": rng.randrange(9) if join else 0,
              "start": taps and not segment, "flush": taps and rng.random() < 0.7,
              "row": rng.randint(1, 9) if segment else 0, "stride": rng.randrange(3) if taps else 0,
              "x_low": rng.randrange(3), "x_high": rng.randrange(6),
              "y_low": rng.randrange(3), "y_high": rng.randrange(12)}
    sources = []
    for _ in range(fields["sources"] + 1):
        source = {name: rng.getrandbits(SOURCE_LAYOUT[name].width)
                  for name in SOURCE_LAYOUT.members}
        source |= {"weights": rng.randrange(CONFIG.weight_rows),
                   "x0": rng.randint(-4, 3), "y0": rng.randint(-4, 3), "pad": rng.randrange(4),
                   "window_width": rng.randrange(3), "window_height": rng.randrange(3),
                   "map_width": rng.randint(1, 6), "map_height": rng.randint(1, 6),
                   "step_x": rng.randint(0, 3), "step_y": rng.randint(0, 3)}
        sources.append(source)
    return fields, sources


@pytest.mark.parametrize("kind", ["taps", "join", "tiles"])
def test_runs_of_a_pass(kind):
    dut = Raster(CONFIG)

    async def bench(ctx):
        rng = random.Random(kind)
        for number in range(25):
            fields, sources = random_pass(rng, kind)
            half, stall = number % 2, rng.choice([0, 0.5])
            for index, source in enumerate(sources):
                table = packed(SOURCE_LAYOUT, source)
                for word in range(SOURCE_WORDS):
                    ctx.set(dut.write, {"valid": 1, "half": half, "source": index, "word": word,
                                        "data": table >> 32 * word & 0xFFFFFFFF})
                    await ctx.tick()
            ctx.set(dut.write.valid, 0)
            ctx.set(dut.fields, fields)
            ctx.set(dut.half, half)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.half, 1 - half)
            got, cycle, first = [], 1, None
            expected = [dict(run, x=run["x"] % 2048, y=run["y"] % 2048)
                        for run in dut.model(fields, sources)]
            while len(got) < len(expected) or cycle < 20:
                ctx.set(dut.runs.ready, ready := rng.random() >= stall)
                if ctx.get(dut.runs.valid):
                    first = first or cycle
                    if ready:
                        bits = ctx.get(Value.cast(dut.runs.payload))
                        got.append(unpacked(run_layout(CONFIG), bits))
                        assert got[-1] == expected[len(got) - 1], (number, len(got) - 1)
                await ctx.tick()
                cycle += 1
                assert cycle < 10_000
            assert first == dut.latency
            for _ in range(4):
                assert not ctx.get(dut.runs.valid)
                await ctx.tick()

    simulate(dut, bench, "raster")
