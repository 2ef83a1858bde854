"""Answers: the packets that the executor sends, without their checksums."""

import operator
from functools import reduce

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import COUNTERS, INFO_WORDS, MAGIC, VERSION, Answer
from quadfire.rtl.control.packet_receiver import STREAM_WORD
from quadfire.rtl.fetch.spike_memory import SpikeMemory
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT

__all__ = ["ANSWER", "Answers"]

#: Kind of an answer; exactly one bit is set.
ANSWER = data.StructLayout({"error": 1, "read": 1, "report": 1, "info": 1})


class Answers(wiring.Component):
    """Sends an ERROR, SPIKES, REPORT or INFO: a header, then words.

    | port | meaning |
    |---|---|
    | `kind` | which answer |
    | `ask`, `begun` | send it; `ask` stays up until the header has been taken: `begun` |
    | `busy` | the answer has to wait |
    | `done` | the last word was taken in the cycle before |
    | `fault`, `refused` | an ERROR: the reason, and the header of the packet that was refused |
    | `count` | SPIKES: number of words |
    | `spike_word`, `spike_part` | SPIKES: the word that is sent next, and which 32 bits of it |
    | `taken` | a word was taken; show the next one |
    | `counter`, `counter_turn` | REPORT: a counter (`quadfire.rtl.control.counters`), its number |
    | `counters_hold`, `counters_settled` | stops the counters; they are final |
    | `reported` | the last counter was taken; now clear them |
    | `tag`, `network` | what the header and an INFO say |

    Latency: 1 cycle from `ask` to the header, if nothing waits. II: 1 word; a word of the spike
    memory only after that memory's latency.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "kind": In(ANSWER),
            "busy": In(1),
            "ask": In(1),
            "begun": Out(1),
            "done": Out(1),
            "tag": In(8),
            "fault": In(4),
            "refused": In(HEADER_LAYOUT),
            "network": In(32),
            "count": In(bits_for(config.payload_words)),
            "spike_word": In(config.word_bits),
            "spike_part": In(range(max(config.stream_words, 2))),
            "taken": Out(1),
            "counter": In(32),
            "counter_turn": In(range(len(COUNTERS))),
            "counters_settled": In(1),
            "counters_hold": Out(1),
            "reported": Out(1),
            "o": Out(stream.Signature(STREAM_WORD)),
        })

    def elaborate(self, platform):
        m = Module()
        kind, out, latency = self.kind, self.o, SpikeMemory.latency_of(self.config)
        index = Signal(range(len(COUNTERS)))        # of the word; it ends at all ones in any answer
        header = Signal(HEADER_LAYOUT)
        m.d.comb += header.sequence.eq(self.tag)
        for when, opcode, length in ((kind.error, Answer.ERROR, 2),
                                     (kind.read, Answer.SPIKES, self.count),
                                     (kind.report, Answer.REPORT, len(COUNTERS)),
                                     (kind.info, Answer.INFO, len(INFO_WORDS))):
            with m.If(when):
                m.d.comb += [header.opcode.eq(opcode), header.length.eq(length)]

        say = Array([C(MAGIC, 32), C(VERSION, 32), C(self.config.hash, 32), self.network])
        said = Signal(32, reset_less=True)
        m.d.sync += said.eq(
            say[index[:2]] & kind.info.replicate(32)
            | Mux(index[0], self.refused.as_value(), self.fault) & kind.error.replicate(32))
        kept = (self.spike_word.word_select(self.spike_part, 32) & kind.read.replicate(32)
                | self.counter & kind.report.replicate(32))     # from block RAM, which is slow
        words = [said, kept] if self.config.pipelined else [said | kept]
        parts = [Signal(32, name=f"part_{number}", reset_less=True)
                 for number in range(len(words))]
        m.d.comb += out.payload.data.eq(reduce(operator.or_, parts))

        sending = Signal()      # the header has left
        there = Signal()        # the word is
        left, last_read = Signal.like(self.count, reset_less=True), Signal()    # of a READ
        wait = Signal(range(latency + 2))
        move, last, final = Signal(), Signal(), Signal()     # final: the index is all ones
        m.d.comb += [
            move.eq(~out.valid | out.ready),
            last.eq(Mux(kind.read, last_read, final)),
            self.begun.eq(self.ask & ~self.busy & move),
            self.taken.eq(sending & move & there),
            self.reported.eq(self.taken & last & kind.report),
            self.counters_hold.eq((self.ask | sending) & kind.report),
        ]
        with m.If(move):
            m.d.sync += [
                out.valid.eq(self.ask & ~self.busy | sending & there),
                *(part.eq(Mux(self.ask, first, word)) for part, first, word in zip(
                    parts, (header.as_value(), 0), words, strict=False)),
                out.payload.last.eq(~self.ask & last),
            ]

        m.d.sync += self.done.eq(self.taken & last)

        # The counters pass by one a cycle, as they are sent, once the first one has come. Every
        # word of the spike memory is waited for.
        m.d.sync += [
            last_read.eq(left == 1),
            wait.eq(latency),
            there.eq(~kind.read & (~kind.report | (self.counters_settled
                                                   & (self.counter_turn == index)))),
        ]
        with m.If(self.ask):
            m.d.sync += [index.eq(Mux(kind.report, 0, Mux(kind.info, -len(INFO_WORDS), -2))),
                         final.eq(0), left.eq(self.count), there.eq(0), sending.eq(self.begun)]
        with m.If(sending):
            with m.If(kind.read):
                m.d.sync += [wait.eq(wait - (wait != 0)), there.eq(wait <= 1)]
            with m.If(self.taken):
                m.d.sync += [index.eq(index + 1), final.eq(index == len(COUNTERS) - 2),
                             left.eq(left - 1), wait.eq(latency),
                             there.eq(kind.report), sending.eq(~last)]
        return m
