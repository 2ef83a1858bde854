"""The executor alone: what only a large array shows. Its packets are tested through the core."""

import pytest

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Answer, Fault, Opcode
from quadfire.rtl.control.executor import Executor
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT

from tests.rtl.bench_tools import packed, simulate

pytestmark = pytest.mark.fast

#: More than 2^16 stream words of spikes.
LARGE = ArrayConfig(banks=1, lanes=128, weight_bits=4, spike_words=65536, line_words=0)
WORDS = LARGE.spike_words * LARGE.stream_words


NOTHING = {"data": 0, "last": 0, "fault": 0}


def packet(opcode: Opcode, payload: list[int], sequence: int) -> list[dict]:
    """As the receiver passes it on."""
    header = packed(HEADER_LAYOUT, length=len(payload), sequence=sequence, opcode=opcode)
    return [{"data": word, "last": index == len(payload), "fault": 0}
            for index, word in enumerate([header, *payload])]


@pytest.mark.parametrize("at", [0, 65535, 65536, 65541, WORDS - 2])
def test_spikes_reach_every_stream_word(at):
    dut = Executor(LARGE)

    async def bench(ctx):
        ctx.set(dut.spike_ready, 1)
        written = []
        packets = [(Opcode.BEGIN, [LARGE.hash, 0]), (Opcode.SPIKES, [at, 11, 22])]
        words = [word for sequence, (opcode, payload) in enumerate(packets)
                 for word in packet(opcode, payload, sequence)]
        for _ in range(40):
            ctx.set(dut.i.valid, bool(words))
            ctx.set(dut.i.payload, words[0] if words else NOTHING)
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
        ctx.set(dut.answers.ready, 1)
        bad = packet(opcode, payload, 1)
        words = [*packet(Opcode.BEGIN, [LARGE.hash, 0], 0), *bad]
        said = []
        for _ in range(60):
            ctx.set(dut.i.valid, bool(words))
            ctx.set(dut.i.payload, words[0] if words else NOTHING)
            assert not ctx.get(dut.spike_write)
            if ctx.get(dut.answers.valid):
                said.append((ctx.get(dut.answers.payload.data), ctx.get(dut.answers.payload.last)))
            if ctx.get(dut.i.ready):
                words = words[1:]
            await ctx.tick()
        assert said == [(packed(HEADER_LAYOUT, length=2, opcode=Answer.ERROR), 0),
                        (Fault.ARGUMENT, 0), (bad[0]["data"], 1)]

    simulate(dut, bench, "executor")
