"""Plans: the passes that make a layer, in each of the three ways, or why a way is closed.

With taps, a kernel of k x k and padding p is split into blocks (i, j) of 3 x 3 taps, each a source.
Block i sees, at output o, pooled pixel o + 3 i + t - p with its tap t = 0, 1, 2: the site of output
o is o + d, and the block is read at pooled pixel site + off - d, where

    off = 3 i + 1 - p   (a kernel of one tap: off = -p, its tap is the middle one)
    d   = the largest off of all blocks, at least 0

so that no block starts inside of the map. With a stride, all sums of stride 1 are made and only
some of them leave. A branch whose stride is a multiple of that of the pass is read tap by tap, with
steps: the way in which a projection of stride 2 joins a convolution of stride 1.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quadfire.firmware.tape.memory_layout import tiles_of, words_of
from quadfire.firmware.compiler.passes import Axis, Pass, Reading, Source, Unfit, readings_of
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, PASS, SOURCE

__all__ = ["plans"]

#: What one of the fields of a PASS or a SOURCE may hold.
_SITES = 1 << PASS["width"]
_PIXELS = (1 << SOURCE["map_width"]) - 1
_ORIGIN = 1 << (SOURCE["x0"] - 1)
_STEP = (1 << SOURCE["step_x"]) - 1
_WINDOW = 1 << SOURCE["window_width"]
_WORDS = 1 << SOURCE["words"]
_PAD = (1 << SOURCE["pad"]) - 1


def plans(network: IntegerNetwork, layer: int, config: ArrayConfig
          ) -> tuple[dict[str, list[Pass]], dict[str, str]]:
    """The passes of a layer by each kind that can make it; the reasons why the others cannot."""
    readings = readings_of(network, layer)
    kinds = {"join": _join}
    if network.shapes[layer][1:] != (1, 1):
        kinds["tiles"] = _tiles
    strides = {1, *(reading.stride for reading in readings)} & {1, 2, 4}
    for stride in sorted(strides) if config.kernel_taps else (1,):
        kinds["taps" if stride == 1 else f"taps of stride {stride}"] = partial(_taps, stride=stride)
    found, reasons = {}, {}
    for kind, make in kinds.items():
        try:
            passes = make(network, layer, readings, config)
            for item in passes:
                _check(item, config)
            found[kind] = passes
        except Unfit as reason:
            reasons[kind] = str(reason)
    return found, reasons


def _check(item: Pass, config: ArrayConfig) -> None:
    """Raise Unfit if a field cannot hold its value, or a memory all rows."""
    if item.rows > config.weight_rows:
        raise Unfit(f"it needs {item.rows} weight rows at once, the array has "
                    f"{config.weight_rows}: use one with weight_rows = {item.rows}")
    if len(item.sources) > config.sources:
        raise Unfit(f"it reads {len(item.sources)} sources at once, the array {config.sources}: "
                    + (f"use one with sources = {len(item.sources)}"
                       if len(item.sources) <= 16 else "use a smaller kernel or gain"))
    if max(item.width, item.height + item.row) > _SITES:
        raise Unfit(f"its scan of {item.width} x {item.height} sites is larger than {_SITES}: "
                    "use smaller maps")
    for source in item.sources:
        for name, value, low, high in (
                ("map", max(source.map_width, source.map_height), 1, _PIXELS),
                ("origin", source.x0, -_ORIGIN, _ORIGIN - 1),
                ("origin", source.y0, -_ORIGIN, _ORIGIN - 1),
                ("last pixel", max(source.x0 + item.width * source.step_x,
                                   source.y0 + (item.height + 1) * source.step_y), -_ORIGIN,
                 _ORIGIN - 1),
                ("step", max(source.step_x, source.step_y), 0, _STEP),
                ("padding of the pool", source.pad, 0, _PAD),
                ("window", max(source.window_width, source.window_height), 1, _WINDOW),
                ("number of words", source.words, 1, _WORDS)):
            if not low <= value <= high:
                raise Unfit(f"the {name} of branch {source.branch} is {value}, outside of "
                            f"{low}..{high}: use smaller maps, strides or pools")


def _slots(network: IntegerNetwork, layer: int) -> int:
    return network.bits_of(network.layers[layer]) or network.steps


def _source(reading: Reading, config: ArrayConfig, *, ky: int, kx: int, y0: int, x0: int,
            step_y: int, step_x: int, **options: Any) -> Source:
    """All words of a branch; y0, x0, step_y and step_x in pooled pixels."""
    y, x = reading.y, reading.x
    words: dict[str, Any] = {"first_word": 0, "words": words_of(reading.channels, config),
                             "channels": reading.channels}
    return Source(branch=reading.number, map=reading.map, any=reading.any, ky=ky, kx=kx,
                  y0=y.pixel(y0), x0=x.pixel(x0), step_y=step_y * y.pool_stride,
                  step_x=step_x * x.pool_stride, window_height=y.window, window_width=x.window,
                  map_height=y.length, map_width=x.length, pad=y.pool_padding,
                  **words | options)


def _placed(sources: Iterable[tuple[Source, int]], sites: int = 1
            ) -> tuple[tuple[Source, ...], int]:
    """Sources, each with its gain, one after the other in the weight memory; rows in all."""
    placed, rows = [], 0
    for source, gain in sources:
        placed += [replace(source, offset=rows)] * gain
        rows += source.channels * sites
    return tuple(placed), rows


def _busiest_first(sources: list[tuple[Source, int]]) -> list[tuple[Source, int]]:
    return sorted(sources, key=lambda pair: -pair[0].channels * (not pair[0].wide))


# Taps --------------------------------------------------------------------------------------------

def _blocks(axis: Axis) -> list[tuple[int, int]]:
    """(first tap, off) of every block."""
    if axis.kernel == 1:
        return [(-1, -axis.padding)]
    return [(first, first + 1 - axis.padding) for first in range(0, axis.kernel, 3)]


def _taps(network: IntegerNetwork, layer: int, readings: list[Reading], config: ArrayConfig, *,
          stride: int) -> list[Pass]:
    if not config.kernel_taps:
        raise Unfit("the array has no line buffers: use one with line_words above 0")
    if any(reading.stride % stride for reading in readings):
        raise Unfit("its branches have different strides")
    _check_identities(network, layer, readings, config.wide_bits)
    whole = [reading for reading in readings if reading.stride == stride]
    down = max([0, *(off for reading in whole for _, off in _blocks(reading.y))])
    right = max([0, *(off for reading in whole for _, off in _blocks(reading.x))])
    _, rows, columns = network.shapes[layer]
    y_high, x_high = down + stride * (rows - 1), right + stride * (columns - 1)
    height, width = y_high + 2, max(3, x_high + 2)
    if right == 0:              # the last site of a row must see nothing, it wraps to the next row
        width = max([width, *(reading.x.pooled - off + 1 for reading in whole
                              if reading.x.kernel > 1 for _, off in _blocks(reading.x))])
    if (line := (width - 3) * _slots(network, layer)) > config.line_words - 2:
        raise Unfit(f"its line buffers need {line + 2} words for rows of {width} sites, the array "
                    f"has {config.line_words}: use one with line_words = "
                    f"{1 << (line + 1).bit_length()}, or narrower maps")

    sources: list[tuple[Source, int]] = []
    for reading in readings:
        step = reading.stride // stride
        if step == 1:
            starts = [(ky, kx, off_y - down, off_x - right) for ky, off_y in _blocks(reading.y)
                      for kx, off_x in _blocks(reading.x)]
        else:
            y, x = reading.y, reading.x
            starts = [(ky, kx, ky - y.padding - down * step, kx - x.padding - right * step)
                      for ky in range(y.kernel) for kx in range(x.kernel)]
        for ky, kx, y0, x0 in starts:
            source = _source(reading, config, ky=ky, kx=kx, y0=y0, x0=x0, step_y=step,
                             step_x=step, wide=reading.identity, point=step > 1)
            sources.append((source, reading.gain))
    return [_tap_pass(network, layer, config, tile, _busiest_first(sources),
                      width=width, height=height, x_low=right, x_high=x_high, y_low=down,
                      y_high=y_high, stride=stride)
            for tile in range(tiles_of(network.shapes[layer][0], config))]


def _tap_pass(network: IntegerNetwork, layer: int, config: ArrayConfig, tile: int,
              sources: list[tuple[Source, int]], **geometry: int) -> Pass:
    mine = []
    for source, gain in sources:
        if source.wide:         # only the word that holds the tile's own channels
            word = tile * config.lanes // config.word_bits
            first = word * config.word_bits
            source = replace(source, first_word=word, words=1,
                             channels=min(config.word_bits, source.channels - first))
        mine.append((source, gain))
    placed, rows = _placed(mine)
    _, height, width = network.shapes[layer]
    return Pass(layer=layer, tile=tile, tiles=1, slots=_slots(network, layer), taps=True,
                start=True, flush=True, sources=placed, rows=rows, outputs=height * width,
                **geometry)                                                     # type: ignore


# Tiles -------------------------------------------------------------------------------------------

def _tile_groups(outputs: int, config: ArrayConfig) -> list[tuple[int, int]]:
    """(first tile, tiles) of every pass that makes `outputs` channels."""
    tiles = tiles_of(outputs, config)
    most = min(config.banks, (config.parameter_words - len(NEURON_WORDS)) // config.group_lanes)
    return [(tile, min(most, tiles - tile)) for tile in range(0, tiles, most)]


def _tiles(network: IntegerNetwork, layer: int, readings: list[Reading], config: ArrayConfig
           ) -> list[Pass]:
    outputs, height, width = network.shapes[layer]
    _check_identities(network, layer, readings, config.weight_bits)
    sources = []
    for reading in readings:
        y, x = reading.y, reading.x
        for ky in range(y.kernel):
            for kx in range(x.kernel):
                source = _source(reading, config, ky=ky, kx=kx, y0=ky - y.padding,
                                 x0=kx - x.padding, step_y=y.stride, step_x=x.stride)
                sources.append((source, reading.gain))
    placed, rows = _placed(_busiest_first(sources))
    return [Pass(layer=layer, tile=tile, tiles=tiles, slots=_slots(network, layer), width=width,
                 height=height, sources=placed, rows=rows, outputs=height * width)
            for tile, tiles in _tile_groups(outputs, config)]


def _check_identities(network: IntegerNetwork, layer: int, readings: list[Reading], bits: int
                      ) -> None:
    """Raise Unfit if an identity has a weight of more than `bits` bits."""
    branches = network.layers[layer].branches
    for reading in readings:
        if reading.identity:
            low, high = (int(end(branches[reading.number].weight)) for end in (np.min, np.max))
            if low < -1 << (bits - 1) or high >= 1 << (bits - 1):
                raise Unfit(f"the weights of its identity, {low}..{high}, do not fit in {bits} "
                            "bits: quantise them more coarsely, or use an array with line buffers "
                            "and larger weight_bits or group_lanes")


# Join --------------------------------------------------------------------------------------------

def _join(network: IntegerNetwork, layer: int, readings: list[Reading], config: ArrayConfig
          ) -> list[Pass]:
    """Every pixel that an output reads is a site; parts of them, one after the other, make passes.

    Where the rows of all sites do not fit, passes take whole rows of sites, parts of a row, or
    parts of the words of a site. Every output pixel takes runs of its own.
    """
    _check_identities(network, layer, readings, config.weight_bits)
    channels, *grid = network.shapes[layer]
    parts = []                                              # source, gain, width, height
    for reading in readings:
        for source, width, height in _site_parts(reading, config):
            parts += [(source, min(config.sources, reading.gain - first), width, height)
                      for first in range(0, reading.gain, config.sources)]
    if not parts:
        raise Unfit("it reads no pixel of any map")
    passes = []
    for tile, tiles in _tile_groups(channels, config):
        for number, (source, gain, width, height) in enumerate(parts):
            placed, rows = _placed([(source, gain)], width * height)
            passes.append(Pass(
                layer=layer, tile=tile, tiles=tiles, slots=_slots(network, layer), width=width,
                height=height, sources=placed, rows=rows, join=True, grid=(grid[0], grid[1]),
                own=number > 0, drain=number == len(parts) - 1))
    return passes


def _taps_of(axis: Axis) -> range:
    """Taps of the kernel that see a pixel, of one output; all where there are more outputs."""
    if axis.outputs > 1:
        return range(axis.kernel)
    return range(max(0, axis.padding), min(axis.kernel, axis.pooled + axis.padding))


def _site_parts(reading: Reading, config: ArrayConfig) -> list[tuple[Source, int, int]]:
    """(source, width, height) of the passes over the pooled pixels that an output reads."""
    y, x, room = reading.y, reading.x, config.weight_rows
    rows, columns = _taps_of(y), _taps_of(x)

    def part(row: int, column: int, width: int, height: int, **words: int):
        source = _source(reading, config, ky=row, kx=column, y0=row - y.padding,
                         x0=column - x.padding, step_y=1, step_x=1,
                         move=reading.stride * y.pool_stride, **words)
        return source, width, height

    channels = reading.channels
    if channels > room:
        words = room // config.word_bits
        if not words:
            raise Unfit(f"{channels} inputs do not fit in {room} weight rows, and only whole spike "
                        f"words can be split: use an array with weight_rows = {config.word_bits} "
                        "or more")
        return [part(row, column, 1, 1, first_word=first,
                     words=min(words, words_of(channels, config) - first),
                     channels=min(words * config.word_bits, channels - first * config.word_bits))
                for row in rows for column in columns
                for first in range(0, words_of(channels, config), words)]
    if (wide := room // channels) < len(columns):
        return [part(row, column, min(wide, columns.stop - column), 1)
                for row in rows for column in range(columns.start, columns.stop, wide)]
    high = wide // max(1, len(columns))
    return [part(row, columns.start, len(columns), min(high, rows.stop - row))
            for row in range(rows.start, rows.stop, high) if len(columns)]
