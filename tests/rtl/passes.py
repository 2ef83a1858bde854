"""Passes written out by hand, and what they must give: no compiler stands between.

A `Layer` is some tiles of outputs: sources (maps, kernels, pools) of one output map, neurons with a
bias per output. `expected` computes it by the definition of a convolution; `tape` writes it down
for an array, with taps or with one source per kernel tap, in one pass or in several over parts of
the rows; `dense_tape` as a dense layer over a map, in several passes that share their sums.
`predicted` is what the cycle model says of the passes of a tape.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from firmware.layout import pack_parameters
from firmware.packets import decode, encode, pack, unpack
from rtl.config import ArrayConfig
from rtl.numerics import Neuron, neuron_step, round_shift
from rtl.tape import (NEURON_WORDS, PASS, PASS_WORDS, SOURCE, SOURCE_WORDS, TARGET, Emit, Opcode)
from sim.timing import CLASSES, fetches, pass_cycles

__all__ = ["DoesNotFit", "Layer", "Part", "Tape", "dense_tape", "expected", "predicted", "replay",
           "tape"]

_READOUT = 4    # flag of NEURON_WORDS


class DoesNotFit(ValueError):
    """The layer is too large for the array."""


@dataclass(kw_only=True)
class Part:
    """spikes [slots, C, H, W] through a pool and a kernel [outputs, C, k, k].

    pool: size and step of its windows, which reach `pool_padding` pixels out of the map; any: a
    window counts once. wide [lanes]: instead of a kernel, output c adds wide[c] for channel c.
    """

    spikes: np.ndarray
    weight: np.ndarray | None = None
    padding: int = 0
    pool: tuple[int, int] = (1, 1)
    pool_padding: int = 0
    any: bool = False
    wide: np.ndarray | None = None

    @property
    def kernel(self) -> int:
        return 1 if self.weight is None else self.weight.shape[-1]

    def pooled(self) -> np.ndarray:
        """Number of spikes (or whether there is one) of every window."""
        size, step = self.pool
        x = np.pad(self.spikes, ((0, 0), (0, 0), *[(self.pool_padding,) * 2] * 2))
        rows, columns = ((n - size) // step + 1 for n in x.shape[2:])
        windows = [x[:, :, dy:dy + step * (rows - 1) + 1:step,
                     dx:dx + step * (columns - 1) + 1:step].astype(np.int64)
                   for dy in range(size) for dx in range(size)]
        return np.maximum.reduce(windows) if self.any else sum(windows)

    def sums(self, stride: int) -> np.ndarray:
        """[slots, outputs, H', W'] by the definition."""
        x = np.pad(self.pooled(), ((0, 0), (0, 0), *[(self.padding, self.padding)] * 2))
        if self.weight is None:
            return x[:, :len(self.wide), ::stride, ::stride] * self.wide[:, None, None]
        rows, columns = ((n - self.kernel) // stride + 1 for n in x.shape[2:])
        total = np.zeros((len(x), len(self.weight), rows, columns), np.int64)
        for ky in range(self.kernel):
            for kx in range(self.kernel):
                part = x[:, :, ky:ky + stride * (rows - 1) + 1:stride,
                         kx:kx + stride * (columns - 1) + 1:stride]
                total += np.einsum("oc,schw->sohw", self.weight[:, :, ky, kx].astype(int), part)
        return total


@dataclass(kw_only=True)
class Layer:
    """Parts that add up, then J = round(acc 2^-shift) + bias and a neuron, or none: a readout.

    bias, shift: [outputs], whole tiles. planes: the slots are bit planes of the input, for `steps`
    time steps; else there are as many steps as slots.
    """

    parts: list[Part]
    neuron: Neuron | None
    bias: np.ndarray
    shift: np.ndarray
    steps: int
    planes: bool = False
    stride: int = 1
    emit: Emit = Emit.NONE


@dataclass
class Tape:
    """Packets and what the device must answer: taps, then spike words, then a report.

    taps: [answers, lanes]; words: stream words of the output, `reads` answers long.
    """

    packets: list[np.ndarray]
    taps: np.ndarray
    words: np.ndarray
    reads: int

    @property
    def answers(self) -> int:
        return len(self.taps) + self.reads + 1


def expected(acc: np.ndarray, layer: Layer, config: ArrayConfig) -> tuple[np.ndarray, np.ndarray]:
    """(spikes, membranes or sums of a readout), both [H', W', steps, outputs], from sums
    [slots, outputs, H', W']."""
    if layer.planes:
        acc = sum(plane << (len(acc) - 1 - index) for index, plane in enumerate(acc))[None]
    j = np.stack([round_shift(acc[:, output], int(layer.shift[output])) + int(layer.bias[output])
                  for output in range(acc.shape[1])], 1)
    if layer.planes:
        j = np.repeat(j, layer.steps, 0)
    if layer.neuron is None:
        states = np.cumsum(j, 0)
        spikes = np.zeros(j.shape, bool)
    else:
        w, spikes, states = np.full(j.shape[1:], layer.neuron.initial), [], []
        for now in j:
            spike, w = neuron_step(w, now, layer.neuron, config.fraction_bits)
            spikes.append(spike)
            states.append(w)
    return tuple(np.stack(a).transpose(2, 3, 0, 1) for a in (spikes, states))


# Writing ---------------------------------------------------------------------------------------

def _map_words(spikes: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Spikes [slots, C, H, W] as stream words [H, words of a row]."""
    slots, channels, height, width = spikes.shape
    words = -(-channels // config.word_bits)
    bits = np.zeros((height, width, slots, words * config.word_bits), np.uint8)
    bits[..., :channels] = spikes.transpose(2, 3, 0, 1)
    return np.packbits(bits, axis=-1, bitorder="little").view("<u4").reshape(height, -1)


def _output_words(spikes: np.ndarray, column: int, config: ArrayConfig, written: bool
                  ) -> np.ndarray:
    """Stream words of spikes [H', W', steps, outputs] in a memory that was all ones before.

    The columns before the first tile stay; those after the last, in its word, are cleared.
    """
    columns = column + spikes.shape[-1] // config.lanes
    columns += -columns % config.tiles_per_word
    bits = np.ones((*spikes.shape[:3], columns * config.lanes), np.uint8)
    if written:
        bits[..., column * config.lanes:] = 0
        bits[..., column * config.lanes:][..., :spikes.shape[-1]] = spikes
    return np.packbits(bits, axis=-1, bitorder="little").view("<u4").ravel()


def _rows(weight: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Weights [lanes, rows] as memory words [groups, rows]."""
    mask = (1 << config.weight_bits) - 1
    parts = (weight.astype(int) & mask).reshape(config.groups, config.group_lanes, -1)
    shifts = np.arange(config.group_lanes) * config.weight_bits
    return (parts << shifts[:, None]).sum(1).astype(np.uint32)


def _wide_rows(wide: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Wide weights [lanes], one for each channel, as memory words [groups, lanes]."""
    rows = np.zeros((config.groups, config.lanes), np.uint32)
    for channel, value in enumerate(wide):
        group, lane = divmod(channel, config.group_lanes)
        word = int(value) << (config.row_bits - config.wide_bits) | lane
        rows[group, channel] = word & (1 << config.row_bits) - 1
    return rows


class _Writer:
    """Packets one after the other; `row` is the first weight row that is free."""

    def __init__(self, config: ArrayConfig, tag: int):
        self.config, self.tag, self.packets, self.row = config, tag, [], 0
        self.add(Opcode.BEGIN, [config.hash, 0])

    def add(self, opcode: Opcode, payload=()) -> None:
        self.packets.append(encode(opcode, self.tag + len(self.packets), payload))

    def blocks(self, opcode: Opcode, words: np.ndarray, address: int, **target: int) -> None:
        room = self.config.payload_words - 1
        for at in range(0, len(words), room):
            head = [address + at] if opcode == Opcode.SPIKES else \
                pack(TARGET, address=address + at, **target)
            self.add(opcode, np.concatenate([np.array(head, np.uint32), words[at:at + room]]))

    def rows(self, banks: dict[int, np.ndarray]) -> int:
        """Memory words {bank: [groups, rows]} at the same rows, which are returned."""
        first, count = self.row, max(words.shape[1] for words in banks.values())
        self.row += count
        if self.row > self.config.weight_rows:
            raise DoesNotFit(f"{self.row} weight rows")
        for bank, words in banks.items():
            for group in range(self.config.groups):
                self.blocks(Opcode.WEIGHTS, words[group], first, bank=bank, group=group)
        return first

    def tiles(self, weight: np.ndarray) -> int:
        """Weights [outputs, rows], a tile in every bank from the last one backwards."""
        lanes = self.config.lanes
        return self.rows({self.config.banks - 1 - tile: _rows(weight[tile * lanes:][:lanes],
                                                              self.config)
                          for tile in range(len(weight) // lanes)})

    def parameters(self, layer: Layer) -> dict[str, int]:
        """Neuron words and channels; the fields that name them."""
        words = np.full(len(NEURON_WORDS), 0x5A5A5A5A, np.int64)
        words[0] = _READOUT
        if layer.neuron is not None:
            words[:] = [layer.neuron.words()[name] for name in NEURON_WORDS]
        channels = pack_parameters(layer.bias, layer.shift, 0, self.config)
        if len(words) + channels.shape[0] * channels.shape[2] > self.config.parameter_words:
            raise DoesNotFit("parameters")
        for group in range(self.config.groups):
            self.blocks(Opcode.PARAMETERS, words.astype(np.uint32), 0, group=group)
            self.blocks(Opcode.PARAMETERS, channels[:, group].ravel(), len(words), group=group)
        return {"parameters": 0, "tile": len(words)}

    def finish(self, layer: Layer, acc: np.ndarray, column: int) -> Tape:
        """Read the output, at 0, and the counters."""
        spikes, words = expected(acc, layer, self.config)
        output = _output_words(spikes, column, self.config, layer.neuron is not None)
        reads = range(0, len(output), self.config.payload_words)
        for at in reads:
            self.add(Opcode.READ, [at, min(self.config.payload_words, len(output) - at)])
        self.add(Opcode.REPORT)
        # site by site, tile by tile, step by step
        taps = words.reshape(*words.shape[:3], -1, self.config.lanes).transpose(0, 1, 3, 2, 4)
        if layer.emit != Emit.MEMBRANES:
            taps = taps[:, :, :, -1:] if layer.emit == Emit.LOGITS else taps[:, :, :, :0]
        return Tape(self.packets, taps.reshape(-1, self.config.lanes).astype(np.int32), output,
                    len(reads))


@dataclass
class _Source:
    """A part read from pixel (y, x) on at site (0, 0), and `step` pixels further at every site."""

    part: Part
    y: int
    x: int
    step: int
    weights: int

    def lines(self, rows: range) -> np.ndarray:
        """Rows of the map that it reads at these rows of sites, and at the site after them."""
        y = self.y + np.arange(rows.start, rows.stop + 1)[:, None] * self.step
        y = y + np.arange(self.part.pool[0])
        return y[(y >= 0) & (y < self.part.spikes.shape[2])]

    def table(self, config: ArrayConfig, row: int, base: int, line: int) -> np.ndarray:
        """SOURCE of a pass from that row of sites on, where row `line` of the map is at `base`."""
        slots, channels, height, width = self.part.spikes.shape
        words = -(-channels // config.word_bits)
        pixel, size, y = slots * words, self.part.pool[0], self.y + row * self.step
        return pack(SOURCE, base=base + pixel * ((y - line) * width + self.x) & 0xFFFF,
                    slot_stride=words, weights=self.weights, words=words - 1,
                    wide=self.part.wide is not None, any=self.part.any, pad=self.part.pool_padding,
                    x_stride=self.step * pixel, y_stride=self.step * pixel * width,
                    window_x_stride=pixel, window_y_stride=pixel * width, x0=self.x & 0x7FF,
                    y0=y & 0x7FF, window_width=size - 1, window_height=size - 1, map_width=width,
                    map_height=height, step_x=self.step, step_y=self.step)


def _kernel_sources(layer: Layer, out: _Writer) -> list[_Source]:
    """One source for every tap of every kernel."""
    sources = []
    for part in layer.parts:
        step = part.pool[1]
        for ky in range(part.kernel):
            for kx in range(part.kernel):
                y, x = ((k - part.padding) * step - part.pool_padding for k in (ky, kx))
                sources.append(_Source(part, y, x, step * layer.stride,
                                       out.tiles(part.weight[:, :, ky, kx])))
    return sources


def _block_offsets(part: Part) -> list[int]:
    if part.kernel == 1:
        return [-part.padding]
    return [3 * block + 1 - part.padding for block in range(-(-part.kernel // 3))]


def _tap_sources(layer: Layer, low: int, out: _Writer) -> list[_Source]:
    """One source for every 3 x 3 block of every kernel; outputs leave from position `low` on."""
    config, sources = out.config, []
    for part in layer.parts:
        step = part.pool[1]
        for i, y in enumerate(_block_offsets(part)):
            for j, x in enumerate(_block_offsets(part)):
                if part.weight is None:
                    rows = _wide_rows(part.wide, config)
                    banks = {bank: rows * (bank == config.banks // 2)
                             for bank in range(config.banks)}
                else:
                    shift = 3 * np.array([i, j]) - (part.kernel == 1)
                    banks = {}
                    for bank in range(9):
                        ky, kx = shift + divmod(bank, 3)
                        inside = 0 <= min(ky, kx) <= max(ky, kx) < part.kernel
                        banks[bank] = _rows(part.weight[:, :, ky, kx] if inside else
                                            0 * part.weight[:, :, 0, 0], config)
                origin = [(off - low) * step - part.pool_padding for off in (y, x)]
                sources.append(_Source(part, *origin, step, out.rows(banks)))
    return sources


def tape(layer: Layer, config: ArrayConfig, *, taps: bool, tag: int = 1, narrow: int = 0,
         segments: Sequence[int] = (), column: int = 0, **more: int) -> Tape:
    """The layer as one pass, or as several over the rows of sites between `segments`.

    Of its maps only the rows that the pass reads are in the spike memory. narrow: sites that every
    row is longer than it needs to be, with taps. more: fields of the PASS. Raises DoesNotFit.
    """
    out = _Writer(config, tag)
    acc = sum(part.sums(layer.stride) for part in layer.parts)
    slots, outputs, rows, columns = acc.shape
    tiles, steps = outputs // config.lanes, layer.steps
    pixel_words = -(-(column + tiles) // config.tiles_per_word)
    output_row = columns * steps * pixel_words
    fields = {"slots": slots - 1, "steps": steps - 1, "planes": layer.planes, "drain": 1,
              "emit": layer.emit, "column": column, "output_stride": pixel_words,
              **out.parameters(layer), **more}
    if taps:
        low = max(0, *(offset for part in layer.parts for offset in _block_offsets(part)))
        sources = _tap_sources(layer, low, out)
        y_high, x_high = (low + layer.stride * (n - 1) for n in (rows, columns))
        inside = max(part.pooled().shape[-1] - offset for part in layer.parts
                     for offset in _block_offsets(part))
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
        left = (np.arange(rows)[:, None] * layer.stride + low) * width
        left = left + np.arange(columns) * layer.stride + low
        return int((left < (row - 1) * width - 2).sum())

    cuts = [0, *segments, height]
    pieces = [range(a, b) for a, b in zip(cuts, cuts[1:], strict=False)]
    base, areas, lines = rows * output_row, {}, {}
    for part in layer.parts:
        mine = [source for source in sources if source.part is part]
        lines[id(part)] = [np.concatenate([source.lines(piece) for source in mine])
                           for piece in pieces]
        areas[id(part)] = base
        base += max((np.ptp(y) + 1 for y in lines[id(part)] if len(y)), default=0) * (
            _map_words(part.spikes, config).shape[1] // config.stream_words)
    if base > config.spike_words or len(sources) > config.sources:
        raise DoesNotFit(f"{base} spike words, {len(sources)} sources")

    ones = np.full(rows * output_row * config.stream_words, 0xFFFFFFFF, np.uint32)
    out.blocks(Opcode.SPIKES, ones, 0)
    for index, piece in enumerate(pieces):
        if index:
            out.add(Opcode.WAIT)
        tables = []
        for part in layer.parts:
            if len(y := lines[id(part)][index]):
                words = _map_words(part.spikes, config)[y.min():y.max() + 1]
                out.blocks(Opcode.SPIKES, words.ravel(), areas[id(part)] * config.stream_words)
        for source in sources:
            y = lines[id(source.part)][index]
            tables.append(source.table(config, piece.start, areas[id(source.part)],
                                       y.min() if len(y) else 0))
        here = {"width": width - 1, "height": len(piece) - 1, "sources": len(sources) - 1,
                "output_base": outputs_before(piece.start) * steps * pixel_words}
        if taps:
            here |= {"start": index == 0, "flush": index == len(pieces) - 1, "row": piece.start}
        out.add(Opcode.PASS, np.concatenate([pack(PASS, **fields, **here), *tables]))
    return out.finish(layer, acc, column)


def dense_tape(layer: Layer, config: ArrayConfig, *, tag: int = 1, segments: Sequence[int] = (),
               column: int = 0) -> Tape:
    """The layer's one part, whose kernel is as large as its map, as a dense layer over the map.

    weight: [outputs, C, H, W]. A pass for the rows between `segments`; the passes share their sums,
    and their weights have the same place, one after the other.
    """
    out = _Writer(config, tag)
    part, = layer.parts
    slots, channels, height, width = part.spikes.shape
    acc = np.einsum("ochw,schw->so", part.weight.astype(int), part.spikes.astype(int))
    tiles = len(layer.bias) // config.lanes
    pixel_words = -(-(column + tiles) // config.tiles_per_word)
    words = _map_words(part.spikes, config)
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
        weight = part.weight[:, :, first:end].transpose(0, 2, 3, 1)
        source = _Source(part, 0, 0, 1, out.tiles(weight.reshape(len(weight), -1)))
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
    """The counters after these passes by `sim.timing`."""
    passes = [pass_cycles(config, fields, fetches(fields, sources, memory))
              for fields, sources, memory in replay(packets, config)]
    return {name: sum(getattr(cycles, name) for cycles in passes) for name in CLASSES}
