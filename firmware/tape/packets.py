"""Packets of the tape as uint32 arrays.

    packet = header, payload word 0 .. length - 1, CRC-32 of all words before it

`quadfire.rtl.contract.tape` says what the words mean.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from quadfire.rtl.contract.tape import HEADER, Answer, Opcode

__all__ = ["Packet", "PacketError", "crc32", "decode", "encode", "pack", "split", "unpack"]

WORD = 32


class PacketError(ValueError):
    """Words that are no packet: wrong length, unknown opcode or wrong checksum."""


@dataclass(frozen=True)
class Packet:
    """A decoded packet. `sequence` is its number, or the tag of the tape in an answer."""

    opcode: Opcode | Answer
    sequence: int
    payload: np.ndarray


def crc32(words: np.ndarray) -> int:
    """CRC-32 (Ethernet, zlib) of uint32 words as little-endian bytes."""
    return zlib.crc32(np.ascontiguousarray(words, dtype="<u4").tobytes())


def pack(table: Mapping[str, int], **values: int) -> np.ndarray:
    """The words uint32 of a table of bit fields, {name: bits}, least significant first.

    Fields that are not given are 0. Raises PacketError for an unknown field, or a value that does
    not fit its field.
    """
    if unknown := sorted(set(values) - set(table)):
        raise PacketError(f"there is no field {unknown[0]!r}; there are {', '.join(table)}")
    number = offset = 0
    for name, bits in table.items():
        value = int(values.get(name, 0))
        if not 0 <= value < 1 << bits:
            raise PacketError(f"{name} must be in 0..{(1 << bits) - 1}, not {value}")
        number |= value << offset
        offset += bits
    return np.array([number >> at & 0xFFFFFFFF for at in range(0, offset, WORD)], np.uint32)


def unpack(table: Mapping[str, int], words: Iterable[int]) -> dict[str, int]:
    """The unsigned fields of `table` in `words`; the inverse of `pack`."""
    number = sum(int(word) << WORD * index for index, word in enumerate(words))
    values = {}
    for name, bits in table.items():
        values[name] = number & (1 << bits) - 1
        number >>= bits
    return values


def encode(opcode: Opcode | Answer, sequence: int, payload: Iterable[int] | np.ndarray = ()
           ) -> np.ndarray:
    """One packet as uint32 words; `sequence` counts modulo 256."""
    body = np.asarray(payload if isinstance(payload, np.ndarray) else list(payload))
    body = body.astype(np.uint32)
    packet = np.empty(len(body) + 2, np.uint32)
    packet[:1] = pack(HEADER, length=len(body), sequence=sequence % 256, opcode=opcode)
    packet[1:-1] = body
    packet[-1] = crc32(packet[:-1])
    return packet


def decode(words: np.ndarray) -> Packet:
    """Decode one packet; raises PacketError that says what is wrong with it."""
    if len(words) < 2:
        raise PacketError(f"a packet has at least 2 words, not {len(words)}")
    header = unpack(HEADER, words[:1])
    if len(words) != header["length"] + 2:
        raise PacketError(f"the header announces {header['length']} words of payload, "
                          f"but {len(words) - 2} came")
    if crc32(words[:-1]) != int(words[-1]):
        raise PacketError(f"the checksum is {int(words[-1]):#010x}, "
                          f"but the words have {crc32(words[:-1]):#010x}")
    number = header["opcode"]
    if number not in Opcode._value2member_map_ and number not in Answer._value2member_map_:
        raise PacketError(f"there is no opcode {number:#04x}")
    opcode = Opcode(number) if number in Opcode._value2member_map_ else Answer(number)
    return Packet(opcode, header["sequence"], np.asarray(words[1:-1], np.uint32))


def split(words: np.ndarray) -> list[np.ndarray]:
    """Split packets that stand back to back, as in a tape file, by the lengths in their headers.

    Raises PacketError if the last one is cut short.
    """
    packets, at = [], 0
    while at < len(words):
        end = at + unpack(HEADER, words[at:at + 1])["length"] + 2
        if end > len(words):
            raise PacketError(f"the packet at word {at} ends at word {end}, "
                              f"but there are only {len(words)}")
        packets.append(words[at:end])
        at = end
    return packets
