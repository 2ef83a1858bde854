"""The sender: packets get their CRC, words at full rate."""

import random
import zlib

import pytest

from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.control.packet_sender import PacketSender
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import STALLS, Play, packed

LENGTHS = [1, 2, 3, 1, 1, 18, 4, 2]


def sender_vectors(dut: PacketSender, lengths: list[int], seed: int = 1) -> dict:
    rng = random.Random(seed)
    words, out = [], []
    for length in lengths:
        packet = [rng.choice([0, 0xFFFFFFFF, rng.getrandbits(32)]) for _ in range(length)]
        words += [packed(STREAM_WORD, data=word, last=index == length - 1)
                  for index, word in enumerate(packet)]
        out += [packed(STREAM_WORD, data=word, last=index == length)
                for index, word in enumerate(dut.model(packet))]
    return golden.vectors([golden.channel("i", words, ready="i__ready")],
                          [golden.channel("o", out, ready="o__ready")])


@pytest.mark.fast
def test_the_model_is_the_words_and_their_crc():
    words = [0x85010002, 1, 0xFFFFFFFF]
    body = b"\x02\x00\x01\x85\x01\x00\x00\x00\xff\xff\xff\xff"
    assert PacketSender.model(None, words) == [*words, zlib.crc32(body)]


@pytest.mark.fast
@pytest.mark.parametrize("serial", [False, True])
@pytest.mark.parametrize(("idle", "backpressure"), STALLS)
def test_against_the_model(serial, idle, backpressure):
    dut = PacketSender(serial=serial)
    rng = random.Random(9)
    for seed in range(2):
        lengths = LENGTHS + [rng.randint(1, 12) for _ in range(0 if serial else 10)]
        Play(dut, sender_vectors(dut, lengths, seed), idle=idle, backpressure=backpressure)


@pytest.mark.fast
def test_latency_and_full_rate():
    dut = PacketSender()
    play = Play(dut, sender_vectors(dut, [6, 1, 4]))
    words, out = play.moments["i"], play.moments["o"]
    first = out[0]
    assert out == [*range(first, first + 7), first + 8, first + 9, *range(first + 11, first + 16)]
    assert words == [moment - dut.latency for moment in out[:6] + out[7:8] + out[9:13]]


@pytest.mark.fast
def test_latency_and_rate_of_the_serial_one():
    dut = PacketSender(serial=True)
    play = Play(dut, sender_vectors(dut, [3, 2]))
    first = play.moments["i"][0]
    out = [first + 34 + offset for offset in (0, 35, 70, 104, 139, 174, 208)]
    assert play.moments["o"] == out
    assert play.moments["i"] == [out[i] - 34 for i in (0, 1, 2, 4, 5)]


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = PacketSender()
    verilog = component_verilog(dut, "sender")
    assert run_testbench(simulator, verilog, "sender", sender_vectors(dut, LENGTHS), tmp_path) == 9
