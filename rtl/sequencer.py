"""Sequencer: runs one pass, events first, then the drain of the banks through the neurons."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .array import spike_latency, tap_latency
from .config import ArrayConfig
from .events import EventReader, event_layout, map_layout
from .fields import PASS_LAYOUT
from .parameters import Parameters
from .signals import AddressKind, address_layout, control_layout
from .tape import Emit
from .weights import WeightMemory

__all__ = ["Sequencer", "emitting_cycles", "settle_cycles"]


def settle_cycles(config: ArrayConfig) -> int:
    """Cycles from the last scan of a pass until its spikes can be read."""
    return spike_latency(config) + 2


def emitting_cycles(config: ArrayConfig) -> int:
    """Cycles from a scan that emits taps to the next scan, or to the end of the pass."""
    return tap_latency(config) + 2


class Sequencer(wiring.Component):
    """Turns a PASS into commands for the array.

    Events: every event of the input map adds a row of weights, one a cycle. Drain: `rounds` times,
    every slot is shifted one bank on and the last bank's sums are scanned by the neurons; where the
    slots are bit planes, later time steps scan again without a shift.

    start: begin a pass; `fields` must stay until `busy` falls. Scans come `config.scan_period`
    cycles apart; one that emits taps waits for `tap_room` before and for `tap_done` after. The
    `count_*` strobes divide the busy cycles into events, nulls, drain and starved ones;
    `count_output_wait` marks those drain cycles in which there was no room for taps.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.settle = settle_cycles(config)
        super().__init__({
            "start": In(1),
            "fields": In(PASS_LAYOUT),
            "busy": Out(1),
            "read": Out(1),
            "map": Out(map_layout(config)),
            "reading": In(1),
            "events": In(stream.Signature(event_layout(config))),
            "tap_room": In(1),
            "tap_done": In(1),
            "address": Out(address_layout(config)),
            "control": Out(control_layout(config)),
            "count_event": Out(1),
            "count_null": Out(1),
            "count_drain": Out(1),
            "count_starved": Out(1),
            "count_output_wait": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config, fields = self.config, self.fields
        assert EventReader.latency + WeightMemory.latency >= Parameters.load_cycles, \
            "neuron words are loaded while the first events are on their way"
        m.d.comb += [
            self.read.eq(self.start),
            self.map.base.eq(fields.input_base),
            self.map.stride.eq(fields.input_stride),
            self.map.words.eq(fields.words),
            self.map.slots.eq(fields.slots),
            self.map.row.eq(fields.row),
        ]
        event = self.events.payload
        m.d.sync += [self.address.kind.eq(AddressKind.NONE), self.control.eq(0)]

        scan = Signal(range(2 * 16))        # of this round: the slots, then the repeated time steps
        step = Signal(4)                    # time step that the scan makes
        round_ = Signal(8)
        wait = Signal(range(max(config.scan_period, self.settle) + 1))
        how = self.control.how
        shifting, steps, final, last_scan = Signal(), Signal(), Signal(), Signal()
        emits = Signal()
        m.d.comb += [
            shifting.eq(scan <= fields.slots),
            steps.eq(~fields.planes | (scan >= fields.slots)),
            last_scan.eq(scan == Mux(fields.planes, fields.slots + fields.steps, fields.slots)),
            final.eq(last_scan),
            emits.eq(Mux(fields.emit == Emit.MEMBRANES, steps,
                         (fields.emit == Emit.LOGITS) & final)),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [scan.eq(0), step.eq(0), round_.eq(0), wait.eq(0)]
                with m.If(self.start):
                    m.d.sync += self.busy.eq(1)
                    m.next = "NEURON"

            with m.State("NEURON"):
                with m.If(fields.drain):
                    m.d.sync += [self.address.kind.eq(AddressKind.NEURON),
                                 self.address.address.eq(fields.parameters)]
                m.d.comb += self.count_starved.eq(1)
                m.next = "TILE"

            with m.State("TILE"):
                with m.If(fields.drain):
                    m.d.sync += [self.address.kind.eq(AddressKind.TILE),
                                 self.address.address.eq(fields.tile)]
                m.d.comb += self.count_starved.eq(1)
                m.next = "EVENTS"

            with m.State("EVENTS"):
                m.d.comb += self.events.ready.eq(1)
                m.d.sync += [
                    self.address.address.eq(event.row),
                    self.control.slot.eq(event.slot),
                    self.control.own.eq(~event.first | fields.own),
                ]
                with m.If(self.events.valid):
                    m.d.comb += [self.count_event.eq(~event.null), self.count_null.eq(event.null)]
                    m.d.sync += self.control.write.eq(1)
                    with m.If(~event.null):
                        m.d.sync += self.address.kind.eq(AddressKind.ROW)
                with m.Else():
                    m.d.comb += self.count_starved.eq(1)
                    with m.If(~self.reading):
                        m.d.sync += self.busy.eq(fields.drain)
                        m.next = "IDLE"
                        with m.If(fields.drain):
                            m.next = "DRAIN"

            with m.State("DRAIN"):
                m.d.comb += self.count_drain.eq(1)
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.Elif(emits & ~self.tap_room):
                    m.d.comb += self.count_output_wait.eq(1)
                with m.Else():
                    m.d.sync += [
                        self.control.write.eq(shifting),
                        self.control.shift.eq(shifting),
                        self.control.slot.eq(scan),
                        self.control.scan.eq(1),
                        how.keep.eq(fields.planes & (scan != 0)),
                        how.replay.eq(~shifting),
                        how.step.eq(steps),
                        how.begin.eq(step == 0),
                        how.advance.eq(final),
                        how.emit.eq(emits),
                        step.eq(step + steps),
                        scan.eq(scan + 1),
                        wait.eq(config.scan_period - 1),
                    ]
                    with m.If(last_scan):
                        m.d.sync += [scan.eq(0), step.eq(0), round_.eq(round_ + 1)]
                    with m.If(emits):
                        m.next = "TAPS"
                    with m.Elif(last_scan & (round_ == fields.rounds)):
                        m.d.sync += wait.eq(self.settle - 1)
                        m.next = "SETTLE"

            with m.State("TAPS"):
                m.d.comb += self.count_drain.eq(1)
                m.d.sync += wait.eq(0)
                with m.If(self.tap_done):
                    m.next = "DRAIN"
                    with m.If(round_ > fields.rounds):
                        m.d.sync += self.busy.eq(0)
                        m.next = "IDLE"

            with m.State("SETTLE"):
                m.d.comb += self.count_drain.eq(1)
                m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        return m
