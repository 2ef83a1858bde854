"""How long a pass takes, to the cycle: a model of reader, sequencer and neuron queue.

It takes a PASS as the device does, its fields, its sources and the words of the spike memory, and
goes through the words that the reader fetches, one step a word. Times are cycles after the start.

    fetch of a word          f = f_before + 1, later where `DEPTH` words are kept or on their way
    a kept word is taken     e = f + 8, later where the one before is not yet at its last part
                             (without LUT RAM f + 2, and what is fetched behind it waits with it)
    its n = max(1, spikes)   events are made b + 1, b + 2, ... one a cycle, b = max(e + 2,
                             b_before + n_before)
    and sent                 two cycles later (without LUT RAM one), or later

A command waits where the sequencer is not ready for it: while an output drains, and where it sends
an output to the neurons while more than `backlog_limit` cycles of such work are queued. Two
commands and two events can wait (without LUT RAM one command); while they do, all words behind them
that were taken wait as well, and those that were not go on.
"""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fetch.event_encoder import EventEncoder
from quadfire.rtl.fetch.raster import Raster
from quadfire.rtl.control.sequencer import (
    DRAIN_INTERVAL, backlog_limit, command_queue_depth, probe_cycles, settle_cycles,
    start_addresses,
)
from quadfire.rtl.lib.skid import Skid
from quadfire.rtl.contract.tape import Emit
from quadfire.rtl.fetch.word_reader import DEPTH, SLICE_BITS, WordReader

__all__ = ["CLASSES", "Fetches", "PassCycles", "fetches", "pass_cycles"]



@dataclass(frozen=True)
class PassCycles:
    """Cycles of a pass by class, named as the counters of the device."""

    busy: int
    events: int
    nulls: int
    drains: int
    starved: int


#: Names of the counters that divide a pass.
CLASSES = ("busy", "events", "nulls", "drains", "starved")


@dataclass(frozen=True)
class Fetches:
    """What the reader fetches in a pass, in order; every array [fetches].

    ones: spikes of the word, -1 where it cannot be kept (the window goes on). tail: those in the
    last part of the word that has any. starts, slot_over: the word belongs to the source that
    starts the slot's sums; it is the slot's last. emit: what leaves at this site is an output.
    slot: of the word. end: no word, the output is complete. run: the first of its run.
    """

    ones: np.ndarray
    tail: np.ndarray
    starts: np.ndarray
    slot_over: np.ndarray
    emit: np.ndarray
    slot: np.ndarray
    end: np.ndarray
    run: np.ndarray


def _tail(words: np.ndarray) -> np.ndarray:
    """Spikes in the last part of a word that has any, of words [..., stream words]."""
    tail = np.zeros(words.shape[:-1], np.int64)
    for index in range(words.shape[-1]):
        for shift in range(0, 8 * words.itemsize, SLICE_BITS):
            ones = np.bitwise_count(words[..., index] >> words.dtype.type(shift)
                                    & words.dtype.type((1 << SLICE_BITS) - 1))
            tail = np.where(ones > 0, ones, tail)
    return tail


def _source_fetches(source: Mapping[str, int], x: np.ndarray, y: np.ndarray, slots: int,
                    starts: np.ndarray, memory: np.ndarray) -> dict[str, np.ndarray]:
    """The fetches of one source at sites (x, y), as arrays; `site` says of which."""
    wide, high = source["window_width"] + 1, source["window_height"] + 1
    words, pad = source["words"] + 1, source["pad"]
    x0, y0 = ((source[name] + 1024) % 2048 - 1024 for name in ("x0", "y0"))
    px, py = x0 + x * source["step_x"], y0 + y * source["step_y"]
    blank = ((px < -pad) | (py < -pad) | (px + wide - 1 >= source["map_width"] + pad)
             | (py + high - 1 >= source["map_height"] + pad))

    # sites x slots x words x rows x columns
    shape = (len(x), slots, words, high, wide)
    s, w, dy, dx = (np.arange(n).reshape([-1 if i == axis else 1 for i in range(5)])
                    for axis, n in enumerate(shape) if axis)
    site = np.arange(len(x)).reshape(-1, 1, 1, 1, 1)

    def of_site(values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, 1, 1, 1, 1)

    inside = (~of_site(blank) & (of_site(px) + dx >= 0) & (of_site(px) + dx < source["map_width"])
              & (of_site(py) + dy >= 0) & (of_site(py) + dy < source["map_height"]))
    address = (source["base"] + of_site(x) * source["x_stride"] + of_site(y) * source["y_stride"]
               + s * source["slot_stride"] + w + dy * source["window_y_stride"]
               + dx * source["window_x_stride"]) % 65536
    memory = memory.reshape(len(memory), -1)
    value = np.where(inside[..., None], memory[address % len(memory)], 0)
    last = np.broadcast_to((dy == high - 1) & (dx == wide - 1), shape)
    if source["any"]:
        value = np.bitwise_or.reduce(value.reshape(*shape[:3], -1, value.shape[-1]),
                                     axis=3)[..., None, None, :]
    ones = np.bitwise_count(value).sum(axis=-1, dtype=np.int64)
    tail = _tail(value)
    if source["any"]:
        ones = np.where(last, ones, -1)

    # outside of its map a run takes one fetch, or one a slot where it starts sums
    first = (w == 0) & (dy == 0) & (dx == 0)
    taken = np.broadcast_to(~of_site(blank) | (first & ((s == 0) | of_site(starts))), shape)
    over = np.broadcast_to(last & (w == words - 1), shape) | of_site(blank)
    ones = np.where(of_site(blank), 0, ones)
    chosen = {"site": site, "ones": ones, "tail": tail, "slot_over": over, "slot": s,
              "starts": of_site(starts)}
    return {name: np.broadcast_to(value, shape)[taken] for name, value in chosen.items()}


def fetches(fields: Mapping[str, int], sources: Sequence[Mapping[str, int]], memory: np.ndarray
            ) -> Fetches:
    """The fetches of a PASS, from the words of the spike memory.

    memory: unsigned integers [words], or [words, parts] where one does not hold a word.
    """
    width, rows, slots = fields["width"] + 1, fields["height"] + 1, fields["slots"] + 1
    count = width * rows + fields["flush"]
    y, x = np.divmod(np.arange(count), width)
    first = np.arange(count) == 0

    parts = []
    for index, source in enumerate(sources):
        starts = np.full(count, index == 0) & (first | (not fields["join"]))
        part = _source_fetches(source, x, y, slots, starts, memory)
        parts.append(part | {"source": np.full(len(part["site"]), index)})
    each_site = not (fields["taps"] or fields["join"])
    ends = np.arange(count) if each_site else np.array([count - 1])
    nothing = np.zeros(len(ends), np.int64)
    parts.append({"site": ends, "ones": nothing, "tail": nothing, "slot_over": nothing,
                  "slot": nothing, "starts": nothing, "source": np.full(len(ends), len(sources))})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    order = np.lexsort((joined["source"], joined["site"]))
    joined = {name: values[order] for name, values in joined.items()}

    emit = np.zeros(count, bool)
    if fields["taps"]:
        out_y, out_x = np.divmod(np.arange(count) - 2 - width + fields["row"] * width, width)
        mask = (1 << fields["stride"]) - 1
        emit = ((out_x >= fields["x_low"]) & (out_x <= fields["x_high"])
                & (out_y >= fields["y_low"]) & (out_y <= fields["y_high"])
                & ((out_x - fields["x_low"]) & mask == 0)
                & ((out_y - fields["y_low"]) & mask == 0))
    return Fetches(ones=joined["ones"], tail=joined["tail"], starts=joined["starts"].astype(bool),
                   slot_over=joined["slot_over"].astype(bool), emit=emit[joined["site"]],
                   slot=joined["slot"], end=joined["source"] == len(sources),
                   run=(np.diff(joined["site"] * 32 + joined["source"], prepend=-1) != 0)
                   & (joined["source"] != len(sources)))


class _Runs:
    """The scanner, which makes a run in `Raster.interval` cycles, two ahead or, where a pass has
    one source, when the run before is over."""

    def __init__(self, config: ArrayConfig):
        self.ahead = config.sources > 1
        # the cycle in which the last one was made
        self.made = Raster.latency_of(config) - Raster.interval - 1 - self.ahead
        self.moved = 0      # in which it made room for the next
        self.loaded = 0     # in which the reader took it

    def load(self, fetch: int) -> int:
        """The cycle in which the reader takes the next run, at the earliest that of a fetch."""
        self.made = max(self.made + Raster.interval, self.moved + 1 if self.ahead else fetch)
        self.moved = max(self.made + 1, self.loaded)
        self.loaded = max(self.moved + self.ahead, fetch)
        return self.loaded


class _Sender:
    """Sends commands in order; `busy_until` is when the neurons have worked off all scans, as the
    sequencer sees it, which does not know of the cycle that a scan may have to wait for them."""

    def __init__(self, config: ArrayConfig):
        self.limit, self.period = backlog_limit(config), config.scan_period
        self.emit_cycles = probe_cycles(config)
        self.forwards = config.forwards
        self.busy_until = 0
        self.turn = -self.period                    # of the last scan at the neurons
        self.made = 0                               # the cycle in which the last command was made
        self.sent = self.sent_before = 0            # in which the last two were sent
        self.free = 1 + len(start_addresses(config))    # the next one can be sent from here on
        self.two = command_queue_depth(config) == 2
        self.waited = 0                             # cycles of the last one, before and after

    def send(self, made: int, *, scan: bool = False, emits: bool = False) -> None:
        """A command, which is made in that cycle, or as soon as there is a place for it."""
        self.made = made = max(made, self.made + 1, self.sent_before + 1 if self.two else self.sent)
        at = ready = max(made + 1, self.free)
        free = at + 1
        if scan:
            at = max(ready, self.busy_until - self.limit)
            self.busy_until = max(self.busy_until, at + 1) + self.period
            turn = max(at + 1, self.turn + self.period)
            self.turn = turn + (self.forwards and turn == self.turn + 5)
            free = (self.turn - 1 + self.emit_cycles) if emits else at + 1
        self.waited = free - ready - 1
        self.sent_before, self.sent, self.free = self.sent, at, free


def pass_cycles(config: ArrayConfig, fields: Mapping[str, int], words: Fetches) -> PassCycles:
    """Cycles of a pass whose words are these, when nothing holds its taps up."""
    slots, steps = fields["slots"], fields["steps"]
    planes, taps, emit = fields["planes"], fields["taps"], fields["emit"]
    last_scan = slots + (steps if planes else 0)
    sender = _Sender(config)

    def emits(number: int) -> bool:
        if emit == Emit.MEMBRANES:
            return not planes or number >= slots
        return emit == Emit.LOGITS and number == last_scan

    # The reader of events is counted in moves: it stops while its event cannot go on, to become a
    # command, or to wait for that.
    stalls: deque[tuple[int, int]] = deque()    # (cycle, length), only those that may still matter
    stopped = 0                                 # cycles of stalls left out of `stalls`
    total = 0                                   # cycles of all stalls

    def move_of(cycle: int) -> int:
        """Moves made before that cycle."""
        nonlocal stopped
        while stalls and stalls[0][0] + stalls[0][1] <= cycle - 64:
            stopped += stalls.popleft()[1]
        held = sum(min(length, cycle - at) for at, length in stalls if at < cycle)
        return cycle - stopped - held

    def cycle_of(move: int) -> int:
        """The cycle in which that move is made."""
        cycle = move + stopped
        for at, length in stalls:
            if at <= cycle:
                cycle += length
        return cycle

    room: list[int] = []        # cycles in which a word makes room again
    runs = _Runs(config)
    kept = WordReader.latency_of(config) - 1    # from a fetch until the word is taken or dropped
    queue = bool(config.lut_ram)                # of words; and two events can wait
    gone = gone_before = 0                      # cycles in which the last two were commands
    latency = EventEncoder.latency_of(config) - queue * Skid.latency
    holds: deque[tuple[int, int]] = deque()     # where there is none: when words stood, [from, to)
    fetch = 0
    move = bits = 0             # moves: a word can be taken, its bits can be
    seen = False
    events = nulls = drains = 0
    end = 0
    last_slot, shifted = -1, False      # of the last event; the last command was a shift
    for ones, tail, starts, over, leaves, slot, marker, run in zip(
            words.ones.tolist(), words.tail.tolist(), words.starts.tolist(),
            words.slot_over.tolist(), words.emit.tolist(), words.slot.tolist(),
            words.end.tolist(), words.run.tolist(), strict=True):
        fetch = (runs.load(fetch + 1) if run else fetch) + 1
        if len(room) == DEPTH:
            fetch = max(fetch, heapq.heappop(room))
        while holds and holds[0][1] <= fetch:
            holds.popleft()
        arrival = fetch = max(fetch, holds[0][1]) if holds and holds[0][0] <= fetch else fetch
        arrival += kept
        for begin, until in holds:
            if begin > fetch and begin < arrival:
                arrival += until - begin
        null = starts and over and not seen and ones <= 0
        first = starts and not seen
        if starts:
            seen = (seen or ones > 0 or null) and not over
        if not (marker or null or ones > 0):
            if queue:
                heapq.heappush(room, arrival)
            continue
        move = max(move, move_of(arrival))
        if queue:
            heapq.heappush(room, cycle_of(move) + 2)
        elif (taken := cycle_of(move)) > arrival:
            holds.append((arrival, taken))
        bits = max(bits, move + 1)
        count = max(ones, 1)
        loads = 0           # commands that load the sums of another slot, or of the pass before
        if not marker:
            if config.running_sums and (fields["own"] if first else slot != last_slot):
                loads = 1 + shifted
            last_slot = slot
            events += max(ones, 0)
            nulls += null + loads
        for index in range(count):
            event = bits + index + latency - 1 + total
            if queue:
                stall = max(0, gone_before + 1 - event)
                if stall:
                    stalls.append((event, stall))
                    total += stall
                event += stall + Skid.latency
            for _ in range(loads if index == 0 else 0):
                sender.send(event)
                drains += sender.waited
            scan = first and leaves and not marker and index == 0
            sender.send(event, scan=scan, emits=scan and emits(slot))
            gone_before, gone = gone, sender.made
            if not queue and gone > event:
                stalls.append((event, gone - event))
                total += gone - event
            drains += sender.waited
            shifted = bool(taps and first and not marker)
            if scan and planes and slot == slots and steps:
                shifted = False
                for number in range(slots + 1, last_scan + 1):
                    sender.send(sender.made + DRAIN_INTERVAL, scan=True, emits=emits(number))
                    drains += sender.waited + 1
            if marker:
                end = sender.sent
                if fields["drain"] and not taps:
                    for _ in range(fields["rounds"] + 1):
                        for number in range(last_scan + 1):
                            sender.send(sender.made + DRAIN_INTERVAL, scan=True,
                                        emits=emits(number))
                            drains += sender.waited + 1
            if index > 1 and sender.sent == event + 1 and sender.sent_before == event:
                rest = count - index - 1        # nothing holds up the others
                gone_before, gone = gone + rest - 1, gone + rest
                sender.made += rest
                sender.sent += rest
                sender.sent_before += rest
                sender.free += rest
                break
        if marker:
            shifted = bool(fields["drain"] and not taps and not (planes and steps))
        elif count > 1:
            shifted = False
        bits += count
        move = bits - max(tail, 1)
    free = sender.free
    if not fields["drain"]:
        busy = end
    elif not taps and emits(last_scan):
        busy = free - 1
    else:
        begin = end + 1 if taps else free
        busy = max(begin, sender.busy_until) + settle_cycles(config) - 1
        drains += busy - begin + 1
    return PassCycles(busy=busy, events=events, nulls=nulls, drains=drains,
                      starved=busy - events - nulls - drains)
