"""The neuron: w' = sat(round(w x / 2^F) + J), a spike where w' >= theta, then a reset."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract import numerics
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.memory_styles import DISTRIBUTED, small
from quadfire.rtl.lib.strobes import registered
from quadfire.rtl.neuron.input_current import lane_layout
from quadfire.rtl.neuron.parameters import neuron_layout

__all__ = ["NeuronPipeline"]


class NeuronPipeline(wiring.Component):
    """One time step of one neuron a cycle. The neurons of a group take turns in the pipeline.

        v = round(w * x / 2^F) + J      x = w (QIF) or a constant (LIF, IF)
        spike = v >= theta
        w' = reset                      where it spikes, with hard reset
             min(v, hi) - delta         where it spikes, with soft reset
             max(v, lo)                 where it does not

    | port          | shape               | meaning                                             |
    |---------------|---------------------|-----------------------------------------------------|
    | `neuron`      | in, `neuron_layout` | the layer's neuron words                            |
    | `coming`      | in, `lane_layout`   | the neuron that is `which` in the next cycle        |
    | `which`       | in, `lane_layout`   | the neuron that takes a step                        |
    | `current`     | in, signed          | its input current J                                 |
    | `kept`        | in, signed(W)       | the state that `coming` starts from with `how.load` |
    | `done`        | out, `lane_layout`  | the neuron that has taken its step                  |
    | `spike`       | out, 1              | whether it spikes                                   |
    | `membrane`    | out, signed(W)      | its state after the reset                           |
    | `current_out` | out, signed         | its J, for a layer that is read out without neurons |

    Consecutive steps of one neuron must be 6 or more cycles apart, or, in a configuration that
    `forwards`, exactly 4, flagged by `close`.

    Formats: states and thresholds are signed, W = `state_bits`, F = `fraction_bits`; J is in the
    same unit, `current_bits` wide.
    Latency: 5 cycles. II: 1. Backpressure: none. Multipliers: one, W x W bits.
    Rounding: half up. Overflow: saturates at lo and hi. Reset: valid bits only.
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
        width = config.state_bits

        # s1: operands of the multiplier. Where they come from stands last.
        s1, s1_current = self._flow(m, 1, self.which, self.current)
        s1_w, s1_x = self._state("s1_w"), self._state("s1_x")

        # s2: product
        s2, s2_current = self._flow(m, 2, s1, s1_current)
        s2_product = Signal(signed(2 * width), reset_less=True)
        m.d.sync += s2_product.eq(s1_w * s1_x)

        # s3: v, exact, and whether it reaches the threshold
        s3, s3_current = self._flow(m, 3, s2, s2_current)
        s3_v, s3_fires = self._potential(m, s2_product, s1_current, s2_current)

        # s4: both limits are compared side by side, next to what they choose from. Since
        # lo < theta <= hi, a neuron that spikes can only exceed hi, any other only lo.
        s4, s4_current = self._flow(m, 4, s3, s3_current)
        s4_inner, s4_limit = self._state("s4_inner"), self._state("s4_limit")
        s4_above, s4_below = (Signal(name=name, reset_less=True)
                              for name in ("s4_above", "s4_below"))
        low, limit = s3_v[:width].as_signed(), Mux(s3_fires, neuron.top, neuron.lo)
        m.d.sync += [
            s4_above.eq((neuron.hi - s3_v)[-1]),
            s4_below.eq((s3_v - neuron.lo)[-1]),
            s4_limit.eq(limit),
            s4_inner.eq(Mux(s3_fires, Mux(neuron.soft, low, 0) + neuron.change, low)),
        ]

        # s5: the state after saturation and reset goes out, and to the memory
        beyond = s4_above | s4_below
        after = Mux(beyond, s4_limit, s4_inner)
        done, current_out = self._flow(m, 5, s4, s4_current)
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
        operands = self._operands(s1_w, s1_x)
        if config.forwards:
            self._forwarded(m, memory, operands, s3.valid, limit, beyond, s4_inner)
        else:
            self._from_memory(m, memory, operands)
        return m

    def _state(self, name: str) -> Signal:
        """A register for a state."""
        return Signal(signed(self.config.state_bits), name=name, reset_less=True)

    def _flow(self, m: Module, stage: int, which: data.View, j: Value):
        """Pipeline registers of which neuron it is and of its current."""
        return registered(m, which, f"s{stage}"), registered(m, j, f"s{stage}_current")

    def _potential(self, m: Module, s2_product: Signal, s1_current: Signal, s2_current: Signal
                   ) -> tuple[Signal, Signal]:
        """(v, whether v >= theta) in s3.

        The rounding bit r of the product p enters as the carry of the one adder:
        2v + 1 = (2 (p >> F) + r) + (2 J + r). If `pipelined`, a second adder makes v - theta at the
        same time, and its sign is the answer. Otherwise v itself is compared.
        """
        config, neuron = self.config, self.neuron
        width, fraction = config.state_bits, config.fraction_bits
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
        else:
            m.d.comb += s3_quiet.eq((s3_v - neuron.theta)[-1])
        m.d.comb += s3_fires.eq(~s3_quiet)
        return s3_v, s3_fires

    def _operands(self, s1_w: Signal, s1_x: Signal) -> tuple:
        """For w and for x: (register, takes a fixed value, that value, may follow the state)."""
        coming, neuron = self.coming, self.neuron
        begins = coming.how.begin
        constant = begins | ~neuron.square      # LIF and IF neurons multiply by a constant
        first, first_x = neuron.initial, neuron.operand
        if self.config.state_words:
            first = Mux(coming.how.load, self.kept, first)
            first_x = Mux(coming.how.load & neuron.square, self.kept, first_x)
        return (s1_w, begins, first, C(1)), (s1_x, constant, first_x, neuron.square)

    def _forwarded(self, m: Module, memory: Memory, operands: tuple, s3_valid: Value, limit: Value,
                   beyond: Value, s4_inner: Signal):
        """A step that is `close` behind the last one takes the state straight from s4.

        The alternatives, the limit, the memory's word or the fixed value, are chosen one cycle
        ahead, beside s4. One level of logic is left before the multiplier.
        """
        coming = self.coming
        read = memory.read_port(domain="comb")
        m.d.comb += read.addr.eq(coming.lane)
        goes_on = coming.close & s3_valid & ~coming.how.begin
        for operand, fixed, value, follows in operands:
            name = operand.name[-1]
            other, inner = self._state(f"s4_other_{name}"), Signal(name=f"s4_goes_on_{name}")
            m.d.sync += [
                inner.eq(goes_on & follows),
                other.eq(Mux(goes_on & follows, limit, Mux(fixed, value, read.data))),
                operand.eq(Mux(inner & ~beyond, s4_inner, other)),
            ]

    def _from_memory(self, m: Module, memory: Memory, operands: tuple):
        """A step takes the memory's word, which the memory's own register delays, or the value."""
        read = memory.read_port(domain="sync")
        m.d.comb += read.addr.eq(self.coming.lane)
        later = "sync" if self.config.state_words else "comb"
        for operand, fixed, value, _ in operands:
            name = operand.name[-1]
            m.d.sync += operand.eq(Mux(registered(m, fixed, f"fixed_{name}"),
                                       registered(m, value, f"first_{name}", later), read.data))
