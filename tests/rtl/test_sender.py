"""The sender: answers become packets with a CRC, words at full rate."""

import random
import zlib

import pytest

from rtl.fields import HEADER_LAYOUT
from rtl.receiver import STREAM_WORD
from rtl.sender import Sender
from rtl.verilog import component_verilog
from sim import vectors as golden
from sim.cocotb_run import run_bench

from .bench_tools import STALLS, Play, packed

LENGTHS = [0, 1, 2, 0, 0, 17, 3, 1]


def sender_vectors(dut: Sender, lengths: list[int], seed: int = 1) -> dict:
    rng = random.Random(seed)
    headers, words, out = [], [], []
    for length in lengths:
        payload = [rng.choice([0, 0xFFFFFFFF, rng.getrandbits(32)]) for _ in range(length)]
        header = packed(HEADER_LAYOUT, length=length, sequence=rng.getrandbits(8),
                        opcode=rng.getrandbits(8))
        headers.append(header)
        words += payload
        whole = dut.model(header, payload)
        out += [packed(STREAM_WORD, data=word, last=index == length + 1)
                for index, word in enumerate(whole)]
    return golden.vectors([golden.channel("packets", headers, ready="packets__ready"),
                           golden.channel("words", words, ready="words__ready")],
                          [golden.channel("o", out, ready="o__ready")])


@pytest.mark.fast
def test_the_model_is_header_words_and_crc():
    header, words = 0x85010002, [1, 0xFFFFFFFF]
    body = b"\x02\x00\x01\x85\x01\x00\x00\x00\xff\xff\xff\xff"
    assert Sender.model(None, header, words) == [header, *words, zlib.crc32(body)]


@pytest.mark.fast
@pytest.mark.parametrize(("idle", "backpressure"), STALLS)
def test_against_the_model(idle, backpressure):
    dut = Sender()
    rng = random.Random(9)
    for seed in range(2):
        lengths = LENGTHS + [rng.randrange(12) for _ in range(10)]
        Play(dut, sender_vectors(dut, lengths, seed), idle=idle, backpressure=backpressure)


@pytest.mark.fast
def test_latency_and_full_rate():
    dut = Sender()
    play = Play(dut, sender_vectors(dut, [5, 0, 3]))
    out = play.moments["o"]
    assert out[0] == play.moments["packets"][0] + 1
    assert out == list(range(out[0], out[0] + 5 + 0 + 3 + 3 * 2))
    assert play.moments["words"] == [moment - 1 for moment in out[1:6] + out[10:13]]


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = Sender()
    verilog = component_verilog(dut, "sender")
    assert run_bench(simulator, verilog, "sender", sender_vectors(dut, LENGTHS), tmp_path) == 9
