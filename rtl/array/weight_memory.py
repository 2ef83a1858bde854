"""Weight memory of one cell. A row holds the weights of `group_lanes` output channels."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.memory_styles import BLOCK, LARGE

__all__ = ["WeightMemory"]


class WeightMemory(wiring.Component):
    """weights = row `address` where `read`, otherwise zero.

    | port            | shape               | meaning                             |
    |-----------------|---------------------|-------------------------------------|
    | `read`          | in, 1               | read a row                          |
    | `wide`          | in, 1               | the row is one wide weight          |
    | `address`       | in                  | the row                             |
    | `weights`       | out, [lanes] signed | the weights, `latency` cycles later |
    | `write`         | in, 1               | write a row                         |
    | `write_address` | in                  | the row                             |
    | `write_data`    | in, `row_bits`      | its weights, lane 0 lowest          |

    With `takes_wide`, a row may hold one weight of `wide_bits` above the number of its lane. All
    other lanes then get zero. Without it, `wide` is ignored.

    Latency: 3 cycles: the memory, its output register, and a register that also zeroes. If the
    configuration is not `pipelined`, 2, without the output register. II: 1. Backpressure: none.
    Reset: the flags that make weights zero.

    Reading and writing one row in the same cycle gives an undefined row. The compiler puts a WAIT
    before it writes rows that the running pass reads. With one port (`config.weight_ports`), reads
    and writes share one address, and any write makes a row read in that cycle undefined. Such a
    memory fits single-port RAM.
    """

    def __init__(self, config: ArrayConfig, *, takes_wide: bool = False):
        self.config, self.takes_wide = config, takes_wide
        self.latency = self.latency_of(config)
        bits = config.weight_bits
        if takes_wide:
            bits = min(max(bits, config.wide_bits), config.accumulator_bits)
        super().__init__({
            "read": In(1),
            "wide": In(1),
            "address": In(range(config.weight_rows)),
            "weights": Out(data.ArrayLayout(signed(bits), config.group_lanes)),
            "write": In(1),
            "write_address": In(range(config.weight_rows)),
            "write_data": In(config.row_bits),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return 3 if config.pipelined else 2

    def model(self, row: int, *, wide: bool = False) -> list[int]:
        """The weights of a row's bits: one per lane, or a wide one for a single lane."""
        config = self.config

        def signed_bits(value: int, bits: int) -> int:
            return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)

        if not (wide and self.takes_wide):
            return [signed_bits(row >> lane * config.weight_bits, config.weight_bits)
                    for lane in range(config.group_lanes)]
        lane_bits = config.row_bits - config.wide_bits
        value = signed_bits(row >> lane_bits, min(config.wide_bits, config.accumulator_bits))
        return [value * (row & (1 << lane_bits) - 1 == lane) for lane in range(config.group_lanes)]

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.weight_mem = memory = Memory(
            shape=config.row_bits, depth=config.weight_rows, init=[],
            attrs=BLOCK if config.weight_ports == 2 else LARGE)
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.addr.eq(self.address),
            write.en.eq(self.write),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]
        if config.weight_ports == 1:
            address = Signal(range(config.weight_rows), name="either_address")
            m.d.comb += [
                address.eq(Mux(self.write, self.write_address, self.address)),
                read.en.eq(~self.write),
                read.addr.eq(address),
                write.addr.eq(address),
            ]
        s1_quiet, s1_wide = Signal(init=1), Signal()
        s2_quiet, s2_wide = Signal(init=1), Signal()
        s2_row = Signal(config.row_bits, reset_less=True)
        m.d.sync += s1_quiet.eq(~self.read)
        output = m.d[config.stage_domain]
        output += [s2_quiet.eq(s1_quiet), s2_row.eq(read.data)]
        weights = Signal.like(self.weights, name="read_weights", reset_less=True)
        m.d.comb += self.weights.eq(weights)
        lane_bits = config.row_bits - config.wide_bits
        if self.takes_wide:
            m.d.sync += s1_wide.eq(self.wide)
            output += s2_wide.eq(s1_wide)
        for lane in range(config.group_lanes):
            weight = Signal.like(self.weights[lane], reset_less=False)
            m.d.comb += weight.eq(s2_row.word_select(lane, config.weight_bits).as_signed())
            if self.takes_wide:
                with m.If(s2_wide):
                    m.d.comb += weight.eq(s2_row[lane_bits:].as_signed())
                with m.If(s2_quiet | s2_wide & (s2_row[:lane_bits] != lane)):
                    m.d.comb += weight.eq(0)
            else:
                with m.If(s2_quiet):
                    m.d.comb += weight.eq(0)
            m.d.sync += weights[lane].eq(weight)
        return m
