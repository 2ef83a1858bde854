"""The weights of a pass as rows of the banks."""

import numpy as np

from quadfire.firmware.compiler.passes import Pass, Source
from quadfire.firmware.tape.memory_layout import pack_weights, pack_wide
from quadfire.models.integer import IdentityBranch, IntegerLayer, as_pair
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["pass_weights", "weight_words"]


def weight_words(a_pass: Pass, config: ArrayConfig) -> int:
    """Words of the weights of a pass, over all banks that it uses."""
    return a_pass.rows * config.groups * (config.banks if a_pass.kernel_taps else a_pass.tiles)


def pass_weights(layer: IntegerLayer, a_pass: Pass, config: ArrayConfig) -> np.ndarray:
    """Weights of a pass as words uint32 [banks, groups, rows]; unused banks are 0."""
    words = np.zeros((config.banks, config.groups, a_pass.rows), np.uint32)
    for source in a_pass.unique_sources:
        rows = _kernel_rows(layer, a_pass, source, config) if a_pass.kernel_taps else \
            _tile_rows(layer, a_pass, source, config)[::-1]
        words[config.banks - len(rows):, :, source.offset:source.offset + rows.shape[-1]] = rows
    return words


def _outputs(layer: IntegerLayer, a_pass: Pass, config: ArrayConfig) -> slice:
    """Channels that a pass makes."""
    first = a_pass.tile * config.lanes
    return slice(first, min(layer.outputs, first + a_pass.tiles * config.lanes))


def _kernel_rows(layer: IntegerLayer, a_pass: Pass, source: Source, config: ArrayConfig
                 ) -> np.ndarray:
    """Rows of a kernel pass [banks, groups, rows]: bank 3 ky + kx holds tap (ky, kx) of a block."""
    outputs, first = _outputs(layer, a_pass, config), source.first_channel(config)
    branch = layer.branches[source.branch]
    if isinstance(branch, IdentityBranch):
        words = np.zeros((config.banks, config.groups, source.channels), np.uint32)
        words[config.banks // 2] = pack_wide(branch.weight[outputs], outputs.start - first,
                                             source.channels, config)
        return words
    weight = branch.weight[outputs, first:first + source.channels]
    taps = np.zeros((3, 3, config.lanes, source.channels), np.int8)
    one_row, one_column = as_pair(source.single_tap)
    for ky, row in _taps_of_banks(source.ky, branch.kernel[0], one_row):
        for kx, column in _taps_of_banks(source.kx, branch.kernel[1], one_column):
            taps[ky, kx, :len(weight)] = weight[:, :, row, column]
    return pack_weights(taps.reshape(-1, source.channels), config)


def _taps_of_banks(first: int, kernel: int, single: bool) -> list[tuple[int, int]]:
    """(place 0..2 in the block, tap) along an axis; a `single` tap lies in the middle."""
    if single:
        return [(1, first)]
    return [(place, first + place) for place in range(3) if 0 <= first + place < kernel]


def _tile_rows(layer: IntegerLayer, a_pass: Pass, source: Source, config: ArrayConfig
               ) -> np.ndarray:
    """Rows of a tiles or dense pass [tiles, groups, rows], those of one site after the other."""
    outputs, first = _outputs(layer, a_pass, config), source.first_channel(config)
    branch = layer.branches[source.branch]
    if isinstance(branch, IdentityBranch):
        weight = np.zeros((layer.outputs, layer.outputs), np.int8)
        np.fill_diagonal(weight, branch.weight)
        weight = weight[:, :, None, None]
    else:
        weight = branch.weight
    height, width = (a_pass.height, a_pass.width) if a_pass.dense else (1, 1)
    window = weight[outputs, first:first + source.channels, source.ky:source.ky + height,
                    source.kx:source.kx + width]
    window = window.transpose(0, 2, 3, 1)                       # a site's channels side by side
    return pack_weights(window.reshape(len(window), -1), config)
