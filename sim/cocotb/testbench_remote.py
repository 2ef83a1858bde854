"""The test bench that another process commands: the far end of `quadfire.sim.cocotb.transport`.

Simulated time stands still between two commands. A command is the name of a method of `Remote` and
its arguments. A reply is (None, result, cycle), or (name of an exception, its text, cycle).
"""

import inspect
import os
from multiprocessing.connection import Client
from typing import Any

import cocotb

from quadfire.rtl.contract.tape import Answer
from quadfire.sim.cocotb.engine import PacketTestbench


class Remote(PacketTestbench):
    """The core, and the exchange of packets with it."""

    def _errors(self) -> bool:
        return any(packet[0] >> 24 == Answer.ERROR for packet in self.received)

    def _finished(self, answers: int) -> bool:
        """All is sent and answered, or an error answer is there and no packet is half sent."""
        if self.driver.done:
            return len(self.received) >= answers or self._errors()
        return self._errors() and not (self.driver.offering or self.inside)

    async def exchange(self, packets: list[list[int]], answers: int,
                       idle_limit: int) -> list[list[int]]:
        """Send packets and return the next answers, as `Transport.exchange` does."""
        for packet in packets:
            self.send(packet)
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


@cocotb.test()
async def serve(dut: Any) -> None:
    """Obey the other end until it hangs up."""
    remote = Remote(dut, float(os.environ["QUADFIRE_IDLE"]),
                    float(os.environ["QUADFIRE_BACKPRESSURE"]), int(os.environ["QUADFIRE_SEED"]))
    await remote.start()
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
