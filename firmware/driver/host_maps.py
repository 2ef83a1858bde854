"""Maps that the host keeps: put together from what passes made, and sent row by row."""

import numpy as np

from quadfire.firmware.compiler.allocation import region_of
from quadfire.firmware.compiler.schedule import Fetch
from quadfire.firmware.tape.writer import Expected
from quadfire.models.integer import INPUT, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["HostMaps"]


class HostMaps:
    """The maps of one image that the chip has no room for, as stream words.

    network: as the array computes it, `Program.inner`.
    """

    def __init__(self, network: IntegerNetwork, config: ArrayConfig):
        self.network, self.config = network, config
        self._maps: dict[int, np.ndarray] = {}      # [rows, stream words of a row]
        self._pieces: dict[int, np.ndarray] = {}    # answers to a Fetch, by the identity of that
        self._open: dict[int, int] = {}             # words to come, by map

    def begin(self, inputs: np.ndarray) -> None:
        """Start a new image, whose input is given as stream words."""
        self._maps, self._open = {INPUT: inputs.reshape(self.network.input_shape[1], -1)}, {}

    def complete(self, source: int) -> bool:
        """Whether all answers have come that this map waits for."""
        return not self._open.get(source)

    @property
    def all_complete(self) -> bool:
        """Whether no map waits for answers."""
        return not any(self._open.values())

    def rows(self, source: int, rows: range) -> np.ndarray:
        """Stream words of some rows."""
        return self._maps[source][rows.start:rows.stop].ravel()

    def words(self, source: int) -> np.ndarray:
        """Stream words of a whole map."""
        return self._maps[source].ravel()

    def ask(self, fetch: Fetch) -> None:
        """Note that the answers to a Fetch are on their way."""
        self._open[fetch.layer] = self._open.get(fetch.layer, 0) + self._length(fetch)

    def _length(self, fetch: Fetch) -> int:
        """Stream words that a Fetch brings."""
        return fetch.count * self.network.steps * fetch.words * self.config.stream_words

    def put(self, expected: Expected, payload: np.ndarray) -> None:
        """Take an answer to a Fetch; the last one puts its outputs into the map."""
        fetch: Fetch = expected.fetch
        piece = self._pieces.setdefault(id(fetch), np.zeros(self._length(fetch), np.uint32))
        piece[expected.index:expected.index + len(payload)] = payload
        self._open[fetch.layer] -= len(payload)
        if expected.index + len(payload) == len(piece):
            self._place(fetch, self._pieces.pop(id(fetch)))

    def _place(self, fetch: Fetch, words: np.ndarray) -> None:
        """Put fetched words into the map.

        Tile t of the Fetch is column t % tiles_per_word of its word t // tiles_per_word.
        """
        config, steps = self.config, self.network.steps
        region = region_of(self.network, fetch.layer, config)
        height = self.network.shapes[fetch.layer][1]
        target = self._maps.setdefault(fetch.layer, np.zeros(
            (height, region.size * config.stream_words // height), np.uint32))
        target = target.reshape(region.pixels, steps, region.words, config.stream_words)
        target = target[fetch.first:fetch.first + fetch.count]
        piece = words.reshape(fetch.count, steps, fetch.words, config.stream_words)
        per_word = config.tiles_per_word
        for tile in range(fetch.tiles):
            word, column = divmod(fetch.tile + tile, per_word)
            from_word, from_column = divmod(tile, per_word)
            if per_word == 1:
                target[:, :, word] = piece[:, :, from_word]
                continue
            bits = piece[:, :, from_word] >> np.uint32(from_column * config.lanes)
            bits = bits & np.uint32((1 << config.lanes) - 1)
            target[:, :, word] |= bits << np.uint32(column * config.lanes)
