"""The transport to a device with the AXI shell, by its registers and a DMA that moves frames.

A tape goes as one frame, or as few as the DMA allows; the device finds the packets by their
headers. A frame from the device holds as many answers as surely fit in the receive buffer.
"""

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from quadfire.firmware.errors import DeviceError
from quadfire.firmware.tape.packets import PacketError, split
from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.register_access import Registers
from quadfire.rtl.contract.registers import MAP_VERSION, REGISTERS, find
from quadfire.rtl.contract.tape import MAGIC, VERSION, Answer, Fault

__all__ = ["AxiTransport", "Dma", "DmaError", "configuration", "identify"]


class DmaError(OSError):
    """The DMA stopped with an error; the transport must be reset."""


class Dma(ABC):
    """Moves frames between memory and the shell's streams, one at a time in each direction.

    | member | meaning |
    |---|---|
    | `send_bytes`, `receive_bytes` | longest frame |
    | `send(words)`, `sent()` | begin to send a frame; whether it has gone |
    | `receive()`, `received()` | begin to receive a frame; its words once it has come |
    | `reset()` | stop both directions |
    | `close()` | release memory and device |
    """

    send_bytes: int
    receive_bytes: int

    @abstractmethod
    def send(self, words: np.ndarray) -> None:
        """Begin to send uint32 words as a frame. Only while `sent()`."""

    @abstractmethod
    def sent(self) -> bool:
        """Whether everything has gone. Raises DmaError if it cannot."""

    @abstractmethod
    def receive(self) -> None:
        """Begin to receive a frame. Only while none is being received."""

    @abstractmethod
    def received(self) -> np.ndarray | None:
        """The words of the frame, once; None before it has ended. Raises DmaError if it cannot."""

    @abstractmethod
    def reset(self) -> None:
        """Stop both directions at once."""

    def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Release memory and device."""


def configuration(registers: Registers) -> ArrayConfig:
    """The configuration that a device was made from, by its registers."""
    return ArrayConfig.from_dict({
        register.name.removeprefix("config_"): getattr(registers, register.name)
        for register in REGISTERS if register.name.startswith("config_")})


def identify(registers: Registers, config: ArrayConfig | None) -> ArrayConfig:
    """The configuration of a device; raises DeviceError, with the reason, unless it is `config`.

    None stands for any configuration.
    """
    if (magic := registers.magic) != MAGIC:
        raise DeviceError(f"there is no Quadfire device at these registers: {magic:#010x} stands "
                          f"where {MAGIC:#010x} should")
    for name, mine in (("map_version", MAP_VERSION), ("tape_version", VERSION)):
        if (theirs := getattr(registers, name)) >> 16 != mine >> 16:
            raise DeviceError(f"the device has {name} {theirs >> 16}.{theirs & 0xFFFF}, this "
                              f"driver knows {mine >> 16}.{mine & 0xFFFF}")
    if config is None:
        config = configuration(registers)
    if (found := registers.configuration) != config.hash:
        theirs = {name: getattr(registers, f"config_{name}") for name in config.as_dict()}
        other = [f"{name} = {theirs[name]}, not {mine}"
                 for name, mine in config.as_dict().items() if theirs[name] != mine]
        raise DeviceError(f"the device has configuration {found:#010x}, not {config.hash:#010x}: "
                          + (", ".join(other) or "made by another version of the generator"),
                          Fault.CONFIGURATION)
    return config


class AxiTransport(Transport):
    """The transport to the AXI shell behind `registers` and `dma`. The device is reset.

    | argument | meaning |
    |---|---|
    | registers, dma | the way to the device |
    | config | what it must be; None takes it as it is |
    | timeout | seconds without a beat on either stream after which an exchange fails |
    | clock, pause | the time, and what to do between two looks at the DMA |

    Raises DeviceError if the device was not made from `config`.
    """

    def __init__(self, registers: Registers, dma: Dma, config: ArrayConfig | None, *,
                 timeout: float = 5.0, clock: Callable[[], float] = time.monotonic,
                 pause: Callable[[], object] = lambda: time.sleep(20e-6)):
        self.registers, self.dma = registers, dma
        self.timeout, self._clock, self._pause = timeout, clock, pause
        self.config = identify(registers, config)
        longest = 4 * (self.config.payload_words + 2)
        self._per_frame = dma.receive_bytes // longest
        if self._per_frame < 1 or dma.send_bytes < longest:
            raise ValueError(f"the DMA must move {longest} bytes at once, the longest packet, not "
                             f"{min(dma.send_bytes, dma.receive_bytes)}")
        self._answers: deque[np.ndarray] = deque()
        self.reset()

    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        """As `Transport.exchange`. After an ERROR answer, packets that were not sent are dropped.

        The message of a TimeoutError says what the device's registers hold.
        """
        frames = deque(self._frames(packets))
        total, patience = len(frames), _Patience(self)
        while True:
            self._frame_answers(answers - len(self._answers))
            moved = self._collect()
            if (error := self._error()) is not None:
                return self._take(error + 1)
            if self.dma.sent():
                if frames:
                    self.dma.send(frames.popleft())
                    moved = True
                elif len(self._answers) >= answers:
                    return self._take(answers)
            if not moved and patience.over():
                raise TimeoutError(
                    f"the device made no progress for {self.timeout:g} s: {total - len(frames)} "
                    f"of {total} frames were begun, {len(self._answers)} of {answers} answers "
                    f"came; {self.state()}")
            patience.note(moved)
            if not moved:
                self._pause()

    def state(self) -> str:
        """Status, errors and byte counts of the device in one line."""
        registers, facts = self.registers, []
        for name in ("status", "error"):
            fields = [field.name for field in find(name).fields
                      if getattr(registers, f"{name}_{field.name}")]
            facts.append(f"{name}: {', '.join(fields) or 'none'}")
        if registers.error_refused:
            facts.append(f"fault {registers.fault_cause} of packet {registers.fault_header:#010x}")
        return "; ".join([*facts, f"{registers.input_bytes} bytes in, "
                                  f"{registers.output_bytes} out"])

    def reset(self) -> None:
        """Reset the device by its registers and drop every word under way."""
        registers = self.registers
        registers.control_reset = 1
        self.dma.reset()
        patience = _Patience(self)
        self.dma.receive()
        while (registers.status_input_waiting or registers.status_output_waiting
               or registers.status_output_open):
            if self.dma.received() is not None:     # an answer to an older tape
                self.dma.receive()
            if patience.over():
                raise TimeoutError(f"the device cannot be reset: its streams do not come to rest; "
                                   f"{self.state()}")
            self._pause()
        if self.dma.received() is not None:
            self.dma.receive()
        for field in find("error").fields:
            setattr(registers, f"error_{field.name}", 1)
        registers.control_clear = 1
        registers.control_reset = 0
        self._answers.clear()
        self._asked = registers.frame_answers

    def close(self) -> None:
        """Release the DMA."""
        self.dma.close()

    def _frames(self, packets: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """Frames of packets back to back, as long as the DMA can send."""
        frame: list[np.ndarray] = []
        room = self.dma.send_bytes
        for packet in packets:
            if not 0 < 4 * len(packet) <= self.dma.send_bytes:
                raise ValueError(f"a packet must have 1..{self.dma.send_bytes // 4} words, not "
                                 f"{len(packet)}")
            if 4 * len(packet) > room:
                yield np.concatenate(frame).astype(np.uint32)
                frame, room = [], self.dma.send_bytes
            frame.append(packet)
            room -= 4 * len(packet)
        if frame:
            yield np.concatenate(frame).astype(np.uint32)

    def _frame_answers(self, wanted: int) -> None:
        """Set how many answers make a frame: all that are wanted, or as many as fit."""
        if (count := max(1, min(wanted, self._per_frame))) != self._asked:
            self.registers.frame_answers = self._asked = count

    def _collect(self) -> bool:
        """Take a frame if one has come; returns whether one has."""
        if (words := self.dma.received()) is None:
            return False
        self.dma.receive()
        try:
            self._answers.extend(split(words))
        except PacketError:
            self._answers.append(words)     # the driver will say what is wrong with it
        return True

    def _error(self) -> int | None:
        """Index of the first ERROR among the answers."""
        return next((place for place, packet in enumerate(self._answers)
                     if len(packet) and int(packet[0]) >> 24 == Answer.ERROR), None)

    def _take(self, count: int) -> list[np.ndarray]:
        """The next answers."""
        return [self._answers.popleft() for _ in range(count)]


class _Patience:
    """Runs out after a transport's timeout without progress, in frames or in beats."""

    def __init__(self, transport: AxiTransport):
        self.transport = transport
        self.since, self.beats = transport._clock(), self._beats()

    def _beats(self) -> tuple[int, int]:
        """Beats of both streams so far."""
        registers = self.transport.registers
        return registers.input_beats, registers.output_beats

    def note(self, moved: bool) -> None:
        """Start anew if something moved."""
        if moved:
            self.since = self.transport._clock()

    def over(self) -> bool:
        """Whether it has run out."""
        if self.transport._clock() - self.since < self.transport.timeout:
            return False
        before, self.beats = self.beats, self._beats()
        self.since = self.transport._clock()
        return self.beats == before
