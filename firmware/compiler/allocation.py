"""Placement: where weights, parameters and maps lie.

Weights and parameters stay where they are if those of the whole network fit. Otherwise the largest
are *streamed*, written before every run: one pass's at the lower end of what is left, the next
one's at the upper end, so that one is written while the other runs.

A map lives from the layer that makes it to the last one that reads it. A layer with taps may write
over the map that it reads by an identity, if nobody reads that later: a tile reads only the words
that it writes, and each of them before it writes it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from quadfire.firmware.tape.memory_layout import words_of
from quadfire.firmware.compiler.passes import Pass
from quadfire.models.integer import INPUT, IdentityBranch, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS

__all__ = ["Memory", "Region", "chains", "last_readers", "place_maps", "place_parameters",
           "place_weights", "region_of"]

#: Placements of maps that are tried at most.
TRIES = 4000


# Weights and parameters --------------------------------------------------------------------------

def chains(passes: Sequence[tuple[int, Pass]]) -> list[list[tuple[int, Pass]]]:
    """Numbered passes, those together that add to the same sums."""
    found: list[list[tuple[int, Pass]]] = []
    for number, item in passes:
        if item.own:
            found[-1].append((number, item))
        else:
            found.append([(number, item)])
    return found


def _units(passes: list[Pass], config: ArrayConfig) -> list[list[int]]:
    """Numbers of the passes whose weights must lie in the memory together, or one by one.

    Together: those that take turns, output by output, unless they are too large for that.
    """
    units = []
    for chain in chains(list(enumerate(passes))):
        numbers = [number for number, _ in chain]
        if chain[0][1].pixels > 1 and sum(item.rows for _, item in chain) <= config.weight_rows:
            units.append(numbers)
        else:
            units += [[number] for number in numbers]
    return units


def place_weights(passes: list[Pass], config: ArrayConfig) -> list[Pass]:
    """Give every pass its rows; where not all fit, stream the largest ones."""
    units = _units(passes, config)
    rows = [sum(passes[number].rows for number in unit) for unit in units]
    total, streamed = sum(rows), set()
    if total > config.weight_rows:
        for unit in sorted(range(len(units)), key=lambda unit: -rows[unit]):
            if total + 2 * max(rows) <= config.weight_rows:
                break
            streamed.add(unit)
            total -= rows[unit]
    else:
        total = config.weight_rows
    upper, low = config.weight_rows - total, True       # what stays lies above
    resident, placed = upper, list(passes)
    for index, unit in enumerate(units):
        if index in streamed:
            at = 0 if low else upper - rows[index]
            low = not low
        else:
            at, resident = resident, resident + rows[index]
        for number in unit:
            item = passes[number]
            placed[number] = replace(
                item, weights=at, streamed=index in streamed,
                again=index in streamed and len(unit) == 1 and item.pixels > 1
                and (item.own or not item.drain))
            at += item.rows
    return placed


def place_parameters(passes: list[Pass], config: ArrayConfig) -> list[Pass]:
    """Give every pass its parameters; where not all fit, each writes its own before it runs."""
    head = len(NEURON_WORDS)
    placed, address, parameters = [], 0, 0
    for item in passes:
        if item.own:
            placed.append(_as_before(item, placed))
            continue
        if item.tile == 0:
            parameters, address = address, address + head
        placed.append(replace(item, parameters=parameters, tile_parameters=address))
        address += item.tiles * config.group_lanes
    if address <= config.parameter_words:
        return placed
    placed, low = [], True
    for item in passes:
        if item.own:
            placed.append(_as_before(item, placed))
            continue
        size = head + item.tiles * config.group_lanes
        address = 0 if low else config.parameter_words - size
        low = not low
        placed.append(replace(item, parameters=address, tile_parameters=address + head,
                              loads_parameters=True))
    return placed


def _as_before(item: Pass, placed: list[Pass]) -> Pass:
    return replace(item, parameters=placed[-1].parameters,
                   tile_parameters=placed[-1].tile_parameters)


# Maps --------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Region:
    """A map in the spike memory: `pixels` times `slots` times `words` words from word `base` on."""

    base: int
    slots: int
    words: int
    pixels: int = 1

    @property
    def size(self) -> int:
        return self.pixels * self.slots * self.words

    @property
    def end(self) -> int:
        return self.base + self.size

    def overlaps(self, other: "Region") -> bool:
        return self.base < other.end and other.base < self.end


@dataclass(frozen=True)
class Memory:
    """The spike memory: input buffers (none where the host keeps the input), the map of every layer

    (None where the host keeps it), and for layers that read or write maps of the host, a part of
    the memory to do so (base, words).
    """

    inputs: tuple[Region, ...]
    outputs: tuple[Region | None, ...]
    workspaces: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def regions(self) -> list[Region]:
        return [*self.inputs, *(region for region in self.outputs if region is not None)]

    @property
    def words(self) -> int:
        """Spike words from 0 that are used."""
        return max([region.end for region in self.regions]
                   + [base + size for base, size in self.workspaces.values()])

    @property
    def shared(self) -> bool:
        """Do maps lie on top of each other, one after the other in time?"""
        regions = sorted(self.regions, key=lambda region: region.base)
        return any(a.overlaps(b) for a, b in zip(regions, regions[1:], strict=False))

    @property
    def on_host(self) -> set[int]:
        """Maps that the host keeps."""
        maps = {index for index, region in enumerate(self.outputs) if region is None}
        return maps if self.inputs else maps | {INPUT}


def region_of(network: IntegerNetwork, source: int, config: ArrayConfig, base: int = 0) -> Region:
    """The region that a map needs."""
    channels, height, width = network.shape_of(source)
    slots = network.input_bits or network.steps if source == INPUT else network.steps
    return Region(base, slots, words_of(channels, config), height * width)


def last_readers(network: IntegerNetwork) -> dict[int, int]:
    """The last layer that reads a map; of the last layer's own map, the layer after it."""
    readers = {source: index for index, layer in enumerate(network.layers)
               for source in layer.sources}
    return readers | {len(network.layers) - 1: len(network.layers)}


def _replaced(network: IntegerNetwork, taps: set[int], config: ArrayConfig) -> dict[int, int]:
    """Layers that may write over a map that they read: {layer: map}."""
    readers, found = last_readers(network), {}
    for index, layer in enumerate(network.layers):
        for branch in layer.branches:
            if (index in taps and config.lanes >= 32 and isinstance(branch, IdentityBranch)
                    and readers[branch.source] == index
                    and layer.sources.count(branch.source) == 1):
                found[index] = branch.source
    return found


@dataclass
class _Search:
    """Finds a base for every item (name: size, first and last layer in which it lives)."""

    space: int
    items: list[tuple[object, int, int, int]]
    replaced: dict[int, int]

    def run(self) -> dict[object, int] | None:
        """Depth first, with a stack of its own: a network may have thousands of layers."""
        placed: dict[object, int] = {}
        open_: list[Iterator[int]] = []     # of every item placed, and of the next: bases to try
        tries, most = 0, max(TRIES, 4 * len(self.items))
        while len(placed) < len(self.items):
            if len(open_) == len(placed):
                open_.append(self._bases(len(placed), placed))
                tries += 1
            if (base := next(open_[-1], None)) is not None:
                if tries > most:
                    return None
                placed[self.items[len(placed)][0]] = base
                continue
            open_.pop()
            if not open_:
                return None
            placed.popitem()
        return placed

    def _bases(self, index: int, placed: dict[object, int]) -> Iterator[int]:
        """Bases for an item among those that are placed already."""
        name, size, first, last = self.items[index]
        over = self.replaced.get(name) if isinstance(name, int) else None
        taken = sorted((placed[other], placed[other] + length, other)
                       for other, length, begin, end in self.items[:index]
                       if begin <= last and first <= end)
        return self._candidates(size, taken, over)

    def _candidates(self, size: int, taken: list[tuple[int, int, object]], over: object
                    ) -> Iterator[int]:
        """In place of the map `over`; else the lowest gap that is large enough, the highest."""
        for start, end, other in taken:
            if other == over and over is not None and end - start == size:
                yield start
        gaps, at = [], 0
        for start, end, _ in taken:
            if start - at >= size:
                gaps.append((at, start))
            at = max(at, end)
        if self.space - at >= size:
            gaps.append((at, self.space))
        if gaps:
            yield gaps[0][0]
            if gaps[-1][1] - size != gaps[0][0]:
                yield gaps[-1][1] - size


def place_maps(network: IntegerNetwork, config: ArrayConfig, taps: set[int],
               needs: Callable[[int, set[int]], int]) -> Memory | None:
    """The spike memory, with the fewest maps kept by the host; None if nothing helps.

    taps: layers with taps. needs(layer, maps): least words with which a layer can run while the
    host keeps `maps`. The input has two buffers if there is room, one otherwise.
    """
    layers = range(len(network.layers))
    readers, replaced = last_readers(network), _replaced(network, taps, config)
    sizes = {source: region_of(network, source, config).size for source in (INPUT, *layers)}
    end = len(layers)
    on_host: set[int] = set()
    while True:
        for buffers in ((2, 1) if not on_host else (1,)):
            items: list[tuple[object, int, int, int]] = []
            if INPUT not in on_host:
                first = (INPUT, sizes[INPUT], -1, end if buffers == 2 else readers[INPUT])
                items = [first] if buffers == 1 else [first, ("second", *first[1:])]
            for layer in layers:
                if words := needs(layer, on_host) if on_host else 0:
                    items.append((("work", layer), words, layer, layer))
                if layer not in on_host:
                    items.append((layer, sizes[layer], layer, readers[layer]))
            over = {layer: source for layer, source in replaced.items()
                    if not {layer, *network.layers[layer].sources} & on_host}
            if (found := _Search(config.spike_words, items, over).run()) is not None:
                return _memory(network, config, found, items)
        candidates = [source for source in sizes if source not in on_host
                      and source != layers[-1]]
        if not candidates:
            return None
        on_host.add(max(candidates, key=lambda source: (sizes[source], -source)))


def _memory(network: IntegerNetwork, config: ArrayConfig, bases: dict[object, int],
            items: list[tuple[object, int, int, int]]) -> Memory:
    inputs = tuple(region_of(network, INPUT, config, bases[name]) for name in (INPUT, "second")
                   if name in bases)
    outputs = tuple(region_of(network, layer, config, bases[layer]) if layer in bases else None
                    for layer in range(len(network.layers)))
    work = {}
    for name, size, layer, _ in items:
        if isinstance(name, tuple):         # as large as what is free while the layer runs
            low, high = 0, config.spike_words
            for other, length, begin, end in items:
                if other != name and begin <= layer <= end:
                    if bases[other] >= bases[name] + size:
                        high = min(high, bases[other])
                    else:
                        low = max(low, bases[other] + length)
            work[layer] = (low, high - low)
    return Memory(inputs, outputs, work)
