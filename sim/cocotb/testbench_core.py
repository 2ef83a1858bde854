"""The bench of the whole core: packets in, answers out, with AXI4-Stream models by others.

A cocotb test module like `quadfire.sim.cocotb.testbench_block`, but the two sides of the core are AxiStreamSource and
AxiStreamSink of cocotbext-axi. The vectors are

    {"packets": [[word, ...], ...], "answers": [[word, ...], ...], "timeout": cycles}

where timeout is the longest wait for one answer, and an expected word of null may be anything: the
counters of a report that depend on stalls, and its CRC.
"""

import os
import random
from collections.abc import Iterator, Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.testbench_block import LEVELS, TAIL

PERIOD = 10     # ns


def pauses(probability: float, seed: str) -> Iterator[bool]:
    """Random stalls."""
    rng = random.Random(seed)
    while True:
        yield rng.random() < probability


def _hex(words: Sequence[int | None]) -> str:
    return " ".join("any" if word is None else f"{word:08x}" for word in words) or "its end"


class Core:
    """The core between a source and a sink."""

    def __init__(self, dut: Any, idle: float, backpressure: float):
        self.dut = dut
        self.vectors = golden.read(os.environ["QUADFIRE_VECTORS"])
        self.seed = int(os.environ["QUADFIRE_SEED"])
        Clock(dut.clk, PERIOD, unit="ns").start()
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.clk, dut.rst,
                                      byte_lanes=1)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.clk, dut.rst,
                                  byte_lanes=1)
        for side in (self.source, self.sink):
            side.log.setLevel("WARNING")
        if idle:
            self.source.set_pause_generator(pauses(idle, f"{self.seed} idle"))
        if backpressure:
            self.sink.set_pause_generator(pauses(backpressure, f"{self.seed} backpressure"))

    async def reset(self, cycles: int = 3) -> None:
        """Reset the core; what source and sink hold is forgotten."""
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, cycles)
        self.source.clear()
        self.sink.clear()
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    def send(self, packets: list[list[int]]) -> None:
        """Queue packets for the source."""
        for packet in packets:
            frame = AxiStreamFrame()
            frame.tdata = list(packet)
            self.source.send_nowait(frame)

    async def replay(self) -> None:
        """Send all packets; every answer must equal the golden one, and none may follow."""
        limit = self.vectors["timeout"]
        self.send(self.vectors["packets"])
        for index, expected in enumerate(self.vectors["answers"]):
            try:
                frame = await with_timeout(self.sink.recv(), limit * PERIOD, "ns")
            except SimTimeoutError:
                raise AssertionError(f"answer {index} did not come in {limit} cycles") from None
            got = [int(word) for word in frame.tdata]
            first = next((k for k, (one, other) in enumerate(zip(got, expected, strict=False))
                          if other not in (None, one)), min(len(got), len(expected)))
            assert first == len(got) == len(expected), (
                f"answer {index}, word {first}: expected {_hex(expected[first:first + 4])}, got "
                f"{_hex(got[first:first + 4])} (lengths {len(expected)}, {len(got)}), seed "
                f"{self.seed}")
        self.sink.clear_pause_generator()
        self.sink.pause = False
        for _ in range(limit):
            if self.source.idle():
                break
            await RisingEdge(self.dut.clk)
        else:
            raise AssertionError("the core left words of the last packet untaken")
        await ClockCycles(self.dut.clk, TAIL)
        assert self.sink.empty(), "an answer followed that is not in the vectors"


@cocotb.test()
@cocotb.parametrize(idle=list(LEVELS), backpressure=list(LEVELS))
async def packets(dut: Any, idle: str, backpressure: str) -> None:
    """All answers, at this level of idling and backpressure."""
    core = Core(dut, LEVELS[idle], LEVELS[backpressure])
    await core.reset()
    await core.replay()


@cocotb.test()
async def reset_in_mid_stream(dut: Any) -> None:
    """Resets at random moments while packets run; then everything again from the start."""
    core = Core(dut, LEVELS["some"], LEVELS["some"])
    rng = random.Random(f"{core.seed} reset")
    length = sum(len(packet) for packet in core.vectors["packets"])
    await core.reset()
    for _ in range(3):
        core.send(core.vectors["packets"])
        await ClockCycles(dut.clk, rng.randint(5, 10 + length))
        await core.reset()
    await core.replay()
