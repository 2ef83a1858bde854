"""Sequencer: the readouts of an output are those of the model, round by round."""

import itertools

import pytest

from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import Emit
from quadfire.rtl.control.sequencer import Sequencer

from tests.rtl.bench_tools import simulate

pytestmark = pytest.mark.fast

CONFIG = preset("tiny")


@pytest.mark.parametrize("emit", Emit, ids=str)
@pytest.mark.parametrize(("planes", "slots", "steps"), [(0, 3, 3), (1, 3, 1), (1, 1, 4)])
def test_readouts_of_a_drain(planes, slots, steps, emit):
    """Two outputs without an event: each ends, and is drained."""
    dut = Sequencer(CONFIG)
    fields = {"slots": slots - 1, "steps": steps - 1, "planes": planes, "emit": emit, "drain": 1,
              "taps": 0, "rounds": 1, "load": 0, "store": 1}
    wanted = dut.model(fields)
    assert len(wanted) == 2 * (slots + (steps - 1 if planes else 0))
    assert [readout["step"] for readout in wanted].count(1) == 2 * steps

    async def bench(ctx):
        ctx.set(dut.fields, fields)
        ctx.set(dut.tap_room, 1)
        ctx.set(dut.tap_done, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        places = [{"end": 1, "final": final} for final in (0, 1)]
        got = []
        for _ in range(3000):
            ctx.set(dut.events.valid, bool(places))
            if places:
                ctx.set(dut.events.payload, {"null": 1, "place": places[0]})
                if ctx.get(dut.events.ready):
                    places.pop(0)
            await ctx.tick()
            if ctx.get(dut.control.scan):
                got.append({name: ctx.get(dut.control.how[name]) for name in wanted[0]})
            if not ctx.get(dut.busy):
                break
        assert not places and not ctx.get(dut.busy)
        for index, (readout, expected) in enumerate(zip(
                got, itertools.chain(wanted, wanted), strict=True)):
            assert readout == expected, index

    simulate(dut, bench, "sequencer")
