"""Checksum: CRC-32 as zlib computes it; a message with its CRC is whole."""

import random
import zlib

import pytest

from rtl.checksum import Checksum

from .bench_tools import simulate

pytestmark = pytest.mark.fast


def test_crc_and_whole():
    dut = Checksum()

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
