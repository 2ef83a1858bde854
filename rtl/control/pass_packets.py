"""PASS: the packet that describes a pass and starts it."""

from amaranth import *
from amaranth.lib import data

from quadfire.rtl.contract.tape import PASS_WORDS, SOURCE_WORDS, Fault
from quadfire.rtl.control.packet_states import PacketStates
from quadfire.rtl.control.pass_check import pass_field_bits, pass_word_faults
from quadfire.rtl.lib.tape_layouts import PASS_LAYOUT

__all__ = ["PassPackets"]


class PassPackets(PacketStates):
    """The fields are read and checked ahead, and used once the array is free.

    PASS takes the fields, SOURCES the source tables, PROVE refuses an impossible pass, START waits
    for the array. A word that was taken in cycle n is stored in n + 1 and checked in n + 2.
    """

    def _pass(self, m: Module, busy: Value):
        """All states of this packet."""
        config, states = self.config, self._states
        taken = self.i.valid
        fields = Signal(PASS_LAYOUT, reset_less=True)
        half = Signal()     # of the source tables: where those of the next pass go
        index, source = Signal(range(PASS_WORDS)), Signal(range(max(config.sources, 2)))
        final = Signal()        # the index is that of the last word of the fields, of a source
        impossible = Signal()
        complete = Signal()     # all sources have been read

        final_source = self._store(m, fields, half, index, source, impossible)
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
            with m.If(self._ended):
                self._refuse(m, Fault.LIMIT)
            with m.Elif(starts):
                m.d.sync += [self.start.eq(1), self.half.eq(half), half.eq(~half)]
                if self._ahead:
                    m.d.sync += used.eq(fields)
                states.next = "REST"

    def _store(self, m: Module, fields: data.View, half: Signal, index: Signal, source: Signal,
               impossible: Signal) -> Signal:
        """Writes each word to the fields or to the source tables; notes an impossible one.

        Returns whether `source` is the last source.
        """
        config, states, write, late = self.config, self._states, self.source_write, self._late
        taken = self.i.valid
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
        return final_source
