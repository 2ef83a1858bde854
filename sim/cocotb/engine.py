"""The engine of the test benches: drivers, monitors, and the loop that clocks them.

| name | is |
|---|---|
| `Ports` | the ports of one channel; `bare` and `axi_stream` find them in a design |
| `Driver` | offers transactions to an input, after random idle cycles |
| `Monitor` | takes transactions from an output, with random backpressure; checks the handshake |
| `Testbench` | the clock, the reset and the channels of a design; `step` is one cycle |
| `PacketTestbench` | a test bench of the core: queues of words to send and of packets received |

Checked on every output, in every cycle: valid and ready are never X, nor is a valid payload; valid
stays high until ready, and the payload does not change meanwhile.
"""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge
from cocotb.types import Logic

__all__ = ["LEVELS", "TAIL", "Driver", "Monitor", "PacketTestbench", "Ports", "Testbench",
           "axi_stream", "bare", "write"]

#: Cycles after the last expected transaction in which no other may follow.
TAIL = 64

#: Levels of idling and backpressure: probability that a cycle offers, or takes, nothing.
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
    """The value of a control signal, which must not be X."""
    value = read(handle)
    assert value is not None, f"{handle._name} is {handle.value} in cycle {cycle}"
    return bool(value)


# Ports -------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Ports:
    """The ports of a channel. `ready` is None for a strobe, which transfers whenever it is valid.

    A transaction is {name in `payload`: value}.
    """

    name: str
    valid: Any
    ready: Any
    payload: dict[str, Any]


def bare(dut: Any, channel: dict) -> Ports:
    """The ports of a stream or a strobe, named as a channel of the golden vectors names them."""
    return Ports(channel["name"], getattr(dut, channel["valid"]),
                 getattr(dut, channel["ready"]) if channel["ready"] else None,
                 {port: getattr(dut, port) for port in channel["payload"]})


def axi_stream(dut: Any, prefix: str) -> Ports:
    """The ports `{prefix}_tvalid`, ... of an AXI4-Stream. Transactions have `tdata` and `tlast`."""
    return Ports(prefix, getattr(dut, f"{prefix}_tvalid"), getattr(dut, f"{prefix}_tready"),
                 {name: getattr(dut, f"{prefix}_{name}") for name in ("tdata", "tlast")})


# Drivers and monitors ----------------------------------------------------------------------------

class Channel:
    """What drivers and monitors share: ports, random numbers, the cycle of every transfer."""

    def __init__(self, ports: Ports, rng: random.Random):
        self.name, self.valid, self.ready = ports.name, ports.valid, ports.ready
        self.payload = ports.payload
        self.rng = rng
        self.moments: list[int] = []

    @property
    def count(self) -> int:
        """Transactions transferred so far."""
        return len(self.moments)


class Driver(Channel):
    """Offers transactions to an input. While none is on offer the payload is random.

    | argument | meaning |
    |---|---|
    | `idle` | probability that a cycle in which a transaction could be offered offers none |
    | `transactions` | the first ones of the queue |
    | `period` | least number of cycles from one transaction to the next |
    | `gaps` | least number of cycles without an offer before each transaction |
    """

    def __init__(self, ports: Ports, rng: random.Random, idle: float, *,
                 transactions: Iterable[dict[str, int]] = (), period: int = 1,
                 gaps: Sequence[int] = ()):
        super().__init__(ports, rng)
        self.queue: deque[dict[str, int]] = deque(transactions)
        self.idle, self.period, self.gaps = idle, period, gaps
        self.after: Driver | None = None    # a channel that must be done before
        self.offering = False
        self.wait = gaps[0] if gaps else 0

    @property
    def done(self) -> bool:
        """Whether all transactions are transferred."""
        return not self.queue

    def drive(self) -> None:
        """After the clock edge: decide what is on offer in this cycle."""
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

    def sample(self, cycle: int) -> dict[str, int] | None:
        """Before the clock edge: the transaction that is transferred, if there is one."""
        ready = self.ready is None or flag(self.ready, cycle)
        if not (self.offering and ready):
            return None
        self.moments.append(cycle)
        self.offering = False
        gap = self.gaps[self.count] if self.count < len(self.gaps) else 0
        self.wait = max(self.period - 1, gap)
        return self.queue.popleft()

    def drop(self) -> None:
        """Remove the transactions that are not on offer yet."""
        while len(self.queue) > self.offering:
            self.queue.pop()

    def stop(self) -> None:
        """Offer nothing, as in reset."""
        self.offering = False
        self.valid.value = 0
        for handle in self.payload.values():
            write(handle, self.rng.getrandbits(64))


class Monitor(Channel):
    """Takes transactions from an output and checks the handshake.

    backpressure: probability that a cycle takes nothing.
    """

    def __init__(self, ports: Ports, rng: random.Random, backpressure: float):
        super().__init__(ports, rng)
        self.backpressure = backpressure
        self.taking = self.ready is None
        self.held: dict[str, int] | None = None     # on offer and not taken yet

    def drive(self) -> None:
        """After the clock edge: decide whether this cycle takes a transaction."""
        if self.ready is not None:
            self.taking = self.rng.random() >= self.backpressure
            self.ready.value = int(self.taking)

    def sample(self, cycle: int) -> dict[str, int] | None:
        """Before the clock edge: the transaction that is transferred, if there is one."""
        if not flag(self.valid, cycle):
            assert self.held is None, f"{self.name}: valid fell before ready in cycle {cycle}"
            return None
        values: dict[str, int] = {}
        for port, handle in self.payload.items():
            value = read(handle)
            assert value is not None, (
                f"{self.name}: {handle._name} is {handle.value} while valid, in transaction "
                f"{self.count}, cycle {cycle}")
            values[port] = value
        assert self.held is None or self.held == values, (
            f"{self.name}: the payload changed from {self.held} to {values} before ready, in "
            f"cycle {cycle}")
        self.held = None if self.taking else values
        if self.taking:
            self.moments.append(cycle)
        return values if self.taking else None

    def stop(self) -> None:
        """Take nothing, as in reset."""
        self.held = None
        if self.ready is not None:
            self.taking = False
            self.ready.value = 0


# Test benches ------------------------------------------------------------------------------------

class Testbench:
    """A design with its clock, its reset and its channels.

    `cycle` counts the clock cycles since `start`. Drivers and monitors act once a cycle, in the
    order in which they are given.
    """

    def __init__(self, dut: Any, drivers: Sequence[Driver], monitors: Sequence[Monitor], *,
                 clock: str = "clk", reset: str | None = "rst"):
        self.drivers, self.monitors = drivers, monitors
        self.clock = getattr(dut, clock)
        self.rst = getattr(dut, reset) if reset else None
        self.cycle = 0
        self._edge = RisingEdge(self.clock)

    async def start(self, cycles: int = 3) -> None:
        """Start the clock and hold reset. Returns at a clock edge at which reset is low."""
        self._stop()
        Clock(self.clock, 10, unit="ns").start()
        await self._hold(cycles)
        await self._edge

    async def reset(self, cycles: int) -> None:
        """Hold reset for some cycles. Transactions that are on offer are lost."""
        self._stop()
        await self._hold(cycles)
        self.cycle += cycles

    def _stop(self) -> None:
        for channel in (*self.drivers, *self.monitors):
            channel.stop()

    async def _hold(self, cycles: int) -> None:
        if self.rst is not None:
            self.rst.value = 1
        for _ in range(cycles):
            await self._edge
        if self.rst is not None:
            self.rst.value = 0

    async def step(self) -> list[tuple[Channel, dict[str, int]]]:
        """One clock cycle. Returns every channel that has transferred a transaction, and that."""
        channels = (*self.drivers, *self.monitors)
        for channel in channels:
            channel.drive()
        await self._edge
        self.cycle += 1
        sampled = [(channel, channel.sample(self.cycle)) for channel in channels]
        return [(channel, values) for channel, values in sampled if values is not None]

    async def until(self, done: Callable[[], bool], limit: int, failure: str) -> None:
        """Step until something is true. Raises AssertionError(failure) after `limit` cycles."""
        for _ in range(limit):
            if done():
                return
            await self.step()
        assert done(), failure

    async def run(self, cycles: int) -> None:
        """Step for some cycles."""
        for _ in range(cycles):
            await self.step()


class PacketTestbench(Testbench):
    """The core with a queue of words to send and a list of packets received.

    sim/verilator/cpp/harness.cpp does the same for the Verilated core. `inside` is true while the
    first word of a packet is sent and its last one is not.
    """

    def __init__(self, dut: Any, idle: float, backpressure: float, seed: int):
        self.driver = Driver(axi_stream(dut, "s_axis"), random.Random(f"{seed} idle"), idle)
        self.monitor = Monitor(axi_stream(dut, "m_axis"), random.Random(f"{seed} backpressure"),
                               backpressure)
        super().__init__(dut, [self.driver], [self.monitor])
        self.partial: list[int] = []
        self.received: list[list[int]] = []
        self.inside = False

    def send(self, words: Sequence[int], last: bool = True) -> None:
        """Queue words. `last`: the final one ends a packet."""
        self.driver.queue.extend({"tdata": word, "tlast": 0} for word in words)
        if last:
            self.driver.queue[-1]["tlast"] = 1

    async def step(self) -> list[tuple[Channel, dict[str, int]]]:
        """One clock cycle, after which a packet may be complete."""
        moved = await super().step()
        for channel, word in moved:
            if channel is self.driver:
                self.inside = not word["tlast"]
            else:
                self.partial.append(word["tdata"])
                if word["tlast"]:
                    self.received.append(self.partial)
                    self.partial = []
        return moved

    async def reset(self, cycles: int) -> None:
        """Hold reset for some cycles and forget all words that are under way."""
        self.driver.stop()
        self.driver.drop()
        self.partial, self.received, self.inside = [], [], False
        await super().reset(cycles)
