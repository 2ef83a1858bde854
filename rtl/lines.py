"""Line buffer: sums wait here on their way from one kernel row to the next."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .memories import BLOCK
from .signals import AddressKind, address_layout, control_layout, sums_layout

__all__ = ["LineBuffer"]


class LineBuffer(wiring.Component):
    """Stands between two cells; every shift goes `line` shifts later, commands `delay` cycles.

    An address of kind LINE sets `line`, 0 .. line_words - 2; with 0 the sums of a shift reach the
    next cell together with it, as if no buffer were there. first: the buffer is the first of its
    group, where `top` makes the sums zero.

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
            "control_in": In(control_layout(config)),
            "control_out": Out(control_layout(config)),
            "sums_in": In(sums_layout(config)),
            "sums_out": Out(sums_layout(config)),
        })

    def model(self, shifts: list[int], line: int) -> list[int | None]:
        """What leaves with each shift, given what enters; None: what was there before."""
        return [shifts[i - line] if i >= line else None for i in range(len(shifts))]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        address, control = self.address_in, self.control_in
        for stage in range(1, self.delay + 1):
            later_address = Signal(address_layout(config), name=f"s{stage}_address")
            later_control = Signal(control_layout(config), name=f"s{stage}_control")
            m.d.sync += [later_address.eq(address), later_control.eq(control)]
            address, control = later_address, later_control
            if stage == 3:
                s3_top, s3_shift = control.top, control.shift
        m.d.comb += [self.address_out.eq(address), self.control_out.eq(control)]

        m.submodules.line_mem = memory = Memory(
            shape=sums_layout(config), depth=config.line_words, init=[], attrs=BLOCK)
        read, write = memory.read_port(), memory.write_port()
        line = Signal(range(config.line_words), reset_less=True)
        with m.If(self.address_in.kind == AddressKind.LINE):
            m.d.sync += line.eq(self.address_in.address)

        # s0: written. s1: read. s2: the word is there. s3: in the memory's own register. s4: out.
        here, s1_read = (Signal(range(config.line_words), name=name)
                         for name in ("here", "s1_read"))
        m.d.comb += [
            write.en.eq(self.control_in.shift),
            write.addr.eq(here),
            write.data.eq(self.sums_in),
            read.addr.eq(s1_read),
        ]
        s3_sums = Signal(sums_layout(config), reset_less=True)
        m.d.sync += [s1_read.eq(here - line), s3_sums.eq(read.data)]
        with m.If(self.control_in.shift):
            m.d.sync += here.eq(here + 1)
        m.d.sync += self.sums_out.eq(Mux(s3_shift & ~(s3_top & self.first), s3_sums, 0))
        return m
