"""Beats of AXI4-Stream to packets for the core, and the core's answers to beats.

    Narrower -> PacketFramer -> core -> AnswerFramer -> Widener
"""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Answer
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT

__all__ = ["FRAME_WORD", "AnswerFramer", "Narrower", "PacketFramer", "Widener", "beat_layout"]

WORD_BYTES = 4


def beat_layout(stream_bits: int) -> data.StructLayout:
    """Layout of a beat: words (the first in the lowest bits), TKEEP (one bit per byte), TLAST."""
    return data.StructLayout({"data": data.ArrayLayout(32, stream_bits // 32),
                              "keep": stream_bits // 8, "last": 1})


#: A word of an input frame; `last` marks the end of the frame. With `none` set there is no word,
#: only that end.
FRAME_WORD = data.StructLayout({"data": 32, "none": 1, "last": 1})


class Narrower(wiring.Component):
    """Splits beats into words.

    | port | shape | meaning |
    |---|---|---|
    | i | stream of beats | from AXI4-Stream |
    | o | stream of FRAME_WORD | the words that TKEEP keeps |
    | keep_error | 1 | strobe: TKEEP kept only some bytes of a word; that word is dropped |

    A word is four aligned bytes. Words of which TKEEP keeps no byte are skipped, wherever in the
    beat they stand.

    Latency: 0. II: 1 cycle per word, 1 cycle for a beat without words.
    """

    def __init__(self, stream_bits: int):
        self.layout = beat_layout(stream_bits)
        super().__init__({
            "i": In(stream.Signature(self.layout)),
            "o": Out(stream.Signature(FRAME_WORD)),
            "keep_error": Out(1),
        })

    def model(self, beats: list[tuple[list[int], int, int]]) -> list[tuple[int, int, int]]:
        """Beats (words, keep, last) in, words (data, none, last) out."""
        out = []
        for words, keep, last in beats:
            kept = [word for at, word in enumerate(words) if keep >> WORD_BYTES * at & 15 == 15]
            out += [(word, 0, last * (at == len(kept) - 1)) for at, word in enumerate(kept)]
            if last and not kept:
                out.append((0, 1, 1))
        return out

    def elaborate(self, platform):
        m = Module()
        beat, words = self.i.payload, len(self.i.payload.data)
        keep = [beat.keep[WORD_BYTES * at:WORD_BYTES * (at + 1)] for at in range(words)]
        whole, part = Cat(k.all() for k in keep), Cat(k.any() & ~k.all() for k in keep)
        taken, left = Signal(words), Signal(words)      # words that have been sent, are to be sent
        chosen = Signal(words)                          # the lowest of `left`, one-hot
        final, send = Signal(), Signal()
        m.d.comb += [
            left.eq(whole & ~taken),
            chosen.eq(left & ~(left - 1)),
            final.eq((left & ~chosen) == 0),
            send.eq((left != 0) | beat.last),
            self.o.valid.eq(self.i.valid & send),
            self.o.payload.none.eq(left == 0),
            self.o.payload.last.eq(beat.last & final),
            self.i.ready.eq(final & (self.o.ready | ~send)),
            self.keep_error.eq(self.i.valid & self.i.ready & part.any()),
        ]
        for at in range(words):
            with m.If(chosen[at]):
                m.d.comb += self.o.payload.data.eq(beat.data[at])
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += taken.eq(0)
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += taken.eq(taken | chosen)
        return m


class PacketFramer(wiring.Component):
    """Finds the packets in a frame by the lengths in their headers, and marks the end of each.

    | port | shape | meaning |
    |---|---|---|
    | i | stream of FRAME_WORD | frames |
    | o | stream of STREAM_WORD | packets |
    | open | 1 | a packet has begun and not ended |
    | truncated | 1 | strobe: the frame ended inside a packet |
    | oversize | 1 | strobe: a header had a length that no packet has |

    A frame holds one packet, or several back to back: a DMA plays a whole tape as one transfer.
    A packet ends with its frame at the latest; if the frame ends without a word, a word 0 is added.
    The core refuses such a packet. After a header with an impossible length, the rest of the frame
    belongs to that packet. So the next frame begins with a header, whatever was damaged.

    Latency: 0. II: 1 word.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(FRAME_WORD)),
            "o": Out(stream.Signature(STREAM_WORD)),
            "open": Out(1),
            "truncated": Out(1),
            "oversize": Out(1),
        })

    def model(self, words: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
        """Words of frames (data, none, last) in, words of packets (data, last) out."""
        out, left = [], 0
        for word, none, last in words:
            if none and not left:
                continue
            if left:
                left -= 1
            else:
                left = (word & 0xFFFF) + 1
                if left > self.config.payload_words + 1:
                    left = 1 << 32
            out.append((0 if none else word, int(last or not left)))
            left = 0 if last else left
        return out

    def elaborate(self, platform):
        m = Module()
        word, header = self.i.payload, data.View(HEADER_LAYOUT, self.i.payload.data)
        left = Signal(range(self.config.payload_words + 2))     # words of the packet still to come
        endless = Signal()
        move, complete = Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(self.i.valid & (self.open | ~word.none)),
            self.i.ready.eq(self.o.ready | ~(self.open | ~word.none)),
            self.o.payload.data.eq(Mux(word.none, 0, word.data)),
            complete.eq(self.open & ~endless & (left == 1)),
            self.o.payload.last.eq(word.last | complete),
            move.eq(self.o.valid & self.o.ready),
            self.truncated.eq(move & word.last & ~endless & (word.none | ~complete)
                              & ~self.oversize),
        ]
        with m.If(move):
            m.d.sync += [self.open.eq(~self.o.payload.last), left.eq(left - 1)]
            with m.If(~self.open):
                m.d.comb += self.oversize.eq(header.length > self.config.payload_words)
                m.d.sync += [left.eq(header.length + 1), endless.eq(self.oversize)]
        return m


class AnswerFramer(wiring.Component):
    """Joins answers to frames. A frame ends after `answers` answers, or after an ERROR.

    | port | shape | meaning |
    |---|---|---|
    | i | stream of STREAM_WORD | answers of the core |
    | o | stream of STREAM_WORD | frames |
    | answers | 16 | answers per frame; 0 counts as 1; may change at any time |
    | packet | 1 | strobe: an answer has ended |
    | refused | 1 | strobe: that answer was an ERROR |
    | cause, header | 8, 32 | what the ERROR says, valid with `refused` |

    The last word of an answer waits until it is known whether it ends the frame: `answers` have
    come, or another answer follows.

    Latency: 1 cycle. II: 1 word.
    """

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(STREAM_WORD)),
            "answers": In(16),
            "packet": Out(1),
            "refused": Out(1),
            "cause": Out(8),
            "header": Out(32),
        })

    def model(self, packets: list[list[int]], answers: int) -> list[tuple[int, int]]:
        """Answers in, words of frames (data, last) out, but for a last word that still waits."""
        out, count = [], 0
        for packet in packets:
            count += 1
            end = count >= answers or packet[0] >> 24 == Answer.ERROR
            out += [(word, int(end and at == len(packet) - 1)) for at, word in enumerate(packet)]
            count = 0 if end else count
        return out if end else out[:-1]

    def elaborate(self, platform):
        m = Module()
        word, held, full = self.i.payload, Signal(STREAM_WORD), Signal()
        place = Signal(2)                               # of the word in its answer; stays at 3
        error, is_error, end = Signal(), Signal(), Signal()
        count = Signal(16)                              # answers in the frame so far
        take, give = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [
            is_error.eq(Mux(place == 0, data.View(HEADER_LAYOUT, word.data).opcode == Answer.ERROR,
                            error)),
            self.packet.eq(take & word.last),
            self.refused.eq(self.packet & is_error),
            end.eq(error | (count + 1 >= self.answers)),
            self.i.ready.eq(~full | give),
            self.o.valid.eq(full & (~held.last | end | self.i.valid)),
            self.o.payload.data.eq(held.data),
            self.o.payload.last.eq(held.last & end),
        ]
        with m.If(take):
            m.d.sync += [held.eq(word), error.eq(is_error),
                         place.eq(Mux(word.last, 0, place + (place != 3)))]
            with m.Switch(place):
                with m.Case(1):
                    m.d.sync += self.cause.eq(word.data)
                with m.Case(2):
                    m.d.sync += self.header.eq(word.data)
        with m.If(take | give):
            m.d.sync += full.eq(take)
        with m.If(give & held.last):
            m.d.sync += count.eq(Mux(end, 0, count + 1))
        return m


class Widener(wiring.Component):
    """Packs the words of a frame into beats. The last beat of a frame may hold fewer words.

    Words that are missing there are 0, and TKEEP does not keep them.

    Latency: 1 cycle from the last word of a beat. II: 1 word.
    """

    def __init__(self, stream_bits: int):
        self.layout = beat_layout(stream_bits)
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(self.layout)),
        })

    def model(self, words: list[tuple[int, int]]) -> list[tuple[list[int], int, int]]:
        """Words (data, last) in, beats (words, keep, last) out."""
        size = self.layout["keep"].width // WORD_BYTES
        out, beat = [], []
        for word, last in words:
            beat.append(word)
            if last or len(beat) == size:
                keep = (1 << WORD_BYTES * len(beat)) - 1
                out.append((beat + [0] * (size - len(beat)), keep, last))
                beat = []
        return out

    def elaborate(self, platform):
        m = Module()
        words = len(self.o.payload.data)
        place = Signal(range(max(words, 2)))
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            end = self.i.payload.last | (place == words - 1)
            m.d.sync += [self.o.valid.eq(end), place.eq(Mux(end, 0, place + 1)),
                         self.o.payload.last.eq(self.i.payload.last)]
            with m.Switch(place):
                for at in range(words):
                    with m.Case(at):
                        clear = [self.o.payload.data[k].eq(0) for k in range(at + 1, words)]
                        m.d.sync += [self.o.payload.data[at].eq(self.i.payload.data), *clear,
                                     self.o.payload.keep.eq((1 << WORD_BYTES * (at + 1)) - 1)]
        return m
