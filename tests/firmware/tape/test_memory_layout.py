"""Layouts: spikes, pixels, weights and parameters stand where the array looks for them."""

import numpy as np
import pytest

from quadfire.firmware.tape.memory_layout import (
    pack_map,
    pack_parameters,
    pack_spikes,
    pack_weights,
    pack_wide,
    planes_of,
    tiles_of,
    unpack_map,
    unpack_spikes,
    words_of,
)
from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset

pytestmark = pytest.mark.fast

CONFIGS = [*PRESETS.values(), ArrayConfig(lanes=128, group_lanes=8, weight_bits=4)]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("channels", [1, 31, 32, 33, 64, 65, 127, 128, 129, 300])
def test_spikes(config, channels):
    spikes = np.random.default_rng(channels).integers(0, 2, (2, 3, channels)).astype(bool)
    words = pack_spikes(spikes, config)
    per_slot = words_of(channels, config) * config.stream_words
    assert words.shape == (2, 3 * per_slot) and words.dtype == np.uint32
    assert np.array_equal(unpack_spikes(words, channels, config), spikes)
    for image, slot, channel in np.ndindex(spikes.shape):
        word, bit = divmod(channel, 32)                 # parts of a spike word: the low one first
        assert words[image, slot * per_slot + word] >> bit & 1 == spikes[image, slot, channel]
    assert sum(map(int, np.bitwise_count(words).ravel())) == spikes.sum()      # the rest is 0


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_maps(config):
    """Word of pixel (y, x), slot s, word w: ((y W + x) S + s) words + w."""
    shape = channels, height, width = 70, 3, 5
    spikes = np.random.default_rng(0).integers(0, 2, (2, 4, *shape)).astype(bool)
    words = pack_map(spikes, config)
    assert np.array_equal(unpack_map(words, shape, config), spikes)
    per_slot = words_of(channels, config)
    parts = words.reshape(2, -1, config.stream_words)
    assert parts.shape[1] == height * width * 4 * per_slot
    for image, slot, channel, y, x in np.ndindex(spikes.shape):
        word, bit = divmod(channel, config.word_bits)
        at = ((y * width + x) * 4 + slot) * per_slot + word
        assert parts[image, at, bit // 32] >> bit % 32 & 1 == spikes[image, slot, channel, y, x]


@pytest.mark.parametrize("bits", range(1, 9))
def test_pixels(bits):
    config = preset("tiny")
    pixels = np.random.default_rng(bits).integers(0, 1 << bits, (4, 50, 1, 1), np.uint8)
    planes = unpack_map(pack_map(planes_of(pixels, bits), config), (50, 1, 1), config)
    assert planes.shape == (4, bits, 50, 1, 1)
    value = np.zeros(pixels.shape, int)
    for plane in np.moveaxis(planes, 1, 0):             # most significant first, as the array folds
        value = 2 * value + plane
    assert np.array_equal(value, pixels)


def test_wide_weights():
    """Every value in a row of its own, beside the lane that takes it."""
    config = preset("default")
    values = np.array([5, -1, (1 << 29) - 1, -(1 << 29), 7])
    words = pack_wide(values, 3, 10, config).astype(np.int64)
    assert words.shape == (8, 10) and (words != 0).sum() == 5
    for index, value in enumerate(values):
        word = words[index // 4, 3 + index]
        assert word & 3 == index % 4
        assert ((word >> 2) ^ 1 << 29) - (1 << 29) == value


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_weights(config):
    limit = 1 << (config.weight_bits - 1)
    outputs, inputs = 2 * config.lanes + 1, 7
    weight = np.random.default_rng(0).integers(-limit, limit, (outputs, inputs)).astype(np.int8)
    words = pack_weights(weight, config)
    assert words.shape == (3, config.groups, inputs) and words.dtype == np.uint32
    for channel in range(3 * config.lanes):
        tile, lane = divmod(channel, config.lanes)
        group, place = divmod(lane, config.group_lanes)
        field = words[tile, group] >> np.uint32(place * config.weight_bits) & 2 * limit - 1
        value = (field.astype(int) + limit) % (2 * limit) - limit
        assert np.array_equal(value, weight[channel] if channel < outputs else np.zeros(inputs))


def test_parameters():
    config = preset("tiny")
    bias, shift = np.array([-5, 7, -(1 << 23), (1 << 23) - 1, 3]), np.array([-10, 0, 21, 3, 4])
    words = pack_parameters(bias, shift, -99, config)
    assert words.shape == (2, 2, 2)
    words = words.ravel().astype(int)
    biases = ((words & 0xFFFFFF) + (1 << 23)) % (1 << 24) - (1 << 23)
    assert biases.tolist() == [*bias, -99, -99, -99]
    assert (words >> 24).tolist() == [0, 10, 31, 13, 14, 10, 10, 10]


def test_tiles():
    config = preset("tiny")
    assert [tiles_of(n, config) for n in (1, 4, 5, 8, 9)] == [1, 1, 2, 2, 3]
