"""Writes the packets of one tape in order, with the answers they will bring."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from firmware.packets import encode
from rtl.config import ArrayConfig
from rtl.tape import COUNTERS, Answer, Opcode

__all__ = ["Expected", "Region", "Tape", "TapeWriter"]


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer to come: what it is, its length in words, and where in the outputs it belongs.

    image, layer: -1 where the answer belongs to none. index: tile of logits and membranes, first
    stream word of spikes. step: time step of membranes.
    """

    what: Literal["logits", "membranes", "spikes", "counters"]
    length: int
    image: int = -1
    layer: int = -1
    index: int = 0
    step: int = 0

    @property
    def opcode(self) -> Answer:
        return {"spikes": Answer.SPIKES, "counters": Answer.REPORT}.get(self.what, Answer.TAPS)


@dataclass(frozen=True)
class Region:
    """A map in the spike memory: `slots` slots of `words` spike words from word `base`."""

    base: int
    slots: int
    words: int

    @property
    def size(self) -> int:
        return self.slots * self.words

    def overlaps(self, other: "Region") -> bool:
        return self.base < other.base + other.size and other.base < self.base + self.size


@dataclass(frozen=True)
class Tape:
    """Packets, uint32 arrays, to send in this order, and the answers to expect in this order."""

    tag: int
    packets: list[np.ndarray] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)

    @property
    def answers(self) -> int:
        """Number of answers."""
        return len(self.expected)

    @property
    def words(self) -> int:
        """Length of all packets, in 32-bit words."""
        return sum(map(len, self.packets))

    def to_array(self) -> np.ndarray:
        """All packets back to back."""
        return np.concatenate(self.packets)


class TapeWriter:
    """A tape that begins with BEGIN [configuration, network], whose number is `tag`.

    While a pass runs the device goes on to the next packet; all but SPIKES wait until the pass has
    ended. So the writer remembers which regions the last pass uses, and puts a REPORT, which
    waits, before SPIKES that would touch one of them.
    """

    def __init__(self, config: ArrayConfig, network_id: int, tag: int):
        self.config = config
        self.tape = Tape(tag)
        self._busy: tuple[Region, ...] = ()
        self.add(Opcode.BEGIN, [config.hash, network_id])

    def add(self, opcode: Opcode, payload: Iterable[int] | np.ndarray = ()) -> None:
        """Append a packet with the next number."""
        packets = self.tape.packets
        packets.append(encode(opcode, self.tape.tag + len(packets), payload))

    def write(self, blocks: Iterable[tuple[Opcode, np.ndarray]]) -> None:
        """Append WEIGHTS or PARAMETERS packets."""
        for opcode, payload in blocks:
            self.add(opcode, payload)
            self._busy = ()

    def spikes(self, region: Region, words: np.ndarray) -> None:
        """Write stream words into a region."""
        if any(region.overlaps(busy) for busy in self._busy):
            self.report()
        base, room = region.base * self.config.stream_words, self.config.payload_words - 1
        for at in range(0, len(words), room):
            self.add(Opcode.SPIKES, np.concatenate([np.array([base + at], np.uint32),
                                                    words[at:at + room]]))

    def run(self, payload: np.ndarray, *regions: Region) -> None:
        """Append a PASS that reads or writes `regions`."""
        self.add(Opcode.PASS, payload)
        self._busy = regions

    def expect(self, *expected: Expected) -> None:
        """Note answers that the last pass brings."""
        self.tape.expected.extend(expected)

    def read(self, region: Region, *, image: int, layer: int) -> None:
        """Ask for the spikes of a region."""
        base, total = (n * self.config.stream_words for n in (region.base, region.size))
        for at in range(0, total, self.config.payload_words):
            length = min(self.config.payload_words, total - at)
            self.add(Opcode.READ, [base + at, length])
            self.expect(Expected("spikes", length, image, layer, at))
        self._busy = ()

    def report(self, *, image: int = -1, layer: int = -1) -> None:
        """Ask for the counters, and wait until the array is idle."""
        self.add(Opcode.REPORT)
        self.expect(Expected("counters", len(COUNTERS), image, layer))
        self._busy = ()
