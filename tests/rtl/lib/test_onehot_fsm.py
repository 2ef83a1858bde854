# amaranth: UnusedElaboratable=no
"""One-hot FSM: one flip-flop per state, next states as with `m.FSM`."""

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.lib.onehot_fsm import OneHotFsm

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast


class Machine(wiring.Component):
    """A -> B on `go`, B -> C or A by `go`, C -> A."""

    def __init__(self):
        super().__init__({"go": In(1), "now": Out(3)})

    def elaborate(self, platform):
        m = Module()
        states = OneHotFsm(m, ["A", "B", "C"])
        m.d.comb += self.now.eq(states.now)
        with states.state("A"):
            with m.If(self.go):
                states.next = "B"
        with states.state("C"):
            states.next = "A"
        with states.state("B"):
            states.branch({"C": self.go, "A": ~self.go})
        states.finish()
        return m


def test_next_states():
    dut = Machine()

    async def bench(ctx):
        for go, expected in [(0, "A"), (1, "A"), (1, "B"), (0, "C"), (1, "A"), (0, "B"), (0, "A")]:
            ctx.set(dut.go, go)
            assert ctx.get(dut.now) == 1 << "ABC".index(expected)
            await ctx.tick()

    simulate(dut, bench, "onehot")


def test_all_states_must_be_there():
    m = Module()
    states = OneHotFsm(m, ["A", "B"])
    with states.state("A"):
        states.next = "B"
    with pytest.raises(AssertionError, match="not there"):
        states.finish()
    with pytest.raises(AssertionError, match="twice"), states.state("A"):
        pass
