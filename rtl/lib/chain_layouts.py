"""What travels along the chain of groups: layouts of the commands, one hop a cycle.

A command has an early part, the weight address, and a late part, what the accumulators do with the
row of weights once it has been read, `latency` cycles of `WeightMemory` later.
"""

from typing import Any

from amaranth import *
from amaranth.lib import data, enum
from amaranth.utils import bits_for

from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["LANE_READOUT", "PROBE_WORD", "STROBES", "AddressKind", "address_layout",
           "cell_control_layout", "control_layout", "looking_ahead", "registered", "sums_layout",
           "write_layout"]


class AddressKind(enum.Enum, shape=3):
    """What an address is for."""

    NONE = 0
    ROW = 1         #: read a row of weights: an event
    WIDE = 2        #: the same, and in the middle bank the row is one wide weight
    NEURON = 3      #: load the layer's neuron words
    TILE = 4        #: the pass's first tile's channels stand here
    LINE = 5        #: so many shifts a line buffer delays
    STATE = 6       #: the first output's membranes are kept here


def address_layout(config: ArrayConfig) -> data.StructLayout:
    """Early part of a command."""
    width = bits_for(max(config.weight_rows, config.parameter_words, config.line_words,
                         config.state_words) - 1)
    return data.StructLayout({"kind": AddressKind, "address": width})


#: What a scan of a group's lanes by its neuron pipeline does.
LANE_READOUT = data.StructLayout({
    "keep": 1,      # current: the next scan adds to twice this (bit planes, highest first)
    "replay": 1,    # current: use the current of the scan before (direct encoding)
    "step": 1,      # neuron: make a time step; else only fold a bit plane
    "begin": 1,     # neuron: the first time step, start from the initial state
    "load": 1,      # neuron: or from the state that is kept
    "advance": 1,   # the tile is complete, go on to the next
    "rewind": 1,    # parameters: the next tile is the first again
    "store": 1,     # neuron: keep the state when the tile is complete
    "emit": 1,      # taps: send the tap words of this tile
})


def control_layout(config: ArrayConfig) -> data.StructLayout:
    """Late part of a command, by default one that goes on with the sum of the command before.

    To go on with the sum of another slot takes a command of its own where sums stand in registers
    (`ArrayConfig.running_sums`): it is `fresh` and loads, and does not come right after a shift.
    """
    return data.StructLayout({
        "write": 1,     # store the sum
        "slot": bits_for(config.slots - 1),
        "fresh": 1,     # start from zero, or from what is shifted or loaded
        **({"load": 1} if config.running_sums else {}),     # take up the sum of the slot
        "shift": 1,     # take over the sum of the bank before
        "top": 1,       # nothing comes from the kernel row above
        "scan": 1,      # the last bank's sums go to the neurons
        "how": LANE_READOUT,
    })


def cell_control_layout(config: ArrayConfig) -> data.StructLayout:
    """What a cell does: a `control_layout`, with running sums beside it the slot to `read`."""
    read = {"read": bits_for(config.slots - 1)} if config.running_sums else {}
    return data.StructLayout({**control_layout(config).members, **read})


def looking_ahead(m: Module, config: ArrayConfig, control: Any, following: Any) -> data.View:
    """The `cell_control_layout` of `control`, which reads the slot that the command after it,
    `following`, loads, or else its own, which a shift takes."""
    whole = Signal(cell_control_layout(config), name="looking_ahead")
    m.d.comb += [whole[name].eq(control[name]) for name in control_layout(config).members]
    if config.running_sums:
        m.d.comb += whole.read.eq(Mux(following.load, following.slot, control.slot))
    return whole


def write_layout(config: ArrayConfig) -> data.StructLayout:
    """A word on its way to a weight or parameter memory."""
    return data.StructLayout({
        "weight": 1,
        "parameter": 1,
        "group": bits_for(max(config.groups - 1, 1)),
        "bank": bits_for(max(config.banks - 1, 1)),
        "address": bits_for(max(config.weight_rows, config.parameter_words) - 1),
        "data": 32,
    })


def sums_layout(config: ArrayConfig) -> data.ArrayLayout:
    """The sums of a group's lanes in one bank."""
    return data.ArrayLayout(signed(config.accumulator_bits), config.group_lanes)


#: A word on the tap chain; `last` marks the last word of the groups so far.
PROBE_WORD = data.StructLayout({"valid": 1, "last": 1, "word": signed(32)})

#: Fields that make something happen; what the others say matters only beside one of these.
STROBES = {"valid", "kind", "write", "fresh", "load", "shift", "scan", "weight", "parameter"}


def registered(m: Module, source: Any, name: str, domain: str = "sync") -> Any:
    """`source`, a cycle later; at once where the domain is "comb".

    Of a structure the reset clears the strobes alone, of all else nothing: a reset that goes to
    every register of a large array takes more wires than any signal of it.
    """
    if domain == "comb":
        return source
    shape = source.shape()
    later = Signal(shape, name=name, reset_less=True)
    m.d[domain] += later.eq(source)
    strobes = STROBES & set(shape.members) if isinstance(shape, data.StructLayout) else set()
    if not strobes:
        return later
    whole = Signal(shape, name=f"{name}_whole")
    m.d.comb += whole.eq(later)
    for strobe in sorted(strobes):
        bit = Signal.like(source[strobe], name=f"{name}_{strobe}", reset_less=False)
        m.d[domain] += bit.eq(source[strobe])
        m.d.comb += whole[strobe].eq(bit)
    return whole
