# amaranth: UnusedElaboratable=no
"""Event encoder: every set bit of a word once, in order, one a cycle; a null where none is."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.fetch.event_encoder import EventEncoder, event_layout
from quadfire.rtl.fetch.word_reader import WordReader, entry_layout, place_layout
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import STALLS, Play, packed

CONFIGS = {"tiny": preset("tiny"), "tiny-conv": preset("tiny-conv"),
           "widest": ArrayConfig(lanes=128, weight_bits=4, weight_rows=512, slots=1)}
FLAGS = ("wide", "shift", "top", "emit", "final", "end")


def events_vectors(dut: EventEncoder, words: list[int], seed: int = 1) -> dict:
    """Words with any row, slot and flags; in odd seeds the pass goes on with sums."""
    rng, config, own = random.Random(seed), dut.config, seed % 2
    reader = WordReader(config)
    entries = [{"word": word, "place": {
        "row": rng.randrange(config.weight_rows - config.word_bits + 1),
        "slot": rng.randrange(config.slots), "first": rng.getrandbits(1),
        **{flag: rng.getrandbits(1) for flag in FLAGS}}} for word in words]
    given = [packed(entry_layout(config), reader.entry(entry["word"]) | {"place": entry["place"]})
             for entry in entries]
    events = [packed(event_layout(config), event) for event in dut.model(entries, own=own)]
    return golden.vectors([golden.channel("entries", given, ready="entries__ready")],
                          [golden.channel("events", events, ready="events__ready")],
                          constants={"own": own})


def corner_words(config: ArrayConfig, seed: int = 1) -> list[int]:
    rng, bits = random.Random(seed), config.word_bits
    full, top = (1 << bits) - 1, 1 << bits - 1
    return [0, 0, 1, top, full, 0, full, top | 1, 3, 0, *(1 << bit for bit in range(bits)),
            *(rng.getrandbits(bits) & rng.getrandbits(bits) for _ in range(10))]


@pytest.mark.fast
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("idle", "backpressure"), STALLS)
def test_against_the_model(name, idle, backpressure):
    dut = EventEncoder(CONFIGS[name])
    assert packed(place_layout(dut.config), end=1)
    for seed in range(2):
        Play(dut, events_vectors(dut, corner_words(dut.config), seed), idle=idle,
             backpressure=backpressure)


@pytest.mark.fast
@settings(max_examples=15)
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=12), st.sampled_from(STALLS))
def test_any_words(words, stalls):
    Play(dut := EventEncoder(CONFIGS["tiny"]), events_vectors(dut, words), idle=stalls[0],
         backpressure=stalls[1])


@pytest.mark.fast
@pytest.mark.parametrize("name", CONFIGS)
def test_latency_and_one_event_a_cycle(name):
    dut = EventEncoder(CONFIGS[name])
    play = Play(dut, events_vectors(dut, corner_words(dut.config)))
    events = play.moments["events"]
    assert events[0] - play.moments["entries"][0] == dut.latency == 4
    assert {b - a for a, b in pairwise(events)} == {1}


@pytest.mark.fast
def test_the_model_by_hand():
    dut = EventEncoder(CONFIGS["tiny"])
    place = {"row": 8, "slot": 0, "first": 1, "shift": 1, "emit": 0, "end": 0}
    events = dut.model([{"word": 0b100010, "place": place},
                        {"word": 0, "place": place | {"slot": 1, "first": 0}}])
    assert [event["place"]["row"] for event in events] == [9, 13, 8]
    assert [event["null"] for event in events] == [0, 0, 1]
    assert [event["fresh"] for event in events] == [1, 0, 0]
    assert [event["shift"] for event in events] == [1, 0, 0]
    assert [event["load"] for event in events] == [0, 0, 1]
    first, *_ = dut.model([{"word": 1, "place": place}], own=1)
    assert (first["fresh"], first["load"]) == (0, 1)


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = EventEncoder(CONFIGS["tiny-conv"])
    assert run_testbench(simulator, component_verilog(dut, "events"), "events",
                     events_vectors(dut, corner_words(dut.config)), tmp_path) == 9
