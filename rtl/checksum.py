"""CRC-32, a word a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Checksum"]

_POLYNOMIAL = 0xEDB88320        # of Ethernet and zlib, least significant bit first
_ONES = 0xFFFFFFFF


def _forward(register: int) -> int:
    """The CRC register after 32 more bits of zero."""
    for _ in range(32):
        register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
    return register


def _backward(register: int) -> int:
    """What `_forward` makes `register` of."""
    for _ in range(32):
        out = register >> 31
        register = (register << 1 ^ (_POLYNOMIAL << 1 | 1 if out else 0)) & _ONES
    return register


class Checksum(wiring.Component):
    """The CRC register, always with the latest word added to it:

        x' = M x ^ word,    M: forward by 32 bits

    `clear` begins a message. After a message and its own CRC, all bits of x are ones: `whole`.
    After a message and a word of zero, ~x is its CRC: `crc`. M x has at most 17 terms a bit, so
    word and x should be registers.

    Latency: 1. II: 1.
    """

    latency = 1

    def __init__(self):
        super().__init__({
            "clear": In(1),
            "valid": In(1),
            "word": In(32),
            "whole": Out(1),
            "crc": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        empty = _backward(_ONES)
        x = Signal(32, init=empty)
        columns = [_forward(1 << bit) for bit in range(32)]
        terms = [[x[bit] for bit in range(32) if columns[bit] >> out & 1] for out in range(32)]
        following = Cat(Cat(self.word[out], *terms[out]).xor() for out in range(32))
        with m.If(self.clear):
            m.d.sync += x.eq(empty)
        with m.Elif(self.valid):
            m.d.sync += x.eq(following)
        m.d.comb += [self.whole.eq(x.all()), self.crc.eq(~x)]
        return m
