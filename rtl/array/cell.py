# amaranth: UnusedElaboratable=no
"""A cell: the lanes of one group in one bank, with their weights and accumulators."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.accumulators import Accumulators, accumulate
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.lib.chain_layouts import (
    AddressKind, address_layout, cell_control_layout, registered, sums_layout, write_layout,
)
from quadfire.rtl.array.weight_memory import WeightMemory

__all__ = ["Cell"]


class Cell(wiring.Component):
    """acc[slot] = (0 | acc[slot] | neighbour) + weight, in every lane, one event a cycle.

    Events of a slot come in a row. In all but the largest arrays `running` is the sum of the slot
    that is under way; every sum is written to the slot's place as well. So an adder is between
    registers, and its four inputs are all that a LUT before a carry has: (running | neighbour) +
    (weight | loaded), where one of each pair is zero.

    address, control, write: from the cell before and, one cycle later, to the next; `write` at once
    if not `pipelined`.
    control comes `control_delay` cycles after its address.
    sums_in: the previous bank's `sums_out`.
    sums_out: this bank's sums as they were before a shift, when the next bank shifts. Else they are
    zero, so that a bank adds them without asking; but where no queue stands before the neurons,
    the last bank's go down lane by lane from then on, so that lane 0 shows one after the other.

    takes_wide: rows may be wide weights, see `WeightMemory`.

    Where registers are dear (`ArrayConfig.running_sums`) there is no running sum and nothing to
    load. LUT RAM is then read, added to and written in one cycle, in cells of eight lanes by halves
    with a command register each (`ArrayConfig.cell_halves`). Block RAM is read at the clock
    edge that begins the command, and written at the falling edge in the middle of it: the next
    command finds the sum there, for the price of half a cycle to add in.

    Latency: control to sums_out `latency` cycles. II: 1. Overflow: wraps; the compiler proves it
    cannot. Reset: commands only, the accumulators are started by the first event of a slot.
    """

    latency = 2

    def __init__(self, config: ArrayConfig, *, takes_wide: bool = False):
        self.config, self.takes_wide = config, takes_wide
        self.control_delay = self.control_delay_of(config)
        super().__init__({
            "bank": In(range(max(config.banks, 2))),
            "address_in": In(address_layout(config)),
            "address_out": Out(address_layout(config)),
            "control_in": In(cell_control_layout(config)),
            "control_out": Out(cell_control_layout(config)),
            "write_in": In(write_layout(config)),
            "write_out": Out(write_layout(config)),
            "sums_in": In(sums_layout(config)),
            "sums_out": Out(sums_layout(config)),
        })

    @classmethod
    def control_delay_of(cls, config: ArrayConfig) -> int:
        return WeightMemory.latency_of(config) + 1 - cls.latency

    def model(self, commands: list[dict]) -> list[list[int]]:
        """The accumulators [slot][lane] after `commands`.

        A command is {"slot", "source": "zero" | "own" | list of neighbour sums, "weights": list or
        None for no event}.
        """
        sums = [[0] * self.config.group_lanes for _ in range(self.config.slots)]
        for command in commands:
            source = command["source"]
            base = (sums[command["slot"]] if source == "own" else
                    [0] * self.config.group_lanes if source == "zero" else source)
            weights = command["weights"] or [0] * self.config.group_lanes
            sums[command["slot"]] = [a + w for a, w in zip(base, weights, strict=True)]
        return sums

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.d.comb += [
            self.address_out.eq(registered(m, self.address_in, "address")),
            self.control_out.eq(registered(m, self.control_in, "command")),
            self.write_out.eq(registered(m, self.write_in, "write", config.stage_domain)),
        ]

        m.submodules.weight_memory = weights = WeightMemory(
            config, takes_wide=self.takes_wide)
        kind = self.address_in.kind
        m.d.comb += [
            weights.read.eq((kind == AddressKind.ROW) | (kind == AddressKind.WIDE)),
            weights.wide.eq(kind == AddressKind.WIDE),
            weights.address.eq(self.address_in.address),
            weights.write.eq(self.write_in.weight & (self.write_in.bank == self.bank)),
            weights.write_address.eq(self.write_in.address),
            weights.write_data.eq(self.write_in.data),
        ]

        if config.cell_halves == 1:
            m.d.comb += self.sums_out.eq(accumulate(
                m, config, self.control_in, self.control_out, weights.weights, self.sums_in,
                last=self.bank == config.banks - 1))
            return m
        lanes = config.group_lanes // config.cell_halves
        for number in range(config.cell_halves):
            half = Accumulators(config, lanes, len(weights.weights[0]))
            m.submodules[f"part_{number}"] = placed(
                platform, "part_wide" if self.takes_wide else "part", half)
            m.d.comb += half.control_in.eq(self.control_in)
            for lane in range(lanes):
                whole = number * lanes + lane
                m.d.comb += [
                    half.weights[lane].eq(weights.weights[whole]),
                    half.sums_in[lane].eq(self.sums_in[whole]),
                    self.sums_out[whole].eq(half.sums_out[lane]),
                ]
        return m
