"""Executor: carries out the packets of a tape, one after the other."""

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from .config import ArrayConfig
from .fields import HEADER_LAYOUT, PASS_LAYOUT, TARGET_LAYOUT
from .receiver import PACKET_WORD
from .signals import write_layout
from .spikes import SpikeMemory
from .tape import COUNTERS, INFO_WORDS, MAGIC, PASS_WORDS, VERSION, Answer, Emit, Fault, Opcode

__all__ = ["Executor"]


class Executor(wiring.Component):
    """Reads packets; writes memories, starts passes, answers.

    A PASS is read while the one before runs, starts when that has ended, and the executor goes on
    at once with the next packet. SPIKES are written beside a running pass; everything else waits
    until the pass has ended and its taps have left.

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
            "fields": Out(PASS_LAYOUT),
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

    def elaborate(self, platform):
        m = Module()
        config = self.config
        word = self.i.payload.data
        target = data.View(TARGET_LAYOUT, word)

        header = Signal(HEADER_LAYOUT, reset_less=True)
        left = Signal(range(config.payload_words + 1))  # payload words still to come
        fault = Signal(Fault, init=Fault.CRC)
        opened, told = Signal(), Signal()               # a tape is open; its fault has been told
        expected = Signal(8)
        network = Signal(32)
        spike_parts = config.spike_words * config.stream_words
        address = Signal(max(16, bits_for(spike_parts - 1)), reset_less=True)
        bank, group = Signal(8, reset_less=True), Signal(8, reset_less=True)
        limit = Signal(17)
        index = Signal(range(max(len(COUNTERS), len(INFO_WORDS))))
        upcoming = Signal(PASS_LAYOUT, reset_less=True)     # fields of the next pass
        busy = Signal()
        take = self.i.valid & self.i.ready
        m.d.comb += busy.eq(self.pass_busy | self.taps_busy)
        m.d.sync += [self.write.weight.eq(0), self.write.parameter.eq(0), self.start.eq(0)]
        with m.If(take):
            m.d.sync += left.eq(left - 1)

        def refuse(reason: Fault):
            m.d.sync += fault.eq(reason)
            m.next = "REFUSE"

        def answer(opcode: Answer, length: ValueLike, following: str):
            m.d.comb += [
                self.packets.valid.eq(1),
                self.packets.payload.opcode.eq(opcode),
                self.packets.payload.sequence.eq(self.tag),
                self.packets.payload.length.eq(length),
            ]
            with m.If(self.packets.ready):
                m.d.sync += index.eq(0)
                m.next = following

        def say(words: list[ValueLike]):
            """Answer with `words`, then go on."""
            m.d.comb += [self.words.valid.eq(1), self.words.payload.eq(Array(words)[index])]
            with m.If(self.words.ready):
                m.d.sync += index.eq(index + 1)
                with m.If(index == len(words) - 1):
                    m.next = "REST"

        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += [self.i.ready.eq(1), self.input_wait.eq(~self.i.valid & ~busy)]
                with m.If(self.i.valid):
                    m.d.sync += [header.eq(word), left.eq(word[:16]), index.eq(0)]
                    m.next = "CHECK"
                    with m.If(self.i.payload.fault):
                        m.next = "REASON"

            with m.State("REASON"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [fault.eq(word), left.eq(0), told.eq(0)]
                    m.next = "REFUSE"

            with m.State("CHECK"):
                m.d.sync += expected.eq(header.sequence + 1)
                with m.Switch(header.opcode):
                    for opcode, length, following in (
                            (Opcode.BEGIN, 2, "IDLE"), (Opcode.INFO, 0, "IDLE"),
                            (Opcode.PASS, PASS_WORDS, "PASS"), (Opcode.READ, 2, "IDLE"),
                            (Opcode.REPORT, 0, "IDLE"), (Opcode.SEAL, 1, "IDLE"),
                            (Opcode.WEIGHTS, None, "IDLE"), (Opcode.PARAMETERS, None, "IDLE"),
                            (Opcode.SPIKES, None, "SPIKES")):
                        with m.Case(opcode):
                            m.next = following
                            with m.If(left < 2 if length is None else left != length):
                                refuse(Fault.ARGUMENT)
                    with m.Default():
                        refuse(Fault.OPCODE)
                with m.If((header.opcode != Opcode.BEGIN) & (header.opcode != Opcode.INFO)
                          & (~opened | (header.sequence != expected))):
                    refuse(Fault.SEQUENCE)

            with m.State("IDLE"):       # these wait for the array
                with m.If(~busy):
                    with m.Switch(header.opcode):
                        with m.Case(Opcode.BEGIN):
                            m.d.sync += [self.tag.eq(header.sequence), opened.eq(0), told.eq(0)]
                            m.next = "BEGIN"
                        with m.Case(Opcode.INFO):
                            m.next = "INFO"
                        with m.Case(Opcode.READ):
                            m.next = "READ"
                        with m.Case(Opcode.REPORT):
                            m.next = "REPORT"
                        with m.Case(Opcode.SEAL):
                            m.next = "SEAL"
                        with m.Default():
                            m.next = "TARGET"

            with m.State("BEGIN"):
                m.d.comb += [self.i.ready.eq(1), self.counters_clear.eq(1)]
                with m.If(self.i.valid):
                    m.next = "NETWORK"
                    with m.If(word != config.hash):
                        refuse(Fault.CONFIGURATION)

            with m.State("NETWORK"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += opened.eq(1)
                    m.next = "HEADER"
                    with m.If(word == 0):
                        m.d.sync += network.eq(0)
                    with m.Elif(word != network):
                        m.d.sync += opened.eq(0)
                        refuse(Fault.NETWORK)

            with m.State("SEAL"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += network.eq(word)
                    m.next = "HEADER"

            with m.State("TARGET"):     # weights and parameters
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += limit.eq(Mux(header.opcode == Opcode.WEIGHTS, config.weight_rows,
                                         config.parameter_words))
                with m.If(self.i.valid):
                    m.d.sync += [address.eq(target.address), bank.eq(target.bank),
                                 group.eq(target.group)]
                    m.next = "RANGE"

            with m.State("RANGE"):
                m.next = "WRITE"
                with m.If((address + left > limit) | (group >= config.groups)
                          | (bank >= config.banks)):
                    refuse(Fault.ARGUMENT)

            with m.State("WRITE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [
                    self.write.weight.eq(self.i.valid & (header.opcode == Opcode.WEIGHTS)),
                    self.write.parameter.eq(self.i.valid & (header.opcode == Opcode.PARAMETERS)),
                    self.write.group.eq(group),
                    self.write.bank.eq(bank),
                    self.write.address.eq(address),
                    self.write.data.eq(word),
                ]
                with m.If(self.i.valid):
                    m.d.sync += address.eq(address + 1)
                    with m.If(left == 1):
                        m.next = "HEADER"

            with m.State("SPIKES"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += address.eq(word)
                    m.next = "SPIKES-WRITE"
                    with m.If(word + (left - 1) > spike_parts):
                        refuse(Fault.ARGUMENT)

            with m.State("SPIKES-WRITE"):
                m.d.comb += [
                    self.i.ready.eq(self.spike_ready),
                    self.spike_write.eq(self.i.valid),
                    self.spike_data.eq(word),
                ]
                with m.If(take):
                    m.d.sync += address.eq(address + 1)
                    with m.If(left == 1):
                        m.next = "HEADER"

            with m.State("PASS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(take):
                    m.d.sync += upcoming.eq(Cat(upcoming.as_value()[32:], word))
                    with m.If(left == 1):
                        m.next = "START"

            with m.State("START"):
                f = upcoming
                with m.If((f.slots >= config.slots) | (f.steps >= config.slots)
                          | (f.rounds >= config.banks) | (f.emit > Emit.MEMBRANES)
                          | (f.column >= config.tiles_per_word) | (f.row >= config.weight_rows)
                          | (f.input_base >= config.spike_words) | (f.words >= config.spike_words)
                          | (f.output_base >= config.spike_words)
                          | (f.parameters >= config.parameter_words)
                          | (f.tile >= config.parameter_words)):
                    refuse(Fault.ARGUMENT)
                with m.Elif(~self.pass_busy):
                    m.d.sync += [self.start.eq(1), self.fields.eq(upcoming)]
                    m.next = "HEADER"

            with m.State("READ"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += address.eq(word)
                    m.next = "READ-COUNT"
                    with m.If(word >= spike_parts):
                        refuse(Fault.ARGUMENT)

            count = Signal(16, reset_less=True)
            with m.State("READ-COUNT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += count.eq(word)
                    m.next = "READ-HEADER"
                    with m.If((word > config.payload_words) | (word == 0)
                              | (address + word[:16] > spike_parts)):
                        refuse(Fault.ARGUMENT)

            with m.State("READ-HEADER"):
                answer(Answer.SPIKES, count, "READ-WAIT")

            with m.State("READ-WAIT"):  # the address has been up for one cycle
                m.d.sync += index.eq(index + 1)
                with m.If(index == SpikeMemory.latency - 1):
                    m.next = "READ-WORD"

            with m.State("READ-WORD"):
                m.d.comb += [
                    self.words.valid.eq(1),
                    self.words.payload.eq(self.spike_word.word_select(self.spike_part, 32)),
                ]
                with m.If(self.words.ready):
                    m.d.sync += [address.eq(address + 1), count.eq(count - 1), index.eq(0)]
                    m.next = "READ-WAIT"
                    with m.If(count == 1):
                        m.next = "HEADER"

            with m.State("REPORT"):
                m.d.comb += self.counters_hold.eq(1)
                answer(Answer.REPORT, len(COUNTERS), "COUNTERS")
            with m.State("COUNTERS"):
                m.d.comb += [
                    self.counters_hold.eq(1),
                    self.counters_clear.eq(self.words.ready & (index == len(COUNTERS) - 1)),
                ]
                say(list(self.counters))

            with m.State("INFO"):
                answer(Answer.INFO, len(INFO_WORDS), "INFO-WORDS")
            with m.State("INFO-WORDS"):
                say([C(MAGIC, 32), C(VERSION, 32), C(config.hash, 32), network])

            with m.State("REFUSE"):
                m.d.sync += [opened.eq(0), told.eq(1)]
                m.next = "REST"
                with m.If(~told):
                    m.next = "ERROR"
            with m.State("ERROR"):
                with m.If(~busy):
                    answer(Answer.ERROR, 2, "ERROR-WORDS")
            with m.State("ERROR-WORDS"):
                say([fault, header.as_value()])

            with m.State("REST"):       # what a refused packet still holds
                with m.If(left == 0):
                    m.next = "HEADER"
                with m.Else():
                    m.d.comb += self.i.ready.eq(1)

        # Stream-word addresses of the spike memory: word and part of it.
        parts = config.stream_words.bit_length() - 1
        m.d.comb += [self.spike_address.eq(address >> parts), self.spike_part.eq(address[:parts])]
        return m
