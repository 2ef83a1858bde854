"""Line buffer: sums wait here on their way from one kernel row to the next."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.lib.chain_layouts import (
    AddressKind, address_layout, cell_control_layout, registered, sums_layout,
)

__all__ = ["LineBuffer"]


class LineBuffer(wiring.Component):
    """Stands between two cells; every shift goes `line` shifts later, commands `delay` cycles.

    sums_in, as a cell gives it, is a cycle behind its command, and so is sums_out. An address of
    kind LINE sets `line`, 0 .. line_words - 2; with 0 the sums of a shift reach the next cell
    together with it, as if no buffer were there. first: the buffer is the first of its group, where
    `top` makes the sums zero.

    The word read is never the one that is written in that cycle: with `line` of 0 it was written
    the cycle before, else it lies at least 2 places ahead of the place being written.
    Reset: nothing; sums that nobody has written are used for no output.
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
        """What leaves with each shift, given what enters; None: what was there before."""
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

        # s1: written. s2: read. s3: the word is there. s4: in the memory's own register. s5: out.
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
