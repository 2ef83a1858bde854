"""Writes the packets of one tape in order, with the answers they will bring."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from quadfire.firmware.tape.packets import encode, pack
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import COUNTERS, TARGET, Answer, Opcode

__all__ = ["Block", "Expected", "Tape", "TapeWriter", "Uses"]

#: What a pass uses of each memory: weight rows, parameter words, stream words of spikes.
Uses = dict[Opcode, Sequence[range]]


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer to come: what it is, its length in words, and where in the outputs it belongs.

    image, layer: -1 where the answer belongs to none. index: tile of logits and membranes, first
    stream word of spikes. step: time step of membranes. pixel: of the layer's map. Of a "map" that
    the host keeps, `fetch` says what it is.
    """

    what: Literal["logits", "membranes", "spikes", "map", "counters"]
    length: int
    image: int = -1
    layer: int = -1
    index: int = 0
    step: int = 0
    pixel: int = 0
    fetch: Any = None

    @property
    def opcode(self) -> Answer:
        return {"spikes": Answer.SPIKES, "map": Answer.SPIKES,
                "counters": Answer.REPORT}.get(self.what, Answer.PROBE)


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


@dataclass(frozen=True)
class Block:
    """Words for a memory from `address` on: WEIGHTS, PARAMETERS or SPIKES.

    bank, group: as in TARGET; of SPIKES the address counts stream words.
    """

    opcode: Opcode
    address: int
    words: np.ndarray
    bank: int = 0
    group: int = 0

    def part(self, start: int, end: int) -> "Block":
        """The words for addresses start .. end - 1."""
        return Block(self.opcode, start, self.words[start - self.address:end - self.address],
                     self.bank, self.group)

    def cut(self, busy: Iterable[range]) -> Iterator[tuple["Block", bool]]:
        """Parts that lie in one of the ranges (True), or in none."""
        end = self.address + len(self.words)
        edges = {self.address, end}
        for span in busy:
            edges |= {edge for edge in (span.start, span.stop) if self.address < edge < end}
        marks = sorted(edges)
        for start, stop in zip(marks, marks[1:], strict=False):
            yield self.part(start, stop), any(start in span for span in busy)

    def payloads(self, room: int) -> Iterator[np.ndarray]:
        """Payloads of at most `room` words and their target."""
        for at in range(0, len(self.words), room - 1):
            address = self.address + at
            head = np.array([address], np.uint32) if self.opcode == Opcode.SPIKES else \
                pack(TARGET, address=address, bank=self.bank, group=self.group)
            yield np.concatenate([head, self.words[at:at + room - 1]])


class TapeWriter:
    """A tape that begins with BEGIN [configuration, network], whose number is `tag`.

    While a pass runs the device goes on to the next packets. So the writer remembers what the last
    pass uses, and puts a WAIT before what would change that. The passes before it are over.
    """

    def __init__(self, config: ArrayConfig, network_id: int, tag: int):
        self.config = config
        self.tape = Tape(tag)
        self._busy: Uses = {}
        self.add(Opcode.BEGIN, [config.hash, network_id])

    def add(self, opcode: Opcode, payload: Iterable[int] | np.ndarray = ()) -> None:
        """Append a packet with the next number."""
        packets = self.tape.packets
        packets.append(encode(opcode, self.tape.tag + len(packets), payload))

    def write(self, blocks: Iterable[Block]) -> None:
        """Append packets that write memories; what the last pass uses after a WAIT."""
        late = []
        for block in blocks:
            for part, busy in block.cut(self._busy.get(block.opcode, ())):
                if busy:
                    late.append(part)
                else:
                    self._write(part)
        if late:
            self.add(Opcode.WAIT)
            self._busy = {}
        for part in late:
            self._write(part)

    def _write(self, block: Block) -> None:
        for payload in block.payloads(self.config.payload_words):
            self.add(block.opcode, payload)

    def run(self, payload: np.ndarray, uses: Uses) -> None:
        """Append a PASS that reads or writes what `uses` says."""
        self.add(Opcode.PASS, payload)
        self._busy = uses

    def expect(self, *expected: Expected) -> None:
        """Note answers that the last pass brings."""
        self.tape.expected.extend(expected)

    def read(self, base: int, size: int, expected: Callable[[int, int], Expected]) -> None:
        """Ask for `size` spike words from `base` on; `expected` of (length, first stream word)."""
        base, total = base * self.config.stream_words, size * self.config.stream_words
        for at in range(0, total, self.config.payload_words):
            length = min(self.config.payload_words, total - at)
            self.add(Opcode.READ, [base + at, length])
            self.expect(expected(length, at))
        if total:
            self._busy = {}

    def report(self, *, image: int = -1, layer: int = -1) -> None:
        """Ask for the counters, and wait until the array is idle."""
        self.add(Opcode.REPORT)
        self.expect(Expected("counters", len(COUNTERS), image, layer))
        self._busy = {}
