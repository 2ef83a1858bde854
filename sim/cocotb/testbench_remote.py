"""The far end of `quadfire.sim.cocotb.transport`: a bench that does what another process tells it.

Simulated time stands still between two commands. A command is (name of a method of Remote, its
arguments); the reply is (None, result, cycle) or (name of an exception, its text, cycle).
"""

import inspect
import os
import random
from multiprocessing.connection import Client
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from quadfire.rtl.contract.tape import Answer
from quadfire.sim.cocotb.testbench_block import Driver, Monitor, start
from quadfire.sim.cocotb.vectors import channel


class Remote:
    """The core's two streams, with queues of words and packets as in sim/verilator/cpp/harness.cpp."""

    def __init__(self, dut: Any, idle: float, backpressure: float, seed: int):
        self.dut = dut
        self.cycle = 0
        self.driver = Driver(dut, _stream("s_axis"), random.Random(f"{seed} idle"), idle)
        self.monitor = Monitor(dut, _stream("m_axis"), random.Random(f"{seed} backpressure"),
                               backpressure)
        self.partial: list[int] = []
        self.received: list[list[int]] = []
        self.inside = False     # a packet is half sent

    async def step(self) -> bool:
        """One clock cycle; was a word transferred?"""
        self.driver.drive()
        self.monitor.drive()
        sent, taken = self.driver.count, self.monitor.count
        offered = self.driver.queue[0] if self.driver.offering else None
        await RisingEdge(self.dut.clk)
        self.cycle += 1
        self.driver.sample(self.cycle)
        if offered and self.driver.count > sent:
            self.inside = not offered["s_axis_tlast"]
        if (word := self.monitor.sample(self.cycle)) is not None:
            self.partial.append(word["m_axis_tdata"])
            if word["m_axis_tlast"]:
                self.received.append(self.partial)
                self.partial = []
        return self.driver.count > sent or self.monitor.count > taken

    def send(self, words: list[int], last: bool) -> None:
        """Queue words for the input."""
        self.driver.queue.extend({"s_axis_tdata": word, "s_axis_tlast": 0} for word in words)
        if last:
            self.driver.queue[-1]["s_axis_tlast"] = 1

    def _finished(self, answers: int) -> bool:
        """All is sent and answered, or an error answer came and no packet is half sent."""
        if not self.driver.queue:
            return len(self.received) >= answers or self._errors()
        return self._errors() and not (self.driver.offering or self.inside)

    def _errors(self) -> bool:
        return any(packet[0] >> 24 == Answer.ERROR for packet in self.received)

    async def exchange(self, packets: list[list[int]], answers: int,
                       idle_limit: int) -> list[list[int]]:
        """As `Transport.exchange`."""
        for packet in packets:
            self.send(packet, True)
        before, quiet = self.driver.count, 0
        while not self._finished(answers):
            if quiet == idle_limit:
                self.driver.drop()
                raise TimeoutError(
                    f"the device made no progress for {idle_limit} cycles (now at cycle "
                    f"{self.cycle}): it took {self.driver.count - before} of "
                    f"{sum(map(len, packets))} words and gave {len(self.received)} of {answers} "
                    "answers")
            quiet = 0 if await self.step() else quiet + 1
        self.driver.drop()
        taken: list[list[int]] = []
        while len(taken) < answers and self.received:
            taken.append(self.received.pop(0))
            if taken[-1][0] >> 24 == Answer.ERROR:
                break
        return taken

    async def run(self, cycles: int) -> None:
        """Clock for so many cycles."""
        for _ in range(cycles):
            await self.step()

    async def reset(self, cycles: int) -> None:
        """Reset the core and forget all words under way."""
        self.driver.stop()
        self.driver.drop()
        self.monitor.stop()
        self.partial, self.received, self.inside = [], [], False
        self.dut.rst.value = 1
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.cycle += cycles


def _stream(prefix: str) -> dict:
    return channel(prefix, [], valid=f"{prefix}_tvalid", ready=f"{prefix}_tready",
                   payload=[f"{prefix}_tdata", f"{prefix}_tlast"])


@cocotb.test()
async def serve(dut: Any) -> None:
    """Do what the other end says, until it hangs up."""
    remote = Remote(dut, float(os.environ["QUADFIRE_IDLE"]),
                    float(os.environ["QUADFIRE_BACKPRESSURE"]), int(os.environ["QUADFIRE_SEED"]))
    await start(dut, "clk", "rst", [remote.driver, remote.monitor])
    with Client(os.environ["QUADFIRE_SOCKET"]) as parent:
        while True:
            try:
                name, arguments = parent.recv()
            except EOFError:
                return
            try:
                result = getattr(remote, name)(*arguments)
                result = await result if inspect.isawaitable(result) else result
                parent.send((None, result, remote.cycle))
            except (AssertionError, TimeoutError) as error:
                parent.send((type(error).__name__, str(error), remote.cycle))
