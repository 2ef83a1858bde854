"""The core: from the stream of a tape to the stream of its answers."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.chain import NeuronArray
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import COUNTERS, Answer
from quadfire.rtl.control.counters import Counters
from quadfire.rtl.control.executor import Executor
from quadfire.rtl.control.packet_receiver import PACKET_WORD, STREAM_WORD, PacketReceiver
from quadfire.rtl.control.packet_sender import PacketSender
from quadfire.rtl.control.pass_limit import PassLimit
from quadfire.rtl.control.sequencer import Sequencer
from quadfire.rtl.fetch.event_encoder import EventEncoder
from quadfire.rtl.fetch.raster import Raster
from quadfire.rtl.fetch.spike_memory import SpikeMemory
from quadfire.rtl.fetch.spike_writer import SpikeWriter
from quadfire.rtl.fetch.word_reader import WordReader
from quadfire.rtl.lib.skid import Skid
from quadfire.rtl.lib.stream_memory import StreamMemory
from quadfire.rtl.lib.tape_layouts import HEADER_LAYOUT

__all__ = ["Core"]


class Core(wiring.Component):
    """A whole accelerator: tape in, answers out (see `quadfire.rtl.contract.tape`).

    | port | meaning |
    |---|---|
    | `i` | words of the tape, `last` at the end of a packet |
    | `o` | words of the answers, likewise |

    skid: `o` comes from registers, and no path leads from `o.ready` into the core. A sink that
    takes a word now and then, as a UART does, needs no skid.

    Latency: that of its blocks; `quadfire.sim.cycles` predicts a pass to the cycle. Reset:
    synchronous, at any moment; the loaded network is forgotten.
    """

    def __init__(self, config: ArrayConfig, *, skid: bool = True):
        self.config, self.skid = config, skid
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(STREAM_WORD)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.receiver = receiver = PacketReceiver(config)
        m.submodules.executor = executor = Executor(config)
        m.submodules.spike_memory = spikes = SpikeMemory(config)
        m.submodules.pass_limit = limit = PassLimit(config)
        scanner, words, events, sequencer = (
            Raster(config), WordReader(config), EventEncoder(config), Sequencer(config))
        for name, block in (("scanner", scanner), ("words", words), ("events", events),
                            ("sequencer", sequencer)):
            m.submodules[name] = ResetInserter(limit.end)(block)
        m.submodules.array = array = NeuronArray(config)
        m.submodules.collector = collector = SpikeWriter(config)
        m.submodules.sender = sender = PacketSender(serial=not config.pipelined)
        m.submodules.counters = counters = Counters(registered=bool(config.pipelined))

        # Both streams end at registers: the receiver's, and a skid.
        wiring.connect(m, wiring.flipped(self.i), receiver.i)
        if self.skid:
            m.submodules.answers_out = answers_out = Skid(STREAM_WORD)
            wiring.connect(m, sender.o, answers_out.i)
            wiring.connect(m, answers_out.o, wiring.flipped(self.o))
        else:
            wiring.connect(m, sender.o, wiring.flipped(self.o))
        taken = receiver.o
        if config.pipelined:    # no path from the executor's `ready` into the receiver
            m.submodules.executor_in = executor_in = Skid(PACKET_WORD)
            wiring.connect(m, receiver.o, executor_in.i)
            taken = executor_in.o
        wiring.connect(m, taken, executor.i)
        wiring.connect(m, scanner.runs, words.runs)
        wiring.connect(m, words.entries, events.entries)
        wiring.connect(m, events.events, sequencer.events)

        # A pass. One that was ended at its limit is busy until the array has settled.
        busy = Signal()
        m.d.comb += [
            busy.eq(sequencer.busy | limit.settling),
            limit.limited.eq(executor.limited),
            limit.limit.eq(executor.limit),
            limit.start.eq(executor.start),
            limit.busy.eq(sequencer.busy),
            executor.pass_ended.eq(limit.end),
            array.clear.eq(limit.clear),
            sequencer.start.eq(executor.start),
            sequencer.fields.eq(executor.fields),
            scanner.start.eq(executor.start),
            scanner.half.eq(executor.half),
            scanner.fields.eq(executor.fields),
            scanner.write.eq(executor.source_write),
            words.slots.eq(executor.fields.slots),
            events.own.eq(executor.fields.own),
            words.word.eq(spikes.word),
            array.address.eq(sequencer.address),
            array.control.eq(sequencer.control),
            array.write.eq(executor.write),
            collector.busy.eq(busy),
            collector.fields.eq(executor.fields),
            collector.valid.eq(array.spikes_valid),
        ]

        # Spike memory: a running pass reads it, else the executor.
        m.d.comb += [
            spikes.address.eq(Mux(busy, words.address, executor.spike_address)),
            spikes.move.eq(words.move),
            spikes.tile_coming.eq(array.spikes_coming),
            spikes.tile_write.eq(array.spikes_valid),
            spikes.tile_address.eq(collector.address),
            spikes.tile_column.eq(collector.column),
            spikes.tile.eq(array.spikes),
            spikes.host_write.eq(executor.spike_write),
            spikes.host_address.eq(executor.spike_address),
            spikes.host_part.eq(executor.spike_part),
            spikes.host_word.eq(executor.spike_data),
            executor.spike_ready.eq(spikes.host_ready),
            executor.spike_word.eq(spikes.word),
        ]

        self._answers(m, executor, sender, array.tap, sequencer)
        m.d.comb += executor.pass_busy.eq(executor.start | busy)

        strobes = {
            "cycles": C(1), "busy": sequencer.busy, "events": sequencer.count_event,
            "nulls": sequencer.count_null, "drains": sequencer.count_drain,
            "starved": sequencer.count_starved, "input_wait": executor.input_wait,
            "output_wait": sequencer.count_output_wait,
        }
        m.d.comb += [
            counters.strobes.eq(Cat(strobes[name] for name in COUNTERS)),
            counters.hold.eq(executor.counters_hold),
            counters.clear.eq(executor.counters_clear),
            executor.counter.eq(counters.word),
            executor.counter_turn.eq(counters.turn),
            executor.counters_settled.eq(counters.settled),
        ]
        return m

    def _answers(self, m: Module, executor: Executor, sender: PacketSender, tap,
                 sequencer: Sequencer):
        """Probe words leave as packets of one tile each, as soon as a tile is complete.

        Signals `tap...` are about probe words.

        The executor answers, and starts a pass, only when no pass runs and neither a tile nor an
        answer waits for the sender. So packets leave in order, each whole, however slow the host.
        """
        lanes = self.config.lanes
        m.submodules.tap_words = tap_words = StreamMemory(
            {"word": 32}, max(4 * lanes, 16), registered=bool(self.config.pipelined))
        written, level = Signal.like(tap_words.valid), Signal.like(tap_words.valid)
        tiles = Signal(3)       # complete tiles that wait for the sender, or are being sent
        words, sent = Signal(), Signal(range(max(lanes, 2)))    # the header has left; words of it
        header = Signal(HEADER_LAYOUT)
        answers = executor.answers
        if self.config.pipelined:   # no path from the sender's `ready` into the executor
            m.submodules.executor_out = out = Skid(STREAM_WORD)
            wiring.connect(m, executor.answers, out.i)
            answers = out.o
        taps, leaves, tile_end = Signal(), Signal(), Signal()
        answering, answer_end = Signal(), Signal()      # an answer is not all with the sender
        # two cycles late: the last words of a tile may have come in since
        m.d.sync += [level.eq(written - tap_words.place), written.eq(written + tap.valid),
                     sequencer.tap_room.eq(level < 2 * lanes)]
        m.d.comb += [
            tap_words.write.word.en.eq(tap.valid),
            tap_words.write.word.place.eq(written[:-1]),
            tap_words.write.word.data.eq(tap.word),
            tap_words.valid.eq(written),
            sequencer.tap_done.eq(tap.valid & tap.last),
            header.opcode.eq(Answer.PROBE),
            header.sequence.eq(executor.tag),
            header.length.eq(lanes),
            executor.sender_busy.eq(taps | answering),
            leaves.eq(sender.i.ready & taps & (~words | tap_words.o.valid)),
            tap_words.o.ready.eq(sender.i.ready & words),
            answers.ready.eq(sender.i.ready & ~taps),
            sender.i.valid.eq(Mux(taps, ~words | tap_words.o.valid, answers.valid)),
            sender.i.payload.data.eq(Mux(words, tap_words.o.payload.word, Mux(
                taps, header.as_value(), answers.payload.data))),
            sender.i.payload.last.eq(Mux(taps, words & (sent == lanes - 1), answers.payload.last)),
            tile_end.eq(leaves & sender.i.payload.last),
            answer_end.eq(answers.ready & answers.valid & answers.payload.last),
        ]
        with m.If(leaves):
            m.d.sync += [words.eq(~tile_end), sent.eq(Mux(words, sent + 1, 0))]
        next_tiles = Signal.like(tiles)
        m.d.comb += next_tiles.eq(tiles + sequencer.tap_done - tile_end)
        m.d.sync += [tiles.eq(next_tiles), taps.eq(next_tiles != 0),
                     answering.eq((answering | executor.answers.valid) & ~answer_end)]
