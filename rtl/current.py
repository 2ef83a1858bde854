"""Input current of a neuron: fold bit planes, scale by the channel's power of two, add the bias."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from . import numerics
from .config import ArrayConfig
from .parameters import Parameters, channel_layout
from .signals import SCAN, sums_layout

__all__ = ["Current", "lane_layout", "scan_layout"]


def scan_layout(config: ArrayConfig) -> data.StructLayout:
    """The sums of a group's lanes in one slot, and what to do with them."""
    return data.StructLayout({"sums": sums_layout(config), "how": SCAN})


def lane_layout(config: ArrayConfig) -> data.StructLayout:
    """Which neuron of the group is meant."""
    return data.StructLayout({"valid": 1, "lane": range(max(config.group_lanes, 2)), "how": SCAN})


class Current(wiring.Component):
    """J = round(folded * 2^(F - shift)) + bias,  folded = sum over planes b of 2^b acc_b.

    A scan is taken every `config.scan_period` cycles at most, and worked off one lane a cycle.
    `lane` goes to `Parameters`, whose answer is `channel`.

    Latency: `latency` cycles from a scan taken to the current of lane 0 on `current`, then one lane
    a cycle. `early` is `which` 2 cycles before, `coming` one.
    Rounding: half up. Overflow: J wraps; the compiler proves that it cannot.
    """

    latency = 7

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "scans": In(stream.Signature(scan_layout(config))),
            "lane": Out(range(max(config.group_lanes, 2))),
            "advance": Out(1),
            "rewind": Out(1),
            "channel": In(channel_layout()),
            "early": Out(lane_layout(config)),
            "coming": Out(lane_layout(config)),
            "which": Out(lane_layout(config)),
            "current": Out(signed(config.current_bits)),
        })

    def model(self, planes: list[int], shift: int, bias: int) -> int:
        """The current of one neuron from its bit planes (or one sum), stored shift and bias."""
        folded = 0
        for acc in planes:
            folded = 2 * folded + acc
        return numerics.current(folded, shift - self.config.fraction_bits, bias)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.group_lanes

        def stage(name: str) -> data.View:
            return Signal(lane_layout(config), name=name)

        # s0: a scan is taken, a counter selects a lane of it
        s0 = stage("s0")
        s0_sums = self.scans.payload.sums       # without a queue they stay there for the scan
        wait = Signal(range(config.scan_period))
        m.d.comb += self.scans.ready.eq(wait == 0)
        with m.If(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        if config.scan_queue:
            s0_sums = Signal(sums_layout(config), reset_less=True)
            with m.If(self.scans.valid & self.scans.ready):
                m.d.sync += s0_sums.eq(self.scans.payload.sums)
        with m.If(self.scans.valid & self.scans.ready):
            m.d.sync += [s0.valid.eq(1), s0.lane.eq(0), s0.how.eq(self.scans.payload.how),
                         wait.eq(config.scan_period - 1)]
        with m.Elif(s0.lane == lanes - 1):
            m.d.sync += s0.valid.eq(0)
        with m.Else():
            m.d.sync += s0.lane.eq(s0.lane + 1)
        m.d.comb += [
            self.lane.eq(s0.lane),
            self.advance.eq(s0.valid & s0.how.advance & (s0.lane == lanes - 1)),
            self.rewind.eq(s0.how.rewind),
        ]

        # s1: its sum
        s1 = stage("s1")
        s1_sum = Signal(signed(config.accumulator_bits), reset_less=True)
        m.d.sync += [s1.eq(s0), s1_sum.eq(s0_sums[s0.lane])]

        # s2: folded with the planes before; a ring of one entry per lane remembers them
        s2 = stage("s2")
        s2_folded = Signal(signed(config.plane_bits), reset_less=True)
        folds = [Signal(signed(config.plane_bits), name=f"fold_{i}", reset_less=True)
                 for i in range(lanes)]
        folded = Signal(signed(config.plane_bits))
        m.d.comb += folded.eq(s1_sum + Mux(s1.how.keep, folds[-1] << 1, 0))
        m.d.sync += [s2.eq(s1), s2_folded.eq(folded)]
        with m.If(s1.valid):
            m.d.sync += [new.eq(old) for new, old in zip(folds, [folded, *folds], strict=False)]

        # s3, s4, s5: shifted right by multiples of 8, of 2, by 1; with F + 1 fractional bits, the
        # last of them for rounding. What a replayed current needs not is zero in s5.
        assert Parameters.latency == 2, "the channel word belongs to stage 2"
        fine_bits = config.current_bits + 1
        s3, s4, s5 = stage("s3"), stage("s4"), stage("s5")
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
            s3.eq(s2),
            s3_shifted.eq(scaled >> (self.channel.shift & 0b11000)),
            s3_shift.eq(self.channel.shift[:3]),
            s3_bias.eq(self.channel.bias),
            s4.eq(s3),
            s4_shifted.eq(s3_shifted >> (s3_shift & 0b110)),
            s4_shift.eq(s3_shift[0]),
            s4_bias.eq(s3_bias),
            s5.eq(s4),
            s5_value.eq(fine >> 1),
            s5_round.eq(Mux(s4.how.replay, 0, fine[0])),
            s5_bias.eq(Mux(s4.how.replay, 0, s4_bias)),
        ]

        # s6: rounded, biased; a ring remembers the currents that later time steps use again. The
        # rounding bit is the adder's carry: 2 J + 1 = (2 x + r) + (2 bias + r)
        currents = [Signal(signed(config.current_bits), name=f"current_{i}", reset_less=True)
                    for i in range(lanes)]
        value, twice = Signal(signed(config.current_bits)), Signal(signed(config.current_bits + 1))
        m.d.comb += [
            value.eq(Mux(s5.how.replay, currents[-1], s5_value)),
            twice.eq(Cat(s5_round, value).as_signed() + Cat(s5_round, s5_bias).as_signed()),
        ]
        with m.If(s5.valid & s5.how.step):
            m.d.sync += [a.eq(b) for a, b in zip(currents, [twice >> 1, *currents], strict=False)]
        m.d.comb += [self.current.eq(currents[0]), self.early.eq(s4), self.coming.eq(s5)]
        m.d.comb += [self.early.valid.eq(s4.valid & s4.how.step),
                     self.coming.valid.eq(s5.valid & s5.how.step)]
        m.d.sync += self.which.eq(self.coming)
        return m
