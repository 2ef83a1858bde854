# amaranth: UnusedElaboratable=no
"""Strobes: what a layout declares is reset, all else keeps its value, and a typo is refused."""

import pytest
from amaranth import Module, ResetInserter, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import PRESETS
from quadfire.rtl.lib.chain_layouts import (
    LANE_READOUT,
    PROBE_WORD,
    address_layout,
    cell_control_layout,
    control_layout,
    write_layout,
)
from quadfire.rtl.lib.strobes import StrobedLayout, registered

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast

STROBED = StrobedLayout({"valid": 1, "word": 8, "go": 2}, strobes=["valid", "go"])
PLAIN = data.StructLayout({"valid": 1, "word": 8, "go": 2})


class Register(wiring.Component):
    """`i` a cycle later, with a reset of its own."""

    def __init__(self, shape, domain: str = "sync"):
        self.domain = domain
        super().__init__({"i": In(shape), "o": Out(shape), "reset": In(1)})

    def elaborate(self, platform):
        m = Module()
        inner = Module()
        later = registered(inner, self.i, "later", self.domain)
        m.submodules.inner = ResetInserter(self.reset)(inner)
        m.d.comb += self.o.eq(later)
        return m


@pytest.mark.parametrize(("shape", "after_reset"), [
    (STROBED, {"valid": 0, "word": 0xA5, "go": 0}),
    (PLAIN, {"valid": 1, "word": 0xA5, "go": 3}),
], ids=["strobed", "plain"])
def test_reset_clears_the_declared_strobes_alone(shape, after_reset):
    dut = Register(shape)

    async def bench(ctx):
        ctx.set(dut.i, {"valid": 1, "word": 0xA5, "go": 3})
        await ctx.tick()
        assert ctx.get(Value.cast(dut.o)) == 3 << 9 | 0xA5 << 1 | 1
        ctx.set(dut.reset, 1)
        await ctx.tick()
        assert {name: ctx.get(dut.o[name]) for name in after_reset} == after_reset

    simulate(dut, bench, "registered")


def test_a_plain_value_is_delayed_and_not_reset():
    dut = Register(8)

    async def bench(ctx):
        ctx.set(dut.i, 77)
        assert ctx.get(dut.o) == 0
        await ctx.tick()
        ctx.set(dut.reset, 1)
        await ctx.tick()
        assert ctx.get(dut.o) == 77

    simulate(dut, bench, "registered")


def test_the_comb_domain_has_no_register():
    source = Signal(STROBED)
    assert registered(Module(), source, "none", "comb") is source


def test_a_layout_must_have_strobes_that_it_knows():
    with pytest.raises(ValueError, match="without strobes is a plain StructLayout"):
        StrobedLayout({"valid": 1}, strobes=[])
    with pytest.raises(ValueError, match="must be one of valid, word, not 'vaild'"):
        StrobedLayout({"valid": 1, "word": 8}, strobes=["vaild"])


@pytest.mark.parametrize("name", PRESETS)
def test_strobes_of_the_chain(name):
    config = PRESETS[name]
    load = ["load"] if config.running_sums else []
    wanted = {"fresh", "scan", "shift", "write", *load}
    assert set(control_layout(config).strobes) == set(cell_control_layout(config).strobes) == wanted
    assert address_layout(config).strobes == ("kind",)
    assert write_layout(config).strobes == ("parameter", "weight")
    assert (PROBE_WORD.strobes, LANE_READOUT.strobes) == (("valid",), ("load",))
