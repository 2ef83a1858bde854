"""The neuron: w' = sat(round(w x / 2^F) + J), spike where w' >= theta, then reset."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract import numerics
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.neuron.input_current import lane_layout
from quadfire.rtl.lib.memory_styles import DISTRIBUTED, small
from quadfire.rtl.neuron.parameters import neuron_layout
from quadfire.rtl.lib.chain_layouts import registered

__all__ = ["NeuronPipeline"]


class NeuronPipeline(wiring.Component):
    """One time step of one neuron a cycle; the neurons of a group interleave in one pipeline.

        v = round(w * x * 2^-F) + J,    x = w (QIF) or constant (LIF, IF)
        spike = v >= theta
        w <- reset (hard) or min(v, hi) - delta (soft) where spike, else max(v, lo)

    which, current: a neuron and its J; coming: the one that is `which` in the next cycle. The next
    step of a neuron finds the state that the one before has left where it comes 6 cycles later, or
    more; or, if the configuration `forwards`, 4 cycles and says so (`close`).
    kept: the state from which `coming` starts where it is to go on (`how.load`).
    done, spike, membrane: the neuron `latency` cycles later, its spike, its state after the reset.
    current_out: J of that neuron, for the readout.

    Latency: 5 cycles. II: 1. Multipliers: one, W x W bits. Rounding: half up. Overflow: saturates.
    Source: the map of arXiv:2510.05168 in canonical form, see `quadfire.rtl.contract.numerics`.
    """

    latency = 5

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

        # s1: operands of the multiplier; where they come from stands last
        s1, s1_current = flow(1, self.which, self.current)
        s1_w, s1_x = state("s1_w"), state("s1_x")

        # s2: product; how far the current is from the threshold
        s2, s2_current = flow(2, s1, s1_current)
        s2_product = Signal(signed(2 * width), reset_less=True)
        m.d.sync += s2_product.eq(s1_w * s1_x)

        # s3: v, exact, and whether it stays below the threshold: the sign, as the adder gives it.
        # The rounding bit is the adder's carry: 2v + 1 = (2 (p >> F) + r) + (2 J + r)
        s3, s3_current = flow(3, s2, s2_current)
        half = s2_product[fraction - 1]

        def plus_product(term: Value) -> Value:
            return (Cat(half, s2_product >> fraction).as_signed()
                    + Cat(half, term).as_signed()) >> 1

        s3_v = Signal(signed(max(2 * width - fraction, config.current_bits) + 1), reset_less=True)
        s3_quiet, s3_fires = Signal(reset_less=True), Signal()
        m.d.sync += s3_v.eq(plus_product(s2_current))
        if config.pipelined:
            s2_margin = Signal(signed(max(width, config.current_bits) + 1), reset_less=True)
            m.d.sync += [s2_margin.eq(s1_current - neuron.theta),
                         s3_quiet.eq(plus_product(s2_margin)[-1])]
        else:       # a slow clock: v is compared
            m.d.comb += s3_quiet.eq((s3_v - neuron.theta)[-1])
        m.d.comb += s3_fires.eq(~s3_quiet)

        # s4: comparisons with the limits, side by side, and what they choose from. Since
        # lo < theta <= hi, of the two limits it can only be hi that is exceeded where it fires.
        s4, s4_current = flow(4, s3, s3_current)
        s4_inner, s4_limit = state("s4_inner"), state("s4_limit")
        s4_above, s4_below = (Signal(name=name, reset_less=True)
                              for name in ("s4_above", "s4_below"))
        low, limit = s3_v[:width].as_signed(), Mux(s3_fires, neuron.top, neuron.lo)
        m.d.sync += [
            s4_above.eq((neuron.hi - s3_v)[-1]),
            s4_below.eq((s3_v - neuron.lo)[-1]),
            s4_limit.eq(limit),
            s4_inner.eq(Mux(s3_fires, Mux(neuron.soft, low, 0) + neuron.change, low)),
        ]

        # s5: state after saturation and reset, on its way to memory and out
        beyond = s4_above | s4_below
        after = Mux(beyond, s4_limit, s4_inner)
        done, current_out = flow(5, s4, s4_current)
        m.d.comb += [
            self.done.eq(done),
            self.spike.eq(registered(m, registered(m, s3_fires, "s4_fires"), "s5_spike")),
            self.membrane.eq(registered(m, after, "s5_membrane")),
            self.current_out.eq(current_out),
        ]

        # Between two steps a state waits in memory.
        m.submodules.state_mem = memory = Memory(
            shape=signed(width), depth=max(config.group_lanes, 2), init=[],
            attrs=DISTRIBUTED if config.forwards else small(config))
        write = memory.write_port()
        m.d.comb += [write.en.eq(s4.valid), write.addr.eq(s4.lane), write.data.eq(after)]
        coming = self.coming
        begins = coming.how.begin
        constant = begins | ~neuron.square      # LIF and IF neurons multiply by a constant
        first, first_x = neuron.initial, neuron.operand
        if config.state_words:
            first = Mux(coming.how.load, self.kept, first)
            first_x = Mux(coming.how.load & neuron.square, self.kept, first_x)
        operands = ((s1_w, begins, first, C(1)), (s1_x, constant, first_x, neuron.square))

        if config.forwards:
            # A step that goes on with the state in s4 takes it as it comes from there. What it
            # takes else, memory's state or the first one, stands beside s4; so does the limit, and
            # one level of logic is left before the multiplier.
            read = memory.read_port(domain="comb")
            m.d.comb += read.addr.eq(coming.lane)
            goes_on = coming.close & s3.valid & ~begins
            for operand, fixed, value, follows in operands:
                name = operand.name[-1]
                other, inner = state(f"s4_other_{name}"), Signal(name=f"s4_goes_on_{name}")
                m.d.sync += [
                    inner.eq(goes_on & follows),
                    other.eq(Mux(goes_on & follows, limit, Mux(fixed, value, read.data))),
                    operand.eq(Mux(inner & ~beyond, s4_inner, other)),
                ]
        else:       # the memory's own register
            read = memory.read_port(domain="sync")
            m.d.comb += read.addr.eq(coming.lane)
            later = "sync" if config.state_words else "comb"
            for operand, fixed, value, _ in operands:
                name = operand.name[-1]
                m.d.sync += operand.eq(Mux(registered(m, fixed, f"fixed_{name}"),
                                           registered(m, value, f"first_{name}", later), read.data))
        return m
