"""Single passes written out by hand, and what they must give: no compiler stands between.

A `Layer` is one tile of outputs: sources (maps, kernels, pools) of one output map, neurons with a
bias per lane. `expected` computes it by the definition of a convolution, `tape` writes it down for
an array, with taps or with one source per kernel tap.
"""

from dataclasses import dataclass, field

import numpy as np

from firmware.layout import pack_parameters
from firmware.packets import encode, pack
from rtl.config import ArrayConfig
from rtl.numerics import Neuron, neuron_step, round_shift
from rtl.tape import NEURON_WORDS, PASS, SOURCE, TARGET, Opcode

__all__ = ["Layer", "Part", "expected", "tape"]


@dataclass
class Part:
    """spikes [slots, C, H, W] through a pool (size, step) and a kernel [lanes, C, k, k]."""

    spikes: np.ndarray
    weight: np.ndarray
    padding: int = 0
    pool: tuple[int, int] = (1, 1)
    any: bool = False
    wide: np.ndarray | None = None      # [lanes]: instead of a kernel, lane c adds it for channel c

    def pooled(self) -> np.ndarray:
        """Number of spikes (or whether there is one) of every window."""
        size, step = self.pool
        _, _, height, width = self.spikes.shape
        rows, columns = ((n - size) // step + 1 for n in (height, width))
        windows = [self.spikes[:, :, dy:dy + step * (rows - 1) + 1:step,
                               dx:dx + step * (columns - 1) + 1:step].astype(np.int64)
                   for dy in range(size) for dx in range(size)]
        return np.maximum.reduce(windows) if self.any else sum(windows)

    def sums(self, stride: int) -> np.ndarray:
        """[slots, lanes, H', W'] by the definition."""
        x = np.pad(self.pooled(), ((0, 0), (0, 0), *[(self.padding, self.padding)] * 2))
        if self.wide is not None:
            return x[:, :len(self.wide)] * self.wide[:, None, None]
        kernel = self.weight.shape[-1]
        rows, columns = ((n - kernel) // stride + 1 for n in x.shape[2:])
        total = np.zeros((len(x), len(self.weight), rows, columns), np.int64)
        for ky in range(kernel):
            for kx in range(kernel):
                part = x[:, :, ky:ky + stride * (rows - 1) + 1:stride,
                         kx:kx + stride * (columns - 1) + 1:stride]
                total += np.einsum("oc,schw->sohw", self.weight[:, :, ky, kx].astype(int), part)
        return total


@dataclass
class Layer:
    """Parts that add up, then J = round(acc 2^-shift) + bias and a neuron; one tile of lanes."""

    parts: list[Part]
    neuron: Neuron
    bias: np.ndarray
    shift: np.ndarray
    steps: int
    planes: bool = False
    stride: int = 1
    about: dict = field(default_factory=dict)


def expected(layer: Layer, config: ArrayConfig) -> np.ndarray:
    """Spikes [H', W', steps, lanes] of the layer."""
    acc = sum(part.sums(layer.stride) for part in layer.parts)
    if layer.planes:
        acc = sum(plane << (len(acc) - 1 - index) for index, plane in enumerate(acc))[None]
    j = np.stack([round_shift(acc[:, lane], int(layer.shift[lane])) + int(layer.bias[lane])
                  for lane in range(acc.shape[1])], 1)
    w = np.full(j.shape[1:], layer.neuron.initial)
    spikes = []
    for step in range(layer.steps):
        spike, w = neuron_step(w, j[0 if layer.planes else step], layer.neuron,
                               config.fraction_bits)
        spikes.append(spike)
    return np.stack(spikes).transpose(2, 3, 0, 1)


def _map_words(spikes: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Spikes [slots, C, H, W] as stream words, pixel by pixel."""
    slots, channels, height, width = spikes.shape
    words = -(-channels // config.word_bits)
    bits = np.zeros((height, width, slots, words * config.word_bits), np.uint8)
    bits[..., :channels] = spikes.transpose(2, 3, 0, 1)
    return np.packbits(bits, axis=-1, bitorder="little").view("<u4").ravel()


def _rows(lanes: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Weights [lanes, rows] as memory words [groups, rows]."""
    mask = (1 << config.weight_bits) - 1
    parts = (lanes.astype(int) & mask).reshape(config.groups, config.group_lanes, -1)
    shifts = np.arange(config.group_lanes) * config.weight_bits
    return (parts << shifts[:, None]).sum(1).astype(np.uint32)


class _Writer:
    def __init__(self, config: ArrayConfig, tag: int):
        self.config, self.tag, self.packets = config, tag, []
        self.add(Opcode.BEGIN, [config.hash, 0])

    def add(self, opcode: Opcode, payload=()) -> None:
        self.packets.append(encode(opcode, self.tag + len(self.packets), payload))

    def blocks(self, opcode: Opcode, words: np.ndarray, address: int, **target: int) -> None:
        room = self.config.payload_words - 1
        for at in range(0, len(words), room):
            head = [address + at] if opcode == Opcode.SPIKES else \
                pack(TARGET, address=address + at, **target)
            self.add(opcode, np.concatenate([np.array(head, np.uint32), words[at:at + room]]))


def tape(layer: Layer, config: ArrayConfig, *, taps: bool, tag: int = 1, narrow: int = 0,
         **more: int) -> tuple[list[np.ndarray], int]:
    """(packets, stream words of the output), which the last two packets read, before a REPORT.

    narrow: sites that every row is longer than it needs to be. more: fields of the PASS.
    """
    out = _Writer(config, tag)
    outputs = expected(layer, config)
    rows, columns, steps, _ = outputs.shape
    out_words = 1
    base, weights, sources = rows * columns * steps * out_words, 0, []
    middle = config.banks // 2

    def cell(bank: int, words: np.ndarray) -> None:
        for group in range(config.groups):
            out.blocks(Opcode.WEIGHTS, words[group], weights, bank=bank, group=group)

    def offset(part: Part, block: int) -> int:
        kernel = part.weight.shape[-1] if part.wide is None else 1
        return 3 * block + (1 if kernel > 1 else 0) - part.padding

    def blocks_of(part: Part) -> range:
        return range(-(-part.weight.shape[-1] // 3) if part.wide is None else 1)

    low = max(0, *(offset(part, block) for part in layer.parts for block in blocks_of(part)))
    inside = 0
    for part in layer.parts:
        slots, channels, height, width = part.spikes.shape
        words = -(-channels // config.word_bits)
        out.blocks(Opcode.SPIKES, _map_words(part.spikes, config), base * config.stream_words)
        size, step = part.pool
        pixel = slots * words
        common = {
            "slot_stride": words, "words": words - 1, "any": part.any,
            "window_width": size - 1, "window_height": size - 1, "window_x_stride": pixel,
            "window_y_stride": pixel * width, "map_width": width, "map_height": height}
        row_count = words * config.word_bits
        kernel = part.weight.shape[-1] if part.wide is None else 1

        def source(row: int, y: int, x: int, step: int, wide: bool = False, base=base,
                   pixel=pixel, width=width, common=common) -> None:
            sources.append(pack(SOURCE, **common, base=base + pixel * (y * width + x) & 0xFFFF,
                                x_stride=step * pixel, y_stride=step * pixel * width, wide=wide,
                                weights=row, x0=x & 0x7FF, y0=y & 0x7FF, step_x=step,
                                step_y=step))

        def lanes(taps_: np.ndarray, row_count=row_count) -> np.ndarray:
            full = np.zeros((config.lanes, row_count), int)
            full[:taps_.shape[0], :taps_.shape[1]] = taps_
            return _rows(full, config)

        if not taps:
            for ky in range(kernel):
                for kx in range(kernel):
                    cell(config.banks - 1, lanes(part.weight[:, :, ky, kx]))
                    source(weights, (ky - part.padding) * step,
                           (kx - part.padding) * step, step * layer.stride)
                    weights += row_count
        elif part.wide is not None:
            lane_bits = config.row_bits - config.wide_bits
            for bank in range(config.banks):
                rows_ = np.zeros((config.groups, row_count), np.uint32)
                for channel, value in enumerate(part.wide if bank == middle else ()):
                    group, lane = divmod(channel, config.group_lanes)
                    rows_[group, channel] = (int(value) << lane_bits | lane) & (
                        (1 << config.row_bits) - 1)
                cell(bank, rows_)
            source(weights, -low * step, -low * step, step, wide=True)
            weights += row_count
            inside = max(inside, width + low)
        else:
            for i in blocks_of(part):
                for j in blocks_of(part):
                    for ky in range(3):
                        for kx in range(3):
                            y, x = (3 * i + ky, 3 * j + kx) if kernel > 1 else (ky - 1, kx - 1)
                            good = 0 <= y < kernel and 0 <= x < kernel
                            cell(3 * ky + kx, lanes(part.weight[:, :, y, x] if good else
                                                    np.zeros((1, 1), int)))
                    source(weights, (offset(part, i) - low) * step,
                           (offset(part, j) - low) * step, step)
                    weights += row_count
                    pooled = (width - size) // step + 1
                    inside = max(inside, pooled - offset(part, j) + low)
        base += height * width * pixel
    assert weights <= config.weight_rows and base <= config.spike_words, (weights, base)

    values = {name: getattr(layer.neuron, name) for name in NEURON_WORDS[1:]}
    head = np.array([layer.neuron.square | layer.neuron.soft << 1, *values.values()], np.int64)
    channel_words = pack_parameters(layer.bias, layer.shift, 0, config)[0]
    for group in range(config.groups):
        out.blocks(Opcode.PARAMETERS, head.astype(np.uint32), 0, group=group)
        out.blocks(Opcode.PARAMETERS, channel_words[group], len(NEURON_WORDS), group=group)

    slots = len(layer.parts[0].spikes)
    fields = {"slots": slots - 1, "steps": steps - 1, "planes": layer.planes, "drain": 1,
              "sources": len(sources) - 1, "output_base": 0, "output_stride": out_words,
              "parameters": 0, "tile": len(NEURON_WORDS)}
    if taps:
        y_high = low + layer.stride * (rows - 1)
        x_high = low + layer.stride * (columns - 1)
        width = max(3, x_high + 2, 0 if low else inside + 1) + narrow
        fields |= {"taps": 1, "start": 1, "flush": 1, "stride": layer.stride.bit_length() - 1,
                   "width": width - 1, "height": y_high + 1, "x_low": low, "x_high": x_high,
                   "y_low": low, "y_high": y_high, "line": (width - 3) * slots}
    else:
        fields |= {"width": columns - 1, "height": rows - 1}
    out.add(Opcode.PASS, np.concatenate([pack(PASS, **fields, **more), *sources]))
    total = rows * columns * steps * out_words * config.stream_words
    for at in range(0, total, config.payload_words):
        out.add(Opcode.READ, [at, min(config.payload_words, total - at)])
    out.add(Opcode.REPORT)
    return out.packets, -(-total // config.payload_words)
