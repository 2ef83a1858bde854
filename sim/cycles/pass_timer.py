"""When the parts of the array act in a pass: word reader, event encoder, sequencer, neurons.

`quadfire.sim.cycles.pass_model` gives the fetches of a pass to `PassTimer`, one at a time. Times
are cycles after the start of the pass.

    fetch of a word          f = f_before + 1, or later if `DEPTH` words are kept or on their way
    a kept word is taken     e = f + 8, or later if the encoder has not reached the last slice of
                             the word before (not pipelined: f + 2, and the words behind it wait
                             as well)
    its n = max(1, spikes)   events are made b + 1, b + 2, ..., one per cycle, b = max(e + 2,
                             b_before + n_before)
    and are sent             two cycles later (not pipelined: one), or later

A command waits while the sequencer is not ready for it: while an output drains, and, if it sends an
output to the neurons, while more than `backlog_limit` cycles of such work are queued. Two commands
and two events can wait (not pipelined: one command). While they wait, the words that were taken
after them wait as well. Words that were not taken yet go on.
"""

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.control.pass_timing import (
    DRAIN_INTERVAL,
    backlog_limit,
    command_queue_depth,
    probe_cycles,
    settle_cycles,
    start_addresses,
)
from quadfire.rtl.control.sequencer import Sequencer
from quadfire.rtl.fetch.event_encoder import EventEncoder
from quadfire.rtl.fetch.raster import Raster
from quadfire.rtl.fetch.word_reader import DEPTH, WordReader
from quadfire.rtl.lib.skid import Skid

__all__ = ["CLASSES", "PassCycles", "PassTimer"]


@dataclass(frozen=True)
class PassCycles:
    """Cycles of a pass by class, named as the counters of the device.

    | field | cycles |
    |---|---|
    | `busy` | of the pass, the sum of all others |
    | `events` | with an event |
    | `nulls` | of slots without an event, and of commands that load sums |
    | `drains` | in which a command waits for the neurons, or a readout without an event is sent |
    | `starved` | all others: the start, silent words |
    """

    busy: int
    events: int
    nulls: int
    drains: int
    starved: int


#: Names of the counters of a pass.
CLASSES = ("busy", "events", "nulls", "drains", "starved")


class _RunTimes:
    """When the word reader gets its runs from the raster.

    The raster makes a run in `Raster.interval` cycles. It is two runs ahead, but where the array
    has one source it starts a run only when the one before is over.
    """

    def __init__(self, config: ArrayConfig):
        self.ahead = config.sources > 1
        # when the last run was made, made room for the next one, was taken by the word reader
        self.made = Raster.latency_of(config) - Raster.interval - 1 - self.ahead
        self.moved = self.loaded = 0

    def load(self, fetch: int) -> int:
        """The cycle in which the word reader takes the next run, `fetch` or later."""
        self.made = max(self.made + Raster.interval, self.moved + 1 if self.ahead else fetch)
        self.moved = max(self.made + 1, self.loaded)
        self.loaded = max(self.moved + self.ahead, fetch)
        return self.loaded


class _Stalls:
    """The clock of the event encoder, in moves: it stops while its event has to wait.

    An event waits until it becomes a command, or until the event before it has become one.
    """

    #: A stall older than this many cycles is before every move that is still asked for.
    _MEMORY = 64

    def __init__(self):
        self._recent: deque[tuple[int, int]] = deque()      # (cycle, length)
        self._old = 0       # cycles of stalls that are no longer in `_recent`
        self.total = 0      # cycles of all stalls

    def add(self, cycle: int, length: int) -> None:
        """Stop in a cycle for some cycles."""
        self._recent.append((cycle, length))
        self.total += length

    def moves_before(self, cycle: int) -> int:
        """Moves made before a cycle."""
        recent = self._recent
        while recent and recent[0][0] + recent[0][1] <= cycle - self._MEMORY:
            self._old += recent.popleft()[1]
        held = sum(min(length, cycle - at) for at, length in recent if at < cycle)
        return cycle - self._old - held

    def cycle_of(self, move: int) -> int:
        """The cycle in which a move is made."""
        cycle = move + self._old
        for at, length in self._recent:
            if at <= cycle:
                cycle += length
        return cycle


class _WordReader:
    """When words are fetched, and when they arrive at the event encoder.

    In a pipelined array a queue of `DEPTH` words stands before the encoder. Without it a word that
    waits holds up the words behind it; `holds` are the intervals [from, to) in which words have
    waited.
    """

    def __init__(self, config: ArrayConfig):
        self.queue = bool(config.pipelined)
        self.runs = _RunTimes(config)
        self.latency = WordReader.latency_of(config) - 1
        self.fetch = 0
        self.room: list[int] = []                       # heap of cycles in which a word makes room
        self.holds: deque[tuple[int, int]] = deque()

    def arrival(self, first_of_run: bool) -> int:
        """Fetch the next word. Returns the cycle in which it can be taken or dropped."""
        fetch = (self.runs.load(self.fetch + 1) if first_of_run else self.fetch) + 1
        if len(self.room) == DEPTH:
            fetch = max(fetch, heapq.heappop(self.room))
        holds = self.holds
        while holds and holds[0][1] <= fetch:
            holds.popleft()
        if holds and holds[0][0] <= fetch:
            fetch = max(fetch, holds[0][1])
        self.fetch = fetch
        arrival = fetch + self.latency
        for begin, until in holds:
            if fetch < begin < arrival:
                arrival += until - begin
        return arrival

    def dropped(self, arrival: int) -> None:
        """The word makes no event."""
        if self.queue:
            heapq.heappush(self.room, arrival)

    def taken(self, arrival: int, cycle: int) -> None:
        """The event encoder takes the word in a cycle."""
        if self.queue:
            heapq.heappush(self.room, cycle + 2)
        elif cycle > arrival:
            self.holds.append((arrival, cycle))


class _Sender:
    """When commands are sent, in order.

    `busy_until` is when the neurons have worked off all readouts, as far as the sequencer knows: it
    does not know of the cycle that a readout may have to wait for a forwarded state.
    """

    def __init__(self, config: ArrayConfig):
        self.limit, self.period = backlog_limit(config), config.readout_period
        self.probe_cycles = probe_cycles(config)
        self.forwards = config.forwards
        self.busy_until = 0
        self.turn = -self.period                # when the last readout comes to the neurons
        self.made = 0                           # when the last command was made
        self.sent = self.sent_before = 0        # when the last two were sent
        self.free = 1 + len(start_addresses(config))    # from here on the next one can be sent
        self.two_wait = command_queue_depth(config) == 2
        self.waited = 0                         # cycles that the last one waited, before and after

    def send(self, made: int, *, readout: bool = False, emits: bool = False) -> None:
        """A command that is made in a cycle, or later when there is room for it.

        readout: it sends the lanes to the neurons. emits: their results go to the host.
        """
        room = self.sent_before + 1 if self.two_wait else self.sent
        self.made = made = max(made, self.made + 1, room)
        at = ready = max(made + 1, self.free)
        free = at + 1
        if readout:
            at = max(ready, self.busy_until - self.limit)
            self.busy_until = max(self.busy_until, at + 1) + self.period
            turn = max(at + 1, self.turn + self.period)
            self.turn = turn + (self.forwards and turn == self.turn + 5)
            free = (self.turn - 1 + self.probe_cycles) if emits else at + 1
        self.waited = free - ready - 1
        self.sent_before, self.sent, self.free = self.sent, at, free

    def skip(self, count: int) -> None:
        """`count` more commands follow, one a cycle, which nothing holds up."""
        self.made += count
        self.sent += count
        self.sent_before += count
        self.free += count


class PassTimer:
    """Goes through the fetches of a pass, one `word` each, and counts cycles by class.

    | attribute | meaning |
    |---|---|
    | `move`, `bits` | moves in which the next word, and its bits, can be taken |
    | `seen` | the slot has had an event |
    | `last_slot`, `shifted` | slot of the last event; whether the last command was a shift |
    | `gone_before`, `gone` | cycles in which the last two events became commands |
    """

    def __init__(self, config: ArrayConfig, fields: Mapping[str, int]):
        self.config, self.fields = config, fields
        self.slots, self.steps = fields["slots"], fields["steps"]
        self.planes, self.taps = fields["planes"], fields["taps"]
        self.readouts = Sequencer.model({**fields, "rounds": 0})     # of one round
        self.last_readout = len(self.readouts) - 1
        self.reader, self.stalls, self.sender = _WordReader(config), _Stalls(), _Sender(config)
        self.queue = bool(config.pipelined)     # two events can wait
        self.latency = EventEncoder.latency_of(config) - self.queue * Skid.latency
        self.gone = self.gone_before = 0
        self.move = self.bits = 0
        self.seen = False
        self.last_slot, self.shifted = -1, False
        self.events = self.nulls = self.drains = 0
        self.end = 0                            # when the end of the last output was sent

    def emits(self, number: int) -> bool:
        """Whether a readout of the lanes goes to the host."""
        return bool(self.readouts[number]["emit"])

    def word(self, ones: int, tail: int, starts: bool, over: bool, leaves: bool, slot: int,
             marker: bool, first_of_run: bool) -> None:
        """One fetch, with the fields of `Fetches`. leaves: emit, marker: end."""
        arrival = self.reader.arrival(first_of_run)
        null = starts and over and not self.seen and ones <= 0
        first = starts and not self.seen
        if starts:
            self.seen = (self.seen or ones > 0 or null) and not over
        if not (marker or null or ones > 0):
            self.reader.dropped(arrival)
            return
        self.move = max(self.move, self.stalls.moves_before(arrival))
        self.reader.taken(arrival, self.stalls.cycle_of(self.move))
        self.bits = max(self.bits, self.move + 1)
        count = max(ones, 1)
        loads = 0       # commands that load the sums of another slot, or of the pass before
        if not marker:
            if self.config.running_sums and (self.fields["own"] if first
                                             else slot != self.last_slot):
                loads = 1 + self.shifted
            self.last_slot = slot
            self.events += max(ones, 0)
            self.nulls += null + loads
        self._word_events(count, loads, first and not marker, leaves, slot)
        if marker:
            self.end = self.sender.sent
            self._drain()
        elif count > 1:
            self.shifted = False
        self.bits += count
        self.move = self.bits - max(tail, 1)

    def _word_events(self, count: int, loads: int, first: bool, leaves: bool, slot: int) -> None:
        """The events of a word. first: the word has the first event of its slot."""
        sender = self.sender
        for index in range(count):
            event = self._event(index)
            for _ in range(loads if index == 0 else 0):
                sender.send(event)
                self.drains += sender.waited
            readout = first and leaves and index == 0
            sender.send(event, readout=readout, emits=readout and self.emits(slot))
            self.gone_before, self.gone = self.gone, sender.made
            if not self.queue and self.gone > event:
                self.stalls.add(event, self.gone - event)
            self.drains += sender.waited
            self.shifted = bool(self.taps and first)
            if readout and self.planes and slot == self.slots and self.steps:
                self.shifted = False
                self._readouts(range(self.slots + 1, self.last_readout + 1))
            if index > 1 and sender.sent == event + 1 and sender.sent_before == event:
                rest = count - index - 1        # nothing holds up the other events
                self.gone_before, self.gone = self.gone + rest - 1, self.gone + rest
                sender.skip(rest)
                break

    def _event(self, index: int) -> int:
        """The cycle in which an event of the word can become a command."""
        event = self.bits + index + self.latency - 1 + self.stalls.total
        if self.queue:
            if stall := max(0, self.gone_before + 1 - event):
                self.stalls.add(event, stall)
            event += stall + Skid.latency
        return event

    def _readouts(self, numbers: Iterable[int]) -> None:
        """Readouts that no event calls for."""
        for number in numbers:
            self.sender.send(self.sender.made + DRAIN_INTERVAL, readout=True,
                             emits=self.emits(number))
            self.drains += self.sender.waited + 1

    def _drain(self) -> None:
        """What follows the end of an output: without kernel taps all lanes are read out."""
        self.shifted = False
        if self.fields["drain"] and not self.taps:
            self.shifted = not (self.planes and self.steps)
            for _ in range(self.fields["rounds"] + 1):
                self._readouts(range(self.last_readout + 1))

    def result(self) -> PassCycles:
        """The cycles, after the last fetch."""
        sender, drains = self.sender, self.drains
        if not self.fields["drain"]:
            busy = self.end
        elif not self.taps and self.emits(self.last_readout):
            busy = sender.free - 1
        else:
            begin = self.end + 1 if self.taps else sender.free
            busy = max(begin, sender.busy_until) + settle_cycles(self.config) - 1
            drains += busy - begin + 1
        return PassCycles(busy=busy, events=self.events, nulls=self.nulls, drains=drains,
                          starved=busy - self.events - self.nulls - drains)
