"""How spikes, pixels, weights and parameters lie in the memories of an array.

| what | where |
|---|---|
| map | pixels in raster order; the slots of a pixel follow each other |
| slot | channel c is bit c % word_bits of its word c // word_bits |
| vector | a map of one pixel |
| row of weights | one word per bank and group; lane l at bits l * weight_bits |
| tile j of a pass | channels j * lanes .. (j + 1) * lanes - 1, in bank banks - 1 - j |
| channel g * group_lanes + l of a tile | lane l of group g |
"""

import math

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import PARAMETER

__all__ = ["pack_map", "pack_parameters", "pack_spikes", "pack_weights", "pack_wide",
           "planes_of", "tiles_of", "unpack_map", "unpack_spikes", "words_of"]


def words_of(channels: int, config: ArrayConfig) -> int:
    """Spike words of one slot of `channels`."""
    return -(-channels // config.word_bits)


def tiles_of(channels: int, config: ArrayConfig) -> int:
    """Tiles of `channels` outputs."""
    return -(-channels // config.lanes)


def pack_spikes(spikes: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Spikes [..., slots, channels], 0 or 1, as stream words uint32 [..., slots * words]."""
    *rest, slots, channels = spikes.shape
    padded = np.zeros((*rest, slots, words_of(channels, config) * config.word_bits), np.uint8)
    padded[..., :channels] = spikes
    words = np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32)
    return words.reshape(*rest, slots * words.shape[-1])


def unpack_spikes(words: np.ndarray, channels: int, config: ArrayConfig) -> np.ndarray:
    """Stream words [..., slots * words] as spikes, bool [..., slots, channels]."""
    per_slot = words_of(channels, config) * config.stream_words
    slots = np.ascontiguousarray(words, "<u4").reshape(
        *words.shape[:-1], words.shape[-1] // per_slot, per_slot)
    bits = np.unpackbits(slots.view(np.uint8), axis=-1, bitorder="little", count=channels)
    return bits.astype(bool)


def pack_map(spikes: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """A map [..., slots, C, H, W] as stream words uint32 [..., H * W * slots * words]."""
    words = pack_spikes(np.moveaxis(spikes, (-4, -3), (-2, -1)), config)    # [..., H, W, slots, C]
    return words.reshape(*words.shape[:-3], math.prod(words.shape[-3:]))


def unpack_map(words: np.ndarray, shape: tuple[int, int, int], config: ArrayConfig) -> np.ndarray:
    """Stream words [..., H * W * slots * words] as a map, bool [..., slots, C, H, W]."""
    channels, height, width = shape
    pixels = words.reshape(*words.shape[:-1], height, width, words.shape[-1] // (height * width))
    return np.moveaxis(unpack_spikes(pixels, channels, config), (-2, -1), (-4, -3))


def planes_of(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Pixels uint8 [..., C, H, W] as bit planes [..., bits, C, H, W], most significant first."""
    planes = np.arange(bits - 1, -1, -1, dtype=np.uint8)[:, None, None, None]
    return pixels[..., None, :, :, :] >> planes & 1


def pack_weights(weight: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Weights int8 [outputs, inputs] as memory words uint32 [tiles, groups, inputs].

    Unused lanes of the last tile get weight 0.
    """
    outputs, inputs = weight.shape
    tiles = tiles_of(outputs, config)
    lanes = np.zeros((tiles * config.lanes, inputs), np.uint32)
    lanes[:outputs] = weight.astype(np.int32).view(np.uint32) & (1 << config.weight_bits) - 1
    lanes = lanes.reshape(tiles, config.groups, config.group_lanes, inputs)
    shifts = np.arange(config.group_lanes, dtype=np.uint32) * np.uint32(config.weight_bits)
    return np.bitwise_or.reduce(lanes << shifts[:, None], axis=2)


def pack_wide(values: np.ndarray, first: int, rows: int, config: ArrayConfig) -> np.ndarray:
    """Wide weights int32 [outputs of a tile] as words uint32 [groups, rows] of the middle bank.

    Row first + i holds the weight of output i and the number of its lane; the rest is zero.
    """
    lane_bits = config.row_bits - config.wide_bits
    words = np.zeros((config.groups, rows), np.uint32)
    for index, value in enumerate(values):
        group, lane = divmod(index, config.group_lanes)
        words[group, first + index] = lane | (int(value) << lane_bits) & (1 << config.row_bits) - 1
    return words


def pack_parameters(bias: np.ndarray, shift: np.ndarray, idle_bias: int, config: ArrayConfig
                    ) -> np.ndarray:
    """Biases and shifts of a layer's outputs as words uint32 [tiles, groups, group_lanes].

    Unused lanes of the last tile get `idle_bias` and shift 0.
    """
    tiles = tiles_of(len(bias), config)
    biases = np.full(tiles * config.lanes, idle_bias, np.int64)
    shifts = np.full(tiles * config.lanes, config.fraction_bits, np.int64)
    biases[:len(bias)] = bias
    shifts[:len(shift)] += shift
    words = biases & (1 << PARAMETER["bias"]) - 1 | shifts << PARAMETER["bias"]
    return words.astype(np.uint32).reshape(tiles, config.groups, config.group_lanes)
