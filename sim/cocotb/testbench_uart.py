"""The test bench of a serial port: bit times that do not match, breaks, glitches, lost bytes.

A cocotb test module for a design with the ports clk, rst, rx, tx and lost that sends every packet
back. QUADFIRE_BIT is the bit time of the other end, in clock cycles of the design.
"""

import os
import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from quadfire.firmware.transports.serial_link import HostLink
from quadfire.rtl.contract.serial_protocol import ESCAPE, Code

CLOCK_PS = 10_000


class Port:
    """The other end of the link.

    bit: its bit time in ps. gap: the longest pause after a byte, in bits. trouble: the probability
    that a byte is disturbed.
    """

    def __init__(self, dut: Any, rng: random.Random):
        self.dut, self.rng, self.host = dut, rng, HostLink()
        self.bit = float(os.environ["QUADFIRE_BIT"]) * CLOCK_PS
        self.gap = self.trouble = 0.0

    async def start(self) -> None:
        """Reset the design, and wait until it announces itself."""
        self.dut.rx.value = 1
        self.dut.rst.value = 1
        Clock(self.dut.clk, CLOCK_PS, unit="ps").start()
        for _ in range(4):
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        cocotb.start_soon(self._receive())
        cocotb.start_soon(self._send())
        await self.until(lambda: self.host.window)

    async def wait(self, bits: float) -> None:
        """Wait for a number of bit times."""
        await Timer(max(1, round(bits * self.bit)), "ps")

    async def until(self, done, bits: float = 60_000) -> None:
        """Wait until something is true. Poll the device from time to time."""
        for turn in range(round(bits / 20)):
            if done():
                return
            if turn % 60 == 59:
                self.host.poll()
            await self.wait(20)
        raise AssertionError(f"nothing happens: {self.host.unsent} bytes unsent, "
                             f"{self.host.waiting} symbols not acknowledged")

    async def _receive(self) -> None:
        while True:
            if self.dut.tx.value:
                await FallingEdge(self.dut.tx)
            await self.wait(0.5)
            assert not self.dut.tx.value, "a start bit that is too short"
            byte = 0
            for place in range(8):
                await self.wait(1)
                byte |= int(self.dut.tx.value) << place
            await self.wait(1)
            assert self.dut.tx.value, "a byte without a stop bit"
            self.host.feed(bytes([byte]))

    async def _send(self) -> None:
        while True:
            data = self.host.take()
            for byte in data:
                await self._byte(byte)
            if not data:
                await self.wait(1)

    async def _byte(self, byte: int) -> None:
        stop, rng = 1, self.rng
        if rng.random() < self.trouble:
            match rng.choice(["break", "glitch", "no stop", "lost", "doubled"]):
                case "break":
                    await self._level(0, rng.uniform(9, 40))
                    await self._level(1, rng.uniform(0.5, 4))
                case "glitch":
                    await self._level(0, rng.uniform(0.01, 0.3))
                    await self._level(1, 1)
                case "no stop":
                    stop = 0
                case "lost":
                    return
                case "doubled":
                    await self._bits(byte, 1)
        await self._bits(byte, stop)
        if self.gap:
            await self._level(1, rng.uniform(0, self.gap))

    async def _bits(self, byte: int, stop: int) -> None:
        for level in (0, *(byte >> place & 1 for place in range(8)), stop):
            await self._level(level, 1)
        self.dut.rx.value = 1

    async def _level(self, level: int, bits: float) -> None:
        self.dut.rx.value = level
        await self.wait(bits)


def packets(rng: random.Random, count: int) -> list[bytes]:
    """Random packets with many bytes that the link must escape."""
    return [bytes(rng.choice((ESCAPE, Code.END, 0, 255, rng.randrange(256)))
                  for _ in range(4 * rng.randint(1, 30))) for _ in range(count)]


async def exchanged(port: Port, sent: list[bytes]) -> None:
    """Send packets; every one must come back as it was sent."""
    port.host.frames.clear()
    for packet in sent:
        port.host.queue(packet)
    await port.until(lambda: len(port.host.frames) == len(sent) and not port.host.waiting)
    assert list(port.host.frames) == sent


@cocotb.test()
async def packets_come_back(dut: Any) -> None:
    """Packets come back, sent without gaps and with random ones."""
    port = Port(dut, random.Random(os.environ["QUADFIRE_SEED"]))
    await port.start()
    for port.gap in (0.0, 3.0):
        await exchanged(port, packets(port.rng, 6))
    assert not dut.lost.value


@cocotb.test()
async def trouble_passes(dut: Any) -> None:
    """Breaks, glitches, bytes lost, doubled or without a stop bit. Then packets come back."""
    port = Port(dut, random.Random(os.environ["QUADFIRE_SEED"]))
    await port.start()
    for port.gap in (0.0, 2.0):
        port.trouble = 0.04
        for packet in packets(port.rng, 6):
            port.host.queue(packet)
        await port.wait(3000)
        port.trouble = 0.0
        port.host.drop()
        port.host.queue(b"")
        await port.until(lambda: port.host.idle and not port.host.waiting)
        await port.wait(3000)
        port.host.clear()
        await exchanged(port, packets(port.rng, 2))


@cocotb.test()
async def reset_by_the_host(dut: Any) -> None:
    """The host resets the device in the middle of a packet. Then packets come back."""
    port = Port(dut, random.Random(os.environ["QUADFIRE_SEED"]))
    await port.start()
    port.host.queue(bytes(400))
    await port.wait(1000)
    resets = port.host.resets
    port.host.reset()
    await port.until(lambda: port.host.resets > resets and port.host.window)
    await exchanged(port, packets(port.rng, 2))
