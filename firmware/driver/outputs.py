"""The results of a run, put together from the answers of its tapes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from quadfire.firmware.compiler.allocation import region_of
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.tape.memory_layout import tiles_of, unpack_map
from quadfire.firmware.tape.writer import Expected
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.tape import COUNTERS

__all__ = ["Outputs", "answered", "reads_spikes"]


@dataclass
class Outputs:
    """Results of N images on a network of T time steps, layers in order of the network.

    | field | value |
    |---|---|
    | outputs | logits, int64 [N, outputs]; of a spiking last layer bool [T, N, outputs], |
    |  | unless its membranes are the answer |
    | spikes | if asked for: per layer bool [T, N, C, H, W], None of a readout; else [] |
    | membranes | if probed: per layer int32 [T, N, C, H, W] after reset; else [] |
    | counters | {name: total}, see `quadfire.rtl.contract.tape.COUNTERS` |
    | profile | if asked for: int64 [N, layers, counters]; else None |

    Maps of 1 x 1 pixel are [T, N, C]. The membrane of a readout is its running sum.
    """

    outputs: np.ndarray
    spikes: list[np.ndarray | None]
    membranes: list[np.ndarray]
    counters: dict[str, int]
    profile: np.ndarray | None = None

    @property
    def layer_counters(self) -> list[dict[str, int]]:
        """Counters of every layer, summed over images; [] without a profile."""
        if self.profile is None:
            return []
        return [dict(zip(COUNTERS, map(int, row), strict=True)) for row in self.profile.sum(axis=0)]

    @property
    def image_counters(self) -> list[dict[str, int]]:
        """Counters of every image, summed over layers; [] without a profile."""
        if self.profile is None:
            return []
        return [dict(zip(COUNTERS, map(int, row), strict=True)) for row in self.profile.sum(axis=1)]


class Collector:
    """Puts the payloads of answers where their `Expected` says. Options as of `Accelerator.run`.

    images: chunks of all images, see `quadfire.firmware.driver.sequences`.
    """

    def __init__(self, program: Program, images: int, *, profile: bool, probe: bool, spikes: bool):
        self.program, config = program, program.config
        network = program.network
        layers, steps = network.layers, program.inner.steps
        read = [reads_spikes(network, layer, spikes) for layer in range(len(layers))]
        self.ask = spikes
        lanes = [tiles_of(layer.outputs, config) * config.lanes for layer in layers]
        sizes = [region_of(program.inner, index, config).size * config.stream_words
                 for index in range(len(layers))]
        self.logits = np.zeros((images, lanes[-1]), np.int32)
        self.membranes = {layer: np.zeros((steps, images, shape[1] * shape[2], n), np.int32)
                          for layer, (shape, n) in enumerate(zip(network.shapes, lanes,
                                                                 strict=True))
                          if probe or (network.answer is not None and layer == len(layers) - 1)}
        self.words = [np.zeros((images, size), np.uint32) if asked else None
                      for asked, size in zip(read, sizes, strict=True)]
        self.totals = np.zeros(len(COUNTERS), np.int64)
        self.profile = np.zeros((images, len(layers), len(COUNTERS)), np.int64) if profile else None

    def put_map(self, image: int, layer: int, words: np.ndarray) -> None:
        """Take a complete map that the host kept."""
        if (kept := self.words[layer]) is not None:
            kept[image, :len(words)] = words

    def put(self, first: int, answers: Iterable[tuple[Expected, np.ndarray]]) -> None:
        """Take the answers of tapes whose image 0 is image `first` of the run."""
        lanes = self.program.config.lanes
        readout = self.program.network.layers[-1].neuron is None
        for expected, payload in answers:
            image, at = first + expected.image, expected.index
            span = slice(at * lanes, (at + 1) * lanes)
            if expected.what == "counters":
                self.totals += payload
                if self.profile is not None and expected.layer >= 0:
                    self.profile[image, expected.layer] += payload
            elif expected.what == "spikes":
                words = self.words[expected.layer]
                assert words is not None
                words[image, at:at + len(payload)] = payload
            elif expected.what == "membranes":
                self.membranes[expected.layer][
                    expected.step, image, expected.pixel, span] = payload.view(np.int32)
            if expected.what == "logits" or (
                    expected.what == "membranes" and readout
                    and expected.layer == len(self.words) - 1):
                self.logits[image, span] = payload.view(np.int32)

    def outputs(self) -> Outputs:
        """Everything that came, without the unused lanes of tiles."""
        network = self.program.network
        layers, shapes = network.layers, network.shapes
        spikes = [None if words is None else _squeezed(self._unpacked(layer, words))
                  for layer, words in enumerate(self.words)]
        membranes = [_squeezed(np.moveaxis(array[..., :layers[at].outputs], -1, 2).reshape(
                         *array.shape[:2], *shapes[at])) for at, array in self.membranes.items()]
        last = spikes[-1]
        if last is None and network.answer is not None:     # membranes alone are the answer
            last = np.zeros((len(membranes[-1]), len(self.logits), 0), bool)
        return Outputs(
            outputs=self.logits[:, :layers[-1].outputs].astype(np.int64) if last is None else last,
            spikes=spikes if self.ask else [], membranes=membranes,
            counters=dict(zip(COUNTERS, map(int, self.totals), strict=True)), profile=self.profile)


    def _unpacked(self, layer: int, words: np.ndarray) -> np.ndarray:
        """The spikes bool [steps, images, C, H, W] of a layer's words."""
        program, shape = self.program, self.program.network.shapes[layer]
        maps = np.zeros((program.inner.steps, len(words), *shape), bool)
        for chunk in range(program.chunks):
            inner = program.of_chunk(chunk).inner
            size = region_of(inner, layer, program.config).size * program.config.stream_words
            found = unpack_map(words[chunk::program.chunks, :size], shape, program.config)
            maps[:inner.steps, chunk::program.chunks] = np.moveaxis(found, 0, 1)
        return maps
def reads_spikes(network: IntegerNetwork, layer: int, asked: bool) -> bool:
    """Whether the spikes of a layer are read. asked: those of all layers are asked for."""
    if network.layers[layer].neuron is None:
        return False
    needed = network.answer is None or network.answer.delta != 0
    return asked or (needed and layer == len(network.layers) - 1)


def answered(outputs: Outputs, network: IntegerNetwork, *, probe: bool) -> Outputs:
    """The outputs of whole sequences with the network's answer. probe: as of `Accelerator.run`."""
    if network.answer is None:
        return outputs
    logits = network.answer.logits(outputs.membranes[-1], outputs.outputs)
    return replace(outputs, outputs=logits, membranes=outputs.membranes if probe else [])


def _squeezed(maps: np.ndarray) -> np.ndarray:
    """Maps [T, N, C, H, W] as they are, or as [T, N, C] if they have one pixel."""
    return maps[..., 0, 0] if maps.shape[3:] == (1, 1) else maps
