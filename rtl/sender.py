"""Sender: makes packets of answers."""

from typing import Any

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from .fields import HEADER_LAYOUT
from .receiver import STREAM_WORD

__all__ = ["Sender"]


class Sender(wiring.Component):
    """header, `length` words of `words`, CRC-32; one packet for every `packets` transfer.

    Latency: 1 cycle from a word to the output. II: 1 word.
    """

    def __init__(self):
        super().__init__({
            "packets": In(stream.Signature(HEADER_LAYOUT)),
            "words": In(stream.Signature(32)),
            "o": Out(stream.Signature(STREAM_WORD)),
        })

    def model(self, header: int, words: list[int]) -> list[int]:
        """The words of a packet."""
        from zlib import crc32

        words = [header, *words]
        return [*words, crc32(b"".join(word.to_bytes(4, "little") for word in words))]

    def elaborate(self, platform):
        m = Module()
        crc: Any = CRC32_ISO_HDLC(data_width=32).create()
        m.submodules.checksum = crc
        left = Signal(16)
        move = Signal()
        word = Signal(32)
        m.d.comb += [move.eq(~self.o.valid | self.o.ready), crc.data.eq(word)]
        with m.If(move):
            m.d.sync += self.o.valid.eq(0)

        def put(value: ValueLike, last: int):
            m.d.comb += word.eq(value)
            m.d.sync += [self.o.valid.eq(1), self.o.payload.data.eq(value),
                         self.o.payload.last.eq(last)]

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += [self.packets.ready.eq(move), crc.start.eq(1)]
                with m.If(move & self.packets.valid):
                    put(self.packets.payload.as_value(), 0)
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += left.eq(self.packets.payload.length)
                    m.next = "WORDS"
                    with m.If(self.packets.payload.length == 0):
                        m.next = "CRC"

            with m.State("WORDS"):
                m.d.comb += self.words.ready.eq(move)
                with m.If(move & self.words.valid):
                    put(self.words.payload, 0)
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += left.eq(left - 1)
                    with m.If(left == 1):
                        m.next = "CRC"

            with m.State("CRC"):
                with m.If(move):
                    put(crc.crc, 1)
                    m.next = "HEADER"
        return m
