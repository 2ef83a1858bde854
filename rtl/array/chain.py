# amaranth: UnusedElaboratable=no
"""The array: groups on a chain. Nothing is broadcast; everything moves one group a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.cell import Cell
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.array.group import Group
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.lib.chain_layouts import (
    PROBE_WORD, address_layout, control_layout, looking_ahead, registered, write_layout,
)
from quadfire.rtl.neuron.probe import Probe
from quadfire.rtl.array.weight_memory import WeightMemory

__all__ = ["NeuronArray", "spike_latency", "probe_latency"]


def spike_latency(config: ArrayConfig) -> int:
    """Cycles from a scanning command to the spikes of its tile, where no other scan waits."""
    return WeightMemory.latency_of(config) + Group.latency_of(config) + config.groups


def probe_latency(config: ArrayConfig) -> int:
    """Cycles from a scan that emits to its last tap word: all words in a row, then the hops."""
    unregistered = 0 if config.pipelined else config.groups     # hops
    return spike_latency(config) - 1 - unregistered + Probe.latency + config.lanes


class NeuronArray(wiring.Component):
    """`banks * lanes` accumulators and `groups` neuron pipelines.

    address, control: a command, both parts in the same cycle; the array delays the late one.
    spikes: the spikes of one tile in one time step, `latency` cycles after a scanning control, or
    more where a scan has to wait for the neurons (`quadfire.rtl.neuron.input_current`);
    `spikes_coming` is `spikes_valid` a cycle before.
    tap: the words of all groups in channel order.

    II: 1 command a cycle; never more than `config.readout_queue` scans may wait.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.latency = spike_latency(config)
        super().__init__({
            "address": In(address_layout(config)),
            "control": In(control_layout(config)),
            "write": In(write_layout(config)),
            "spikes": Out(config.lanes),
            "spikes_valid": Out(1),
            "spikes_coming": Out(1),
            "tap": Out(PROBE_WORD),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        following, control = None, self.control
        delays = Cell.control_delay_of(config)
        for delay in range(1, delays + 1):
            later = control if delay < delays else looking_ahead(m, config, control, following)
            following, control = control, registered(m, later, f"control_{delay}")
        address, write = self.address, self.write
        spikes, tap = Signal(config.lanes, name="no_spikes"), Signal(PROBE_WORD, name="no_tap")
        for index in range(config.groups):
            group = Group(config)
            m.submodules[f"group_{index}"] = placed(platform, "group", group)
            m.d.comb += [
                group.group.eq(index),
                group.address_in.eq(address),
                group.control_in.eq(control),
                group.write_in.eq(write),
                group.spikes_in.eq(spikes),
                group.tap_in.eq(tap),
            ]
            address, control, write = group.address_out, group.control_out, group.write_out
            spikes, tap = registered(m, group.spikes_out, f"spikes_{index}"), group.tap_out
            last = group
        m.d.comb += [self.tap.eq(tap), self.spikes.eq(spikes),
                     self.spikes_coming.eq(last.spikes_valid)]
        m.d.sync += self.spikes_valid.eq(self.spikes_coming)
        return m
