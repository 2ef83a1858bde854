"""A device in plain numpy behind the driver's transport: what the packets mean, word by word.

It uses nothing of `firmware` but the abstract transport, so the two can disagree. Memories start
with noise. If `late`, a pass does its work only when the next packet waits for it. So a packet that
touches what the pass before uses gives a wrong result, early or late.

Sums of kernel passes follow the linear raster (`quadfire.rtl.fetch.raster`): what wraps over the
end of a row of sites is added where the hardware adds it.
"""

import zlib

import numpy as np

from quadfire.firmware.transports.transport import Transport
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import current, round_shift
from quadfire.rtl.contract.tape import (
    COUNTERS,
    HEADER,
    MAGIC,
    PASS,
    PASS_WORDS,
    SOURCE,
    SOURCE_WORDS,
    VERSION,
    Answer,
    Emit,
    Fault,
    Opcode,
)


def fields(table, words):
    number, values = sum(int(word) << 32 * i for i, word in enumerate(words)), {}
    for name, bits in table.items():
        values[name], number = number % (1 << bits), number >> bits
    return values


def signed(value, bits):
    value = np.asarray(value, np.int64) & (1 << bits) - 1
    return value - ((value >> (bits - 1)) << bits)


class RefusedError(Exception):
    pass


class Device:
    """Takes packets, gives answers; `reset` forgets all but the noise in the memories."""

    def __init__(self, config: ArrayConfig, *, late: bool = False, seed: int = 0):
        self.config, self.late = config, late
        noise = np.random.default_rng(seed)
        c = config
        self.weights = noise.integers(0, 1 << 32, (c.banks, c.groups, c.weight_rows), np.uint32)
        self.parameters = noise.integers(0, 1 << 32, (c.groups, c.parameter_words), np.uint32)
        self.spikes = noise.integers(0, 1 << 32, c.spike_words * c.stream_words, np.uint32)
        self.sums = noise.integers(-99, 99, (c.slots, c.banks, c.lanes))
        self.membranes = noise.integers(c.state_min, c.state_max + 1, (c.state_words, c.lanes))
        self.events = 0
        self.passes = 0
        self.known = None       # what `unpacked` found
        self.reset()

    def reset(self):
        self.network, self.open, self.told, self.tag, self.next = 0, False, False, 0, 0
        self.pending = None
        self.limit, self.ended = 0, False

    def answer(self, opcode, payload=()):
        header = opcode << 24 | self.tag << 16 | len(payload)
        data = np.array([header, *(int(value) & 0xFFFFFFFF for value in payload)], "<u4")
        return np.append(data, np.uint32(zlib.crc32(data.tobytes())))

    def take(self, words) -> list[np.ndarray]:
        """Answers to one packet."""
        header = fields(HEADER, words[:1])
        try:
            if header["length"] > self.config.payload_words:
                raise RefusedError(Fault.OVERSIZE)
            if len(words) != header["length"] + 2:
                raise RefusedError(Fault.TRUNCATED if len(words) < header["length"] + 2
                                   else Fault.OVERRUN)
            if zlib.crc32(np.asarray(words[:-1], "<u4").tobytes()) != int(words[-1]):
                raise RefusedError(Fault.CRC)
            return self.execute(header, [int(word) for word in words[1:-1]])
        except RefusedError as refusal:
            before = self.finish()
            damaged = refusal.args[0] <= Fault.OVERSIZE
            told, self.told, self.open = self.told and not damaged, True, False
            return before if told else [
                *before, self.answer(Answer.ERROR, [refusal.args[0], words[0]])]

    def finish(self):
        """Let the pass under way end."""
        item, self.pending = self.pending, None
        return self.run(item) if item else []

    def execute(self, header, payload):
        opcode, c = header["opcode"], self.config
        if opcode not in list(Opcode):
            raise RefusedError(Fault.OPCODE)
        lengths = {Opcode.BEGIN: 2, Opcode.READ: 2, Opcode.REPORT: 0, Opcode.SEAL: 1,
                   Opcode.INFO: 0, Opcode.WAIT: 0, Opcode.LIMIT: 1}
        if lengths.get(opcode, len(payload)) != len(payload) or (
                opcode not in lengths and len(payload) < 2):
            raise RefusedError(Fault.ARGUMENT)
        if opcode not in (Opcode.BEGIN, Opcode.INFO) and (
                not self.open or header["sequence"] != self.next):
            raise RefusedError(Fault.SEQUENCE)
        if opcode != Opcode.INFO:
            self.next = (header["sequence"] + 1) % 256
        if self.ended and opcode not in (Opcode.BEGIN, Opcode.INFO):
            raise RefusedError(Fault.LIMIT)
        if opcode in (Opcode.SPIKES, Opcode.WEIGHTS, Opcode.PARAMETERS):
            self.write(opcode, payload[0], payload[1:])
            return []
        if opcode == Opcode.PASS:
            item = self.checked(payload)
            return self.finish() + self.started(item)
        return self.finish() + self.waiting(opcode, header, payload, c)

    def waiting(self, opcode, header, payload, c):
        match opcode:
            case Opcode.BEGIN:
                self.tag, self.told, self.ended = header["sequence"], False, False
                if payload[0] != c.hash:
                    raise RefusedError(Fault.CONFIGURATION)
                if payload[1] not in (0, self.network):
                    raise RefusedError(Fault.NETWORK)
                if payload[1] == 0:
                    self.network = self.limit = 0
                self.open, self.events = True, 0
            case Opcode.READ:
                at, count = payload
                if not 0 < count <= c.payload_words or at + count > len(self.spikes):
                    raise RefusedError(Fault.ARGUMENT)
                return [self.answer(Answer.SPIKES, self.spikes[at:at + count])]
            case Opcode.REPORT:
                counters = [0] * len(COUNTERS)
                counters[1] = counters[2] = self.events
                self.events = 0
                return [self.answer(Answer.REPORT, counters)]
            case Opcode.LIMIT:
                self.limit = payload[0]
            case Opcode.SEAL:
                self.network = payload[0]
            case Opcode.INFO:
                return [self.answer(Answer.INFO, [MAGIC, VERSION, c.hash, self.network])]
        return []

    def write(self, opcode, target, data):
        c = self.config
        if opcode == Opcode.SPIKES:
            memory, at = self.spikes, target
        else:
            at, bank, group = target & 0xFFFF, target >> 16 & 0xFF, target >> 24
            memory = self.weights if opcode == Opcode.WEIGHTS else self.parameters[None]
            if bank >= len(memory) or group >= c.groups:
                raise RefusedError(Fault.ARGUMENT)
            memory = memory[bank, group]
        if at + len(data) > len(memory):
            raise RefusedError(Fault.ARGUMENT)
        memory[at:at + len(data)] = data
        if opcode == Opcode.WEIGHTS:
            self.known = None

    def checked(self, payload):
        """A PASS as {field: value}, its sources under "tables"."""
        c = self.config
        if len(payload) < PASS_WORDS:
            raise RefusedError(Fault.ARGUMENT)
        item = fields(PASS, payload[:PASS_WORDS])
        count = item["sources"] + 1
        bounds = {"slots": c.slots, "steps": c.slots, "rounds": c.banks, "emit": 3,
                  "column": c.tiles_per_word, "sources": c.sources, "output_base": c.spike_words,
                  "parameters": c.parameter_words, "tile": c.parameter_words}
        keeps = item["load"] or item["store"]
        if any(item[name] >= bound for name, bound in bounds.items()) \
                or (keeps and item["state"] >= c.state_words) \
                or len(payload) != PASS_WORDS + count * SOURCE_WORDS \
                or (item["taps"] and (item["rounds"] or item["line"] > c.line_words - 2)):
            raise RefusedError(Fault.ARGUMENT)
        item["tables"] = [fields(SOURCE, payload[PASS_WORDS + i * SOURCE_WORDS:][:SOURCE_WORDS])
                          for i in range(count)]
        for table in item["tables"]:
            table["x0"], table["y0"] = int(signed(table["x0"], 11)), int(signed(table["y0"], 11))
        return item

    def started(self, item):
        cycles = (item["width"] + 1) * (item["height"] + 1) * (item["slots"] + 1)   # or more
        if self.limit and cycles > self.limit:
            self.ended = True
            return []
        if not self.late:
            return self.run(item)
        self.pending = item
        return []

    # A pass --------------------------------------------------------------------------------------

    def unpacked(self):
        """Every row as weights, int32 [banks, lanes, rows]; wide, the same of the middle bank."""
        if self.known is not None:
            return self.known
        c = self.config
        shifts = np.arange(c.group_lanes, dtype=np.uint32) * np.uint32(c.weight_bits)
        lanes = self.weights[:, :, None, :] >> shifts[:, None]
        weights = signed(lanes, c.weight_bits).reshape(c.banks, c.lanes, -1).astype(np.int32)
        middle, lane_bits = self.weights[c.banks // 2], c.row_bits - c.wide_bits
        value = signed(middle >> np.uint32(lane_bits), c.wide_bits)
        chosen = (middle & np.uint32((1 << lane_bits) - 1))[:, None] == np.arange(
            c.group_lanes)[:, None]
        wide = np.where(chosen, value[:, None], 0).reshape(c.lanes, -1)
        self.known = weights, wide
        return self.known

    def rows(self, item, source, x, y, site, slot):
        """Weight rows of the events of a source at a site, in a slot."""
        c, found = self.config, []
        base = source["base"] + x * source["x_stride"] + y * source["y_stride"] \
            + slot * source["slot_stride"]
        left, top = source["x0"] + x * source["step_x"], source["y0"] + y * source["step_y"]
        pad = source["pad"]
        if left < -pad or left + source["window_width"] >= source["map_width"] + pad \
                or top < -pad or top + source["window_height"] >= source["map_height"] + pad:
            return np.zeros(0, int)
        for word in range(source["words"] + 1):
            row = source["weights"] + word * c.word_bits + site * item["site_rows"]
            spikes = [self.spike_bits((base + word + dy * source["window_y_stride"]
                                       + dx * source["window_x_stride"]) % (1 << 16))
                      for dy in range(source["window_height"] + 1)
                      for dx in range(source["window_width"] + 1)
                      if 0 <= left + dx < source["map_width"]
                      and 0 <= top + dy < source["map_height"]]
            if source["any"] and spikes:
                spikes = [np.bitwise_or.reduce(spikes)]
            found += [row + np.flatnonzero(bits) for bits in spikes]
        rows = np.concatenate(found) if found else np.zeros(0, int)
        assert not len(rows) or rows.max() < c.weight_rows
        self.events += len(rows)
        return rows

    def spike_bits(self, word):
        parts = self.config.stream_words
        assert word < self.config.spike_words, "a word that is not there"
        return np.unpackbits(self.spikes[word * parts:word * parts + parts].astype("<u4").view(
            np.uint8), bitorder="little")

    def sums_of(self, item, x, y, site, slot, weights, wide):
        """What the events of a site add in a slot: [banks, lanes]."""
        total = np.zeros(weights.shape[:2], np.int64)
        for source in item["tables"]:
            rows = self.rows(item, source, x, y, site, slot)
            part = weights[:, :, rows].sum(axis=2, dtype=np.int64)
            if source["wide"]:
                part[len(part) // 2] = wide[:, rows].sum(axis=1)
            total += part
        return total

    def run(self, item):
        """One pass; its tap packets."""
        self.passes += 1
        self.written = 0
        return (self.run_taps if item["taps"] else self.run_tiles)(item)

    def run_tiles(self, item):
        weights, wide = self.unpacked()
        width, height, slots = item["width"] + 1, item["height"] + 1, item["slots"] + 1
        answers, fresh = [], not item["own"]
        for site in range(width * height):
            y, x = divmod(site, width)
            if fresh:
                self.sums[:slots] = 0
            fresh = not item["join"]
            for slot in range(slots):
                self.sums[slot] += self.sums_of(item, x, y, site, slot, weights, wide)
            if item["drain"] and (not item["join"] or site == width * height - 1):
                for tile in range(item["rounds"] + 1):
                    answers += self.output(item, tile, self.sums[
                        :slots, self.config.banks - 1 - tile])
                self.written += 1
                self.sums[:slots] += 12345                      # not specified
        return answers

    def run_taps(self, item):
        weights, wide = self.unpacked()
        width, height, slots = item["width"] + 1, item["height"] + 1, item["slots"] + 1
        assert item["line"] == (width - 3) * slots >= 0
        at = item["row"] * width
        if item["start"]:
            assert item["row"] == 0
            self.chain, self.shape = {}, (width, slots)
        else:
            assert self.shape == (width, slots) and self.at == at, "not the pass before, continued"
        self.at = at + width * height
        answers = []
        for site in range(width * height + item["flush"]):
            y, x = divmod(site, width)
            position, left = at + site, at + site - width - 2
            done = self.chain.pop(left, None)
            oy, ox = divmod(left, width)
            mask = (1 << item["stride"]) - 1
            if item["x_low"] <= ox <= item["x_high"] and item["y_low"] <= oy <= item["y_high"] \
                    and not (ox - item["x_low"]) & mask and not (oy - item["y_low"]) & mask:
                assert item["drain"]
                zero = np.zeros((slots, self.config.lanes), np.int64)
                answers += self.output(item, 0, zero if done is None else done)
                self.written += 1
            for slot in range(slots):
                sums = self.sums_of(item, x, y, site, slot, weights, wide)
                if site == width * height:
                    continue                                    # flushed: used for nothing
                for bank in range(9):
                    ky, kx = divmod(bank, 3)
                    target = position + 1 - kx + (1 - ky) * width
                    if target > left:
                        self.chain.setdefault(target, np.zeros(
                            (slots, self.config.lanes), np.int64))[slot] += sums[bank]
        return answers

    def output(self, item, tile, sums):
        """One tile of one output: its spikes are written, its tap packets returned."""
        c, steps = self.config, item["steps"] + 1
        assert (sums == signed(sums, c.accumulator_bits)).all(), "accumulator overflow"
        if item["planes"]:
            folded = np.zeros(c.lanes, np.int64)
            for plane in sums:
                folded = 2 * folded + plane
            sums = np.tile(folded, (steps, 1))
        spikes, taps, readout = self.neurons(item, tile, sums[:steps])
        word, column = divmod(item["column"] + tile, c.tiles_per_word)
        for step in range(0 if readout else steps):
            at = item["output_base"] + (self.written * steps + step) * item["output_stride"] + word
            value = sum(int(spike) << lane for lane, spike in enumerate(spikes[step]))
            if c.lanes >= 32:
                for part in range(c.stream_words):
                    self.spikes[at * c.stream_words + part] = value >> 32 * part & 0xFFFFFFFF
            else:
                mask = -1 << column * c.lanes          # clears the columns after it
                self.spikes[at] = int(self.spikes[at]) & ~mask | value << column * c.lanes
        emitted = {Emit.NONE: [], Emit.LOGITS: taps[-1:], Emit.MEMBRANES: taps}[item["emit"]]
        return [self.answer(Answer.PROBE, tap) for tap in emitted]

    def neurons(self, item, tile, sums):
        """(spikes, taps) [steps, lanes] of one tile, and whether it is a readout."""
        c = self.config
        at = item["tile"] + tile * c.group_lanes
        channels = self.parameters[:, at:at + c.group_lanes].ravel()
        biases, shifts = signed(channels, 24), (channels >> 24 & 31).astype(int) - c.fraction_bits
        j = np.stack([current(sums[:, lane], int(shift), int(bias))
                      for lane, (shift, bias) in enumerate(zip(shifts, biases, strict=True))],
                     axis=1)
        assert (j == signed(j, c.current_bits)).all(), "current overflow"
        heads = self.parameters[:, item["parameters"]:item["parameters"] + 8]
        flags = np.repeat(heads[:, 0], c.group_lanes)
        if flags[0] & 4:
            return np.zeros(j.shape, bool), j.cumsum(axis=0), True
        operand, theta, lo, hi, w, change, top = np.repeat(
            signed(heads[:, 1:], c.state_bits), c.group_lanes, axis=0).T
        place = item["state"] + self.written * (item["rounds"] + 1) + tile
        assert place < c.state_words or not (item["load"] or item["store"]), "no such membranes"
        if item["load"]:
            w = self.membranes[place]
        spikes, taps = np.zeros(j.shape, bool), np.zeros(j.shape, np.int64)
        for step, currents in enumerate(j):
            x = np.where(flags & 1, w, operand) if step or item["load"] else operand
            v = round_shift(w * x, c.fraction_bits) + currents
            spikes[step] = v >= theta
            fired = np.where(v > hi, top, np.where(flags & 2, v, 0) + change)
            w = np.where(spikes[step], fired, np.maximum(v, lo))
            taps[step] = w
        if item["store"]:
            self.membranes[place] = w
        return spikes, taps, False


class FakeTransport(Transport):
    """The transport to a `Device`, which can damage what passes through.

    `tamper` is called with (index, packet), and its result, one packet or a list, is sent instead.
    `garble` does the same with answers.
    """

    def __init__(self, config: ArrayConfig, *, late: bool = False, seed: int = 0):
        self.device = Device(config, late=late, seed=seed)
        self.tamper = lambda index, packet: packet
        self.garble = lambda index, answer: answer
        self.queue: list[np.ndarray] = []
        self.closed = False

    def exchange(self, packets, answers):
        for index, packet in enumerate(packets):
            sent = self.tamper(index, packet)
            for words in sent if isinstance(sent, list) else [sent]:
                self.queue += self.device.take(words)
        got = []
        while self.queue and len(got) < answers:
            got.append(self.garble(len(got), self.queue.pop(0)))
            if int(got[-1][0]) >> 24 == Answer.ERROR:
                return got
        if len(got) < answers:
            raise TimeoutError("nothing moves any more")
        return got

    def reset(self):
        self.queue.clear()
        self.device.reset()

    def close(self):
        self.closed = True
