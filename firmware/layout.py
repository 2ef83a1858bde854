"""How spikes, pixels, weights and parameters lie in the memories of an array.

Spikes: channel c of a slot is bit c % word_bits of its word c // word_bits; slots are in order.
Weights: a row of bank b, group g is one word, lane l at bits l * weight_bits. Tile j of a pass, its
channels j * lanes .. (j + 1) * lanes - 1, stands in bank banks - 1 - j.
Channel order within a tile: lane l of group g is channel g * group_lanes + l.
"""

import numpy as np

from rtl.config import ArrayConfig
from rtl.tape import PARAMETER

__all__ = ["pack_parameters", "pack_pixels", "pack_spikes", "pack_weights", "tiles_of",
           "unpack_spikes", "words_of"]


def words_of(channels: int, config: ArrayConfig) -> int:
    """Spike words that hold one slot of `channels`."""
    return -(-channels // config.word_bits)


def tiles_of(channels: int, config: ArrayConfig) -> int:
    """Tiles that hold `channels` outputs."""
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
    slots = np.ascontiguousarray(words, "<u4").reshape(*words.shape[:-1], -1, per_slot)
    bits = np.unpackbits(slots.view(np.uint8), axis=-1, bitorder="little", count=channels)
    return bits.astype(bool)


def pack_pixels(pixels: np.ndarray, bits: int, config: ArrayConfig) -> np.ndarray:
    """Pixels uint8 [..., channels] as `bits` bit planes, most significant first: stream words."""
    planes = np.arange(bits - 1, -1, -1, dtype=np.uint8)[:, None]
    return pack_spikes(pixels[..., None, :] >> planes & 1, config)


def pack_weights(weight: np.ndarray, config: ArrayConfig) -> np.ndarray:
    """Weights int8 [outputs, inputs] as memory words uint32 [tiles, groups, inputs].

    Outputs that fill the last tile up get weight 0.
    """
    outputs, inputs = weight.shape
    tiles = tiles_of(outputs, config)
    lanes = np.zeros((tiles * config.lanes, inputs), np.uint32)
    lanes[:outputs] = weight.astype(np.int32).view(np.uint32) & (1 << config.weight_bits) - 1
    lanes = lanes.reshape(tiles, config.groups, config.group_lanes, inputs)
    shifts = np.arange(config.group_lanes, dtype=np.uint32) * np.uint32(config.weight_bits)
    return np.bitwise_or.reduce(lanes << shifts[:, None], axis=2)


def pack_parameters(bias: np.ndarray, shift: np.ndarray, idle_bias: int, config: ArrayConfig
                    ) -> np.ndarray:
    """Bias and shift (the layer's) of the outputs as words uint32 [tiles, groups, group_lanes].

    Outputs that fill the last tile up get `idle_bias` and shift 0.
    """
    tiles = tiles_of(len(bias), config)
    biases = np.full(tiles * config.lanes, idle_bias, np.int64)
    shifts = np.full(tiles * config.lanes, config.fraction_bits, np.int64)
    biases[:len(bias)] = bias
    shifts[:len(shift)] += shift
    words = biases & (1 << PARAMETER["bias"]) - 1 | shifts << PARAMETER["bias"]
    return words.astype(np.uint32).reshape(tiles, config.groups, config.group_lanes)
