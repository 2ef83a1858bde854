"""Weight memory of one cell: a row holds the weights of `group_lanes` output channels."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .memories import BLOCK, LARGE

__all__ = ["WeightMemory"]


class WeightMemory(wiring.Component):
    """weights = row `address` where `read`, else zero.

    Latency: 3 cycles (memory, its output register, fabric register that also zeroes).
    Reading and writing the same row in one cycle gives an undefined row: the executor writes only
    while no pass runs. With `config.weight_ports` of 1 both share one address, and any write in the
    cycle of a read makes the row undefined: so a memory fits RAM with a single port.
    """

    latency = 3

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.width = config.group_lanes * config.weight_bits
        super().__init__({
            "read": In(1),
            "address": In(range(config.weight_rows)),
            "weights": Out(self.width),
            "write": In(1),
            "write_address": In(range(config.weight_rows)),
            "write_data": In(self.width),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.weight_mem = memory = Memory(
            shape=self.width, depth=self.config.weight_rows, init=[],
            attrs=BLOCK if self.config.weight_ports == 2 else LARGE)
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.en.eq(self.read),
            read.addr.eq(self.address),
            write.en.eq(self.write),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        if self.config.weight_ports == 1:
            address = Signal(range(self.config.weight_rows), name="either_address")
            m.d.comb += [
                address.eq(Mux(self.write, self.write_address, self.address)),
                read.en.eq(self.read & ~self.write),
                read.addr.eq(address),
                write.addr.eq(address),
            ]
        s1_read = Signal()
        s2_read = Signal()
        s2_row = Signal(self.width, reset_less=True)
        m.d.sync += [
            s1_read.eq(self.read),
            s2_read.eq(s1_read),
            s2_row.eq(read.data),
            self.weights.eq(Mux(s2_read, s2_row, 0)),
        ]
        return m
