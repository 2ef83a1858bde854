"""The passes that make a layer, in each mode that can make it, or why a mode cannot.

Kernel mode splits a kernel of k x k taps and padding p into blocks (i, j) of 3 x 3 taps. Each block
is a source. At output o, tap t of block i sees pooled pixel o + 3 i + t - p. Output o is at site
o + d, and block i is read at pooled pixel site + off - d, where

    off = 3 i + 1 - p   (-p for a kernel of one tap, which is the middle tap)
    d   = the largest off of all blocks, at least 0

so that no block starts inside the map. With a stride, all sums of stride 1 are made and only
some of them leave. A branch may have a stride that is a multiple of the pass's. Every tap of it is
then a source of its own that moves several pixels per site; so a projection of stride 2 joins a
convolution of stride 1. Each axis for itself: with a stride of (2, 1), every row of taps is split
into blocks of 1 x 3.

A pool has a padding of its own on each axis, a source one for both: the larger. On the other axis
a window may then count that should hold nothing, so every window that is visited is compared.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from quadfire.firmware.compiler.passes import (
    Axis,
    BranchGeometry,
    Pass,
    Source,
    Unfit,
    branch_geometries,
)
from quadfire.firmware.compiler.remedy import array_with, remedies
from quadfire.firmware.tape.memory_layout import tiles_of, words_of
from quadfire.models.integer import IntegerNetwork, as_pair, number_or_pair
from quadfire.models.integer.bounds import signed_bits
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, PASS, SOURCE
from quadfire.rtl.fetch import geometry

__all__ = ["mappings"]

#: What the fields of a PASS and a SOURCE can hold.
_SITES = 1 << PASS["width"]
_PIXELS = (1 << SOURCE["map_width"]) - 1
_ORIGIN = 1 << (SOURCE["x0"] - 1)
_STEP = (1 << SOURCE["step_x"]) - 1
_WINDOW = 1 << SOURCE["window_width"]
_WORDS = 1 << SOURCE["words"]
_PAD = (1 << SOURCE["pad"]) - 1


def mappings(network: IntegerNetwork, layer: int, config: ArrayConfig
             ) -> tuple[dict[str, list[Pass]], dict[str, str]]:
    """(passes of a layer by mode, reasons why the other modes cannot make it)."""
    branches = branch_geometries(network, layer)
    modes = {"dense": _dense}
    if network.shapes[layer][1:] != (1, 1):
        modes["tiles"] = _tiles
    strides = {axis.stride for branch in branches for axis in branch.axes}
    common = [stride for stride in (1, 2, 4) if stride in {1, *strides}
              and not any(other % stride for other in strides)]
    for stride in common if config.kernel_taps else (1,):
        name = "kernel" if stride == 1 else f"kernel of stride {stride}"
        modes[name] = partial(_kernel, stride=stride)
    found, reasons = {}, {}
    for mode, make in modes.items():
        try:
            passes = make(network, layer, branches, config)
            for a_pass in passes:
                _check(a_pass, config)
                _check_pools(a_pass, branches)
            found[mode] = passes
        except Unfit as reason:
            reasons[mode] = str(reason)
    return found, reasons


def _check(a_pass: Pass, config: ArrayConfig) -> None:
    """Raise Unfit if a field cannot hold its value, or the weight memory not all rows."""
    if a_pass.rows > config.weight_rows:
        raise Unfit(f"it needs {a_pass.rows} weight rows at once, the array has "
                    f"{config.weight_rows}: "
                    + (array_with(config, weight_rows=a_pass.rows) or "use fewer channels"))
    if len(a_pass.sources) > config.sources:
        raise Unfit(f"it reads {len(a_pass.sources)} sources at once, the array {config.sources}: "
                    + (array_with(config, sources=len(a_pass.sources))
                       or "use a smaller kernel or gain"))
    if max(a_pass.width, a_pass.height + a_pass.row) > _SITES:
        raise Unfit(f"its {a_pass.width} x {a_pass.height} sites are more than {_SITES} in a row "
                    "or column: use smaller maps")
    for source in a_pass.sources:
        for name, value, low, high in (
                ("map", max(source.map_width, source.map_height), 1, _PIXELS),
                ("origin", source.x0, -_ORIGIN, _ORIGIN - 1),
                ("origin", source.y0, -_ORIGIN, _ORIGIN - 1),
                ("last pixel", max(source.x0 + a_pass.width * source.step_x,
                                   source.y0 + (a_pass.height + 1) * source.step_y), -_ORIGIN,
                 _ORIGIN - 1),
                ("step", max(source.step_x, source.step_y), 0, _STEP),
                ("padding of the pool", source.pad, 0, _PAD),
                ("window", max(source.window_width, source.window_height), 1, _WINDOW),
                ("number of words", source.words, 1, _WORDS)):
            if not low <= value <= high:
                raise Unfit(f"the {name} of branch {source.branch} is {value}, outside of "
                            f"{low}..{high}: use smaller maps, strides or pools")


def _check_pools(a_pass: Pass, branches: list[BranchGeometry]) -> None:
    """Raise Unfit if the one `pad` of a source lets a window count that is none of its pool."""
    for source in a_pass.sources:
        branch = branches[source.branch]
        rows, columns = as_pair(source.output_step)
        y = np.add.outer(source.y0 + source.step_y * np.arange(a_pass.height + a_pass.flush),
                         rows * np.arange(a_pass.grid[0]))
        x = np.add.outer(source.x0 + source.step_x * np.arange(a_pass.width),
                         columns * np.arange(a_pass.grid[1]))
        if _pads_differ(branch.y, source.pad, y) or _pads_differ(branch.x, source.pad, x):
            paddings = tuple(axis.pool_padding for axis in branch.axes)
            raise Unfit(f"the padding of the pool of branch {branch.number} is {paddings}, and the "
                        "array pads rows and columns alike: use one padding for both, or no "
                        "padding of the convolution that reads the pool")


def _pads_differ(axis: Axis, pad: int, first: np.ndarray) -> bool:
    """Whether some windows from `first` on hold more with this padding than with the axis's own."""
    if pad == axis.pool_padding:
        return False
    _, read = geometry.along(first.ravel(), axis.window, axis.length, pad)
    _, meant = geometry.along(first.ravel(), axis.window, axis.length, axis.pool_padding)
    return bool((read != meant).any())


def _slots(network: IntegerNetwork, layer: int) -> int:
    """Slots that the input of a layer takes: bit planes or time steps."""
    return network.bits_of(network.layers[layer]) or network.steps


def _source(branch: BranchGeometry, config: ArrayConfig, *, ky: int, kx: int, y0: int, x0: int,
            step_y: int, step_x: int, **options: Any) -> Source:
    """A source of all words of a branch. y0, x0, step_y and step_x count pooled pixels."""
    y, x = branch.y, branch.x
    words: dict[str, Any] = {"first_word": 0, "words": words_of(branch.channels, config),
                             "channels": branch.channels}
    return Source(branch=branch.number, map=branch.map, max_pool=branch.max_pool, ky=ky, kx=kx,
                  y0=y.pixel(y0), x0=x.pixel(x0), step_y=step_y * y.pool_stride,
                  step_x=step_x * x.pool_stride, window_height=y.window, window_width=x.window,
                  map_height=y.length, map_width=x.length,
                  pad=max(y.pool_padding, x.pool_padding),
                  **words | options)


def _stacked(sources: Iterable[tuple[Source, int]], sites: int = 1
             ) -> tuple[tuple[Source, ...], int]:
    """From (source, gain) pairs: (sources with rows one after the other, rows in all)."""
    placed, rows = [], 0
    for source, gain in sources:
        placed += [replace(source, offset=rows)] * gain
        rows += source.channels * sites
    return tuple(placed), rows


def _busiest_first(sources: list[tuple[Source, int]]) -> list[tuple[Source, int]]:
    """Most channels first, wide sources last: empty slots cost a cycle of the first source only."""
    return sorted(sources, key=lambda pair: -pair[0].channels * (not pair[0].wide))


# Kernel mode -------------------------------------------------------------------------------------

def _blocks(axis: Axis) -> list[tuple[int, int]]:
    """(first tap, off) of every block along an axis."""
    if axis.kernel == 1:
        return [(-1, -axis.padding)]
    return [(first, first + 1 - axis.padding) for first in range(0, axis.kernel, 3)]


def _starts(axis: Axis, step: int, d: int) -> list[tuple[int, int]]:
    """(first tap, pooled pixel at the first site) of every block, or tap, along an axis."""
    if step == 1:
        return [(first, off - d) for first, off in _blocks(axis)]
    return [(tap, tap - axis.padding - d * step) for tap in range(axis.kernel)]


def _kernel(network: IntegerNetwork, layer: int, branches: list[BranchGeometry],
            config: ArrayConfig, *, stride: int) -> list[Pass]:
    """Kernel passes whose outputs are `stride` positions apart, one per tile.

    All strides of the branches are multiples of `stride`.
    """
    if config.kernel_taps:
        _check_identities(network, layer, branches, config, config.wide_bits)
    geometry, down, right = _kernel_sites(network, layer, branches, stride)
    width = geometry["width"]
    if (line := (width - 3) * _slots(network, layer)) > config.line_words - 2:
        larger = array_with(config, line_words=1 << (line + 1).bit_length())
        raise Unfit(f"its line buffers need {line + 2} words for rows of {width} sites, the array "
                    f"has {config.line_words or 'none'}: {remedies(larger, 'use narrower maps')}")
    sources: list[tuple[Source, int]] = []
    for branch in branches:
        step_y, step_x = (axis.stride // stride for axis in branch.axes)
        single = number_or_pair((step_y > 1, step_x > 1))
        for ky, y0 in _starts(branch.y, step_y, down):
            for kx, x0 in _starts(branch.x, step_x, right):
                source = _source(branch, config, ky=ky, kx=kx, y0=y0, x0=x0, step_y=step_y,
                                 step_x=step_x, wide=branch.identity, single_tap=single)
                sources.append((source, branch.gain))
    return [_kernel_pass(network, layer, config, tile, _busiest_first(sources), geometry)
            for tile in range(tiles_of(network.shapes[layer][0], config))]


def _kernel_sites(network: IntegerNetwork, layer: int, branches: list[BranchGeometry], stride: int
                  ) -> tuple[dict[str, int], int, int]:
    """(sites and positions that leave, d of the rows, d of the columns) of a kernel pass."""
    blocks_y = [off for branch in branches if branch.y.stride == stride
                for _, off in _blocks(branch.y)]
    whole = [branch.x for branch in branches if branch.x.stride == stride]
    down, right = max([0, *blocks_y]), max([0, *(off for x in whole for _, off in _blocks(x))])
    _, rows, columns = network.shapes[layer]
    y_high, x_high = down + stride * (rows - 1), right + stride * (columns - 1)
    height, width = y_high + 2, max(3, x_high + 2)
    if right == 0:              # a row's last site wraps to the next row: it must see nothing
        width = max([width, *(x.pooled - off + 1 for x in whole if x.kernel > 1
                              for _, off in _blocks(x))])
    return {"width": width, "height": height, "x_low": right, "x_high": x_high, "y_low": down,
            "y_high": y_high, "stride": stride}, down, right


def _kernel_pass(network: IntegerNetwork, layer: int, config: ArrayConfig, tile: int,
                 sources: list[tuple[Source, int]], geometry: dict[str, Any]) -> Pass:
    """The kernel pass of one tile. Of an identity it reads only the word with its own channels."""
    mine = []
    for source, gain in sources:
        if source.wide:
            word = tile * config.lanes // config.word_bits
            first = word * config.word_bits
            source = replace(source, first_word=word, words=1,
                             channels=min(config.word_bits, source.channels - first))
        mine.append((source, gain))
    stacked, rows = _stacked(mine)
    _, height, width = network.shapes[layer]
    return Pass(layer=layer, tile=tile, tiles=1, slots=_slots(network, layer), kernel_taps=True,
                start=True, flush=True, sources=stacked, rows=rows, outputs=height * width,
                **geometry)


# Tiles mode --------------------------------------------------------------------------------------

def _tile_groups(outputs: int, config: ArrayConfig) -> list[tuple[int, int]]:
    """(first tile, tiles) of every pass that makes `outputs` channels."""
    tiles = tiles_of(outputs, config)
    most = min(config.banks, (config.parameter_words - len(NEURON_WORDS)) // config.group_lanes)
    return [(tile, min(most, tiles - tile)) for tile in range(0, tiles, most)]


def _tiles(network: IntegerNetwork, layer: int, branches: list[BranchGeometry],
           config: ArrayConfig) -> list[Pass]:
    """Passes whose sites are the output pixels, every kernel tap a source."""
    outputs, height, width = network.shapes[layer]
    _check_identities(network, layer, branches, config, config.weight_bits)
    sources = []
    for branch in branches:
        y, x = branch.y, branch.x
        for ky in range(y.kernel):
            for kx in range(x.kernel):
                source = _source(branch, config, ky=ky, kx=kx, y0=ky - y.padding,
                                 x0=kx - x.padding, step_y=y.stride, step_x=x.stride)
                sources.append((source, branch.gain))
    stacked, rows = _stacked(_busiest_first(sources))
    return [Pass(layer=layer, tile=tile, tiles=tiles, slots=_slots(network, layer), width=width,
                 height=height, sources=stacked, rows=rows, outputs=height * width)
            for tile, tiles in _tile_groups(outputs, config)]


def _check_identities(network: IntegerNetwork, layer: int, branches: list[BranchGeometry],
                      config: ArrayConfig, bits: int) -> None:
    """Raise Unfit if an identity has a weight of more than `bits` bits."""
    layer_branches = network.layers[layer].branches
    for branch in branches:
        if branch.identity:
            weight = layer_branches[branch.number].weight
            low, high = int(weight.min()), int(weight.max())
            if low < -1 << (bits - 1) or high >= 1 << (bits - 1):
                wider = _with_wide_weights(config, signed_bits(low, high)) \
                    if bits == config.wide_bits else ""
                raise Unfit(f"the weights of its identity, {low}..{high}, do not fit in {bits} "
                            f"bits: {remedies('quantise them more coarsely', wider)}")


def _with_wide_weights(config: ArrayConfig, bits: int) -> str:
    """The smallest groups whose wide weights have `bits` bits, as a remedy; "" if none have."""
    for weight_bits, group_lanes in ((config.weight_bits, 4), (config.weight_bits, 8), (8, 4)):
        larger = array_with(config, weight_bits=weight_bits, group_lanes=group_lanes)
        if larger and group_lanes * weight_bits - (group_lanes - 1).bit_length() >= bits:
            return larger
    return ""


# Dense mode --------------------------------------------------------------------------------------

def _dense(network: IntegerNetwork, layer: int, branches: list[BranchGeometry],
           config: ArrayConfig) -> list[Pass]:
    """Passes whose sites are the pixels that an output reads, with a run per output pixel.

    Where the rows of all sites do not fit at once, passes follow each other that add to the same
    sums. Each takes whole rows of sites, some sites of a row, or some words of a site.
    """
    _check_identities(network, layer, branches, config, config.weight_bits)
    channels, *grid = network.shapes[layer]
    pieces = []                                             # source, gain, width, height
    for branch in branches:
        for source, width, height in _site_pieces(branch, config, *map(_seeing_taps, branch.axes)):
            pieces += [(source, min(config.sources, branch.gain - first), width, height)
                       for first in range(0, branch.gain, config.sources)]
    if not pieces:              # nothing but padding is read: any tap of it gives the sum 0
        source, width, height = _site_pieces(branches[0], config, range(1), range(1))[0]
        pieces = [(source, 1, width, height)]
    passes = []
    for tile, tiles in _tile_groups(channels, config):
        for number, (source, gain, width, height) in enumerate(pieces):
            stacked, rows = _stacked([(source, gain)], width * height)
            passes.append(Pass(
                layer=layer, tile=tile, tiles=tiles, slots=_slots(network, layer), width=width,
                height=height, sources=stacked, rows=rows, dense=True, grid=(grid[0], grid[1]),
                accumulate=number > 0, drain=number == len(pieces) - 1))
    return passes


def _seeing_taps(axis: Axis) -> range:
    """Taps that see a pixel of the only output; with several outputs all taps."""
    if axis.outputs > 1:
        return range(axis.kernel)
    return range(max(0, axis.padding), min(axis.kernel, axis.pooled + axis.padding))


def _site_pieces(branch: BranchGeometry, config: ArrayConfig, rows: range, columns: range
                 ) -> list[tuple[Source, int, int]]:
    """(source, width, height) of the passes over the pooled pixels of these taps."""
    y, x, room = branch.y, branch.x, config.weight_rows

    def piece(row: int, column: int, width: int, height: int, **words: int):
        source = _source(branch, config, ky=row, kx=column, y0=row - y.padding,
                         x0=column - x.padding, step_y=1, step_x=1,
                         output_step=number_or_pair((y.stride * y.pool_stride,
                                                 x.stride * x.pool_stride)), **words)
        return source, width, height

    channels = branch.channels
    if channels > room:
        words = room // config.word_bits
        if not words:
            raise Unfit(f"{channels} inputs do not fit in {room} weight rows, and only whole spike "
                        f"words can be split: {array_with(config, weight_rows=config.word_bits)}")
        return [piece(row, column, 1, 1, first_word=first,
                      words=min(words, words_of(channels, config) - first),
                      channels=min(words * config.word_bits, channels - first * config.word_bits))
                for row in rows for column in columns
                for first in range(0, words_of(channels, config), words)]
    if (across := room // channels) < len(columns):
        return [piece(row, column, min(across, columns.stop - column), 1)
                for row in rows for column in range(columns.start, columns.stop, across)]
    high = across // max(1, len(columns))
    return [piece(row, columns.start, len(columns), min(high, rows.stop - row))
            for row in range(rows.start, rows.stop, high) if len(columns)]
