"""The executor alone: what only a large array shows. Its packets are tested through the core."""

import pytest
from amaranth import Value

from rtl.config import ArrayConfig
from rtl.executor import Executor
from rtl.fields import HEADER_LAYOUT
from rtl.tape import Answer, Fault, Opcode

from .bench_tools import packed, simulate

pytestmark = pytest.mark.fast

#: More than 2^16 stream words of spikes.
LARGE = ArrayConfig(banks=1, lanes=128, weight_bits=4, spike_words=65536, line_words=0)
WORDS = LARGE.spike_words * LARGE.stream_words


@pytest.mark.parametrize("at", [0, 65535, 65536, 65541, WORDS - 2])
def test_spikes_reach_every_stream_word(at):
    dut = Executor(LARGE)

    async def bench(ctx):
        ctx.set(dut.spike_ready, 1)
        written = []
        packets = [(Opcode.BEGIN, [LARGE.hash, 0]), (Opcode.SPIKES, [at, 11, 22])]
        words = [word for sequence, (opcode, payload) in enumerate(packets) for word in
                 (packed(HEADER_LAYOUT, length=len(payload), sequence=sequence, opcode=opcode),
                  *payload)]
        for _ in range(40):
            ctx.set(dut.i.valid, bool(words))
            ctx.set(dut.i.payload, {"data": words[0] if words else 0, "fault": 0})
            if ctx.get(dut.spike_write):
                place = ctx.get(dut.spike_address) * LARGE.stream_words + ctx.get(dut.spike_part)
                written.append((place, ctx.get(dut.spike_data)))
            if ctx.get(dut.i.ready):
                words = words[1:]
            await ctx.tick()
        assert written == [(at, 11), (at + 1, 22)]

    simulate(dut, bench, "executor")


@pytest.mark.parametrize(("opcode", "payload"), [
    (Opcode.SPIKES, [WORDS - 1, 1, 2]), (Opcode.READ, [WORDS, 1]), (Opcode.READ, [WORDS - 1, 2]),
    (Opcode.READ, [0xFFFFFFFF, 1])], ids=str)
def test_beyond_the_last_stream_word(opcode, payload):
    dut = Executor(LARGE)

    async def bench(ctx):
        ctx.set(dut.packets.ready, 1)
        ctx.set(dut.words.ready, 1)
        bad = packed(HEADER_LAYOUT, length=len(payload), sequence=1, opcode=opcode)
        words = [packed(HEADER_LAYOUT, length=2, opcode=Opcode.BEGIN), LARGE.hash, 0, bad, *payload]
        headers, said = [], []
        for _ in range(40):
            ctx.set(dut.i.valid, bool(words))
            ctx.set(dut.i.payload, {"data": words[0] if words else 0, "fault": 0})
            assert not ctx.get(dut.spike_write)
            if ctx.get(dut.packets.valid):
                headers.append(ctx.get(Value.cast(dut.packets.payload)))
            if ctx.get(dut.words.valid):
                said.append(ctx.get(dut.words.payload))
            if ctx.get(dut.i.ready):
                words = words[1:]
            await ctx.tick()
        assert headers == [packed(HEADER_LAYOUT, length=2, opcode=Answer.ERROR)]
        assert said == [Fault.ARGUMENT, bad]

    simulate(dut, bench, "executor")
