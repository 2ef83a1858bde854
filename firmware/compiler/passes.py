"""Scans: what a layer's passes read, site by site, as plain geometry.

A *pass* visits sites and reads its *sources* at each (see `quadfire.rtl.fetch.raster`). Three kinds of passes make a
layer:

    taps    one tile of outputs, the banks are the taps of 3 x 3 blocks of the kernel
    tiles   up to `banks` tiles of outputs, every kernel tap a source, every output pixel a site
    join    up to `banks` tiles of one output pixel: all pixels that it reads are sites

Everything here is in pixels, words and channels of the maps; where they lie in the memories is
decided in `quadfire.firmware.compiler.allocation`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from quadfire.models.integer import ConvBranch, IdentityBranch, IntegerNetwork, Pool
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["Axis", "Pass", "Reading", "Source", "Unfit", "readings_of"]


class Unfit(ValueError):
    """Why a layer cannot be computed by one kind of passes; a reason and a remedy."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a branch: output o and tap k read the pooled pixel i = stride o + k - padding,

    that is the window of `window` pixels from pixel pool_stride i - pool_padding on; nothing unless
    0 <= i < pooled.
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
        return (self.length + 2 * self.pool_padding - self.window) // self.pool_stride + 1

    def pixel(self, index: int) -> int:
        """First pixel of a pooled pixel."""
        return self.pool_stride * index - self.pool_padding


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A branch: `number` of it in the layer, the map it reads, both axes."""

    number: int
    map: int
    channels: int
    y: Axis
    x: Axis
    any: bool
    gain: int
    identity: bool

    @property
    def stride(self) -> int:
        return self.y.stride


def readings_of(network: IntegerNetwork, layer: int) -> list[Reading]:
    """The branches of a layer."""
    readings = []
    _, *sides = network.shapes[layer]
    for number, branch in enumerate(network.layers[layer].branches):
        channels, *lengths = network.shape_of(branch.source)
        pool, options = None, [{}, {}]
        if isinstance(branch, ConvBranch):
            pool = branch.pool
            options = [{"kernel": kernel, "stride": branch.stride, "padding": branch.padding}
                       for kernel in branch.kernel]
        window = pool or Pool(kind="sum", size=1, stride=1)
        y, x = (Axis(length=length, outputs=outputs, window=window.size,
                     pool_stride=window.stride, pool_padding=window.padding, **option)
                for length, outputs, option in zip(lengths, sides, options, strict=True))
        readings.append(Reading(
            number=number, map=branch.source, channels=channels, y=y, x=x,
            any=window.kind == "max", identity=isinstance(branch, IdentityBranch),
            gain=1 if isinstance(branch, IdentityBranch) else branch.gain))
    return readings


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a pass reads at every site: `words` words from `first_word` on of a window of a map.

    pad: padding of the pooling, beyond which a window holds nothing. ky, kx: of the kernel, the row
    and column of the first tap (-1: its only one is the middle tap); with join, those that the
    first site sees. point: with taps, a single tap, the middle one. offset: weight row, counted
    from the first of the pass; it has `channels` of them, with join at every site.
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
    any: bool
    map_width: int
    map_height: int
    pad: int = 0
    wide: bool = False
    point: bool = False
    move: int = 0           # with join: pixels from output to output
    offset: int = 0

    def first_channel(self, config: ArrayConfig) -> int:
        return self.first_word * config.word_bits

    def pixel_rows(self, rows: int) -> range:
        """Pixel rows of the map that `rows` rows of sites read."""
        last = self.y0 + (rows - 1) * self.step_y + self.window_height
        return range(min(max(self.y0, 0), self.map_height), max(min(last, self.map_height), 0))

    def inside(self, width: int, height: int) -> tuple[float, float]:
        """Mean number of columns and rows of the window that count, over the sites."""
        def mean(start: int, step: int, window: int, limit: int, count: int) -> float:
            first = start + step * np.arange(count)[:, None]
            pixel = first + np.arange(window)
            whole = (first >= -self.pad) & (first + window <= limit + self.pad)
            return float((whole & (pixel >= 0) & (pixel < limit)).sum()) / count

        return (mean(self.x0, self.step_x, self.window_width, self.map_width, width),
                mean(self.y0, self.step_y, self.window_height, self.map_height, height))


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One PASS packet: the outputs of `tiles` tiles from `tile` on.

    row: y of its first row of sites. outputs: pixels that it writes, from number `first_output` on.
    grid: with join, the rows and columns of outputs, each of which takes a run of its own.
    The last block of fields says where things lie: `weights`, `parameters`, `tile_parameters` are
    addresses; streamed, loads_parameters: what has to be written before it, again: before every run
    for an output.
    """

    layer: int
    tile: int
    tiles: int
    slots: int
    width: int
    height: int
    sources: tuple[Source, ...]
    rows: int               # weight rows in all
    outputs: int = 1
    first_output: int = 0
    taps: bool = False
    join: bool = False
    grid: tuple[int, int] = (1, 1)
    own: bool = False
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
    again: bool = False
    parameters: int = 0
    tile_parameters: int = 0
    loads_parameters: bool = False

    @property
    def sites(self) -> int:
        return self.width * self.height

    @property
    def line(self) -> int:
        """Shifts that a line buffer delays."""
        return (self.width - 3) * self.slots if self.taps else 0

    @property
    def unique_sources(self) -> Iterator[Source]:
        """Sources with rows of their own: those of a gain once."""
        seen = set()
        for source in self.sources:
            if source.offset not in seen:
                seen.add(source.offset)
                yield source

    @property
    def pixels(self) -> int:
        """Runs that it takes, one for every output of the grid."""
        return self.grid[0] * self.grid[1]

    def at(self, output: int) -> "Pass":
        """This pass for one output of the grid."""
        y, x = divmod(output, self.grid[1])
        sources = tuple(replace(source, y0=source.y0 + y * source.move,
                                x0=source.x0 + x * source.move) for source in self.sources)
        return replace(self, sources=sources, first_output=output)

    def _leaving(self, first: int, last: int) -> int:
        """Outputs that leave before row `last` and not before row `first`, with taps."""
        position = np.arange((first - 1) * self.width - 2, (last - 1) * self.width - 2)
        position = position[position >= 0]
        y, x = np.divmod(position, self.width)
        step = self.stride
        leaves = (x >= self.x_low) & (x <= self.x_high) & ((x - self.x_low) % step == 0)
        leaves &= (y >= self.y_low) & (y <= self.y_high) & ((y - self.y_low) % step == 0)
        return int(leaves.sum())

    def segment(self, first: int, last: int) -> "Pass":
        """The part of this pass that scans rows first .. last - 1 of its sites."""
        final = last == self.height
        sources = tuple(replace(source, y0=source.y0 + first * source.step_y)
                        for source in self.sources)
        if self.taps:
            before = self._leaving(0, first)
            outputs = self.outputs - before if final else self._leaving(first, last)
            return replace(self, sources=sources, row=first, height=last - first,
                           start=first == 0, flush=final, first_output=before, outputs=outputs)
        return replace(self, sources=sources, height=last - first, first_output=first * self.width,
                       outputs=(last - first) * self.width)
