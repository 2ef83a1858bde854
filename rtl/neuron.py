"""The neuron: w' = sat(round(w x / 2^F) + J), spike where w' >= theta, then reset."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from . import numerics
from .config import ArrayConfig
from .current import lane_layout
from .memories import DISTRIBUTED, small
from .parameters import neuron_layout
from .signals import registered

__all__ = ["NeuronPipeline"]


class NeuronPipeline(wiring.Component):
    """One time step of one neuron a cycle; the neurons of a group interleave in one pipeline.

        v = round(w * x * 2^-F) + J,    x = w (QIF) or constant (LIF, IF)
        spike = v >= theta
        w <- reset (hard) or min(v, hi) - delta (soft) where spike, else max(v, lo)

    which, current: a neuron and its J; coming: the one that is `which` in the next cycle. Two steps
    of the same neuron must be `loop` cycles apart or more: then the second finds the state that the
    first has left.
    kept: the state from which a neuron starts that is to go on (`which.how.load`).
    done, spike, membrane: the neuron `latency` cycles later, its spike, its state after the reset.
    current_out: J of that neuron, for the readout.

    Latency: 5 cycles. II: 1. Multipliers: one, W x W bits. Rounding: half up. Overflow: saturates.
    Source: the map of arXiv:2510.05168 in canonical form, see `rtl.numerics`.
    """

    latency = 5
    loop = 4

    def __init__(self, config: ArrayConfig):
        self.config = config
        state = signed(config.state_bits)
        super().__init__({
            "neuron": In(neuron_layout(config)),
            "coming": In(lane_layout(config)),
            "which": In(lane_layout(config)),
            "current": In(signed(config.current_bits)),
            "kept": In(state),
            "done": Out(lane_layout(config)),
            "spike": Out(1),
            "membrane": Out(state),
            "current_out": Out(signed(config.current_bits)),
        })

    def model(self, neuron: numerics.Neuron, currents: list[int]) -> list[tuple[bool, int]]:
        """(spike, membrane) of one neuron in every time step, from its initial state."""
        w, steps = neuron.initial, []
        for j in currents:
            spike, w = numerics.neuron_step(w, j, neuron, self.config.fraction_bits)
            steps.append((spike, w))
        return steps

    def elaborate(self, platform):
        m = Module()
        config, neuron = self.config, self.neuron
        width, fraction = config.state_bits, config.fraction_bits

        def state(name: str) -> Signal:
            return Signal(signed(width), name=name, reset_less=True)

        def flow(stage: int, which: data.View, j: Value):
            """Pipeline registers of the neuron's name and current."""
            return registered(m, which, f"s{stage}"), registered(m, j, f"s{stage}_current")

        # States wait here for their next time step. One that is just being stored is taken on the
        # way; where steps never come that close, the memory's own register can stand before s1.
        close = config.scan_period <= self.loop
        m.submodules.state_mem = memory = Memory(
            shape=signed(width), depth=max(config.group_lanes, 2), init=[],
            attrs=DISTRIBUTED if close else small(config))
        load = memory.read_port(domain="comb" if close else "sync")
        store = memory.write_port()
        # of one that fires, or one that does not, where the other is zero
        reset, silent, after = state("reset"), state("silent"), state("after")
        m.d.comb += load.addr.eq(self.which.lane if close else self.coming.lane)

        # s0: what will be an operand; LIF and IF neurons multiply by a constant
        begins, again, again_x, constant = (Signal(name=name) for name in
                                            ("begins", "again", "again_x", "constant"))
        s3 = Signal(lane_layout(config), name="s3_here")
        is_close = (C(int(close)) & s3.valid & (s3.lane == self.coming.lane)
                    & ~self.coming.how.begin)
        m.d.sync += [
            begins.eq(self.coming.how.begin),
            again.eq(is_close),
            again_x.eq(is_close & neuron.square),
            constant.eq(self.coming.how.begin | ~neuron.square),
        ]
        first, first_x = neuron.initial, neuron.operand
        if config.state_words:
            loads = self.which.how.load
            first = Mux(loads, self.kept, first)
            first_x = Mux(loads & neuron.square, self.kept, first_x)

        # s1: operands of the multiplier
        s1, s1_current = flow(1, self.which, self.current)
        s1_w, s1_x = state("s1_w"), state("s1_x")
        m.d.sync += [
            s1_w.eq(Mux(again, after, Mux(begins, first, load.data))),
            s1_x.eq(Mux(again_x, after, Mux(constant, first_x, load.data))),
        ]

        # s2: product
        s2, s2_current = flow(2, s1, s1_current)
        s2_product = Signal(signed(2 * width), reset_less=True)
        m.d.sync += s2_product.eq(s1_w * s1_x)

        # s3: v, exact. The rounding bit is the adder's carry: 2v + 1 = (2 (p >> F) + r) + (2 J + r)
        here, s3_current = flow(3, s2, s2_current)
        m.d.comb += s3.eq(here)
        bits = max(2 * width - fraction, config.current_bits) + 1
        s3_v = Signal(signed(bits), reset_less=True)
        half = s2_product[fraction - 1]
        total = Signal(signed(bits + 1))
        m.d.comb += total.eq(Cat(half, s2_product >> fraction).as_signed()
                             + Cat(half, s2_current).as_signed())
        m.d.sync += s3_v.eq(total >> 1)

        # s4: comparisons, side by side (lo < theta <= hi, so that saturation changes no spike)
        s4, s4_current = flow(4, s3, s3_current)
        s4_v, s4_fired = state("s4_v"), state("s4_fired")
        s4_fires, s4_edge = Signal(), Signal()          # edge: v is beyond lo or hi
        low, high = s3_v[:width].as_signed(), s3_v[width - 1:]
        over, under = ~s3_v[-1] & high.any(), s3_v[-1] & ~high.all()    # beyond all W-bit numbers
        m.d.sync += [
            s4_v.eq(low),
            s4_fired.eq(Mux(neuron.soft, low, 0) + neuron.change),
            s4_fires.eq(over | ~under & ~(low - neuron.theta)[-1]),
            s4_edge.eq(over | under | (neuron.hi - low)[-1] | (low - neuron.lo)[-1]),
        ]

        # s5: state after saturation and reset, on its way to memory and out
        m.d.comb += [
            reset.eq(Mux(s4_fires, Mux(s4_edge, neuron.top, s4_fired), 0)),
            silent.eq(Mux(s4_fires, 0, Mux(s4_edge, neuron.lo, s4_v))),
            after.eq(reset | silent),
            store.en.eq(s4.valid), store.addr.eq(s4.lane), store.data.eq(after),
        ]
        done, current_out = flow(5, s4, s4_current)
        m.d.comb += [
            self.done.eq(done),
            self.spike.eq(registered(m, s4_fires, "s5_spike")),
            self.membrane.eq(registered(m, after, "s5_membrane")),
            self.current_out.eq(current_out),
        ]
        return m
