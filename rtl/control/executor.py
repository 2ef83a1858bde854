"""Executor: carries out the packets of a tape, one after the other."""

from amaranth import *
from amaranth.lib import wiring

from quadfire.rtl.contract.tape import Fault, Opcode
from quadfire.rtl.control.memory_packets import MemoryPackets
from quadfire.rtl.control.pass_packets import PassPackets

__all__ = ["Executor"]

#: Words of payload; None: two or more.
_LENGTHS = {
    Opcode.BEGIN: 2, Opcode.SEAL: 1, Opcode.REPORT: 0, Opcode.INFO: 0, Opcode.WAIT: 0,
    Opcode.LIMIT: 1, Opcode.READ: 2, Opcode.WEIGHTS: None, Opcode.PARAMETERS: None,
    Opcode.SPIKES: None, Opcode.PASS: None,
}


class Executor(MemoryPackets, PassPackets):
    """Reads packets; writes memories, starts passes, answers.

    Here are the header, BEGIN, SEAL and the answers. `MemoryPackets` has the packets that write or
    read a memory, `PassPackets` has PASS.

    A PASS is read while the pass before still runs, and starts when that has ended; then the next
    packet is read. (With one source it is read after that pass, see `quadfire.rtl.fetch.raster`.)
    WEIGHTS, PARAMETERS and SPIKES are written beside a running pass. Every other packet waits until
    the pass has ended and its probe words have left. PASS, and every packet that waits for the
    array, also waits until the sender has accepted the whole previous answer.

    A packet that cannot be carried out is answered with one ERROR, and no other packet is carried
    out before the next BEGIN. Until then only damaged packets are answered, with an ERROR each.

    | port | meaning |
    |---|---|
    | `i` | words of packets, from the packet receiver |
    | `pass_busy` | a pass runs |
    | `sender_busy` | probe words, or an answer, are not yet all with the packet sender |
    | `start`, `half` | a pass starts; its sources are in that half of the tables |
    | `fields` | of that pass |
    | `source_write` | a word of a source table |
    | `write` | a word of a weight or parameter memory |
    | `spike_*` | a stream word written to, or read from, the spike memory |
    | `answers`, `tag` | answers without their CRC; first packet number of the tape |
    | `counter*`, `counters_*` | see `Answers` |
    | `input_wait` | no packet is there, and no pass runs |
    | `limited`, `limit` | most cycles of a pass, if there is a limit |
    | `pass_ended` | a pass was ended at the limit |

    The packet that follows on a pass that was ended is answered with an ERROR; BEGIN and INFO are
    not.

    Latency: 6 to 12 cycles a packet besides its words, as every decision is registered before it is
    used. Reset: no tape is open, no network is loaded.
    """

    def elaborate(self, platform):
        m = Module()
        self._share(m)
        busy = self.pass_busy | self.sender_busy
        m.d.sync += [self._busy.eq(busy), self.start.eq(0)]
        self._inspect(m)
        self._take(m)
        self._admit(m, busy)
        self._tape(m)
        self._memories(m)
        self._pass(m, busy)
        self._answer(m)
        self._states.finish()
        return m

    def _read_header(self, m: Module) -> tuple[Signal, Signal, list[Signal], Signal]:
        """HEADER, DECODE, CHECK: take the header, and see what it is.

        Returns four facts, known from JUDGE on: the packet is out of order, its opcode is unknown,
        its length is wrong (any of some signals), it may go beside a running pass.
        """
        states, header, is_ = self._states, self._header, self._is
        expected = Signal(8)
        in_order, unknown, disordered, short, beside = (Signal(name=name) for name in (
            "in_order", "unknown", "disordered", "short", "beside"))
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

        m.d.sync += [       # in every cycle, and so known from CHECK on
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
        return disordered, unknown, [*wrong, short], beside

    def _admit(self, m: Module, busy: Value):
        """JUDGE, ADMIT, REFUSE, REST: whether the packet may be, and what happens if not."""
        states, is_, kind = self._states, self._is, self._kind
        refused = Signal()
        disordered, unknown, malformed, beside = self._read_header(m)

        with states.state("JUDGE"):
            m.d.sync += refused.eq(1)
            with m.If(self._fault != 0):    # the receiver has refused it already
                m.d.sync += self._told.eq(0)
            with m.Elif(disordered):
                m.d.sync += self._fault.eq(Fault.SEQUENCE)
            with m.Elif(unknown):
                m.d.sync += self._fault.eq(Fault.OPCODE)
            with m.Elif(Cat(malformed).any()):
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
            with m.Elif(self._ended & ~is_[Opcode.BEGIN] & ~is_[Opcode.INFO]):
                self._refuse(m, Fault.LIMIT)
            with m.Elif(may):
                states.branch({
                    "CONFIGURATION": is_[Opcode.BEGIN],
                    "SEAL": is_[Opcode.SEAL] | is_[Opcode.LIMIT],
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
        """BEGIN, which names configuration and network, SEAL, which names the network, LIMIT."""
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

        forget, seal, limit, limited = Signal(), Signal(), Signal(), Signal()
        word = states.at("SEAL") & self._took
        m.d.sync += [forget.eq(states.at("KNOWN") & configured & self._zero),
                     seal.eq(word & self._is[Opcode.SEAL]),
                     limit.eq(word & self._is[Opcode.LIMIT]), limited.eq(limit)]
        with m.If(forget):
            m.d.sync += [self._network.eq(0), self.limited.eq(0)]
        with m.If(seal):
            m.d.sync += self._network.eq(self._late)
        with m.If(limit):
            m.d.sync += self.limit.eq(self._late)
        with m.If(limited):     # a cycle later it is known whether the word was 0
            m.d.sync += self.limited.eq(~self._zero)

        with m.If(self.pass_ended):
            m.d.sync += self._ended.eq(1)
        with m.Elif(states.at("CONFIGURATION")):
            m.d.sync += self._ended.eq(0)

    def _answer(self, m: Module):
        """ERROR, REPORT, INFO and SPIKES: `Answers` sends them once the array is free."""
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
