"""A compiled network: its passes, where everything lies, and the tapes that load and run it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from quadfire.firmware.driver.host_maps import HostMaps
from quadfire.firmware.tape.memory_layout import pack_map, pack_parameters, planes_of
from quadfire.firmware.tape.packets import pack
from quadfire.firmware.compiler.allocation import Memory, Region
from quadfire.firmware.compiler.passes import Pass, Source
from quadfire.firmware.compiler.schedule import Fetch, Load, Run, Step
from quadfire.firmware.tape.weights import pass_weights
from quadfire.firmware.tape.writer import Block, Expected, Tape, TapeWriter, Uses
from quadfire.models.integer import INPUT, IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, PASS, SOURCE, Emit, Opcode

if TYPE_CHECKING:
    from quadfire.firmware.compiler.report import LayerReport

__all__ = ["Program", "Tapes"]

#: Gives tapes, takes the payloads of their answers.
Tapes = Generator[Tape, Sequence[np.ndarray], None]


class Program:
    """A network compiled for one configuration; `firmware.compile` makes it.

    network_id: 32 bits, never 0, that name network and layout; a device keeps it while loaded.
    inner: the network as the array computes it, whose input may be a vector where that of
    `network` is a map, and whose time steps are those of one of `parts` (see `quadfire.firmware.compiler.time_chunks`).
    states: where the membranes of every (layer, first tile of a pass) are kept between parts.
    """

    layers: tuple[LayerReport, ...] = ()

    def __init__(self, network: IntegerNetwork, inner: IntegerNetwork, config: ArrayConfig, *,
                 passes: tuple[Pass, ...], memory: Memory, steps: tuple[Step, ...],
                 idle_biases: tuple[int, ...], parts: int = 1,
                 states: dict[tuple[int, int], int] | None = None):
        self.network, self.inner, self.config = network, inner, config
        self.passes, self.memory, self.steps = passes, memory, steps
        self._idle_biases = idle_biases
        self.parts, self.states = parts, states or {}

    def report(self) -> tuple[LayerReport, ...]:
        """What became of every layer, in order."""
        return self.layers

    @cached_property
    def network_id(self) -> int:
        digest = sha256(repr((self.config.hash, self.inner.steps, self.inner.input_bits,
                              self.memory)).encode())
        for item in self.passes:
            digest.update(repr(item).encode())
            for block in self._blocks(item):
                digest.update(bytes([block.opcode]) + block.words.astype("<u4").tobytes())
        return int.from_bytes(digest.digest()[:4], "big") or 1

    # What is written into the device ------------------------------------------------------------

    def _weights(self, item: Pass) -> Iterator[Block]:
        """Weights of a pass, for every bank that it uses."""
        layer, config = self.inner.layers[item.layer], self.config
        words = pass_weights(layer, item, config)
        for bank in range(0 if item.taps else config.banks - item.tiles, config.banks):
            for group in range(config.groups):
                yield Block(Opcode.WEIGHTS, item.weights, words[bank, group], bank, group)

    def _parameters(self, item: Pass) -> Iterator[Block]:
        """Parameters of a pass: the layer's words, then those of its tiles."""
        layer, config = self.inner.layers[item.layer], self.config
        values = dict.fromkeys(NEURON_WORDS, 0) | (
            {"flags": 4} if layer.neuron is None else layer.neuron.words())
        head = np.array(list(values.values()), np.int64).astype(np.uint32)
        span = slice(item.tile * config.lanes, (item.tile + item.tiles) * config.lanes)
        words = pack_parameters(layer.bias[span], layer.shift[span],
                                self._idle_biases[item.layer], config)
        for group in range(config.groups):
            if item.tile == 0 or item.loads_parameters:
                yield Block(Opcode.PARAMETERS, item.parameters, head, group=group)
            yield Block(Opcode.PARAMETERS, item.tile_parameters, words[:, group].ravel(),
                        group=group)

    def _blocks(self, item: Pass) -> Iterator[Block]:
        if not item.own:
            yield from self._parameters(item)
        yield from self._weights(item)

    @cached_property
    def _streamed(self) -> list[list[Block]]:
        """What has to be written before every run of a pass."""
        return [[*(self._parameters(item) if item.loads_parameters else ()),
                 *(self._weights(item) if item.streamed else ())] for item in self.passes]

    def streamed_words(self, layer: int) -> int:
        """Words of weights and parameters that a layer needs written for every image."""
        return sum(len(block.words)
                   for item, blocks in zip(self.passes, self._streamed, strict=True)
                   if item.layer == layer for block in blocks)

    def map_words(self, layer: int) -> int:
        """Stream words of maps of the host that a layer has sent and fetched for every image."""
        words, loads = 0, 0
        for step in self.steps:
            if isinstance(step, Load):
                loads += len(step.rows) * self.row_words(step.map)
            elif isinstance(step, Run):
                words += loads if step.item.layer == layer else 0
                loads = 0
            elif step.layer == layer:
                words += step.count * self.inner.steps * step.words
        return words * self.config.stream_words

    @property
    def input_words(self) -> int:
        """Stream words of an image that are sent where the input lies on the chip."""
        return sum(region.size for region in self.memory.inputs[:1]) * self.config.stream_words

    def row_words(self, source: int) -> int:
        """Spike words of a row of pixels of a map."""
        return self._region_words(source)[0] * self.inner.shape_of(source)[2]

    def _region_words(self, source: int) -> tuple[int, int]:
        """Spike words of a pixel of a map, and of a slot of it."""
        words = -(-self.inner.shape_of(source)[0] // self.config.word_bits)
        slots = self.inner.input_bits or self.inner.steps if source == INPUT else self.inner.steps
        return words * slots, words

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

        Pixels: uint8 [images, C, H, W]. Spikes: 0 or 1, [steps, images, C, H, W]. Both may be flat.
        """
        shape = self.inner.input_shape
        if bits := self.inner.input_bits:
            return pack_map(planes_of(inputs.reshape(-1, *shape), bits), self.config)
        return pack_map(np.moveaxis(inputs.reshape(*inputs.shape[:2], *shape), 0, 1), self.config)

    def _source_words(self, source: Source, item: Pass, base: int) -> np.ndarray:
        """The table of a source whose map has its first pixel at spike word `base`."""
        pixel, words = self._region_words(source.map)
        row = pixel * self.inner.shape_of(source.map)[2]
        values = {
            "base": base + source.y0 * row + source.x0 * pixel + source.first_word,
            "slot_stride": words, "x_stride": source.step_x * pixel,
            "y_stride": source.step_y * row, "window_x_stride": pixel, "window_y_stride": row,
            "x0": source.x0, "y0": source.y0}
        values = {name: value & (1 << SOURCE[name]) - 1 for name, value in values.items()}
        return pack(SOURCE, **values, weights=item.weights + source.offset, words=source.words - 1,
                    wide=source.wide, any=source.any, pad=source.pad,
                    window_width=source.window_width - 1,
                    window_height=source.window_height - 1, map_width=source.map_width,
                    map_height=source.map_height, step_x=source.step_x, step_y=source.step_y)

    def _pass_words(self, step: Run, bases: dict[int, int], emit: Emit, part: int = 0
                    ) -> np.ndarray:
        """The payload of a PASS that runs part `part` of a sequence."""
        item, steps = step.item, self.inner.steps
        state = self.states.get((item.layer, item.tile))
        kept = {} if state is None or not item.drain else {
            "load": part > 0, "store": part < self.parts - 1,
            "state": state + item.first_output * item.tiles}
        planes = self.inner.bits_of(self.inner.layers[item.layer]) > 0
        head = pack(
            PASS, slots=item.slots - 1, steps=steps - 1, planes=planes, own=item.own,
            drain=item.drain, emit=emit if item.drain else Emit.NONE, taps=item.taps,
            join=item.join, start=item.start, flush=item.flush, column=step.column,
            rounds=item.tiles - 1, sources=len(item.sources) - 1,
            stride=item.stride.bit_length() - 1, width=item.width - 1, height=item.height - 1,
            row=item.row, x_low=item.x_low, x_high=item.x_high, y_low=item.y_low,
            y_high=item.y_high, output_stride=step.stride,
            output_base=step.target + item.first_output * steps * step.stride,
            parameters=item.parameters, tile=item.tile_parameters,
            site_rows=item.rows // item.sites if item.join else 0, line=item.line, **kept)
        return np.concatenate([head, *(self._source_words(source, item, bases[source.map])
                                       for source in item.sources)])

    def _uses(self, step: Run, inputs: Region | None) -> Uses:
        """What a run reads and writes. inputs: the buffer of its image."""
        item, parts = step.item, self.config.stream_words
        spikes = [*step.reads, step.writes]
        if inputs is not None and any(source.map == INPUT for source in item.sources):
            spikes.append(range(inputs.base, inputs.end))
        return {
            Opcode.WEIGHTS: [range(item.weights, item.weights + item.rows)],
            Opcode.PARAMETERS: [
                range(item.parameters, item.parameters + len(NEURON_WORDS)),
                range(item.tile_parameters,
                      item.tile_parameters + item.tiles * self.config.group_lanes)],
            Opcode.SPIKES: [range(span.start * parts, span.stop * parts) for span in spikes]}

    def _taps(self, item: Pass, image: int, emit: Emit) -> Iterator[Expected]:
        """The answers of a pass: pixel by pixel, tile by tile, membranes step by step within."""
        steps = {Emit.NONE: 0, Emit.LOGITS: 1, Emit.MEMBRANES: self.inner.steps}[emit]
        what = "logits" if emit == Emit.LOGITS else "membranes"
        if not steps or not item.drain:
            return
        for pixel in range(item.first_output, item.first_output + item.outputs):
            for tile in range(item.tile, item.tile + item.tiles):
                for step in range(steps):
                    yield Expected(what, self.config.lanes, image, item.layer, tile, step, pixel)

    @cached_property
    def _input_over(self) -> int | None:
        """The run after which the next image may be loaded, while the run goes on.

        None: only after the last one.
        """
        runs = [step for step in self.steps if isinstance(step, Run)]
        if len(self.memory.inputs) > 1:
            return 0
        region = next(iter(self.memory.inputs))
        using = [number for number, step in enumerate(runs)
                 if any(span.start < region.end and region.base < span.stop
                        for span in (*step.reads, step.writes))
                 or any(source.map == INPUT for source in step.item.sources)]
        return using[-1] + 1 if using[-1] + 1 < len(runs) else None

    def inference_tape(self, inputs: np.ndarray, tag: int = 0, *, profile: bool = False,
                       probe: bool = False, read_spikes: bool = False) -> Tape:
        """The tape that runs some images, of a network all of whose maps stay on the chip.

        Options as of `tapes`. Raises ValueError where the host keeps maps, or has to divide the
        time steps.
        """
        if self.parts > 1:
            raise ValueError(f"{self.network.steps} time steps run in {self.parts} parts on an "
                             f"array of {self.config.slots} slots: only `Accelerator.run` divides "
                             "and joins them")
        if self.memory.on_host:
            raise ValueError("the host keeps maps of this network: it takes more than one tape")
        return next(self.tapes(inputs, lambda: tag, profile=profile, probe=probe,
                               read_spikes=read_spikes))

    def tapes(self, inputs: np.ndarray, next_tag: Callable[[], int], *, profile: bool = False,
              probe: bool = False, read_spikes: bool = False,
              put_map: Callable[[int, int, np.ndarray], None] | None = None) -> Tapes:
        """The tapes that run some images, see `pack_inputs`; `Collector` takes their answers.

        One after the other they must be played, and the payloads of their answers be sent in; only
        where the host keeps maps there are more than one.
        profile: counters after every layer; no input is then loaded while another image runs.
        probe: membranes of every layer and time step. read_spikes: spikes of hidden layers, too.
        put_map: called with (image, layer, stream words) of every map of the host, when complete.
        """
        run = _Inference(self, self.pack_inputs(inputs), next_tag, profile=profile, probe=probe,
                         read_spikes=read_spikes)
        for image in range(len(run.images)):
            yield from run.image(image)
            if put_map is not None:
                for layer in sorted(self.memory.on_host - {INPUT}):
                    put_map(image, layer, run.host.words(layer))
        yield from run.end()


class _Inference:
    """Writes the tapes of some images, step by step."""

    def __init__(self, program: Program, images: np.ndarray, next_tag: Callable[[], int], *,
                 profile: bool, probe: bool, read_spikes: bool):
        self.program, self.images, self.next_tag = program, images, next_tag
        self.profile, self.probe, self.read_spikes = profile, probe, read_spikes
        self.layers = program.inner.layers
        self.host = HostMaps(program)
        self.tape = self._begin()
        self.loaded = -1                # the last image whose input has been loaded
        over = None if profile or not program.memory.inputs else program._input_over
        self.ahead = over
        ends = {step.item.layer if isinstance(step, Run) else step.layer: index
                for index, step in enumerate(program.steps) if not isinstance(step, Load)}
        self.layer_ends = {index: layer for layer, index in ends.items()}

    def _begin(self) -> TapeWriter:
        return TapeWriter(self.program.config, self.program.network_id, self.next_tag())

    def end(self) -> Tapes:
        """The last tape, which ends with a REPORT."""
        if not self.profile or not len(self.images):
            self.tape.report()
        yield from self._play()

    def _play(self) -> Tapes:
        """Give the tape away, take what the host keeps from its answers."""
        payloads = yield self.tape.tape
        for expected, payload in zip(self.tape.tape.expected, payloads or (), strict=False):
            if expected.what == "map":
                self.host.put(expected, payload)

    def _load_input(self, image: int) -> None:
        inputs = self.program.memory.inputs
        if inputs and self.loaded < image < len(self.images):
            base = inputs[image % len(inputs)].base * self.program.config.stream_words
            self.tape.write([Block(Opcode.SPIKES, base, self.images[image])])
            self.loaded = image

    def image(self, image: int) -> Tapes:
        """All steps of an image."""
        program, steps = self.program, self.program.steps
        self._load_input(image)
        self.host.begin(self.images[image])
        runs = 0
        for index, step in enumerate(steps):
            match step:
                case Load():
                    if not self.host.complete(step.map):
                        layer = next(s.item.layer for s in steps[index:] if isinstance(s, Run))
                        self.tape.report(image=image, layer=layer if self.profile else -1)
                        yield from self._play()
                        self.tape = self._begin()
                    words = self.host.rows(step.map, step.rows)
                    base = step.base * program.config.stream_words
                    self.tape.write([Block(Opcode.SPIKES, base, words)])
                case Run():
                    self._run(step, image)
                    if runs == self.ahead:
                        self._load_input(image + 1)
                    runs += 1
                case Fetch():
                    self.tape.read(step.base, step.count * program.inner.steps * step.words,
                                   lambda length, at, step=step: Expected(
                                       "map", length, layer=step.layer, index=at, fetch=step))
                    self.host.ask(step)
            if index in self.layer_ends:
                self._layer_over(self.layer_ends[index], image)

    def _run(self, step: Run, image: int) -> None:
        program, item = self.program, step.item
        inputs = program.memory.inputs
        buffer = inputs[image % len(inputs)] if inputs else None
        bases = step.bases if buffer is None else step.bases | {INPUT: buffer.base}
        emit = Emit.MEMBRANES if self.probe else \
            Emit.LOGITS if self.layers[item.layer].neuron is None else Emit.NONE
        if step.first:
            self.tape.write(program._streamed[step.number])
        words = program._pass_words(step, bases, emit, image % program.parts)
        self.tape.run(words, program._uses(step, buffer))
        self.tape.expect(*program._taps(item, image, emit))

    def _layer_over(self, layer: int, image: int) -> None:
        """Read what is asked of a layer."""
        region = self.program.memory.outputs[layer]
        last = layer == len(self.layers) - 1
        if region is not None and self.layers[layer].neuron is not None and (
                self.read_spikes or last):
            self.tape.read(region.base, region.size, lambda length, at: Expected(
                "spikes", length, image, layer, at))
        if self.profile:
            self.tape.report(image=image, layer=layer)
