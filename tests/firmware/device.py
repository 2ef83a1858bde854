"""A device in plain numpy, behind the driver's transport: what the packets mean, word by word.

Nothing of `firmware` but the abstract transport is used, so that the two can disagree. Memories
start with noise. `late`: a pass does its work when the next packet waits for it, not at once; so
SPIKES that touch what the pass before them uses show in one of the two.
"""

import zlib

import numpy as np

from firmware.transport import Transport
from rtl.config import ArrayConfig
from rtl.numerics import Neuron, current, neuron_step
from rtl.tape import COUNTERS, HEADER, MAGIC, PASS, VERSION, Answer, Emit, Fault, Opcode


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
        self.events = 0
        self.passes = 0
        self.reset()

    def reset(self):
        self.network, self.open, self.told, self.tag, self.next = 0, False, False, 0, 0
        self.pending = None

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
        lengths = {Opcode.BEGIN: 2, Opcode.PASS: 5, Opcode.READ: 2, Opcode.REPORT: 0,
                   Opcode.SEAL: 1, Opcode.INFO: 0}
        if lengths.get(opcode, len(payload)) != len(payload) or (
                opcode not in lengths and len(payload) < 2):
            raise RefusedError(Fault.ARGUMENT)
        if opcode not in (Opcode.BEGIN, Opcode.INFO) and (
                not self.open or header["sequence"] != self.next):
            raise RefusedError(Fault.SEQUENCE)
        if opcode != Opcode.INFO:
            self.next = (header["sequence"] + 1) % 256
        if opcode == Opcode.SPIKES:
            at, data = payload[0], payload[1:]
            if at + len(data) > len(self.spikes):
                raise RefusedError(Fault.ARGUMENT)
            self.spikes[at:at + len(data)] = data
            return []
        return self.finish() + self.waiting(opcode, header, payload, c)

    def waiting(self, opcode, header, payload, c):
        match opcode:
            case Opcode.BEGIN:
                self.tag, self.told = header["sequence"], False
                if payload[0] != c.hash:
                    raise RefusedError(Fault.CONFIGURATION)
                if payload[1] not in (0, self.network):
                    raise RefusedError(Fault.NETWORK)
                if payload[1] == 0:
                    self.network = 0
                self.open, self.events = True, 0
            case Opcode.WEIGHTS | Opcode.PARAMETERS:
                at, bank, group = payload[0] & 0xFFFF, payload[0] >> 16 & 0xFF, payload[0] >> 24
                memory = self.weights if opcode == Opcode.WEIGHTS else self.parameters[None]
                if bank >= len(memory) or group >= c.groups \
                        or at + len(payload) - 1 > memory.shape[2]:
                    raise RefusedError(Fault.ARGUMENT)
                memory[bank, group, at:at + len(payload) - 1] = payload[1:]
            case Opcode.PASS:
                item = fields(PASS, payload)
                if max(item["slots"], item["steps"]) >= c.slots or item["rounds"] >= c.banks:
                    raise RefusedError(Fault.ARGUMENT)
                if not self.late:
                    return self.run(item)
                self.pending = item
            case Opcode.READ:
                at, count = payload
                if not 0 < count <= c.payload_words or at + count > len(self.spikes):
                    raise RefusedError(Fault.ARGUMENT)
                return [self.answer(Answer.SPIKES, self.spikes[at:at + count])]
            case Opcode.REPORT:
                counters = [0] * len(COUNTERS)
                counters[2], self.events = self.events, 0
                return [self.answer(Answer.REPORT, counters)]
            case Opcode.SEAL:
                self.network = payload[0]
            case Opcode.INFO:
                return [self.answer(Answer.INFO, [MAGIC, VERSION, c.hash, self.network])]
        return []

    def run(self, item):
        """One pass; its tap packets."""
        c = self.config
        slots, steps, words = item["slots"] + 1, item["steps"] + 1, item["words"] + 1
        self.passes += 1
        for slot in range(slots):
            sums = self.sums[slot] if item["own"] else np.zeros((c.banks, c.lanes), np.int64)
            at = (item["input_base"] + slot * item["input_stride"]) * c.stream_words
            bits = np.unpackbits(self.spikes[at:at + words * c.stream_words].astype("<u4").view(
                np.uint8), bitorder="little")
            rows = item["row"] + np.flatnonzero(bits)
            assert not len(rows) or rows[-1] < c.weight_rows
            self.events += len(rows)
            for lane in range(c.lanes):
                group, place = divmod(lane, c.group_lanes)
                words_ = self.weights[:, group, rows] >> np.uint32(place * c.weight_bits)
                sums[:, lane] += signed(words_, c.weight_bits).sum(axis=1)
            self.sums[slot] = sums
        return self.drain(item, slots, steps) if item["drain"] else []

    def drain(self, item, slots, steps):
        c, answers = self.config, []
        word, column = item["output_base"], item["column"]
        for tile in range(item["rounds"] + 1):
            sums = self.sums[:slots, c.banks - 1 - tile]
            assert (sums == signed(sums, c.accumulator_bits)).all(), "accumulator overflow"
            if item["planes"]:
                folded = np.zeros(c.lanes, np.int64)
                for plane in sums:
                    folded = 2 * folded + plane
                sums = np.tile(folded, (steps, 1))
            spikes, taps = self.neurons(item, tile, sums)
            for step in range(steps):
                at = word + step * item["output_stride"]
                value = sum(int(spike) << lane for lane, spike in enumerate(spikes[step]))
                if c.lanes >= 32:
                    for part in range(c.stream_words):
                        self.spikes[at * c.stream_words + part] = value >> 32 * part & 0xFFFFFFFF
                else:
                    mask = -1 << column * c.lanes      # clears the columns after it
                    self.spikes[at] = int(self.spikes[at]) & ~mask | value << column * c.lanes
            column += 1
            if column == c.tiles_per_word:
                word, column = word + 1, 0
            emitted = {Emit.NONE: [], Emit.LOGITS: taps[-1:], Emit.MEMBRANES: taps}[item["emit"]]
            answers += [self.answer(Answer.TAPS, tap) for tap in emitted]
        return answers

    def neurons(self, item, tile, sums):
        """(spikes, taps) [steps, lanes] of one tile."""
        c = self.config
        spikes, taps = np.zeros(sums.shape, bool), np.zeros(sums.shape, np.int64)
        j = np.zeros(sums.shape, np.int64)
        for lane in range(c.lanes):
            group, place = divmod(lane, c.group_lanes)
            channel = int(self.parameters[group, item["tile"] + tile * c.group_lanes + place])
            bias, shift = int(signed(channel, 24)), (channel >> 24 & 31) - c.fraction_bits
            j[:, lane] = current(sums[:, lane], shift, bias)
        assert (j == signed(j, c.current_bits)).all(), "current overflow"
        for group, memory in enumerate(self.parameters):
            lanes = slice(group * c.group_lanes, (group + 1) * c.group_lanes)
            head = memory[item["parameters"]:item["parameters"] + 8]
            if head[0] & 4:
                taps[:, lanes] = j[:, lanes].cumsum(axis=0)
                spikes[1::2, lanes] = True                      # not specified
                continue
            values = map(int, signed(head[1:], c.state_bits))
            neuron = Neuron(square=bool(head[0] & 1), soft=bool(head[0] & 2), **dict(zip(
                ("factor", "theta", "lo", "hi", "initial", "reset", "delta"), values, strict=True)))
            w = np.full(c.group_lanes, neuron.initial)
            for step in range(len(j)):
                spikes[step, lanes], w = neuron_step(w, j[step, lanes], neuron, c.fraction_bits)
                taps[step, lanes] = w
        return spikes, taps


class FakeTransport(Transport):
    """The device above. `tamper`: called with (index, packet), its result is sent instead, a packet
    or a list of packets. `garble`: the same for every answer."""

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
