"""Passes written out by hand: no compiler stands between.

`tape` writes a layer down for an array, with taps or with one source per kernel tap, in one pass or
in several over segments of the rows; `dense_tape` as a dense layer over a map, in several passes
that share their sums. `predicted` is what the cycle model says of the passes of a tape.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from quadfire.firmware.tape.packets import decode, pack, unpack
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PASS, PASS_WORDS, SOURCE, SOURCE_WORDS, Opcode
from quadfire.rtl.fetch import geometry
from quadfire.sim.cycles.pass_model import CLASSES, fetches, pass_cycles

from tests.rtl.control.tape_writer import (
    DoesNotFit,
    Tape,
    Writer,
    map_words,
    weight_rows,
    wide_rows,
)
from tests.rtl.core.layer_definition import Branch, LayerDefinition

__all__ = ["dense_tape", "predicted", "replay", "tape"]


@dataclass
class _Source:
    """A branch, read from pixel (y, x) at site (0, 0); `step` pixels further at every next site."""

    branch: Branch
    y: int
    x: int
    step: int
    weights: int

    def lines(self, rows: range) -> np.ndarray:
        """Rows of the map that it reads at these rows of sites, and at the site after them."""
        y = self.y + np.arange(rows.start, rows.stop + 1)[:, None] * self.step
        y = y + np.arange(self.branch.pool[0])
        return y[(y >= 0) & (y < self.branch.spikes.shape[2])]

    def table(self, config: ArrayConfig, row: int, base: int, line: int) -> np.ndarray:
        """SOURCE of a pass from that row of sites on, where row `line` of the map is at `base`."""
        slots, channels, height, width = self.branch.spikes.shape
        words = -(-channels // config.word_bits)
        pixel, size, y = slots * words, self.branch.pool[0], self.y + row * self.step
        return pack(SOURCE, base=base + pixel * ((y - line) * width + self.x) & 0xFFFF,
                    slot_stride=words, weights=self.weights, words=words - 1,
                    wide=self.branch.wide is not None, any=self.branch.any,
                    pad=self.branch.pool_padding,
                    x_stride=self.step * pixel, y_stride=self.step * pixel * width,
                    window_x_stride=pixel, window_y_stride=pixel * width, x0=self.x & 0x7FF,
                    y0=y & 0x7FF, window_width=size - 1, window_height=size - 1, map_width=width,
                    map_height=height, step_x=self.step, step_y=self.step)


def _kernel_sources(layer: LayerDefinition, out: Writer) -> list[_Source]:
    """One source for every tap of every kernel."""
    sources = []
    for branch in layer.branches:
        step = branch.pool[1]
        for ky in range(branch.kernel):
            for kx in range(branch.kernel):
                y, x = ((k - branch.padding) * step - branch.pool_padding for k in (ky, kx))
                sources.append(_Source(branch, y, x, step * layer.stride,
                                       out.tiles(branch.weight[:, :, ky, kx])))
    return sources


def _block_offsets(branch: Branch) -> list[int]:
    if branch.kernel == 1:
        return [-branch.padding]
    return [3 * block + 1 - branch.padding for block in range(-(-branch.kernel // 3))]


def _tap_sources(layer: LayerDefinition, low: int, out: Writer) -> list[_Source]:
    """One source for every 3 x 3 block of every kernel; outputs leave from position `low` on."""
    config, sources = out.config, []
    for branch in layer.branches:
        step = branch.pool[1]
        for i, y in enumerate(_block_offsets(branch)):
            for j, x in enumerate(_block_offsets(branch)):
                if branch.weight is None:
                    rows = wide_rows(branch.wide, config)
                    banks = {bank: rows * (bank == config.banks // 2)
                             for bank in range(config.banks)}
                else:
                    shift = 3 * np.array([i, j]) - (branch.kernel == 1)
                    banks = {}
                    for bank in range(9):
                        ky, kx = shift + divmod(bank, 3)
                        inside = 0 <= min(ky, kx) <= max(ky, kx) < branch.kernel
                        banks[bank] = weight_rows(branch.weight[:, :, ky, kx] if inside else
                                                  0 * branch.weight[:, :, 0, 0], config)
                origin = [(off - low) * step - branch.pool_padding for off in (y, x)]
                sources.append(_Source(branch, *origin, step, out.rows(banks)))
    return sources


def tape(layer: LayerDefinition, config: ArrayConfig, *, taps: bool, tag: int = 1, narrow: int = 0,
         segments: Sequence[int] = (), column: int = 0, **more: int) -> Tape:
    """The layer as one pass, or as several over the rows of sites between `segments`.

    Of its maps only the rows that the pass reads are in the spike memory. narrow: sites that every
    row is longer than it needs to be, with taps. more: fields of the PASS. Raises DoesNotFit.
    """
    out = Writer(config, tag)
    acc = sum(branch.sums(layer.stride) for branch in layer.branches)
    slots, outputs, rows, columns = acc.shape
    tiles, steps = outputs // config.lanes, layer.steps
    pixel_words = -(-(column + tiles) // config.tiles_per_word)
    output_row = columns * steps * pixel_words
    fields = {"slots": slots - 1, "steps": steps - 1, "planes": layer.planes, "drain": 1,
              "emit": layer.emit, "column": column, "output_stride": pixel_words,
              **out.parameters(layer), **more}
    if taps:
        low = max(0, *(offset for branch in layer.branches for offset in _block_offsets(branch)))
        sources = _tap_sources(layer, low, out)
        y_high, x_high = (low + layer.stride * (n - 1) for n in (rows, columns))
        inside = max(branch.pooled().shape[-1] - offset for branch in layer.branches
                     for offset in _block_offsets(branch))
        width = max(3, x_high + 2, 0 if low else inside + 1) + narrow
        height = y_high + 2
        fields |= {"taps": 1, "stride": layer.stride.bit_length() - 1, "x_low": low,
                   "x_high": x_high, "y_low": low, "y_high": y_high, "line": (width - 3) * slots}
        if fields["line"] > config.line_words - 2:
            raise DoesNotFit("line")
    else:
        sources = _kernel_sources(layer, out)
        width, height = columns, rows
        fields |= {"rounds": tiles - 1}

    def outputs_before(row: int) -> int:
        """Outputs that have left when this row of sites begins."""
        if not taps:
            return row * columns
        outputs = {name: fields[name] for name in ("x_low", "x_high", "y_low", "y_high")}
        return int(geometry.leaves(geometry.left_before(row, width), width=width,
                                   stride=layer.stride, **outputs).sum())

    cuts = [0, *segments, height]
    pieces = [range(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    base, areas, lines = rows * output_row, {}, {}
    for branch in layer.branches:
        mine = [source for source in sources if source.branch is branch]
        lines[id(branch)] = [np.concatenate([source.lines(piece) for source in mine])
                           for piece in pieces]
        areas[id(branch)] = base
        base += max((np.ptp(y) + 1 for y in lines[id(branch)] if len(y)), default=0) * (
            map_words(branch.spikes, config).shape[1] // config.stream_words)
    if base > config.spike_words or len(sources) > config.sources:
        raise DoesNotFit(f"{base} spike words, {len(sources)} sources")

    ones = np.full(rows * output_row * config.stream_words, 0xFFFFFFFF, np.uint32)
    out.blocks(Opcode.SPIKES, ones, 0)
    for index, piece in enumerate(pieces):
        if index:
            out.add(Opcode.WAIT)
        tables = []
        for branch in layer.branches:
            if len(y := lines[id(branch)][index]):
                words = map_words(branch.spikes, config)[y.min():y.max() + 1]
                out.blocks(Opcode.SPIKES, words.ravel(), areas[id(branch)] * config.stream_words)
        for source in sources:
            y = lines[id(source.branch)][index]
            tables.append(source.table(config, piece.start, areas[id(source.branch)],
                                       y.min() if len(y) else 0))
        here = {"width": width - 1, "height": len(piece) - 1, "sources": len(sources) - 1,
                "output_base": outputs_before(piece.start) * steps * pixel_words}
        if taps:
            here |= {"start": index == 0, "flush": index == len(pieces) - 1, "row": piece.start}
        out.add(Opcode.PASS, np.concatenate([pack(PASS, **fields, **here), *tables]))
    return out.finish(layer, acc, column)


def dense_tape(layer: LayerDefinition, config: ArrayConfig, *, tag: int = 1,
               segments: Sequence[int] = (), column: int = 0) -> Tape:
    """The layer's one branch, whose kernel is as large as its map, as a dense layer over the map.

    weight: [outputs, C, H, W]. A pass for the rows between `segments`; the passes share their sums,
    and their weights have the same place, one after the other.
    """
    out = Writer(config, tag)
    branch, = layer.branches
    slots, channels, height, width = branch.spikes.shape
    acc = np.einsum("ochw,schw->so", branch.weight.astype(int), branch.spikes.astype(int))
    tiles = len(layer.bias) // config.lanes
    pixel_words = -(-(column + tiles) // config.tiles_per_word)
    words = map_words(branch.spikes, config)
    base = layer.steps * pixel_words
    if base + words.size // config.stream_words > config.spike_words:
        raise DoesNotFit("spike words")
    fields = {"slots": slots - 1, "steps": layer.steps - 1, "planes": layer.planes,
              "emit": layer.emit, "column": column, "rounds": tiles - 1, "join": 1,
              "width": width - 1, "output_stride": pixel_words, "site_rows": channels,
              **out.parameters(layer)}
    out.blocks(Opcode.SPIKES, np.full(base * config.stream_words, 0xFFFFFFFF, np.uint32), 0)
    out.blocks(Opcode.SPIKES, words.ravel(), base * config.stream_words)
    cuts = [0, *segments, height]
    for first, end in zip(cuts, cuts[1:], strict=False):
        if first:
            out.add(Opcode.WAIT)
            out.row = 0
        weight = branch.weight[:, :, first:end].transpose(0, 2, 3, 1)
        source = _Source(branch, 0, 0, 1, out.tiles(weight.reshape(len(weight), -1)))
        here = {"height": end - first - 1, "own": first > 0, "drain": end == height}
        out.add(Opcode.PASS, np.concatenate([pack(PASS, **fields, **here),
                                             source.table(config, first, base, 0)]))
    return out.finish(layer, acc[:, :, None, None], column)


# The cycle model -------------------------------------------------------------------------------

def replay(packets: list[np.ndarray], config: ArrayConfig
           ) -> Iterator[tuple[dict, list[dict], np.ndarray]]:
    """(fields, sources, words of the spike memory) of every PASS in a tape."""
    memory = np.zeros((config.spike_words, config.stream_words), "<u4")
    image = memory.view(f"<u{4 * config.stream_words}")[:, 0]
    for packet in map(decode, packets):
        if packet.opcode == Opcode.SPIKES:
            at = int(packet.payload[0])
            memory.reshape(-1)[at:at + len(packet.payload) - 1] = packet.payload[1:]
        if packet.opcode == Opcode.PASS:
            fields = unpack(PASS, packet.payload[:PASS_WORDS])
            tables = packet.payload[PASS_WORDS:].reshape(-1, SOURCE_WORDS)
            yield fields, [unpack(SOURCE, table) for table in tables], image


def predicted(packets: list[np.ndarray], config: ArrayConfig) -> dict[str, int]:
    """The counters after these passes by `quadfire.sim.cycles.pass_model`."""
    passes = [pass_cycles(config, fields, fetches(fields, sources, memory))
              for fields, sources, memory in replay(packets, config)]
    return {name: sum(getattr(cycles, name) for cycles in passes) for name in CLASSES}
