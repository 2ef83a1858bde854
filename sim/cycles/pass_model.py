"""The cycle model of a pass: its cycles, from the words of the spike memory that it reads.

`fetches` takes a PASS as the device does: its fields, its sources, and the spike memory. It gives
the words that the word reader fetches, in order. `pass_cycles` goes through them, one step per
word, and gives the cycles that the device counts, class by class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import SOURCE
from quadfire.rtl.fetch import geometry
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


def _source_fetches(fields: Mapping[str, int], source: Mapping[str, int], starts: np.ndarray,
                    memory: np.ndarray) -> dict[str, np.ndarray]:
    """The fields of `Fetches` for one source, and `site`, the index of the site.

    starts: whether it starts the sums, [sites]. memory: [words, numbers per word].
    """
    window = geometry.windows(fields, source)
    offsets = geometry.word_offsets(source, fields["slots"] + 1)
    shape = (len(starts), *offsets.shape)       # sites, slots, words, rows, columns
    site, s, w, dy, dx = np.ix_(*map(np.arange, shape))
    starts, blank = starts[site], window.blank[site]

    inside = window.inside[:, None, None]
    address = (window.address[site] + offsets) % (1 << SOURCE["base"])
    value = np.where(inside[..., None], memory[address % len(memory)], 0)
    last = np.broadcast_to((dy == shape[3] - 1) & (dx == shape[4] - 1), shape)
    if source["any"]:
        value = np.bitwise_or.reduce(value.reshape(*shape[:3], -1, value.shape[-1]),
                                     axis=3)[..., None, None, :]
    ones = np.bitwise_count(value).sum(axis=-1, dtype=np.int64)
    tail = _tail(value)
    if source["any"]:
        ones = np.where(last, ones, -1)

    # A window outside the map costs one fetch, or one per slot if it starts the sums.
    first = (w == 0) & (dy == 0) & (dx == 0)
    taken = np.broadcast_to(~blank | (first & ((s == 0) | starts)), shape)
    over = np.broadcast_to(last & (w == shape[2] - 1), shape) | blank
    ones = np.where(blank, 0, ones)
    chosen = {"site": site, "ones": ones, "tail": tail, "slot_over": over, "slot": s,
              "starts": starts}
    return {name: np.broadcast_to(value, shape)[taken] for name, value in chosen.items()}


def fetches(fields: Mapping[str, int], sources: Sequence[Mapping[str, int]], memory: np.ndarray
            ) -> Fetches:
    """The fetches of a PASS.

    | argument | meaning |
    |---|---|
    | `fields`, `sources` | fields of the PASS and of its sources, by name |
    | `memory` | the spike memory, unsigned integers [words] or [words, numbers per word] |
    """
    memory = memory.reshape(len(memory), -1)
    found = []
    for index, source in enumerate(sources):
        one = _source_fetches(fields, source, geometry.starts(fields, index), memory)
        found.append(one | {"source": np.full(len(one["site"]), index)})
    ends = np.flatnonzero(geometry.ends(fields))
    nothing = np.zeros(len(ends), np.int64)
    found.append({"site": ends, "ones": nothing, "tail": nothing, "slot_over": nothing,
                  "slot": nothing, "starts": nothing, "source": np.full(len(ends), len(sources))})
    joined = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    order = np.lexsort((joined["source"], joined["site"]))
    joined = {name: values[order] for name, values in joined.items()}

    return Fetches(ones=joined["ones"], tail=joined["tail"], starts=joined["starts"].astype(bool),
                   slot_over=joined["slot_over"].astype(bool),
                   emit=geometry.emitted(fields)[joined["site"]], slot=joined["slot"],
                   end=joined["source"] == len(sources),
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
