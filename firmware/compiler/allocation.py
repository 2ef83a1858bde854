"""Allocation: where weights, parameters and maps lie in the memories of the array.

Weights and parameters stay in place if those of the whole network fit. Otherwise the largest ones
are *streamed*, that is written before every use. They take turns at the two ends of the space
that is left, so one pass's weights are written while the pass before runs.

A map lives from the layer that makes it to its last reader. A kernel layer may overwrite its
identity input if it is the last reader: a tile reads only words that it writes, and each of them
before it writes it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.tape.memory_layout import words_of
from quadfire.models.integer import INPUT, IdentityBranch, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS

__all__ = ["Memory", "Region", "allocate_maps", "allocate_parameters", "allocate_weights",
           "chains", "last_readers", "region_of"]

#: Allocations of maps that are tried at most, in networks of up to 1,000 maps.
TRIES = 4000


# Weights and parameters --------------------------------------------------------------------------

def chains(passes: Sequence[tuple[int, Pass]]) -> list[list[tuple[int, Pass]]]:
    """Numbered passes in chains: the passes of a chain add to the same sums."""
    found: list[list[tuple[int, Pass]]] = []
    for number, a_pass in passes:
        if a_pass.accumulate:
            found[-1].append((number, a_pass))
        else:
            found.append([(number, a_pass)])
    return found


def _units(passes: list[Pass], config: ArrayConfig) -> list[list[int]]:
    """Numbers of the passes whose weights are in the memory at the same time.

    A chain that runs once per output takes turns among its passes, so its weights lie together,
    unless they are too large. Any other pass is a unit of its own.
    """
    units = []
    for chain in chains(list(enumerate(passes))):
        numbers = [number for number, _ in chain]
        if chain[0][1].runs > 1 and sum(a_pass.rows for _, a_pass in chain) <= config.weight_rows:
            units.append(numbers)
        else:
            units += [[number] for number in numbers]
    return units


def allocate_weights(passes: list[Pass], config: ArrayConfig) -> list[Pass]:
    """The passes with their weight rows; where not all fit, the largest are streamed."""
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
    upper, low = config.weight_rows - total, True       # resident weights lie above `upper`
    resident, placed = upper, list(passes)
    for index, unit in enumerate(units):
        if index in streamed:
            at = 0 if low else upper - rows[index]
            low = not low
        else:
            at, resident = resident, resident + rows[index]
        for number in unit:
            a_pass = passes[number]
            placed[number] = replace(
                a_pass, weights=at, streamed=index in streamed,
                every_output=index in streamed and len(unit) == 1 and a_pass.runs > 1
                and (a_pass.accumulate or not a_pass.drain))
            at += a_pass.rows
    return placed


def allocate_parameters(passes: list[Pass], config: ArrayConfig) -> list[Pass]:
    """The passes with their parameters; where not all fit, each pass loads its own."""
    head = len(NEURON_WORDS)
    placed, address, parameters = [], 0, 0
    for a_pass in passes:
        if a_pass.accumulate:
            placed.append(_as_before(a_pass, placed))
            continue
        if a_pass.tile == 0:
            parameters, address = address, address + head
        placed.append(replace(a_pass, parameters=parameters, tile_parameters=address))
        address += a_pass.tiles * config.group_lanes
    if address <= config.parameter_words:
        return placed
    placed, low = [], True
    for a_pass in passes:
        if a_pass.accumulate:
            placed.append(_as_before(a_pass, placed))
            continue
        size = head + a_pass.tiles * config.group_lanes
        address = 0 if low else config.parameter_words - size
        low = not low
        placed.append(replace(a_pass, parameters=address, tile_parameters=address + head,
                              loads_parameters=True))
    return placed


def _as_before(a_pass: Pass, placed: list[Pass]) -> Pass:
    """A pass that shares the parameters of the one before, as passes of a chain do."""
    return replace(a_pass, parameters=placed[-1].parameters,
                   tile_parameters=placed[-1].tile_parameters)


# Maps --------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Region:
    """A map in the spike memory: pixels x slots x words spike words from word `base` on."""

    base: int
    slots: int
    words: int
    pixels: int = 1

    @property
    def size(self) -> int:
        """Spike words in all."""
        return self.pixels * self.slots * self.words

    @property
    def end(self) -> int:
        """The spike word after the last one."""
        return self.base + self.size

    def overlaps(self, other: "Region") -> bool:
        """Whether the two share a word."""
        return self.base < other.end and other.base < self.end


@dataclass(frozen=True)
class Memory:
    """The spike memory.

    | field | meaning |
    |---|---|
    | inputs | input buffers; none where the host keeps the input |
    | outputs | the map of every layer; None where the host keeps it |
    | workspaces | (base, words) of layers that read or write maps of the host |
    """

    inputs: tuple[Region, ...]
    outputs: tuple[Region | None, ...]
    workspaces: dict[int, tuple[int, int]] = field(default_factory=dict)

    def as_of(self, network: IntegerNetwork, config: ArrayConfig) -> "Memory":
        """The same places, for the network with fewer time steps."""
        return Memory(
            tuple(region_of(network, INPUT, config, region.base) for region in self.inputs),
            tuple(region and region_of(network, layer, config, region.base)
                  for layer, region in enumerate(self.outputs)), self.workspaces)

    @property
    def regions(self) -> list[Region]:
        """All maps on the chip, inputs first."""
        return [*self.inputs, *(region for region in self.outputs if region is not None)]

    @property
    def words(self) -> int:
        """Spike words that are used, counted from word 0."""
        return max([region.end for region in self.regions]
                   + [base + size for base, size in self.workspaces.values()])

    @property
    def shared(self) -> bool:
        """Whether maps that live at different times share words."""
        regions = sorted(self.regions, key=lambda region: region.base)
        return any(a.overlaps(b) for a, b in zip(regions, regions[1:], strict=False))

    @property
    def on_host(self) -> set[int]:
        """Maps that the host keeps."""
        maps = {index for index, region in enumerate(self.outputs) if region is None}
        return maps if self.inputs else maps | {INPUT}


def region_of(network: IntegerNetwork, source: int, config: ArrayConfig, base: int = 0) -> Region:
    """The region that a map takes."""
    channels, height, width = network.shape_of(source)
    slots = network.input_bits or network.steps if source == INPUT else network.steps
    return Region(base, slots, words_of(channels, config), height * width)


def last_readers(network: IntegerNetwork) -> dict[int, int]:
    """{map: the last layer that reads it}; the last map is read after the last layer."""
    readers = {source: index for index, layer in enumerate(network.layers)
               for source in layer.sources}
    return readers | {len(network.layers) - 1: len(network.layers)}


def _overwritten(network: IntegerNetwork, kernel_layers: set[int], config: ArrayConfig
                 ) -> dict[int, int]:
    """{layer: the map it reads and may overwrite}."""
    readers, found = last_readers(network), {}
    for index, layer in enumerate(network.layers):
        for branch in layer.branches:
            if (index in kernel_layers and config.lanes >= 32
                    and isinstance(branch, IdentityBranch) and readers[branch.source] == index
                    and layer.sources.count(branch.source) == 1):
                found[index] = branch.source
    return found


@dataclass
class _Search:
    """Depth-first search for the first word of every item.

    | field | meaning |
    |---|---|
    | space | spike words |
    | items | (name, size, first layer, last layer in which it lives) |
    | overwritten | {layer: the map it may lie on} |
    """

    space: int
    items: list[tuple[object, int, int, int]]
    overwritten: dict[int, int]

    def run(self) -> dict[object, int] | None:
        """{name: first word}, or None if the search fails or takes too long.

        It keeps its own stack, as a network may have thousands of layers.
        """
        placed: dict[object, int] = {}
        untried: list[Iterator[int]] = []   # for every placed item and the next: words to try
        tries, most = 0, max(TRIES, 4 * len(self.items))
        while len(placed) < len(self.items):
            if len(untried) == len(placed):
                untried.append(self._candidates(len(placed), placed))
                tries += 1
            if (base := next(untried[-1], None)) is not None:
                if tries > most:
                    return None
                placed[self.items[len(placed)][0]] = base
                continue
            untried.pop()
            if not untried:
                return None
            placed.popitem()
        return placed

    def _candidates(self, index: int, placed: dict[object, int]) -> Iterator[int]:
        """First words to try for an item: on the map it may overwrite, lowest gap, highest gap."""
        name, size, first, last = self.items[index]
        over = self.overwritten.get(name) if isinstance(name, int) else None
        taken = sorted((placed[other], placed[other] + length, other)
                       for other, length, begin, end in self.items[:index]
                       if begin <= last and first <= end)
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


def allocate_maps(network: IntegerNetwork, config: ArrayConfig, kernel_layers: set[int],
                  needs: Callable[[int, set[int]], int]) -> Memory | None:
    """The spike memory with as few maps kept by the host as possible; None if nothing fits.

    | argument | meaning |
    |---|---|
    | kernel_layers | layers of kernel passes |
    | needs | (layer, maps): least words in which the layer runs while the host keeps the maps |

    The input has two buffers if there is room, otherwise one.
    """
    layers = range(len(network.layers))
    readers, overwritten = last_readers(network), _overwritten(network, kernel_layers, config)
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
            # Of two input buffers none is overwritten: while an image runs from one of them, the
            # next is loaded into the other, and a layer writes to the same words for both.
            over = {layer: source for layer, source in overwritten.items()
                    if not {layer, *network.layers[layer].sources} & on_host
                    and (source != INPUT or buffers == 1)}
            if (found := _Search(config.spike_words, items, over).run()) is not None:
                return _memory(network, config, found, items)
        candidates = [source for source in sizes if source not in on_host
                      and source != layers[-1]]
        if not candidates:
            return None
        on_host.add(max(candidates, key=lambda source: (sizes[source], -source)))


def _memory(network: IntegerNetwork, config: ArrayConfig, bases: dict[object, int],
            items: list[tuple[object, int, int, int]]) -> Memory:
    """The memory of a search's result; a workspace grows to what is free while its layer runs."""
    inputs = tuple(region_of(network, INPUT, config, bases[name]) for name in (INPUT, "second")
                   if name in bases)
    outputs = tuple(region_of(network, layer, config, bases[layer]) if layer in bases else None
                    for layer in range(len(network.layers)))
    workspaces = {}
    for name, size, layer, _ in items:
        if isinstance(name, tuple):
            low, high = 0, config.spike_words
            for other, length, begin, end in items:
                if other != name and begin <= layer <= end:
                    if bases[other] >= bases[name] + size:
                        high = min(high, bases[other])
                    else:
                        low = max(low, bases[other] + length)
            workspaces[layer] = (low, high - low)
    return Memory(inputs, outputs, workspaces)
