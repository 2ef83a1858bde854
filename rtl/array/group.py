# amaranth: UnusedElaboratable=no
"""A group: `group_lanes` lanes of every bank, one neuron pipeline, and its place on the chain."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.cell import Cell
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.neuron.input_current import InputCurrent, readout_layout
from quadfire.rtl.array.line_buffer import LineBuffer
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.neuron.pipeline import NeuronPipeline
from quadfire.rtl.neuron.parameters import Parameters
from quadfire.rtl.lib.queue import Queue
from quadfire.rtl.lib.chain_layouts import (
    PROBE_WORD, address_layout, cell_control_layout, registered, sums_layout, write_layout,
)
from quadfire.rtl.neuron.state_memory import StateMemory
from quadfire.rtl.neuron.probe import Probe

__all__ = ["Group"]


class Group(wiring.Component):
    """Banks in a row, the last one's sums scanned into the neurons through a queue.

    With taps, line buffers stand between the rows of the kernel, and the middle bank takes wide
    weights.

    What enters at `*_in` leaves for the next group one cycle later at `*_out`; so does `spikes`,
    the tile's spikes, `lanes` wide: every group drops the lowest and appends its own, so that after
    the last one those of the first are lowest.

    Latency: a scanning control at `control_in` gives `spikes_out` `latency` cycles later.
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
        # the shifted sums come a cycle after the command, go to the queue, and rest there for one
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
        address, control, write = self.address_in, self.control_in, mine
        if config.pipelined:    # nothing but a hop between the groups
            address, control = self.address_out, self.control_out
        sums = Signal(sums_layout(config), name="no_sums")
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

        # What the last bank gives away waits for the neurons.
        scanned, how = last.scan, last.how
        # Without a queue a cycle before the sums, which then come lane by lane.
        for stage in range(1, Cell.latency + bool(config.readout_queue)):
            later = Signal(name=f"s{stage}_scanned")
            m.d.sync += later.eq(scanned)
            scanned, how = later, registered(m, how, f"s{stage}_how")
        m.d.comb += [scan.sums.eq(sums), scan.how.eq(how)]

        m.submodules.parameter_stage = parameters = Parameters(config)
        m.submodules.current_stage = current = InputCurrent(config)
        m.submodules.neuron_stage = neuron = NeuronPipeline(config)
        m.submodules.state_stage = states = StateMemory(config)
        m.submodules.tap_stage = taps = Probe(config)
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
            taps.first.eq(self.group == 0),
            taps.readout.eq(parameters.neuron.readout),
            taps.done.eq(neuron.done),
            taps.membrane.eq(neuron.membrane),
            taps.current.eq(neuron.current_out),
            taps.tap_in.eq(self.tap_in),
            self.tap_out.eq(taps.tap_out),
        ]

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
