"""Sequencer: turns the events of a pass into commands for the array, one a cycle."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .array import spike_latency, tap_latency
from .config import ArrayConfig
from .events import EventReader, event_layout
from .fields import PASS_LAYOUT
from .parameters import Parameters
from .scan import Scanner
from .signals import AddressKind, address_layout, control_layout
from .tape import Emit
from .weights import WeightMemory
from .words import WordReader

__all__ = ["Sequencer", "emitting_cycles", "read_latency", "scan_limit", "settle_cycles",
           "start_addresses"]


def read_latency() -> int:
    """Cycles from the start of a pass to its first event."""
    return Scanner.latency + 1 + WordReader.latency + EventReader.latency


def start_addresses(config: ArrayConfig) -> list[AddressKind]:
    """What a pass tells the groups before its first event, one a cycle."""
    return [AddressKind.NEURON, AddressKind.TILE,
            *([AddressKind.LINE] if config.taps else []),
            *([AddressKind.STATE] if config.state_words else [])]


def scan_limit(config: ArrayConfig) -> int:
    """Cycles of scans that may wait for the neurons when another one is sent."""
    return max(config.scan_queue - 2, 0) * config.scan_period


def settle_cycles(config: ArrayConfig) -> int:
    """Cycles from the end of the last scan's turn at the neurons until its spikes can be read."""
    return spike_latency(config) + 2 - config.scan_period


def emitting_cycles(config: ArrayConfig) -> int:
    """Cycles from a scan that emits taps, where none waits, to what follows it."""
    return tap_latency(config) + 2


class Sequencer(wiring.Component):
    """Events add up, outputs leave.

    With taps, the first event of every slot at a site also shifts the sums of that slot one bank
    on; where the sums that leave the last bank are an output, they are scanned by the neurons.
    Without, the banks *drain* when an output is complete: `rounds` times, every slot is shifted one
    bank on and scanned. Where the slots are bit planes, later time steps scan again without a
    shift.

    The scans wait for the neurons in queues, which take `scan_period` cycles for each; `backlog`
    says how many cycles' work is queued. A scan that emits taps waits for `tap_room` before and for
    `tap_done` after.

    start: begin a pass; `fields` must stay until `busy` falls. The `count_*` strobes divide the
    busy cycles into events, nulls (a slot without spikes starts), drains (waiting for neurons, and
    scans that are not part of an event) and starved ones (no event is there); `count_output_wait`
    marks those in which there was no room for taps.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        self.settle = settle_cycles(config)
        super().__init__({
            "start": In(1),
            "fields": In(PASS_LAYOUT),
            "busy": Out(1),
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
        assert read_latency() + WeightMemory.latency >= Parameters.load_cycles, \
            "neuron words are loaded while the first events are on their way"
        place, event_null = self.events.payload.place, self.events.payload.null
        how = self.control.how
        m.d.sync += [self.address.kind.eq(AddressKind.NONE), self.control.eq(0)]

        # The scan that may be sent now: of the event's slot, or number `scan` of a drain.
        draining = Signal()
        scan, number = Signal(range(2 * 16)), Signal(range(2 * 16))
        round_ = Signal(range(16))
        shifting, steps, last_scan, emits = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            number.eq(Mux(draining, scan, place.slot)),
            shifting.eq(number <= fields.slots),
            steps.eq(~fields.planes | (number >= fields.slots)),
            last_scan.eq(number == fields.slots + Mux(fields.planes, fields.steps, 0)),
            emits.eq(Mux(fields.emit == Emit.MEMBRANES, steps,
                         (fields.emit == Emit.LOGITS) & last_scan)),
        ]

        limit, period = scan_limit(config), config.scan_period
        backlog = Signal(range(limit + period + 1))
        send, room = Signal(), Signal()
        passed = backlog - (backlog != 0)
        m.d.comb += room.eq((backlog <= limit) & (~emits | self.tap_room))
        m.d.sync += backlog.eq(passed + Mux(send, period, 0))
        with m.If(send):
            m.d.sync += [
                self.control.scan.eq(1),
                how.keep.eq(fields.planes & (number != 0)),
                how.replay.eq(~shifting),
                how.step.eq(steps),
                how.begin.eq(number == Mux(fields.planes, fields.slots, 0)),
                how.load.eq(fields.load),
                how.advance.eq(last_scan),
                how.rewind.eq(round_ == fields.rounds),
                how.store.eq(fields.store),
                how.emit.eq(emits),
            ]

        final = Signal()        # the site is the pass's last
        more, done = Signal(), Signal()     # after the taps: go on draining; the pass is over
        wait = Signal(range(self.settle + 1))

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [scan.eq(0), round_.eq(0), wait.eq(self.settle - 1)]
                with m.If(self.start):
                    m.d.sync += self.busy.eq(1)
                    m.next = "NEURON"

            values = {AddressKind.NEURON: fields.parameters, AddressKind.TILE: fields.tile,
                      AddressKind.LINE: Mux(fields.taps, fields.line, 0),
                      AddressKind.STATE: fields.state}
            kinds = start_addresses(config)
            for kind, following in zip(kinds, [*(kind.name for kind in kinds[1:]), "EVENTS"],
                                       strict=True):
                with m.State(kind.name):
                    m.d.sync += [self.address.kind.eq(kind), self.address.address.eq(values[kind])]
                    m.d.comb += self.count_starved.eq(1)
                    m.next = following

            with m.State("EVENTS"):
                leaves = fields.taps & place.first & place.emit
                m.d.comb += self.events.ready.eq(~leaves | room)
                m.d.sync += [
                    self.address.address.eq(place.row),
                    self.control.slot.eq(place.slot),
                    self.control.own.eq(~place.first | fields.own),
                    self.control.top.eq(place.top),
                ]
                with m.If(~self.events.valid):
                    m.d.comb += self.count_starved.eq(1)
                with m.Elif(~self.events.ready):
                    m.d.comb += [self.count_drain.eq(1),
                                 self.count_output_wait.eq(emits & ~self.tap_room)]
                with m.Elif(place.end):
                    m.d.comb += self.count_starved.eq(1)
                    m.d.sync += final.eq(place.final)
                    with m.If(~fields.drain):
                        m.d.sync += self.busy.eq(0)
                        m.next = "IDLE"
                    with m.Elif(fields.taps):
                        m.next = "SETTLE"
                    with m.Else():
                        m.d.sync += draining.eq(1)
                        m.next = "DRAIN"
                with m.Else():
                    m.d.comb += [self.count_event.eq(~event_null), self.count_null.eq(event_null),
                                 send.eq(leaves)]
                    m.d.sync += [
                        self.control.write.eq(1),
                        self.control.shift.eq(fields.taps & place.first & ~place.clear),
                    ]
                    with m.If(~event_null):
                        m.d.sync += self.address.kind.eq(Mux(place.wide, AddressKind.WIDE,
                                                             AddressKind.ROW))
                    again = fields.planes & (place.slot == fields.slots) & (fields.steps != 0)
                    with m.If(leaves):
                        m.d.sync += [more.eq(again), done.eq(0)]
                        with m.If(again):
                            m.d.sync += [draining.eq(1), scan.eq(place.slot + 1)]
                            m.next = "DRAIN"
                        with m.If(emits):
                            m.next = "TAPS"

            with m.State("DRAIN"):
                m.d.comb += self.count_drain.eq(1)
                over = last_scan & (fields.taps | (round_ == fields.rounds))
                with m.If(room):
                    m.d.comb += send.eq(1)
                    m.d.sync += [
                        self.control.write.eq(shifting),
                        self.control.shift.eq(shifting),
                        self.control.slot.eq(scan),
                        scan.eq(scan + 1),
                        more.eq(~over),
                        done.eq(over & final & ~fields.taps),
                    ]
                    with m.If(last_scan):
                        m.d.sync += [scan.eq(0), round_.eq(round_ + 1)]
                    with m.If(over):
                        m.d.sync += [round_.eq(0), draining.eq(0)]
                        m.next = "EVENTS"
                        with m.If(final & ~fields.taps):
                            m.next = "SETTLE"
                    with m.If(emits):
                        m.next = "TAPS"
                with m.Else():
                    m.d.comb += self.count_output_wait.eq(emits & ~self.tap_room)

            with m.State("TAPS"):
                m.d.comb += self.count_drain.eq(1)
                with m.If(self.tap_done):
                    m.next = "EVENTS"
                    with m.If(more):
                        m.next = "DRAIN"
                    with m.If(done):
                        m.d.sync += self.busy.eq(0)
                        m.next = "IDLE"

            with m.State("SETTLE"):
                m.d.comb += self.count_drain.eq(1)
                with m.If(backlog == 0):
                    m.d.sync += wait.eq(wait - 1)
                with m.If(wait == 0):
                    m.d.sync += self.busy.eq(0)
                    m.next = "IDLE"
        return m
