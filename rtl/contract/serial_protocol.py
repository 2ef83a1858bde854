"""The serial line: what its bytes mean, in both directions.

A packet is its words as little-endian bytes, then END. `ESCAPE` begins a two-byte sequence wherever
it stands, so a receiver knows where it is again with the next one, whatever was lost before:

    ESCAPE LITERAL      the byte ESCAPE itself
    ESCAPE END          the packet is complete
    ESCAPE MARK n       n counts the sender's blocks, modulo 64
    ESCAPE ACK n        all up to the other side's MARK n has left the receive buffer
    ESCAPE WINDOW k     device only: it has room for k blocks, and has some symbols in its buffer
    ESCAPE EMPTY k      device only: it has room for k blocks, and its buffer is empty
    ESCAPE POLL         host only: say WINDOW or EMPTY, ACK and MARK again
    ESCAPE RESET        from the host: reset the core and the link; from the device: I was reset

Any other byte after ESCAPE means nothing. A packet of a length that is no multiple of four bytes is
passed on with a last word of no particular value: its own length and CRC-32 (`quadfire.rtl.contract.tape`) refuse it,
as they do every packet that was damaged.

Flow control. A *symbol* is a byte of a packet, an END or a MARK: what takes a place in a receive
buffer. A sender puts a MARK after `BLOCK` symbols or earlier. It sends no symbol that would make
more than the window, k * BLOCK symbols, follow the last MARK that was acknowledged. So the buffer
never holds more than the window, however long its reader stops, and no symbol is ever lost for want
of room. Numbers are cumulative: a lost ACK is made good by the next one. A host that hears nothing
for a while sends POLL: EMPTY then acknowledges all before it, and the device's MARK is repeated.
ACK, POLL and RESET take no place and pass what waits in the buffer, so neither side can lock the
other out. The device may send `HOST_WINDOW` blocks.

This module imports nothing: host software uses it as it is.
"""

import enum

__all__ = ["BLOCK", "ESCAPE", "HOST_WINDOW", "MODULUS", "Code"]

ESCAPE = 0x9D       #: rare in weights, spikes and small numbers

BLOCK = 64          #: most symbols from MARK to MARK

MODULUS = 64        #: of the numbers in MARK and ACK

HOST_WINDOW = 16    #: blocks that a host must have room for


class Code(enum.IntEnum):
    """The byte after ESCAPE. Those that stand alone differ in four bits at least."""

    MARK = 0x00         #: | n
    ACK = 0x40          #: | n
    WINDOW = 0x80       #: | k, 1..28, so that it is no ESCAPE
    EMPTY = 0xA0        #: | k
    END = 0xC3
    LITERAL = 0xCC
    POLL = 0xF0
    RESET = 0xFF
