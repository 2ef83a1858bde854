"""The receiver: whole packets pass, all others leave their header and the reason."""

import random
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import Fault
from quadfire.rtl.control.packet_receiver import PACKET_WORD, STREAM_WORD, PacketReceiver
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import STALLS, Play, packed

CONFIG = preset("tiny")
ROOM = CONFIG.payload_words
SERIAL = replace(CONFIG, pipelined=0)


def crc(words: list[int]) -> int:
    return zlib.crc32(b"".join(word.to_bytes(4, "little") for word in words))


def packet(length: int, rng: random.Random, announced: int | None = None) -> list[int]:
    """A packet with a right CRC; its header may announce another length."""
    words = [rng.getrandbits(16) << 16 | (length if announced is None else announced),
             *(rng.getrandbits(32) for _ in range(length))]
    return [*words, crc(words)]


def damaged(words: list[int], rng: random.Random, at: int | None = None) -> list[int]:
    """One bit flipped behind the header's length."""
    at = rng.randrange(len(words)) if at is None else at
    bit = rng.randrange(16, 32) if at % len(words) == 0 else rng.randrange(32)
    return [word ^ (1 << bit) * (i == at % len(words)) for i, word in enumerate(words)]


def kinds(rng: random.Random) -> dict[str, list[list[int]]]:
    """Packets of every fate; the reason is checked in `test_faults`."""
    good = packet(5, rng)
    return {
        "good": [good, packet(1, rng), packet(ROOM, rng)],
        "zero length": [packet(0, rng), packet(0, rng)],
        "crc": [*(damaged(good, rng, at) for at in (0, 1, 3, -1)),
                damaged(packet(0, rng), rng, -1)],
        "truncated": [good[:1], good[:2], good[:-1], packet(0, rng)[:1], packet(ROOM, rng)[:-1],
                      packet(4, rng, 5)],
        "overrun": [[*good, 0], [*good, *range(3 * ROOM)], packet(6, rng, 5), [*packet(0, rng), 1]],
        "oversize": [packet(ROOM + 1, rng), packet(3, rng, 0xFFFF), [ROOM + 1],
                     packet(2, rng, ROOM + 1), packet(200, rng)],
    }


FAULTS = {"good": None, "zero length": None, "crc": Fault.CRC, "truncated": Fault.TRUNCATED,
          "overrun": Fault.OVERRUN, "oversize": Fault.OVERSIZE}


def receiver_vectors(dut: PacketReceiver, packets: list[list[int]], **options) -> dict:
    words = [packed(STREAM_WORD, data=word, last=index == len(words) - 1)
             for words in packets for index, word in enumerate(words)]
    out = [packed(PACKET_WORD, data=word, last=last, fault=fault)
           for word, last, fault in dut.model(packets)]
    return golden.vectors([golden.channel("i", words, ready="i__ready")],
                          [golden.channel("o", out, ready="o__ready", **options)])


def mixture(rng: random.Random, count: int) -> list[list[int]]:
    choices = [p for packets in kinds(rng).values() for p in packets]
    packets = [rng.choice(choices) if rng.random() < 0.5 else packet(rng.randint(0, ROOM), rng)
               for _ in range(count)]
    return [*packets, packet(3, rng)]


@pytest.mark.fast
@pytest.mark.parametrize("kind", FAULTS)
def test_faults(kind):
    """The model says what the tape promises, and the receiver what the model says."""
    rng = random.Random(kind)
    dut = PacketReceiver(CONFIG)
    good = packet(2, rng)
    def passed(words):
        return [*((word, 0, 0) for word in words[:-2]), (words[-2], 1, 0)]

    packets, expected = [good], passed(good)
    for bad in kinds(rng)[kind]:
        packets += [bad, good]
        expected += passed(bad) if FAULTS[kind] is None else [(bad[0], 1, int(FAULTS[kind]))]
        expected += passed(good)
    assert dut.model(packets) == expected
    Play(dut, receiver_vectors(dut, packets))


@pytest.mark.fast
@pytest.mark.parametrize(("idle", "backpressure"), STALLS)
def test_mixtures(idle, backpressure):
    dut = PacketReceiver(CONFIG)
    for seed in range(2):
        Play(dut, receiver_vectors(dut, mixture(random.Random(seed), 10)), idle=idle,
             backpressure=backpressure, seed=seed)


@pytest.mark.fast
def test_latency_from_the_crc_to_the_header_and_full_rate():
    dut = PacketReceiver(CONFIG)
    rng = random.Random(1)
    lengths = [ROOM, 0, 0, 1, 7, ROOM]
    vectors = receiver_vectors(dut, [packet(length, rng) for length in lengths])
    play = Play(dut, vectors)
    sent, got = play.moments["i"], play.moments["o"]
    at = out = 0
    for length in lengths:
        words, passed = sent[at:at + length + 2], got[out:out + length + 1]
        assert words == [*range(words[0], words[0] + length + 2)]      # never a cycle of waiting
        assert passed[-1] >= words[-1] + dut.latency
        if at:
            assert words[0] == sent[at - 1] + 3
        else:
            first = words[-1] + dut.latency
            assert passed == [*range(first, first + length + 1)]
        at, out = at + length + 2, out + length + 1


@pytest.mark.fast
def test_latency_where_the_checksum_is_serial():
    dut = PacketReceiver(SERIAL)
    rng = random.Random(1)
    play = Play(dut, receiver_vectors(dut, [packet(3, rng), packet(0, rng)]))
    sent, got = play.moments["i"], play.moments["o"]
    assert got == [*range(sent[4] + dut.latency, sent[4] + dut.latency + 4),
                   sent[6] + dut.latency]
    assert sent[1:5] == [sent[0] + 33 * word for word in range(1, 5)]


@pytest.mark.fast
@pytest.mark.parametrize("kind", FAULTS)
def test_every_fate_where_the_checksum_is_serial(kind):
    dut = PacketReceiver(SERIAL)
    for bad in kinds(random.Random(3))[kind]:
        Play(dut, receiver_vectors(dut, [bad[:40], packet(2, random.Random(4))]), idle=0.2)


@pytest.mark.fast
@pytest.mark.parametrize("packet_words", [32, 64])
def test_a_full_store_waits_for_its_consumer(packet_words):
    config = ArrayConfig(packet_words=packet_words, sources=1)
    dut = PacketReceiver(config)
    rng = random.Random(2)
    packets = [packet(config.payload_words, rng) for _ in range(8)]
    packets.insert(4, damaged(packet(config.payload_words, rng), rng, 2))
    packets.insert(2, packet(config.payload_words + 1, rng))
    play = Play(dut, receiver_vectors(dut, packets), backpressure=0.9)
    waits = sum(b - a > 1 for a, b in zip(play.moments["i"], play.moments["i"][1:], strict=False))
    assert waits > 20


@pytest.mark.fast
@settings(max_examples=8)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0, 0.5]),
       st.sampled_from([0, 0.5, 0.9]))
def test_random_mixtures(seed, count, idle, backpressure):
    dut = PacketReceiver(CONFIG)
    Play(dut, receiver_vectors(dut, mixture(random.Random(seed), count)), idle=idle,
         backpressure=backpressure)


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = PacketReceiver(CONFIG)
    rng = random.Random(3)
    packets = [p for bad in kinds(rng).values() for p in [*bad[:2], packet(2, rng)]]
    assert run_testbench(simulator, component_verilog(dut, "receiver"), "receiver",
                     receiver_vectors(dut, packets), tmp_path) == 9
