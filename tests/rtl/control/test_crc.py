"""Crc32: CRC-32 as zlib computes it; a message with its CRC is whole."""

import random
import zlib

import pytest

from quadfire.rtl.control.crc import Crc32, SerialCrc32

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


def test_crc_and_whole():
    dut = Crc32()

    async def bench(ctx):
        rng = random.Random(1)

        async def add(word):
            for valid in [0] * rng.randrange(3) + [1]:
                ctx.set(dut.word, word if valid else rng.getrandbits(32))
                ctx.set(dut.valid, valid)
                await ctx.tick()
            ctx.set(dut.valid, 0)

        for length in [1, 1, 2, 3, 20, 1]:
            words = [rng.choice([0, 0xFFFFFFFF, rng.getrandbits(32)]) for _ in range(length)]
            crc = zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words))
            for ending in (0, crc, crc ^ 1 << rng.randrange(32)):
                for word in words:
                    await add(word)
                await add(ending)
                assert ctx.get(dut.whole) == (ending == crc)
                if ending == 0:
                    assert ctx.get(dut.crc) == crc
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)

    simulate(dut, bench, "checksum")


def test_serial_words_come_back_and_the_crc_follows():
    dut = SerialCrc32()

    async def bench(ctx):
        rng = random.Random(2)

        async def shift(strobe):
            ctx.set(strobe, 1)
            await ctx.tick()
            ctx.set(strobe, 0)
            for _ in range(32):
                assert ctx.get(dut.busy) and not ctx.get(dut.done)
                ctx.set(dut.word, rng.getrandbits(32))
                await ctx.tick()
            assert ctx.get(dut.done) and not ctx.get(dut.busy)

        async def add(word):
            ctx.set(dut.word, word)
            await shift(dut.valid)
            assert ctx.get(dut.o) == word
            await ctx.tick().repeat(rng.randrange(1, 3))

        for length in [1, 1, 2, 3, 20, 1]:
            words = [rng.choice([0, 0xFFFFFFFF, rng.getrandbits(32)]) for _ in range(length)]
            crc = zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words))
            for word in words:
                await add(word)
            await shift(dut.finish)
            assert ctx.get(dut.o) == crc
            for ending in (crc, crc ^ 1 << rng.randrange(32)):
                for word in [*words, ending]:
                    await add(word)
                assert ctx.get(dut.whole) == (ending == crc)
                ctx.set(dut.clear, 1)
                await ctx.tick()
                ctx.set(dut.clear, 0)

    simulate(dut, bench, "serial_checksum")
