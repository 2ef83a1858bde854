"""Sequencer: turns the events of a pass into commands for the array, one a cycle."""

import operator
from collections.abc import Callable
from functools import reduce

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.chain import spike_latency, probe_latency
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fetch.event_encoder import EventEncoder, event_layout
from quadfire.rtl.lib.tape_layouts import PASS_LAYOUT
from quadfire.rtl.lib.onehot_fsm import OneHotFsm
from quadfire.rtl.neuron.parameters import Parameters
from quadfire.rtl.fetch.raster import Raster
from quadfire.rtl.lib.chain_layouts import (
    LANE_READOUT, STROBES, AddressKind, address_layout, control_layout, registered,
)
from quadfire.rtl.contract.tape import PASS, Emit
from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.fetch.word_reader import WordReader

__all__ = ["DRAIN_INTERVAL", "Sequencer", "backlog_limit", "command_queue_depth",
           "first_event_latency", "probe_cycles", "settle_cycles", "start_addresses"]

#: Cycles from a scan of a drain to the next one at least.
DRAIN_INTERVAL = 2


def first_event_latency(config: ArrayConfig) -> int:
    """Cycles from the start of a pass until its first event can be sent."""
    return (Raster.latency_of(config) + WordReader.latency_of(config)
            + EventEncoder.latency_of(config) + 1)


def start_addresses(config: ArrayConfig) -> list[AddressKind]:
    """What a pass tells the groups before its first event, one a cycle."""
    return [AddressKind.NEURON, AddressKind.TILE,
            *([AddressKind.LINE] if config.kernel_taps else []),
            *([AddressKind.STATE] if config.state_words else [])]


def command_queue_depth(config: ArrayConfig) -> int:
    """Commands that can wait to be sent."""
    return 2 if config.pipelined else 1


def backlog_limit(config: ArrayConfig) -> int:
    """Cycles of scans that may wait for the neurons when another one is sent."""
    return max(config.readout_queue - 2, 0) * config.readout_period


def settle_cycles(config: ArrayConfig) -> int:
    """Cycles from the end of the last scan's turn at the neurons until its spikes can be read.

    Where states are forwarded that turn can come a cycle later than `backlog` says (`quadfire.rtl.neuron.input_current`).
    """
    return spike_latency(config) + 2 + config.forwards - config.readout_period


def probe_cycles(config: ArrayConfig) -> int:
    """Cycles from a scan that emits taps, where none waits, to what follows it."""
    return probe_latency(config) + 3


def command_layout(config: ArrayConfig) -> data.StructLayout:
    """What the sequencer sends next."""
    return data.StructLayout({
        "address": address_layout(config),
        "control": control_layout(config),      # with `write` and `scan` for a command at all
        "drain": 1,     # a scan that is not part of an event
        "end": 1,       # nothing: an output is complete
        "over": 1,      # the last of the pass
    })


class Sequencer(wiring.Component):
    """Events add up, outputs leave.

    With taps, the first event of every slot at a site also shifts the sums of that slot one bank
    on; where the sums that leave the last bank are an output, they are scanned by the neurons.
    Without taps, the banks *drain* when an output is complete: `rounds` times, every slot is
    shifted one bank on and scanned. Where the slots are bit planes, later time steps scan again
    without a shift. Events that go on with sums that are not under way, those of another slot or of
    the pass before, come after a command that loads them (see `quadfire.rtl.array.cell`), which counts as a null.

    Commands are made ahead, one a cycle: of events, and after some of them of the scans of a drain.
    `command_queue_depth` can wait to be sent. A scan waits for room in the queue of the neurons,
    which take `readout_period` cycles for each; `backlog` says how many cycles' work is queued. A scan that
    emits taps waits for `tap_room` before and for `tap_done` after.

    start: begin a pass; `fields` must stay until `busy` falls. The `count_*` strobes divide the
    busy cycles into events, nulls (a slot without spikes starts), drains (waiting for neurons, and
    scans that are not part of an event) and starved ones (no event is there); `count_output_wait`
    marks those in which there was no room for taps.

    Latency: 2 cycles from an event to its command. II: 1.
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
        until_sums = first_event_latency(config) + WeightMemory.latency_of(config)
        assert until_sums >= Parameters.load_cycles, \
            "neuron words are loaded while the first events are on their way"
        taps = fields.taps if config.kernel_taps else C(0, 1)
        command = command_layout(config)

        # Commands are made.
        ahead, made, space = Signal(command), Signal(), Signal()
        self._make(m, ahead, made, space, taps)

        # Two of them wait, so that nobody is asked whether there is space; one where the clock is
        # slow. Where no command is at the head its strobes are down: so it moves on unless it is
        # held up, be it there or not.
        names = sorted(STROBES & set(control_layout(config).members))
        head, head_valid, go = Signal(command, reset_less=True), Signal(), Signal()
        strobes = Signal(data.StructLayout({**dict.fromkeys(names, 1), "kind": AddressKind}))
        move, held, blocked = Signal(), Signal(), Signal()
        coming, comes = Signal(command), Signal()       # the next head; there is one
        if command_queue_depth(config) == 1:
            m.d.comb += [space.eq(move), coming.eq(ahead), comes.eq(made)]
        else:
            second, second_valid = Signal(command, reset_less=True), Signal()
            m.d.comb += [space.eq(~second_valid), coming.eq(Mux(second_valid, second, ahead)),
                         comes.eq(second_valid | made)]
            with m.If(space):
                m.d.sync += second.eq(ahead)
            with m.If(move):
                m.d.sync += second_valid.eq(0)
            with m.Elif(space):
                m.d.sync += second_valid.eq(made)
        m.d.comb += move.eq(~held & ~blocked)
        with m.If(move):
            m.d.sync += [head.eq(coming), head_valid.eq(comes), strobes.eq(0)]
            with m.If(comes):
                m.d.sync += [strobes.kind.eq(coming.address.kind),
                             *(strobes[name].eq(coming.control[name]) for name in names)]

        # They are sent.
        limit, period = backlog_limit(config), config.readout_period
        backlog = Signal(range(limit + period + 1))
        few = Signal(init=1)                # not more than `limit`
        tap_room, tap_done = Signal(), Signal()
        scan, emits = strobes.scan, head.control.how.emit
        send = Signal()
        m.d.comb += [blocked.eq(scan & ~(few & (~emits | tap_room))), send.eq(move & scan)]
        m.d.sync += [
            tap_room.eq(self.tap_room),
            tap_done.eq(self.tap_done),
            backlog.eq(Mux(send, Mux(backlog == 0, period, backlog + (period - 1)),
                           Mux(backlog == 0, 0, backlog - 1))),
            few.eq(Mux(send, backlog <= limit - period + 1, backlog <= limit + 1)),
        ]
        wait, rested = Signal(range(self.settle + 1)), Signal()
        m.d.sync += rested.eq(wait == 0)
        over = Signal()
        # Without a strobe the rest means nothing.
        address, control = Signal(address_layout(config)), Signal(control_layout(config))
        m.d.comb += [
            control.eq(head.control),
            *(control[name].eq(move & strobes[name]) for name in names),
            self.address.eq(registered(m, address, "sent_address")),
            self.control.eq(registered(m, control, "sent_control")),
        ]

        kinds = start_addresses(config)
        states = OneHotFsm(
            m, ["IDLE", *(kind.name for kind in kinds), "COMMANDS", "TAPS", "SETTLE"])
        m.d.comb += self.busy.eq(~states.at("IDLE"))
        with states.state("IDLE"):
            m.d.sync += wait.eq(self.settle - 2)
            with m.If(self.start):
                states.next = "NEURON"

        values = {AddressKind.NEURON: fields.parameters, AddressKind.TILE: fields.tile,
                  AddressKind.LINE: Mux(fields.taps, fields.line, 0),
                  AddressKind.STATE: fields.state}
        for kind, following in zip(kinds, [*(kind.name for kind in kinds[1:]), "COMMANDS"],
                                   strict=True):
            with states.state(kind.name):
                m.d.comb += self.count_starved.eq(1)
                states.next = following

        def told(what: Callable[[AddressKind], ValueLike]) -> Value:
            """Of what a pass tells the groups before its first event."""
            return reduce(operator.or_, (Mux(states.at(kind.name), what(kind), 0)
                                         for kind in kinds))

        m.d.comb += [
            address.kind.eq(told(lambda kind: kind) | Mux(move, strobes.kind, 0)),
            address.address.eq(Mux(states.at("COMMANDS"), head.address.address,
                                   told(values.__getitem__))),
        ]

        with states.state("COMMANDS"):
            m.d.sync += over.eq(head.over)
            with m.If(~head_valid):
                m.d.comb += self.count_starved.eq(1)
            with m.Elif(blocked):
                m.d.comb += [self.count_drain.eq(1),
                             self.count_output_wait.eq(emits & ~tap_room)]
            with m.Else():
                m.d.comb += [
                    go.eq(1),
                    self.count_starved.eq(head.end),
                    self.count_drain.eq(head.drain),
                    self.count_event.eq(strobes.kind != AddressKind.NONE),
                    self.count_null.eq(~head.end & ~head.drain
                                       & (strobes.kind == AddressKind.NONE)),
                ]
                with m.If(scan & emits):
                    states.next = "TAPS"
                with m.Elif(head.over):
                    states.next = "SETTLE"
                    with m.If(~fields.drain):
                        states.next = "IDLE"

        with states.state("TAPS"):
            m.d.comb += self.count_drain.eq(1)
            with m.If(tap_done):
                states.next = "COMMANDS"
                with m.If(over):
                    states.next = "IDLE"

        with states.state("SETTLE"):
            m.d.comb += self.count_drain.eq(1)
            with m.If(backlog == 0):
                m.d.sync += wait.eq(wait - 1)
            with m.If(rested):
                states.next = "IDLE"
        m.d.sync += held.eq(Mux(move, comes, head_valid) & ~states.after("COMMANDS"))
        states.finish()
        return m

    def _make(self, m: Module, ahead, made: Signal, space: Signal, taps: Value):
        """The command `ahead`, of the event that is there or of a drain, where it is `made`."""
        fields = self.fields
        event, place = self.events.payload, self.events.payload.place
        control, how = ahead.control, ahead.control.how

        draining = Signal()

        # The sum of another slot, or of the pass before, is loaded first, but not behind a shift.
        fetch, shifted = C(0, 1), Signal(reset_less=True)
        if self.config.running_sums:
            fetch, loaded = Signal(), Signal()
            m.d.comb += fetch.eq(event.load & ~loaded & ~draining)
            with m.If(made):
                m.d.sync += [shifted.eq(Mux(draining, ~how.replay, taps & place.first & ~fetch)),
                             loaded.eq(fetch & ~shifted)]
            with m.If(~self.busy):
                m.d.sync += shifted.eq(0)

        # A drain goes through the scans of `rounds`, or after taps through the later steps of one.
        # What a scan does is known a cycle after its number, so that it takes two cycles to make.
        known, final = Signal(), Signal()
        # A scan's number is its slot, or after all slots that of a later time step.
        scan, round_ = Signal(PASS["slots"] + 1), Signal(PASS["rounds"])
        last = Signal(PASS["slots"] + 1)        # of the scans of an output
        rewind, ends, last_round = Signal(), Signal(), Signal()
        drain, tapped = Signal(LANE_READOUT), Signal(LANE_READOUT)  # scans of a drain, of an event
        single = Signal()                   # the last slot's scan is an output's last
        m.d.sync += [
            known.eq(draining & ~made),
            last.eq(fields.slots + Mux(fields.planes, fields.steps, 0)),
            single.eq(~fields.planes | (fields.steps == 0)),
            rewind.eq(round_ == fields.rounds),
            ends.eq((round_ == fields.rounds) & final & ~taps),     # with this round ends the pass
            drain.keep.eq(fields.planes & (scan != last)),
            drain.replay.eq(scan > fields.slots),
            drain.step.eq(~fields.planes | (scan >= fields.slots)),
            drain.begin.eq(scan == Mux(fields.planes, fields.slots, 0)),
            drain.advance.eq(scan == last),
        ]
        m.d.comb += [
            tapped.keep.eq(fields.planes & ~(place.last & single)),
            tapped.step.eq(~fields.planes | place.last),
            tapped.begin.eq(Mux(fields.planes, place.last, place.zeroth)),
            tapped.advance.eq(place.last & single),
            last_round.eq(taps | rewind),
            made.eq(space & Mux(draining, known, self.events.valid)),
            self.events.ready.eq(space & ~draining & ~fetch),

            how.eq(Mux(draining, drain, tapped)),
            how.load.eq(fields.load),
            how.rewind.eq(rewind),
            how.store.eq(fields.store),
            how.emit.eq(Mux(fields.emit == Emit.MEMBRANES, how.step,
                            (fields.emit == Emit.LOGITS) & how.advance)),
            control.slot.eq(Mux(draining, scan, place.slot)),
            # an event that is the end of an output scans nothing
            control.scan.eq(draining | (event.scan & ~fetch)),
            ahead.drain.eq(draining),
            ahead.address.address.eq(place.row),
        ]
        with m.If(draining):
            m.d.comb += [
                control.write.eq(~how.replay),
                control.shift.eq(~how.replay),
                control.fresh.eq(~how.replay),
                ahead.over.eq(drain.advance & ends),
            ]
            with m.If(made):
                m.d.sync += scan.eq(scan + 1)
                with m.If(drain.advance):
                    m.d.sync += [scan.eq(0), round_.eq(round_ + 1)]
                    with m.If(last_round):
                        m.d.sync += [round_.eq(0), draining.eq(0)]
        if self.config.running_sums:
            with m.Elif(fetch):
                m.d.comb += [control.load.eq(~shifted), control.fresh.eq(~shifted)]
        with m.Elif(place.end):
            m.d.comb += [ahead.end.eq(1), ahead.over.eq(~fields.drain | taps)]
            with m.If(made):
                m.d.sync += [draining.eq(fields.drain & ~taps), final.eq(place.final), scan.eq(0)]
        with m.Else():
            m.d.comb += [
                control.write.eq(1),
                control.fresh.eq(event.fresh),
                control.top.eq(place.top),
                control.shift.eq(event.shift),
            ]
            with m.If(~event.null):
                m.d.comb += ahead.address.kind.eq(Mux(place.wide, AddressKind.WIDE,
                                                      AddressKind.ROW))
            with m.If(made & event.scan & place.last & ~single):
                m.d.sync += [draining.eq(1), scan.eq(place.slot + 1)]
