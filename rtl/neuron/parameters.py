"""Parameters of a group: the layer's neuron words, and a word per output channel."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, PARAMETER
from quadfire.rtl.lib.chain_layouts import AddressKind, address_layout
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.lib.strobes import registered

__all__ = ["Parameters", "channel_layout", "neuron_layout"]


def neuron_layout(config: ArrayConfig) -> data.StructLayout:
    """A layer's neuron words as registers. Values are in state LSBs."""
    state = signed(config.state_bits)
    return data.StructLayout({"square": 1, "soft": 1, "readout": 1,
                              **dict.fromkeys(NEURON_WORDS[1:], state)})


def channel_layout() -> data.StructLayout:
    """Shift and bias of an output channel. The bias is in state LSBs."""
    return data.StructLayout({"bias": signed(PARAMETER["bias"]), "shift": PARAMETER["shift"]})


class Parameters(wiring.Component):
    """The parameter memory of a group, and the registers of the layer's neuron words.

    | port            | shape                 | meaning                                          |
    |-----------------|-----------------------|--------------------------------------------------|
    | `load`          | in, `address_layout`  | kind NEURON: load the neuron words from here;    |
    |                 |                       | kind TILE: the channel words of the first tile   |
    | `neuron`        | out, `neuron_layout`  | the loaded neuron words                          |
    | `lane`          | in                    | lane whose channel word is read                  |
    | `advance`       | in, 1                 | go on to the next tile                           |
    | `rewind`        | in, 1                 | with `advance`: go back to the pass's first tile |
    | `channel`       | out, `channel_layout` | channel word of `lane`, `latency` cycles later   |
    | `write`         | in, 1                 | write a word                                     |
    | `write_address` | in                    | its place                                        |
    | `write_data`    | in, 32                | the word                                         |

    Latency: `latency` cycles from `lane` to `channel`; a load takes at most `load_cycles`, in which
    no lane may be read. II: 1. Backpressure: none. Reset: the state of a load, no word.
    """

    load_cycles = len(NEURON_WORDS) + 4

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        depth = config.parameter_words
        super().__init__({
            "load": In(address_layout(config)),
            "neuron": Out(neuron_layout(config)),
            "lane": In(range(max(config.group_lanes, 2))),
            "advance": In(1),
            "rewind": In(1),
            "channel": Out(channel_layout()),
            "write": In(1),
            "write_address": In(range(depth)),
            "write_data": In(32),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return 1 + config.pipelined

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.parameter_mem = memory = Memory(
            shape=32, depth=config.parameter_words, init=[],
            attrs=BLOCK)
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_address),
            write.data.eq(self.write_data),
        ]

        # The neuron words are read one by one, like lanes of a tile of their own. Meanwhile the
        # place of the first tile waits in `first`. `following` is computed a cycle ahead.
        count = len(NEURON_WORDS)
        index = Signal(range(count + 1), init=count)
        loading = Signal()      # index is not `count`
        first, tile, following = (
            Signal(range(config.parameter_words), name=name, reset_less=True)
            for name in ("first", "tile", "following"))
        starts, shows = Signal(), Signal()      # an address of kind NEURON, TILE
        place = registered(m, self.load.address, "place", config.stage_domain)
        m.d[config.stage_domain] += [
            starts.eq(self.load.kind == AddressKind.NEURON),
            shows.eq(self.load.kind == AddressKind.TILE),
        ]
        m.d.sync += following.eq(tile + config.group_lanes)
        with m.If(shows):
            m.d.sync += first.eq(place)
        with m.If(starts):
            m.d.sync += [index.eq(0), loading.eq(1), tile.eq(place)]
        with m.Elif(loading):
            m.d.sync += index.eq(index + 1)
            with m.If(index == count - 1):
                m.d.sync += [loading.eq(0), tile.eq(first)]
        with m.Elif(shows):
            m.d.sync += tile.eq(place)
        with m.Elif(self.advance):
            m.d.sync += tile.eq(Mux(self.rewind, first, following))
        m.d.comb += read.addr.eq(tile + Mux(loading, index, self.lane))

        # A word that is addressed in cycle n is in `word` in cycle n + latency.
        word = Signal(32, reset_less=True)
        m.d[config.stage_domain] += word.eq(read.data)
        m.d.comb += Cat(self.channel.bias, self.channel.shift).eq(word[:29])

        s1_index, s2_index = (Signal(range(count + 1), name=name, init=count)
                              for name in ("s1_index", "s2_index"))
        m.d.sync += s1_index.eq(index)
        m.d[config.stage_domain] += s2_index.eq(s1_index)
        neuron = Signal(neuron_layout(config), name="loaded", reset_less=True)
        m.d.comb += self.neuron.eq(neuron)
        with m.Switch(s2_index):
            with m.Case(0):
                flags = Cat(neuron.square, neuron.soft, neuron.readout)
                m.d.sync += flags.eq(word[:3])
            for place, name in enumerate(NEURON_WORDS[1:], start=1):
                with m.Case(place):
                    m.d.sync += neuron[name].eq(word[:config.state_bits])
        return m
