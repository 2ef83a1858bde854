"""CRC-32, a word a cycle, or a bit a cycle where that is enough."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Checksum"]

_POLYNOMIAL = 0xEDB88320        # of Ethernet and zlib, least significant bit first
_ONES = 0xFFFFFFFF


def _forward(register: int, bits: int = 32) -> int:
    """The CRC register after so many more bits of zero."""
    for _ in range(bits):
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

    serial: x moves on by a bit a cycle, all but the last one ahead of the next word: `ready` for
    this, from when on `whole` and `crc` are gone. Nothing moves on while `hold` is up.

    Latency: 1. II: 1, or 32 where serial.
    """

    latency = 1

    def __init__(self, *, serial: bool = False):
        self.serial = serial
        super().__init__({
            "clear": In(1),
            "valid": In(1),
            "hold": In(1),
            "ready": Out(1),
            "word": In(32),
            "whole": Out(1),
            "crc": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        step = 1 if self.serial else 32
        empty = _forward(_backward(_ONES), 32 - step)
        x = Signal(32, init=empty)
        columns = [_forward(1 << bit, step) for bit in range(32)]
        terms = [[x[bit] for bit in range(32) if columns[bit] >> out & 1] for out in range(32)]
        word = Mux(self.valid, self.word, 0) if self.serial else self.word
        following = Cat(Cat(word[out], *terms[out]).xor() for out in range(32))
        ahead = Signal(range(32), init=31)      # bits, where serial
        m.d.comb += self.ready.eq(ahead.all() if self.serial else 1)
        with m.If(self.clear):
            m.d.sync += [x.eq(empty), ahead.eq(31)]
        with m.Elif(self.valid | (~self.ready & ~self.hold)):
            m.d.sync += [x.eq(following), ahead.eq(ahead + 1)]
        m.d.comb += [self.whole.eq(x.all()), self.crc.eq(~x)]
        return m
