"""The host driver: load a network into a device, run inputs, check every answer."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.inputs import checked
from quadfire.firmware.driver.outputs import Collector, Outputs, answered
from quadfire.firmware.driver.sequences import join_chunks
from quadfire.firmware.driver.session import Tapes, inference_tapes, setup_tape
from quadfire.firmware.errors import DeviceError
from quadfire.firmware.tape.packets import PacketError, decode, encode, unpack
from quadfire.firmware.tape.writer import Expected, Tape
from quadfire.firmware.transports.transport import Transport
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import (
    COUNTERS,
    HEADER,
    INFO_WORDS,
    MAGIC,
    VERSION,
    Answer,
    Fault,
    Opcode,
)

__all__ = ["Accelerator", "Info"]

_T = TypeVar("_T")

_EXPLANATIONS = {
    Fault.CRC: "its checksum does not match: it was damaged on the way",
    Fault.TRUNCATED: "it ended before its length: words were lost on the way",
    Fault.OVERRUN: "it went on past its length: words were doubled, or the mark of its end is lost",
    Fault.OVERSIZE: "it is longer than the device can hold",
    Fault.SEQUENCE: "a packet before it is missing, doubled or out of order",
    Fault.OPCODE: "the device does not know its opcode",
    Fault.CONFIGURATION: "its tape was made for another configuration",
    Fault.NETWORK: "its tape was made for a network that is not loaded",
    Fault.ARGUMENT: "an address, a number or a length in it is out of range",
    Fault.LIMIT: "a pass before it took more cycles than pass_limit allows, and was ended",
}


@dataclass(frozen=True)
class Info:
    """What a device says it is. `network` is 0 if none is loaded."""

    magic: int
    version: int
    configuration: int
    network: int


def _name(enum: type, value: int) -> str:
    """The name of a value of an enum, or its number."""
    known = enum._value2member_map_
    return known[value].name if value in known else f"{value:#04x}"


def _refused(payload: np.ndarray) -> DeviceError:
    """The exception for the payload of an ERROR answer."""
    if len(payload) != 2:
        return DeviceError(f"the device answered ERROR with {len(payload)} words instead of 2")
    header = unpack(HEADER, payload[1:])
    packet = (f"packet {header['sequence']} ({_name(Opcode, header['opcode'])}, "
              f"{header['length']} words)")
    number = int(payload[0])
    if number not in Fault._value2member_map_:
        return DeviceError(f"the device refused {packet}: unknown fault {number}")
    fault = Fault(number)
    return DeviceError(f"the device refused {packet}: {fault.name}, {_EXPLANATIONS[fault]}", fault)


def _check_counters(payload: np.ndarray) -> None:
    """Raise DeviceError for counters that cannot be: every busy cycle is in one class."""
    count = dict(zip(COUNTERS, map(int, payload), strict=True))
    classes = sum(count[name] for name in ("events", "nulls", "drains", "starved"))
    if (classes - count["busy"]) % (1 << 32):
        raise DeviceError(f"the device's counters contradict each other: {count['busy']} busy "
                          f"cycles, but {classes} in all of their classes")


def _integer(name: str, value: object, least: int) -> int:
    """The value as an int; raises ValueError unless it is an integer of at least `least`."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)) \
            or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
    return int(value)


class Accelerator:
    """The driver of a device.

    | argument | meaning |
    |---|---|
    | transport | the way to it |
    | config | what it was made from |
    | batch | most images in one tape; of long sequences, which run in chunks, most chunks |
    | retries | how often a tape is played again that was damaged, or not answered |
    | pass_limit | cycles after which the device ends a pass and refuses its tape; 0: none |

    Before a retry the device is asked what it still knows, and the network is loaded again if it
    has forgotten it. A tape holds everything it needs, so no input is lost.

    >>> with Accelerator(transport, config) as device:      # doctest: +SKIP
    ...     device.load(IntegerNetwork.load("net.safetensors"))
    ...     print(device.run(images).outputs.argmax(axis=1))
    """

    #: Words of weights and parameters that one tape may stream, roughly.
    STREAMED_WORDS = 1 << 20

    def __init__(self, transport: Transport, config: ArrayConfig, *, batch: int = 64,
                 retries: int = 0, pass_limit: int = 0):
        self.transport, self.config = transport, config
        self.batch, self.retries = _integer("batch", batch, 1), _integer("retries", retries, 0)
        self.pass_limit = _integer("pass_limit", pass_limit, 0)
        if self.pass_limit >> 32:
            raise ValueError(f"pass_limit must be below 2^32 cycles, not {pass_limit!r}")
        self.program: Program | None = None
        self._tag = 0
        self._checked = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """Close the transport."""
        self.transport.close()

    def reset(self) -> None:
        """Reset the device; the next `run` loads the network again by itself."""
        self.transport.reset()

    def _next_tag(self) -> int:
        """A tag that the last tapes did not have."""
        self._tag = (self._tag + 1) % 256
        return self._tag

    # Answers -------------------------------------------------------------------------------------

    def info(self) -> Info:
        """Ask the device what it is; raises DeviceError if this driver does not know it."""
        packets = [encode(Opcode.INFO, self._next_tag())]
        while True:
            for words in self.transport.exchange(packets, 1):
                try:
                    packet = decode(words)
                except PacketError as error:
                    raise DeviceError(f"a damaged answer: {error}") from None
                if packet.opcode == Answer.ERROR:
                    raise _refused(packet.payload)
                if packet.opcode == Answer.INFO:
                    return self._info(packet.payload)
            packets = []                               # what came belongs to an older tape

    @staticmethod
    def _info(payload: np.ndarray) -> Info:
        """The payload of an INFO answer, checked."""
        if len(payload) != len(INFO_WORDS):
            raise DeviceError(f"INFO has {len(INFO_WORDS)} words, not {len(payload)}")
        info = Info(*map(int, payload))
        if info.magic != MAGIC:
            raise DeviceError(f"this is no Quadfire device: it answers {info.magic:#010x} "
                              f"instead of {MAGIC:#010x}")
        if info.version >> 16 != VERSION >> 16:
            raise DeviceError(f"the device speaks version {info.version >> 16} of the tape, "
                              f"this driver {VERSION >> 16}")
        return info

    def _catch_up(self) -> None:
        """Drop whatever the device still answers to a broken tape, up to an INFO."""
        packets = [encode(Opcode.INFO, self._next_tag())]
        while not any(int(words[0]) >> 24 == Answer.INFO
                      for words in self.transport.exchange(packets, 1)):
            packets = []

    def _check(self) -> None:
        """Raise DeviceError for a device of another configuration; ask it only once."""
        if self._checked:
            return
        if (found := self.info().configuration) != self.config.hash:
            raise DeviceError(f"the device has configuration {found:#010x}, not "
                              f"{self.config.hash:#010x} ({self.config}): use the configuration "
                              "that it was generated from", Fault.CONFIGURATION)
        self._checked = True

    def _play(self, tape: Tape) -> list[np.ndarray]:
        """Send a tape and return the payloads of its answers. After a DeviceError none is left."""
        try:
            return self._answers(tape)
        except DeviceError:
            with suppress(TimeoutError):
                self._catch_up()
            raise

    def _answers(self, tape: Tape) -> list[np.ndarray]:
        """Send a tape and return its answers' payloads, checked. Older answers are dropped."""
        payloads: list[np.ndarray] = []
        packets = tape.packets
        while len(payloads) < tape.answers:
            for words in self.transport.exchange(packets, tape.answers - len(payloads)):
                try:
                    answer = decode(words)
                except PacketError as error:
                    raise DeviceError(f"answer {len(payloads)} of {tape.answers} is damaged: "
                                      f"{error}") from None
                if answer.opcode == Answer.ERROR:
                    raise _refused(answer.payload)
                if answer.sequence != tape.tag or answer.opcode == Answer.INFO:
                    continue
                if len(payloads) == tape.answers:
                    raise DeviceError(f"more answers came than the {tape.answers} expected")
                expected = tape.expected[len(payloads)]
                if (answer.opcode, len(answer.payload)) != (expected.opcode, expected.length):
                    raise DeviceError(
                        f"answer {len(payloads)} of {tape.answers} is {answer.opcode.name} of "
                        f"{len(answer.payload)} words instead of {expected.opcode.name} of "
                        f"{expected.length}")
                if answer.opcode == Answer.REPORT:
                    _check_counters(answer.payload)
                payloads.append(answer.payload)
            packets = []
        return payloads

    # Work ----------------------------------------------------------------------------------------

    def load(self, network: IntegerNetwork | Program) -> Program:
        """Load a network, compiled if it is not yet, and return the program.

        Raises CompileError if the array cannot run it, DeviceError if the device refuses it, and
        ValueError for a program of another configuration or for anything else, such as a path.
        """
        program = self._compiled(network)
        if program.config != self.config:
            raise ValueError(f"the program was compiled for {program.config}, not {self.config}")
        self.program = None
        self._again(self._check)
        self._again(lambda: self._play(
            setup_tape(program, self._next_tag(), self.pass_limit)))
        self.program = program
        return program

    def _compiled(self, network: object) -> Program:
        """The program of what `load` was given."""
        if isinstance(network, Program):
            return network
        if isinstance(network, IntegerNetwork):
            return compile_network(network, self.config)
        if isinstance(network, (str, Path)):
            raise ValueError("load takes a network, not a path: use "
                             f"load(IntegerNetwork.load({str(network)!r}))")
        raise ValueError("load takes an IntegerNetwork or a Program, not "
                         f"{type(network).__name__}")

    def _again(self, work: Callable[[], _T], program: Program | None = None) -> _T:
        """The result of `work`, tried again where that may help.

        program: what must be loaded for it. A device that has forgotten it is loaded again once,
        even without `retries`.
        """
        left, lost, failure = self.retries, False, None
        while True:
            try:
                if failure is not None:
                    self._recover(failure, program)
                return work()
            except (DeviceError, TimeoutError) as error:
                if left > 0 and _may_pass(error):
                    left -= 1
                elif not lost and program is not None and self._lost(program, error):
                    lost = True
                else:
                    raise
                failure = error

    def _lost(self, program: Program, error: Exception) -> bool:
        """Whether the device has forgotten the network, as after a reset."""
        return (isinstance(error, DeviceError)
                and error.fault in (Fault.NETWORK, Fault.SEQUENCE)
                and self.info().network != program.network_id)

    def _recover(self, failure: Exception, program: Program | None) -> None:
        """Drop what is under way or reset the device, then load it again if need be."""
        if isinstance(failure, TimeoutError):
            self._checked = False
            try:
                self._catch_up()
            except TimeoutError:
                self.transport.reset()
        if program is not None and self.info().network != program.network_id:
            self.load(program)

    def run(self, inputs: np.ndarray, *, profile: bool = False, probe: bool = False,
            spikes: bool = False, progress: Callable[[int, int], object] | None = None) -> Outputs:
        """Run the loaded network on N images.

        | argument | meaning |
        |---|---|
        | inputs | pixels below 2^input_bits [N, C, H, W], or spikes, or counts below |
        |  | 2^count_bits, [T, N, C, H, W] |
        | profile | count cycles of every image and layer |
        | probe | read the membranes of all layers |
        | spikes | read the spikes of all layers |
        | progress | called with (images done, N) |

        Inputs may be flat, [..., C * H * W]. A device that was reset meanwhile is loaded again,
        once per tape. Raises ValueError for other inputs, RuntimeError before `load`, DeviceError
        for refusals, TimeoutError for silence.
        """
        if (program := self.program) is None:
            raise RuntimeError("no network is loaded: call load() first")
        inputs = checked(program.network, inputs)
        pixels, chunks = program.network.input_bits > 0, program.chunks
        images, batch = inputs.shape[0 if pixels else 1], self._batch(program)
        collector = Collector(program, images * chunks, profile=profile, probe=probe,
                              spikes=spikes)
        for first in range(0, images, batch):
            some = inputs[first:first + batch] if pixels else inputs[:, first:first + batch]

            def play(some=some, first=first) -> list[tuple[Expected, np.ndarray]]:
                return self._play_all(inference_tapes(
                    program, some, self._next_tag, profile=profile, probe=probe,
                    read_spikes=spikes,
                    put_map=lambda image, layer, words: collector.put_map(
                        first * chunks + image, layer, words)))

            collector.put(first * chunks, self._again(play, program))
            if progress is not None:
                progress(min(first + batch, images), images)
        joined = join_chunks(collector.outputs(), program)
        return answered(joined, program.network, probe=probe)

    def _play_all(self, tapes: Tapes) -> list[tuple[Expected, np.ndarray]]:
        """Play tapes, each made from the answers to the one before, and return all answers."""
        answers: list[tuple[Expected, np.ndarray]] = []
        payloads = None
        with suppress(StopIteration):
            while True:
                tape = next(tapes) if payloads is None else tapes.send(payloads)
                payloads = self._play(tape)
                answers += zip(tape.expected, payloads, strict=True)
        return answers

    def _batch(self, program: Program) -> int:
        """Images per tape, so that no tape streams too many words."""
        words = sum(layer.streamed_words for layer in program.layers) + 1
        return max(1, min(-(-self.batch // program.chunks), self.STREAMED_WORDS // words))


def _may_pass(error: Exception) -> bool:
    """Whether this is an error of the transport, which a retry may cure."""
    return not isinstance(error, DeviceError) or error.fault not in (
        Fault.OPCODE, Fault.CONFIGURATION, Fault.ARGUMENT, Fault.LIMIT)
