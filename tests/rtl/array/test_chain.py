"""The array: whole passes, from weight rows to spikes and probe words, against a plain model."""

import random

import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.chain import NeuronArray, probe_latency, spike_latency
from quadfire.rtl.contract import numerics
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import NEURON_WORDS, Emit
from quadfire.rtl.control.pass_timing import probe_cycles, settle_cycles
from quadfire.rtl.control.sequencer import Sequencer
from quadfire.rtl.lib.chain_layouts import AddressKind, address_layout, control_layout, write_layout
from quadfire.rtl.neuron.parameters import Parameters
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import Play, packed, wrap
from tests.rtl.neuron.test_pipeline import kinds

CONFIGS = {
    "tiny": preset("tiny"),
    "one_group": ArrayConfig(banks=3, lanes=2, group_lanes=2, weight_rows=16, accumulator_bits=16,
                             slots=4, parameter_words=32, line_words=0),
    "one_bank": ArrayConfig(banks=1, lanes=8, group_lanes=2, weight_rows=16, accumulator_bits=16,
                            slots=4, parameter_words=32, line_words=0),
    "one_lane": ArrayConfig(banks=1, lanes=1, group_lanes=1, weight_rows=16, accumulator_bits=16,
                            slots=2, parameter_words=32, line_words=0),
    "four_bits": ArrayConfig(banks=2, lanes=16, group_lanes=8, weight_bits=4, weight_rows=16,
                             accumulator_bits=12, slots=3, parameter_words=32, line_words=0,
                             state_bits=18,
                             fraction_bits=16),
    "block_ram": ArrayConfig(banks=3, lanes=8, group_lanes=4, weight_rows=16, accumulator_bits=16,
                             slots=4, parameter_words=32, line_words=0, lut_ram=0, sources=1,
                             pipelined=0),
    "pipelined_block_ram": ArrayConfig(banks=3, lanes=8, group_lanes=4, weight_rows=16,
                                       accumulator_bits=16, slots=4, parameter_words=32,
                                       line_words=0, lut_ram=0),
    "slow_lut_ram": ArrayConfig(banks=3, lanes=8, group_lanes=4, weight_rows=16,
                                accumulator_bits=16, slots=4, parameter_words=32, line_words=0,
                                pipelined=0),
    "no_queue": ArrayConfig(banks=2, lanes=16, group_lanes=8, weight_bits=4, weight_rows=16,
                            accumulator_bits=12, slots=8, parameter_words=32, line_words=0,
                            lut_ram=0, readout_queue=0, sources=1, pipelined=0),
    "lut_ram_without_queue": ArrayConfig(banks=2, lanes=4, group_lanes=2, weight_rows=16,
                                         accumulator_bits=16, slots=4, parameter_words=32,
                                         line_words=0, readout_queue=0),
    "no_queue_one_lane": ArrayConfig(banks=2, lanes=1, group_lanes=1, weight_rows=16,
                                     accumulator_bits=16, slots=2, parameter_words=32,
                                     line_words=0, lut_ram=0, readout_queue=0, pipelined=0),
}


class ArrayBench(wiring.Component):
    """An array that does nothing in cycles without a command."""

    def __init__(self, config: ArrayConfig):
        self.config, self.array = config, NeuronArray(config)
        super().__init__({
            "write__valid": In(1), "write__payload": In(write_layout(config)),
            "command__valid": In(1),
            "command__payload": In(data.StructLayout({"address": address_layout(config),
                                                      "control": control_layout(config)})),
            "spikes__valid": Out(1), "spikes__payload": Out(config.lanes),
            "tap__valid": Out(1), "tap__word": Out(signed(32)), "tap__last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = self.array
        with m.If(self.write__valid):
            m.d.comb += array.write.eq(self.write__payload)
        with m.If(self.command__valid):
            m.d.comb += [array.address.eq(self.command__payload.address),
                         array.control.eq(self.command__payload.control)]
        m.d.comb += [
            self.spikes__valid.eq(array.spikes_valid), self.spikes__payload.eq(array.spikes),
            self.tap__valid.eq(array.tap.valid), self.tap__word.eq(array.tap.word),
            self.tap__last.eq(array.tap.last),
        ]
        return m


class Passes:
    """Random passes as commands, and what the equations make of them."""

    def __init__(self, dut: ArrayBench, seed: int):
        self.dut, self.config = dut, dut.config
        self.rng = random.Random(seed)
        self.writes: list[int] = []
        self.commands: list[int] = []
        self.gaps: list[int] = []
        self.spikes: list[int] = []
        self.taps: list[dict] = []
        self.scans: list[int] = []      # indices of commands that read out a time step
        self.emitting: list[int] = []   # and of those whose probe words are sent
        self.space = 0
        c = self.config
        limit = 1 << c.weight_bits - 1
        #: weight[bank][channel][row]
        self.weight = [[[self.rng.randrange(-limit, limit) for _ in range(c.weight_rows)]
                        for _ in range(c.lanes)] for _ in range(c.banks)]
        for bank in range(c.banks):
            for group in range(c.groups):
                for row in range(c.weight_rows):
                    word = sum((self.weight[bank][group * c.group_lanes + lane][row]
                                & 2 * limit - 1) << lane * c.weight_bits
                               for lane in range(c.group_lanes))
                    self.write(weight=1, bank=bank, group=group, address=row, data=word)

    def write(self, **fields) -> None:
        self.writes.append(packed(write_layout(self.config), **fields))

    def parameters(self, neuron: numerics.Neuron | None, tile_address: int
                   ) -> list[list[tuple[int, int]]]:
        """Neuron words at 0, the channels of all banks from `tile_address`: [tile][channel]."""
        c, rng = self.config, self.rng
        words = [4] + [rng.getrandbits(32) for _ in NEURON_WORDS[1:]] if neuron is None else [
            neuron.words()[name] & 0xFFFFFFFF for name in NEURON_WORDS]
        one = 1 << c.fraction_bits
        channels = [[(rng.randint(c.fraction_bits - 4 + c.weight_bits // 2,
                                  c.fraction_bits + 4), rng.randint(-one, one))
                     for _ in range(c.lanes)] for _ in range(c.banks)]
        channels = [[(min(max(s - 6, 0), 31), b) for s, b in tile] for tile in channels]
        for group in range(c.groups):
            for address, word in enumerate(words):
                self.write(parameter=1, group=group, address=address, data=word)
            for tile in range(c.banks):
                for lane in range(c.group_lanes):
                    shift, bias = channels[tile][group * c.group_lanes + lane]
                    self.write(parameter=1, group=group,
                               address=tile_address + tile * c.group_lanes + lane,
                               data=shift << 24 | bias & 0xFFFFFF)
        return channels

    def command(self, kind=AddressKind.NONE, address: int = 0, space: int = 1, **control) -> None:
        """`space` cycles at least until the next command."""
        self.commands.append(packed(self.dut.command__payload.shape(),
                                    address={"kind": kind, "address": address}, control=control))
        self.gaps.append(self.space)
        self.space = space - 1

    def run(self, neuron: numerics.Neuron | None, channels, tile_address: int, *, planes: bool,
            emit: Emit, tiles: int, own: list | None = None, drain: bool = True) -> list:
        """One pass; `own` are the sums [slot][bank][channel] to go on from. Returns its sums."""
        c, rng = self.config, self.rng
        slots, steps = rng.randint(1, c.slots), rng.randint(1, c.slots)
        if own is not None:
            slots = len(own)
        if not planes:
            steps = slots
        self.command(AddressKind.NEURON, 0)
        self.command(AddressKind.TILE, tile_address, space=Parameters.load_cycles)
        sums = [[[0] * c.lanes for _ in range(c.banks)] for _ in range(slots)] \
            if own is None else own
        for slot in range(slots):
            rows = sorted(rng.sample(range(c.weight_rows), rng.randint(0, 8)))
            if own is not None:
                self.command()          # it may not follow a shift
                self.command(fresh=1, slot=slot, **({"load": 1} if c.running_sums else {}))
            for index, row in enumerate(rows or [None]):
                self.command(AddressKind.NONE if row is None else AddressKind.ROW, row or 0,
                             write=1, slot=slot, fresh=index == 0 and own is None)
                for bank in range(c.banks):
                    for lane in range(c.lanes) if row is not None else ():
                        sums[slot][bank][lane] += self.weight[bank][lane][row]
        readouts = Sequencer.model({
            "slots": slots - 1, "steps": steps - 1, "planes": planes, "emit": emit, "taps": 0,
            "rounds": tiles - 1, "load": 0, "store": 0})
        count = len(readouts) // tiles
        for tile in range(tiles if drain else 0):
            bank = c.banks - 1 - tile
            for scan, how in enumerate(readouts[count * tile:count * (tile + 1)]):
                if how["step"] and neuron is not None:
                    self.scans.append(len(self.commands))
                if how["emit"]:
                    self.emitting.append(len(self.commands))
                last = how["advance"] and tile == tiles - 1
                space = (probe_cycles(c) if how["emit"] else c.readout_period) \
                    + last * settle_cycles(c)
                self.command(space=space, write=scan < slots, shift=scan < slots,
                             fresh=scan < slots, slot=scan % c.slots, scan=1, how=how)
            self.expect(neuron, channels[tile], [sums[slot][bank] for slot in range(slots)], planes,
                        steps, emit)
        return sums

    def expect(self, neuron, channels, sums, planes: bool, steps: int, emit: Emit) -> None:
        c = self.config
        words: list[list[int]] = []
        spikes = [0] * steps
        for lane, (shift, bias) in enumerate(channels):
            values = [line[lane] for line in sums]
            if planes:
                values = [sum(v << len(values) - 1 - i for i, v in enumerate(values))] * steps
            currents = [wrap(numerics.current(v, shift - c.fraction_bits, bias), c.current_bits)
                        for v in values]
            if neuron is None:
                words.append([sum(currents[:t + 1]) for t in range(steps)])
                continue
            w, states = neuron.initial, []
            for t, j in enumerate(currents):
                spike, w = numerics.neuron_step(w, j, neuron, c.fraction_bits)
                spikes[t] |= spike << lane
                states.append(w)
            words.append(states)
        if neuron is not None:
            self.spikes += spikes
        sent = {Emit.NONE: [], Emit.LOGITS: [steps - 1], Emit.MEMBRANES: range(steps)}[emit]
        self.taps += [{"tap__word": words[lane][t], "tap__last": int(lane == c.lanes - 1)}
                      for t in sent for lane in range(c.lanes)]

    def vectors(self) -> dict:
        return golden.vectors(
            [golden.channel("command", self.commands, gaps=self.gaps, after="write"),
             golden.channel("write", self.writes)],
            [golden.channel("spikes", self.spikes),
             golden.channel("tap", self.taps, payload=["tap__word", "tap__last"])])


def array_passes(dut: ArrayBench, index: int, *, count: int = 4, seed: int = 1) -> Passes:
    """Some passes of one layer: steps or planes, one to all tiles, sums of several passes."""
    passes = Passes(dut, seed)
    config, rng = dut.config, passes.rng
    neuron = None if index < 0 else kinds(config)[index]
    address = rng.randint(8, config.parameter_words - config.banks * config.group_lanes)
    channels = passes.parameters(neuron, address)
    for number in range(count):
        options = {"planes": number % 2 == 1 and config.slots > 1,
                   "emit": [Emit.LOGITS, Emit.MEMBRANES][number % 2] if neuron is None else
                   [Emit.NONE, Emit.MEMBRANES][number // 2 % 2],
                   "tiles": config.banks if number % 3 == 0 else rng.randint(1, config.banks)}
        own = None
        if number % 3 == 2:     # the same sums in two passes
            own = passes.run(neuron, channels, address, drain=False, **options)
        passes.run(neuron, channels, address, own=own, **options)
    return passes


@pytest.mark.fast
@pytest.mark.parametrize("index", [0, 3, 7, -1], ids=["qif", "soft", "if", "readout"])
@pytest.mark.parametrize("name", CONFIGS)
def test_passes(name, index):
    dut = ArrayBench(CONFIGS[name])
    passes = array_passes(dut, index, seed=index)
    assert len(passes.spikes) >= 4 or index < 0
    play = Play(dut, passes.vectors())
    config, commands = dut.config, play.moments["command"]
    assert play.moments["spikes"] == [commands[scan] + spike_latency(config)
                                      for scan in passes.scans]
    assert play.moments["tap"][config.lanes - 1::config.lanes] == [
        commands[scan] + probe_latency(config) for scan in passes.emitting]
    assert dut.array.latency == spike_latency(config)


@pytest.mark.fast
def test_passes_with_idle_cycles():
    dut = ArrayBench(CONFIGS["tiny"])
    Play(dut, array_passes(dut, 1, seed=5).vectors(), idle=0.4)


@pytest.mark.cocotb
@pytest.mark.parametrize("name", ["tiny", "one_lane"])
def test_verilog(simulator, name, tmp_path):
    dut = ArrayBench(CONFIGS[name])
    verilog = component_verilog(dut, "array_bench")
    for index in (3, -1) if name == "tiny" else (0,):
        assert run_testbench(simulator, verilog, "array_bench",
                         array_passes(dut, index, count=3).vectors(), tmp_path) == 9
