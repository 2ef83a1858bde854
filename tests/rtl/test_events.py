"""The event reader, with the spike memory it reads, against its model and the cycle model."""

import random
from itertools import pairwise

import numpy as np
import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.config import ArrayConfig, preset
from rtl.events import DEPTH, EventReader, event_layout, map_layout
from rtl.spikes import SpikeMemory
from rtl.verilog import component_verilog
from sim import vectors as golden
from sim.cocotb_run import run_bench
from sim.cycles import read_cycles

from .bench_tools import STALLS, Play, packed

CONFIGS = {
    "tiny": preset("tiny"),
    "wide": ArrayConfig(banks=1, lanes=64, weight_bits=4, weight_rows=4096, spike_words=200,
                        slots=16),
    "widest": ArrayConfig(banks=1, lanes=128, weight_bits=4, weight_rows=512, spike_words=16,
                          slots=1),
}


class EventsBench(wiring.Component):
    """A reader and its memory, written in stream words; a map is taken when the last is done."""

    def __init__(self, config: ArrayConfig):
        self.config, self.reader = config, EventReader(config)
        super().__init__({
            "write__valid": In(1),
            "write__payload": In(data.StructLayout({
                "data": 32, "part": range(max(config.stream_words, 2)),
                "address": range(config.spike_words)})),
            "map": In(stream.Signature(map_layout(config))),
            "events": Out(stream.Signature(event_layout(config))),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.spikes = spikes = SpikeMemory(self.config)
        m.submodules.reader = reader = self.reader
        where = Signal(map_layout(self.config))
        with m.If(self.map.valid & self.map.ready):
            m.d.sync += where.eq(self.map.payload)
            m.d.comb += reader.map.eq(self.map.payload)
        with m.Else():
            m.d.comb += reader.map.eq(where)
        m.d.comb += [
            self.map.ready.eq(~reader.busy),
            reader.start.eq(self.map.valid & self.map.ready),
            spikes.address.eq(reader.address),
            reader.word.eq(spikes.word),
            spikes.host_write.eq(self.write__valid),
            spikes.host_address.eq(self.write__payload.address),
            spikes.host_part.eq(self.write__payload.part),
            spikes.host_word.eq(self.write__payload.data),
        ]
        wiring.connect(m, reader.events, wiring.flipped(self.events))
        return m


def patterns(config: ArrayConfig, seed: int = 1) -> dict[str, list[list[int]]]:
    """Maps as words [slot][word]."""
    rng, bits = random.Random(seed), config.word_bits
    full, top = (1 << bits) - 1, 1 << bits - 1
    depth, slots = config.spike_words, config.slots

    def noise(words: int, density: float) -> list[int]:
        return [sum((rng.random() < density) << bit for bit in range(bits)) for _ in range(words)]

    maps = {
        "empty": [[0] * 2] * min(3, slots),
        "one empty word": [[0]],
        "full": [[full] * 2] * min(2, slots),
        "one full word": [[full]],
        "lowest bit": [[1]], "highest bit": [[top]],
        "ends of a word": [[top | 1, 0, top | 1]],
        "single bits": [[1 << (5 * i + 7 * s) % bits for i in range(2)]
                        for s in range(min(4, slots))],
        "silent first": [[0] * (depth - 1 if slots == 1 else depth // 2 - 1) + [4]] * min(2, slots),
        "silent middle": [[2, *[0] * (depth // 2 - 3), 1]] * min(2, slots),
        "sparse": [noise(depth // min(4, slots) - 1, 0.01) for _ in range(min(4, slots))],
        "dense": [noise(2, 0.5) for _ in range(min(4, slots))],
        "all slots": [noise(1, 0.1) for _ in range(slots)],
        "slots silent": [noise(1, 0.3) if s % 3 == 2 else [0] for s in range(slots)],
        "full then silent": [[full, *[0] * (depth // 2 - 1)], [0] * (depth // 2)][:slots],
        "bursts": [[full if i % 9 == 0 else 0 for i in range(depth // min(slots, 2))]
                   for _ in range(min(slots, 2))],
    }
    return {name: words for name, words in maps.items()
            if len(words) * len(words[0]) <= depth
            and len(words[0]) * bits <= config.weight_rows}


def events_vectors(bench: EventsBench, words: list[list[int]], *, seed: int = 1, repeat: int = 1
                   ) -> dict:
    """The map lies anywhere, its rows apart by any stride; all around it the memory is full."""
    config, rng = bench.config, random.Random(seed)
    slots, count, bits = len(words), len(words[0]), config.word_bits
    row = rng.randrange(config.weight_rows - count * bits + 1)
    room = config.spike_words - slots * count
    stride = count + rng.randint(0, room // max(slots - 1, 1))
    base = rng.randint(0, config.spike_words - stride * (slots - 1) - count)
    memory = [(1 << bits) - 1] * config.spike_words
    for slot, line in enumerate(words):
        memory[base + slot * stride:base + slot * stride + count] = line
    layout = bench.write__payload.shape()
    writes = [packed(layout, data=word >> 32 * part & 0xFFFFFFFF, part=part, address=address)
              for address, word in enumerate(memory) for part in range(config.stream_words)]
    where = packed(map_layout(config), base=base, stride=stride, words=count - 1, slots=slots - 1,
                   row=row)
    events = [packed(event_layout(config), event) for event in bench.reader.model(words, row)]
    return golden.vectors(
        [golden.channel("map", [where] * repeat, ready="map__ready", after="write"),
         golden.channel("write", writes)],
        [golden.channel("events", events * repeat, ready="events__ready")])


@pytest.mark.fast
@pytest.mark.parametrize("config", CONFIGS)
def test_against_the_model_with_backpressure(config):
    dut = EventsBench(CONFIGS[config])
    for index, words in enumerate(patterns(dut.config).values()):
        _, backpressure = STALLS[index % 3]
        Play(dut, events_vectors(dut, words, seed=index, repeat=2), backpressure=backpressure,
             seed=index)


@pytest.mark.fast
@pytest.mark.parametrize("config", ["tiny", "wide"])
def test_cycles_are_those_of_the_cycle_model(config):
    dut = EventsBench(CONFIGS[config])
    for seed, (name, words) in enumerate(patterns(dut.config, 3).items()):
        play = Play(dut, events_vectors(dut, words, seed=seed, repeat=2))
        first, second = play.moments["map"]
        counts = np.array([[word.bit_count() for word in line] for line in words])
        cycles, events, nulls = read_cycles(counts)
        assert len(play.moments["events"]) == 2 * (events + nulls), name
        assert second - first == cycles, name


@pytest.mark.fast
@pytest.mark.parametrize("config", CONFIGS)
def test_latency_and_one_event_a_cycle(config):
    dut = EventsBench(CONFIGS[config])
    bits = dut.config.word_bits
    words = [[0b11 << (3 * i) % (bits - 1) for i in range(dut.config.weight_rows // bits)][:16]]
    assert len(words[0]) > 1
    play = Play(dut, events_vectors(dut, words))
    events = play.moments["events"]
    assert events[0] - play.moments["map"][0] == EventReader.latency
    assert {b - a for a, b in pairwise(events)} == {1}


@pytest.mark.fast
def test_silent_words_are_skipped_while_events_are_given():
    dut = EventsBench(CONFIGS["wide"])
    words = [[(1 << DEPTH) - 1 if i % DEPTH == 0 else 0 for i in range(48)]]
    events = Play(dut, events_vectors(dut, words)).moments["events"]
    assert {b - a for a, b in pairwise(events)} == {1}


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = EventsBench(CONFIGS["tiny"])
    maps = patterns(dut.config)
    verilog = component_verilog(dut, "reader")
    for name in ("dense", "all slots"):
        assert run_bench(simulator, verilog, "reader", events_vectors(dut, maps[name], repeat=2),
                         tmp_path) == 9
