"""Packet sender: makes packets of answers."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.control.crc import Crc32, SerialCrc32
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.lib.onehot_fsm import OneHotFsm

__all__ = ["PacketSender"]


class PacketSender(wiring.Component):
    """Puts the CRC-32 behind every packet.

    At `i` the bit `last` marks the last word before the CRC, at `o` the CRC itself.
    serial: the checksum takes a bit a cycle.

    Latency: `latency` cycles from a word to the output; serial: 34. II: 1 word, and 2 cycles a
    packet; serial: 35 cycles a word.
    """

    latency = 2

    def __init__(self, *, serial: bool = False):
        self.serial = serial
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(STREAM_WORD)),
        })

    def model(self, words: list[int]) -> list[int]:
        """The words of a packet."""
        from zlib import crc32

        return [*words, crc32(b"".join(word.to_bytes(4, "little") for word in words))]

    def elaborate(self, platform):
        m = Module()
        (self._serial if self.serial else self._parallel)(m)
        return m

    def _parallel(self, m: Module):
        m.submodules.checksum = checksum = Crc32()
        move = Signal()
        s1_valid, s1_crc, s2_valid, s2_crc = (Signal(name=name) for name in (
            "s1_valid", "s1_crc", "s2_valid", "s2_crc"))
        s1_word, s2_word = (Signal(32, name=name, reset_less=True)
                            for name in ("s1_word", "s2_word"))
        m.d.comb += [
            move.eq(~s2_valid | self.o.ready),
            checksum.word.eq(s1_word),
            checksum.valid.eq(move & s1_valid),
            checksum.clear.eq(move & s2_valid & s2_crc),
            self.o.valid.eq(s2_valid),
            self.o.payload.data.eq(Mux(s2_crc, checksum.crc, s2_word)),
            self.o.payload.last.eq(s2_crc),
        ]
        with m.If(move):
            m.d.sync += [s1_valid.eq(0), s1_crc.eq(0), s1_word.eq(self.i.payload.data),
                         s2_valid.eq(s1_valid), s2_crc.eq(s1_crc), s2_word.eq(s1_word)]

        states = OneHotFsm(m, ["WORDS", "CRC", "CLEAR"])
        m.d.comb += self.i.ready.eq(move & states.at("WORDS"))
        with states.state("WORDS"):
            with m.If(move & self.i.valid):
                m.d.sync += s1_valid.eq(1)
                with m.If(self.i.payload.last):
                    states.next = "CRC"
        with states.state("CRC"):       # a word of zero, in the place of the CRC
            with m.If(move):
                m.d.sync += [s1_valid.eq(1), s1_crc.eq(1), s1_word.eq(0)]
                states.next = "CLEAR"
        with states.state("CLEAR"):
            with m.If(move):
                states.next = "WORDS"
        states.finish()

    def _serial(self, m: Module):
        m.submodules.checksum = checksum = SerialCrc32()
        last, crc = Signal(), Signal()      # the word is a packet's last; it is the CRC
        m.d.comb += [
            checksum.word.eq(self.i.payload.data),
            self.o.payload.data.eq(checksum.o),
            self.o.payload.last.eq(crc),
        ]
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += [self.i.ready.eq(1), checksum.valid.eq(self.i.valid)]
                with m.If(self.i.valid):
                    m.d.sync += [last.eq(self.i.payload.last), crc.eq(0)]
                    m.next = "SHIFT"
            with m.State("SHIFT"):
                with m.If(checksum.done):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "TAKE"
                    with m.If(last & ~crc):
                        m.d.comb += checksum.finish.eq(1)
                        m.d.sync += crc.eq(1)
                        m.next = "SHIFT"
