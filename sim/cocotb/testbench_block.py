"""The test bench of a block: plays golden vectors into it and checks what comes out.

A cocotb test module, run by `quadfire.sim.cocotb.run.run_testbench`. The environment variable
QUADFIRE_VECTORS names the file of the vectors (see `quadfire.sim.cocotb.vectors`), QUADFIRE_SEED
is the seed of idle times and backpressure.

Checked, beside the handshake (see `quadfire.sim.cocotb.engine`):

- every transaction of every output, in order, against the vectors;
- that no transaction follows the expected ones;
- the latency, where the vectors give one;
- that all is over before the timeout.
"""

import os
import random
from collections.abc import Sequence
from typing import Any

import cocotb

from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.engine import LEVELS, TAIL, Driver, Monitor, Testbench, bare, write

__all__ = ["play"]


class Checker:
    """Compares the transactions of an output with the expected ones, in order."""

    def __init__(self, monitor: Monitor, expected: Sequence[dict[str, int]]):
        self.monitor = monitor
        self.expected = expected

    @property
    def done(self) -> bool:
        """Whether all expected transactions have come."""
        return self.monitor.count >= len(self.expected)

    def check(self, got: dict[str, int], cycle: int) -> None:
        """Compare the transaction that the monitor has just taken."""
        name, index = self.monitor.name, self.monitor.count - 1
        assert index < len(self.expected), (
            f"{name}: transaction {index}, {got}, follows the {len(self.expected)} expected ones, "
            f"in cycle {cycle}")
        for port, value in self.expected[index].items():
            width = len(self.monitor.payload[port])
            seen = got[port]
            if value < 0:
                seen -= (seen >> (width - 1)) << width
            assert (seen - value) % (1 << width) == 0, (
                f"{name}: transaction {index}, {port}: expected {value}, got {seen}, in cycle "
                f"{cycle}")


async def play(dut: Any, vectors: dict, idle: float, backpressure: float, seed: int) -> int:
    """Play the vectors and check the outputs. Returns the number of cycles that it took."""
    def rng(name: str) -> random.Random:
        return random.Random(f"{seed} {idle} {backpressure} {name}")

    drivers = [Driver(bare(dut, channel), rng(channel["name"]), 0.0 if channel["exact"] else idle,
                      transactions=channel["transactions"], period=channel["period"],
                      gaps=channel["gaps"] or ()) for channel in vectors["inputs"]]
    named = {driver.name: driver for driver in drivers}
    for driver, channel in zip(drivers, vectors["inputs"], strict=True):
        driver.after = named[channel["after"]] if channel["after"] else None
    monitors = [Monitor(bare(dut, channel), rng(channel["name"]), backpressure)
                for channel in vectors["outputs"]]
    checkers = {monitor: Checker(monitor, channel["transactions"])
                for monitor, channel in zip(monitors, vectors["outputs"], strict=True)}
    for port, value in vectors["constants"].items():
        write(getattr(dut, port), value)
    testbench = Testbench(dut, drivers, monitors, clock=vectors["clock"], reset=vectors["reset"])
    await testbench.start()

    limit = vectors["timeout"] or _timeout(vectors, max(idle, backpressure))
    tail = TAIL
    while tail:
        for channel, got in await testbench.step():
            if isinstance(channel, Monitor):
                checkers[channel].check(got, testbench.cycle)
        if all(item.done for item in (*drivers, *checkers.values())):
            tail -= 1
        assert testbench.cycle < limit or tail < TAIL, (
            f"timeout after {testbench.cycle} cycles: " + ", ".join(
                [f"{d.name}: {d.count} of {d.count + len(d.queue)} sent" for d in drivers]
                + [f"{m.name}: {m.count} of {len(checkers[m].expected)} received"
                   for m in monitors]))
    if backpressure == 0:
        _check_latency(vectors, drivers, monitors)
    return testbench.cycle - TAIL + 1   # the first cycle of the tail had the last transaction


def _timeout(vectors: dict, stall: float) -> int:
    """A generous number of cycles for all transactions of the vectors."""
    work = sum(len(channel["transactions"]) * channel.get("period", 1)
               + sum(channel.get("gaps") or ())
               for channel in (*vectors["inputs"], *vectors["outputs"]))
    return 2000 + int(10 * work / (1 - stall))


def _check_latency(vectors: dict, drivers: Sequence[Driver], monitors: Sequence[Monitor]) -> None:
    """Compare the cycles of outputs with those of the first input."""
    for monitor, channel in zip(monitors, vectors["outputs"], strict=True):
        if (latency := channel["latency"]) is not None:
            for index, (begin, end) in enumerate(zip(drivers[0].moments, monitor.moments,
                                                     strict=True)):
                assert end - begin == latency, (f"{monitor.name}: transaction {index} came after "
                                                f"{end - begin} cycles, not {latency}")


@cocotb.test()
@cocotb.parametrize(idle=list(LEVELS), backpressure=list(LEVELS))
async def transactions(dut: Any, idle: str, backpressure: str) -> None:
    """All transactions, in order, at this level of idling and backpressure."""
    seed = int(os.environ["QUADFIRE_SEED"])
    cycles = await play(dut, golden.read(os.environ["QUADFIRE_VECTORS"]), LEVELS[idle],
                        LEVELS[backpressure], seed)
    cocotb.log.info("idle %s, backpressure %s, seed %d: %d cycles", idle, backpressure, seed,
                    cycles)
