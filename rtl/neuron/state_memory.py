"""State memory: membrane potentials between the passes of a sequence longer than the slots."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.chain_layouts import AddressKind, address_layout
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.neuron.input_current import lane_layout

__all__ = ["StateMemory"]


class StateMemory(wiring.Component):
    """The membranes of one group: a word per lane, for every tile of every output.

    | port       | shape                | meaning                                             |
    |------------|----------------------|-----------------------------------------------------|
    | `load`     | in, `address_layout` | kind STATE: place of the pass's first output        |
    | `early`    | in, `lane_layout`    | a neuron, 3 cycles before it takes its step         |
    | `kept`     | out, signed(W)       | its kept state, 2 cycles after `early`              |
    | `done`     | in, `lane_layout`    | a neuron that leaves the pipeline                   |
    | `membrane` | in, signed(W)        | its state, which is kept with `store` and `advance` |

    Reading and writing each have a place of their own. Each starts at the loaded place and goes on
    to the next when the last lane of a tile has passed with `advance`.

    Latency: 2 cycles from `early` to `kept`. II: 1. Backpressure: none. Reset: nothing.
    A word that is read was written by an earlier pass, so no word is read while it is written.
    The component is empty where the configuration has no state memory.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "load": In(address_layout(config)),
            "early": In(lane_layout(config)),
            "kept": Out(signed(config.state_bits)),
            "done": In(lane_layout(config)),
            "membrane": In(signed(config.state_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        if not config.state_words:
            return m
        count = max(config.state_words, 2)
        m.submodules.state_mem = memory = Memory(
            shape=signed(config.state_bits), depth=count * config.group_lanes, init=[], attrs=BLOCK)
        read, write = memory.read_port(), memory.write_port()
        places = []
        for name, neuron in (("read", self.early), ("write", self.done)):
            place = Signal(range(count), name=f"{name}_place", reset_less=True)
            with m.If(self.load.kind == AddressKind.STATE):
                m.d.sync += place.eq(self.load.address)
            with m.Elif(neuron.valid & neuron.how.advance
                        & (neuron.lane == config.group_lanes - 1)):
                m.d.sync += place.eq(place + 1)
            places.append(place * config.group_lanes + neuron.lane)
        m.d.comb += [
            read.addr.eq(places[0]),
            write.addr.eq(places[1]),
            write.data.eq(self.membrane),
            write.en.eq(self.done.valid & self.done.how.advance & self.done.how.store),
        ]
        kept = Signal.like(self.kept, reset_less=True)
        m.d.sync += kept.eq(read.data)
        m.d.comb += self.kept.eq(kept)
        return m
