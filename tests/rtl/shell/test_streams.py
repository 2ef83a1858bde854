"""The stream blocks of the AXI shell against their models, under stalls of both sides."""

import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import Answer
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.shell.streams import (
    FRAME_WORD,
    AnswerFramer,
    Narrower,
    PacketFramer,
    Widener,
    beat_layout,
)
from quadfire.sim.cocotb import vectors as golden

from tests.rtl.bench_tools import STALLS, Play, packed

pytestmark = pytest.mark.fast

CONFIG = preset("tiny")
WIDTHS = [32, 64, 128]


def streams(inputs, outputs, **constants) -> dict:
    return golden.vectors([golden.channel("i", inputs, ready="i__ready")],
                          [golden.channel("o", outputs, ready="o__ready")], constants=constants)


def random_beats(rng, words: int, count: int) -> list[tuple[list[int], int, int]]:
    """Full beats, null words and beats, words cut in two, frames of any length."""
    beats = []
    for _ in range(count):
        keep = 0
        for _ in range(words):
            keep = keep << 4 | rng.choice([15, 15, 15, 0, 0, rng.randrange(16)])
        beats.append(([rng.getrandbits(32) for _ in range(words)], keep, int(rng.random() < 0.3)))
    return beats


@pytest.mark.parametrize("idle, backpressure", STALLS)
@pytest.mark.parametrize("width", WIDTHS)
def test_narrow(width, idle, backpressure):
    dut, layout = Narrower(width), beat_layout(width)
    beats = random_beats(random.Random(width), width // 32, 60) + [([1] * (width // 32), 15, 1)]
    Play(dut, streams([packed(layout, data=words, keep=keep, last=last)
                       for words, keep, last in beats],
                      [packed(FRAME_WORD, data=word, none=none, last=last)
                       for word, none, last in dut.model(beats)]),
         idle=idle, backpressure=backpressure)


@pytest.mark.parametrize("width", WIDTHS)
def test_narrow_and_widen_at_full_rate(width):
    words = width // 32
    beats = [(list(range(k, k + words)), (1 << width // 8) - 1, 0) for k in range(0, 40, words)]
    narrow, layout = Narrower(width), beat_layout(width)
    cells = [packed(layout, data=data, keep=keep, last=last) for data, keep, last in beats]
    moments = Play(narrow, streams(cells, [packed(FRAME_WORD, data=word) for word, _, _ in
                                           narrow.model(beats)])).moments["o"]
    assert moments == list(range(moments[0], moments[0] + 40))
    words = [packed(STREAM_WORD, data=word) for word in range(40)]
    play = Play(Widener(width), streams(words, cells))
    ends = play.moments["i"][width // 32 - 1::width // 32]
    assert play.moments["o"] == [moment + 1 for moment in ends]


def random_frame(rng) -> list[tuple[int, int, int]]:
    """Packets back to back, some with a wrong length, the end anywhere, perhaps without a word."""
    words: list[int] = []
    for _ in range(rng.randrange(1, 4)):
        length = rng.choice([0, 1, 2, 5, CONFIG.payload_words])
        said = rng.choice([length] * 4 + [rng.randrange(CONFIG.payload_words + 3), 0xFFFF])
        words += [said | 7 << 24, *(rng.getrandbits(32) for _ in range(length + 1))]
    words = words[:rng.choice([None, None, rng.randrange(1, len(words) + 1)])]
    frame = [(word, 0, 0) for word in words]
    if rng.random() < 0.3:
        return [*frame, (0, 1, 1)]
    return [*frame[:-1], (words[-1], 0, 1)]


@pytest.mark.parametrize("idle, backpressure", STALLS)
def test_framer(idle, backpressure):
    rng = random.Random(5)
    words = [word for _ in range(40) for word in random_frame(rng)]
    dut = PacketFramer(CONFIG)
    Play(dut, streams([packed(FRAME_WORD, data=word, none=none, last=last)
                       for word, none, last in words],
                      [packed(STREAM_WORD, data=word, last=last)
                       for word, last in dut.model(words)]),
         idle=idle, backpressure=backpressure)


@given(st.integers(0, 1 << 32))
@settings(max_examples=200)
def test_whatever_came_the_next_frame_begins_with_a_header(seed):
    """In the model, which the hardware equals."""
    rng = random.Random(seed)
    before = [word for _ in range(rng.randrange(5)) for word in random_frame(rng)]
    frame = [(3, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 1)]
    out = PacketFramer.model(SimpleNamespace(config=CONFIG), before + frame)
    assert out[-5:] == [(word, last) for word, _, last in frame]
    assert len(out) == 5 or out[-6][1]      # and the packet before it has ended


@pytest.mark.parametrize("answers", [0, 1, 3])
def test_answers(answers):
    rng = random.Random(answers)
    dut, packets = AnswerFramer(), []
    for _ in range(25):
        opcode = rng.choice([Answer.PROBE, Answer.REPORT, Answer.ERROR])
        length = 2 if opcode == Answer.ERROR else rng.randrange(6)
        packets.append([opcode << 24 | length, *(rng.getrandbits(32) for _ in range(length + 1))])
    for idle, backpressure in STALLS:
        Play(dut, streams([packed(STREAM_WORD, data=word, last=at == len(packet) - 1)
                           for packet in packets for at, word in enumerate(packet)],
                          [packed(STREAM_WORD, data=word, last=last)
                           for word, last in dut.model(packets, answers)], answers=answers),
             idle=idle, backpressure=backpressure)


@pytest.mark.parametrize("idle, backpressure", STALLS)
@pytest.mark.parametrize("width", WIDTHS)
def test_widen(width, idle, backpressure):
    rng, layout = random.Random(width), beat_layout(width)
    words = [(rng.getrandbits(32), int(rng.random() < 0.3)) for _ in range(80)] + [(1, 1)]
    dut = Widener(width)
    Play(dut, streams([packed(STREAM_WORD, data=word, last=last) for word, last in words],
                      [packed(layout, data=data, keep=keep, last=last)
                       for data, keep, last in dut.model(words)]),
         idle=idle, backpressure=backpressure)
