"""What the passes of a layer read, site by site: pure geometry.

A *pass* visits sites and reads its *sources* at each (see `quadfire.rtl.fetch.raster`). A layer is
made of passes of one mode:

| mode | a pass makes | sites | banks hold |
|---|---|---|---|
| kernel | one tile of outputs | pixels of the map | the taps of a 3 x 3 block of the kernel |
| tiles | up to `banks` tiles of outputs | output pixels; each tap is a source | one tile each |
| dense | up to `banks` tiles of one output pixel | all pixels that it reads | one tile each |

Everything here counts pixels, words and channels of maps. `quadfire.firmware.compiler.allocation`
decides where they lie in the memories.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from quadfire.models.integer import ConvBranch, IdentityBranch, IntegerNetwork, Pair, Pool, as_pair
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.fetch import geometry

__all__ = ["Axis", "BranchGeometry", "Pass", "Source", "Unfit", "branch_geometries"]


class Unfit(ValueError):
    """Why a layer cannot be computed in one mode: a reason and a remedy."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a branch: which pixels an output reads.

    Output o and tap k read the pooled pixel i = stride o + k - padding. It is the window of
    `window` pixels from pixel pool_stride i - pool_padding on, and empty unless 0 <= i < pooled.
    """

    length: int         # pixels of the map
    outputs: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    window: int = 1
    pool_stride: int = 1
    pool_padding: int = 0

    @property
    def pooled(self) -> int:
        """Pooled pixels."""
        return (self.length + 2 * self.pool_padding - self.window) // self.pool_stride + 1

    def pixel(self, index: int) -> int:
        """First pixel of a pooled pixel."""
        return self.pool_stride * index - self.pool_padding


@dataclass(frozen=True, kw_only=True)
class BranchGeometry:
    """How a layer reads one branch.

    | field | meaning |
    |---|---|
    | number | of the branch in its layer |
    | map | the map it reads: a layer, or INPUT |
    | channels | of that map |
    | y, x | the two axes |
    | max_pool | a window counts once, however many of its pixels spike |
    | gain | how often its sources are listed |
    | identity | the branch is an identity |
    """

    number: int
    map: int
    channels: int
    y: Axis
    x: Axis
    max_pool: bool
    gain: int
    identity: bool

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """(y, x)"""
        return self.y, self.x


def branch_geometries(network: IntegerNetwork, layer: int) -> list[BranchGeometry]:
    """The branches of a layer, in order."""
    branches = []
    _, *sides = network.shapes[layer]
    for number, branch in enumerate(network.layers[layer].branches):
        channels, *lengths = network.shape_of(branch.source)
        pool, options = None, [{}, {}]
        if isinstance(branch, ConvBranch):
            pool = branch.pool
            strides = _strides(branch.stride, sides)
            options = [{"kernel": kernel, "stride": stride, "padding": padding}
                       for kernel, stride, padding in zip(branch.kernel, strides, branch.padding,
                                                          strict=True)]
        window = pool or Pool(kind="sum", size=1, stride=1)
        y, x = (Axis(length=lengths[axis], outputs=sides[axis], window=window.size[axis],
                     pool_stride=window.stride[axis], pool_padding=window.padding[axis],
                     **options[axis]) for axis in range(2))
        branches.append(BranchGeometry(
            number=number, map=branch.source, channels=channels, y=y, x=x,
            max_pool=window.kind == "max", identity=isinstance(branch, IdentityBranch),
            gain=1 if isinstance(branch, IdentityBranch) else branch.gain))
    return branches


def _strides(strides: Pair, sides: Sequence[int]) -> Pair:
    """The strides; an axis with a single output, where none is seen, takes that of the other."""
    rows, columns = strides
    if rows != columns and 1 in sides:
        rows = columns = columns if sides[0] == 1 else rows
    return rows, columns


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a pass reads at every site: some words of a window of a map.

    | field | meaning |
    |---|---|
    | branch, map | number of the branch in its layer, and the map it reads |
    | first_word, words, channels | spike words of a slot that are read, and channels in them |
    | ky, kx | row and column of the kernel's first tap; -1: its only tap is the middle one |
    | x0, y0, step_x, step_y | first pixel of the window at site (0, 0); pixels from site to site |
    | window_width, window_height | pixels of the window |
    | max_pool | a window counts once where any of its pixels spikes |
    | map_width, map_height | pixels of the map; outside of it there are no spikes |
    | pad | padding of the pooling on both axes: a window that reaches further holds nothing |
    | wide | its rows hold one wide weight each (an identity of a kernel pass) |
    | single_tap | of a kernel pass: it stands for one tap, which lies in the middle bank |
    | output_step | of a dense pass: pixels from output to output |
    | offset | first weight row, from the first row of the pass |

    single_tap and output_step are pairs (rows, columns) where the two differ: with a single_tap of
    (True, False) a source stands for one row of taps, which lies in the middle row of banks.

    A source takes `channels` weight rows; in a dense pass it takes as many at every site. There ky
    and kx are the tap of the first site.
    """

    branch: int
    map: int
    first_word: int
    words: int
    channels: int
    ky: int
    kx: int
    x0: int
    y0: int
    step_x: int
    step_y: int
    window_width: int
    window_height: int
    max_pool: bool
    map_width: int
    map_height: int
    pad: int = 0
    wide: bool = False
    single_tap: bool | tuple[bool, bool] = False
    output_step: int | Pair = 0
    offset: int = 0

    def first_channel(self, config: ArrayConfig) -> int:
        """The first channel that is read."""
        return self.first_word * config.word_bits

    def pixel_rows(self, rows: int) -> range:
        """Pixel rows of the map that `rows` rows of sites read."""
        last = self.y0 + (rows - 1) * self.step_y + self.window_height
        return range(min(max(self.y0, 0), self.map_height), max(min(last, self.map_height), 0))

    def inside(self, width: int, height: int) -> tuple[float, float]:
        """Mean number of window columns and rows that lie in the map, over all sites."""
        def mean(start: int, step: int, window: int, limit: int, count: int) -> float:
            _, pixels = geometry.along(start + step * np.arange(count), window, limit, self.pad)
            return float(pixels.sum()) / count

        return (mean(self.x0, self.step_x, self.window_width, self.map_width, width),
                mean(self.y0, self.step_y, self.window_height, self.map_height, height))


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One PASS packet, or one for every output pixel of a dense layer.

    | field | meaning |
    |---|---|
    | layer, tile, tiles | the tiles tile .. tile + tiles - 1 of the layer's outputs |
    | slots | time steps, or bit planes, of the input |
    | width, height | sites in a row, rows of sites |
    | sources | what is read at every site |
    | rows | weight rows in all |
    | outputs, first_output | pixels that it writes, and the number of the first |
    | kernel_taps, dense | the mode; neither: tiles |
    | grid | of a dense pass: rows and columns of output pixels, one run each |
    | accumulate | it adds to the sums of the pass before |
    | drain | its sums are complete and go to the neurons |

    Only kernel passes use these:

    | field | meaning |
    |---|---|
    | row | y of the first row of sites |
    | start | nothing comes from the row above |
    | flush | one site more, so that the last output leaves |
    | x_low, x_high, y_low, y_high, stride | the sums that leave: a grid of positions |

    `allocation` fills in where things lie:

    | field | meaning |
    |---|---|
    | weights, parameters, tile_parameters | first weight row; parameters of layer and of tile |
    | streamed, loads_parameters | weights, parameters are written before the pass |
    | every_output | streamed weights are written before every run, not only the first |
    """

    layer: int
    tile: int
    tiles: int
    slots: int
    width: int
    height: int
    sources: tuple[Source, ...]
    rows: int
    outputs: int = 1
    first_output: int = 0
    kernel_taps: bool = False
    dense: bool = False
    grid: tuple[int, int] = (1, 1)
    accumulate: bool = False
    drain: bool = True
    row: int = 0
    start: bool = False
    flush: bool = False
    x_low: int = 0
    x_high: int = 0
    y_low: int = 0
    y_high: int = 0
    stride: int = 1

    weights: int = 0
    streamed: bool = False
    every_output: bool = False
    parameters: int = 0
    tile_parameters: int = 0
    loads_parameters: bool = False

    @property
    def mode(self) -> str:
        """"kernel", "dense" or "tiles"."""
        return "kernel" if self.kernel_taps else "dense" if self.dense else "tiles"

    @property
    def sites(self) -> int:
        """Sites of a run."""
        return self.width * self.height

    @property
    def line(self) -> int:
        """Shifts that a line buffer delays."""
        return (self.width - 3) * self.slots if self.kernel_taps else 0

    @property
    def unique_sources(self) -> Iterator[Source]:
        """Sources with weight rows of their own: a gain lists the same source several times."""
        seen = set()
        for source in self.sources:
            if source.offset not in seen:
                seen.add(source.offset)
                yield source

    @property
    def runs(self) -> int:
        """How often it runs for an image: once for every output pixel of the grid."""
        return self.grid[0] * self.grid[1]

    def for_output(self, output: int) -> "Pass":
        """This pass for one output pixel of the grid."""
        y, x = divmod(output, self.grid[1])
        sources = []
        for source in self.sources:
            rows, columns = as_pair(source.output_step)
            sources.append(replace(source, y0=source.y0 + y * rows, x0=source.x0 + x * columns))
        return replace(self, sources=tuple(sources), first_output=output)

    def _leaving(self, first: int, last: int) -> int:
        """Outputs of a kernel pass that leave while rows first .. last - 1 are visited."""
        position = geometry.left_before(last, self.width)
        position = position[len(geometry.left_before(first, self.width)):]
        return int(geometry.leaves(
            position, width=self.width, stride=self.stride, x_low=self.x_low, x_high=self.x_high,
            y_low=self.y_low, y_high=self.y_high).sum())

    def segment(self, first: int, last: int) -> "Pass":
        """The segment of this pass with rows first .. last - 1 of its sites."""
        final = last == self.height
        sources = tuple(replace(source, y0=source.y0 + first * source.step_y)
                        for source in self.sources)
        if self.kernel_taps:
            before = self._leaving(0, first)
            outputs = self.outputs - before if final else self._leaving(first, last)
            return replace(self, sources=sources, row=first, height=last - first,
                           start=first == 0, flush=final, first_output=before, outputs=outputs)
        return replace(self, sources=sources, height=last - first, first_output=first * self.width,
                       outputs=(last - first) * self.width)
