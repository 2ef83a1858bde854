"""The schedule: the actions that compute one image, in order.

| action | what happens |
|---|---|
| `Load` | rows of a map that the host keeps go into the spike memory |
| `Run` | a pass runs: whole, a segment of it, or for one output of a dense layer |
| `Fetch` | what a pass made of a map that the host keeps goes to the host |

A layer whose maps are all on the chip has nothing but runs. Other layers work in segments (see
`quadfire.firmware.compiler.segments`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from quadfire.firmware.compiler.allocation import Memory, chains
from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.segments import Segmentation
from quadfire.firmware.tape.memory_layout import words_of
from quadfire.models.integer import INPUT, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["Action", "Fetch", "Load", "Run", "schedule"]


@dataclass(frozen=True)
class Load:
    """Pixel rows of a map go to spike words from `base` on."""

    map: int
    rows: range
    base: int


@dataclass(frozen=True)
class Run:
    """A pass runs.

    | field | meaning |
    |---|---|
    | number | of the pass in the program |
    | a_pass | the pass itself, a segment of it, or the pass for one output |
    | first | it is the first run of the pass, so streamed weights are written before |
    | bases | {map: spike word of pixel 0}, modulo 2^16, as pixel 0 may lie before the loaded rows |
    | reads, writes | spike words that it reads (the input aside) and writes |
    | target | spike word of pixel 0 of the layer's map |
    | stride | spike words per time step |
    | column | column of the first tile in its spike word |
    """

    number: int
    a_pass: Pass
    first: bool
    bases: dict[int, int]
    reads: tuple[range, ...]
    target: int
    stride: int
    column: int
    writes: range


@dataclass(frozen=True)
class Fetch:
    """Outputs first .. first + count - 1 of some tiles of a map are read from word `base` on.

    A time step of an output is `words` words, which hold nothing but these tiles.
    """

    layer: int
    first: int
    count: int
    tile: int
    tiles: int
    base: int
    words: int


Action = Load | Run | Fetch


class _Buffers:
    """What the input buffers of the current layer hold: its loads that are not overwritten."""

    def __init__(self, segmentation: Segmentation):
        self._segmentation = segmentation
        self._layer: int | None = None
        self._loads: dict[int, tuple[Load, range]] = {}     # by first word

    def enter(self, layer: int) -> None:
        """The next pass belongs to `layer`; it cannot use the loads of another layer."""
        if layer != self._layer:
            self._layer, self._loads = layer, {}

    def write(self, span: range) -> None:
        """The words of `span` are overwritten, and loads there are gone."""
        self._loads = {base: (load, place) for base, (load, place) in self._loads.items()
                       if place.start >= span.stop or place.stop <= span.start}

    def load(self, load: Load) -> bool:
        """Note a load; False if the buffer holds just that already."""
        if (found := self._loads.get(load.base)) is not None and found[0] == load:
            return False
        words = len(load.rows) * self._segmentation.row_words(load.map)
        place = range(load.base, load.base + words)
        self.write(place)
        self._loads[load.base] = load, place
        return True


def schedule(network: IntegerNetwork, config: ArrayConfig, passes: Sequence[Pass], memory: Memory
             ) -> tuple[Action, ...]:
    """The actions of one image."""
    segmentation = Segmentation(network, config, memory.on_host)
    buffers = _Buffers(segmentation)
    actions: list[Action] = []
    for chain in chains(list(enumerate(passes))):
        for output in range(chain[0][1].runs):
            for number, a_pass in chain:
                this_pass = a_pass.for_output(output) if a_pass.runs > 1 else a_pass
                first = output == 0 or a_pass.every_output
                buffers.enter(a_pass.layer)
                if segmentation.uses_host(a_pass):
                    actions += _segmented(number, this_pass, first, segmentation, memory, buffers)
                else:
                    bases = {source.map: _base(memory, source.map) for source in a_pass.sources}
                    run = _run(number, this_pass, first, bases, (), segmentation, memory, None)
                    buffers.write(run.writes)
                    actions.append(run)
    return tuple(actions)


def _base(memory: Memory, source: int) -> int:
    """First spike word of a map on the chip; of the input, that of its first buffer."""
    region = memory.inputs[0] if source == INPUT else memory.outputs[source]
    assert region is not None
    return region.base


def _run(number: int, a_pass: Pass, first: bool, bases: dict[int, int], reads: tuple[range, ...],
         segmentation: Segmentation, memory: Memory, buffer: int | None) -> Run:
    """A run. buffer: where the outputs of this segment go if the host keeps them."""
    config, network = segmentation.config, segmentation.network
    for source in {source.map for source in a_pass.sources} - segmentation.on_host - {INPUT}:
        region = memory.outputs[source]
        assert region is not None
        reads = (*reads, range(region.base, region.end))
    if not a_pass.drain:
        stride, column, target, writes = 0, 0, 0, range(0)
    elif buffer is not None:
        stride, column = segmentation.words(a_pass), 0
        target = buffer - a_pass.first_output * network.steps * stride
        writes = range(buffer, buffer + a_pass.outputs * network.steps * stride)
    else:
        region = memory.outputs[a_pass.layer]
        assert region is not None
        stride = words_of(network.shapes[a_pass.layer][0], config)
        advance, column = divmod(a_pass.tile, config.tiles_per_word)
        target, writes = region.base + advance, range(region.base, region.end)
    return Run(number, a_pass, first, bases, reads, target, stride, column, writes)


def _segmented(number: int, a_pass: Pass, first: bool, segmentation: Segmentation, memory: Memory,
               buffers: _Buffers) -> Iterator[Action]:
    """The actions of a pass in segments. Rows that a buffer holds already are not loaded again."""
    # A pass that reads only padding of the host's maps has no workspace.
    base, space = memory.workspaces.get(a_pass.layer, (0, 0))
    segments, room, count = segmentation.divide(a_pass, space)
    for index, segment in enumerate(segments):
        at = base + index % count * room
        bases = {source.map: _base(memory, source.map) for source in segment.sources
                 if source.map not in segmentation.on_host}
        reads = []
        for source, rows in segmentation.rows(segment).items():
            row_words = segmentation.row_words(source)
            span = range(at, at + len(rows) * row_words)
            load = Load(source, rows, at)
            if buffers.load(load):
                yield load
            bases[source] = at - rows.start * row_words
            reads.append(span)
            at = span.stop
        for source in segment.sources:
            bases.setdefault(source.map, 0)         # none of its pixels is read
        target = None
        if a_pass.layer in segmentation.on_host and a_pass.drain:
            target = base + count * room
        run = _run(number, segment, first and index == 0, bases, tuple(reads), segmentation,
                   memory, target)
        buffers.write(run.writes)
        yield run
        if target is not None and segment.outputs:
            yield Fetch(a_pass.layer, segment.first_output, segment.outputs, segment.tile,
                        segment.tiles, target, segmentation.words(segment))
