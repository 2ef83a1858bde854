"""The parameter memory: neuron words into registers, channel words by lane and tile."""

import random

import pytest
from amaranth import Value

from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import NEURON_WORDS
from quadfire.rtl.lib.chain_layouts import AddressKind
from quadfire.rtl.neuron.parameters import Parameters

from tests.rtl.bench_tools import simulate, wrap

pytestmark = pytest.mark.fast

CONFIGS = [preset("tiny"), ArrayConfig(lanes=8, group_lanes=8, weight_bits=4, parameter_words=500,
                                       state_bits=18, weight_rows=4096),
           ArrayConfig(banks=1, lanes=1, group_lanes=1, line_words=0, parameter_words=17,
                       state_bits=8, fraction_bits=4)]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_neuron_words_and_channels(config):
    dut = Parameters(config)
    assert (dut.latency, dut.load_cycles) == (2, 12)

    async def bench(ctx):
        rng = random.Random(5)
        words = [rng.getrandbits(32) for _ in range(config.parameter_words)]
        for address, word in enumerate(words):
            ctx.set(dut.write, 1)
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_data, word)
            await ctx.tick()
        ctx.set(dut.write, 0)

        async def load(kind, address):
            ctx.set(dut.load.kind, kind)
            ctx.set(dut.load.address, address)
            await ctx.tick()
            ctx.set(dut.load.kind, AddressKind.NONE)

        for _ in range(12):
            base = rng.choice([0, config.parameter_words - 8, rng.randrange(9)])
            tile = rng.randrange(config.parameter_words - 2 * config.group_lanes + 1)
            await load(AddressKind.NEURON, base)
            await load(AddressKind.TILE, tile)
            # An event's address does not matter.
            await load(AddressKind.ROW, rng.randrange(config.parameter_words))
            await ctx.tick().repeat(dut.load_cycles - 3)
            flags = words[base]
            for index, name in enumerate(("square", "soft", "readout")):
                assert ctx.get(dut.neuron[name]) == flags >> index & 1, name
            for index, name in enumerate(NEURON_WORDS[1:], start=1):
                assert ctx.get(dut.neuron[name]) == wrap(words[base + index],
                                                         config.state_bits), name
            for following in (0, 1, 0, 1):
                for lane in range(config.group_lanes):
                    ctx.set(dut.lane, lane)
                    await ctx.tick().repeat(dut.latency)
                    word = words[tile + following * config.group_lanes + lane]
                    assert ctx.get(dut.channel.bias) == wrap(word, 24)
                    assert ctx.get(dut.channel.shift) == word >> 24 & 31
                ctx.set(dut.advance, 1)
                ctx.set(dut.rewind, following)      # after the second tile the first again
                await ctx.tick()
                ctx.set(dut.advance, 0)
        before = ctx.get(Value.cast(dut.neuron))
        await ctx.tick().repeat(20)
        assert ctx.get(Value.cast(dut.neuron)) == before

    simulate(dut, bench, "parameters")
