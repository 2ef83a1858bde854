"""The tapes of a program: one that loads it, and those that run it on inputs.

| function | makes |
|---|---|
| `setup_tape` | the tape that writes everything that stays on the chip |
| `pack_inputs` | inputs of a chunk of time as stream words |
| `inference_tape` | the one tape of some images, for networks whose maps all stay on the chip |
| `inference_tapes` | the tapes of some images, for every network |

A network whose maps the host keeps takes several tapes per image: what one brings goes into the
next.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cached_property

import numpy as np

from quadfire.firmware.compiler.allocation import Region
from quadfire.firmware.compiler.pass_payload import emit_of, pass_payload
from quadfire.firmware.compiler.passes import Pass
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.schedule import Fetch, Load, Run
from quadfire.firmware.driver.host_maps import HostMaps
from quadfire.firmware.driver.inputs import checked_values, plane_inputs
from quadfire.firmware.driver.outputs import reads_spikes
from quadfire.firmware.driver.sequences import divide
from quadfire.firmware.tape.memory_layout import pack_map, planes_of
from quadfire.firmware.tape.writer import Block, Expected, Tape, TapeWriter, Uses
from quadfire.models.integer import INPUT
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import NEURON_WORDS, Emit, Opcode

__all__ = ["Session", "Tapes", "inference_tape", "inference_tapes", "pack_inputs", "setup_tape"]

#: Yields tapes and takes the payloads of their answers.
Tapes = Generator[Tape, Sequence[np.ndarray], None]


def setup_tape(program: Program, tag: int = 0, pass_limit: int = 0) -> Tape:
    """The tape that loads everything that stays on the chip. Its REPORT says that it is done.

    pass_limit: cycles after which the device ends a pass, with an ERROR; 0: it lets them run.
    """
    tape = TapeWriter(program.config, 0, tag)
    if pass_limit:
        tape.add(Opcode.LIMIT, [pass_limit])
    for blocks in program.resident_blocks():
        tape.write(blocks)
    tape.add(Opcode.SEAL, [program.network_id])
    tape.report()
    return tape.tape


def pack_inputs(program: Program, inputs: np.ndarray) -> np.ndarray:
    """Inputs as stream words uint32, a row per image.

    inputs: pixels uint8 [images, C, H, W], or spikes 0 or 1 or counts [steps, images, C, H, W], of
    as many steps as `program.inner` has; all may be flat, [..., C * H * W]. Raises the errors of
    `checked_values`.
    """
    network, shape = program.network, program.inner.input_shape
    inputs = plane_inputs(network, checked_values(np.asarray(inputs), network.input_bits,
                                                  network.count_bits))
    if bits := program.inner.input_bits:
        return pack_map(planes_of(inputs.reshape(len(inputs), *shape), bits), program.config)
    maps = inputs.reshape(*inputs.shape[:2], *shape)
    return pack_map(np.moveaxis(maps, 0, 1), program.config)


def _pack_chunks(program: Program, inputs: np.ndarray) -> list[np.ndarray]:
    """Inputs of whole sequences as stream words, an array for every chunk of every image."""
    parts = [pack_inputs(program.of_chunk(chunk), part)
             for chunk, part in enumerate(divide(inputs, program))]
    return [words for chunks in zip(*parts, strict=True) for words in chunks]


def inference_tape(program: Program, inputs: np.ndarray, tag: int = 0, *, profile: bool = False,
                   probe: bool = False, read_spikes: bool = False) -> Tape:
    """The tape that runs some images, if all maps of the network stay on the chip.

    Options as for `inference_tapes`. Raises ValueError where the host keeps maps, or time runs in
    chunks.
    """
    if program.chunks > 1:
        raise ValueError(f"{program.network.steps} time steps run in {program.chunks} chunks on an "
                         f"array of {program.config.slots} slots: only `Accelerator.run` divides "
                         "and joins them")
    if program.memory.on_host:
        raise ValueError("the host keeps maps of this network: it takes more than one tape")
    return next(inference_tapes(program, inputs, lambda: tag, profile=profile, probe=probe,
                                read_spikes=read_spikes))


def inference_tapes(program: Program, inputs: np.ndarray, next_tag: Callable[[], int], *,
                    profile: bool = False, probe: bool = False, read_spikes: bool = False,
                    put_map: Callable[[int, int, np.ndarray], None] | None = None) -> Tapes:
    """The tapes that run some images.

    They are played in order, and the payloads of each tape's answers are sent into the generator.
    Chunk k of image n counts as image n * chunks + k.

    | argument | meaning |
    |---|---|
    | inputs | see `pack_inputs`, with all time steps |
    | next_tag | gives every tape its tag |
    | profile | counters after every layer; no input is then loaded while another image runs |
    | probe | membranes of every layer and time step |
    | read_spikes | spikes of hidden layers as well |
    | put_map | called with (image, layer, stream words) of every map of the host once complete |
    """
    session = Session(program, _pack_chunks(program, inputs), next_tag, profile=profile,
                      probe=probe, read_spikes=read_spikes)
    for image in range(len(session.images)):
        yield from session.image(image)
        if put_map is not None:
            for layer in sorted(program.memory.on_host - {INPUT}):
                put_map(image, layer, session.host.words(layer))
    yield from session.end()


class _Part:
    """What a session looks up in the program of a chunk of time."""

    def __init__(self, program: Program):
        self.program = program
        self.host = HostMaps(program.inner, program.config)

    @cached_property
    def input_free_after(self) -> int | None:
        """Number of the run during which the next input may be loaded; None: after the last."""
        return _input_free_after(self.program) if self.program.memory.inputs else None

    @cached_property
    def layer_of_action(self) -> list[int]:
        """The layer that every action belongs to."""
        return _layers_of_actions(self.program)

    @cached_property
    def layer_ends(self) -> dict[int, int]:
        """{the last action of a layer: the layer}."""
        ends = {layer: index for index, layer in enumerate(self.layer_of_action)
                if not isinstance(self.program.actions[index], Load)}
        return {index: layer for layer, index in ends.items()}


class Session:
    """Writes the tapes of some images, action by action; arguments as for `inference_tapes`.

    images: stream words, of every chunk of every image.
    """

    def __init__(self, program: Program, images: Sequence[np.ndarray],
                 next_tag: Callable[[], int], *, profile: bool, probe: bool, read_spikes: bool):
        self.program, self.images, self.next_tag = program, images, next_tag
        self.profile, self.probe, self.read_spikes = profile, probe, read_spikes
        self.layers = program.inner.layers
        self.first = _Part(program)
        self.later = self.first if program.shorter is None else _Part(program.shorter)
        self.part = self.first          # that of the current image
        self.tape = self._begin()
        self.loaded = -1                # the last image whose input has been loaded

    @property
    def host(self) -> HostMaps:
        """The maps of the current image that the host keeps."""
        return self.part.host

    def _begin(self) -> TapeWriter:
        """A new tape."""
        return TapeWriter(self.program.config, self.program.network_id, self.next_tag())

    def _enter(self, image: int) -> None:
        """Begin an image."""
        program = self.program.of_chunk(image % self.program.chunks)
        self.part = self.first if program is self.program else self.later
        self._load_input(image)
        self.host.begin(self.images[image])

    def end(self) -> Tapes:
        """The last tape, which ends with a REPORT."""
        if not self.profile or not len(self.images):
            self.tape.report()
        yield from self._play()

    def _play(self) -> Tapes:
        """Give the tape away, and take from its answers what the host keeps."""
        payloads = yield self.tape.tape
        for expected, payload in zip(self.tape.tape.expected, payloads or (), strict=False):
            if expected.what == "map":
                self.host.put(expected, payload)

    def _load_input(self, image: int) -> None:
        """Write the input of an image into its buffer, unless that is done."""
        inputs = self.program.memory.inputs
        if inputs and self.loaded < image < len(self.images):
            base = inputs[image % len(inputs)].base * self.program.config.stream_words
            self.tape.write([Block(Opcode.SPIKES, base, self.images[image])])
            self.loaded = image

    def image(self, image: int) -> Tapes:
        """All actions of an image."""
        self._enter(image)
        program, layer_ends = self.part.program, self.part.layer_ends
        ahead, runs = None if self.profile else self.part.input_free_after, 0
        for index, action in enumerate(program.actions):
            match action:
                case Load():
                    if not self.host.complete(action.map):
                        layer = self.part.layer_of_action[index]
                        yield from self._wait(image, layer if self.profile else -1)
                    words = self.host.rows(action.map, action.rows)
                    base = action.base * program.config.stream_words
                    self.tape.write([Block(Opcode.SPIKES, base, words)])
                case Run():
                    self._run(action, image)
                    if runs == ahead:
                        self._load_input(image + 1)
                    runs += 1
                case Fetch():
                    self.tape.read(action.base, action.count * program.inner.steps * action.words,
                                   lambda length, at, action=action: Expected(
                                       "map", length, layer=action.layer, index=at, fetch=action))
                    self.host.ask(action)
            if index in layer_ends:
                self._layer_over(layer_ends[index], image)
        if not self.host.all_complete:      # a map of which no layer reads a pixel
            yield from self._wait(image)

    def _wait(self, image: int, layer: int = -1) -> Tapes:
        """End the tape, so that all maps of the host are complete, and begin the next one."""
        self.tape.report(image=image, layer=layer)
        yield from self._play()
        self.tape = self._begin()

    def _run(self, run: Run, image: int) -> None:
        """Write what a run needs, then its PASS."""
        program, a_pass = self.part.program, run.a_pass
        inputs = program.memory.inputs
        buffer = inputs[image % len(inputs)] if inputs else None
        bases = run.bases if buffer is None else run.bases | {INPUT: buffer.base}
        emit = emit_of(program.network, a_pass.layer, probe=self.probe)
        if run.first:
            self.tape.write(program.streamed_blocks[run.number])
        words = pass_payload(program, run, bases, emit, image % program.chunks)
        self.tape.run(words, _uses(run, buffer, program.config))
        self.tape.expect(*self._answers(a_pass, image, emit))

    def _answers(self, a_pass: Pass, image: int, emit: Emit) -> Iterator[Expected]:
        """The answers of a pass, outermost to innermost: pixel, tile, time step."""
        every = self.part.program.inner.steps
        steps = {Emit.NONE: range(0), Emit.LOGITS: range(every - 1, every),
                 Emit.MEMBRANES: range(every)}[emit]
        readout = self.layers[a_pass.layer].neuron is None
        what = "logits" if emit == Emit.LOGITS and readout else "membranes"
        if not a_pass.drain:
            return
        lanes = self.program.config.lanes
        for pixel in range(a_pass.first_output, a_pass.first_output + a_pass.outputs):
            for tile in range(a_pass.tile, a_pass.tile + a_pass.tiles):
                for step in steps:
                    yield Expected(what, lanes, image, a_pass.layer, tile, step, pixel)

    def _layer_over(self, layer: int, image: int) -> None:
        """Read what the caller wants of a layer that has ended."""
        region = self.part.program.memory.outputs[layer]
        if region is not None and reads_spikes(self.program.network, layer, self.read_spikes):
            self.tape.read(region.base, region.size, lambda length, at: Expected(
                "spikes", length, image, layer, at))
        if self.profile:
            self.tape.report(image=image, layer=layer)


def _layers_of_actions(program: Program) -> list[int]:
    """The layer that every action belongs to; a load belongs to the run after it."""
    layers, layer = [], -1
    for action in reversed(program.actions):
        if not isinstance(action, Load):
            layer = action.a_pass.layer if isinstance(action, Run) else action.layer
        layers.append(layer)
    return layers[::-1]


def _input_free_after(program: Program) -> int | None:
    """Number of the run during which the next image may be loaded; None: only after the last."""
    runs = [action for action in program.actions if isinstance(action, Run)]
    if len(program.memory.inputs) > 1:
        return 0
    region = next(iter(program.memory.inputs))
    using = [number for number, run in enumerate(runs)
             if any(span.start < region.end and region.base < span.stop
                    for span in (*run.reads, run.writes))
             or any(source.map == INPUT for source in run.a_pass.sources)]
    return using[-1] + 1 if using[-1] + 1 < len(runs) else None


def _uses(run: Run, buffer: Region | None, config: ArrayConfig) -> Uses:
    """What a run reads and writes of every memory. buffer: the input buffer of its image."""
    a_pass, per_word = run.a_pass, config.stream_words
    spikes = [*run.reads, run.writes]
    if buffer is not None and any(source.map == INPUT for source in a_pass.sources):
        spikes.append(range(buffer.base, buffer.end))
    return {
        Opcode.WEIGHTS: [range(a_pass.weights, a_pass.weights + a_pass.rows)],
        Opcode.PARAMETERS: [
            range(a_pass.parameters, a_pass.parameters + len(NEURON_WORDS)),
            range(a_pass.tile_parameters,
                  a_pass.tile_parameters + a_pass.tiles * config.group_lanes)],
        Opcode.SPIKES: [range(span.start * per_word, span.stop * per_word) for span in spikes]}
