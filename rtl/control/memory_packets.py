"""WEIGHTS, PARAMETERS, SPIKES and READ: packets that write or read a range of a memory."""

from amaranth import *
from amaranth.lib import data
from amaranth.utils import bits_for

from quadfire.rtl.contract.tape import Fault, Opcode
from quadfire.rtl.control.packet_states import PacketStates
from quadfire.rtl.lib.tape_layouts import TARGET_LAYOUT

__all__ = ["MemoryPackets"]


class MemoryPackets(PacketStates):
    """An address, a range that must exist, then the words.

    PLACE takes the address, COUNT the number of words of a READ. END, COMPARE, RANGE and FIT check
    the range, one step a cycle. WRITE takes the words; a READ goes on to ANSWER instead.
    """

    def _memories(self, m: Module):
        """All states of these packets."""
        config = self.config
        spike_parts = config.spike_words * config.stream_words
        self._place = place = Signal(max(16, bits_for(spike_parts - 1)), reset_less=True)
        self._count = count = Signal(bits_for(config.payload_words), reset_less=True)
        end, limit = Signal(len(place) + 1, reset_less=True), Signal(len(place) + 1)
        bank, group = Signal(8, reset_less=True), Signal(8, reset_less=True)
        beyond, large, many, far, no_group, no_bank, odd = (
            Signal(name=name, reset_less=True)
            for name in ("beyond", "large", "many", "far", "no_group", "no_bank", "odd"))
        placed, past, huge = Signal(), Signal(), Signal()       # of the word of the cycle before

        self._drive_memories(m, bank, group)
        self._take_range(m, bank, group)

        states, word = self._states, self.i.payload.data
        weights, parameters = self._is[Opcode.WEIGHTS], self._is[Opcode.PARAMETERS]
        reads = self._is[Opcode.READ]
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
        self._count_up(m)

    def _drive_memories(self, m: Module, bank: Signal, group: Signal):
        """Ports of the memories; a stream-word address is a spike word and a slice of it."""
        states, word, place = self._states, self.i.payload.data, self._place
        weights, parameters = self._is[Opcode.WEIGHTS], self._is[Opcode.PARAMETERS]
        to_spikes = self._is[Opcode.SPIKES]
        parts = self.config.stream_words.bit_length() - 1
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

    def _take_range(self, m: Module, bank: Signal, group: Signal):
        """PLACE and COUNT: the first address, and how many words."""
        states, word = self._states, self.i.payload.data
        target = data.View(TARGET_LAYOUT, word)
        with states.state("PLACE"):
            m.d.sync += [
                self._count.eq(self._header.length),    # one more than will be written
                group.eq(target.group), bank.eq(target.bank),
            ]
            with m.If(self._took):
                states.next = "END"
                with m.If(self._is[Opcode.READ]):
                    states.next = "COUNT"

        with states.state("COUNT"):
            m.d.sync += self._count.eq(word)
            with m.If(self._took):
                states.next = "END"

    def _count_up(self, m: Module):
        """WRITE; the address counts up with every word written or answered."""
        states, word, place = self._states, self.i.payload.data, self._place
        target = data.View(TARGET_LAYOUT, word)
        weights, parameters = self._is[Opcode.WEIGHTS], self._is[Opcode.PARAMETERS]
        to_spikes = self._is[Opcode.SPIKES]
        written = states.at("WRITE") & self.i.valid & (self.spike_ready | ~to_spikes)
        with m.If(states.at("PLACE") | written | self._answerer.taken):
            m.d.sync += place.eq(Mux(~states.at("PLACE"), place + 1,
                                     Mux(weights | parameters, target.address, word)))
        with states.state("WRITE"):
            with m.If(written & self.i.payload.last):
                states.next = "HEADER"
