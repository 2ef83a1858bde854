"""Packet receiver: only whole, undamaged packets of the stream pass."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Fault
from quadfire.rtl.control.crc import Crc32, SerialCrc32
from quadfire.rtl.lib.stream_memory import StreamMemory
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT

__all__ = ["PACKET_WORD", "STREAM_WORD", "PacketReceiver"]

#: A word at the edge of the core; `last` marks the last one of a packet.
STREAM_WORD = data.StructLayout({"data": 32, "last": 1})

#: A word of a good packet, whose CRC is left out; `last` marks the last one. Or, with a Fault, the
#: header of a refused packet, alone.
PACKET_WORD = data.StructLayout({"data": 32, "last": 1, "fault": 4})

#: Free words at which `room` falls: more than can still come in before it does.
_MARGIN = 8


class PacketReceiver(wiring.Component):
    """Stores a packet, and passes it on once its length and its CRC-32 have proved right.

    Words are stored as they come. After the last one the packet is judged: a good one becomes
    valid, a bad one is taken back from the store except for its header, which passes with a Fault.

    Latency: `latency` cycles from the CRC word to the header. II: 1 word, and 2 cycles a packet.
    If not `pipelined` the checksum is serial: a word takes 33 cycles.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.latency = config, self.latency_of(config)
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(PACKET_WORD)),
        })

    @staticmethod
    def latency_of(config: ArrayConfig) -> int:
        return StreamMemory.latency + (5 if config.pipelined else 36)

    def model(self, packets: list[list[int]]) -> list[tuple[int, int, int]]:
        """(data, last, fault) of every word that `packets` leave."""
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
                out += [(word, int(at == length), 0) for at, word in enumerate(words[:-1])]
                continue
            out.append((header, 1, int(fault)))
        return out

    def elaborate(self, platform):
        m = Module()
        config, depth = self.config, self.config.packet_words
        m.submodules.store = store = StreamMemory(
            {"word": 32, "mark": data.StructLayout({"last": 1, "fault": 4})}, depth,
            registered=bool(config.pipelined))
        # Places in the store: written up to, valid up to; and how many are taken.
        written, valid, level = (Signal(range(2 * depth), name=name)
                                 for name in ("written", "valid", "level"))
        room = Signal()
        m.d.sync += [level.eq(written - store.place), room.eq(level < depth - _MARGIN)]

        # s1: a word is stored and added to the checksum.
        s1_valid, s1_last = Signal(), Signal()
        s1_word = Signal(32)
        m.d.sync += s1_valid.eq(self.i.valid & self.i.ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += s1_last.eq(self.i.payload.last)
        # closing: the checksum takes the packet's last word
        closing = Signal()
        s2_closing, s3_closing, s4_closing = (Signal(name=f"s{k}_closing") for k in (2, 3, 4))
        m.d.sync += [s2_closing.eq(closing), s3_closing.eq(s2_closing), s4_closing.eq(s3_closing)]
        if config.pipelined:
            m.submodules.checksum = checksum = Crc32()
            m.d.sync += s1_word.eq(self.i.payload.data)
            m.d.comb += [
                self.i.ready.eq(room & ~closing & ~s2_closing),
                checksum.word.eq(s1_word),
                checksum.valid.eq(s1_valid),
                closing.eq(s1_valid & s1_last),
            ]
        else:
            m.submodules.checksum = checksum = SerialCrc32()
            m.d.comb += [
                self.i.ready.eq(room & ~checksum.busy & ~closing & ~s2_closing),
                checksum.word.eq(self.i.payload.data),
                checksum.valid.eq(self.i.valid & self.i.ready),
                s1_word.eq(checksum.o),
                closing.eq(checksum.done & s1_last),
            ]
        m.d.comb += checksum.clear.eq(s2_closing)

        first = Signal(init=1)      # the word is a header
        empty = Signal()            # no payload
        keeps = Signal()            # the word is stored
        over = Signal()             # the payload is complete
        left = Signal(signed(config.payload_words.bit_length() + 1))    # words of payload left - 2
        ended = Signal()            # the CRC word is there, too
        oversize, short, long, damaged = (Signal(name=name)
                                          for name in ("oversize", "short", "long", "damaged"))
        length = data.View(HEADER_LAYOUT, s1_word).length
        word, mark = store.write.word, store.write.mark
        m.d.comb += [
            store.valid.eq(valid),
            keeps.eq(s1_valid & (first | ~(over | oversize))),
            word.en.eq(keeps),
            word.place.eq(written[:-1]),
            word.data.eq(s1_word),
        ]
        with m.If(s1_valid):
            m.d.sync += first.eq(s1_last)
            with m.If(first):
                m.d.sync += [left.eq(length - 2), empty.eq(length == 0), over.eq(length == 0),
                             ended.eq(0), long.eq(0),
                             oversize.eq(length > config.payload_words)]
            with m.Else():
                m.d.sync += [left.eq(left - 1), over.eq(over | (left < 0)), ended.eq(over),
                             long.eq(ended)]
            m.d.sync += short.eq(first | ~over)
        m.d.sync += damaged.eq(~checksum.whole)     # s2: the checksum has the packet's last word

        # s3: the packet is judged. s4: it is valid, or its header alone is.
        fault = Signal(4)
        with m.If(oversize):
            m.d.comb += fault.eq(Fault.OVERSIZE)
        with m.Elif(short):
            m.d.comb += fault.eq(Fault.TRUNCATED)
        with m.Elif(long):
            m.d.comb += fault.eq(Fault.OVERRUN)
        with m.Elif(damaged):
            m.d.comb += fault.eq(Fault.CRC)
        with m.If(s3_closing):      # only now the header's mark is known
            m.d.comb += [mark.place.eq(valid[:-1]), mark.data.fault.eq(fault),
                         mark.data.last.eq(empty | fault.any())]
        with m.Else():
            m.d.comb += [mark.place.eq(written[:-1]), mark.data.last.eq(left < 0)]
        m.d.comb += mark.en.eq(keeps | s3_closing)
        with m.If(keeps):
            m.d.sync += written.eq(written + 1)
        with m.Elif(s3_closing & (oversize | short | long | damaged)):
            m.d.sync += written.eq(valid + 1)
        with m.If(s4_closing):
            m.d.sync += valid.eq(written)

        m.d.comb += [
            self.o.valid.eq(store.o.valid),
            store.o.ready.eq(self.o.ready),
            self.o.payload.data.eq(store.o.payload.word),
            self.o.payload.last.eq(store.o.payload.mark.last),
            self.o.payload.fault.eq(store.o.payload.mark.fault),
        ]
        return m
