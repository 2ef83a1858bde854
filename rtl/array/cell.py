# amaranth: UnusedElaboratable=no
"""A cell: the lanes of one group in one bank, with their weights and accumulators."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.accumulators import Accumulators, accumulate
from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import (
    AddressKind,
    address_layout,
    cell_control_layout,
    sums_layout,
    write_layout,
)
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.lib.strobes import registered

__all__ = ["Cell"]


class Cell(wiring.Component):
    """acc[slot] = (0, acc[slot] or neighbour) + weight in every lane, one event a cycle.

    | port          | shape                     | meaning                                          |
    |---------------|---------------------------|--------------------------------------------------|
    | `bank`        | in                        | number of the cell's bank, a constant            |
    | `address_in`  | in, `address_layout`      | early part of a command                          |
    | `address_out` | out                       | the same for the next cell, a cycle later        |
    | `control_in`  | in, `cell_control_layout` | late part, `control_delay` cycles later          |
    | `control_out` | out                       | the same for the next cell, a cycle later        |
    | `write_in`    | in, `write_layout`        | a word for the weight memory                     |
    | `write_out`   | out                       | the same a cycle later; at once if not pipelined |
    | `sums_in`     | in, `sums_layout`         | `sums_out` of the previous bank                  |
    | `sums_out`    | out, `sums_layout`        | this bank's sums from before a shift             |

    `sums_out` is zero except when the next bank shifts, so that bank adds it unconditionally. Where
    no queue stands before the neurons, the sums of the last bank stay and move down one lane per
    cycle: lane 0 shows one lane after another.

    With `takes_wide`, rows may be wide weights, see `WeightMemory`.

    There are three ways to keep the sums.

    - Running sums (`ArrayConfig.running_sums`): the events of a slot come in a row, and a register
      holds the sum of the slot under way. Every sum is also written to the slot's place. The adder
      stands between registers. Its inputs are (running | neighbour) + (weight | loaded), where one
      of each pair is zero: four inputs are all that a LUT before a carry has.
    - LUT RAM without running sums, where registers are scarce: the sum is read, added to and
      written in one cycle. A cell of eight lanes does so in two halves, each with a command
      register of its own (`ArrayConfig.cell_halves`). No command loads.
    - Block RAM: the sum is read at the clock edge that begins the command, and written at the
      falling edge in the middle of it. The next command finds it there, at the price of half a
      cycle to add in. No command loads.

    Latency: `latency` cycles from `control_in` to `sums_out`. II: 1. Backpressure: none.
    Overflow: wraps; the compiler proves that it cannot.
    Reset: commands only. The first event of a slot starts its accumulators.
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

        A command is {"slot", "source", "weights"}. The source is "zero", "own" or a list of the
        neighbour's sums; weights are a list, or None without an event.
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
