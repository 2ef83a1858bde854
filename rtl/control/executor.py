"""Executor: carries out the packets of a tape, one after the other."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from quadfire.rtl.control.answers import ANSWER, Answers
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT, PASS_LAYOUT, TARGET_LAYOUT
from quadfire.rtl.lib.onehot_fsm import OneHotFsm
from quadfire.rtl.control.pass_check import pass_word_faults, pass_field_bits
from quadfire.rtl.control.packet_receiver import PACKET_WORD, STREAM_WORD
from quadfire.rtl.fetch.raster import source_write_layout
from quadfire.rtl.lib.chain_layouts import write_layout
from quadfire.rtl.contract.tape import COUNTERS, PASS_WORDS, SOURCE_WORDS, Fault, Opcode

__all__ = ["Executor"]

#: Words of payload; None: two or more.
_LENGTHS = {
    Opcode.BEGIN: 2, Opcode.SEAL: 1, Opcode.REPORT: 0, Opcode.INFO: 0, Opcode.WAIT: 0,
    Opcode.READ: 2, Opcode.WEIGHTS: None, Opcode.PARAMETERS: None, Opcode.SPIKES: None,
    Opcode.PASS: None,
}

_STATES = ("HEADER", "DECODE", "CHECK", "JUDGE", "ADMIT", "REFUSE", "REST",
           "CONFIGURATION", "NETWORK", "BEGIN", "KNOWN", "OPEN", "SEAL",
           "PLACE", "COUNT", "END", "COMPARE", "RANGE", "FIT", "WRITE",
           "PASS", "SOURCES", "PROVE", "START",
           "ANSWER", "WORDS")


class Executor(wiring.Component):
    """Reads packets; writes memories, starts passes, answers.

    A PASS is read while the one before runs (but where it has one source, see `Raster`), starts
    when that has ended, and the executor goes on at once with the next packet. WEIGHTS, PARAMETERS
    and SPIKES are written beside a running pass; everything else waits until the pass has ended and
    its taps have left. A PASS and all that waits does so for answers, too, that the sender has not
    taken whole: `sender_busy`.

    A packet that cannot be carried out is answered with one ERROR, and no other packet is carried
    out before the next BEGIN; of those only damaged ones are answered, with an ERROR each. Reset:
    no tape is open, no network is loaded.

    counter: see `Answers`. What decides is registered a state before it is used: a packet takes
    six to twelve cycles besides its words.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(PACKET_WORD)),
            "pass_busy": In(1),
            "sender_busy": In(1),
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
            "answers": Out(stream.Signature(STREAM_WORD)),
            "tag": Out(8),
            "counter": In(32),
            "counter_turn": In(range(len(COUNTERS))),
            "counters_settled": In(1),
            "counters_hold": Out(1),
            "counters_clear": Out(1),
            "input_wait": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        self._states = states = OneHotFsm(m, _STATES)
        self._header = Signal(HEADER_LAYOUT, reset_less=True)
        self._over = Signal()           # the packet's last word has been taken
        self._is = {opcode: Signal(name=f"is_{opcode.name}") for opcode in Opcode}
        self._fault = Signal(4)         # why the packet is refused
        self._open, self._told = Signal(), Signal()     # a tape is open; its fault has been told
        m.submodules.answerer = self._answerer = Answers(self.config)
        self._kind = Signal(ANSWER)     # what the answer is
        self._network = Signal(32)
        self._late = Signal(32, reset_less=True)        # the word of the cycle before
        # Of the word that was taken last, two cycles later: it is 0, the network, the
        # configuration. First in quarters, for the clock's sake.
        zero, network, configuration = (
            Signal(4, name=name) for name in ("zero", "same_network", "same_configuration"))
        self._zero, self._same_network, self._same_configuration = (
            Signal(name=name) for name in ("is_zero", "is_network", "is_configuration"))
        self._busy = Signal()
        busy = self.pass_busy | self.sender_busy
        word = self.i.payload.data
        m.d.sync += [
            self._busy.eq(busy),
            self.start.eq(0),
            self._late.eq(word),
            self._zero.eq(zero.all()),
            self._same_network.eq(network.all()),
            self._same_configuration.eq(configuration.all()),
        ]
        for quarter in range(4):
            bits = slice(8 * quarter, 8 * quarter + 8)
            m.d.sync += [
                zero[quarter].eq(word[bits] == 0),
                network[quarter].eq(word[bits] == self._network[bits]),
                configuration[quarter].eq(word[bits] == self.config.hash >> 8 * quarter & 0xFF),
            ]
        # The next PASS is read ahead, but where it has one source: then fields and source are kept
        # once.
        self._ahead = self.config.sources > 1
        self._reading = states.at("PASS") & ~self._over & (1 if self._ahead else ~self._busy)
        writing = states.at("WRITE") & (self.spike_ready | ~self._is[Opcode.SPIKES])
        # Words that come alone are taken a cycle after the state is there to take them.
        self._takes, self._took = Signal(), Signal()
        m.d.sync += self._takes.eq(Cat(states.at(name) for name in (
            "HEADER", "CONFIGURATION", "NETWORK", "SEAL", "PLACE", "COUNT")).any() & ~self._took)
        m.d.comb += self._took.eq(self._takes & self.i.valid)
        more = (states.at("SOURCES") | states.at("REST")) & ~self._over
        m.d.comb += self.i.ready.eq(Cat(self._takes, more, self._reading, writing).any())
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self._over.eq(self.i.payload.last)

        self._admit(m, busy)
        self._tape(m)
        self._memories(m)
        self._pass(m, busy)
        self._answer(m)
        states.finish()
        return m

    def _refuse(self, m: Module, reason: Fault):
        m.d.sync += self._fault.eq(reason)
        self._states.next = "REFUSE"

    def _admit(self, m: Module, busy: Value):
        """Headers: what it is, whether it may be, and what happens if not."""
        states, header, is_, kind = self._states, self._header, self._is, self._kind
        expected = Signal(8)
        in_order, refused, unknown, disordered, short, beside = (Signal(name=name) for name in (
            "in_order", "refused", "unknown", "disordered", "short", "beside"))
        wrong = [Signal(name=f"not_{length}") for length in range(3)]
        free = [Opcode.PARAMETERS, Opcode.SPIKES, Opcode.PASS]      # these do not wait
        if self.config.weight_ports > 1:    # a single port is the running pass's
            free.append(Opcode.WEIGHTS)
        exactly = [Signal(name=f"exactly_{length}") for length in range(3)]
        m.d.sync += self.input_wait.eq(states.at("HEADER") & ~self.i.valid & ~self._busy)

        with states.state("HEADER"):
            m.d.sync += [header.eq(self.i.payload.data), self._fault.eq(self.i.payload.fault)]
            with m.If(self._took):
                states.next = "DECODE"

        m.d.sync += [       # always, and so from CHECK on
            *(is_[opcode].eq(header.opcode == opcode) for opcode in Opcode),
            *(flag.eq(header.length == length) for length, flag in enumerate(exactly)),
            in_order.eq(header.sequence == expected),
        ]
        with states.state("DECODE"):
            states.next = "CHECK"

        def one_of(length: int | None) -> Value:
            return Cat(is_[opcode] for opcode in Opcode if _LENGTHS[opcode] == length).any()

        m.d.sync += [       # likewise, from JUDGE on
            *(flag.eq(one_of(length) & ~exactly[length]) for length, flag in enumerate(wrong)),
            short.eq(one_of(None) & (exactly[0] | exactly[1])),
            unknown.eq(~Cat(is_.values()).any()),
            disordered.eq(~(in_order & self._open) & ~is_[Opcode.BEGIN] & ~is_[Opcode.INFO]),
            beside.eq(Cat(is_[opcode] for opcode in free).any()),
        ]
        with states.state("CHECK"):
            with m.If(~is_[Opcode.INFO]):
                m.d.sync += expected.eq(header.sequence + 1)
            states.next = "JUDGE"

        with states.state("JUDGE"):
            m.d.sync += refused.eq(1)
            with m.If(self._fault != 0):    # the receiver has refused it already
                m.d.sync += self._told.eq(0)
            with m.Elif(disordered):
                m.d.sync += self._fault.eq(Fault.SEQUENCE)
            with m.Elif(unknown):
                m.d.sync += self._fault.eq(Fault.OPCODE)
            with m.Elif(Cat(wrong, short).any()):
                m.d.sync += self._fault.eq(Fault.ARGUMENT)
            with m.Else():
                m.d.sync += refused.eq(0)
            states.next = "ADMIT"

        may = Signal()
        m.d.sync += may.eq(~busy | beside)
        with states.state("ADMIT"):
            m.d.sync += [kind.error.eq(0), kind.read.eq(is_[Opcode.READ]),
                         kind.report.eq(is_[Opcode.REPORT]), kind.info.eq(is_[Opcode.INFO])]
            with m.If(refused):
                states.next = "REFUSE"
            with m.Elif(may):
                states.branch({
                    "CONFIGURATION": is_[Opcode.BEGIN], "SEAL": is_[Opcode.SEAL],
                    "ANSWER": is_[Opcode.REPORT] | is_[Opcode.INFO],
                    "REST": is_[Opcode.WAIT], "PASS": is_[Opcode.PASS],
                    "PLACE": Cat(is_[opcode] for opcode in (
                        Opcode.WEIGHTS, Opcode.PARAMETERS, Opcode.SPIKES, Opcode.READ)).any()})

        with states.state("REFUSE"):
            m.d.sync += [self._open.eq(0), self._told.eq(1), kind.eq(0), kind.error.eq(1)]
            states.next = "REST"
            with m.If(~self._told):
                states.next = "ANSWER"

        with states.state("REST"):      # of a packet, if anything is left
            with m.If(self._over):
                states.next = "HEADER"

    def _tape(self, m: Module):
        """BEGIN, whose words name configuration and network, and SEAL."""
        states = self._states
        m.d.sync += self.counters_clear.eq(states.at("CONFIGURATION") | self._answerer.reported)
        configured = Signal()

        with states.state("CONFIGURATION"):
            m.d.sync += [self.tag.eq(self._header.sequence), self._open.eq(0), self._told.eq(0)]
            with m.If(self._took):
                states.next = "NETWORK"

        second = Signal()       # the first word was taken two cycles ago
        begun = Signal()
        m.d.sync += [begun.eq(states.at("CONFIGURATION")), second.eq(begun)]
        with m.If(second):
            m.d.sync += configured.eq(self._same_configuration)
        with states.state("NETWORK"):
            with m.If(self._took):
                states.next = "BEGIN"

        with states.state("BEGIN"):
            states.next = "KNOWN"

        with states.state("KNOWN"):
            states.next = "OPEN"

        other = Signal()        # than what the tape is for
        m.d.sync += other.eq(~configured | (~self._zero & ~self._same_network))
        with states.state("OPEN"):
            m.d.sync += self._open.eq(1)
            states.next = "REST"
            with m.If(other):
                self._refuse(m, Fault.NETWORK)
                with m.If(~configured):
                    m.d.sync += self._fault.eq(Fault.CONFIGURATION)

        with states.state("SEAL"):
            with m.If(self._took):
                states.next = "REST"

        forget, seal = Signal(), Signal()
        m.d.sync += [forget.eq(states.at("KNOWN") & configured & self._zero),
                     seal.eq(states.at("SEAL") & self._took)]
        with m.If(forget):
            m.d.sync += self._network.eq(0)
        with m.If(seal):
            m.d.sync += self._network.eq(self._late)

    def _memories(self, m: Module):
        """WEIGHTS, PARAMETERS, SPIKES and READ: an address, a range that must exist, the words."""
        config, states, word = self.config, self._states, self.i.payload.data
        target = data.View(TARGET_LAYOUT, word)
        spike_parts = config.spike_words * config.stream_words
        self._place = place = Signal(max(16, bits_for(spike_parts - 1)), reset_less=True)
        self._count = count = Signal(bits_for(config.payload_words), reset_less=True)
        end, limit = Signal(len(place) + 1, reset_less=True), Signal(len(place) + 1)
        bank, group = Signal(8, reset_less=True), Signal(8, reset_less=True)
        beyond, large, many, far, no_group, no_bank, odd = (
            Signal(name=name, reset_less=True)
            for name in ("beyond", "large", "many", "far", "no_group", "no_bank", "odd"))
        placed, past, huge = Signal(), Signal(), Signal()       # of the word of the cycle before
        weights, parameters = self._is[Opcode.WEIGHTS], self._is[Opcode.PARAMETERS]
        to_spikes, reads = self._is[Opcode.SPIKES], self._is[Opcode.READ]

        # Stream-word addresses of the spike memory: word and part of it.
        parts = config.stream_words.bit_length() - 1
        m.d.comb += [
            self.spike_address.eq(place >> parts),
            self.spike_part.eq(place[:parts]),
            self.spike_data.eq(word),
            self.spike_write.eq(states.at("WRITE") & self.i.valid & to_spikes),
            self.write.weight.eq(states.at("WRITE") & self.i.valid & weights),
            self.write.parameter.eq(states.at("WRITE") & self.i.valid & parameters),
            self.write.group.eq(group),
            self.write.bank.eq(bank),
            self.write.address.eq(place),
            self.write.data.eq(word),
        ]

        with states.state("PLACE"):
            m.d.sync += [
                count.eq(self._header.length),      # one more than will be written
                group.eq(target.group), bank.eq(target.bank),
            ]
            with m.If(self._took):
                states.next = "END"
                with m.If(reads):
                    states.next = "COUNT"

        with states.state("COUNT"):
            m.d.sync += count.eq(word)
            with m.If(self._took):
                states.next = "END"

        with states.state("END"):
            m.d.sync += [
                end.eq(place + count),
                limit.eq(Mux(weights, config.weight_rows + 1, Mux(
                    parameters, config.parameter_words + 1, Mux(
                        reads, spike_parts, spike_parts + 1)))),
                large.eq(reads & huge),
            ]
            states.next = "COMPARE"

        m.d.sync += [
            placed.eq(states.at("PLACE")),
            past.eq(word[len(place):].any()),
            huge.eq(word[len(count):].any()),
            far.eq(end > limit), many.eq(count > config.payload_words),
            no_group.eq(group >= config.groups), no_bank.eq(bank >= config.banks),
            odd.eq(large | (reads & (many | self._zero)) | ((weights | parameters) & no_group)
                   | (weights & no_bank)),
        ]
        with m.If(placed):
            m.d.sync += beyond.eq(~(weights | parameters) & past)
        with states.state("COMPARE"):
            states.next = "RANGE"

        with states.state("RANGE"):
            states.next = "FIT"

        outside = Signal()
        m.d.sync += outside.eq(beyond | odd | far)
        with states.state("FIT"):
            states.next = "WRITE"
            with m.If(reads):
                states.next = "ANSWER"
            with m.If(outside):
                self._refuse(m, Fault.ARGUMENT)

        written = states.at("WRITE") & self.i.valid & (self.spike_ready | ~to_spikes)
        with m.If(states.at("PLACE") | written | self._answerer.taken):
            m.d.sync += place.eq(Mux(~states.at("PLACE"), place + 1,
                                     Mux(weights | parameters, target.address, word)))
        with states.state("WRITE"):
            with m.If(written & self.i.payload.last):
                states.next = "HEADER"

    def _pass(self, m: Module, busy: Value):
        """PASS: its fields are read and checked ahead, and used once the array is free."""
        config, states, write = self.config, self._states, self.source_write
        taken = self.i.valid
        fields = Signal(PASS_LAYOUT, reset_less=True)
        half = Signal()     # of the source tables: where those of the next pass go
        index, source = Signal(range(PASS_WORDS)), Signal(range(max(config.sources, 2)))
        final = Signal()        # the index is that of the last word of the fields, of a source
        impossible = Signal()
        complete = Signal()     # all sources have been read

        # A cycle after it was taken a word is written. Two cycles: does it say what cannot be?
        late = self._late
        wrong = Signal(PASS_WORDS)
        took, checked = Signal(), Signal()
        took_index, checked_index = Signal.like(index), Signal.like(index)
        final_source = Signal()
        m.d.sync += [
            wrong.eq(Cat(pass_word_faults(config, late, fields))),
            took.eq(self._reading & taken),
            took_index.eq(index),
            write.valid.eq(states.at("SOURCES") & taken & ~self._over),
            checked.eq(took),
            checked_index.eq(took_index),
            final_source.eq(source == fields.sources),
        ]
        with m.If(checked & wrong.bit_select(checked_index, 1)):
            m.d.sync += impossible.eq(1)

        kept = Signal(PASS_LAYOUT)
        for name, (first, width) in pass_field_bits(config).items():
            m.d.comb += kept[name].eq(late[first:first + width])
        m.d.comb += [write.half.eq(half), write.source.eq(source), write.word.eq(took_index),
                     write.data.eq(late)]
        with m.If(write.valid & (took_index == SOURCE_WORDS - 1)):
            m.d.sync += source.eq(source + 1)
        for number in range(PASS_WORDS):
            with m.If(took & (took_index == number)):
                bits = slice(32 * number, 32 * number + 32)
                m.d.sync += fields.as_value()[bits].eq(kept.as_value()[bits])
        with m.If(states.at("ADMIT")):
            m.d.sync += [impossible.eq(0), complete.eq(0), index.eq(0), final.eq(0), source.eq(0)]

        used = Signal(PASS_LAYOUT, reset_less=True) if self._ahead else fields
        m.d.comb += self.fields.eq(used)
        with states.state("PASS"):
            with m.If(taken & self._reading):
                m.d.sync += [index.eq(index + 1), final.eq(index == PASS_WORDS - 2)]
                with m.If(final):
                    m.d.sync += index.eq(0)
                    states.next = "SOURCES"
            with m.If(self._over):
                m.d.sync += impossible.eq(1)
                states.next = "PROVE"

        with states.state("SOURCES"):
            with m.If(taken & ~self._over):
                m.d.sync += [index.eq(index + 1), final.eq(index == SOURCE_WORDS - 2),
                             complete.eq(0)]
                with m.If(final):
                    m.d.sync += [index.eq(0), complete.eq(final_source)]
                with m.If(complete):
                    m.d.sync += impossible.eq(1)
            with m.If(self._over):
                with m.If(~complete):
                    m.d.sync += impossible.eq(1)
                states.next = "PROVE"

        with states.state("PROVE"):
            states.next = "START"
            with m.If(impossible):
                self._refuse(m, Fault.ARGUMENT)

        starts = Signal()       # in START, if the executor comes there
        m.d.sync += starts.eq((states.at("PROVE") | states.at("START")) & ~busy)
        with states.state("START"):
            with m.If(starts):
                m.d.sync += [self.start.eq(1), self.half.eq(half), half.eq(~half)]
                if self._ahead:
                    m.d.sync += used.eq(fields)
                states.next = "REST"

    def _answer(self, m: Module):
        """ERROR, REPORT, INFO and SPIKES, once the array is free."""
        states, answerer = self._states, self._answerer
        wiring.connect(m, answerer.o, wiring.flipped(self.answers))
        m.d.comb += [
            answerer.kind.eq(self._kind),
            answerer.busy.eq(self._busy),
            answerer.ask.eq(states.at("ANSWER")),
            answerer.tag.eq(self.tag),
            answerer.fault.eq(self._fault),
            answerer.refused.eq(self._header),
            answerer.network.eq(self._network),
            answerer.count.eq(self._count),
            answerer.spike_word.eq(self.spike_word),
            answerer.spike_part.eq(self.spike_part),
            answerer.counter.eq(self.counter),
            answerer.counter_turn.eq(self.counter_turn),
            answerer.counters_settled.eq(self.counters_settled),
            self.counters_hold.eq(answerer.counters_hold),
        ]
        with states.state("ANSWER"):
            with m.If(answerer.begun):
                states.next = "WORDS"

        with states.state("WORDS"):
            with m.If(answerer.done):
                states.next = "REST"
