"""Maps that the host keeps: put together from what passes made, taken apart into rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from quadfire.firmware.compiler.allocation import region_of
from quadfire.firmware.compiler.schedule import Fetch
from quadfire.firmware.tape.writer import Expected
from quadfire.models.integer import INPUT

if TYPE_CHECKING:
    from quadfire.firmware.compiler.program import Program

__all__ = ["HostMaps"]


class HostMaps:
    """The maps of one image that the chip has no room for, as stream words."""

    def __init__(self, program: Program):
        self.network, self.config = program.inner, program.config
        self.steps = program.inner.steps
        self._maps: dict[int, np.ndarray] = {}      # [rows, stream words of a row]
        self._parts: dict[int, np.ndarray] = {}     # of a Fetch, by its identity
        self._open: dict[int, int] = {}             # answers to come, by map

    def begin(self, inputs: np.ndarray) -> None:
        """A new image, whose input is stream words."""
        self._maps, self._open = {INPUT: inputs.reshape(self.network.input_shape[1], -1)}, {}

    def complete(self, source: int) -> bool:
        """Have all answers come that this map waits for?"""
        return not self._open.get(source)

    def rows(self, source: int, rows: range) -> np.ndarray:
        """Stream words of some rows."""
        return self._maps[source][rows.start:rows.stop].ravel()

    def words(self, source: int) -> np.ndarray:
        """Stream words of a whole map."""
        return self._maps[source].ravel()

    def ask(self, fetch: Fetch) -> None:
        """A part of a map is on its way."""
        self._open[fetch.layer] = self._open.get(fetch.layer, 0) + self._length(fetch)

    def _length(self, fetch: Fetch) -> int:
        return fetch.count * self.steps * fetch.words * self.config.stream_words

    def put(self, expected: Expected, payload: np.ndarray) -> None:
        """Take an answer to a Fetch; its last one puts the outputs in their places."""
        fetch: Fetch = expected.fetch
        part = self._parts.setdefault(id(fetch), np.zeros(self._length(fetch), np.uint32))
        part[expected.index:expected.index + len(payload)] = payload
        self._open[fetch.layer] -= len(payload)
        if expected.index + len(payload) == len(part):
            self._place(fetch, self._parts.pop(id(fetch)))

    def _place(self, fetch: Fetch, words: np.ndarray) -> None:
        """Tile t of the part is column t % tiles_per_word of its word t // tiles_per_word."""
        config = self.config
        region = region_of(self.network, fetch.layer, config)
        height = self.network.shapes[fetch.layer][1]
        target = self._maps.setdefault(fetch.layer, np.zeros(
            (height, region.size * config.stream_words // height), np.uint32))
        target = target.reshape(region.pixels, self.steps, region.words, config.stream_words)
        target = target[fetch.first:fetch.first + fetch.count]
        part = words.reshape(fetch.count, self.steps, fetch.words, config.stream_words)
        per_word = config.tiles_per_word
        for tile in range(fetch.tiles):
            word, column = divmod(fetch.tile + tile, per_word)
            from_word, from_column = divmod(tile, per_word)
            if per_word == 1:
                target[:, :, word] = part[:, :, from_word]
                continue
            bits = part[:, :, from_word] >> np.uint32(from_column * config.lanes)
            bits = bits & np.uint32((1 << config.lanes) - 1)
            target[:, :, word] |= bits << np.uint32(column * config.lanes)
