"""Probe: logits or membrane potentials of a group, sent along the chain when a pass asks."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import READOUT_BITS
from quadfire.rtl.lib.chain_layouts import PROBE_WORD
from quadfire.rtl.lib.memory_styles import small
from quadfire.rtl.lib.strobes import registered
from quadfire.rtl.neuron.input_current import lane_layout

__all__ = ["Probe"]


class Probe(wiring.Component):
    """One probe word per lane: the running sum of J (readout layer) or the membrane potential.

    | port       | shape             | meaning                                          |
    |------------|-------------------|--------------------------------------------------|
    | `first`    | in, 1             | the group is the first of the chain              |
    | `readout`  | in, 1             | the layer has no neurons: the word is a sum of J |
    | `done`     | in, `lane_layout` | a neuron that leaves the pipeline                |
    | `membrane` | in, signed(W)     | its state after the reset                        |
    | `current`  | in, signed        | its J                                            |
    | `tap_in`   | in, `PROBE_WORD`  | probe words of the groups before                 |
    | `tap_out`  | out, `PROBE_WORD` | these, then the probe words of this group        |

    When a readout of the lanes with `emit` is complete, the words of all groups leave on the probe
    chain, group by group and lane by lane. The first group starts. Every other group appends its
    words to those that pass by. Until the last word has left the chain, the next readout must wait.

    Latency: `latency` cycles from `done` to the memory, so two steps of a lane must be at least as
    far apart. II: 1 word. Backpressure: none. Reset: valid bits only.
    Overflow: the sum wraps at 32 bits; the compiler proves that it cannot.
    The chain has registers only if the configuration is `pipelined`.
    """

    latency = 3

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "first": In(1),
            "readout": In(1),
            "done": In(lane_layout(config)),
            "membrane": In(signed(config.state_bits)),
            "current": In(signed(config.current_bits)),
            "tap_in": In(PROBE_WORD),
            "tap_out": Out(PROBE_WORD),
        })

    def elaborate(self, platform):
        m = Module()
        lanes = self.config.group_lanes
        m.submodules.tap_mem = memory = Memory(
            shape=signed(READOUT_BITS), depth=max(lanes, 2), init=[],
            attrs=small(self.config))
        old, new = memory.read_port(), memory.write_port()
        following = Signal(range(max(lanes, 2)))        # lane to send next
        m.d.comb += old.addr.eq(Mux(self.done.valid, self.done.lane, following))

        # s1: the lane's word is read. s2: running sum or membrane.
        s1_valid, s2_valid = Signal(), Signal()
        s1_lane, s2_lane = (Signal.like(self.done.lane, name=f"s{stage}_lane", reset_less=True)
                            for stage in (1, 2))
        s1_adds = Signal(reset_less=True)
        s1_value = Signal(signed(max(self.config.current_bits, self.config.state_bits)),
                          reset_less=True)
        s2_word = Signal(signed(READOUT_BITS), reset_less=True)
        m.d.sync += [
            s1_valid.eq(self.done.valid), s2_valid.eq(s1_valid),
            s1_lane.eq(self.done.lane), s2_lane.eq(s1_lane),
            s1_adds.eq(self.readout & ~self.done.how.begin),
            s1_value.eq(Mux(self.readout, self.current, self.membrane)),
            s2_word.eq(Mux(s1_adds, old.data, 0) + s1_value),
        ]
        m.d.comb += [new.en.eq(s2_valid), new.addr.eq(s2_lane), new.data.eq(s2_word)]

        # Chain: pass on what comes, then append. The first group starts once its last word is
        # stored.
        starts = self.done.valid & self.done.how.emit & (self.done.lane == lanes - 1)
        for stage in range(1, self.latency + 1):
            later = Signal(name=f"s{stage}_starts")
            m.d.sync += later.eq(starts)
            starts = later
        sends, last = Signal(), Signal()
        m.d.sync += [
            following.eq(0),
            last.eq(following == lanes - 1),
            sends.eq(0),
        ]
        passed = Signal(PROBE_WORD)
        m.d.comb += [
            passed.valid.eq(self.tap_in.valid | sends),
            passed.word.eq(Mux(sends, old.data, self.tap_in.word)),
            passed.last.eq(sends & last),
            self.tap_out.eq(registered(m, passed, "tap", self.config.stage_domain)),
        ]
        with m.If(Mux(self.first, starts, self.tap_in.valid & self.tap_in.last)
                  | (sends & ~last)):
            m.d.sync += sends.eq(1)
            if lanes > 1:
                m.d.sync += following.eq(following + 1)
        return m
