"""The weights of a pass as rows of the banks, from those of the layer."""

import numpy as np

from quadfire.firmware.tape.memory_layout import pack_weights, pack_wide
from quadfire.firmware.compiler.passes import Pass, Source
from quadfire.models.integer import IdentityBranch, IntegerLayer
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["pass_weights"]


def pass_weights(layer: IntegerLayer, item: Pass, config: ArrayConfig) -> np.ndarray:
    """Words uint32 [banks, groups, rows] of a pass; without taps, banks without a tile are 0."""
    words = np.zeros((config.banks, config.groups, item.rows), np.uint32)
    for source in item.unique_sources:
        some = _taps(layer, item, source, config) if item.taps else \
            _tiles(layer, item, source, config)[::-1]
        words[config.banks - len(some):, :, source.offset:source.offset + some.shape[-1]] = some
    return words


def _outputs(layer: IntegerLayer, item: Pass, config: ArrayConfig) -> slice:
    first = item.tile * config.lanes
    return slice(first, min(layer.outputs, first + item.tiles * config.lanes))


def _taps(layer: IntegerLayer, item: Pass, source: Source, config: ArrayConfig) -> np.ndarray:
    """Bank 3 ky + kx holds tap (ky, kx) of a block of the kernel: [banks, groups, rows]."""
    outputs, first = _outputs(layer, item, config), source.first_channel(config)
    branch = layer.branches[source.branch]
    if isinstance(branch, IdentityBranch):
        words = np.zeros((config.banks, config.groups, source.channels), np.uint32)
        words[config.banks // 2] = pack_wide(branch.weight[outputs], outputs.start - first,
                                             source.channels, config)
        return words
    weight = branch.weight[outputs, first:first + source.channels]
    taps = np.zeros((3, 3, config.lanes, source.channels), np.int8)
    for ky in range(3):
        for kx in range(3):
            row, column = source.ky + ky, source.kx + kx
            if source.point:
                row, column = (source.ky, source.kx) if ky == kx == 1 else (-1, -1)
            if 0 <= row < branch.kernel[0] and 0 <= column < branch.kernel[1]:
                taps[ky, kx, :len(weight)] = weight[:, :, row, column]
    return pack_weights(taps.reshape(-1, source.channels), config)


def _tiles(layer: IntegerLayer, item: Pass, source: Source, config: ArrayConfig) -> np.ndarray:
    """[tiles, groups, rows]; rows of one site after the other."""
    outputs, first = _outputs(layer, item, config), source.first_channel(config)
    branch = layer.branches[source.branch]
    if isinstance(branch, IdentityBranch):
        weight = np.zeros((layer.outputs, layer.outputs), np.int8)
        np.fill_diagonal(weight, branch.weight)
        weight = weight[:, :, None, None]
    else:
        weight = branch.weight
    height, width = (item.height, item.width) if item.join else (1, 1)
    part = weight[outputs, first:first + source.channels, source.ky:source.ky + height,
                  source.kx:source.kx + width]
    part = part.transpose(0, 2, 3, 1)                           # a site's channels side by side
    return pack_weights(part.reshape(len(part), -1), config)
