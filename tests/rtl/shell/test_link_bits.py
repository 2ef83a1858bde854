"""Bits of the link: every byte, clocks that differ, breaks and noise."""

import random

import pytest

from quadfire.rtl.shell.link_bits import BitReceiver, BitTransmitter, bit_period

from tests.rtl.bench_tools import simulate
from tests.rtl.shell.link_edges import edges, levels, received

#: (clock, baud): a whole number of cycles per bit, a fraction, and very few.
RATES = [(16e6, 1e6), (50e6, 3e6), (12e6, 3e6), (25e6, 2.3e6)]


def receive(samples: list[int], clock: float, baud: float) -> list[int]:
    """Bytes that a receiver makes of sampled levels; -1 for an error."""
    dut, got = BitReceiver(clock=clock, baud=baud), []

    async def bench(ctx):
        got.clear()
        for level in samples:
            ctx.set(dut.rx, level)
            await ctx.tick()
            if ctx.get(dut.valid):
                got.append(ctx.get(dut.data))
            if ctx.get(dut.error):
                got.append(-1)

    simulate(dut, bench, "bit_receiver")
    return got


def sent(data: bytes, clock: float, baud: float, rng: random.Random) -> list[int]:
    """Levels that a transmitter makes of bytes, one per cycle."""
    dut, samples = BitTransmitter(clock=clock, baud=baud), []

    async def bench(ctx):
        samples.clear()
        queue, idle = list(data), 0
        while queue or idle < 12 * clock / baud:
            offers = bool(queue) and rng.random() < 0.9
            ctx.set(dut.i.valid, offers)
            ctx.set(dut.i.payload, queue[0] if queue else 0)
            taken = offers and ctx.get(dut.i.ready)
            samples.append(ctx.get(dut.tx))
            await ctx.tick()
            if taken:
                queue.pop(0)
            idle = 0 if queue else idle + 1

    simulate(dut, bench, "bit_transmitter")
    return samples


@pytest.mark.parametrize("clock, baud", RATES)
@pytest.mark.parametrize("drift", [0.98, 1.0, 1.02])
def test_bytes_at_clocks_that_differ(clock, baud, drift):
    rng = random.Random(f"{clock} {baud} {drift}")
    data = bytes(rng.choices(range(256), k=24)) + b"\x00\xff\x55\xaa\x00\x00"
    changes = edges(data, period=clock / baud * drift, rng=rng, gap=rng.choice([0, 0, 3]))
    samples = levels(changes, round(changes[-1][0] + 20 * clock / baud))
    assert receive(samples, clock, baud) == list(data)


@pytest.mark.parametrize("clock, baud", RATES)
def test_the_transmitter_keeps_the_rate(clock, baud):
    rng = random.Random(7)
    data = bytes(rng.choices(range(256), k=16))
    samples = sent(data, clock, baud, rng)
    assert received(samples, clock / baud) == list(data)
    assert receive(samples, clock, baud) == list(data)


def test_bytes_in_a_row_have_no_gap():
    samples = sent(b"\x00" * 3, 16e6, 1e6, random.Random(1))
    begin = samples.index(0)
    first_stop = begin + 9 * 16
    assert samples[begin:first_stop] == [0] * 144
    assert samples[first_stop:first_stop + 16] == [1] * 16


def test_break_noise_and_a_missing_stop_bit():
    """A break is one error and no byte, likewise a low stop bit; a glitch is neither."""
    rng = random.Random(3)
    period = 16.0

    def at(time, data):
        return edges(data, period=period, rng=rng, start=time)

    changes = at(50, b"A") + [(400, 0), (400 + 40 * period, 1)] + at(1300, b"BC")
    broken = at(1900, b"\x0f")
    changes += [*broken[:-1], (broken[-1][0], 0), (broken[-1][0] + 2 * period, 1)]
    changes += [(2400, 0), (2404, 1), *at(2500, b"D")]
    assert receive(levels(changes, 3000), 16e6, 1e6) == [ord("A"), -1, ord("B"), ord("C"), -1,
                                                         ord("D")]


def test_a_pin_that_is_low_from_the_start_gives_no_byte():
    assert receive([0] * 500 + levels(edges(b"x", period=16, rng=random.Random(1)), 300),
                   16e6, 1e6) == [-1, ord("x")]


@pytest.mark.parametrize("baud", [0, -1, 13e6, 100])
def test_rates_that_cannot_be(baud):
    with pytest.raises(ValueError, match="baud must give 4 to"):
        bit_period(48e6, baud)
