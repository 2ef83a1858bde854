# amaranth: UnusedElaboratable=no
"""A cell against its model: sources, null events, wide weights, slots, limits, what it hands on."""

import random

import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.cell import Cell
from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.lib.chain_layouts import (
    AddressKind,
    address_layout,
    control_layout,
    looking_ahead,
    sums_layout,
    write_layout,
)
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import Play, packed, simulate

BANK = 1
CONFIGS = {
    "tiny": preset("tiny"),
    "tiny-conv": preset("tiny-conv"),
    "one_lane": ArrayConfig(banks=2, lanes=1, group_lanes=1, weight_rows=8, slots=1,
                            accumulator_bits=8, weight_bits=8, line_words=0),
    "eight_lanes": ArrayConfig(banks=3, lanes=8, group_lanes=8, weight_bits=4, weight_rows=32,
                               accumulator_bits=9, slots=16, line_words=0),
    "block_ram": ArrayConfig(banks=2, lanes=4, group_lanes=4, weight_rows=16, slots=3, lut_ram=0,
                             accumulator_bits=12, line_words=0, pipelined=0),
    "pipelined_block_ram": ArrayConfig(banks=2, lanes=4, group_lanes=4, weight_rows=16, slots=3,
                                       lut_ram=0, accumulator_bits=12, line_words=0),
    "slow_lut_ram": ArrayConfig(banks=2, lanes=4, group_lanes=4, weight_rows=16, slots=3,
                                pipelined=0, accumulator_bits=12, line_words=0),
    "halves": ArrayConfig(banks=2, lanes=8, group_lanes=8, weight_bits=4, weight_rows=16, slots=3,
                          running_lanes=15, accumulator_bits=12, line_words=0),
    "no_queue": ArrayConfig(banks=2, lanes=4, group_lanes=4, weight_rows=16, slots=3, lut_ram=0,
                            readout_queue=0, accumulator_bits=12, line_words=0, pipelined=0),
    "largest": ArrayConfig(banks=16, lanes=64, group_lanes=4, weight_rows=16, slots=3,
                           accumulator_bits=12, line_words=0),
    "largest_of_single_lanes": ArrayConfig(banks=16, lanes=64, group_lanes=1, weight_rows=16,
                                           slots=3, accumulator_bits=12, line_words=0),
    "wide": ArrayConfig(lanes=64, group_lanes=8, weight_bits=4, weight_rows=32,
                        accumulator_bits=17, line_words=8),
    "one_block_ram_slot": ArrayConfig(banks=2, lanes=2, group_lanes=2, weight_rows=8, slots=1,
                                      lut_ram=0, accumulator_bits=12, line_words=0, pipelined=0),
}


def command_layout(config: ArrayConfig) -> data.StructLayout:
    return data.StructLayout({"address": address_layout(config), "control": control_layout(config),
                              "neighbour": sums_layout(config)})


class CellBench(wiring.Component):
    """A cell that gets both parts of a command, and the neighbour's sums, in one transaction.

    It takes wide weights where the array can have taps.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.cell = config, Cell(config, takes_wide=config.kernel_taps)
        super().__init__({
            "write__valid": In(1), "write__payload": In(write_layout(config)),
            "command__valid": In(1), "command__payload": In(command_layout(config)),
            "sums__valid": Out(1), "sums__payload": Out(sums_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.cell = cell = self.cell
        m.d.comb += cell.bank.eq(BANK)
        with m.If(self.write__valid):
            m.d.comb += cell.write_in.eq(self.write__payload)
        late = Signal.like(self.command__payload, name="late_0")
        with m.If(self.command__valid):
            m.d.comb += [cell.address_in.eq(self.command__payload.address),
                         late.eq(self.command__payload)]
        for delay in range(1, WeightMemory.latency_of(self.config) + 1):
            later = Signal.like(self.command__payload, name=f"late_{delay}")
            m.d.sync += later.eq(late)
            earlier, late = late, later
            if delay == cell.control_delay:
                m.d.comb += cell.control_in.eq(looking_ahead(m, self.config, late.control,
                                                             earlier.control))
        shifted = Signal()
        m.d.sync += shifted.eq(late.control.shift)
        m.d.comb += [
            cell.sums_in.eq(late.neighbour),
            self.sums__valid.eq(shifted),
            self.sums__payload.eq(cell.sums_out),
        ]
        return m


def random_rows(rng: random.Random, config: ArrayConfig) -> list[int]:
    """Rows of weights; in the first two all are lowest, all are highest."""
    low, high = ((1 << config.weight_bits - 1) - less for less in (0, 1))
    rows = [rng.getrandbits(config.row_bits) for _ in range(config.weight_rows)]
    rows[0], rows[1] = (sum(weight << lane * config.weight_bits
                            for lane in range(config.group_lanes)) for weight in (low, high))
    return rows


def cell_vectors(bench: CellBench, *, count: int = 300, seed: int = 1) -> dict:
    """Rows are written, also to other banks; then random commands that stay within the limits."""
    rng = random.Random(seed)
    config, cell, lanes = bench.config, bench.cell, bench.config.group_lanes
    memory = WeightMemory(config, takes_wide=cell.takes_wide)
    rows = random_rows(rng, config)
    low, high = -(1 << config.accumulator_bits - 1), (1 << config.accumulator_bits - 1) - 1
    writes = [packed(write_layout(config), weight=1, bank=BANK, address=address,
                     data=row) for address, row in enumerate(rows)]
    for address in range(config.weight_rows):
        writes += [packed(write_layout(config), weight=1, bank=0, address=address, data=0x5A5A5A5A),
                   packed(write_layout(config), parameter=1, bank=BANK, address=address,
                          data=0xA5A5A5A5)]

    commands, expected, plain = [], [], []
    under_way = None            # the slot of the sum that can be gone on with

    def weights(row: int | None, wide: bool) -> list[int] | None:
        return None if row is None else memory.model(rows[row], wide=wide)

    def give(slot: int, source, row: int | None, *, wide: bool = False) -> None:
        nonlocal under_way
        neighbour = isinstance(source, list)
        values = source if neighbour else [0] * lanes
        if neighbour and not config.readout_queue:     # none follows a write of its slot at once
            commands.append(0)
        if neighbour:
            expected.append(packed(sums_layout(config), cell.model(plain)[slot]))
        if source == "own" and slot != under_way:
            load = {"load": 1} if config.running_sums else {}
            commands.extend([0, packed(command_layout(config),      # not behind a shift
                                       control={"fresh": 1, "slot": slot, **load})])
        under_way = slot
        plain.append({"slot": slot, "source": source, "weights": weights(row, wide)})
        commands.append(packed(
            command_layout(config),
            address={"kind": AddressKind.NONE if row is None else
                     AddressKind.WIDE if wide else AddressKind.ROW,
                     "address": rng.randrange(config.weight_rows) if row is None else row},
            control={"write": 1, "slot": slot, "fresh": source != "own", "shift": neighbour},
            neighbour=values))

    def fits(slot: int, source, row: int | None, wide: bool) -> bool:
        after = cell.model([*plain, {"slot": slot, "source": source,
                                     "weights": weights(row, wide)}])[slot]
        return low <= min(after) <= max(after) <= high

    for slot in range(config.slots):            # the accumulators start with anything
        give(slot, "zero", slot % config.weight_rows)
    for limit, step in ((high, 0), (low, 1)):   # to the last unit of the accumulator
        give(0, [limit] * lanes, None)
        give(0, "own", step)                    # back from the limit
        give(0, [0] * lanes, None)
    while len(commands) < count:
        slot, row = rng.randrange(config.slots), rng.choice(
            [0, 1, None, rng.randrange(config.weight_rows), rng.randrange(config.weight_rows)])
        source = rng.choice(["own", "own", "own", "zero", "shift"])
        if source == "shift":
            edge = rng.choice([low, high, 0, rng.randint(low, high)])
            source = [edge if rng.random() < 0.5 else rng.randint(low, high) for _ in range(lanes)]
        wide = cell.takes_wide and rng.random() < 0.4
        if fits(slot, source, row, wide):
            give(slot, source, row, wide=wide)
        if rng.random() < 0.1:      # what is no write changes nothing
            commands.append(packed(command_layout(config),
                                   control={"slot": rng.randrange(config.slots)}))
    for slot in range(config.slots):
        give(slot, [slot] * lanes, None)
    return golden.vectors(
        [golden.channel("command", commands, after="write"), golden.channel("write", writes)],
        [golden.channel("sums", expected)])


@pytest.mark.fast
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("idle", [0.0, 0.5])
def test_against_the_model(name, idle):
    dut = CellBench(CONFIGS[name])
    Play(dut, cell_vectors(dut, count=400, seed=len(name)), idle=idle)


@pytest.mark.fast
def test_latency_is_that_of_the_weights_and_one():
    dut = CellBench(CONFIGS["tiny"])
    vectors = cell_vectors(dut, count=60)
    play = Play(dut, vectors)
    commands = [data.Const(command_layout(dut.config), item["command__payload"])
                for item in vectors["inputs"][0]["transactions"]]
    shifts = [moment for moment, command in zip(play.moments["command"], commands, strict=True)
              if command.control.shift]
    latency = WeightMemory.latency_of(dut.config) + 1
    assert [moment + latency for moment in shifts] == play.moments["sums"]


@pytest.mark.fast
@pytest.mark.parametrize("name", ["tiny", "block_ram", "no_queue"])
def test_commands_pass_on_one_cycle_later_and_sums_come_with_a_shift(name):
    """Then they are gone; or, without a queue, they go lane by lane."""
    config = CONFIGS[name]
    dut = Cell(config)

    async def bench(ctx):
        rng = random.Random(3)
        ports = [(dut.address_in, dut.address_out), (dut.control_in, dut.control_out),
                 (dut.write_in, dut.write_out)]
        shifts = [False] * dut.latency
        ctx.set(dut.bank, config.banks - 1)
        some, sums = False, 0
        for _ in range(100):
            sent = []
            for port, _ in ports:
                value = rng.getrandbits(len(Value.cast(port)))
                if port is dut.address_in:
                    value = value & ~7 | rng.randrange(len(AddressKind))
                ctx.set(Value.cast(port), value)
                sent.append(value)
            ctx.set(Value.cast(dut.sums_in), rng.getrandbits(len(Value.cast(dut.sums_in))))
            shifts.append(bool(ctx.get(dut.control_in.shift)))
            await ctx.tick()
            for (_, port), value in zip(ports, sent, strict=True):
                assert ctx.get(Value.cast(port)) == value
            before, sums = sums, ctx.get(Value.cast(dut.sums_out))
            some |= sums != 0
            if not shifts[-dut.latency]:
                assert sums == (0 if config.readout_queue else before >> config.accumulator_bits)
        assert some

    simulate(dut, bench, "cell")


@pytest.mark.cocotb
@pytest.mark.parametrize("name", ["tiny", "block_ram"])
def test_verilog(name, simulator, tmp_path):
    dut = CellBench(CONFIGS[name])
    assert run_testbench(simulator, component_verilog(dut, "cell"), "cell", cell_vectors(dut),
                     tmp_path) == 9
