# amaranth: UnusedElaboratable=no
"""The array: groups on a chain. Nothing is broadcast, everything moves one group per cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.cell import Cell
from quadfire.rtl.array.group import Group
from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import (
    PROBE_WORD,
    address_layout,
    control_layout,
    looking_ahead,
    write_layout,
)
from quadfire.rtl.lib.module_library import placed
from quadfire.rtl.lib.strobes import registered
from quadfire.rtl.neuron.probe import Probe

__all__ = ["NeuronArray", "spike_latency", "probe_latency"]


def spike_latency(config: ArrayConfig) -> int:
    """Cycles from a command that reads out to the spikes of its tile, if no other waits."""
    return WeightMemory.latency_of(config) + Group.latency_of(config) + config.groups


def probe_latency(config: ArrayConfig) -> int:
    """Cycles from a command whose readout emits to the last probe word.

    That is all words in a row, then the hops.
    """
    unregistered = 0 if config.pipelined else config.groups       # hops without a register
    return spike_latency(config) - 1 - unregistered + Probe.latency + config.lanes


class NeuronArray(wiring.Component):
    """`banks * lanes` accumulators and `groups` neuron pipelines on a chain.

    | port            | shape                | meaning                                           |
    |-----------------|----------------------|---------------------------------------------------|
    | `address`       | in, `address_layout` | early part of a command                           |
    | `control`       | in, `control_layout` | late part, in the same cycle; the array delays it |
    | `write`         | in, `write_layout`   | a word for a weight memory or a parameter memory  |
    | `clear`         | in, 1                | resets the groups, while no command is under way  |
    | `spikes`        | out, `lanes`         | spikes of one tile in one time step               |
    | `spikes_valid`  | out, 1               | there are some                                    |
    | `spikes_coming` | out, 1               | `spikes_valid` of the next cycle                  |
    | `tap`           | out, `PROBE_WORD`    | probe words of all groups, in channel order       |

    The signal `scan` of a command starts a readout of the lanes. The signal `tap` carries probe
    words.

    Latency: `latency` cycles from a command that reads out to its spikes, more where the readout
    has to wait for the neurons (`quadfire.rtl.neuron.input_current`). II: 1 command.
    Backpressure: none. The sequencer keeps at most `config.readout_queue` readouts waiting.
    Reset: see the groups.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.latency = spike_latency(config)
        super().__init__({
            "address": In(address_layout(config)),
            "control": In(control_layout(config)),
            "write": In(write_layout(config)),
            "clear": In(1),
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
            m.submodules[f"group_{index}"] = placed(platform, "group", group, self.clear)
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
