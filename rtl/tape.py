"""The tape as the device sees it: packets of 32-bit words, their opcodes, fields and errors.

    packet = header, payload word 0 .. length - 1, CRC-32 of all words before it

A packet is one transfer of the stream, its last word marked (`tlast`). The CRC is that of Ethernet
and zlib over the words as little-endian bytes. Numbers of packets in a tape run modulo 256,
starting with that of its BEGIN; every answer carries that first number as its *tag*.

A packet that is damaged, cut short, too long, out of order or impossible is refused whole: the
device answers with one ERROR, skips everything up to the next BEGIN, and works on from there. Among
what it skips only damaged packets are answered, each with an ERROR: one of them may have been a
BEGIN.

This module imports nothing of ours and no Amaranth: host software uses it as it is.
"""

import enum

__all__ = ["COUNTERS", "HEADER", "INFO_WORDS", "MAGIC", "NEURON_WORDS", "PARAMETER", "PASS",
           "PASS_WORDS", "TARGET", "VERSION", "Answer", "Emit", "Fault", "Opcode", "Source"]

MAGIC = 0x51464952     # "QFIR"
VERSION = 0x00010000   # major.minor, 16 bits each


class Opcode(enum.IntEnum):
    """What a packet to the device asks for; payload in brackets."""

    BEGIN = 0x01        #: start a tape [configuration hash, network id, or 0 to forget the network]
    WEIGHTS = 0x02      #: write weights [TARGET, one word per row ...]
    PARAMETERS = 0x03   #: write neuron parameters [TARGET, words ...]
    SPIKES = 0x04       #: write spike words [stream-word address, words ...]
    PASS = 0x05         #: run one pass [PASS, PASS_WORDS words]
    READ = 0x06         #: answer with spike words [stream-word address, number of words]
    REPORT = 0x07       #: answer with the counters, and clear them []
    SEAL = 0x08         #: the network is loaded; its id from now on [network id]
    INFO = 0x09         #: answer with what the device is [] (needs no BEGIN)


class Answer(enum.IntEnum):
    """What a packet from the device holds; payload in brackets."""

    TAPS = 0x81         #: one tile of logits or membranes ["lanes" signed words]
    SPIKES = 0x82       #: spike words [words ...]
    REPORT = 0x83       #: counters [COUNTERS]
    ERROR = 0x84        #: a packet was refused [Fault, header of that packet as received]
    INFO = 0x85         #: [INFO_WORDS]


class Fault(enum.IntEnum):
    """Why a packet was refused."""

    CRC = 1             #: the checksum does not match
    TRUNCATED = 2       #: the packet ended before its length
    OVERRUN = 3         #: the packet went on past its length
    OVERSIZE = 4        #: the length is more than the device can hold
    SEQUENCE = 5        #: a packet is missing, doubled or out of order, or no BEGIN came first
    OPCODE = 6          #: there is no such opcode
    CONFIGURATION = 7   #: the tape was made for another configuration
    NETWORK = 8         #: the tape was made for a network that is not loaded
    ARGUMENT = 9        #: an address, a number or a length is out of range


class Source(enum.IntEnum):
    """What the first addition of a pass finds in an accumulator."""

    ZERO = 0            #: nothing
    OWN = 1             #: its own sum of the pass before
    NEIGHBOUR = 2       #: the sum of the bank before (the shift that drains the banks)


class Emit(enum.IntEnum):
    """Which tap words a pass answers with."""

    NONE = 0
    LOGITS = 1          #: after the last time step, the sums of the readout
    MEMBRANES = 2       #: after every time step, the membrane potentials (probe)


#: Names of the words of a REPORT, in order. All count clock cycles but `events`, one per event.
COUNTERS = ("cycles", "busy", "events", "nulls", "drains", "starved", "input_wait", "output_wait")

#: Names of the words of an INFO answer.
INFO_WORDS = ("magic", "version", "configuration", "network")

#: Words at the head of a layer's parameters in each group: flags (bit 0 square, bit 1 soft, bit 2
#: readout), factor, theta, lo, hi, initial, reset, delta (rtl.numerics.Neuron), sign-extended.
NEURON_WORDS = ("flags", "factor", "theta", "lo", "hi", "initial", "reset", "delta")

PASS_WORDS = 5


#: Fields of a header, (name: bits), least significant first, as everywhere below.
HEADER = {
    "length": 16,          # words of payload
    "sequence": 8,         # number of the packet, modulo 256; in an answer the tape's tag
    "opcode": 8,
}

#: First payload word of WEIGHTS and PARAMETERS; the address counts up with every word.
TARGET = {
    "address": 16,         # weight row, or parameter word
    "bank": 8,             # WEIGHTS only
    "group": 8,
}

#: Parameter word of an output channel: J = round(acc * 2^(F - shift)) + bias.
PARAMETER = {
    "bias": 24,            # signed
    "shift": 5,
    "unused": 3,
}

#: Payload of a PASS. Counts marked -1 are one less than what they count.
PASS = {
    # word 0
    "slots": 4,            # -1: time steps, or bit planes, of the input
    "steps": 4,            # -1: time steps of the output
    "planes": 1,           # the slots are bit planes, most significant first
    "own": 1,              # add to the sums of the pass before
    "drain": 1,            # the sums are complete: send them to the neurons
    "emit": 2,             # Emit
    "column": 5,           # part of the output word that the first tile writes
    "rounds": 8,           # -1: tiles to drain, from the last bank backwards
    "unused": 6,
    # word 1
    "input_base": 16,      # spike word of slot 0
    "words": 16,           # -1: spike words a slot
    # word 2
    "input_stride": 16,    # spike words from slot to slot
    "row": 16,             # weight row of the first input
    # word 3
    "output_base": 16,     # spike word of step 0
    "output_stride": 16,   # spike words from step to step
    # word 4
    "parameters": 16,      # parameter address of the layer's NEURON_WORDS
    "tile": 16,            # parameter address of the first tile's channels
}

PASS_WORDS = sum(PASS.values()) // 32
