"""Currents, with the parameter memory they come from, against the model."""

import random

import pytest
from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.lib.chain_layouts import AddressKind
from quadfire.rtl.neuron.input_current import InputCurrent, lane_layout, readout_layout
from quadfire.rtl.neuron.parameters import Parameters
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import Play, packed

CONFIGS = {
    "tiny": preset("tiny"),
    "one_lane": ArrayConfig(banks=1, lanes=1, group_lanes=1, weight_rows=8, accumulator_bits=32,
                            slots=16, line_words=0, state_bits=18, fraction_bits=16,
                            parameter_words=100),
    "eight_lanes": ArrayConfig(banks=1, lanes=8, group_lanes=8, weight_bits=4, weight_rows=8,
                               accumulator_bits=8, state_bits=8, fraction_bits=4, current_bits=12,
                               line_words=0, parameter_words=100),
    "block_ram": ArrayConfig(banks=1, lanes=4, group_lanes=4, weight_rows=8, lut_ram=0,
                             line_words=0, parameter_words=100, pipelined=0),
    "pipelined_block_ram": ArrayConfig(banks=1, lanes=4, group_lanes=4, weight_rows=8, lut_ram=0,
                                       line_words=0, parameter_words=100),
    "slow_lut_ram": ArrayConfig(banks=1, lanes=4, group_lanes=4, weight_rows=8, pipelined=0,
                                line_words=0, parameter_words=100),
}


class CurrentBench(wiring.Component):
    """An InputCurrent with its Parameters. The signal `scan` starts a readout."""

    def __init__(self, config: ArrayConfig):
        self.config, self.current = config, InputCurrent(config)
        words = range(config.parameter_words)
        super().__init__({
            "write__valid": In(1),
            "write__payload": In(data.StructLayout({"address": words, "data": 32})),
            "tile__valid": In(1), "tile__payload": In(words),
            "scan": In(stream.Signature(readout_layout(config))),
            "current__valid": Out(1),
            "current__lane": Out(lane_layout(config)["lane"].shape),
            "current__begin": Out(1), "current__close": Out(1),
            "current__value": Out(signed(config.current_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.current = current = self.current
        m.submodules.parameters = parameters = Parameters(self.config)
        wiring.connect(m, wiring.flipped(self.scan), current.scans)
        with m.If(self.tile__valid):
            m.d.comb += [parameters.load.kind.eq(AddressKind.TILE),
                         parameters.load.address.eq(self.tile__payload)]
        m.d.comb += [
            parameters.write.eq(self.write__valid),
            parameters.write_address.eq(self.write__payload.address),
            parameters.write_data.eq(self.write__payload.data),
            parameters.lane.eq(current.lane),
            parameters.advance.eq(current.advance),
            parameters.rewind.eq(current.rewind),
            current.channel.eq(parameters.channel),
            self.current__valid.eq(current.which.valid),
            self.current__lane.eq(current.which.lane),
            self.current__begin.eq(current.which.how.begin),
            self.current__close.eq(current.which.close),
            self.current__value.eq(current.current),
        ]
        return m


def corner_sums(rng: random.Random, config: ArrayConfig, shift: int) -> int:
    """A sum at a limit, around a half after the shift, or any."""
    low, high = -(1 << config.accumulator_bits - 1), (1 << config.accumulator_bits - 1) - 1
    half = 1 << max(shift - config.fraction_bits - 1, 0)
    value = rng.choice([low, high, 0, 1, -1, half, half - 1, half + 1, -half, -half - 1, -half + 1,
                        3 * half, -3 * half, rng.randint(low, high), rng.randint(low, high)])
    return min(max(value, low), high)


def current_vectors(bench: CurrentBench, tiles: int, seed: int = 1) -> dict:
    """Tiles of neurons one after the other: all shifts, limits of the bias, steps and planes."""
    config, lanes, rng = bench.config, bench.config.group_lanes, random.Random(seed)
    tiles = min(tiles, config.parameter_words // lanes - 1)
    first = config.parameter_words - tiles * lanes      # to the last word of the memory
    writes, scans, expected = [], [], []
    for tile in range(tiles):
        channels = []
        for lane in range(lanes):
            shift = (tile * lanes + lane) % 32 if tile * lanes + lane < 32 else rng.randrange(32)
            bias = rng.choice([-(1 << 23), (1 << 23) - 1, 0, -1, 1,
                               rng.randrange(-(1 << 23), 1 << 23)])
            channels.append((shift, bias))
            writes.append({"write__payload": first + tile * lanes + lane | (
                rng.getrandbits(3) << 29 | shift << 24 | bias & 0xFFFFFF
            ) << (config.parameter_words - 1).bit_length()})
        slots = rng.randint(1, min(8, config.slots))
        steps = rng.randint(1, min(8, config.slots))
        planes = rng.random() < 0.5
        sums = [[corner_sums(rng, config, channels[lane][0]) for lane in range(lanes)]
                for _ in range(slots)]
        count = slots + steps - 1 if planes else slots
        for index in range(count):
            step = not planes or index >= slots - 1
            scans.append(packed(readout_layout(config), how={
                "keep": planes and index < count - 1, "replay": index >= slots, "step": step,
                "begin": index == (slots - 1 if planes else 0), "advance": index == count - 1,
                "emit": rng.getrandbits(1)},
                sums=sums[index] if index < slots else [0] * lanes))
            for lane, (shift, bias) in enumerate(channels) if step else ():
                folded = [sums[s][lane] for s in range(slots)] if planes else [sums[index][lane]]
                expected.append({"current__lane": lane,
                                 "current__begin": int(index == (slots - 1 if planes else 0)),
                                 "current__value": bench.current.model(folded, shift, bias)})
    rng.shuffle(writes)
    return golden.vectors(
        [golden.channel("scan", scans, ready="scan__ready", after="tile"),
         golden.channel("write", writes), golden.channel("tile", [first], after="write")],
        [golden.channel("current", expected,
                        payload=["current__lane", "current__begin", "current__value"])])


@pytest.mark.fast
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_against_the_model(name, idle):
    dut = CurrentBench(CONFIGS[name])
    Play(dut, current_vectors(dut, 80, seed=len(name)), idle=idle)


@pytest.mark.fast
@pytest.mark.parametrize("name", CONFIGS)
def test_latency(name):
    dut = CurrentBench(CONFIGS[name])
    vectors = current_vectors(dut, 20)
    play = Play(dut, vectors, idle=0.3)
    steps = [moment for moment, item in zip(play.moments["scan"], vectors["inputs"][0][
        "transactions"], strict=True)
        if data.Const(readout_layout(dut.config), item["scan__payload"]).how.step]
    assert play.moments["current"] == [moment + dut.current.latency + lane for moment in steps
                                       for lane in range(dut.config.group_lanes)]


#: When a readout is taken that comes so many cycles after the one before: where states are
#: forwarded never 5 cycles later, and it is told where it is 4.
DISTANCES = {True: {1: 4, 4: 4, 5: 6, 6: 6, 7: 7}, False: {1: 6, 4: 6, 5: 6, 6: 6, 7: 7}}


@pytest.mark.fast
@pytest.mark.parametrize("name", ["tiny", "one_lane", "block_ram"])
@pytest.mark.parametrize("distance", DISTANCES[True])
def test_distances_of_readouts(name, distance):
    dut = CurrentBench(CONFIGS[name])
    taken, lanes = DISTANCES[dut.config.forwards][distance], dut.config.group_lanes
    assert dut.config.forwards == (name != "block_ram")
    scan = packed(readout_layout(dut.config), how={"step": 1})
    play = Play(dut, golden.vectors(
        [golden.channel("scan", [scan] * 9, ready="scan__ready", period=distance, exact=True)],
        [golden.channel("current", [int(taken == 4 and n >= lanes) for n in range(9 * lanes)],
                        payload=["current__close"])]))
    starts = play.moments["scan"]
    assert {b - a for a, b in zip(starts, starts[1:], strict=False)} == {taken}


@pytest.mark.fast
@pytest.mark.parametrize("shift", range(32))
def test_rounding_is_half_up_at_every_shift(shift):
    dut = CurrentBench(CONFIGS["one_lane"])
    right = shift - dut.config.fraction_bits
    unit = 1 << max(right, 0)
    half = unit // 2
    sums = [0, 1, -1, half, half - 1, -half, -half - 1, -half + 1, unit, -unit, unit + half,
            unit + half - 1, -unit - half, -unit - half - 1]
    low, high = -(1 << 31), (1 << 31) - 1
    sums = [s for s in [*sums, low, high] if low <= s <= high]
    exact = [(2 * s + unit) // (2 * unit) if right > 0 else s << -right for s in sums]
    how = {"step": 1}
    Play(dut, golden.vectors(
        [golden.channel("scan", [packed(readout_layout(dut.config), how=how, sums=[s])
                                 for s in sums], ready="scan__ready", after="tile"),
         golden.channel("write", [(shift << 24) << 7 | 3]),
         golden.channel("tile", [3], after="write")],
        [golden.channel("current", exact, payload=["current__value"],
                        latency=dut.current.latency)]))


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = CurrentBench(CONFIGS["tiny"])
    assert run_testbench(simulator, component_verilog(dut, "current"), "current",
                     current_vectors(dut, 24), tmp_path) == 9
