"""The protocol of the link: what the bytes between a host and a UART shell mean.

A packet is sent as its words, little-endian, followed by END. `ESCAPE` always begins a two-byte
sequence, so a receiver is in step again after the next one, whatever was lost before:

| sequence | from | meaning |
|---|---|---|
| ESCAPE LITERAL | both | the data byte ESCAPE |
| ESCAPE END | both | the packet is complete |
| ESCAPE MARK n | both | n counts the sender's blocks, modulo 64 |
| ESCAPE ACK n | both | everything up to the other side's MARK n has left the receive buffer |
| ESCAPE WINDOW k | device | the window is k blocks, the receive buffer is not empty |
| ESCAPE EMPTY k | device | the window is k blocks, the receive buffer is empty |
| ESCAPE POLL | host | request for WINDOW or EMPTY, ACK and MARK |
| ESCAPE RESET | host | request to reset the core and the link |
| ESCAPE RESET | device | the device was reset |

ESCAPE and any other byte are ignored. If the length of a packet is no multiple of 4 bytes, its last
word has no defined value; the core refuses it by its length and CRC-32, like every damaged packet
(`quadfire.rtl.contract.tape`).

Flow control: a *symbol* is what takes a place in a receive buffer, that is a byte of a packet, an
END or a MARK. A sender sends a MARK after `BLOCK` symbols at the latest. No more than k * BLOCK
symbols, the window, may follow the last MARK that was acknowledged. So a receive buffer of that
size never overflows, however long its reader stops. The window of the device, for what it sends, is
`HOST_WINDOW` blocks.

Numbers are cumulative: the next ACK makes up for a lost one. A host that hears nothing for a while
sends POLL. EMPTY then acknowledges everything before it, and the device repeats its MARK. ACK, POLL
and RESET take no place in a buffer and overtake what waits there, so neither side can block the
other.

Numbers are cumulative: the next ACK makes a lost one good. A host that hears nothing for a while
sends POLL. EMPTY then acknowledges all before it, and the device repeats its MARK. ACK, POLL and
RESET take no place and overtake what waits in the buffer, so neither side can lock the other out.
The device may send `HOST_WINDOW` blocks.

Host software uses this module as it is: it imports nothing.
"""

import enum

__all__ = ["BLOCK", "ESCAPE", "HOST_WINDOW", "MODULUS", "Code"]

#: The byte that begins a sequence: rare in weights, spikes and small numbers.
ESCAPE = 0x9D

#: Largest number of symbols from one MARK to the next.
BLOCK = 64

#: Modulus of the numbers in MARK and ACK.
MODULUS = 64

#: Blocks for which every host must have room.
HOST_WINDOW = 16


class Code(enum.IntEnum):
    """The byte after ESCAPE. Any two without an argument differ in at least 4 bits."""

    MARK = 0x00         #: | n
    ACK = 0x40          #: | n
    WINDOW = 0x80       #: | k, with k in 1..28: 29 would make it ESCAPE
    EMPTY = 0xA0        #: | k
    END = 0xC3
    LITERAL = 0xCC
    POLL = 0xF0
    RESET = 0xFF
