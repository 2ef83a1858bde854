"""A tape: its packets in order, and the answers to expect."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from quadfire.firmware.tape.packets import encode, pack
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import COUNTERS, TARGET, Answer, Opcode

__all__ = ["Block", "Expected", "Tape", "TapeWriter", "Uses"]

#: What a pass uses of every memory: weight rows, parameter words, stream words of spikes.
Uses = dict[Opcode, Sequence[range]]


@dataclass(frozen=True, slots=True)
class Expected:
    """An answer to come, and where in the outputs it belongs.

    | field | meaning |
    |---|---|
    | what, length | kind of answer, and its words |
    | image, layer | -1 if it belongs to none |
    | index | tile of logits and membranes; first stream word of spikes |
    | step | time step of membranes |
    | pixel | of the layer's map |
    | fetch | of a "map" that the host keeps: the action that asked for it |
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
        """The opcode that it must have."""
        return {"spikes": Answer.SPIKES, "map": Answer.SPIKES,
                "counters": Answer.REPORT}.get(self.what, Answer.PROBE)


@dataclass(frozen=True)
class Tape:
    """Packets (uint32 arrays) and expected answers, both in order. `tag` numbers the tape."""

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
    """Words for a memory, from `address` on.

    | field | meaning |
    |---|---|
    | opcode | WEIGHTS, PARAMETERS or SPIKES |
    | address | weight row, parameter word, or stream word of spikes |
    | bank, group | as in TARGET |
    """

    opcode: Opcode
    address: int
    words: np.ndarray
    bank: int = 0
    group: int = 0

    def between(self, start: int, end: int) -> "Block":
        """The words for addresses start .. end - 1."""
        return Block(self.opcode, start, self.words[start - self.address:end - self.address],
                     self.bank, self.group)

    def cut(self, busy: Iterable[range]) -> Iterator[tuple["Block", bool]]:
        """The block in pieces: each lies in one of the ranges (True) or in none (False)."""
        end = self.address + len(self.words)
        edges = {self.address, end}
        for span in busy:
            edges |= {edge for edge in (span.start, span.stop) if self.address < edge < end}
        marks = sorted(edges)
        for start, stop in zip(marks, marks[1:], strict=False):
            yield self.between(start, stop), any(start in span for span in busy)

    def payloads(self, room: int) -> Iterator[np.ndarray]:
        """Payloads of at most `room` words, each with its target."""
        for at in range(0, len(self.words), room - 1):
            address = self.address + at
            head = np.array([address], np.uint32) if self.opcode == Opcode.SPIKES else \
                pack(TARGET, address=address, bank=self.bank, group=self.group)
            yield np.concatenate([head, self.words[at:at + room - 1]])


class TapeWriter:
    """Writes a tape, packet by packet; it starts with a BEGIN.

    The device reads on while a pass runs. So the writer remembers what the last pass uses, and
    puts a WAIT before a packet that would change that. Earlier passes are over by then.
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
        """Append packets that write memories. What the last pass uses comes last, after a WAIT."""
        late = []
        for block in blocks:
            for piece, busy in block.cut(self._busy.get(block.opcode, ())):
                if busy:
                    late.append(piece)
                else:
                    self._write(piece)
        if late:
            self.add(Opcode.WAIT)
            self._busy = {}
        for piece in late:
            self._write(piece)

    def _write(self, block: Block) -> None:
        for payload in block.payloads(self.config.payload_words):
            self.add(block.opcode, payload)

    def run(self, payload: np.ndarray, uses: Uses) -> None:
        """Append a PASS. uses: what it reads and writes."""
        self.add(Opcode.PASS, payload)
        self._busy = uses

    def expect(self, *expected: Expected) -> None:
        """Note answers that the last pass will bring."""
        self.tape.expected.extend(expected)

    def read(self, base: int, size: int, expected: Callable[[int, int], Expected]) -> None:
        """Ask for `size` spike words from `base` on. expected: of (length, first stream word)."""
        base, total = base * self.config.stream_words, size * self.config.stream_words
        for at in range(0, total, self.config.payload_words):
            length = min(self.config.payload_words, total - at)
            self.add(Opcode.READ, [base + at, length])
            self.expect(expected(length, at))
        if total:
            self._busy = {}

    def report(self, *, image: int = -1, layer: int = -1) -> None:
        """Ask for the counters; the device answers once the array is idle."""
        self.add(Opcode.REPORT)
        self.expect(Expected("counters", len(COUNTERS), image, layer))
        self._busy = {}
