"""The neuron: w' = sat(round(w x / 2^F) + J), spike where w' >= theta, then reset."""

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from . import numerics
from .config import ArrayConfig
from .current import lane_layout
from .memories import DISTRIBUTED
from .parameters import neuron_layout

__all__ = ["NeuronPipeline"]


class NeuronPipeline(wiring.Component):
    """One time step of one neuron a cycle; the neurons of a group interleave in one pipeline.

        v = round(w * x * 2^-F) + J,    x = w (QIF) or factor (LIF, IF)
        spike = v >= theta
        w <- reset (hard) or min(v, hi) - delta (soft) where spike, else max(v, lo)

    which, current: a neuron and its J. Two steps of the same neuron must be `loop` cycles apart or
    more: then the second finds the state that the first has left.
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

        def flow(stage: int, which: ValueLike, j: ValueLike):
            """Pipeline registers of the neuron's name and current."""
            here = Signal(lane_layout(config), name=f"s{stage}")
            current = Signal(signed(config.current_bits), name=f"s{stage}_current", reset_less=True)
            m.d.sync += [here.eq(which), current.eq(j)]
            return here, current

        # States wait here for their next time step.
        m.submodules.state_mem = memory = Memory(
            shape=signed(width), depth=max(config.group_lanes, 2), init=[],
            attrs=DISTRIBUTED)
        load, store = memory.read_port(domain="comb"), memory.write_port()
        after = Signal(signed(width))

        # s1: operands of the multiplier; a state just being stored is taken on the way
        s1, s1_current = flow(1, self.which, self.current)
        s1_w, s1_x = state("s1_w"), state("s1_x")
        w = Signal(signed(width))
        m.d.comb += load.addr.eq(self.which.lane)
        with m.If(self.which.how.begin):
            m.d.comb += w.eq(Mux(self.which.how.load, self.kept, neuron.initial)
                             if config.state_words else neuron.initial)
        with m.Elif(store.en & (store.addr == load.addr)):
            m.d.comb += w.eq(after)
        with m.Else():
            m.d.comb += w.eq(load.data)
        m.d.sync += [s1_w.eq(w), s1_x.eq(Mux(neuron.square, w, neuron.factor))]

        # s2: product
        s2, s2_current = flow(2, s1, s1_current)
        s2_product = Signal(signed(2 * width), reset_less=True)
        m.d.sync += s2_product.eq(s1_w * s1_x)

        # s3: v, exact. The rounding bit is the adder's carry: 2v + 1 = (2 (p >> F) + r) + (2 J + r)
        s3, s3_current = flow(3, s2, s2_current)
        bits = max(2 * width - fraction, config.current_bits) + 1
        s3_v = Signal(signed(bits), reset_less=True)
        half = s2_product[fraction - 1]
        total = Signal(signed(bits + 1))
        m.d.comb += total.eq(Cat(half, s2_product >> fraction).as_signed()
                             + Cat(half, s2_current).as_signed())
        m.d.sync += s3_v.eq(total >> 1)

        # s4: comparisons, side by side (lo < theta <= hi, so that saturation changes no spike)
        s4, s4_current = flow(4, s3, s3_current)
        s4_v, s4_less = state("s4_v"), state("s4_less")
        s4_fires, s4_above, s4_below = Signal(), Signal(), Signal()
        m.d.sync += [
            s4_v.eq(s3_v),
            s4_less.eq(s3_v - neuron.delta),
            s4_fires.eq(s3_v >= neuron.theta),
            s4_above.eq(s3_v > neuron.hi),
            s4_below.eq(s3_v < neuron.lo),
        ]

        # s5: state after saturation and reset, on its way to memory and out
        top = state("top")
        m.d.sync += top.eq(neuron.hi - neuron.delta)
        with m.If(s4_fires & ~neuron.soft):
            m.d.comb += after.eq(neuron.reset)
        with m.Elif(s4_fires):
            m.d.comb += after.eq(Mux(s4_above, top, s4_less))
        with m.Else():
            m.d.comb += after.eq(Mux(s4_below, neuron.lo, s4_v))
        m.d.comb += [store.en.eq(s4.valid), store.addr.eq(s4.lane), store.data.eq(after)]
        m.d.sync += [
            self.done.eq(s4),
            self.spike.eq(s4_fires),
            self.membrane.eq(after),
            self.current_out.eq(s4_current),
        ]
        return m
