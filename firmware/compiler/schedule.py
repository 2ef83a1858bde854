"""Schedule: what happens for every image, step by step.

    Load    rows of a map that the host keeps go into the spike memory
    Run     a pass, for one output if it joins, or with such maps for some rows of sites
    Fetch   what a pass has made of such a map goes to the host

A layer that reads or writes maps of the host works on segments of its sites, as large as its part
of the spike memory allows; with two input buffers where possible, so that one segment is loaded
while another runs.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quadfire.firmware.tape.memory_layout import words_of
from quadfire.firmware.compiler.allocation import Memory, chains, region_of
from quadfire.firmware.compiler.passes import Pass
from quadfire.models.integer import INPUT, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["Fetch", "Load", "Run", "Step", "Streams", "schedule"]


@dataclass(frozen=True)
class Load:
    """Pixel rows of a map, to spike words from `base` on."""

    map: int
    rows: range
    base: int


@dataclass(frozen=True)
class Run:
    """A pass, number `number` of the program, or a segment of it; `first`: its first segment.

    bases: for every map that it reads the spike word of its first pixel (which may not be there:
    an address modulo 2^16). reads: spike words that it reads. target: spike word of pixel 0 of the
    layer's map, `stride` words a step; the first tile is column `column` from there. writes: spike
    words that it writes.
    """

    number: int
    item: Pass
    first: bool
    bases: dict[int, int]
    reads: tuple[range, ...]
    target: int
    stride: int
    column: int
    writes: range


@dataclass(frozen=True)
class Fetch:
    """Outputs `first` .. `first + count - 1` of some tiles of a map, from spike word `base` on.

    A step of an output is `words` words, which hold nothing but these tiles.
    """

    layer: int
    first: int
    count: int
    tile: int
    tiles: int
    base: int
    words: int


Step = Load | Run | Fetch


class Streams:
    """Sizes of the segments of a network's passes, while the host keeps `on_host`."""

    def __init__(self, network: IntegerNetwork, config: ArrayConfig, on_host: set[int]):
        self.network, self.config, self.on_host = network, config, on_host

    def uses(self, item: Pass) -> bool:
        """Does the pass read or write a map of the host?"""
        return item.layer in self.on_host or any(s.map in self.on_host for s in item.sources)

    def words(self, item: Pass) -> int:
        """Spike words of a step of an output, of this pass's tiles alone."""
        return -(-item.tiles // self.config.tiles_per_word)

    def rows(self, part: Pass) -> dict[int, range]:
        """Rows of the host's maps that a segment reads."""
        found: dict[int, range] = {}
        for source in part.sources:
            if source.map in self.on_host:
                rows = source.pixel_rows(part.height + (1 if part.flush else 0))
                if rows:
                    other = found.get(source.map, rows)
                    rows = range(min(rows.start, other.start), max(rows.stop, other.stop))
                    found[source.map] = rows
        return found

    def row_words(self, source: int) -> int:
        """Spike words of a row of a map."""
        region, (_, height, _) = region_of(self.network, source, self.config), \
            self.network.shape_of(source)
        return region.size // height

    def segments(self, item: Pass, height: int) -> list[Pass]:
        """The pass in segments of at most `height` rows; with join it is never divided."""
        if item.join or height >= item.height:
            return [item]
        return [item.segment(first, min(first + height, item.height))
                for first in range(0, item.height, height)]

    def sizes(self, parts: list[Pass]) -> tuple[int, int]:
        """Largest number of spike words that any segment reads of the host's maps, and writes."""
        reads = max(sum(len(rows) * self.row_words(source)
                        for source, rows in self.rows(part).items()) for part in parts)
        if parts[0].layer not in self.on_host or not parts[0].drain:
            return reads, 0
        return reads, max(part.outputs for part in parts) * self.network.steps * \
            self.words(parts[0])

    def least(self, items: Sequence[Pass]) -> int:
        """Least number of spike words that these passes need for their segments; 0 if none."""
        return max((sum(self.sizes(self.segments(part, 1))) for item in items if self.uses(item)
                    for part in map(item.at, range(item.pixels))), default=0)

    def divide(self, item: Pass, space: int) -> tuple[list[Pass], int, int]:
        """(segments, words of an input buffer, buffers) in `space` spike words."""
        for buffers in (2, 1):
            def too_large(height: int, buffers=buffers) -> bool:
                reads, writes = self.sizes(self.segments(item, height))
                return buffers * reads + writes > space

            if height := bisect_left(range(1, item.height + 1), True, key=too_large):
                parts = self.segments(item, height)
                return parts, self.sizes(parts)[0], buffers
        raise AssertionError("the memory was placed with room for a segment")


def schedule(network: IntegerNetwork, config: ArrayConfig, passes: Sequence[Pass], memory: Memory
             ) -> tuple[Step, ...]:
    """The steps of one image. A map on the chip is read and written where it lies."""
    streams = Streams(network, config, memory.on_host)
    held = _Held(streams)
    steps: list[Step] = []
    for chain in chains(list(enumerate(passes))):
        for output in range(chain[0][1].pixels):
            for number, item in chain:
                part = item.at(output) if item.pixels > 1 else item
                first = output == 0 or item.again
                held.enter(item.layer)
                if streams.uses(item):
                    steps += _streamed(number, part, first, streams, memory, held)
                else:
                    bases = {source.map: _base(memory, source.map) for source in item.sources}
                    steps.append(_run(number, part, first, bases, (), streams, memory, None))
                    held.write(steps[-1].writes)
    return tuple(steps)


def _base(memory: Memory, source: int) -> int:
    """Base of a map on the chip; of the input that of its first buffer."""
    region = memory.inputs[0] if source == INPUT else memory.outputs[source]
    assert region is not None
    return region.base


def _run(number: int, item: Pass, first: bool, bases: dict[int, int], reads: tuple[range, ...],
         streams: Streams, memory: Memory, buffer: int | None) -> Run:
    """buffer: spike word where the outputs of this segment go, if the host keeps them."""
    config, network = streams.config, streams.network
    for source in {source.map for source in item.sources} - streams.on_host - {INPUT}:
        region = memory.outputs[source]
        assert region is not None
        reads = (*reads, range(region.base, region.end))
    if not item.drain:
        stride, column, target, writes = 0, 0, 0, range(0)
    elif buffer is not None:
        stride, column = streams.words(item), 0
        target = buffer - item.first_output * network.steps * stride
        writes = range(buffer, buffer + item.outputs * network.steps * stride)
    else:
        region = memory.outputs[item.layer]
        assert region is not None
        stride = words_of(network.shapes[item.layer][0], config)
        advance, column = divmod(item.tile, config.tiles_per_word)
        target, writes = region.base + advance, range(region.base, region.end)
    return Run(number, item, first, bases, reads, target, stride, column, writes)


class _Held:
    """What the input buffers of the current layer hold: its loads, unless written over since."""

    def __init__(self, streams: Streams):
        self._streams = streams
        self._layer: int | None = None
        self._loads: dict[int, tuple[Load, range]] = {}     # by first word

    def enter(self, layer: int) -> None:
        """The next pass belongs to `layer`: another layer's loads are of no use to it."""
        if layer != self._layer:
            self._layer, self._loads = layer, {}

    def write(self, span: range) -> None:
        """The words of `span` are written: loads there are gone."""
        self._loads = {base: (load, place) for base, (load, place) in self._loads.items()
                       if place.start >= span.stop or place.stop <= span.start}

    def load(self, load: Load) -> bool:
        """Note a load; False if the buffer holds just that already."""
        if (found := self._loads.get(load.base)) is not None and found[0] == load:
            return False
        words = len(load.rows) * self._streams.row_words(load.map)
        place = range(load.base, load.base + words)
        self.write(place)
        self._loads[load.base] = load, place
        return True


def _streamed(number: int, item: Pass, first: bool, streams: Streams, memory: Memory,
              held: _Held) -> Iterator[Step]:
    """The segments of a pass; what a buffer holds already is not loaded again."""
    base, space = memory.workspaces.get(item.layer, (0, 0))     # none: it reads only padding
    parts, room, buffers = streams.divide(item, space)
    for index, part in enumerate(parts):
        at = base + index % buffers * room
        bases = {source.map: _base(memory, source.map) for source in part.sources
                 if source.map not in streams.on_host}
        reads = []
        for source, rows in streams.rows(part).items():
            row_words = streams.row_words(source)
            span = range(at, at + len(rows) * row_words)
            load = Load(source, rows, at)
            if held.load(load):
                yield load
            bases[source] = at - rows.start * row_words
            reads.append(span)
            at = span.stop
        for source in part.sources:
            bases.setdefault(source.map, 0)         # not a pixel of it is read
        target = base + buffers * room if item.layer in streams.on_host and item.drain else None
        run = _run(number, part, first and index == 0, bases, tuple(reads), streams, memory, target)
        held.write(run.writes)
        yield run
        if target is not None and part.outputs:
            words = streams.words(part)
            yield Fetch(item.layer, part.first_output, part.outputs, part.tile, part.tiles,
                        target, words)
