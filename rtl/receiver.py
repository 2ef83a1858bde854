"""Receiver: takes packets from the stream and lets only whole, undamaged ones pass."""

from typing import Any

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from .config import ArrayConfig
from .fields import HEADER_LAYOUT
from .memories import BLOCK
from .tape import Fault

__all__ = ["PACKET_WORD", "STREAM_WORD", "Receiver"]

#: A word at the edge of the core; `last` ends a packet.
STREAM_WORD = data.StructLayout({"data": 32, "last": 1})

#: A word of a good packet, without its CRC; or, with `fault`, the header of a refused one, after
#: which a word with the Fault follows.
PACKET_WORD = data.StructLayout({"data": 32, "fault": 1})


class Receiver(wiring.Component):
    """Stores a packet, and passes it on once its length and its CRC-32 have proved right.

    A bad packet is taken back from the store and leaves two words marked `fault`: its header and
    the Fault. Then the receiver waits for the end of the packet.

    Latency: `latency` cycles from the CRC word to the header. II: 1 word.
    """

    latency = 3

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(PACKET_WORD)),
        })

    def model(self, packets: list[list[int]]) -> list[tuple[int, int]]:
        """(data, fault) of every word that `packets` leave."""
        from zlib import crc32

        out = []
        for words in packets:
            header, length = words[0], words[0] & 0xFFFF
            body = b"".join(word.to_bytes(4, "little") for word in words[:-1])
            if length > self.config.payload_words:
                fault = Fault.OVERSIZE
            elif len(words) < length + 2:
                fault = Fault.TRUNCATED
            elif len(words) > length + 2:
                fault = Fault.OVERRUN
            elif crc32(body) != words[-1]:
                fault = Fault.CRC
            else:
                out += [(word, 0) for word in words[:-1]]
                continue
            out += [(header, 1), (int(fault), 1)]
        return out

    def elaborate(self, platform):
        m = Module()
        depth = self.config.packet_words
        m.submodules.packet_mem = memory = Memory(
            shape=PACKET_WORD, depth=depth, init=[],
            attrs=BLOCK)
        store, load = memory.write_port(), memory.read_port()

        # Places in the store: written up to, valid up to, read up to. One bit more tells full from
        # empty.
        written, valid, taken = (Signal(range(2 * depth), name=name)
                                 for name in ("written", "valid", "taken"))
        crc: Any = CRC32_ISO_HDLC(data_width=32).create()
        m.submodules.checksum = crc
        word, header = self.i.payload, data.View(HEADER_LAYOUT, self.i.payload.data)
        room = Signal()
        # one cycle late, in which a word may have been written: hence the margin
        m.d.sync += room.eq((written - taken)[:len(written)] < depth - 3)
        accept = self.i.valid & self.i.ready
        left = Signal(range(self.config.payload_words + 1))
        fault = Signal(Fault, init=Fault.CRC)
        refused = Signal(32, reset_less=True)
        after = Signal.like(written)
        m.d.comb += [
            after.eq(written + 1),
            store.addr.eq(written[:-1]),
            store.data.data.eq(word.data),
            crc.data.eq(word.data),
        ]
        with m.If(store.en):
            m.d.sync += written.eq(after)

        def refuse(reason: Value | Fault):
            m.d.sync += [fault.eq(reason), written.eq(valid)]
            m.next = "REFUSE"
            with m.If(~word.last):
                m.next = "DISCARD"

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += [self.i.ready.eq(room), crc.start.eq(1)]
                with m.If(accept):
                    m.d.comb += [store.en.eq(1), crc.valid.eq(1)]
                    m.d.sync += [left.eq(header.length), refused.eq(word.data)]
                    m.next = "PAYLOAD"
                    with m.If(header.length == 0):
                        m.next = "CHECK"
                    with m.If(header.length > self.config.payload_words):
                        refuse(Fault.OVERSIZE)
                    with m.Elif(word.last):
                        refuse(Fault.TRUNCATED)

            with m.State("PAYLOAD"):
                m.d.comb += self.i.ready.eq(room)
                with m.If(accept):
                    m.d.comb += [store.en.eq(1), crc.valid.eq(1)]
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "CHECK"
                    with m.If(word.last):
                        refuse(Fault.TRUNCATED)

            with m.State("CHECK"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(accept):
                    with m.If(~word.last):
                        refuse(Fault.OVERRUN)
                    with m.Elif(word.data != crc.crc):
                        refuse(Fault.CRC)
                    with m.Else():
                        m.d.sync += valid.eq(written)
                        m.next = "HEADER"

            with m.State("DISCARD"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(accept & word.last):
                    m.next = "REFUSE"

            with m.State("REFUSE"):
                with m.If(room):
                    m.d.comb += [store.en.eq(1), store.data.data.eq(refused),
                                 store.data.fault.eq(1)]
                    m.next = "REASON"

            with m.State("REASON"):
                with m.If(room):
                    m.d.comb += [store.en.eq(1), store.data.data.eq(fault), store.data.fault.eq(1)]
                    m.d.sync += valid.eq(after)
                    m.next = "HEADER"

        # Read side: the memory's own register, then one of flip-flops, for the clock's sake.
        loaded, load_moves, out_moves = Signal(), Signal(), Signal()
        m.d.comb += [
            out_moves.eq(~self.o.valid | self.o.ready),
            load_moves.eq(~loaded | out_moves),
            load.addr.eq(taken[:-1]),
            load.en.eq(load_moves),
        ]
        with m.If(out_moves):
            m.d.sync += [self.o.valid.eq(loaded), self.o.payload.eq(load.data)]
        with m.If(load_moves):
            m.d.sync += loaded.eq(taken != valid)
            with m.If(taken != valid):
                m.d.sync += taken.eq(taken + 1)
        return m
