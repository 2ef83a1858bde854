"""Runs of a pass, and the words that they read, against plain definitions in Python."""

import random

import pytest
from amaranth import Value

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.lib.tape_layouts import SOURCE_LAYOUT
from quadfire.rtl.fetch.raster import Raster, run_layout
from quadfire.rtl.contract.tape import SOURCE_WORDS
from quadfire.rtl.fetch.word_reader import SLICE_BITS, WordReader, entry_layout

from tests.rtl.bench_tools import packed, simulate, unpacked

pytestmark = pytest.mark.fast

CONFIG = preset("tiny-conv")
CARRIED = ("slot_stride", "words", "wide", "any", "window_x_stride", "window_y_stride",
           "window_width", "window_height", "map_width", "map_height")


def random_pass(rng: random.Random, kind: str) -> tuple[dict, list[dict]]:
    """Fields and sources: taps (a whole map or a part of one), join, or tiles."""
    taps, join = kind == "taps", kind == "join"
    part = taps and rng.random() < 0.5
    fields = {"taps": taps, "join": join, "width": rng.randint(2 if taps else 0, 5),
              "height": rng.randint(0, 4), "sources": rng.choice([0, 1, 2, 8]),
              "site_rows": rng.randrange(9) if join else 0,
              "start": taps and not part, "flush": taps and rng.random() < 0.7,
              "row": rng.randint(1, 9) if part else 0, "stride": rng.randrange(3) if taps else 0,
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


def runs_of(fields: dict, sources: list[dict]) -> list[dict]:
    """What the contract of PASS and SOURCE says."""
    width, height = fields["width"] + 1, fields["height"] + 1
    count = width * height + fields["flush"]
    runs = []
    for n in range(count):
        y, x = divmod(n, width)
        out_y, out_x = divmod(n - width - 2 + fields["row"] * width, width)
        step = 1 << fields["stride"]
        emit = fields["taps"] and (
            out_x in range(fields["x_low"], fields["x_high"] + 1, step)
            and out_y in range(fields["y_low"], fields["y_high"] + 1, step))
        for index, source in enumerate(sources):
            px, py = source["x0"] + x * source["step_x"], source["y0"] + y * source["step_y"]
            pad, last = source["pad"], index == len(sources) - 1
            outside = (px < -pad or px + source["window_width"] >= source["map_width"] + pad
                       or py < -pad or py + source["window_height"] >= source["map_height"] + pad)
            runs.append({
                "address": (source["base"] + x * source["x_stride"] + y * source["y_stride"])
                % CONFIG.spike_words, "x": px % 2048, "y": py % 2048,
                "row": (source["weights"] + n * fields["site_rows"]) % CONFIG.weight_rows,
                **{name: source[name] for name in CARRIED},
                "starts": index == 0 and (not fields["join"] or n == 0), "blank": outside,
                "shift": fields["taps"] and not (fields["start"] and n == 0),
                "top": fields["start"] and n < width - 1,
                "emit": emit,
                "end": last and (n == count - 1 or not (fields["taps"] or fields["join"])),
                "final": last and n == count - 1})
    return [{name: int(value) for name, value in run.items()} for run in runs]


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
            expected = runs_of(fields, sources)
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

    simulate(dut, bench, "scanner")


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


def entries_of(run: dict, slots: int, memory: list[int], width: int) -> list[dict]:
    """What a run reads: the words that hold a spike, one for a slot that must start, the end."""
    carried = {name: run[name] for name in ("wide", "shift", "top", "emit", "final")}
    entries = []
    for slot in range(slots if not run["blank"] or run["starts"] else 1):
        words = []      # (word, row)
        for w in range(1 if run["blank"] else run["words"] + 1):
            window = []
            for dy in range(run["window_height"] + 1):
                for dx in range(run["window_width"] + 1):
                    inside = (0 <= run["x"] + dx < run["map_width"]
                              and 0 <= run["y"] + dy < run["map_height"] and not run["blank"])
                    at = (run["address"] + slot * run["slot_stride"] + w
                          + dy * run["window_y_stride"] + dx * run["window_x_stride"])
                    window.append(memory[at % len(memory)] if inside else 0)
            if run["any"]:
                together = 0
                for word in window:
                    together |= word
                window = [together]
            words += [(word, run["row"] + w * width) for word in window]
        kept = [pair for pair in words if pair[0]] or words[-1:] * run["starts"]
        for index, (word, row) in enumerate(kept):
            parts = sum(1 << at // SLICE_BITS for at in range(0, width, SLICE_BITS)
                        if word >> at & 15)
            entries.append({"word": word, "part": parts & -parts, "left": parts & (parts - 1),
                            "single": not parts & (parts - 1),
                            "row": row, "slot": slot,
                            "first": run["starts"] and index == 0, "end": 0, **carried})
    if run["end"]:
        entries.append({"word": 0, "part": 0, "left": 0, "single": 1, "end": 1,
                        "final": run["final"]})
    return entries


@pytest.mark.parametrize("backpressure", [0, 0.5, 0.95])
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_words_of_runs(slots, backpressure):
    dut = WordReader(CONFIG)

    async def bench(ctx):
        rng = random.Random(f"{slots} {backpressure}")
        memory = [rng.getrandbits(32) * (rng.random() < 0.4) for _ in range(CONFIG.spike_words)]
        runs = [random_run(rng, CONFIG) for _ in range(40)]
        expected = [entry for run in runs
                    for entry in entries_of(run, slots, memory, CONFIG.word_bits)]
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
