"""Golden vectors (`quadfire.sim.cocotb.vectors`), played into a block by Amaranth's simulator.

The same vectors go through the generated Verilog with `quadfire.sim.cocotb.run.run_testbench`. So
every block has one set of stimuli and one model, and three simulators must agree.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping

from amaranth import Value
from amaranth.lib import data
from amaranth.sim import Simulator, SimulatorContext

from quadfire.paths import CHECKOUT
from quadfire.rtl.lib.module_library import named_ports

__all__ = ["Play", "simulate", "packed", "unpacked", "wrap"]

#: Levels of idling and backpressure for the fast simulator.
STALLS = [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.4, 0.7)]

#: Cycles that are watched for surplus output.
TAIL = 32


def packed(layout: data.Layout, values: Mapping | list | None = None, **fields) -> int:
    """The bits of a structure as a number. Fields that are not given are 0."""
    return Value.cast(layout.const(values or fields)).value & (1 << layout.size) - 1


def unpacked(layout: data.StructLayout, bits: int) -> dict[str, int]:
    """The fields of a structure, unsigned."""
    return {name: bits >> field.offset & (1 << field.width) - 1 for name, field in layout}


def wrap(value: int, bits: int) -> int:
    """`value` modulo 2^bits, signed."""
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def simulate(dut, bench: Callable, name: str = "failed") -> None:
    """Run an `async def bench(ctx)` on `dut`. A failure is run again and leaves its waveform.

    The bench is then called a second time, so it must start from fresh state.
    """
    def run(wave=None):
        simulator = Simulator(dut)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        if wave is None:
            return simulator.run()
        with simulator.write_vcd(str(wave)):
            simulator.run()

    try:
        run()
    except AssertionError as error:
        wave = CHECKOUT / "build" / "waves" / f"{name}.vcd"
        wave.parent.mkdir(parents=True, exist_ok=True)
        try:
            run(wave)
        except AssertionError:
            error.add_note(f"waveform: {wave}")
        raise


class _Channel:
    """One channel of the vectors: its ports, its transactions, the cycles in which they passed."""

    def __init__(self, ctx: SimulatorContext, ports: Mapping[str, Value], about: dict, stall: float,
                 seed: str):
        self.ctx, self.about, self.stall = ctx, about, stall
        self.rng = random.Random(f"{seed} {about['name']}")
        self.valid = ports[about["valid"]]
        self.ready = ports[about["ready"]] if about["ready"] else None
        self.payload = {port: ports[port] for port in about["payload"]}
        self.queue = deque(about["transactions"])
        self.moments: list[int] = []

    def stalls(self) -> bool:
        """Whether the channel idles, or refuses, in this cycle."""
        return self.rng.random() < self.stall


class _Driver(_Channel):
    """Offers the transactions of an input in order, with random values while it offers none."""

    after: "_Driver | None" = None
    offering = False
    wait = 0

    def gap(self) -> int:
        """Cycles to wait before the next transaction."""
        gaps, index = self.about["gaps"], len(self.moments)
        return gaps[index] if gaps and index < len(gaps) else 0

    def drive(self) -> None:
        if self.offering:
            return
        if self.queue and (self.after is None or not self.after.queue):
            if self.wait:
                self.wait -= 1
            else:
                self.offering = self.about["exact"] or not self.stalls()
        for port, signal in self.payload.items():
            value = self.queue[0][port] if self.offering else self.rng.getrandbits(64)
            self.ctx.set(signal, value & (1 << len(signal)) - 1)
        self.ctx.set(self.valid, int(self.offering))

    def sample(self, cycle: int) -> None:
        if self.offering and (self.ready is None or self.ctx.get(self.ready)):
            self.queue.popleft()
            self.moments.append(cycle)
            self.offering = False
            self.wait = max(self.about["period"] - 1, self.gap())


class _Checker(_Channel):
    """Takes the transactions of an output and compares them, in order."""

    taking = True
    held: dict | None = None

    def drive(self) -> None:
        if self.ready is not None:
            self.taking = not self.stalls()
            self.ctx.set(self.ready, int(self.taking))

    def sample(self, cycle: int) -> None:
        name, index = self.about["name"], len(self.moments)
        if not self.ctx.get(self.valid):
            assert self.held is None, f"{name}: valid fell before ready in cycle {cycle}"
            return
        got = {port: self.ctx.get(signal) for port, signal in self.payload.items()}
        assert self.held in (None, got), f"{name}: changed before ready in cycle {cycle}"
        self.held = None if self.taking else got
        if not self.taking:
            return
        assert self.queue, f"{name}: {got} follows the {index} expected transactions"
        for port, value in self.queue.popleft().items():
            width = len(self.payload[port])
            assert (got[port] - value) % (1 << width) == 0, (
                f"{name}: transaction {index}, {port}: expected {value:#x}, got {got[port]:#x}, in "
                f"cycle {cycle}")
        self.moments.append(cycle)


class Play:
    """Vectors played to their end. `moments[channel]` are the cycles of its transactions.

    | argument       | meaning                                          |
    |----------------|--------------------------------------------------|
    | `dut`          | the component                                    |
    | `vectors`      | what goes in and what must come out              |
    | `idle`         | share of cycles in which an input offers nothing |
    | `backpressure` | share of cycles in which an output is not ready  |
    | `seed`         | of both                                          |

    Raises AssertionError, with seed and waveform, at the first transaction that is wrong, missing
    or surplus, at a broken rule of a handshake, and where a latency is not that of the vectors.
    """

    def __init__(self, dut, vectors: dict, *, idle: float = 0.0, backpressure: float = 0.0,
                 seed: int = 1):
        self.vectors, self.idle, self.backpressure, self.seed = vectors, idle, backpressure, seed
        self.ports = {name: value for name, (value, _) in named_ports(dut).items()}
        self.moments: dict[str, list[int]] = {}
        try:
            simulate(dut, self._bench, type(dut).__name__)
        except AssertionError as error:
            error.add_note(f"idle {idle}, backpressure {backpressure}, seed {seed}")
            raise

    async def _bench(self, ctx: SimulatorContext) -> None:
        vectors = self.vectors
        for port, value in vectors["constants"].items():
            ctx.set(self.ports[port], value & (1 << len(self.ports[port])) - 1)
        drivers = [_Driver(ctx, self.ports, about, self.idle, f"{self.seed} {self.idle}")
                   for about in vectors["inputs"]]
        checkers = [_Checker(ctx, self.ports, about, self.backpressure, f"{self.seed}")
                    for about in vectors["outputs"]]
        named = {driver.about["name"]: driver for driver in drivers}
        for driver in drivers:
            driver.after = named.get(driver.about["after"])
            driver.wait = driver.gap()
        work = sum(len(c["transactions"]) * c["period"] + sum(c["gaps"] or ())
                   for c in (*vectors["inputs"], *vectors["outputs"]))
        limit = 2000 + 10 * work
        cycle, tail = 0, TAIL
        await ctx.tick()
        while tail:
            for channel in (*drivers, *checkers):
                channel.drive()
            for channel in (*drivers, *checkers):
                channel.sample(cycle)
            await ctx.tick()
            cycle += 1
            if not any(channel.queue for channel in (*drivers, *checkers)):
                tail -= 1
            assert cycle < limit, f"timeout after {cycle} cycles: " + ", ".join(
                f"{c.about['name']}: {len(c.moments)} of {len(c.moments) + len(c.queue)}"
                for c in (*drivers, *checkers))
        self.moments = {c.about["name"]: c.moments for c in (*drivers, *checkers)}
        for checker in checkers if not self.backpressure else ():
            if (latency := checker.about["latency"]) is not None:
                steps = [b - a for a, b in zip(drivers[0].moments, checker.moments, strict=True)]
                assert set(steps) <= {latency}, f"latencies are {set(steps)}, not {latency}"
