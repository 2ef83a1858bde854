"""The cycle model of a pass: its cycles, from the words of the spike memory that it reads.

`fetches` takes a PASS as the device does: its fields, its sources, and the spike memory. It gives
the words that the word reader fetches, in order. `pass_cycles` goes through them, one step per
word, and gives the cycles that the device counts, class by class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fetch.word_reader import SLICE_BITS
from quadfire.sim.cycles.pass_timer import CLASSES, PassCycles, PassTimer

__all__ = ["CLASSES", "Fetches", "PassCycles", "fetches", "pass_cycles"]


@dataclass(frozen=True)
class Fetches:
    """What the word reader fetches in a pass, in order. Every field is an array [fetches].

    | field | meaning |
    |---|---|
    | `ones` | spikes of the word, -1 while the word of a max-pooling window is not complete |
    | `tail` | spikes in the last slice of the word that has any |
    | `starts` | the word belongs to the source that starts the sums of the slot |
    | `slot_over` | the word is the last one of its slot |
    | `emit` | the sums that leave the array at this site are an output |
    | `slot` | slot of the word |
    | `end` | no word is fetched: an output is complete |
    | `run` | the word is the first one of its run |
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
    """Spikes in the last slice of each word that has any. words: [..., numbers per word]."""
    tail = np.zeros(words.shape[:-1], np.int64)
    for index in range(words.shape[-1]):
        for shift in range(0, 8 * words.itemsize, SLICE_BITS):
            ones = np.bitwise_count(words[..., index] >> words.dtype.type(shift)
                                    & words.dtype.type((1 << SLICE_BITS) - 1))
            tail = np.where(ones > 0, ones, tail)
    return tail


def _source_fetches(source: Mapping[str, int], x: np.ndarray, y: np.ndarray, slots: int,
                    starts: np.ndarray, memory: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of `Fetches` for one source at sites (x, y), and `site`, the index of the site."""
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

    # A window outside the map costs one fetch, or one per slot if it starts the sums.
    first = (w == 0) & (dy == 0) & (dx == 0)
    taken = np.broadcast_to(~of_site(blank) | (first & ((s == 0) | of_site(starts))), shape)
    over = np.broadcast_to(last & (w == words - 1), shape) | of_site(blank)
    ones = np.where(of_site(blank), 0, ones)
    chosen = {"site": site, "ones": ones, "tail": tail, "slot_over": over, "slot": s,
              "starts": of_site(starts)}
    return {name: np.broadcast_to(value, shape)[taken] for name, value in chosen.items()}


def fetches(fields: Mapping[str, int], sources: Sequence[Mapping[str, int]], memory: np.ndarray
            ) -> Fetches:
    """The fetches of a PASS.

    | argument | meaning |
    |---|---|
    | `fields`, `sources` | fields of the PASS and of its sources, by name |
    | `memory` | the spike memory, unsigned integers [words] or [words, numbers per word] |
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


def pass_cycles(config: ArrayConfig, fields: Mapping[str, int], words: Fetches) -> PassCycles:
    """The cycles of a PASS with these fetches, if the host takes its answers at once."""
    timer = PassTimer(config, fields)
    for word in zip(words.ones.tolist(), words.tail.tolist(), words.starts.tolist(),
                    words.slot_over.tolist(), words.emit.tolist(), words.slot.tolist(),
                    words.end.tolist(), words.run.tolist(), strict=True):
        timer.word(*word)
    return timer.result()
