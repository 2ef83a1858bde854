"""A compiled network: its passes, where everything lies, and the tapes that load and run it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from firmware.layout import pack_parameters, pack_pixels, pack_spikes, pack_weights
from firmware.packets import pack
from firmware.writer import Expected, Region, Tape, TapeWriter
from models.integer import IntegerNetwork
from rtl.config import ArrayConfig
from rtl.tape import NEURON_WORDS, PASS, TARGET, Emit, Opcode

__all__ = ["LayerReport", "Memory", "Pass", "Program"]

Block = tuple[Opcode, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One PASS packet: `tiles` tiles of outputs from `tile` on, `inputs` inputs from `first` on.

    row, parameters, tile_parameters: addresses of the weights, of the layer's and of the first
    tile's parameters. streamed, loads_parameters: what has to be written before every run.
    """

    layer: int
    tile: int
    tiles: int
    first: int
    inputs: int
    own: bool
    drain: bool
    row: int = 0
    streamed: bool = False
    parameters: int = 0
    tile_parameters: int = 0
    loads_parameters: bool = False


@dataclass(frozen=True)
class Memory:
    """The spike memory: one or two input buffers, and the output map of every layer.

    shared: maps lie on top of each other, each alive until the layer after it has run.
    """

    inputs: tuple[Region, ...]
    outputs: tuple[Region, ...]
    shared: bool

    @property
    def words(self) -> int:
        """Spike words from 0 that are used."""
        return max(region.base + region.size for region in self.inputs + self.outputs)


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What became of a layer. Widths are those its worst input needs, proved from its weights."""

    name: str
    inputs: int
    outputs: int
    passes: int
    rows: int               # of the weight memory
    streamed_words: int     # weights and parameters sent for every image, 0: they stay on chip
    parameter_words: int    # of a group's parameter memory
    spike_words: int        # of its output map
    accumulator_bits: int
    current_bits: int
    saturation: str         # see `firmware.bounds.saturation`


class Program:
    """A network compiled for one configuration; `firmware.compile` makes it.

    network_id: 32 bits, never 0, that name network and layout; a device keeps it while loaded.
    """

    def __init__(self, network: IntegerNetwork, config: ArrayConfig, *, passes: tuple[Pass, ...],
                 memory: Memory, idle_biases: tuple[int, ...], layers: tuple[LayerReport, ...]):
        self.network, self.config = network, config
        self.passes, self.memory, self.layers = passes, memory, layers
        self._idle_biases = idle_biases

    def report(self) -> tuple[LayerReport, ...]:
        """What became of every layer, in order."""
        return self.layers

    @cached_property
    def network_id(self) -> int:
        digest = sha256(repr((self.config.hash, self.network.steps, self.network.input_bits,
                              self.memory)).encode())
        for item in self.passes:
            digest.update(repr(item).encode())
            for opcode, payload in self._blocks(item):
                digest.update(bytes([opcode]) + payload.astype("<u4").tobytes())
        return int.from_bytes(digest.digest()[:4], "big") or 1

    # What is written into the device ------------------------------------------------------------

    def _split(self, opcode: Opcode, words: np.ndarray, address: int, **target: int
               ) -> Iterator[Block]:
        room = self.config.payload_words - 1
        for at in range(0, len(words), room):
            head = pack(TARGET, address=address + at, **target)
            yield opcode, np.concatenate([head, words[at:at + room]])

    def _weights(self, item: Pass) -> Iterator[Block]:
        """WEIGHTS of a pass: tile j of it into bank banks - 1 - j."""
        first = item.tile * self.config.lanes
        weight = self.network.layers[item.layer].weight[
            first:first + item.tiles * self.config.lanes, item.first:item.first + item.inputs]
        words = pack_weights(weight, self.config)
        for tile in range(item.tiles):
            for group in range(self.config.groups):
                yield from self._split(Opcode.WEIGHTS, words[tile, group], item.row, group=group,
                                       bank=self.config.banks - 1 - tile)

    def _parameters(self, item: Pass) -> Iterator[Block]:
        """PARAMETERS of a pass: the layer's words, then those of its tiles."""
        layer, config = self.network.layers[item.layer], self.config
        values = dict.fromkeys(NEURON_WORDS, 0)
        if (neuron := layer.neuron) is None:
            values["flags"] = 4
        else:
            values |= {name: getattr(neuron, name) for name in NEURON_WORDS[1:]}
            values["flags"] = neuron.square | neuron.soft << 1
        head = np.array(list(values.values()), np.int64).astype(np.uint32)
        span = slice(item.tile * config.lanes, (item.tile + item.tiles) * config.lanes)
        words = pack_parameters(layer.bias[span], layer.shift[span],
                                self._idle_biases[item.layer], config)
        for group in range(config.groups):
            if item.tile == 0 or item.loads_parameters:
                yield from self._split(Opcode.PARAMETERS, head, item.parameters, group=group)
            yield from self._split(Opcode.PARAMETERS, words[:, group].ravel(),
                                   item.tile_parameters, group=group)

    def _blocks(self, item: Pass) -> Iterator[Block]:
        if not item.own:
            yield from self._parameters(item)
        yield from self._weights(item)

    @cached_property
    def _streamed(self) -> dict[Pass, list[Block]]:
        """What has to be written before every run of a pass."""
        return {item: [*(self._parameters(item) if item.loads_parameters else ()),
                       *(self._weights(item) if item.streamed else ())] for item in self.passes}

    def streamed_words(self, layer: int) -> int:
        """Words that a layer needs written for every image."""
        return sum(len(payload) for item, blocks in self._streamed.items() if item.layer == layer
                   for _, payload in blocks)

    def setup_tape(self, tag: int = 0) -> Tape:
        """The tape that loads everything that stays on chip; its REPORT says that it is done."""
        tape = TapeWriter(self.config, 0, tag)
        for item in self.passes:
            if not (item.loads_parameters or item.own):
                tape.write(self._parameters(item))
            if not item.streamed:
                tape.write(self._weights(item))
        tape.add(Opcode.SEAL, [self.network_id])
        tape.report()
        return tape.tape

    # What runs it --------------------------------------------------------------------------------

    def pack_inputs(self, inputs: np.ndarray) -> np.ndarray:
        """Inputs as stream words, one row an image.

        Pixels: uint8 [images, inputs]. Spikes: 0 or 1, [steps, images, inputs].
        """
        if bits := self.network.input_bits:
            return pack_pixels(inputs, bits, self.config)
        return pack_spikes(np.moveaxis(inputs, 0, 1), self.config)

    def _pass_words(self, item: Pass, source: Region, emit: Emit) -> np.ndarray:
        config, target = self.config, self.memory.outputs[item.layer]
        planes = item.layer == 0 and self.network.input_bits > 0
        advance, column = divmod(item.tile, config.tiles_per_word)
        return pack(PASS, slots=source.slots - 1, steps=self.network.steps - 1, planes=planes,
                    own=item.own, drain=item.drain, emit=emit if item.drain else Emit.NONE,
                    column=column, rounds=item.tiles - 1,
                    input_base=source.base + item.first // config.word_bits,
                    words=-(-item.inputs // config.word_bits) - 1, input_stride=source.words,
                    row=item.row, output_base=target.base + advance, output_stride=target.words,
                    parameters=item.parameters, tile=item.tile_parameters)

    def _taps(self, item: Pass, image: int, emit: Emit) -> Iterator[Expected]:
        """The answers of a pass: tile by tile, membranes step by step within."""
        steps = {Emit.NONE: 0, Emit.LOGITS: 1, Emit.MEMBRANES: self.network.steps}[emit]
        what = "logits" if emit == Emit.LOGITS else "membranes"
        for tile in range(item.tile, item.tile + item.tiles if item.drain else 0):
            for step in range(steps):
                yield Expected(what, self.config.lanes, image, item.layer, tile, step)

    def inference_tape(self, inputs: np.ndarray, tag: int = 0, *, profile: bool = False,
                       probe: bool = False, read_spikes: bool = False) -> Tape:
        """The tape that runs some images, see `pack_inputs`; `Outputs.of` understands its answers.

        profile: counters after every layer; no input is then loaded while another image runs.
        probe: membranes of every layer and time step. read_spikes: spikes of hidden layers, too.
        """
        memory, images = self.memory, self.pack_inputs(inputs)
        layers = range(len(self.network.layers))
        tape = TapeWriter(self.config, self.network_id, tag)

        def load(image: int) -> Region:
            region = memory.inputs[image % len(memory.inputs)]
            tape.spikes(region, images[image])
            return region

        # The next image is loaded while a pass runs that does not use its buffer.
        ahead = None if profile or memory.shared else 0 if len(memory.inputs) > 1 else 1
        following = load(0) if len(images) else None
        for image in range(len(images)):
            source = following or load(image)
            following = None
            for layer in layers:
                neuron = self.network.layers[layer].neuron
                target = memory.outputs[layer]
                emit = Emit.MEMBRANES if probe else Emit.LOGITS if neuron is None else Emit.NONE
                for item in (item for item in self.passes if item.layer == layer):
                    tape.write(self._streamed[item])
                    tape.run(self._pass_words(item, source, emit), source, target)
                    tape.expect(*self._taps(item, image, emit))
                    if layer == ahead and following is None and image + 1 < len(images):
                        following = load(image + 1)
                if neuron is not None and (read_spikes or layer == layers[-1]):
                    tape.read(target, image=image, layer=layer)
                if profile:
                    tape.report(image=image, layer=layer)
                source = target
        if not profile or not len(images):
            tape.report()
        return tape.tape
