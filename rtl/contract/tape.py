"""The tape as the device sees it: packets of 32-bit words, their opcodes, fields and faults.

    packet = header, payload word 0 .. length - 1, CRC-32 of all words before it

A packet is one transfer of the stream; its last word is marked (`tlast`). The CRC is that of
Ethernet and zlib, over the words as little-endian bytes. The packets of a tape are numbered modulo
256, starting with the number of its BEGIN. Every answer carries that first number as its *tag*.

A packet that is damaged, cut short, too long, out of order or impossible is refused whole. The
device then answers with one ERROR, skips everything up to the next BEGIN, and goes on there. Of the
packets that it skips, it answers only the damaged ones, each with an ERROR: one of them may have
been a BEGIN.

Host software uses this module as it is: it imports nothing of ours and no Amaranth.
"""

import enum

__all__ = ["COUNTERS", "HEADER", "INFO_WORDS", "MAGIC", "NEURON_WORDS", "PARAMETER", "PASS",
           "PASS_WORDS", "SOURCE", "SOURCE_WORDS", "TARGET", "VERSION", "Answer", "Emit", "Fault",
           "Opcode"]

MAGIC = 0x51464952     # "QFIR"
VERSION = 0x00030001   # major.minor, 16 bits each


class Opcode(enum.IntEnum):
    """What a packet to the device asks for; payload in brackets."""

    BEGIN = 0x01        #: start a tape [configuration hash, network id, or 0 to forget the network]
    WEIGHTS = 0x02      #: write weights [TARGET, one word per row ...]
    PARAMETERS = 0x03   #: write neuron parameters [TARGET, words ...]
    SPIKES = 0x04       #: write spike words [stream-word address, words ...]
    PASS = 0x05         #: run one pass [PASS, then one SOURCE for each of its sources]
    READ = 0x06         #: answer with spike words [stream-word address, number of words]
    REPORT = 0x07       #: answer with the counters, and clear them []
    SEAL = 0x08         #: the network is loaded; its id from now on [network id]
    INFO = 0x09         #: answer with what the device is []; needs no BEGIN
    WAIT = 0x0A         #: go on when no pass runs any more []
    LIMIT = 0x0B        #: end passes that take more cycles [cycles, 0: any number]; until a BEGIN
                        #: of network 0


class Answer(enum.IntEnum):
    """What a packet from the device holds; payload in brackets."""

    PROBE = 0x81        #: one tile of logits or membranes ["lanes" signed words]
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
    LIMIT = 10          #: a pass before it took more cycles than LIMIT allows, and was ended


class Emit(enum.IntEnum):
    """Which probe words a pass answers with."""

    NONE = 0
    LOGITS = 1          #: after the last time step, the sums of the readout
    MEMBRANES = 2       #: after every time step, the membrane potentials
#: Names of the words of a REPORT, in order. All count clock cycles but `events`, one per event.
COUNTERS = ("cycles", "busy", "events", "nulls", "drains", "starved", "input_wait", "output_wait")

#: Names of the words of an INFO answer.
INFO_WORDS = ("magic", "version", "configuration", "network")

#: Words at the head of a layer's parameters in each group. Bit 0 of `flags` is square, bit 1 soft,
#: bit 2 readout; the others are as `quadfire.rtl.contract.numerics.Neuron.words` makes them,
#: sign-extended.
NEURON_WORDS = ("flags", "operand", "theta", "lo", "hi", "initial", "change", "top")

#: Fields of a header, name: bits. The least significant field is the first, here and below.
HEADER = {
    "length": 16,          # words of payload
    "sequence": 8,         # number of the packet, modulo 256; in an answer the tape's tag
    "opcode": 8,
}

#: First payload word of WEIGHTS and PARAMETERS. The address counts up with every word.
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

#: Head of a PASS; `quadfire.rtl.fetch.raster` says what a pass does. A count marked -1 is stored
#: less one. x, y are positions of sites in the raster. "With kernel taps" means `taps` = 1.
PASS = {
    # word 0
    "slots": 4,            # -1: time steps, or bit planes, of the input
    "steps": 4,            # -1: time steps of the output
    "planes": 1,           # the slots are bit planes, most significant first
    "own": 1,              # accumulate: the first site adds to the sums of the pass before
    "drain": 1,            # the sums are complete: send them to the neurons
    "emit": 2,             # Emit
    "taps": 1,             # banks are the taps of a 3 x 3 kernel, else tiles of outputs
    "join": 1,             # dense, without kernel taps: all sites add to one sum
    "start": 1,            # with kernel taps: the map's first row; nothing comes from above
    "flush": 1,            # with kernel taps: visit one more site, so that the last output leaves
    "column": 5,           # column of the output word that the first tile writes
    "rounds": 4,           # -1: tiles to drain, from the last bank backwards; with kernel taps 0
    "sources": 4,          # -1: SOURCE tables that follow
    "stride": 2,           # with kernel taps: log2 of the stride of the outputs
    # word 1
    "width": 10,           # -1: sites in a row
    "height": 10,          # -1: rows of sites
    "row": 10,             # with kernel taps: y of the first row
    "load": 1,             # neurons go on from the membranes in state memory
    "store": 1,            # keep the membranes of the last time step in state memory
    # word 2. With kernel taps those outputs leave with x_low <= x <= x_high, from x_low on in
    # steps of the stride
    "x_low": 10,
    "x_high": 10,
    "state": 12,           # place of the first output's membranes. Then follows one place for
                           # every tile of every output, in the order in which they leave
    # word 3, likewise for y
    "y_low": 10,
    "y_high": 10,
    "unused": 12,
    # word 4
    "output_base": 16,     # spike word of the first output in time step 0
    "output_stride": 16,   # spike words from a time step to the next, and from the last time step
                           # to the next output
    # word 5
    "parameters": 16,      # parameter address of the layer's NEURON_WORDS
    "tile": 16,            # parameter address of the first tile's channels
    # word 6
    "site_rows": 16,       # with `join`: weight rows from site to site
    "line": 16,            # with kernel taps: (width - 3) * slots, shifts that a line buffer delays
}

PASS_WORDS = sum(PASS.values()) // 32

#: A source of events. At site (x, y) it gives, slot by slot, the words of a window of its map. The
#: window starts at pixel (x0 + x step_x, y0 + y step_y). Pixels outside the map are silent; a
#: window that leaves the map and the `pad` pixels around it is silent as a whole.
SOURCE = {
    # word 0
    "base": 16,            # spike word of slot 0 at site (0, 0), modulo 2^16
    "slot_stride": 16,     # spike words from slot to slot
    # word 1
    "weights": 16,         # weight row of the first input of the first word
    "words": 12,           # -1: spike words of a pixel in a slot
    "wide": 1,             # with kernel taps: a row holds one wide weight, in the middle bank
    "any": 1,              # max pooling: a window counts once if any of its pixels spikes
    "pad": 2,              # padding of a pooling: how far a window may reach out of its map
    # word 2
    "x_stride": 16,        # spike words from site to site
    "y_stride": 16,        # spike words from the first site of a row to that of the next
    # word 3
    "window_x_stride": 16,  # spike words from pixel to pixel of a window
    "window_y_stride": 16,
    # word 4
    "x0": 11,              # signed: pixel at site (0, 0)
    "y0": 11,
    "window_width": 5,     # -1: pixels of a window, which starts at that pixel
    "window_height": 5,
    # word 5
    "map_width": 10,       # pixels of the map: tells what is outside
    "map_height": 10,
    "step_x": 6,           # pixels from site to site
    "step_y": 6,
}

SOURCE_WORDS = sum(SOURCE.values()) // 32
