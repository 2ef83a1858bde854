"""Sequencer: turns the events of a pass into commands for the array, one a cycle."""

import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, NamedTuple

from amaranth import *
from amaranth.hdl import ValueLike
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quadfire.rtl.array.weight_memory import WeightMemory
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS, Emit
from quadfire.rtl.control.pass_timing import (
    backlog_limit,
    command_queue_depth,
    first_event_latency,
    settle_cycles,
    start_addresses,
)
from quadfire.rtl.fetch.event_encoder import event_layout
from quadfire.rtl.lib.chain_layouts import LANE_READOUT, AddressKind, address_layout, control_layout
from quadfire.rtl.lib.onehot_fsm import OneHotFsm
from quadfire.rtl.lib.strobes import registered
from quadfire.rtl.lib.tape_layouts import PASS_LAYOUT
from quadfire.rtl.neuron.parameters import Parameters

__all__ = ["Sequencer"]


def command_layout(config: ArrayConfig) -> data.StructLayout:
    """What the sequencer sends next."""
    return data.StructLayout({
        "address": address_layout(config),
        "control": control_layout(config),
        "drain": 1,     # a readout that is not part of an event
        "end": 1,       # no command: an output is complete
        "over": 1,      # the last of the pass
    })


class _Head(NamedTuple):
    """The command that is sent next, and what moves it."""

    command: Any        # its strobes stand in `strobes`
    valid: Signal       # there is one
    go: Signal
    strobes: Any        # low where there is none
    move: Signal        # it is sent, if it is there, and the next one takes its place
    held: Signal        # the state machine holds it
    blocked: Signal     # it is a readout that has to wait
    comes: Signal       # there is a next one


class _Readouts(NamedTuple):
    """What is known of the readouts of an output."""

    known: Signal       # what the readout of number `scan` does
    final: Signal       # the output is the pass's last
    scan: Signal        # number of a readout: its slot, or past the slots a later time step
    round: Signal       # number of the tile
    rewind: Signal      # this tile is the last
    ends: Signal        # with this tile ends the pass
    last_round: Signal  # with this tile ends the drain
    drain: Any          # LANE_READOUT of a readout of a drain
    tapped: Any         # LANE_READOUT of a readout beside an event
    single: Signal      # an output's last readout is that of its last slot


class Sequencer(wiring.Component):
    """Events add up, outputs leave.

    *Kernel taps.* The first event of every slot at a site also shifts the sums of that slot one
    bank on. If the sums that leave the last bank are an output, the neurons read them out.
    *Tiles.* When an output is complete, the banks *drain*: `rounds` times, every slot is shifted
    one bank on and read out. *Bit planes.* Later time steps read out again, without a shift.

    An event may need a sum that is not the running one: that of another slot, or that of the pass
    before. A command that loads the sum then goes first (see `quadfire.rtl.array.cell`); it counts
    as a null.

    One command is made every cycle, from an event or as a step of a drain; `command_queue_depth` of
    them can wait to be sent. A readout waits for room in the queue before the neurons, which take
    `readout_period` cycles for each. `backlog` counts the cycles of queued work. A readout that
    emits probe words also waits for `tap_room` before, and for `tap_done` after.

    The signal `scan` of a command starts a readout. Signals `tap...` are about probe words.

    | port | meaning |
    |---|---|
    | `start` | begin a pass |
    | `fields` | of the pass; they stay until `busy` falls |
    | `busy` | a pass runs |
    | `events` | from the event encoder |
    | `tap_room`, `tap_done` | there is room for the probe words of a tile; its last one has left |
    | `address`, `control` | the command, both parts |
    | `count_event`, `count_null` | a command adds a row of weights; it adds nothing |
    | `count_drain` | waiting for the neurons, or a readout that is not part of an event |
    | `count_starved` | no event is there |
    | `count_output_wait` | drain cycles without room for probe words |

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

    @staticmethod
    def model(fields: Mapping[str, int]) -> list[dict[str, int]]:
        """The readouts of the lanes for one output of a PASS, in order, as LANE_READOUT fields.

        Every round has one readout per slot. Where the slots are bit planes, the last one makes the
        first time step, and one more readout makes each later step.
        """
        planes, emit = fields["planes"], fields["emit"]
        first_step = fields["slots"] if planes else 0
        last = fields["slots"] + (fields["steps"] if planes else 0)
        rounds = 0 if fields["taps"] else fields["rounds"]
        readouts = []
        for number in range(rounds + 1):
            for index in range(last + 1):
                step = index >= first_step
                readout = {
                    "keep": planes and index != last, "replay": index > fields["slots"],
                    "step": step, "begin": index == first_step, "load": fields["load"],
                    "advance": index == last, "rewind": number == rounds,
                    "store": fields["store"],
                    "emit": step if emit == Emit.MEMBRANES else
                    emit == Emit.LOGITS and index == last}
                readouts.append({name: int(value) for name, value in readout.items()})
        return readouts

    def elaborate(self, platform):
        m = Module()
        config, fields = self.config, self.fields
        until_sums = first_event_latency(config) + WeightMemory.latency_of(config)
        assert until_sums >= Parameters.load_cycles, \
            "neuron words are loaded while the first events are on their way"
        taps = fields.taps if config.kernel_taps else C(0, 1)
        command = command_layout(config)
        ahead, made, space = Signal(command), Signal(), Signal()
        self._make(m, ahead, made, space, taps)
        head = self._queue(m, ahead, made, space)
        self._send(m, head)
        return m

    def _queue(self, m: Module, ahead: Any, made: Signal, space: Signal) -> _Head:
        """Commands wait: one for a slow clock, else two, so that `space` comes from a register.

        Without a command at the head all strobes are low. So the head moves on unless it is held
        up, whether there is a command or not.
        """
        config, command = self.config, command_layout(self.config)
        names = control_layout(config).strobes
        head, head_valid, go = Signal(command, reset_less=True), Signal(), Signal()
        strobes = Signal(data.StructLayout({**dict.fromkeys(names, 1), "kind": AddressKind}))
        move, held, blocked = (Signal() for _ in range(3))
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
        return _Head(head, head_valid, go, strobes, move, held, blocked, comes)

    def _send(self, m: Module, head: _Head):
        """Commands leave, a readout when there is room for it; around them the states of a pass."""
        config = self.config
        limit, period = backlog_limit(config), config.readout_period
        backlog = Signal(range(limit + period + 1))
        few = Signal(init=1)                # not more than `limit`
        tap_room, tap_done = Signal(), Signal()
        scan, emits = head.strobes.scan, head.command.control.how.emit
        send = Signal()
        m.d.comb += [head.blocked.eq(scan & ~(few & (~emits | tap_room))),
                     send.eq(head.move & scan)]
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
        # A command without a strobe has no effect, whatever else it says.
        address, control = Signal(address_layout(config)), Signal(control_layout(config))
        m.d.comb += [
            control.eq(head.command.control),
            *(control[name].eq(head.move & head.strobes[name])
              for name in control_layout(config).strobes),
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
        self._tell(m, states, kinds, address, head)
        self._count(m, states, head, tap_room, over)

        with states.state("TAPS"):      # the probe words of a tile leave
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
        m.d.sync += head.held.eq(Mux(head.move, head.comes, head.valid)
                                 & ~states.after("COMMANDS"))
        states.finish()

    def _tell(self, m: Module, states: OneHotFsm, kinds: list[AddressKind], address: Any,
              head: _Head):
        """What a pass tells the groups before its first event, one address a state."""
        fields = self.fields
        values = {AddressKind.NEURON: fields.parameters, AddressKind.TILE: fields.tile,
                  AddressKind.LINE: Mux(fields.taps, fields.line, 0),
                  AddressKind.STATE: fields.state}
        for kind, following in zip(kinds, [*(kind.name for kind in kinds[1:]), "COMMANDS"],
                                   strict=True):
            with states.state(kind.name):
                m.d.comb += self.count_starved.eq(1)
                states.next = following

        def told(what: Callable[[AddressKind], ValueLike]) -> Value:
            return reduce(operator.or_, (Mux(states.at(kind.name), what(kind), 0)
                                         for kind in kinds))

        m.d.comb += [
            address.kind.eq(told(lambda kind: kind) | Mux(head.move, head.strobes.kind, 0)),
            address.address.eq(Mux(states.at("COMMANDS"), head.command.address.address,
                                   told(values.__getitem__))),
        ]

    def _count(self, m: Module, states: OneHotFsm, head: _Head, tap_room: Signal, over: Signal):
        """COMMANDS: the command at the head, and which counter the cycle belongs to."""
        command, strobes = head.command, head.strobes
        scan, emits = strobes.scan, command.control.how.emit
        with states.state("COMMANDS"):
            m.d.sync += over.eq(command.over)
            with m.If(~head.valid):
                m.d.comb += self.count_starved.eq(1)
            with m.Elif(head.blocked):
                m.d.comb += [self.count_drain.eq(1),
                             self.count_output_wait.eq(emits & ~tap_room)]
            with m.Else():
                m.d.comb += [
                    head.go.eq(1),
                    self.count_starved.eq(command.end),
                    self.count_drain.eq(command.drain),
                    self.count_event.eq(strobes.kind != AddressKind.NONE),
                    self.count_null.eq(~command.end & ~command.drain
                                       & (strobes.kind == AddressKind.NONE)),
                ]
                with m.If(scan & emits):
                    states.next = "TAPS"
                with m.Elif(command.over):
                    states.next = "SETTLE"
                    with m.If(~self.fields.drain):
                        states.next = "IDLE"

    def _make(self, m: Module, ahead: Any, made: Signal, space: Signal, taps: Value):
        """Makes the command `ahead`, of an event or of a drain; `made`: it is there and goes on."""
        fields = self.fields
        event, place = self.events.payload, self.events.payload.place
        control, how = ahead.control, ahead.control.how
        draining = Signal()
        fetch, shifted = self._load_first(m, ahead, made, draining, taps)
        steps = self._readouts(m, draining & ~made, taps)
        m.d.comb += [
            made.eq(space & Mux(draining, steps.known, self.events.valid)),
            self.events.ready.eq(space & ~draining & ~fetch),

            how.eq(Mux(draining, steps.drain, steps.tapped)),
            how.load.eq(fields.load),
            how.rewind.eq(steps.rewind),
            how.store.eq(fields.store),
            how.emit.eq(Mux(fields.emit == Emit.MEMBRANES, how.step,
                            (fields.emit == Emit.LOGITS) & how.advance)),
            control.slot.eq(Mux(draining, steps.scan, place.slot)),
            # an event that is the end of an output reads nothing out
            control.scan.eq(draining | (event.scan & ~fetch)),
            ahead.drain.eq(draining),
            ahead.address.address.eq(place.row),
        ]
        with m.If(draining):
            m.d.comb += [
                control.write.eq(~how.replay),
                control.shift.eq(~how.replay),
                control.fresh.eq(~how.replay),
                ahead.over.eq(steps.drain.advance & steps.ends),
            ]
            with m.If(made):
                m.d.sync += steps.scan.eq(steps.scan + 1)
                with m.If(steps.drain.advance):
                    m.d.sync += [steps.scan.eq(0), steps.round.eq(steps.round + 1)]
                    with m.If(steps.last_round):
                        m.d.sync += [steps.round.eq(0), draining.eq(0)]
        if self.config.running_sums:
            with m.Elif(fetch):
                m.d.comb += [control.load.eq(~shifted), control.fresh.eq(~shifted)]
        with m.Elif(place.end):
            m.d.comb += [ahead.end.eq(1), ahead.over.eq(~fields.drain | taps)]
            with m.If(made):
                m.d.sync += [draining.eq(fields.drain & ~taps), steps.final.eq(place.final),
                             steps.scan.eq(0)]
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
            with m.If(made & event.scan & place.last & ~steps.single):
                m.d.sync += [draining.eq(1), steps.scan.eq(place.slot + 1)]

    def _load_first(self, m: Module, ahead: Any, made: Signal, draining: Signal, taps: Value
                    ) -> tuple[Value, Signal]:
        """(a load goes before the event, the command before was a shift).

        A sum that is not the running one is loaded first, but not right after a shift.
        """
        event, how = self.events.payload, ahead.control.how
        fetch, shifted = C(0, 1), Signal(reset_less=True)
        if self.config.running_sums:
            fetch, loaded = Signal(), Signal()
            m.d.comb += fetch.eq(event.load & ~loaded & ~draining)
            with m.If(made):
                m.d.sync += [
                    shifted.eq(Mux(draining, ~how.replay, taps & event.place.first & ~fetch)),
                    loaded.eq(fetch & ~shifted),
                ]
            with m.If(~self.busy):
                m.d.sync += shifted.eq(0)
        return fetch, shifted

    def _readouts(self, m: Module, rests: Value, taps: Value) -> _Readouts:
        """What the readouts of a drain and of an event do.

        A drain reads out `rounds` tiles, or with kernel taps the later time steps of one. What a
        readout does is known a cycle after its number, where that `rests`: so one of a drain takes
        two cycles to make.
        """
        fields, place = self.fields, self.events.payload.place
        known, final = Signal(), Signal()
        scan, round_ = Signal(PASS["slots"] + 1), Signal(PASS["rounds"])
        last = Signal(PASS["slots"] + 1)        # of the readouts of an output
        rewind, ends, last_round = Signal(), Signal(), Signal()
        drain, tapped = Signal(LANE_READOUT), Signal(LANE_READOUT)
        single = Signal()                   # the last slot's readout is an output's last
        m.d.sync += [
            known.eq(rests),
            last.eq(fields.slots + Mux(fields.planes, fields.steps, 0)),
            single.eq(~fields.planes | (fields.steps == 0)),
            rewind.eq(round_ == fields.rounds),
            ends.eq((round_ == fields.rounds) & final & ~taps),
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
        ]
        return _Readouts(known, final, scan, round_, rewind, ends, last_round, drain, tapped,
                         single)
