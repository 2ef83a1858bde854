"""Input current of a neuron: fold bit planes, scale by a power of two, add the bias."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract import numerics
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import LANE_READOUT, sums_layout
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.lib.strobes import StrobedLayout, registered
from quadfire.rtl.neuron.parameters import channel_layout

__all__ = ["InputCurrent", "lane_layout", "readout_layout"]


def readout_layout(config: ArrayConfig) -> data.StructLayout:
    """One readout of a group's lanes: their sums in one slot, and what to do with them."""
    return data.StructLayout({"sums": sums_layout(config), "how": LANE_READOUT})


def lane_layout(config: ArrayConfig) -> StrobedLayout:
    """One neuron of the group. `close`: its readout follows the previous one after 4 cycles."""
    return StrobedLayout({"valid": 1, "lane": range(max(config.group_lanes, 2)),
                          "how": LANE_READOUT, "close": 1}, strobes=["valid"])


class InputCurrent(wiring.Component):
    """J = round(folded * 2^(F - shift)) + bias,  folded = sum over planes b of 2^b acc_b.

    | port      | shape                | meaning                                            |
    |-----------|----------------------|----------------------------------------------------|
    | `scans`   | in, `readout_layout` | stream of readouts of the lanes                    |
    | `lane`    | out                  | lane whose channel word is needed, to `Parameters` |
    | `advance` | out, 1               | the tile is complete, to `Parameters`              |
    | `rewind`  | out, 1               | the next tile is the first again, to `Parameters`  |
    | `channel` | in, `channel_layout` | shift and bias of `lane`, from `Parameters`        |
    | `early`   | out, `lane_layout`   | `which` of 3 cycles later                          |
    | `coming`  | out, `lane_layout`   | `which` of the next cycle                          |
    | `which`   | out, `lane_layout`   | the neuron whose current is on `current`           |
    | `current` | out, signed          | J in state LSBs, with F fractional bits            |

    A readout, a transfer on `scans`, is worked off one lane a cycle. Where states are forwarded
    (see `quadfire.rtl.neuron.pipeline`), a readout follows the previous one after 4 cycles, or
    after 6 or more: one that could start after 5 waits for one cycle more.

    Latency: `latency` cycles from the transfer of a readout to the current of lane 0. There are
    fewer stages if the configuration is not `pipelined`. II: 1 lane, `config.readout_period` cycles
    a readout.
    Backpressure: `scans` waits, `current` never does. Reset: valid bits, the wait counter and the
    kept bit planes.
    Rounding: half up. Overflow: J wraps; the compiler proves that it cannot.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        super().__init__({
            "scans": In(stream.Signature(readout_layout(config))),
            "lane": Out(range(max(config.group_lanes, 2))),
            "advance": Out(1),
            "rewind": Out(1),
            "channel": In(channel_layout()),
            "early": Out(lane_layout(config)),
            "coming": Out(lane_layout(config)),
            "which": Out(lane_layout(config)),
            "current": Out(signed(config.current_bits)),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return 7 if config.pipelined else 5

    def model(self, planes: list[int], shift: int, bias: int) -> int:
        """J of one neuron, from its bit planes (or one sum) and its channel's shift and bias."""
        folded = 0
        for acc in planes:
            folded = 2 * folded + acc
        return numerics.current(folded, shift - self.config.fraction_bits, bias)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        s0, s0_sum, completes = self._take(m)

        # s1: the lane's sum, and what was folded before
        s1, s1_sum = registered(m, s0, "s1"), registered(m, s0_sum, "s1_sum")

        # The channel word belongs to s2, so it is asked for in s0 or s1.
        named = s0 if config.pipelined else s1
        m.d.comb += [
            self.lane.eq(named.lane),
            self.rewind.eq(named.how.rewind),
            self.advance.eq(completes if config.pipelined else
                            registered(m, completes, "completed")),
        ]

        # s2: folded with the planes before. A replayed readout has sums of zero.
        s2 = registered(m, s1, "s2")
        s2_folded = Signal(signed(config.plane_bits), reset_less=True)
        before = Signal(signed(config.plane_bits))
        with m.If(s1.valid):
            m.d.sync += s2_folded.eq(s1_sum + Mux(s1.how.replay, before, before << 1))
        self._remember(m, before, s0, s1, s2, s2_folded)
        self._scale(m, s1, s2, s2_folded)
        return m

    def _take(self, m: Module) -> tuple[data.View, Value, Signal]:
        """s0: a readout is taken, and a counter goes through its lanes.

        Returns the lane, its sum, and whether this is the last lane of an output's last readout.
        """
        config = self.config
        lanes = config.group_lanes
        s0 = Signal(lane_layout(config))
        s0_valid = Signal()
        s0_lane = Signal.like(s0.lane, reset_less=True)
        s0_last = Signal(reset_less=True)       # the last lane of the readout
        s0_how = Signal(LANE_READOUT, reset_less=True)
        m.d.comb += [s0.valid.eq(s0_valid), s0.lane.eq(s0_lane), s0.how.eq(s0_how)]
        s0_close = Signal(reset_less=True)
        rest = 2 * config.forwards      # value of `wait` from which on a readout can be taken
        wait = Signal(range(config.readout_period + rest))
        m.d.comb += [self.scans.ready.eq((wait == rest) | (wait == 0)), s0.close.eq(s0_close)]
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        taken, sums = self.scans.valid & self.scans.ready, self.scans.payload.sums
        with m.If(taken):
            m.d.sync += [s0_valid.eq(1), s0_lane.eq(0), s0_how.eq(self.scans.payload.how),
                         s0_close.eq(wait == 2 if config.forwards else 0),
                         wait.eq(config.readout_period - 1 + rest)]
        with m.Elif(s0_last):
            m.d.sync += s0_valid.eq(0)
        with m.Else():
            m.d.sync += s0_lane.eq(s0.lane + 1)
        completes = Signal(reset_less=True)
        last, how = ((taken, self.scans.payload.how) if lanes == 1 else
                     (s0.valid & (s0.lane == lanes - 2), s0_how))
        m.d.sync += [s0_last.eq(last), completes.eq(last & how.advance)]
        if not config.readout_queue:       # from the next cycle on, lane 0 shows lane after lane
            return s0, sums[0], completes
        kept = Signal(sums_layout(config), name="s0_sums", reset_less=True)
        with m.If(taken):
            m.d.sync += kept.eq(sums)
        return s0, kept[s0.lane], completes

    def _remember(self, m: Module, before: Signal, s0: data.View, s1: data.View, s2: data.View,
                  folded: Signal):
        """Drives `before`: what the previous readout left of the lane in s1, zero unless kept.

        `folded` is that of the lane in s2, until the next lane comes. Two readouts of one lane lie
        at least `readout_period` cycles apart.
        """
        lanes = self.config.group_lanes
        kept = Signal()     # by the previous readout
        with m.If(s1.valid & (s1.lane == lanes - 1)):
            m.d.sync += kept.eq(s1.how.keep)

        if self.config.lut_ram and lanes > 1:       # a ring: registers cost less there than LUTs
            ring = [folded, *(Signal.like(folded, name=f"fold_{lane}", reset_less=False)
                              for lane in range(1, lanes))]
            keeps = Signal()        # `folded` is kept
            with m.If(s1.valid):
                m.d.sync += [keeps.eq(s1.how.keep), *(
                    new.eq(old) for new, old in zip(ring[1:], ring, strict=False))]
            with m.If(s1.valid & ~keeps):
                m.d.sync += ring[1].eq(0)
            m.d.comb += before.eq(ring[-1])
        elif self.config.lut_ram:
            m.d.comb += before.eq(Mux(kept, folded, 0))
        else:
            # No word is read while it is written: a lane is written two cycles after it was read.
            m.submodules.fold_mem = memory = Memory(shape=folded.shape(), depth=max(lanes, 2),
                                                    init=[], attrs=BLOCK)
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [read.addr.eq(s0.lane), before.eq(Mux(kept, read.data, 0)),
                         write.en.eq(s2.valid), write.addr.eq(s2.lane), write.data.eq(folded)]

    def _scale(self, m: Module, s1: data.View, s2: data.View, s2_folded: Signal):
        """s3 to s6: shift right, round, add the bias.

        s3 shifts by a multiple of 8, s4 by a multiple of 2, s5 by 0 or 1. There are F + 1
        fractional bits on the way, the last one for rounding.
        """
        config = self.config
        fine_bits = config.current_bits + 1
        s3 = registered(m, s2, "s3")
        s4 = registered(m, s3, "s4", config.stage_domain)
        s5 = registered(m, s4, "s5", config.stage_domain)
        s3_shifted = Signal(signed(fine_bits + 7), reset_less=True)
        s4_shifted = Signal(signed(fine_bits + 1), reset_less=True)
        s5_value = Signal(signed(config.current_bits), reset_less=True)
        s5_round = Signal(reset_less=True)
        s3_shift, s4_shift = Signal(3, reset_less=True), Signal(reset_less=True)
        s3_bias, s4_bias, s5_bias = (Signal(signed(24), name=f"s{stage}_bias", reset_less=True)
                                     for stage in (3, 4, 5))
        scaled = Signal(signed(config.plane_bits + config.fraction_bits + 1))
        fine = Signal(signed(fine_bits))
        m.d.comb += [
            scaled.eq(s2_folded << (config.fraction_bits + 1)),
            fine.eq(s4_shifted >> s4_shift),
        ]
        m.d.sync += [
            s3_shifted.eq(scaled >> (self.channel.shift & 0b11000)),
            s3_shift.eq(self.channel.shift[:3]),
            s3_bias.eq(self.channel.bias),
        ]
        m.d[config.stage_domain] += [
            s4_shifted.eq(s3_shifted >> (s3_shift & 0b110)),
            s4_shift.eq(s3_shift[0]),
            s4_bias.eq(s3_bias),
            s5_value.eq(fine >> 1),
            s5_round.eq(fine[0]),
            s5_bias.eq(s4_bias),
        ]

        # s6: the rounding bit r is the adder's carry, 2 J + 1 = (2 x + r) + (2 bias + r)
        twice = Signal(signed(config.current_bits + 1))
        early = s3 if config.pipelined else s1
        m.d.comb += [
            twice.eq(Cat(s5_round, s5_value).as_signed() + Cat(s5_round, s5_bias).as_signed()),
            self.early.eq(early),
            self.early.valid.eq(early.valid & early.how.step),
            self.coming.eq(s5),
            self.coming.valid.eq(s5.valid & s5.how.step),
        ]
        m.d.comb += [self.current.eq(registered(m, (twice >> 1).as_signed(), "s6_current")),
                     self.which.eq(registered(m, self.coming, "s6"))]
