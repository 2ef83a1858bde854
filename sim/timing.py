"""How long a pass takes, to the cycle: a model of reader, sequencer and neuron queue.

It takes a PASS as the device does, its fields, its sources and the words of the spike memory, and
goes through the words that the reader fetches, one step a word. Times are cycles after the start.

    fetch of a word        f = f_before + 1, later where 8 words are kept or on their way
    a kept word is taken   e = max(f + 6, e_before + n_before), n = max(1, its spikes)
    its events             e + 4, e + 5, ... one a cycle

An event waits where the sequencer is not ready for it: while an output drains, and where it sends
an output to the neurons while more than `scan_limit` cycles of such work are queued. While an event
waits, all words behind it that were taken wait as well, and those that were not go on.
"""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rtl.config import ArrayConfig
from rtl.events import EventReader
from rtl.scan import Scanner
from rtl.sequencer import emitting_cycles, scan_limit, settle_cycles, start_addresses
from rtl.tape import Emit
from rtl.words import DEPTH, WordReader

__all__ = ["CLASSES", "Fetches", "PassCycles", "fetches", "pass_cycles"]

#: Cycles from the fetch of a word until it is there to be taken, or is dropped.
_KEPT = WordReader.latency - 1
#: Cycles from the start to the first fetch.
_FIRST_FETCH = Scanner.latency + 1


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

    ones: spikes of the word, -1 where it cannot be kept (the window goes on). starts, slot_over:
    the word belongs to the source that starts the slot's sums; it is the slot's last. emit: what
    leaves at this site is an output. slot: of the word. end: no word, the output is complete.
    """

    ones: np.ndarray
    starts: np.ndarray
    slot_over: np.ndarray
    emit: np.ndarray
    slot: np.ndarray
    end: np.ndarray


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
    if source["any"]:
        ones = np.where(last, ones, -1)

    # outside of its map a run takes one fetch, or one a slot where it starts sums
    first = (w == 0) & (dy == 0) & (dx == 0)
    taken = np.broadcast_to(~of_site(blank) | (first & ((s == 0) | of_site(starts))), shape)
    over = np.broadcast_to(last & (w == words - 1), shape) | of_site(blank)
    ones = np.where(of_site(blank), 0, ones)
    chosen = {"site": site, "ones": ones, "slot_over": over, "slot": s,
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
    parts.append({"site": ends, "ones": nothing, "slot_over": nothing, "slot": nothing,
                  "starts": nothing, "source": np.full(len(ends), len(sources))})
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
    return Fetches(ones=joined["ones"], starts=joined["starts"].astype(bool),
                   slot_over=joined["slot_over"].astype(bool), emit=emit[joined["site"]],
                   slot=joined["slot"], end=joined["source"] == len(sources))


class _Neurons:
    """The queue of scans: `busy_until` is when the neurons have worked off all that is sent."""

    def __init__(self, config: ArrayConfig, emit_cycles: int):
        self.limit, self.period = scan_limit(config), config.scan_period
        self.emit_cycles = emit_cycles
        self.busy_until = 0

    def send(self, ready: int, emits: bool) -> tuple[int, int]:
        """(cycle in which a scan is sent, first cycle after it), given when it is ready."""
        at = max(ready, self.busy_until - self.limit)
        waits = max(0, self.busy_until - at - 1)
        self.busy_until = max(self.busy_until, at + 1) + self.period
        return at, at + (waits + self.emit_cycles if emits else 1)


def pass_cycles(config: ArrayConfig, fields: Mapping[str, int], words: Fetches) -> PassCycles:
    """Cycles of a pass whose words are these, when nothing holds its taps up."""
    slots, steps = fields["slots"], fields["steps"]
    planes, taps, emit = fields["planes"], fields["taps"], fields["emit"]
    last_scan = slots + (steps if planes else 0)
    neurons = _Neurons(config, emitting_cycles(config))

    def emits(number: int) -> bool:
        if emit == Emit.MEMBRANES:
            return not planes or number >= slots
        return emit == Emit.LOGITS and number == last_scan

    # Words taken are counted in moves of the reader, which stops while an event waits.
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
    fetch, move = _FIRST_FETCH - 1, 0
    free = 1 + len(start_addresses(config))     # the sequencer takes events from here on
    seen = False
    events = nulls = drains = 0
    end = 0
    latency = EventReader.latency
    for ones, starts, over, leaves, slot, marker in zip(
            words.ones.tolist(), words.starts.tolist(), words.slot_over.tolist(),
            words.emit.tolist(), words.slot.tolist(), words.end.tolist(), strict=True):
        fetch += 1
        if len(room) == DEPTH:
            fetch = max(fetch, heapq.heappop(room))
        null = starts and over and not seen and ones <= 0
        first = starts and not seen
        if starts:
            seen = (seen or ones > 0 or null) and not over
        if not (marker or null or ones > 0):
            heapq.heappush(room, fetch + _KEPT)
            continue
        # taken at move `move`, i.e. in cycle `taken`
        move = max(move, move_of(fetch + _KEPT))
        count = max(ones, 1)
        at = move + latency + total     # its first event is there, if nothing else stops it
        heapq.heappush(room, cycle_of(move) + 1)
        if not marker:
            events += max(ones, 0)
            nulls += null
        accepted = max(at, free)
        if first and leaves and not marker:
            sent, after = neurons.send(accepted, emits(slot))
            drains += after - accepted - 1
            accepted, free = sent, after
            if planes and slot == slots and steps:
                for number in range(slots + 1, last_scan + 1):
                    sent, after = neurons.send(free, emits(number))
                    drains += after - free
                    free = after
        held = [(at, accepted - at)]
        if count > 1:       # its second event may wait for what follows the first
            held.append((accepted + 1, free - accepted - 1))
        for begin, length in held:
            if length > 0:
                stalls.append((begin, length))
                total += length
        if marker:
            end = accepted
            if fields["drain"] and not taps:
                begin = free = accepted + 1
                for _ in range(fields["rounds"] + 1):
                    for number in range(last_scan + 1):
                        _, free = neurons.send(free, emits(number))
                drains += free - begin
        move += count
    if not fields["drain"]:
        busy = end
    elif not taps and emits(last_scan):
        busy = free - 1
    else:
        begin = end + 1 if taps else free
        busy = max(begin, neurons.busy_until) + settle_cycles(config) - 1
        drains += busy - begin + 1
    return PassCycles(busy=busy, events=events, nulls=nulls, drains=drains,
                      starved=busy - events - nulls - drains)
