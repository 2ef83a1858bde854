"""The AXI4-Lite slave: turns the five channels into register reads and writes."""

import enum

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.registers import ADDRESS_BITS

__all__ = ["AXI_LITE", "REGISTER_BUS", "AxiLite", "Response"]


class Response(enum.IntEnum):
    """The codes in BRESP and RRESP that this slave uses."""

    OKAY = 0
    SLVERR = 2


def _channel(**fields: int) -> stream.Signature:
    return stream.Signature(data.StructLayout(fields))


#: The five channels, as the slave sees them.
AXI_LITE = wiring.Signature({
    "aw": In(_channel(addr=ADDRESS_BITS, prot=3)),
    "w": In(_channel(data=32, strb=4)),
    "b": Out(_channel(resp=2)),
    "ar": In(_channel(addr=ADDRESS_BITS, prot=3)),
    "r": Out(_channel(data=32, resp=2)),
})

#: Register accesses, as the slave makes them. `write` and `read` are strobes; the register file
#: answers with `write_ok`, `read_ok` and `read_data` in the same cycle.
REGISTER_BUS = wiring.Signature({
    "write": Out(1), "write_address": Out(ADDRESS_BITS), "write_data": Out(32),
    "write_strobe": Out(4), "write_ok": In(1),
    "read": Out(1), "read_address": Out(ADDRESS_BITS), "read_data": In(32), "read_ok": In(1),
})


class AxiLite(wiring.Component):
    """Turns AXI4-Lite transfers on `axi` into register accesses on `bus`.

    Each channel has a two-entry FIFO, so no output depends on an input in the same cycle. Address
    and data of a write may come in either order, any time apart. PROT is ignored. An access that
    `bus` does not accept is answered with SLVERR, a read then with data 0.

    Latency: 2 cycles from AW and W, whichever is later, to B; 2 cycles from AR to R.
    II: 1 write and 1 read per cycle, independent of each other.
    """

    def __init__(self):
        super().__init__({"axi": Out(AXI_LITE), "bus": Out(REGISTER_BUS)})

    def elaborate(self, platform):
        m = Module()
        queues = {}
        for name, member in AXI_LITE.members.items():
            port = getattr(self.axi, name)
            queue = SyncFIFO(width=Shape.cast(port.payload.shape()).width, depth=2)
            m.submodules[name] = queues[name] = queue
            if member.flow == In:
                m.d.comb += [queue.w_data.eq(port.payload), queue.w_en.eq(port.valid),
                             port.ready.eq(queue.w_rdy)]
            else:
                m.d.comb += [port.payload.eq(queue.r_data), port.valid.eq(queue.r_rdy),
                             queue.r_en.eq(port.ready)]
        aw, w, b, ar, r = queues.values()

        bus = self.bus
        address = data.View(self.axi.aw.payload.shape(), aw.r_data)
        word = data.View(self.axi.w.payload.shape(), w.r_data)
        answer = data.View(self.axi.b.payload.shape(), b.w_data)
        m.d.comb += [
            bus.write.eq(aw.r_rdy & w.r_rdy & b.w_rdy),
            bus.write_address.eq(address.addr),
            bus.write_data.eq(word.data),
            bus.write_strobe.eq(word.strb),
            answer.resp.eq(Mux(bus.write_ok, Response.OKAY, Response.SLVERR)),
            aw.r_en.eq(bus.write), w.r_en.eq(bus.write), b.w_en.eq(bus.write),
        ]
        address = data.View(self.axi.ar.payload.shape(), ar.r_data)
        answer = data.View(self.axi.r.payload.shape(), r.w_data)
        m.d.comb += [
            bus.read.eq(ar.r_rdy & r.w_rdy),
            bus.read_address.eq(address.addr),
            answer.data.eq(Mux(bus.read_ok, bus.read_data, 0)),
            answer.resp.eq(Mux(bus.read_ok, Response.OKAY, Response.SLVERR)),
            ar.r_en.eq(bus.read), r.w_en.eq(bus.read),
        ]
        return m
