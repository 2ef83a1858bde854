"""The test bench of the core: packets in, answers out.

A cocotb test module like `quadfire.sim.cocotb.testbench_block`. Its vectors are

    {"packets": [[word, ...], ...], "answers": [[word, ...], ...], "timeout": cycles}

timeout is the longest wait for one answer. An expected word of null may have any value: some
counters of a report depend on stalls, and so does its CRC.
"""

import os
import random
from collections.abc import Sequence
from typing import Any

import cocotb

from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.engine import LEVELS, TAIL, PacketTestbench


def _hex(words: Sequence[int | None]) -> str:
    return " ".join("any" if word is None else f"{word:08x}" for word in words) or "its end"


class Replay(PacketTestbench):
    """The core, and the packets and answers of the vectors."""

    def __init__(self, dut: Any, idle: float, backpressure: float):
        self.seed = int(os.environ["QUADFIRE_SEED"])
        super().__init__(dut, idle, backpressure, self.seed)
        self.vectors = golden.read(os.environ["QUADFIRE_VECTORS"])

    def send_all(self) -> None:
        """Queue all packets."""
        for packet in self.vectors["packets"]:
            self.send(packet)

    async def replay(self) -> None:
        """Send all packets. Every answer must be the golden one, and none may follow."""
        limit, answers = self.vectors["timeout"], self.vectors["answers"]
        self.send_all()
        for index, expected in enumerate(answers):
            await self.until(lambda index=index: len(self.received) > index, limit,
                             f"answer {index} did not come in {limit} cycles")
            self._compare(index, expected)
        self.monitor.backpressure = 0.0
        await self.until(lambda: self.driver.done, limit,
                         "the core left words of the last packet untaken")
        await self.run(TAIL)
        assert len(self.received) == len(answers) and not self.partial, (
            "an answer followed that is not in the vectors")

    def _compare(self, index: int, expected: Sequence[int | None]) -> None:
        got = self.received[index]
        first = next((k for k, (one, other) in enumerate(zip(got, expected, strict=False))
                      if other not in (None, one)), min(len(got), len(expected)))
        assert first == len(got) == len(expected), (
            f"answer {index}, word {first}: expected {_hex(expected[first:first + 4])}, got "
            f"{_hex(got[first:first + 4])} (lengths {len(expected)}, {len(got)}), seed {self.seed}")


@cocotb.test()
@cocotb.parametrize(idle=list(LEVELS), backpressure=list(LEVELS))
async def packets(dut: Any, idle: str, backpressure: str) -> None:
    """All answers, at this level of idling and backpressure."""
    core = Replay(dut, LEVELS[idle], LEVELS[backpressure])
    await core.start()
    await core.replay()


@cocotb.test()
async def reset_in_mid_stream(dut: Any) -> None:
    """Resets at random moments while packets run, then all answers from the start."""
    core = Replay(dut, LEVELS["some"], LEVELS["some"])
    rng = random.Random(f"{core.seed} reset")
    length = sum(len(packet) for packet in core.vectors["packets"])
    await core.start()
    for _ in range(3):
        core.send_all()
        await core.run(rng.randint(5, 10 + length))
        await core.reset(3)
    await core.replay()
