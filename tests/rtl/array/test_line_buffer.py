"""Line buffers: lengths of delay, gaps between shifts, nothing from above the first row."""

import random

import pytest
from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.line_buffer import LineBuffer
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.lib.chain_layouts import (
    AddressKind,
    address_layout,
    cell_control_layout,
    sums_layout,
)
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import Play, packed

CONFIGS = {
    "shortest": ArrayConfig(lanes=2, group_lanes=2, line_words=8, weight_rows=8, parameter_words=16,
                            accumulator_bits=12),
    "tiny-conv": preset("tiny-conv"),
}


def _whole(layout: data.StructLayout, **values) -> Value:
    """All bits of a structure, zeros where no value is given."""
    return Cat(Value.cast(values.get(name, 0)) | C(0, field.width) for name, field in layout)


class LineBench(wiring.Component):
    """A line buffer that gets a command and the sums of its shift in one transaction.

    As between cells, the sums come a cycle after their command.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.line = config, LineBuffer(config)
        super().__init__({
            "first": In(1),
            "command__valid": In(1),
            "command__payload": In(data.StructLayout({
                "line": range(config.line_words), "set": 1, "shift": 1, "top": 1,
                "sums": sums_layout(config)})),
            "shifts__valid": Out(1), "shifts__payload": Out(sums_layout(config)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.line = line = self.line
        command = self.command__payload
        valid = self.command__valid
        m.d.comb += [
            line.control_in.as_value().eq(_whole(cell_control_layout(self.config),
                                                 shift=valid & command.shift,
                                                 top=valid & command.top)),
            line.address_in.as_value().eq(_whole(address_layout(self.config),
                                                 kind=Mux(valid & command.set,
                                                          AddressKind.LINE.value, 0),
                                                 address=command.line)),
        ]
        m.d.sync += [line.sums_in.eq(command.sums),
                     self.shifts__valid.eq(line.control_out.shift)]
        m.d.comb += [
            line.first.eq(self.first),
            self.shifts__payload.eq(line.sums_out),
        ]
        return m


def line_vectors(dut: LineBench, lengths: list[int], *, first: bool, seed: int = 1) -> dict:
    """Some shifts with every length of delay; with 0 so many at first that all words are written.

    What was sent with one length may leave with the next, as between passes over parts of a map.
    """
    rng, config = random.Random(seed), dut.config
    layout = dut.command__payload.shape()
    commands, expected, sent = [], [], []
    for line in [0, *lengths]:
        commands.append(packed(layout, set=1, line=line))
        before = len(sent)
        sent += [rng.getrandbits(sums_layout(config).size)
                 for _ in range(line + 20 if before else config.line_words)]
        for entered, left in [*zip(sent, dut.line.model(sent, line), strict=True)][before:]:
            top = rng.random() < 0.2
            commands.append(packed(layout, shift=1, top=top) | entered << layout["sums"].offset)
            expected.append(0 if top and first else left)
            if rng.random() < 0.1:      # a command that is no shift
                commands.append(packed(layout, top=1) | rng.getrandbits(8) << layout["sums"].offset)
    return golden.vectors([golden.channel("command", commands)],
                          [golden.channel("shifts", expected)], constants={"first": first})


@pytest.mark.fast
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_length(name, first):
    dut = LineBench(CONFIGS[name])
    most = dut.config.line_words - 2
    lengths = [*range(7), most] if name == "shortest" else [0, 1, 2, 3, 29, most - 1, most, 5]
    for idle in (0.0, 0.4):
        Play(dut, line_vectors(dut, lengths, first=first), idle=idle)


@pytest.mark.fast
def test_latency():
    dut = LineBench(CONFIGS["shortest"])
    vectors = line_vectors(dut, [3], first=True)
    play = Play(dut, vectors)
    shifts = [moment for moment, item in zip(
        play.moments["command"], vectors["inputs"][0]["transactions"], strict=True)
        if data.Const(dut.command__payload.shape(), item["command__payload"]).shift]
    assert play.moments["shifts"] == [moment + LineBuffer.delay + 1 for moment in shifts]


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = LineBench(CONFIGS["shortest"])
    assert run_testbench(simulator, component_verilog(dut, "line"), "line",
                     line_vectors(dut, [0, 6, 1, 4], first=True), tmp_path) == 9
