"""Layouts of what travels along the chain of groups, one hop a cycle.

A command comes in two parts. The early part is the address of a row of weights. The late part says
what the accumulators do with that row. It follows when the row has been read, `latency` cycles of
`WeightMemory` later.
"""

from typing import Any

from amaranth import *
from amaranth.lib import data, enum
from amaranth.utils import bits_for

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.strobes import StrobedLayout

__all__ = ["LANE_READOUT", "PROBE_WORD", "AddressKind", "address_layout", "cell_control_layout",
           "control_layout", "looking_ahead", "sums_layout", "write_layout"]


class AddressKind(enum.Enum, shape=3):
    """What an address is for."""

    NONE = 0
    ROW = 1         #: read a row of weights: an event
    WIDE = 2        #: the same; in the middle bank the row is one wide weight
    NEURON = 3      #: load the layer's neuron words from here
    TILE = 4        #: the channel words of the pass's first tile stand here
    LINE = 5        #: number of shifts by which a line buffer delays
    STATE = 6       #: the membranes of the pass's first output are kept here


def address_layout(config: ArrayConfig) -> StrobedLayout:
    """The early part of a command."""
    width = bits_for(max(config.weight_rows, config.parameter_words, config.line_words,
                         config.state_words) - 1)
    return StrobedLayout({"kind": AddressKind, "address": width}, strobes=["kind"])


#: What the neurons do with one readout of a group's lanes. `load` needs no reset, but has one.
LANE_READOUT = StrobedLayout({
    "keep": 1,      # current: the next readout adds to twice this (bit planes, highest first)
    "replay": 1,    # current: use the current of the previous readout (direct encoding)
    "step": 1,      # neuron: make a time step; otherwise only fold a bit plane
    "begin": 1,     # neuron: the first time step starts from the initial state
    "load": 1,      # neuron: ... or from the kept state
    "advance": 1,   # the tile is complete, go on to the next
    "rewind": 1,    # parameters: the next tile is the first one again
    "store": 1,     # neuron: keep the state when the tile is complete
    "emit": 1,      # probe: send the probe words of this tile
}, strobes=["load"])


def _control_members(config: ArrayConfig) -> dict[str, Any]:
    return {
        "write": 1,     # store the sum
        "slot": bits_for(config.slots - 1),
        "fresh": 1,     # start from zero, or from what is shifted in or loaded
        **({"load": 1} if config.running_sums else {}),     # take up the sum of the slot
        "shift": 1,     # take over the sum of the previous bank
        "top": 1,       # nothing comes from the kernel row above
        "scan": 1,      # starts a readout: the last bank's sums go to the neurons
        "how": LANE_READOUT,
    }


def _control_strobes(config: ArrayConfig) -> list[str]:
    return ["write", "fresh", "shift", "scan", *(["load"] if config.running_sums else [])]


def control_layout(config: ArrayConfig) -> StrobedLayout:
    """The late part of a command. By default it goes on with the sum of the previous command.

    Where sums stand in registers (`ArrayConfig.running_sums`), going on with the sum of another
    slot takes a command of its own. That command is `fresh` and loads, and must not directly follow
    a shift.
    """
    return StrobedLayout(_control_members(config), strobes=_control_strobes(config))


def cell_control_layout(config: ArrayConfig) -> StrobedLayout:
    """`control_layout` as a cell gets it: with running sums also the slot to `read`."""
    read = {"read": bits_for(config.slots - 1)} if config.running_sums else {}
    return StrobedLayout({**_control_members(config), **read}, strobes=_control_strobes(config))


def looking_ahead(m: Module, config: ArrayConfig, control: Any, following: Any) -> data.View:
    """`control` as a `cell_control_layout`.

    The slot to read is the one that the next command, `following`, loads. If that loads nothing, it
    is the command's own slot, which a shift takes.
    """
    whole = Signal(cell_control_layout(config), name="looking_ahead")
    m.d.comb += [whole[name].eq(control[name]) for name in control_layout(config).members]
    if config.running_sums:
        m.d.comb += whole.read.eq(Mux(following.load, following.slot, control.slot))
    return whole


def write_layout(config: ArrayConfig) -> StrobedLayout:
    """A word on its way to a weight memory or a parameter memory."""
    return StrobedLayout({
        "weight": 1,
        "parameter": 1,
        "group": bits_for(max(config.groups - 1, 1)),
        "bank": bits_for(max(config.banks - 1, 1)),
        "address": bits_for(max(config.weight_rows, config.parameter_words) - 1),
        "data": 32,
    }, strobes=["weight", "parameter"])


def sums_layout(config: ArrayConfig) -> data.ArrayLayout:
    """The sums of a group's lanes in one bank."""
    return data.ArrayLayout(signed(config.accumulator_bits), config.group_lanes)


#: A word on the probe chain; `last` marks the last word of the groups so far.
PROBE_WORD = StrobedLayout({"valid": 1, "last": 1, "word": signed(32)}, strobes=["valid"])
