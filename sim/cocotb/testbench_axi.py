"""The test bench of the AXI shell: registers, streams, resets.

A cocotb test module like `quadfire.sim.cocotb.testbench_core`. Master, source and sink are those of
cocotbext-axi, not those of our engine: so the shell is also tested against AXI as others read it.
The top is the module of `quadfire.sim.cocotb.axi_checks`, which watches all channels: after every
test no rule of AXI may be broken. The vectors are

    {"registers": {name: value}, "frames": [[word, ...], ...], "answers": [[word, ...], ...],
     "timeout": cycles, "levels": ["none", ...]}

| key | meaning |
|---|---|
| `registers` | the values of the constant registers |
| `frames` | the words that go in, a frame each, of one packet or of many |
| `answers` | the packets that must come out; an expected word of null may have any value |
| `timeout` | the longest wait for one frame, in cycles |
| `levels` | the levels of stalls to test with |
"""

import os
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from quadfire.rtl.contract.register_access import FIELDS
from quadfire.rtl.contract.registers import ADDRESS_BITS, REGISTERS, Access, Register, find
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.axi_checks import rule
from quadfire.sim.cocotb.engine import LEVELS

PERIOD = 10     # ns


def pauses(probability: float, seed: str) -> Iterator[bool]:
    """Whether to pause, cycle by cycle, at random."""
    rng = random.Random(seed)
    while True:
        yield rng.random() < probability


class Shell:
    """The shell between an AXI4-Lite master, a source and a sink, all of which stall at random."""

    def __init__(self, dut: Any, level: float):
        self.dut = dut
        self.vectors = golden.read(os.environ["QUADFIRE_VECTORS"])
        self.seed = f"{os.environ['QUADFIRE_SEED']} {level}"
        self.rng = random.Random(self.seed)
        Clock(dut.aclk, PERIOD, unit="ns").start()
        reset = {"reset": dut.aresetn, "reset_active_level": False}
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.aclk, **reset)
        self.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis"), dut.aclk, **reset)
        self.sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis"), dut.aclk, **reset)
        write: Any = self.bus.write_if
        read: Any = self.bus.read_if
        sides = [write.aw_channel, write.w_channel, write.b_channel, read.ar_channel,
                 read.r_channel, self.source, self.sink]
        for part in (write, read, *sides):
            part.log.setLevel("ERROR")
        for index, side in enumerate(sides if level else ()):
            side.set_pause_generator(pauses(level, f"{self.seed} {index}"))

    async def reset(self, cycles: int = 4) -> None:
        """Hold `aresetn` low. The models forget what they were doing."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, cycles)
        self.source.clear()
        self.sink.clear()
        self.dut.aresetn.value = 1
        await RisingEdge(self.dut.aclk)

    async def access(self, offset: int, content: bytes | None = None, size: int = 4
                     ) -> tuple[AxiResp, int]:
        """Write `content`, or read `size` bytes. Returns (response, what was read)."""
        answer: Any
        if content is not None:
            answer = await self.bus.write(offset, content)
            return answer.resp, 0
        answer = await self.bus.read(offset, size)
        return answer.resp, int.from_bytes(answer.data, "little")

    async def read(self, name: str) -> int:
        """Read a register or a field by name."""
        offset, low, bits, _ = FIELDS[name]
        response, word = await self.access(offset)
        assert response == AxiResp.OKAY, f"{name}: {response}"
        return word >> low & (1 << bits) - 1

    async def write(self, name: str, word: int) -> None:
        """Write a whole register."""
        response, _ = await self.access(find(name).offset, word.to_bytes(4, "little"))
        assert response == AxiResp.OKAY, f"{name}: {response}"

    def send(self, frames: list[list[int]]) -> None:
        """Queue frames of words for the source."""
        for words in frames:
            self.source.send_nowait(AxiStreamFrame(
                b"".join(word.to_bytes(4, "little") for word in words)))

    async def receive(self, what: str) -> list[int]:
        """Wait for the next frame. Returns its words."""
        limit = self.vectors["timeout"]
        try:
            frame = await with_timeout(self.sink.recv(), limit * PERIOD, "ns")
        except SimTimeoutError:
            raise AssertionError(f"{what} did not come in {limit} cycles") from None
        assert len(frame.tdata) % 4 == 0, f"{what} has {len(frame.tdata)} bytes"
        return [int.from_bytes(frame.tdata[at:at + 4], "little")
                for at in range(0, len(frame.tdata), 4)]

    async def replay(self, per_frame: int = 1) -> None:
        """Send all frames. The answers must be the golden ones, `per_frame` of them in a frame."""
        await self.write("frame", per_frame)
        await self.write("control", find("control").field("clear").mask)
        self.send(self.vectors["frames"])
        answers = self.vectors["answers"]
        for first in range(0, len(answers), per_frame):
            if (count := len(answers) - first) < per_frame:
                await self.write("frame", count)    # the last ones make a shorter frame
            expected = [word for answer in answers[first:first + per_frame] for word in answer]
            got = await self.receive(f"answer {first}")
            wrong = [at for at, (one, other) in enumerate(zip(got, expected, strict=False))
                     if other not in (None, one)]
            assert not wrong and len(got) == len(expected), (
                f"answer {first}: {len(got)} words instead of {len(expected)}, wrong are "
                f"{wrong[:5]}, seed {self.seed}")
        await ClockCycles(self.dut.aclk, 40)
        assert self.sink.empty(), "an answer followed that is not in the vectors"
        frames, words = self.vectors["frames"], sum(map(len, answers))
        size = len(self.dut.s_axis_tkeep)
        for name, want in {"input_frames": len(frames), "input_bytes": 4 * sum(map(len, frames)),
                           "input_beats": sum(-(-4 * len(frame) // size) for frame in frames),
                           "output_packets": len(answers), "output_bytes": 4 * words,
                           "output_frames": -(-len(answers) // per_frame), "error": 0}.items():
            got = (await self.access(find(name).offset))[1]
            assert got == want, f"{name} is {got}, not {want}"


def _levels() -> list[str]:
    """The levels of stalls in the vectors."""
    path = os.environ.get("QUADFIRE_VECTORS")
    return golden.read(path)["levels"] if path else list(LEVELS)


def shell_test(**parameters: list) -> Any:
    """A cocotb test `(shell, ...)`, after which no rule of AXI may be broken."""
    def decorate(body: Callable[..., Awaitable[None]]) -> Any:
        async def test(dut: Any, level: str, **given: Any) -> None:
            shell = Shell(dut, LEVELS[level])
            await shell.reset()
            await body(shell, **given)
            if number := int(dut.violation.value):
                raise AssertionError(f"a rule of AXI was broken: {rule(number)}")

        test.__name__ = test.__qualname__ = body.__name__
        test.__doc__ = body.__doc__
        return cocotb.test()(cocotb.parametrize(level=_levels(), **parameters)(test))
    return decorate


@shell_test()
async def constants(shell: Shell) -> None:
    """Constant registers have their values and cannot be written."""
    for name, value in shell.vectors["registers"].items():
        assert await shell.read(name) == value, name
        response, _ = await shell.access(find(name).offset, bytes(4))
        assert response == AxiResp.SLVERR
    assert await shell.read("error_access") == 1


def written(register: Register, before: int, word: int, strobe: int) -> int:
    """What a register reads after a write, unless the hardware changes it as well."""
    mask = sum(0xFF << 8 * byte for byte in range(4) if strobe >> byte & 1)
    after = 0
    for field in register.fields:
        now, bits = before & field.mask, word & mask & field.mask
        if field.access is Access.CONTROL:
            now = now & ~mask | bits
        if field.access is Access.STICKY:
            now &= ~bits
        after |= 0 if field.access is Access.STROBE else now
    return after


@shell_test()
async def partial_strobes(shell: Shell) -> None:
    """Writes of 1 to 4 bytes into the writable registers, each followed by a read."""
    registers = [register for register in REGISTERS if register.writable]
    state = {}
    for register in registers:
        state[register.name] = (await shell.access(register.offset))[1]
    for _ in range(40):
        register = shell.rng.choice(registers)
        size = shell.rng.randint(1, 4)
        word = shell.rng.getrandbits(32)
        content = word.to_bytes(4, "little")[:size]
        assert (await shell.access(register.offset, content))[0] == AxiResp.OKAY
        state[register.name] = written(register, state[register.name], word, (1 << size) - 1)
        assert (await shell.access(register.offset))[1] == state[register.name], register.name


@shell_test()
async def bad_addresses(shell: Shell) -> None:
    """Unmapped and unaligned addresses, and writes to read-only registers, give SLVERR."""
    mapped = {register.offset for register in REGISTERS}
    holes = [address for address in range(0, 1 << ADDRESS_BITS, 4) if address not in mapped]
    await shell.write("interrupt_enable", 3)
    for _ in range(12):
        hole, register = shell.rng.choice(holes), shell.rng.choice(REGISTERS)
        unaligned = register.offset + shell.rng.randint(1, 3)
        for address, size in ((hole, 4), (unaligned, 4 - unaligned % 4)):
            assert await shell.access(address, size=size) == (AxiResp.SLVERR, 0), hex(address)
            response, _ = await shell.access(address, bytes(size))
            assert response == AxiResp.SLVERR, hex(address)
    for register in (register for register in REGISTERS if not register.writable):
        response, _ = await shell.access(register.offset, bytes(4))
        assert response == AxiResp.SLVERR, register.name
    assert (await shell.read("error_access"), await shell.read("interrupt_error")) == (1, 1)
    assert await shell.read("interrupt_enable_answer") == 1
    assert shell.dut.irq.value == 1
    await shell.write("error", find("error").field("access").mask)
    await shell.write("interrupt", find("interrupt").field("error").mask)
    assert (await shell.access(find("error").offset))[1] == 0
    await ClockCycles(shell.dut.aclk, 2)
    assert shell.dut.irq.value == 0


@shell_test()
async def back_to_back(shell: Shell) -> None:
    """Reads and writes that are issued at once keep their order and their answers."""
    enable = find("interrupt_enable").offset
    reads: list[Any] = [shell.bus.init_read(find(name).offset, 4)
                        for name in shell.vectors["registers"]]
    writes: list[Any] = [shell.bus.init_write(enable, bytes([value, 0, 0, 0]))
                         for value in (1, 2, 3, 0, 2)]
    for event, (name, value) in zip(reads, shell.vectors["registers"].items(), strict=True):
        await event.wait()
        assert int.from_bytes(event.data.data, "little") == value, name
    for event in writes:
        await event.wait()
        assert event.data.resp == AxiResp.OKAY
    assert (await shell.access(enable))[1] == 2


@shell_test(per_frame=[1, 3])
async def packets(shell: Shell, per_frame: int) -> None:
    """A network through the streams, bit for bit, one answer or three in a frame."""
    await shell.replay(per_frame)


@shell_test()
async def reset_in_mid_burst(shell: Shell) -> None:
    """`aresetn` at random moments, while streams and bus are busy. Then the shell works."""
    length = sum(map(len, shell.vectors["frames"]))
    for _ in range(3):
        shell.send(shell.vectors["frames"])
        for register in REGISTERS[:6]:
            shell.bus.init_read(register.offset, 4)
            shell.bus.init_write(find("interrupt_enable").offset, bytes(4))
        await ClockCycles(shell.dut.aclk, shell.rng.randint(3, length))
        await shell.reset()
    await shell.replay()


@shell_test()
async def soft_reset_in_mid_stream(shell: Shell) -> None:
    """`control.reset` at random moments: input is swallowed, frames end. Then the shell works."""
    length = sum(map(len, shell.vectors["frames"]))
    for _ in range(3):
        shell.send(shell.vectors["frames"])
        await ClockCycles(shell.dut.aclk, shell.rng.randint(3, length))
        await shell.write("control", find("control").field("reset").mask)
        for _ in range(50 * shell.vectors["timeout"]):
            if shell.source.idle():
                break
            await RisingEdge(shell.dut.aclk)
        assert shell.source.idle(), "the shell does not swallow its input"
        while await shell.read("status_output_waiting") or await shell.read("status_output_open"):
            pass
        assert await shell.read("status_held") == 1
        shell.sink.clear()
        await shell.write("control", 0)
    await shell.replay()
