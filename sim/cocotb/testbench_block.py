"""The transaction bench: plays golden vectors into a block and checks what comes out.

A cocotb test module, run by `quadfire.sim.cocotb.run.run_testbench` with the vectors (see `quadfire.sim.cocotb.vectors`) in the
file named by QUADFIRE_VECTORS. Every input channel has a driver, every output channel a monitor and
an in-order checker; idle times and backpressure are random, from the printed seed.

Checked: every transaction against the vectors, in order; their number, also that none follows;
no X on valid, on ready or on a valid payload; valid and payload hold until ready; latency where
the vectors give it; and that all is over before the timeout.
"""

import os
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb.types import Logic

from quadfire.sim.cocotb import vectors as golden

__all__ = ["Driver", "Monitor", "play", "start"]

#: Cycles that are watched for surplus output after the last expected transaction.
TAIL = 64

#: Probability that a cycle offers no input, or takes no output.
LEVELS = {"none": 0.0, "some": 0.3, "heavy": 0.8}


def read(handle: Any) -> int | None:
    """The unsigned value of a signal, None where it has an X or a Z."""
    value = handle.value
    try:
        return int(value) if isinstance(value, Logic) else value.to_unsigned()
    except ValueError:
        return None


def write(handle: Any, value: int) -> None:
    """Drive a signal, modulo its width."""
    handle.value = value & ((1 << len(handle)) - 1)


def flag(handle: Any, cycle: int) -> bool:
    """A control signal, which must never be X."""
    value = read(handle)
    assert value is not None, f"{handle._name} is {handle.value} in cycle {cycle}"
    return bool(value)


class Channel:
    """The ports of a channel of the vectors."""

    def __init__(self, dut: Any, channel: dict, rng: random.Random):
        self.name = channel["name"]
        self.rng = rng
        self.valid = getattr(dut, channel["valid"])
        self.ready = getattr(dut, channel["ready"]) if channel["ready"] else None
        self.payload = {port: getattr(dut, port) for port in channel["payload"]}
        self.moments: list[int] = []    # cycle of every transfer

    @property
    def count(self) -> int:
        """Transactions transferred so far."""
        return len(self.moments)


class Driver(Channel):
    """Offers the transactions of an input channel; random payload while none is offered."""

    def __init__(self, dut: Any, channel: dict, rng: random.Random, idle: float):
        super().__init__(dut, channel, rng)
        self.queue: deque[dict[str, int]] = deque(channel["transactions"])
        self.gaps: Sequence[int] = channel["gaps"] or ()
        self.period: int = channel["period"]
        self.idle = 0.0 if channel["exact"] else idle
        self.after: Driver | None = None
        self.offering = False
        self.wait = self.gaps[0] if self.gaps else 0

    @property
    def done(self) -> bool:
        return not self.queue

    def sample(self, cycle: int) -> None:
        """Before the clock edge: was the transaction on offer taken?"""
        ready = self.ready is None or flag(self.ready, cycle)
        if self.offering and ready:
            self.queue.popleft()
            self.moments.append(cycle)
            self.offering = False
            gap = self.gaps[self.count] if self.count < len(self.gaps) else 0
            self.wait = max(self.period - 1, gap)

    def drive(self) -> None:
        """After the clock edge: what is on offer in the next cycle."""
        if self.offering:
            return
        if self.queue and (self.after is None or self.after.done):
            if self.wait:
                self.wait -= 1
            else:
                self.offering = self.rng.random() >= self.idle
        for port, handle in self.payload.items():
            write(handle, self.queue[0][port] if self.offering else self.rng.getrandbits(64))
        self.valid.value = int(self.offering)

    def drop(self) -> None:
        """Forget the transactions that are not on offer yet."""
        while len(self.queue) > self.offering:
            self.queue.pop()

    def stop(self) -> None:
        """Offer nothing, as in reset."""
        self.offering = False
        self.valid.value = 0
        for handle in self.payload.values():
            write(handle, self.rng.getrandbits(64))


class Monitor(Channel):
    """Takes the transactions of an output channel and checks the rules of the handshake."""

    def __init__(self, dut: Any, channel: dict, rng: random.Random, backpressure: float):
        super().__init__(dut, channel, rng)
        self.backpressure = backpressure
        self.taking = self.ready is None
        self.held: dict[str, int] | None = None   # offered by the block, not taken yet

    def sample(self, cycle: int) -> dict[str, int] | None:
        """Before the clock edge: the transaction transferred, if there is one."""
        if not flag(self.valid, cycle):
            assert self.held is None, f"{self.name}: valid fell before ready in cycle {cycle}"
            return None
        values: dict[str, int] = {}
        for port, handle in self.payload.items():
            value = read(handle)
            assert value is not None, (f"{self.name}: {port} is {handle.value} while valid, in "
                                       f"transaction {self.count}, cycle {cycle}")
            values[port] = value
        assert self.held is None or self.held == values, (
            f"{self.name}: the payload changed from {self.held} to {values} before ready, in "
            f"cycle {cycle}")
        self.held = None if self.taking else values
        if self.taking:
            self.moments.append(cycle)
        return values if self.taking else None

    def drive(self) -> None:
        """After the clock edge: is a transaction taken in the next cycle?"""
        if self.ready is not None:
            self.taking = self.rng.random() >= self.backpressure
            self.ready.value = int(self.taking)

    def stop(self) -> None:
        """Take nothing, as in reset."""
        self.held = None
        if self.ready is not None:
            self.taking = False
            self.ready.value = 0


class Checker:
    """Compares transactions with the expected ones, in order."""

    def __init__(self, monitor: Monitor, expected: Sequence[dict[str, int]]):
        self.monitor = monitor
        self.expected = expected

    @property
    def done(self) -> bool:
        return self.monitor.count >= len(self.expected)

    def check(self, got: dict[str, int], cycle: int) -> None:
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


async def start(dut: Any, clock: str, reset: str | None, channels: Sequence[Driver | Monitor],
                cycles: int = 3) -> None:
    """Start the clock and hold reset; returns at a clock edge with reset low."""
    for channel in channels:
        channel.stop()
    if reset:
        getattr(dut, reset).value = 1
    Clock(getattr(dut, clock), 10, unit="ns").start()
    for _ in range(cycles):
        await RisingEdge(getattr(dut, clock))
    if reset:
        getattr(dut, reset).value = 0
    await RisingEdge(getattr(dut, clock))


async def play(dut: Any, vectors: dict, idle: float, backpressure: float, seed: int) -> int:
    """Play the vectors and check the outputs; the number of cycles it took."""
    def rng(name: str) -> random.Random:
        return random.Random(f"{seed} {idle} {backpressure} {name}")

    drivers = [Driver(dut, c, rng(c["name"]), idle) for c in vectors["inputs"]]
    monitors = [Monitor(dut, c, rng(c["name"]), backpressure) for c in vectors["outputs"]]
    checkers = [Checker(monitor, channel["transactions"])
                for monitor, channel in zip(monitors, vectors["outputs"], strict=True)]
    named = {driver.name: driver for driver in drivers}
    for driver, channel in zip(drivers, vectors["inputs"], strict=True):
        driver.after = named[channel["after"]] if channel["after"] else None
    for port, value in vectors["constants"].items():
        write(getattr(dut, port), value)
    channels = [*drivers, *monitors]
    await start(dut, vectors["clock"], vectors["reset"], channels)

    limit = vectors["timeout"] or _timeout(vectors, max(idle, backpressure))
    tail = TAIL
    cycle = 0
    edge = RisingEdge(getattr(dut, vectors["clock"]))
    while tail:
        for channel in channels:
            channel.drive()
        await edge
        cycle += 1
        for driver in drivers:
            driver.sample(cycle)
        for monitor, checker in zip(monitors, checkers, strict=True):
            if (got := monitor.sample(cycle)) is not None:
                checker.check(got, cycle)
        if all(item.done for item in (*drivers, *checkers)):
            tail -= 1
        assert cycle < limit or tail < TAIL, f"timeout after {cycle} cycles: " + ", ".join(
            [f"{d.name}: {d.count} of {d.count + len(d.queue)} sent" for d in drivers]
            + [f"{c.monitor.name}: {c.monitor.count} of {len(c.expected)} received"
               for c in checkers])
    if backpressure == 0:
        _check_latency(vectors, drivers, monitors)
    return cycle - TAIL + 1     # the first cycle of the tail was the last with a transaction


def _timeout(vectors: dict, stall: float) -> int:
    """A generous number of cycles for all transactions of the vectors."""
    work = sum(len(c["transactions"]) * c.get("period", 1) + sum(c.get("gaps") or ())
               for c in (*vectors["inputs"], *vectors["outputs"]))
    return 2000 + int(10 * work / (1 - stall))


def _check_latency(vectors: dict, drivers: Sequence[Driver], monitors: Sequence[Monitor]) -> None:
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
