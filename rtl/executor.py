"""Executor: carries out the packets of a tape, one after the other."""

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .config import ArrayConfig
from .fields import HEADER_LAYOUT, PASS_LAYOUT, TARGET_LAYOUT
from .receiver import PACKET_WORD
from .scan import source_write_layout
from .signals import write_layout
from .spikes import SpikeMemory
from .tape import (COUNTERS, INFO_WORDS, MAGIC, PASS_WORDS, SOURCE_WORDS, VERSION, Answer, Emit,
                   Fault, Opcode)

__all__ = ["Executor"]

#: (opcode, its number of payload words or None for two and more, its first state)
_PACKETS = (
    (Opcode.BEGIN, 2, "IDLE"), (Opcode.SEAL, 1, "IDLE"), (Opcode.REPORT, 0, "IDLE"),
    (Opcode.INFO, 0, "IDLE"), (Opcode.WAIT, 0, "IDLE"), (Opcode.READ, 2, "IDLE"),
    (Opcode.WEIGHTS, None, "PLACE"), (Opcode.PARAMETERS, None, "PLACE"),
    (Opcode.SPIKES, None, "PLACE"), (Opcode.PASS, None, "PASS"),
)


class Executor(wiring.Component):
    """Reads packets; writes memories, starts passes, answers.

    A PASS is read while the one before runs, starts when that has ended, and the executor goes on
    at once with the next packet. WEIGHTS, PARAMETERS and SPIKES are written beside a running pass;
    everything else waits until the pass has ended and its taps have left.

    A packet that cannot be carried out is answered with one ERROR, and no other packet is carried
    out before the next BEGIN; of those only damaged ones are answered, with an ERROR each. Reset:
    no tape is open, no network is loaded.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(PACKET_WORD)),
            "pass_busy": In(1),
            "taps_busy": In(1),
            "start": Out(1),
            "half": Out(1),
            "fields": Out(PASS_LAYOUT),
            "source_write": Out(source_write_layout(config)),
            "write": Out(write_layout(config)),
            "spike_write": Out(1),
            "spike_ready": In(1),
            "spike_address": Out(range(config.spike_words)),
            "spike_part": Out(range(max(config.stream_words, 2))),
            "spike_data": Out(32),
            "spike_word": In(config.word_bits),
            "packets": Out(stream.Signature(HEADER_LAYOUT)),
            "words": Out(stream.Signature(32)),
            "tag": Out(8),
            "counters": In(data.ArrayLayout(32, len(COUNTERS))),
            "counters_hold": Out(1),
            "counters_clear": Out(1),
            "input_wait": Out(1),
        })
        self._header = Signal(HEADER_LAYOUT, reset_less=True)
        self._left = Signal(range(config.payload_words + 1))    # payload words still to come
        self._fault = Signal(Fault, init=Fault.CRC)
        self._open, self._told = Signal(), Signal()     # a tape is open; its fault has been told
        self._network = Signal(32)
        self._busy = Signal()

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self._busy.eq(self.pass_busy | self.taps_busy)
        m.d.sync += [self.write.weight.eq(0), self.write.parameter.eq(0), self.start.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self._left.eq(self._left - 1)
        with m.FSM() as states:
            self._admit(m)
            self._tape(m)
            self._memories(m)
            self._pass(m)
            self._answers(m)
        reports = states.ongoing("REPORT") | states.ongoing("REPORT-WORDS")
        m.d.comb += self.counters_hold.eq(reports)
        return m

    def _take(self, m: Module) -> Value:
        """Ask for the next word; true when it is there."""
        m.d.comb += self.i.ready.eq(1)
        return self.i.valid

    def _refuse(self, m: Module, reason: ValueLike):
        m.d.sync += self._fault.eq(reason)
        m.next = "REFUSE"

    def _admit(self, m: Module):
        """Headers: what it is, whether it may be, and what happens if not."""
        header, word = self._header, self.i.payload.data
        expected = Signal(8)

        with m.State("HEADER"):
            m.d.comb += self.input_wait.eq(~self.i.valid & ~self._busy)
            with m.If(self._take(m)):
                m.d.sync += [header.eq(word), self._left.eq(word[:16])]
                m.next = "CHECK"
                with m.If(self.i.payload.fault):
                    m.next = "REASON"

        with m.State("REASON"):     # the receiver has refused it already
            with m.If(self._take(m)):
                m.d.sync += [self._told.eq(0), self._left.eq(0)]
                self._refuse(m, word)

        with m.State("CHECK"):
            with m.If(header.opcode != Opcode.INFO):
                m.d.sync += expected.eq(header.sequence + 1)
            with m.Switch(header.opcode):
                for opcode, length, first in _PACKETS:
                    if opcode == Opcode.WEIGHTS and self.config.weight_ports == 1:
                        first = "IDLE"      # its one port is the running pass's
                    with m.Case(opcode):
                        m.next = first
                        with m.If(self._left < 2 if length is None else self._left != length):
                            self._refuse(m, Fault.ARGUMENT)
                with m.Default():
                    self._refuse(m, Fault.OPCODE)
            with m.If((header.opcode != Opcode.BEGIN) & (header.opcode != Opcode.INFO)
                      & (~self._open | (header.sequence != expected))):
                self._refuse(m, Fault.SEQUENCE)

        with m.State("IDLE"):       # these wait for the array
            with m.If(~self._busy):
                m.next = "PLACE"
                with m.Switch(header.opcode):
                    for opcode in (Opcode.BEGIN, Opcode.SEAL, Opcode.REPORT, Opcode.INFO):
                        with m.Case(opcode):
                            m.next = opcode.name
                    with m.Case(Opcode.WAIT):
                        m.next = "HEADER"

        with m.State("REFUSE"):
            m.d.sync += [self._open.eq(0), self._told.eq(1)]
            m.next = "REST"
            with m.If(~self._told):
                m.next = "ERROR"

        with m.State("REST"):       # what a refused packet still holds
            m.next = "HEADER"
            with m.If(self._left != 0):
                m.next = "REST"
                self._take(m)

    def _tape(self, m: Module):
        """BEGIN, whose words name configuration and network, and SEAL."""
        word = self.i.payload.data

        with m.State("BEGIN"):
            m.d.sync += [self.tag.eq(self._header.sequence), self._open.eq(0), self._told.eq(0)]
            m.d.comb += self.counters_clear.eq(1)
            with m.If(self._take(m)):
                m.next = "NETWORK"
                with m.If(word != self.config.hash):
                    self._refuse(m, Fault.CONFIGURATION)

        with m.State("NETWORK"):
            with m.If(self._take(m)):
                m.next = "HEADER"
                m.d.sync += self._open.eq(1)
                with m.If(word == 0):
                    m.d.sync += self._network.eq(0)
                with m.Elif(word != self._network):
                    self._refuse(m, Fault.NETWORK)

        with m.State("SEAL"):
            with m.If(self._take(m)):
                m.d.sync += self._network.eq(word)
                m.next = "HEADER"

    def _memories(self, m: Module):
        """WEIGHTS, PARAMETERS, SPIKES and READ: an address, a range that must exist, the words."""
        config, word, opcode = self.config, self.i.payload.data, self._header.opcode
        target = data.View(TARGET_LAYOUT, word)
        spike_parts = config.spike_words * config.stream_words
        place = Signal(max(16, bits_for(spike_parts - 1)), reset_less=True)
        count = Signal(16, reset_less=True)
        beyond = Signal(reset_less=True)
        end, limit = Signal(len(place) + 1, reset_less=True), Signal(len(place) + 1)
        bank, group = Signal(8, reset_less=True), Signal(8, reset_less=True)
        weights, parameters = opcode == Opcode.WEIGHTS, opcode == Opcode.PARAMETERS

        # Stream-word addresses of the spike memory: word and part of it.
        parts = config.stream_words.bit_length() - 1
        m.d.comb += [
            self.spike_address.eq(place >> parts),
            self.spike_part.eq(place[:parts]),
            self.spike_data.eq(word),
        ]

        with m.State("PLACE"):
            m.d.sync += [place.eq(word[:len(place)]), beyond.eq(word[len(place):].any()),
                         count.eq(self._left - 1), bank.eq(0), group.eq(0)]
            with m.If(weights | parameters):
                m.d.sync += [place.eq(target.address), beyond.eq(0), group.eq(target.group)]
            with m.If(weights):
                m.d.sync += bank.eq(target.bank)
            with m.If(self._take(m)):
                m.next = "END"
                with m.If(opcode == Opcode.READ):
                    m.next = "COUNT"

        with m.State("COUNT"):
            with m.If(self._take(m)):
                m.d.sync += [count.eq(word[:16]),
                             beyond.eq(beyond | (word == 0) | (word > config.payload_words))]
                m.next = "END"

        with m.State("END"):
            m.d.sync += [end.eq(place + count), limit.eq(
                Mux(weights, config.weight_rows, Mux(parameters, config.parameter_words,
                                                     spike_parts)))]
            m.next = "RANGE"

        with m.State("RANGE"):
            m.next = "WRITE"
            with m.If(opcode == Opcode.READ):
                m.next = "READ"
            with m.If(beyond | (end > limit) | (group >= config.groups) | (bank >= config.banks)):
                self._refuse(m, Fault.ARGUMENT)

        with m.State("WRITE"):
            to_spikes = opcode == Opcode.SPIKES
            m.d.comb += [
                self.i.ready.eq(self.spike_ready | ~to_spikes),
                self.spike_write.eq(self.i.valid & to_spikes),
            ]
            m.d.sync += [
                self.write.weight.eq(self.i.valid & weights),
                self.write.parameter.eq(self.i.valid & parameters),
                self.write.group.eq(group),
                self.write.bank.eq(bank),
                self.write.address.eq(place),
                self.write.data.eq(word),
            ]
            with m.If(self.i.valid & self.i.ready):
                m.d.sync += place.eq(place + 1)
                with m.If(self._left == 1):
                    m.next = "HEADER"

        wait = Signal(range(SpikeMemory.latency + 1))
        with m.State("READ"):
            m.d.sync += wait.eq(SpikeMemory.latency - 1)
            self._answer(m, Answer.SPIKES, count, "READ-WAIT")

        with m.State("READ-WAIT"):
            m.d.sync += wait.eq(wait - 1)
            with m.If(wait == 0):
                m.next = "READ-WORD"

        with m.State("READ-WORD"):
            m.d.comb += [
                self.words.valid.eq(1),
                self.words.payload.eq(self.spike_word.word_select(self.spike_part, 32)),
            ]
            with m.If(self.words.ready):
                m.d.sync += [place.eq(place + 1), count.eq(count - 1),
                             wait.eq(SpikeMemory.latency - 1)]
                m.next = "READ-WAIT"
                with m.If(count == 1):
                    m.next = "HEADER"

    def _pass(self, m: Module):
        """PASS: its fields are read and checked ahead, and used once the array is free."""
        config, word, write = self.config, self.i.payload.data, self.source_write
        fields = Signal(PASS_LAYOUT, reset_less=True)
        impossible = Signal(reset_less=True)
        half = Signal()     # of the source tables: where those of the next pass go
        index, source = Signal(range(PASS_WORDS)), Signal(range(max(config.sources, 2)))
        bounds = {"slots": config.slots, "steps": config.slots, "rounds": config.banks,
                  "emit": len(Emit), "column": config.tiles_per_word, "sources": config.sources,
                  "output_base": config.spike_words, "parameters": config.parameter_words,
                  "tile": config.parameter_words}
        m.d.sync += write.valid.eq(0)

        with m.State("PASS"):
            with m.If(self._take(m)):
                m.d.sync += [fields.eq(Cat(fields.as_value()[32:], word)), index.eq(index + 1)]
                with m.If(index == PASS_WORDS - 1):
                    m.d.sync += [index.eq(0), source.eq(0)]
                    m.next = "SOURCES"
                with m.If(self._left == 1):
                    m.d.sync += index.eq(0)
                    m.next = "FIELDS"

        with m.State("SOURCES"):
            m.d.sync += [write.half.eq(half), write.source.eq(source), write.word.eq(index),
                         write.data.eq(word)]
            with m.If(self._take(m)):
                m.d.sync += [write.valid.eq(1), index.eq(index + 1)]
                with m.If(index == SOURCE_WORDS - 1):
                    m.d.sync += [index.eq(0), source.eq(source + 1)]
                with m.If(self._left == 1):
                    m.d.sync += index.eq(0)
                    m.next = "FIELDS"

        with m.State("FIELDS"):
            words = PASS_WORDS + SOURCE_WORDS * (fields.sources + 1)
            too_large = [fields[name] >= bound for name, bound in bounds.items()]
            m.d.sync += impossible.eq(
                Cat(*too_large, self._header.length != words,
                    fields.taps & (fields.rounds != 0),
                    (fields.load | fields.store)
                    & ((fields.state >= config.state_words) if config.state_words else 1),
                    fields.taps & ((fields.line > config.line_words - 2) if config.taps else 1)
                    ).any())
            m.next = "START"

        with m.State("START"):
            with m.If(impossible):
                self._refuse(m, Fault.ARGUMENT)
            with m.Elif(~self.pass_busy):
                m.d.sync += [self.start.eq(1), self.half.eq(half), half.eq(~half),
                             self.fields.eq(fields)]
                m.next = "HEADER"

    def _answers(self, m: Module):
        """REPORT, INFO and ERROR: a header, then words."""
        index = Signal(range(max(len(COUNTERS), len(INFO_WORDS))))

        def say(opcode: Answer, state: str, words: list):
            with m.State(state):
                m.d.sync += index.eq(0)
                self._answer(m, opcode, len(words), f"{state}-WORDS")
            with m.State(f"{state}-WORDS"):
                m.d.comb += [self.words.valid.eq(1), self.words.payload.eq(Array(words)[index])]
                with m.If(self.words.ready):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == len(words) - 1):
                        m.d.comb += self.counters_clear.eq(opcode == Answer.REPORT)
                        m.next = "REST"

        say(Answer.REPORT, "REPORT", list(self.counters))
        say(Answer.INFO, "INFO", [C(MAGIC, 32), C(VERSION, 32), C(self.config.hash, 32),
                                  self._network])
        say(Answer.ERROR, "ERROR", [self._fault, self._header.as_value()])

    def _answer(self, m: Module, opcode: Answer, length: ValueLike, following: str):
        """In this state: begin an answer, once the array and the sender are free."""
        m.d.comb += [
            self.packets.valid.eq(~self._busy),
            self.packets.payload.opcode.eq(opcode),
            self.packets.payload.sequence.eq(self.tag),
            self.packets.payload.length.eq(length),
        ]
        with m.If(self.packets.valid & self.packets.ready):
            m.next = following
