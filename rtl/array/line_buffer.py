"""Line buffer: sums wait here between two rows of the kernel."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import (
    AddressKind,
    address_layout,
    cell_control_layout,
    sums_layout,
)
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.lib.strobes import registered

__all__ = ["LineBuffer"]


class LineBuffer(wiring.Component):
    """Stands between two cells. A shift's sums leave `line` shifts later, commands `delay` cycles.

    | port          | shape                     | meaning                                       |
    |---------------|---------------------------|-----------------------------------------------|
    | `first`       | in, 1                     | first buffer of its group, where `top` zeroes |
    | `address_in`  | in, `address_layout`      | kind LINE sets `line`, 0 .. line_words - 2    |
    | `address_out` | out                       | the same, `delay` cycles later                |
    | `control_in`  | in, `cell_control_layout` | a command; with `shift`, sums enter and leave |
    | `control_out` | out                       | the same, `delay` cycles later                |
    | `sums_in`     | in, `sums_layout`         | from a cell, a cycle after the command        |
    | `sums_out`    | out, `sums_layout`        | for the next cell, a cycle after the command  |

    With `line` of 0, the sums of a shift reach the next cell together with it, as if there were no
    buffer.

    No word is read while it is written. With `line` of 0 it was written a cycle before; otherwise
    it lies at least 2 places ahead of the place being written.

    Latency: `delay` cycles. II: 1. Backpressure: none. Reset: commands. Sums that nobody has
    written are used for no output.
    """

    delay = 4

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "first": In(1),
            "address_in": In(address_layout(config)),
            "address_out": Out(address_layout(config)),
            "control_in": In(cell_control_layout(config)),
            "control_out": Out(cell_control_layout(config)),
            "sums_in": In(sums_layout(config)),
            "sums_out": Out(sums_layout(config)),
        })

    def model(self, shifts: list[int], line: int) -> list[int | None]:
        """What leaves with each shift, given what enters; None for what was there before."""
        return [shifts[i - line] if i >= line else None for i in range(len(shifts))]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        address, control = self.address_in, [self.control_in]
        for stage in range(1, self.delay + 1):
            address = registered(m, address, f"s{stage}_address")
            control.append(registered(m, control[-1], f"s{stage}_control"))
        m.d.comb += [self.address_out.eq(address), self.control_out.eq(control[-1])]

        m.submodules.line_mem = memory = Memory(
            shape=sums_layout(config), depth=config.line_words, init=[], attrs=BLOCK)
        read, write = memory.read_port(), memory.write_port()
        line = Signal(range(config.line_words), reset_less=True)
        with m.If(self.address_in.kind == AddressKind.LINE):
            m.d.sync += line.eq(self.address_in.address)

        # s1: write. s2: read address. s3: the word is read. s4: memory's output register. s5: out.
        here, s2_read = (Signal(range(config.line_words), name=name, reset_less=True)
                         for name in ("here", "s2_read"))
        m.d.comb += [
            write.en.eq(control[1].shift),
            write.addr.eq(here),
            write.data.eq(self.sums_in),
            read.addr.eq(s2_read),
        ]
        s4_sums, s5_sums = (Signal(sums_layout(config), name=name, reset_less=True)
                            for name in ("s4_sums", "s5_sums"))
        s4_quiet = Signal(init=1)
        m.d.sync += [
            s2_read.eq(here - line),
            s4_sums.eq(read.data),
            s4_quiet.eq(~control[3].shift | (control[3].top & self.first)),
            s5_sums.eq(Mux(s4_quiet, 0, s4_sums)),
        ]
        m.d.comb += self.sums_out.eq(s5_sums)
        with m.If(control[1].shift):
            m.d.sync += here.eq(here + 1)
        return m
