"""The core: from the stream of a tape to the stream of its answers."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from .array import NeuronArray
from .collector import Collector
from .config import ArrayConfig
from .events import EventReader
from .executor import Executor
from .receiver import STREAM_WORD, Receiver
from .scan import Scanner
from .sender import Sender
from .sequencer import Sequencer
from .spikes import SpikeMemory
from .tape import COUNTERS, Answer
from .words import WordReader

__all__ = ["Core"]


class Core(wiring.Component):
    """A whole accelerator: tape in, answers out (see `rtl.tape`).

    Reset: synchronous, at any moment; the loaded network is forgotten.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        super().__init__({
            "i": In(stream.Signature(STREAM_WORD)),
            "o": Out(stream.Signature(STREAM_WORD)),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.receiver = receiver = Receiver(config)
        m.submodules.executor = executor = Executor(config)
        m.submodules.spike_memory = spikes = SpikeMemory(config)
        m.submodules.scanner = scanner = Scanner(config)
        m.submodules.words = words = WordReader(config)
        m.submodules.events = events = EventReader(config)
        m.submodules.sequencer = sequencer = Sequencer(config)
        m.submodules.array = array = NeuronArray(config)
        m.submodules.collector = collector = Collector(config)
        m.submodules.sender = sender = Sender()
        m.submodules.tap_words = tap_words = SyncFIFOBuffered(width=32, depth=2 * config.lanes + 2)

        # Both streams pass a short FIFO, so that no path goes through the core from port to port.
        m.submodules.tape_in = tape_in = SyncFIFOBuffered(
            width=STREAM_WORD.size, depth=3)
        m.submodules.answers_out = answers_out = SyncFIFO(width=STREAM_WORD.size, depth=2)
        m.d.comb += [
            tape_in.w_data.eq(self.i.payload),
            tape_in.w_en.eq(self.i.valid),
            self.i.ready.eq(tape_in.w_rdy),
            receiver.i.payload.eq(tape_in.r_data),
            receiver.i.valid.eq(tape_in.r_rdy),
            tape_in.r_en.eq(receiver.i.ready),
            answers_out.w_data.eq(sender.o.payload),
            answers_out.w_en.eq(sender.o.valid),
            sender.o.ready.eq(answers_out.w_rdy),
            self.o.payload.eq(answers_out.r_data),
            self.o.valid.eq(answers_out.r_rdy),
            answers_out.r_en.eq(self.o.ready),
        ]

        wiring.connect(m, receiver.o, executor.i)
        wiring.connect(m, scanner.runs, words.runs)
        wiring.connect(m, words.entries, events.entries)
        wiring.connect(m, events.events, sequencer.events)

        # A pass
        m.d.comb += [
            sequencer.start.eq(executor.start),
            sequencer.fields.eq(executor.fields),
            scanner.start.eq(executor.start),
            scanner.half.eq(executor.half),
            scanner.fields.eq(executor.fields),
            scanner.write.eq(executor.source_write),
            words.slots.eq(executor.fields.slots),
            words.word.eq(spikes.word),
            array.address.eq(sequencer.address),
            array.control.eq(sequencer.control),
            array.write.eq(executor.write),
            collector.start.eq(executor.start),
            collector.fields.eq(executor.fields),
            collector.valid.eq(array.spikes_valid),
        ]

        # Spike memory: the reader of a running pass goes before the executor's reads.
        m.d.comb += [
            spikes.address.eq(Mux(sequencer.busy, words.address, executor.spike_address)),
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

        # Taps leave as packets of one tile each, as soon as a tile is complete.
        tiles = Signal(2)       # complete tiles that wait for the sender
        tile_left = Signal(range(config.lanes + 1))
        tile_start, tile_end = Signal(), Signal()
        m.d.comb += [
            tap_words.w_data.eq(array.tap.word),
            tap_words.w_en.eq(array.tap.valid),
            sequencer.tap_done.eq(array.tap.valid & array.tap.last),
            sequencer.tap_room.eq(tap_words.level <= config.lanes + 2),
        ]
        with m.If(tile_left != 0):
            m.d.comb += [
                sender.words.payload.eq(tap_words.r_data),
                sender.words.valid.eq(tap_words.r_rdy),
                tap_words.r_en.eq(sender.words.ready),
                tile_end.eq((tile_left == 1) & sender.words.ready & sender.words.valid),
            ]
            m.d.sync += tile_left.eq(tile_left - (sender.words.ready & sender.words.valid))
        with m.Elif(tiles != 0):
            m.d.comb += [
                sender.packets.valid.eq(1),
                sender.packets.payload.opcode.eq(Answer.TAPS),
                sender.packets.payload.sequence.eq(executor.tag),
                sender.packets.payload.length.eq(config.lanes),
                tile_start.eq(sender.packets.ready),
            ]
            with m.If(sender.packets.ready):
                m.d.sync += tile_left.eq(config.lanes)
        with m.Else():
            wiring.connect(m, executor.packets, sender.packets)
            wiring.connect(m, executor.words, sender.words)
        m.d.sync += tiles.eq(tiles + sequencer.tap_done - tile_start)
        m.d.comb += [
            executor.pass_busy.eq(executor.start | sequencer.busy),
            executor.taps_busy.eq((tiles != 0) | (tile_left != 0)),
        ]

        # Counters
        strobes = {
            "cycles": C(1), "busy": sequencer.busy, "events": sequencer.count_event,
            "nulls": sequencer.count_null, "drains": sequencer.count_drain,
            "starved": sequencer.count_starved, "input_wait": executor.input_wait,
            "output_wait": sequencer.count_output_wait,
        }
        counters = Signal(data.ArrayLayout(32, len(COUNTERS)))
        m.d.comb += executor.counters.eq(counters)
        for counter, name in zip(iter(counters), COUNTERS, strict=True):
            with m.If(executor.counters_clear):
                m.d.sync += counter.eq(0)
            with m.Elif(~executor.counters_hold):
                m.d.sync += counter.eq(counter + strobes[name])
        return m
