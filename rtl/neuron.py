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
    kept: the state from which `coming` starts where it is to go on (`how.load`).
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

        # States wait here for their next time step. Of two steps as close as can be, the second
        # takes its state on the way; what does not come from there is in s0. Where steps never come
        # that close, the memory's own register is s0.
        close = config.scan_period <= self.loop
        m.submodules.state_mem = memory = Memory(
            shape=signed(width), depth=max(config.group_lanes, 2), init=[],
            attrs=DISTRIBUTED if close else small(config))
        load = memory.read_port(domain="comb" if close else "sync")
        store = memory.write_port()
        after, s0_w, s0_x = (state(name) for name in ("after", "s0_w", "s0_x"))
        again, again_x = (Signal(name=name, reset_less=True) for name in ("again", "again_x"))
        s3, s4 = (Signal(lane_layout(config), name=name) for name in ("s3_here", "s4_here"))
        coming = self.coming
        begins = coming.how.begin
        is_close = C(int(close)) & s3.valid & (s3.lane == coming.lane) & ~begins
        m.d.comb += load.addr.eq(coming.lane)

        # s0: LIF and IF neurons multiply by a constant
        first, first_x = neuron.initial, neuron.operand
        if config.state_words:
            first = Mux(coming.how.load, self.kept, first)
            first_x = Mux(coming.how.load & neuron.square, self.kept, first_x)
        constant = begins | ~neuron.square
        if close:
            stored = s4.valid & (s4.lane == coming.lane)        # in this cycle
            old = Mux(stored, after, load.data)
            m.d.sync += [s0_w.eq(Mux(begins, first, old)), s0_x.eq(Mux(constant, first_x, old))]
        else:
            later = "sync" if config.state_words else "comb"
            choice = [registered(m, value, name) for value, name in (
                (begins, "begins"), (constant, "constant"))]
            firsts = [registered(m, value, name, later) for value, name in (
                (first, "first"), (first_x, "first_x"))]
            m.d.comb += [s0_w.eq(Mux(choice[0], firsts[0], load.data)),
                         s0_x.eq(Mux(choice[1], firsts[1], load.data))]

        # s1: operands of the multiplier
        s1, s1_current = flow(1, self.which, self.current)
        s1_w, s1_x = state("s1_w"), state("s1_x")
        m.d.sync += [again.eq(is_close), again_x.eq(is_close & neuron.square),
                     s1_w.eq(Mux(again, after, s0_w)),
                     s1_x.eq(Mux(again_x, after, s0_x))]

        # s2: product; how far the current is from the threshold
        s2, s2_current = flow(2, s1, s1_current)
        s2_product = Signal(signed(2 * width), reset_less=True)
        s2_margin = Signal(signed(max(width, config.current_bits) + 1), reset_less=True)
        m.d.sync += [s2_product.eq(s1_w * s1_x), s2_margin.eq(s1_current - neuron.theta)]

        # s3: v, exact, and whether it reaches the threshold. The rounding bit is the adder's carry:
        # 2v + 1 = (2 (p >> F) + r) + (2 J + r)
        here, s3_current = flow(3, s2, s2_current)
        m.d.comb += s3.eq(here)
        half = s2_product[fraction - 1]

        def plus_product(term: Value) -> Value:
            return (Cat(half, s2_product >> fraction).as_signed()
                    + Cat(half, term).as_signed()) >> 1

        s3_v = Signal(signed(max(2 * width - fraction, config.current_bits) + 1), reset_less=True)
        s3_fires = Signal(reset_less=True)
        m.d.sync += s3_v.eq(plus_product(s2_current))
        if config.lut_ram:
            m.d.sync += s3_fires.eq(~plus_product(s2_margin)[-1])
        else:       # a slow clock: v is compared
            m.d.comb += s3_fires.eq(~(s3_v - neuron.theta)[-1])

        # s4: comparisons with the limits, side by side, and what they choose from. Since
        # lo < theta <= hi, of the two limits it can only be hi that is exceeded where it fires.
        here, s4_current = flow(4, s3, s3_current)
        s4_inner, s4_limit = state("s4_inner"), state("s4_limit")
        s4_above, s4_below = (Signal(name=name, reset_less=True)
                              for name in ("s4_above", "s4_below"))
        low = s3_v[:width].as_signed()
        m.d.comb += s4.eq(here)
        m.d.sync += [
            s4_above.eq((neuron.hi - s3_v)[-1]),
            s4_below.eq((s3_v - neuron.lo)[-1]),
            s4_limit.eq(Mux(s3_fires, neuron.top, neuron.lo)),
            s4_inner.eq(Mux(s3_fires, Mux(neuron.soft, low, 0) + neuron.change, low)),
        ]

        # s5: state after saturation and reset, on its way to memory and out, or to s1 again
        m.d.comb += [
            after.eq(Mux(s4_above | s4_below, s4_limit, s4_inner)),
            store.en.eq(s4.valid), store.addr.eq(s4.lane), store.data.eq(after),
        ]
        done, current_out = flow(5, s4, s4_current)
        m.d.comb += [
            self.done.eq(done),
            self.spike.eq(registered(m, registered(m, s3_fires, "s4_fires"), "s5_spike")),
            self.membrane.eq(registered(m, after, "s5_membrane")),
            self.current_out.eq(current_out),
        ]
        return m
