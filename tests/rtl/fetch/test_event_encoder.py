"""Events: every set bit of a word once, in order, one a cycle; one null where there is none."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.fetch.event_encoder import EventEncoder, event_layout
from quadfire.rtl.verilog import component_verilog
from quadfire.rtl.fetch.word_reader import SLICE_BITS, entry_layout, place_layout
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import STALLS, Play, packed

CONFIGS = {"tiny": preset("tiny"), "tiny-conv": preset("tiny-conv"),
           "widest": ArrayConfig(lanes=128, weight_bits=4, weight_rows=512, slots=1)}
FLAGS = ("wide", "shift", "top", "emit", "final", "end")


def events_vectors(dut: EventEncoder, words: list[int], seed: int = 1) -> dict:
    """Words with any row, slot and flags, which all of their events carry; `first` the first.

    Sums are loaded for those of another slot than the event before, and for the first, where the
    pass goes on with sums (odd seeds).
    """
    rng, config, own = random.Random(seed), dut.config, seed % 2
    entries, events, slot = [], [], 0
    for word in words:
        row = rng.randrange(config.weight_rows - config.word_bits + 1)
        place = {"slot": rng.randrange(config.slots), "first": rng.getrandbits(1),
                 **{flag: rng.getrandbits(1) for flag in FLAGS}}
        held = sum(1 << at // SLICE_BITS for at in range(0, config.word_bits, SLICE_BITS)
                   if word >> at & 15)
        entries.append(packed(entry_layout(config), word=word, part=held & -held,
                              left=held & (held - 1), single=not held & (held - 1),
                              place={**place, "row": row}))
        for index, (at, null) in enumerate(dut.model([(word, row)])):
            first = place["first"] and index == 0
            load = not place["end"] and (own if first else place["slot"] != slot)
            slot = place["slot"]
            events.append(packed(
                event_layout(config), null=null, load=load, fresh=first and not own,
                shift=first and place["shift"], scan=first and place["emit"],
                place={**place, "row": at, "first": first}))
    return golden.vectors([golden.channel("entries", entries, ready="entries__ready")],
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


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = EventEncoder(CONFIGS["tiny-conv"])
    assert run_testbench(simulator, component_verilog(dut, "events"), "events",
                     events_vectors(dut, corner_words(dut.config)), tmp_path) == 9
