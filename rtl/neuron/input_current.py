"""Input current of a neuron: fold bit planes, scale by the channel's power of two, add the bias."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract import numerics
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.neuron.parameters import channel_layout
from quadfire.rtl.lib.chain_layouts import LANE_READOUT, registered, sums_layout

__all__ = ["InputCurrent", "lane_layout", "readout_layout"]


def readout_layout(config: ArrayConfig) -> data.StructLayout:
    """The sums of a group's lanes in one slot, and what to do with them."""
    return data.StructLayout({"sums": sums_layout(config), "how": LANE_READOUT})


def lane_layout(config: ArrayConfig) -> data.StructLayout:
    """Which neuron of the group is meant. close: the scan before is 4 cycles ahead of its scan."""
    return data.StructLayout({"valid": 1, "lane": range(max(config.group_lanes, 2)),
                              "how": LANE_READOUT, "close": 1})


class InputCurrent(wiring.Component):
    """J = round(folded * 2^(F - shift)) + bias,  folded = sum over planes b of 2^b acc_b.

    A scan is taken every `config.readout_period` cycles at most, and worked off one lane a cycle.
    Where states are forwarded (`quadfire.rtl.neuron.pipeline`) it is taken 4 cycles after the one before, or 6 or
    more: one that could be taken after 5 waits for another.
    `lane` goes to `Parameters`, whose answer is `channel`.

    Latency: `latency` cycles from a scan taken to the current of lane 0 on `current`, then one lane
    a cycle. `early` is `which` 3 cycles before, `coming` one. If not `pipelined` there are fewer
    stages.
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
        """The current of one neuron from its bit planes (or one sum), stored shift and bias."""
        folded = 0
        for acc in planes:
            folded = 2 * folded + acc
        return numerics.current(folded, shift - self.config.fraction_bits, bias)

    def elaborate(self, platform):
        m = Module()
        config = self.config
        lanes = config.group_lanes

        # s0: a scan is taken, a counter selects a lane of it
        s0 = Signal(lane_layout(config))
        s0_valid = Signal()
        s0_lane = Signal.like(s0.lane, reset_less=True)
        s0_last = Signal(reset_less=True)       # it is a scan's last
        s0_how = Signal(LANE_READOUT, reset_less=True)
        m.d.comb += [s0.valid.eq(s0_valid), s0.lane.eq(s0_lane), s0.how.eq(s0_how)]
        s0_close = Signal(reset_less=True)
        rest = 2 * config.forwards      # of the wait, when a scan can be taken at the earliest
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
        completes = Signal(reset_less=True)     # and that scan is an output's last
        last, how = ((taken, self.scans.payload.how) if lanes == 1 else
                     (s0.valid & (s0.lane == lanes - 2), s0_how))
        m.d.sync += [s0_last.eq(last), completes.eq(last & how.advance)]
        if config.readout_queue:
            kept = Signal(sums_layout(config), name="s0_sums", reset_less=True)
            with m.If(taken):
                m.d.sync += kept.eq(sums)
            s0_sum = kept[s0.lane]
        else:       # from the next cycle on lane 0 of them shows one lane after the other
            s0_sum = sums[0]

        # s1: its sum, and what was folded before
        s1, s1_sum = registered(m, s0, "s1"), registered(m, s0_sum, "s1_sum")

        # The channel word belongs to s2: what it is asked with, to s0 or s1.
        named = s0 if config.pipelined else s1
        m.d.comb += [
            self.lane.eq(named.lane),
            self.rewind.eq(named.how.rewind),
            self.advance.eq(completes if config.pipelined else registered(m, completes, "completed")),
        ]

        # s2: folded with the planes before. A replayed scan has sums of zero.
        s2 = registered(m, s1, "s2")
        s2_folded = Signal(signed(config.plane_bits), reset_less=True)
        before = Signal(signed(config.plane_bits))
        with m.If(s1.valid):
            m.d.sync += s2_folded.eq(s1_sum + Mux(s1.how.replay, before, before << 1))
        self._remember(m, before, s0, s1, s2, s2_folded)

        # s3, s4, s5: shifted right by multiples of 8, of 2, by 1; with F + 1 fractional bits, the
        # last of them for rounding
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

        # s6: rounded, biased. The rounding bit is the adder's carry:
        # 2 J + 1 = (2 x + r) + (2 bias + r)
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
        return m

    def _remember(self, m: Module, before: Signal, s0: data.View, s1: data.View, s2: data.View,
                  folded: Signal):
        """`before`: what the lane in s1 was folded to by the scan before, zero unless that is kept.

        folded: of the lane in s2, until the next one comes. A lane's scans lie `readout_period` apart.
        """
        lanes = self.config.group_lanes
        kept = Signal()     # by the scan before
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
            # No lane is read while it is written: that was two cycles after it was read.
            m.submodules.fold_mem = memory = Memory(shape=folded.shape(), depth=max(lanes, 2),
                                                    init=[], attrs=BLOCK)
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [read.addr.eq(s0.lane), before.eq(Mux(kept, read.data, 0)),
                         write.en.eq(s2.valid), write.addr.eq(s2.lane), write.data.eq(folded)]
