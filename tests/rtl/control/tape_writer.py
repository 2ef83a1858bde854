"""Packets written by hand: the words of memories, and what must be answered.

`Writer` adds packet after packet; its `finish` reads the output and makes a `Tape`.
"""

from dataclasses import dataclass

import numpy as np

from quadfire.firmware.tape.memory_layout import pack_parameters
from quadfire.firmware.tape.packets import encode, pack
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, TARGET, Emit, Opcode

from tests.rtl.core.layer_definition import LayerDefinition, expected

__all__ = ["DoesNotFit", "Tape", "Writer", "map_words", "weight_rows", "wide_rows"]

_READOUT = 4    # flag of NEURON_WORDS


class DoesNotFit(ValueError):
    """The layer is too large for the array."""


@dataclass
class Tape:
    """Packets and what the device must answer: probe words, then spike words, then a report.

    probe: [answers, lanes]; words: stream words of the output, `reads` answers long.
    """

    packets: list[np.ndarray]
    probe: np.ndarray
    words: np.ndarray
    reads: int

    @property
    def answers(self) -> int:
        return len(self.probe) + self.reads + 1


def map_words(spikes: np.ndarray, config: ArrayConfig) -> np.ndarray:
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


def weight_rows(weight: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Weights [lanes, rows] as memory words [groups, rows]."""
    mask = (1 << config.weight_bits) - 1
    parts = (weight.astype(int) & mask).reshape(config.groups, config.group_lanes, -1)
    shifts = np.arange(config.group_lanes) * config.weight_bits
    return (parts << shifts[:, None]).sum(1).astype(np.uint32)


def wide_rows(wide: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Wide weights [lanes], one for each channel, as memory words [groups, lanes]."""
    rows = np.zeros((config.groups, config.lanes), np.uint32)
    for channel, value in enumerate(wide):
        group, lane = divmod(channel, config.group_lanes)
        word = int(value) << (config.row_bits - config.wide_bits) | lane
        rows[group, channel] = word & (1 << config.row_bits) - 1
    return rows


class Writer:
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
        return self.rows({self.config.banks - 1 - tile: weight_rows(weight[tile * lanes:][:lanes],
                                                                    self.config)
                          for tile in range(len(weight) // lanes)})

    def parameters(self, layer: LayerDefinition) -> dict[str, int]:
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

    def finish(self, layer: LayerDefinition, acc: np.ndarray, column: int) -> Tape:
        """Read the output, at 0, and the counters."""
        spikes, words = expected(acc, layer, self.config)
        output = _output_words(spikes, column, self.config, layer.neuron is not None)
        reads = range(0, len(output), self.config.payload_words)
        for at in reads:
            self.add(Opcode.READ, [at, min(self.config.payload_words, len(output) - at)])
        self.add(Opcode.REPORT)
        # site by site, tile by tile, step by step
        probe = words.reshape(*words.shape[:3], -1, self.config.lanes).transpose(0, 1, 3, 2, 4)
        if layer.emit != Emit.MEMBRANES:
            probe = probe[:, :, :, -1:] if layer.emit == Emit.LOGITS else probe[:, :, :, :0]
        return Tape(self.packets, probe.reshape(-1, self.config.lanes).astype(np.int32), output,
                    len(reads))
