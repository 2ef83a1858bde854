"""State memory: membrane potentials between the passes of a sequence longer than the slots."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.neuron.input_current import lane_layout
from quadfire.rtl.lib.memory_styles import BLOCK
from quadfire.rtl.lib.chain_layouts import AddressKind, address_layout

__all__ = ["StateMemory"]


class StateMemory(wiring.Component):
    """Membranes of one group, one word per lane of every tile of every output.

    An address of kind STATE names the place of the pass's first output; each `advance` goes on to
    the next one. early: a neuron 3 cycles before it starts, 2 before its state is `kept`. done,
    membrane: a neuron as it leaves the pipeline, whose state is kept with `store` and `advance`.

    Latency: 2 cycles from `early` to `kept`. A word that is read was written by an earlier pass.
    Where the configuration has no state memory, this is empty.
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
