"""Plans: the passes that make a layer, in each of the three ways, or why a way is closed.

With taps, a kernel of k x k and padding p is split into blocks (i, j) of 3 x 3 taps, each a source.
Block i sees, at output o, pooled pixel o + 3 i + t - p with its tap t = 0, 1, 2: the site of output
o is o + d, and the block is read at pooled pixel site + off - d, where

    off = 3 i + 1 - p   (a kernel of one tap: off = -p, its tap is the middle one)
    d   = the largest off of all blocks, at least 0

so that no block starts inside of the map. A stride makes all sums of stride 1 and drops the others;
a kernel of 1 x 1 is read with its own stride instead, where the others have none.
"""

from collections.abc import Iterable
from dataclasses import replace

from firmware.layout import tiles_of, words_of
from firmware.scans import Axis, Pass, Reading, Source, Unfit, readings_of
from models.integer import IntegerNetwork
from rtl.config import ArrayConfig
from rtl.tape import NEURON_WORDS, PASS, SOURCE

__all__ = ["plans"]

#: What one of the fields of a PASS or a SOURCE may hold.
_SITES = 1 << PASS["width"]
_PIXELS = (1 << SOURCE["map_width"]) - 1
_ORIGIN = 1 << (SOURCE["x0"] - 1)
_STEP = (1 << SOURCE["step_x"]) - 1
_WINDOW = 1 << SOURCE["window_width"]
_WORDS = 1 << SOURCE["words"]


def plans(network: IntegerNetwork, layer: int, config: ArrayConfig
          ) -> tuple[dict[str, list[Pass]], dict[str, str]]:
    """The passes of a layer by each kind that can make it; the reasons why the others cannot."""
    kinds = {"join": _join} if network.shapes[layer][1:] == (1, 1) else \
        {"taps": _taps, "tiles": _tiles}
    found, reasons = {}, {}
    for kind, make in kinds.items():
        try:
            passes = make(network, layer, config)
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
                ("step", max(source.step_x, source.step_y), 0, _STEP),
                ("window", max(source.window_width, source.window_height), 1, _WINDOW),
                ("number of words", source.words, 1, _WORDS)):
            if not low <= value <= high:
                raise Unfit(f"the {name} of branch {source.branch} is {value}, outside of "
                            f"{low}..{high}: use smaller maps, strides or pools")


def _slots(network: IntegerNetwork, layer: int) -> int:
    return network.bits_of(network.layers[layer]) or network.steps


def _source(reading: Reading, config: ArrayConfig, *, y0: int, x0: int, ky: int, kx: int,
            step_y: int, step_x: int, **options) -> Source:
    """All words of a branch; y0, x0, step_y and step_x in pooled pixels."""
    return Source(branch=reading.number, map=reading.map, any=reading.any,
                  **{"first_word": 0, "words": words_of(reading.channels, config),
                     "channels": reading.channels} | options, ky=ky, kx=kx,
                  y0=reading.y.pixel(y0), x0=reading.x.pixel(x0),
                  step_y=step_y * reading.y.pool_stride, step_x=step_x * reading.x.pool_stride,
                  window_height=reading.y.window, window_width=reading.x.window,
                  map_height=reading.y.limit, map_width=reading.x.limit)


def _placed(sources: Iterable[tuple[Source, int]], sites: int = 1) -> tuple[tuple[Source, ...], int]:
    """Sources, each with its gain, one after the other in the weight memory; rows in all."""
    placed, offset = [], 0
    for source, gain in sources:
        placed += [replace(source, offset=offset)] * gain
        offset += source.channels * sites
    return tuple(placed), offset


def _busiest_first(sources: list[tuple[Source, int]]) -> list[tuple[Source, int]]:
    return sorted(sources, key=lambda pair: -pair[0].channels * (not pair[0].wide))


# Taps --------------------------------------------------------------------------------------------

def _output_stride(readings: list[Reading]) -> int:
    """Stride of the outputs of a pass with taps."""
    strides = {reading.stride for reading in readings if not reading.is_point}
    stride = strides.pop() if strides else 1
    if strides or any(reading.stride % stride for reading in readings):
        raise Unfit("its branches have different strides: use one stride, or kernels of 1 x 1")
    if stride not in (1, 2, 4):
        raise Unfit(f"its stride is {stride}: use 1, 2 or 4")
    return stride


def _blocks(axis: Axis) -> list[tuple[int, int]]:
    """(first tap, off) of every block."""
    if axis.kernel == 1:
        return [(-1, -axis.padding)]
    return [(first, first + 1 - axis.padding) for first in range(0, axis.kernel, 3)]


def _taps(network: IntegerNetwork, layer: int, config: ArrayConfig) -> list[Pass]:
    if not config.taps:
        raise Unfit("the array has no line buffers: use one with line_words above 0")
    readings = readings_of(network, layer)
    stride = _output_stride(readings)
    down = max([0, *(off for reading in readings for _, off in _blocks(reading.y))])
    right = max([0, *(off for reading in readings for _, off in _blocks(reading.x))])
    _, rows, columns = network.shapes[layer]
    y_high, x_high = down + stride * (rows - 1), right + stride * (columns - 1)
    height, width = y_high + 2, max(3, x_high + 2)

    sources: list[tuple[Source, int]] = []
    for reading in readings:
        step = reading.stride // stride if reading.is_point else 1
        for ky, off_y in _blocks(reading.y):
            for kx, off_x in _blocks(reading.x):
                source = _source(reading, config, ky=ky, kx=kx, wide=reading.identity,
                                 y0=off_y - down * step, x0=off_x - right * step,
                                 step_y=step, step_x=step)
                sources.append((source, reading.gain))
                if reading.x.kernel > 1 and right == 0:     # the last site of a row must be silent
                    last = (source.map_width - 1 - source.x0) // source.step_x
                    width = max(width, last + 2)
    if (line := (width - 3) * _slots(network, layer)) > config.line_words - 2:
        raise Unfit(f"its line buffers need {line + 2} words for rows of {width} sites, the array "
                    f"has {config.line_words}: use one with line_words = "
                    f"{1 << (line + 1).bit_length()}, or narrower maps")
    for (source, _), reading in zip(sources, _repeated(readings), strict=True):
        for axis, first, step, count in (
                (reading.y, source.y0, source.step_y, height),
                (reading.x, source.x0, source.step_x, width)):
            index = (first + axis.pool_padding) // axis.pool_stride
            if axis.leaks(index, step // axis.pool_stride, count):
                raise Unfit("its kernel looks beyond a map that is pooled with windows that "
                            "overlap: use a pool whose stride is its size, or no padding")
    return [_tap_pass(network, layer, config, tile, _busiest_first(sources),
                      width=width, height=height, x_low=right, x_high=x_high, y_low=down,
                      y_high=y_high, stride=stride)
            for tile in range(tiles_of(network.shapes[layer][0], config))]


def _repeated(readings: list[Reading]) -> list[Reading]:
    return [reading for reading in readings for _ in _blocks(reading.y) for _ in _blocks(reading.x)]


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


def _tiles(network: IntegerNetwork, layer: int, config: ArrayConfig) -> list[Pass]:
    outputs, height, width = network.shapes[layer]
    sources = []
    for reading in readings_of(network, layer):
        y, x = reading.y, reading.x
        for ky in range(y.kernel):
            for kx in range(x.kernel):
                if y.leaks(ky - y.padding, y.stride, height) or \
                        x.leaks(kx - x.padding, x.stride, width):
                    raise Unfit("its kernel looks beyond a map that is pooled with windows that "
                                "overlap: use a pool whose stride is its size, or no padding")
                sources.append((_source(
                    reading, config, ky=ky, kx=kx, y0=ky - y.padding, x0=kx - x.padding,
                    step_y=y.stride, step_x=x.stride), reading.gain))
    _check_diagonals(network, layer, config)
    placed, rows = _placed(_busiest_first(sources))
    return [Pass(layer=layer, tile=tile, tiles=tiles, slots=_slots(network, layer), width=width,
                 height=height, sources=placed, rows=rows, outputs=height * width)
            for tile, tiles in _tile_groups(outputs, config)]


def _check_diagonals(network: IntegerNetwork, layer: int, config: ArrayConfig) -> None:
    """Identity weights are ordinary ones here."""
    limit = 1 << (config.weight_bits - 1)
    branches = network.layers[layer].branches
    for reading in readings_of(network, layer):
        if reading.identity:
            weight = branches[reading.number].weight
            if weight.min() < -limit or weight.max() >= limit:
                raise Unfit(f"the weights of its identity, {weight.min()}..{weight.max()}, do not "
                            f"fit in the {config.weight_bits} bits of this array")


# Join --------------------------------------------------------------------------------------------

def _join(network: IntegerNetwork, layer: int, config: ArrayConfig) -> list[Pass]:
    """Every pixel that the layer reads is a site; parts of them, one after the other, make passes.

    Where the rows of all sites do not fit, passes take whole rows of sites, parts of a row, or
    parts of the words of a site.
    """
    _check_diagonals(network, layer, config)
    parts: list[tuple[Source, int, int, int]] = []          # source, gain, width, height
    for reading in readings_of(network, layer):
        for source, width, height in _site_parts(reading, config):
            for gain in range(0, reading.gain, config.sources):
                parts.append((source, min(config.sources, reading.gain - gain), width, height))
    if not parts:
        raise Unfit("it reads no pixel of any map")
    passes = []
    for tile, tiles in _tile_groups(network.shapes[layer][0], config):
        for number, (source, gain, width, height) in enumerate(parts):
            placed, rows = _placed([(source, gain)], width * height)
            passes.append(Pass(
                layer=layer, tile=tile, tiles=tiles, slots=_slots(network, layer), width=width,
                height=height, sources=placed, rows=rows, join=True, own=number > 0,
                drain=number == len(parts) - 1))
    return passes


def _site_parts(reading: Reading, config: ArrayConfig) -> list[tuple[Source, int, int]]:
    """(source, width, height) of the passes over the pooled pixels that a branch reads."""
    y, x, room = reading.y, reading.x, config.weight_rows
    rows = range(max(0, -y.padding), min(y.pooled, y.kernel - y.padding))
    columns = range(max(0, -x.padding), min(x.pooled, x.kernel - x.padding))

    def part(row: int, column: int, width: int, height: int, **words: int):
        source = _source(reading, config, y0=row, x0=column, ky=row + y.padding,
                         kx=column + x.padding, step_y=1, step_x=1, **words)
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
