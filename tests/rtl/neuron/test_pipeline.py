"""The neuron pipeline against its model: every kind, every limit, every distance of two steps."""

import random
from dataclasses import replace

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.numerics import Neuron, neuron_step, round_shift
from quadfire.rtl.lib.strobes import registered
from quadfire.rtl.neuron.parameters import neuron_layout
from quadfire.rtl.neuron.pipeline import NeuronPipeline
from quadfire.rtl.verilog import component_verilog
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import run_testbench

from tests.rtl.bench_tools import Play, packed, wrap


def config_of(state_bits: int, fraction_bits: int, lanes: int = 4, current_bits: int = 24,
              **settings) -> ArrayConfig:
    return ArrayConfig(banks=1, lanes=lanes, group_lanes=lanes, weight_bits=4, weight_rows=8,
                       line_words=0, state_bits=state_bits, fraction_bits=fraction_bits,
                       current_bits=current_bits, **settings)


class NeuronBench(wiring.Component):
    """A pipeline whose initial state may be another one for every neuron.

    A step has to wait until its neuron's last one is as far ahead as the pipeline asks for.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.pipeline = config, NeuronPipeline(config)
        super().__init__({
            "neuron": In(neuron_layout(config)),
            "i__valid": In(1), "i__ready": Out(1),
            "i__lane": In(range(max(config.group_lanes, 2))), "i__begin": In(1),
            "i__initial": In(signed(config.state_bits)),
            "i__current": In(signed(config.current_bits)),
            "o__valid": Out(1), "o__lane": Out(range(max(config.group_lanes, 2))),
            "o__begin": Out(1), "o__spike": Out(1),
            "o__membrane": Out(signed(config.state_bits)),
            "o__current": Out(signed(config.current_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.pipeline = pipeline = self.pipeline
        # taken a cycle earlier where steps can follow closely
        initial = self.i__initial
        if not self.config.forwards:
            initial = Signal.like(self.i__initial)
            m.d.sync += initial.eq(self.i__initial)
        ahead, same = pipeline.coming, []       # same: that neuron was taken 1, 2 .. 5 cycles ago
        for ago in range(1, 6):
            ahead = registered(m, ahead, f"ago_{ago}")
            same.append(ahead.valid & (ahead.lane == self.i__lane))
        allowed = {4} if self.config.forwards else set()
        m.d.comb += [
            self.i__ready.eq(~Cat(bit for ago, bit in enumerate(same, 1)
                                  if ago not in allowed).any()),
            pipeline.coming.close.eq(same[3]),
            pipeline.neuron.eq(self.neuron),
            pipeline.neuron.initial.eq(initial),
            pipeline.neuron.operand.eq(Mux(self.neuron.square, initial, self.neuron.operand)),
            pipeline.coming.valid.eq(self.i__valid & self.i__ready),
            pipeline.coming.lane.eq(self.i__lane),
            pipeline.coming.how.begin.eq(self.i__begin),
            self.o__valid.eq(pipeline.done.valid),
            self.o__lane.eq(pipeline.done.lane),
            self.o__begin.eq(pipeline.done.how.begin),
            self.o__spike.eq(pipeline.spike),
            self.o__membrane.eq(pipeline.membrane),
            self.o__current.eq(pipeline.current_out),
        ]
        m.d.sync += [pipeline.which.eq(pipeline.coming), pipeline.current.eq(self.i__current)]
        return m


IN = ["i__lane", "i__begin", "i__initial", "i__current"]
OUT = ["o__lane", "o__begin", "o__spike", "o__membrane", "o__current"]


def neuron_vectors(bench: NeuronBench, neuron: Neuron, steps: list[tuple[int, int | None, int]], *,
                   gaps: list[int] | None = None, exact: bool = False) -> dict:
    """steps: (lane, initial state or None, J) in order; a lane's next step sees its last state."""
    config = bench.config
    histories: dict[int, tuple[int, list[int]]] = {}
    inputs, outputs = [], []
    for lane, initial, j in steps:
        if initial is not None:
            histories[lane] = (initial, [])
        start, currents = histories[lane]
        currents.append(j)
        if len(currents) > 32:  # the model is a pure function: go on from the last state
            _, w = bench.pipeline.model(replace(neuron, initial=start), currents[:-1])[-1]
            histories[lane] = start, currents = w, [j]
        spike, w = bench.pipeline.model(replace(neuron, initial=start), currents)[-1]
        begin = int(initial is not None)
        inputs.append(dict(zip(IN, (lane, begin, initial or 0, j), strict=True)))
        outputs.append(dict(zip(OUT, (lane, begin, spike, w, j), strict=True)))
    words = neuron.words()
    del words["flags"]
    constants = packed(neuron_layout(config), square=neuron.square, soft=neuron.soft, **words)
    return golden.vectors(
        [golden.channel("i", inputs, payload=IN, ready="i__ready", gaps=gaps, exact=exact)],
        [golden.channel("o", outputs, payload=OUT, latency=NeuronPipeline.latency + 1)],
        constants={"neuron": constants})


def critical_currents(w: int, neuron: Neuron, config: ArrayConfig) -> list[int]:
    """Currents that bring a neuron in state w to theta, lo and hi, and one unit beside them."""
    v = round_shift(w * (w if neuron.square else neuron.factor), config.fraction_bits)
    low, high = -(1 << config.current_bits - 1), (1 << config.current_bits - 1) - 1
    wanted = [target - v + d for target in (neuron.theta, neuron.lo, neuron.hi) for d in (-1, 0, 1)]
    return [j for j in [*wanted, low, high, 0, -v] if low <= j <= high]


def kinds(config: ArrayConfig) -> list[Neuron]:
    """QIF, LIF and IF with hard and soft reset, at ordinary and at extreme values."""
    one, low, high = 1 << config.fraction_bits, config.state_min, config.state_max
    qif = Neuron(square=True, soft=False, factor=0, theta=one // 2, lo=low, hi=high, initial=0,
                 reset=-one // 4, delta=0)
    narrow = {"lo": -one, "hi": one // 2 + 3}
    return [
        qif, replace(qif, soft=True, delta=one // 4), replace(qif, **narrow, reset=-one),
        replace(qif, **narrow, soft=True, delta=one // 2),
        replace(qif, theta=high, reset=low), replace(qif, theta=low + 1, reset=high),
        replace(qif, square=False, factor=one - one // 8),
        replace(qif, square=False, factor=one, soft=True, delta=one // 2),
        replace(qif, square=False, factor=low, **narrow, reset=-one),
        replace(qif, square=False, factor=high, soft=True, delta=0),
        replace(qif, soft=True, delta=min(one // 2 - low, high)),
    ]


@pytest.mark.fast
@pytest.mark.parametrize("index", [0, 1, 3, 4, 6, 9])
def test_every_state_of_8_bits_at_its_critical_currents(index):
    dut = NeuronBench(config_of(8, 4, current_bits=12))
    neuron = kinds(dut.config)[index]
    steps = [(n % 4, w, j) for n, (w, j) in enumerate(
        (w, j) for w in range(neuron.lo, neuron.hi + 1)
        for j in critical_currents(w, neuron, dut.config))]
    Play(dut, neuron_vectors(dut, neuron, steps))


@pytest.mark.fast
@pytest.mark.parametrize("bits", [(8, 6), (12, 10), (18, 16), (18, 4), (12, 4)], ids=str)
def test_extreme_states_of_every_kind(bits):
    dut = NeuronBench(config_of(*bits))
    for neuron in kinds(dut.config):
        states = {neuron.lo, neuron.lo + 1, -1, 0, 1, neuron.theta - 1, neuron.theta, neuron.hi - 1,
                  neuron.hi, neuron.reset}
        steps = [(n % 4, w, j) for n, (w, j) in enumerate(
            (w, j) for w in sorted(states) if neuron.lo <= w <= neuron.hi
            for j in critical_currents(w, neuron, dut.config))]
        Play(dut, neuron_vectors(dut, neuron, steps))


def runs(rng: random.Random, neuron: Neuron, config: ArrayConfig, length: int, distance: int
         ) -> tuple[list, list]:
    """(steps, gaps): time steps of all lanes, those of one lane `distance` cycles apart."""
    one, lanes = 1 << config.fraction_bits, config.group_lanes
    steps, gaps = [], []
    states = [0] * lanes
    for step in range(length):
        for lane in range(lanes):
            begin = step == 0 or rng.random() < 0.1
            states[lane] = rng.randint(neuron.lo, neuron.hi) if begin else states[lane]
            j = rng.choice([rng.randint(-one, one), *critical_currents(states[lane], neuron,
                                                                       config)])
            steps.append((lane, states[lane] if begin else None, j))
            gaps.append(max(distance - lanes, 0) if lane == 0 and step else 0)
            _, states[lane] = neuron_step(states[lane], j, neuron, config.fraction_bits)
    return steps, gaps


#: Distances of two steps of a neuron, and when the second is taken: 4, 6 or more cycles later where
#: states are forwarded, 6 or more elsewhere.
FORWARDED, STORED = {4: 4, 5: 6, 6: 6, 9: 9}, {4: 6, 5: 6, 6: 6, 9: 9}


@pytest.mark.fast
@pytest.mark.parametrize("lanes", [1, 2, 4, 8])
@pytest.mark.parametrize(("lut_ram", "pipelined"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_steps_of_a_neuron_at_every_distance(lanes, lut_ram, pipelined):
    dut = NeuronBench(config_of(12, 10, lanes, lut_ram=lut_ram, pipelined=pipelined))
    assert dut.config.forwards == (lut_ram and lanes <= 4) and NeuronPipeline.latency == 5
    rng = random.Random(f"{lanes} {lut_ram}")
    for wanted, taken in (FORWARDED if dut.config.forwards else STORED).items():
        for neuron in (kinds(dut.config)[index] for index in (0, 1, 6)):
            steps, gaps = runs(rng, neuron, dut.config, 40, wanted)
            play = Play(dut, neuron_vectors(dut, neuron, steps, gaps=gaps, exact=True))
            starts = play.moments["i"][::lanes]
            assert {b - a for a, b in zip(starts, starts[1:], strict=False)} == {max(taken, lanes)}


@pytest.mark.fast
@pytest.mark.parametrize(("lut_ram", "pipelined"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_distances_that_change_from_step_to_step(lut_ram, pipelined):
    dut = NeuronBench(config_of(12, 10, lut_ram=lut_ram, pipelined=pipelined))
    rng = random.Random(lut_ram)
    for neuron in kinds(dut.config)[:8]:
        steps, _ = runs(rng, neuron, dut.config, 60, 4)
        gaps = [0 if n % 4 else rng.choice([0, 0, 0, 1, 2, 3, 5]) for n in range(len(steps))]
        Play(dut, neuron_vectors(dut, neuron, steps, gaps=gaps, exact=True))


@pytest.mark.fast
def test_idle_cycles_between_steps_change_nothing():
    dut = NeuronBench(config_of(12, 10))
    rng = random.Random(7)
    for neuron in kinds(dut.config)[:4]:
        steps, _ = runs(rng, neuron, dut.config, 30, 4)
        Play(dut, neuron_vectors(dut, neuron, steps), idle=0.4)


@st.composite
def cases(draw):
    bits = draw(st.sampled_from([8, 12, 18]))
    config = config_of(bits, draw(st.integers(4, bits - 2)),
                       current_bits=draw(st.integers(max(bits, 12), 24)))
    low, high = config.state_min, config.state_max
    lo = draw(st.integers(low, high - 1))
    theta = draw(st.integers(lo + 1, high))
    hi = draw(st.integers(theta, high))
    inside, any_state = st.integers(lo, hi), st.integers(low, high)
    neuron = Neuron(square=draw(st.booleans()), soft=draw(st.booleans()), factor=draw(any_state),
                    theta=theta, lo=lo, hi=hi, initial=draw(inside), reset=draw(inside),
                    delta=draw(st.integers(0, min(theta - lo, high))))
    currents = st.integers(-(1 << config.current_bits - 1), (1 << config.current_bits - 1) - 1)
    small = st.integers(-(1 << config.fraction_bits), 1 << config.fraction_bits)
    rows = draw(st.lists(st.lists(small | currents, min_size=4, max_size=4), min_size=1,
                         max_size=12))
    return config, neuron, [(lane, None if index else neuron.initial, wrap(j, config.current_bits))
                            for index, row in enumerate(rows) for lane, j in enumerate(row)]


@pytest.mark.fast
@settings(max_examples=60)
@given(cases())
def test_random_parameters(case):
    config, neuron, steps = case
    dut = NeuronBench(config)
    Play(dut, neuron_vectors(dut, neuron, steps))


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    dut = NeuronBench(preset("tiny"))
    for index in (0, 3):
        rng = random.Random(index)
        neuron = kinds(dut.config)[index]
        steps, gaps = runs(rng, neuron, dut.config, 40, 4)
        assert run_testbench(simulator, component_verilog(dut, "pipeline"), "pipeline",
                         neuron_vectors(dut, neuron, steps, gaps=gaps), tmp_path) == 9
