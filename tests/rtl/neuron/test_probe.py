"""Probe: sums or membranes, and the order of their words on the chain of groups."""

import random

import pytest
from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import PROBE_WORD
from quadfire.rtl.neuron.input_current import lane_layout
from quadfire.rtl.neuron.probe import Probe

from tests.rtl.bench_tools import simulate, wrap

pytestmark = pytest.mark.fast


class Chain(wiring.Component):
    """Probes of several groups; each gets `done` one cycle after the one before it.

    The signal `tap` carries the probe words.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.taps = [Probe(config) for _ in range(config.groups)]
        super().__init__({
            "readout": In(1),
            "done": In(lane_layout(config)),
            **{f"membrane_{g}": In(signed(config.state_bits)) for g in range(config.groups)},
            **{f"current_{g}": In(signed(config.current_bits)) for g in range(config.groups)},
            "tap": Out(PROBE_WORD),
        })

    def elaborate(self, platform):
        m = Module()
        done, tap = self.done, None
        for g, taps in enumerate(self.taps):
            m.submodules[f"taps_{g}"] = taps
            membrane, current = getattr(self, f"membrane_{g}"), getattr(self, f"current_{g}")
            for hop in range(g):
                later, value = Signal.like(membrane, name=f"m{hop}"), Signal.like(current)
                m.d.sync += [later.eq(membrane), value.eq(current)]
                membrane, current = later, value
            m.d.comb += [taps.first.eq(g == 0), taps.readout.eq(self.readout), taps.done.eq(done),
                         taps.membrane.eq(membrane), taps.current.eq(current)]
            if tap is not None:
                m.d.comb += taps.tap_in.eq(tap)
            following = Signal.like(Value.cast(done), name=f"done_{g}")
            m.d.sync += following.eq(done)
            done, tap = Signal(lane_layout(self.config), name=f"next_{g}"), taps.tap_out
            m.d.comb += done.eq(following)
        m.d.comb += self.tap.eq(tap)
        return m


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (2, 8), (4, 1), (8, 2)], ids=str)
@pytest.mark.parametrize("readout", [False, True], ids=["membranes", "readout"])
def test_words_of_all_groups_in_channel_order(shape, readout):
    lanes, groups = shape
    config = ArrayConfig(banks=1, lanes=lanes * groups, group_lanes=lanes, weight_bits=4,
                         weight_rows=8, line_words=0)
    dut = Chain(config)

    async def bench(ctx):
        rng = random.Random(f"{shape} {readout}")
        low, high = -(1 << config.current_bits - 1), (1 << config.current_bits - 1) - 1
        words, expected = [], []

        async def tick():
            await ctx.tick()
            if ctx.get(dut.tap.valid):
                words.append((ctx.get(dut.tap.word), ctx.get(dut.tap.last)))

        ctx.set(dut.readout, int(readout))
        for scans in (1, 3, 2):
            totals = [[0] * lanes for _ in range(groups)]
            for scan in range(scans):
                emit = scan == scans - 1
                for lane in range(lanes):
                    for name in ("valid", "lane", "how"):
                        ctx.set(dut.done[name], {"begin": scan == 0, "emit": emit}
                                if name == "how" else 1 if name == "valid" else lane)
                    for g in range(groups):
                        j = rng.choice([low, high, rng.randint(low, high)])
                        w = rng.randint(config.state_min, config.state_max)
                        ctx.set(getattr(dut, f"current_{g}"), j)
                        ctx.set(getattr(dut, f"membrane_{g}"), w)
                        totals[g][lane] = wrap(totals[g][lane] + j, 32) if readout else w
                    await tick()
                ctx.set(dut.done.valid, 0)
                for _ in range(max(4 - lanes, 0)):
                    await tick()
            expected += [(total, int(index == config.lanes - 1))
                         for index, total in enumerate(sum(totals, []))]
            before = len(words)
            for _ in range(config.lanes + 10):
                await tick()
            assert len(words) >= before
            assert words == expected

    simulate(dut, bench, "taps")
