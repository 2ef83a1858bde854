# amaranth: UnusedElaboratable=no
"""The link against the host's end of it: nothing is lost, and damage never stops it for good."""

import random

import pytest
from amaranth import Module, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In

from quadfire.firmware.transports.serial_link import HostLink
from quadfire.rtl.contract.serial_protocol import BLOCK, ESCAPE, Code
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.shell.link import Link, window_blocks

from tests.rtl.bench_tools import simulate

#: Clock cycles per byte.
SLOT = 2


class Loop(wiring.Component):
    """A link that sends every packet back; `hold` stops the packets."""

    def __init__(self, buffer: int):
        self.link = Link(buffer=buffer)
        super().__init__({"hold": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = self.link
        fifo = SyncFIFO(width=STREAM_WORD.size, depth=4)
        m.submodules.fifo = ResetInserter(link.reset)(fifo)
        m.d.comb += [
            fifo.w_data.eq(link.o.payload), fifo.w_en.eq(link.o.valid & ~self.hold),
            link.o.ready.eq(fifo.w_rdy & ~self.hold),
            link.i.payload.eq(fifo.r_data), link.i.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(link.i.ready),
        ]
        return m


class Wires:
    """The wires between host and device: a byte in either direction per SLOT.

    damage: probability that something happens to a byte. hold: probability of a cycle in which the
    packets behind the device stand still. reads: probability that the host reads in a slot.
    """

    def __init__(self, ctx, dut: Loop, host: HostLink, rng: random.Random, reads: float = 1.0):
        self.ctx, self.dut, self.host, self.rng, self.reads = ctx, dut, host, rng, reads
        self.to_device, self.to_host = bytearray(), bytearray()
        self.damage = self.hold = 0.0
        self.most = self.slots = self.quiet = 0

    def _happens(self, byte: int) -> list[int | None]:
        """What becomes of a byte: usually itself; None stands for one without a stop bit."""
        if self.rng.random() >= self.damage:
            return [byte]
        return self.rng.choice([[], [byte, byte], [byte ^ 1 << self.rng.randrange(8)], [None],
                                [self.rng.randrange(256), byte], [ESCAPE]])

    async def slot(self) -> None:
        ctx, link, host = self.ctx, self.dut.link, self.host
        self.to_device += host.take()
        incoming = self._happens(self.to_device.pop(0)) if self.to_device else []
        for cycle in range(max(SLOT, len(incoming))):
            byte = incoming[cycle] if cycle < len(incoming) else -1
            ctx.set(link.valid, byte is not None and byte >= 0)
            ctx.set(link.byte, self.rng.randrange(256) if byte is None or byte < 0 else byte)
            ctx.set(link.error, byte is None)
            ctx.set(link.tx.ready, cycle == 0)
            ctx.set(self.dut.hold, self.rng.random() < self.hold)
            if cycle == 0 and ctx.get(link.tx.valid):
                self.to_host += bytes(b for b in self._happens(ctx.get(link.tx.payload))
                                      if b is not None)
            self.most = max(self.most, ctx.get(link.receiver.symbols.level))
            await ctx.tick()
        self.slots += 1
        news = host.news
        if self.rng.random() < self.reads:
            host.feed(bytes(self.to_host))
            self.to_host.clear()
        self.quiet = 0 if host.news != news else self.quiet + 1
        if self.quiet % 400 == 399 and self.reads:
            host.poll()

    async def until(self, done, limit: int = 20_000) -> None:
        end = self.slots + limit
        while not done():
            await self.slot()
            assert self.slots < end, (f"nothing happens: {self.host.unsent} bytes unsent, "
                                      f"{self.host.waiting} symbols not acknowledged")


def packets(rng: random.Random, count: int, longest: int = 40) -> list[bytes]:
    """Random packets with many escape bytes."""
    return [bytes(rng.choice((ESCAPE, Code.END, rng.randrange(256)))
                  for _ in range(4 * rng.randint(1, longest))) for _ in range(count)]


@pytest.mark.parametrize("hold, reads", [
    (0.5, 1), (0.97, 1), (0, 0.01), pytest.param(0, 1, marks=pytest.mark.slow),
    pytest.param(0.7, 0.05, marks=pytest.mark.slow)])
def test_no_symbol_is_lost(hold, reads):
    """All packets come back, however often device or host stop; the buffer stays in the window."""
    buffer = 192
    dut = Loop(buffer)

    async def bench(ctx):
        rng = random.Random(f"{hold} {reads}")
        host, sent = HostLink(), packets(rng, 12)
        wires = Wires(ctx, dut, host, rng, reads)
        wires.hold = hold
        await wires.until(lambda: host.window)
        assert (host.resets, host.window) == (1, window_blocks(buffer) * BLOCK)
        for packet in sent:
            host.queue(packet)
        await wires.until(lambda: len(host.frames) == len(sent) and not host.waiting)
        assert list(host.frames) == sent
        assert not ctx.get(dut.link.lost)
        assert wires.most <= host.window

    simulate(dut, bench, "link")


def test_a_host_that_does_not_read_stops_the_device():
    """The device stops after its window of unacknowledged symbols, and goes on later."""
    dut = Loop(2048)

    async def bench(ctx):
        rng = random.Random(5)
        host, sent = HostLink(), packets(rng, 20)
        wires = Wires(ctx, dut, host, rng)
        await wires.until(lambda: host.window)
        for packet in sent:
            host.queue(packet)
        wires.reads = 0.0
        for _ in range(2000):
            await wires.slot()
        assert 16 * BLOCK <= len(wires.to_host) <= 2 * 17 * BLOCK + 100
        wires.reads = 1.0
        await wires.until(lambda: len(host.frames) == len(sent))
        assert list(host.frames) == sent and not ctx.get(dut.link.lost)

    simulate(dut, bench, "link_stopped")


@pytest.mark.parametrize("damage, seed", [
    (0.003, 0), (0.05, 0), *(pytest.param(damage, seed, marks=pytest.mark.slow)
                             for damage in (0.003, 0.02, 0.05) for seed in range(1, 5))])
def test_damage_does_not_stop_the_link(seed, damage):
    """Bytes are lost, doubled, changed, inserted; once that is over, the next packets arrive."""
    dut = Loop(192)

    async def bench(ctx):
        rng = random.Random(f"{seed} {damage}")
        host = HostLink()
        wires = Wires(ctx, dut, host, rng)
        await wires.until(lambda: host.window)
        for _ in range(1 + seed):
            wires.damage = damage
            for packet in packets(rng, 10):
                host.queue(packet)
            for _ in range(1500):
                await wires.slot()
            wires.damage = 0
            host.drop()
            host.queue(b"")
            await wires.until(lambda: host.idle and not host.waiting and wires.quiet > 100)
            host.clear()
            sent = packets(rng, 4)
            for packet in sent:
                host.queue(packet)
            await wires.until(lambda sent=sent: len(host.frames) == len(sent))
            assert list(host.frames) == sent

    simulate(dut, bench, "link_damaged")


def test_reset_passes_a_full_buffer():
    dut = Loop(128)

    async def bench(ctx):
        rng = random.Random(2)
        host = HostLink()
        wires = Wires(ctx, dut, host, rng)
        await wires.until(lambda: host.window)
        wires.hold = 1.0
        for packet in packets(rng, 5):
            host.queue(packet)
        for _ in range(500):
            await wires.slot()
        assert host.waiting and host.unsent and host.resets == 1
        host.reset()
        wires.hold = 0.0
        await wires.until(lambda: host.resets == 2 and host.window)
        assert not host.waiting and not host.unsent
        host.queue(b"abcd")
        await wires.until(lambda: host.frames)
        assert list(host.frames) == [b"abcd"] and not ctx.get(dut.link.lost)

    simulate(dut, bench, "link_reset")


@pytest.mark.fast
def test_lengths_that_are_no_whole_words():
    """A packet whose length is no multiple of four still ends; END alone is no packet."""
    dut = Loop(128)

    async def bench(ctx):
        host = HostLink()
        wires = Wires(ctx, dut, host, random.Random(1))
        await wires.until(lambda: host.window)
        for packet in (b"", b"abcdef", b"", b"", b"ghij"):
            host.queue(packet)
        await wires.until(lambda: len(host.frames) == 2)
        first, second = host.frames
        assert first[:4] == b"abcd" and len(first) == 8 and first[6:] == b"ef"
        assert second == b"ghij"

    simulate(dut, bench, "link_length")


@pytest.mark.fast
def test_buffers_that_are_too_small():
    with pytest.raises(ValueError, match="at least 128 symbols, not 127"):
        Link(buffer=127)
    assert [window_blocks(n) for n in (128, 256, 2048, 1 << 20)] == [1, 3, 28, 28]
