"""What the files of the executor share: its ports, its states, the packet in hand."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import COUNTERS, Fault, Opcode
from quadfire.rtl.control.answers import ANSWER, Answers
from quadfire.rtl.control.packet_receiver import PACKET_WORD, STREAM_WORD
from quadfire.rtl.fetch.raster import source_write_layout
from quadfire.rtl.lib.chain_layouts import write_layout
from quadfire.rtl.lib.onehot_fsm import OneHotFsm
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT, PASS_LAYOUT

__all__ = ["PacketStates"]

_STATES = ("HEADER", "DECODE", "CHECK", "JUDGE", "ADMIT", "REFUSE", "REST",
           "CONFIGURATION", "NETWORK", "BEGIN", "KNOWN", "OPEN", "SEAL",
           "PLACE", "COUNT", "END", "COMPARE", "RANGE", "FIT", "WRITE",
           "PASS", "SOURCES", "PROVE", "START",
           "ANSWER", "WORDS")


class PacketStates(wiring.Component):
    """Ports of the executor, and the signals that its packets of all kinds use.

    The packets of one kind are a subclass: `MemoryPackets`, `PassPackets`. `Executor` is both, and
    carries out the rest. `_share` makes the signals.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        # A PASS is read ahead, except with one source: then fields and source are kept once.
        self._ahead = config.sources > 1
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
            "limited": Out(1),
            "limit": Out(32),
            "pass_ended": In(1),
        })

    def _share(self, m: Module):
        """Make the states, and what is known of the packet in hand."""
        self._states = OneHotFsm(m, _STATES)
        self._header = Signal(HEADER_LAYOUT, reset_less=True)
        self._over = Signal()           # the packet's last word has been taken
        self._is = {opcode: Signal(name=f"is_{opcode.name}") for opcode in Opcode}
        self._fault = Signal(4)         # why the packet is refused
        self._open, self._told = Signal(), Signal()     # a tape is open; its fault has been told
        m.submodules.answerer = self._answerer = Answers(self.config)
        self._kind = Signal(ANSWER)     # what the answer is
        self._network = Signal(32)
        self._late = Signal(32, reset_less=True)        # the word of the cycle before
        # Of the word that was taken last: what is known of its quarters, and of the whole.
        self._quarters = [Signal(4, name=name)
                          for name in ("zero", "same_network", "same_configuration")]
        self._zero, self._same_network, self._same_configuration = (
            Signal(name=name) for name in ("is_zero", "is_network", "is_configuration"))
        self._busy = Signal()           # the array is not free
        self._ended = Signal()          # at its limit, a pass of this tape

    def _inspect(self, m: Module):
        """Compare words: is the last one 0, the loaded network, this configuration?

        Each comparison takes two cycles, first by quarters of the word, for the clock's sake.
        """
        word = self.i.payload.data
        zero, network, configuration = self._quarters
        m.d.sync += [
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

    def _take(self, m: Module):
        """Take words: one at a time, a cycle after the state that wants it; or many in a row."""
        states = self._states
        self._reading = states.at("PASS") & ~self._over & (1 if self._ahead else ~self._busy)
        writing = states.at("WRITE") & (self.spike_ready | ~self._is[Opcode.SPIKES])
        self._takes, self._took = Signal(), Signal()
        m.d.sync += self._takes.eq(Cat(states.at(name) for name in (
            "HEADER", "CONFIGURATION", "NETWORK", "SEAL", "PLACE", "COUNT")).any() & ~self._took)
        m.d.comb += self._took.eq(self._takes & self.i.valid)
        more = (states.at("SOURCES") | states.at("REST")) & ~self._over
        m.d.comb += self.i.ready.eq(Cat(self._takes, more, self._reading, writing).any())
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self._over.eq(self.i.payload.last)

    def _refuse(self, m: Module, reason: Fault):
        """Go to REFUSE from the state at hand."""
        m.d.sync += self._fault.eq(reason)
        self._states.next = "REFUSE"
