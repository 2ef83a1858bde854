# amaranth: UnusedElaboratable=no
"""A group: `group_lanes` lanes of every bank, one neuron pipeline, a place on the chain."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.cell import Cell
from quadfire.rtl.array.line_buffer import LineBuffer
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import (
    PROBE_WORD,
    address_layout,
    cell_control_layout,
    sums_layout,
    write_layout,
)
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.lib.queue import Queue
from quadfire.rtl.lib.strobes import registered
from quadfire.rtl.neuron.input_current import InputCurrent, readout_layout
from quadfire.rtl.neuron.parameters import Parameters
from quadfire.rtl.neuron.pipeline import NeuronPipeline
from quadfire.rtl.neuron.probe import Probe
from quadfire.rtl.neuron.state_memory import StateMemory

__all__ = ["Group"]


class Group(wiring.Component):
    """The cells of all banks in a row, and the neurons that read out the last one.

        cell 0 -> cell 1 -> ... -> last cell -> queue -> input current -> neurons -> spikes

    With kernel taps, line buffers stand between the rows of the kernel, and the cell of the middle
    bank takes wide weights.

    | port           | shape                     | meaning                                 |
    |----------------|---------------------------|-----------------------------------------|
    | `group`        | in                        | number of the group, a constant         |
    | `address_in`   | in, `address_layout`      | early part of a command                 |
    | `control_in`   | in, `cell_control_layout` | late part of a command                  |
    | `write_in`     | in, `write_layout`        | a word for a weight or parameter memory |
    | `spikes_in`    | in, `lanes`               | the tile's spikes so far                |
    | `spikes_valid` | out, 1                    | this group's spikes are all there       |
    | `tap_in`       | in, `PROBE_WORD`          | probe words of the groups before        |
    | `*_out`        | out                       | what goes on to the next group          |

    Address, control and write leave for the next group one cycle later. So do the spikes: every
    group drops the lowest `group_lanes` of them and appends its own on top, so that after the last
    group those of the first are lowest.

    The signal `scan` of a command starts a readout of the lanes. Signals `tap...` carry probe
    words.

    Latency: `latency` cycles from a command that reads out to its `spikes_out`. II: 1 command,
    `config.readout_period` cycles a readout. Backpressure: none; readouts wait in the
    queue, and the sequencer counts them. Reset: strobes and valid bits.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.latency = self.latency_of(config)
        super().__init__({
            "group": In(range(max(config.groups, 2))),
            "address_in": In(address_layout(config)),
            "address_out": Out(address_layout(config)),
            "control_in": In(cell_control_layout(config)),
            "control_out": Out(cell_control_layout(config)),
            "write_in": In(write_layout(config)),
            "write_out": Out(write_layout(config)),
            "spikes_in": In(config.lanes),
            "spikes_out": Out(config.lanes),
            "spikes_valid": Out(1),
            "tap_in": In(PROBE_WORD),
            "tap_out": Out(PROBE_WORD),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        bank_hops = config.banks - 1 + (2 * LineBuffer.delay if config.kernel_taps else 0)
        hop = config.pipelined
        # Shifted sums come a cycle after the command, go to the queue, and stay there for a cycle.
        queue = 3 if config.readout_queue else 0
        return (hop + bank_hops + queue + InputCurrent.latency_of(config) + NeuronPipeline.latency
                + config.group_lanes)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        named = Signal(write_layout(config))
        m.d.comb += [
            self.address_out.eq(registered(m, self.address_in, "address")),
            self.control_out.eq(registered(m, self.control_in, "control")),
            self.write_out.eq(registered(m, self.write_in, "write")),
            named.eq(self.write_in),
        ]
        with m.If(self.write_in.group != self.group):
            m.d.comb += [named.weight.eq(0), named.parameter.eq(0)]
        mine = registered(m, named, "mine", config.stage_domain)

        scan = Signal(readout_layout(config))
        address, sums, last = self._banks(m, platform, mine)

        # What leaves the last bank goes to the neurons. Without a queue it is announced a cycle
        # before the sums, which then come lane by lane.
        scanned, how = last.scan, last.how
        for stage in range(1, Cell.latency + bool(config.readout_queue)):
            later = Signal(name=f"s{stage}_scanned")
            m.d.sync += later.eq(scanned)
            scanned, how = later, registered(m, how, f"s{stage}_how")
        m.d.comb += [scan.sums.eq(sums), scan.how.eq(how)]

        current, neuron, parameters = self._neurons(m, address, mine)
        if config.readout_queue:
            m.submodules.scan_queue = queue = Queue(readout_layout(config), config.readout_queue)
            m.d.comb += queue.word.eq(registered(m, scan, "scanned"))
            m.d.sync += queue.write.eq(scanned)
            wiring.connect(m, queue.o, current.scans)
        else:
            m.d.comb += [current.scans.valid.eq(scanned), current.scans.payload.eq(scan)]

        # The spikes of the lanes come one by one and join the tile's word as it passes.
        lanes = config.group_lanes
        mine_so_far = Signal(lanes, reset_less=True)
        m.d.sync += self.spikes_valid.eq(0)
        with m.If(neuron.done.valid):
            m.d.sync += mine_so_far.eq(Cat(mine_so_far, neuron.spike)[1:])
            m.d.sync += self.spikes_valid.eq((neuron.done.lane == lanes - 1)
                                             & ~parameters.neuron.readout)
        m.d.comb += self.spikes_out.eq(Cat(self.spikes_in[lanes:], mine_so_far))
        return m

    def _banks(self, m: Module, platform, mine: Any) -> tuple[Any, Any, Any]:
        """The cells in a row, with line buffers between the kernel rows.

        Returns the address behind the last cell, its sums, and its command as it came in.
        """
        config = self.config
        address, control, write = self.address_in, self.control_in, mine
        if config.pipelined:      # nothing but a hop between the groups
            address, control = self.address_out, self.control_out
        sums = Signal(sums_layout(config), name="no_sums")
        last = control
        for bank in range(config.banks):
            wide = config.kernel_taps and bank == config.banks // 2
            cell = Cell(config, takes_wide=wide)
            m.submodules[f"cell_{bank}"] = placed(platform, "cell_wide" if wide else "cell", cell)
            m.d.comb += [
                cell.bank.eq(bank),
                cell.address_in.eq(address),
                cell.control_in.eq(control),
                cell.write_in.eq(write),
                cell.sums_in.eq(sums),
            ]
            last, address, control = control, cell.address_out, cell.control_out
            write, sums = cell.write_out, cell.sums_out
            if config.kernel_taps and bank in (2, 5):
                line = LineBuffer(config)
                m.submodules[f"line_{bank}"] = placed(platform, "line", line)
                m.d.comb += [
                    line.first.eq(bank == 2),
                    line.address_in.eq(address),
                    line.control_in.eq(control),
                    line.sums_in.eq(sums),
                ]
                address, control, sums = line.address_out, line.control_out, line.sums_out
        return address, sums, last

    def _neurons(self, m: Module, address: Any, mine: Any
                 ) -> tuple[InputCurrent, NeuronPipeline, Parameters]:
        """The neurons of the group, see `quadfire.rtl.neuron`, wired to each other."""
        config = self.config
        m.submodules.parameter_stage = parameters = Parameters(config)
        m.submodules.current_stage = current = InputCurrent(config)
        m.submodules.neuron_stage = neuron = NeuronPipeline(config)
        m.submodules.state_stage = states = StateMemory(config)
        m.submodules.tap_stage = probe = Probe(config)
        m.d.comb += [
            parameters.load.eq(address),
            parameters.lane.eq(current.lane),
            parameters.advance.eq(current.advance),
            parameters.rewind.eq(current.rewind),
            parameters.write.eq(mine.parameter),
            parameters.write_address.eq(mine.address),
            parameters.write_data.eq(mine.data),
            current.channel.eq(parameters.channel),
            neuron.neuron.eq(parameters.neuron),
            neuron.coming.eq(current.coming),
            neuron.which.eq(current.which),
            neuron.current.eq(current.current),
            neuron.kept.eq(states.kept),
            states.load.eq(address),
            states.early.eq(current.early),
            states.done.eq(neuron.done),
            states.membrane.eq(neuron.membrane),
            probe.first.eq(self.group == 0),
            probe.readout.eq(parameters.neuron.readout),
            probe.done.eq(neuron.done),
            probe.membrane.eq(neuron.membrane),
            probe.current.eq(neuron.current_out),
            probe.tap_in.eq(self.tap_in),
            self.tap_out.eq(probe.tap_out),
        ]
        return current, neuron, parameters
