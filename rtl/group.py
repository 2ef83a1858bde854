# amaranth: UnusedElaboratable=no
"""A group: `group_lanes` lanes of every bank, one neuron pipeline, and its place on the chain."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .cell import Cell
from .config import ArrayConfig
from .current import Current
from .modules import placed
from .neuron import NeuronPipeline
from .parameters import Parameters
from .signals import TAP, address_layout, control_layout, write_layout
from .taps import Taps

__all__ = ["Group"]


class Group(wiring.Component):
    """Banks in a row, the last one's sums scanned into the neurons.

    What enters at `*_in` leaves for the next group one cycle later at `*_out`; so does `spikes`,
    the tile's spikes of the groups so far, `lanes` wide, this group's at [group * group_lanes].

    Latency: a scanning control at `control_in` gives `spikes_out` `latency` cycles later.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.latency = self.latency_of(config)
        super().__init__({
            "group": In(range(max(config.groups, 2))),
            "address_in": In(address_layout(config)),
            "address_out": Out(address_layout(config)),
            "control_in": In(control_layout(config)),
            "control_out": Out(control_layout(config)),
            "write_in": In(write_layout(config)),
            "write_out": Out(write_layout(config)),
            "spikes_in": In(config.lanes),
            "spikes_out": Out(config.lanes),
            "spikes_valid": Out(1),
            "readout": Out(1),
            "tap_in": In(TAP),
            "tap_out": Out(TAP),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        bank_hops = config.banks - 1
        return bank_hops + Current.latency + NeuronPipeline.latency + config.group_lanes

    def elaborate(self, platform):
        m = Module()
        config = self.config
        mine = Signal(write_layout(config))
        m.d.sync += [
            self.address_out.eq(self.address_in),
            self.control_out.eq(self.control_in),
            self.write_out.eq(self.write_in),
            mine.eq(self.write_in),
        ]
        with m.If(self.write_in.group != self.group):
            m.d.sync += [mine.weight.eq(0), mine.parameter.eq(0)]

        cells = [Cell(config) for _ in range(config.banks)]
        address, control, write, sums = self.address_in, self.control_in, mine, None
        for bank, cell in enumerate(cells):
            m.submodules[f"cell_{bank}"] = placed(platform, "cell", cell)
            m.d.comb += [
                cell.bank.eq(bank),
                cell.address_in.eq(address),
                cell.control_in.eq(control),
                cell.write_in.eq(write),
            ]
            if sums is not None:
                m.d.comb += cell.sums_in.eq(sums)
            last, address, control = control, cell.address_out, cell.control_out
            write, sums = cell.write_out, cell.sums_out

        m.submodules.parameter_stage = parameters = Parameters(config)
        m.submodules.current_stage = current = Current(config)
        m.submodules.neuron_stage = neuron = NeuronPipeline(config)
        m.submodules.tap_stage = taps = Taps(config)
        m.d.comb += [
            parameters.load.eq(address),
            parameters.lane.eq(current.lane),
            parameters.advance.eq(current.advance),
            parameters.write.eq(mine.parameter),
            parameters.write_address.eq(mine.address),
            parameters.write_data.eq(mine.data),
            current.scan.eq(last.scan),
            current.how.eq(last.how),
            current.sums.eq(sums),
            current.channel.eq(parameters.channel),
            neuron.neuron.eq(parameters.neuron),
            neuron.which.eq(current.which),
            neuron.current.eq(current.current),
            taps.first.eq(self.group == 0),
            taps.readout.eq(parameters.neuron.readout),
            taps.done.eq(neuron.done),
            taps.membrane.eq(neuron.membrane),
            taps.current.eq(neuron.current_out),
            taps.tap_in.eq(self.tap_in),
            self.tap_out.eq(taps.tap_out),
            self.readout.eq(parameters.neuron.readout),
        ]

        # The spikes of the lanes come one by one and join the tile's word as it passes.
        lanes = config.group_lanes
        mine_so_far = Signal(lanes)
        m.d.sync += self.spikes_valid.eq(0)
        with m.If(neuron.done.valid):
            m.d.sync += mine_so_far.bit_select(neuron.done.lane, 1).eq(neuron.spike)
            m.d.sync += self.spikes_valid.eq(neuron.done.lane == lanes - 1)
        m.d.comb += self.spikes_out.eq(self.spikes_in)
        m.d.comb += self.spikes_out.word_select(self.group, lanes).eq(mine_so_far)
        return m
