"""The core as packets see it: faults, order, ranges; and a network through cocotbext-axi."""

import numpy as np
import pytest

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.driver.session import inference_tape, setup_tape
from quadfire.firmware.tape.packets import crc32, decode, encode, pack
from quadfire.models.integer import reference
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import (
    COUNTERS,
    MAGIC,
    PASS,
    SOURCE,
    TARGET,
    VERSION,
    Answer,
    Emit,
    Fault,
    Opcode,
)
from quadfire.sim.cocotb.run import run_testbench
from quadfire.sim.verilator.build import core_verilog
from quadfire.sim.verilator.core import VerilatedTransport

CONFIG = preset("tiny")
NETWORK = 0x1234ABCD
PASS_FIELDS = {"slots": 1, "steps": 1, "drain": 1, "output_base": 8, "output_stride": 1, "tile": 8}
SOURCE_TABLE = pack(SOURCE, slot_stride=1, map_width=1, map_height=1)


def pass_words(tables: int = 1, **fields: int) -> np.ndarray:
    """Payload of a PASS over one word in two slots, changed by `fields`."""
    return np.concatenate([pack(PASS, **{**PASS_FIELDS, **fields}), *[SOURCE_TABLE] * tables])


@pytest.fixture(scope="module")
def transport():
    with VerilatedTransport(CONFIG, idle=0.1, backpressure=0.2, seed=1) as device:
        yield device


class Device:
    """Tapes for a device; every answer is checked to be whole and to have the tape's tag."""

    def __init__(self, transport: VerilatedTransport):
        self.transport = transport
        self.number = 0
        self.tag = 0
        transport.reset()

    def packet(self, opcode: int, payload=(), sequence: int | None = None) -> np.ndarray:
        packet = encode(Opcode.INFO, self.number if sequence is None else sequence, payload)
        packet[0] = packet[0] & 0xFFFFFF | opcode << 24
        packet[-1] = crc32(packet[:-1])
        self.number = (self.number + 1) % 256
        return packet

    def begin(self, network: int = 0, *, tag: int | None = None, configuration: int = CONFIG.hash
              ) -> np.ndarray:
        self.number = self.tag = self.number + 77 & 255 if tag is None else tag
        return self.packet(Opcode.BEGIN, [configuration, network])

    def exchange(self, packets, answers: int) -> list:
        """`answers` answers, and none after them."""
        got = self.transport.exchange(packets, answers)
        self.transport.run(400)
        got += self.transport.exchange([], 1) if self.transport.core.status.packets else []
        assert len(got) == answers
        decoded = [decode(words) for words in got]
        assert {answer.sequence for answer in decoded} <= {self.tag}
        return decoded

    def works(self) -> None:
        """A good tape from BEGIN on is carried out."""
        self.transport.core.drop()
        words = np.random.default_rng(self.number).integers(0, 1 << 32, 5, np.uint32)
        answers = self.exchange([self.begin(), self.packet(Opcode.SPIKES, [3, *words]),
                                 self.packet(Opcode.READ, [3, 5]),
                                 self.packet(Opcode.REPORT)], 2)
        assert [answer.opcode for answer in answers] == [Answer.SPIKES, Answer.REPORT]
        assert np.array_equal(answers[0].payload, words)

    def refuses(self, packets: list[np.ndarray], bad: int, fault: Fault, header: int | None = None
                ) -> None:
        """One ERROR for packet `bad`, nothing for what follows it; then all is well again."""
        for packet in packets:
            self.transport.send_partial(packet, last=True)
        self.transport.run(1500)
        assert self.transport.core.status.unsent == 0
        answers = []
        while (words := self.transport.core.take()) is not None:
            answers.append(decode(words))
        assert [answer.opcode for answer in answers] == [Answer.ERROR]
        assert [*answers[0].payload] == [fault, packets[bad][0] if header is None else header]
        assert answers[0].sequence == self.tag
        self.works()


@pytest.fixture
def device(transport):
    return Device(transport)


def rest(device: Device) -> list[np.ndarray]:
    """Packets that would be carried out, and answered, in an open tape."""
    return [device.packet(Opcode.SPIKES, [0, 1, 2]), device.packet(Opcode.REPORT),
            device.packet(0x7E), device.packet(Opcode.READ, [0, 1]), device.packet(Opcode.WAIT),
            device.packet(Opcode.SEAL, [9]), device.packet(Opcode.REPORT, sequence=0)]


def test_info_needs_no_tape(device):
    answer, = device.exchange([device.packet(Opcode.INFO)], 1)
    assert answer.opcode == Answer.INFO
    assert [*answer.payload] == [MAGIC, VERSION, CONFIG.hash, 0]


def test_good_tapes_with_any_tag(device):
    for _ in range(4):
        device.works()
    device.exchange([device.begin(tag=254), *(device.packet(Opcode.SPIKES, [0, 7])
                                             for _ in range(4)), device.packet(Opcode.REPORT)], 1)


def test_seal_names_the_network_until_it_is_forgotten(device):
    device.exchange([device.begin(), device.packet(Opcode.SEAL, [NETWORK]),
                     device.packet(Opcode.REPORT)], 1)
    info, = device.exchange([device.packet(Opcode.INFO, sequence=device.number)], 1)
    assert info.payload[3] == NETWORK
    for _ in range(2):
        device.exchange([device.begin(NETWORK), device.packet(Opcode.REPORT)], 1)
    device.refuses([device.begin(NETWORK + 1), *rest(device)], 0, Fault.NETWORK)
    device.refuses([device.begin(NETWORK), *rest(device)], 0, Fault.NETWORK)    # `works` forgot it


def test_reset_forgets_the_network(device):
    device.exchange([device.begin(), device.packet(Opcode.SEAL, [NETWORK]),
                     device.packet(Opcode.REPORT)], 1)
    device.transport.reset()
    device.refuses([device.begin(NETWORK), *rest(device)], 0, Fault.NETWORK)


def test_no_begin(device):
    device.tag = 0
    device.refuses([device.packet(Opcode.REPORT), *rest(device)], 0, Fault.SEQUENCE)


def test_wrong_configuration(device):
    device.refuses([device.begin(configuration=CONFIG.hash ^ 1), *rest(device)], 0,
                   Fault.CONFIGURATION)


@pytest.mark.parametrize("opcode", [0x00, 0x0C, 0x81, 0xFF], ids=hex)
def test_unknown_opcode(device, opcode):
    device.refuses([device.begin(), device.packet(opcode, [1, 2, 3]), *rest(device)], 1,
                   Fault.OPCODE)


@pytest.mark.parametrize("offset", [-1, 1, 128])
def test_packets_out_of_order(device, offset):
    first = device.begin()
    device.refuses([first, device.packet(Opcode.REPORT, sequence=device.number + offset),
                    *rest(device)], 1, Fault.SEQUENCE)


@pytest.mark.parametrize("kind", ["crc", "truncated", "overrun", "oversize"])
def test_damaged_packets(device, kind):
    first = device.begin()
    packet = device.packet(Opcode.SPIKES, [0, *range(10)])
    bad = {"crc": packet ^ np.array([0] * 5 + [4] + [0] * 7, np.uint32), "truncated": packet[:-3],
           "overrun": np.append(packet, packet),
           "oversize": encode(Opcode.SPIKES, 0, [0] * (CONFIG.payload_words + 1))}[kind]
    device.refuses([first, bad, *rest(device)], 1, Fault[kind.upper()])


def test_damaged_packets_are_told_each_as_one_may_have_been_a_begin(device):
    good = device.begin()
    bad = device.packet(Opcode.SPIKES, [0, *range(4)])
    bad[-1] ^= 1
    packets = [good, bad, device.packet(Opcode.REPORT), device.packet(0x77), bad,
               device.packet(Opcode.REPORT)]
    for packet in packets:
        device.transport.send_partial(packet, last=True)
    device.transport.run(500)
    answers = []
    while (words := device.transport.core.take()) is not None:
        answers.append(decode(words))
    assert [[*answer.payload] for answer in answers] == [[Fault.CRC, bad[0]]] * 2
    device.works()


def test_a_damaged_begin_is_told(device):
    begin = device.begin()
    device.tag = 0
    begin[1] ^= 1
    device.refuses([begin, *rest(device)], 0, Fault.CRC)


@pytest.mark.parametrize(("opcode", "payload"), [
    (Opcode.BEGIN, [CONFIG.hash]), (Opcode.BEGIN, [CONFIG.hash, 0, 0]), (Opcode.INFO, [0]),
    (Opcode.REPORT, [0]), (Opcode.SEAL, []), (Opcode.SEAL, [1, 2]), (Opcode.READ, [0]),
    (Opcode.READ, [0, 1, 2]), (Opcode.WEIGHTS, []), (Opcode.WEIGHTS, [0]),
    (Opcode.PARAMETERS, [0]), (Opcode.SPIKES, [0]), (Opcode.SPIKES, []), (Opcode.WAIT, [0]),
    (Opcode.PASS, [0] * 4), (Opcode.PASS, [0] * 7), (Opcode.PASS, pass_words(0)),
    (Opcode.PASS, pass_words()[:-1]), (Opcode.PASS, [*pass_words(), 0]),
    (Opcode.PASS, pass_words(2)), (Opcode.PASS, pass_words(2, sources=2))],
    ids=lambda value: f"{len(value)}" if not isinstance(value, Opcode) else value.name)
def test_wrong_lengths(device, opcode, payload):
    device.refuses([device.begin(), device.packet(opcode, payload), *rest(device)], 1,
                   Fault.ARGUMENT)


def target(count: int, **fields) -> list[int]:
    return [*pack(TARGET, **fields), *range(count)]


STREAM_WORDS = CONFIG.spike_words * CONFIG.stream_words
OUT_OF_RANGE = {
    "weight row": (Opcode.WEIGHTS, target(1, address=CONFIG.weight_rows)),
    "last weight row": (Opcode.WEIGHTS, target(3, address=CONFIG.weight_rows - 2)),
    "weight row, 16 bits": (Opcode.WEIGHTS, target(1, address=0xFFFF)),
    "weight bank": (Opcode.WEIGHTS, target(1, bank=CONFIG.banks)),
    "weight bank, 8 bits": (Opcode.WEIGHTS, target(1, bank=255)),
    "weight group": (Opcode.WEIGHTS, target(1, group=CONFIG.groups)),
    "parameter": (Opcode.PARAMETERS, target(1, address=CONFIG.parameter_words)),
    "last parameter": (Opcode.PARAMETERS, target(3, address=CONFIG.parameter_words - 2)),
    "parameter group": (Opcode.PARAMETERS, target(1, group=255)),
    "spikes": (Opcode.SPIKES, [STREAM_WORDS, 1]),
    "last spikes": (Opcode.SPIKES, [STREAM_WORDS - 1, 1, 2]),
    "spikes, 16 bits": (Opcode.SPIKES, [1 << 16, 1]),
    "spikes, 32 bits": (Opcode.SPIKES, [0xFFFFFFFF, 1]),
    "read": (Opcode.READ, [STREAM_WORDS, 1]),
    "last read": (Opcode.READ, [STREAM_WORDS - 1, 2]),
    "read nothing": (Opcode.READ, [0, 0]),
    "read too much": (Opcode.READ, [0, CONFIG.payload_words + 1]),
    "read, 16 bits": (Opcode.READ, [0, 0x10001]),
}
PASS_RANGES = {"slots": CONFIG.slots, "steps": CONFIG.slots, "rounds": CONFIG.banks, "emit": 3,
               "column": CONFIG.tiles_per_word, "sources": CONFIG.sources,
               "taps": 1, "load": 1, "store": 1, "output_base": CONFIG.spike_words,
               "parameters": CONFIG.parameter_words,
               "tile": CONFIG.parameter_words}
OUT_OF_RANGE |= {f"pass {name}": (Opcode.PASS, pass_words(**{name: value}))
                 for name, value in PASS_RANGES.items()}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_arguments_out_of_range(device, name):
    opcode, payload = OUT_OF_RANGE[name]
    device.refuses([device.begin(), device.packet(opcode, payload), *rest(device)], 1,
                   Fault.ARGUMENT)


def test_an_address_to_read_is_not_cut_to_16_bits(device):
    device.refuses([device.begin(), device.packet(Opcode.READ, [1 << 16, 1]), *rest(device)], 1,
                   Fault.ARGUMENT)


def test_the_last_places_can_be_reached(device):
    packets = [
        device.begin(),
        device.packet(Opcode.WEIGHTS, target(2, address=CONFIG.weight_rows - 2,
                                             bank=CONFIG.banks - 1, group=CONFIG.groups - 1)),
        device.packet(Opcode.PARAMETERS, target(2, address=CONFIG.parameter_words - 2,
                                                group=CONFIG.groups - 1)),
        device.packet(Opcode.SPIKES, [STREAM_WORDS - 2, 5, 6]),
        device.packet(Opcode.READ, [STREAM_WORDS - 2, 2]),
        device.packet(Opcode.SPIKES, [0, *range(CONFIG.payload_words - 1)]),
        device.packet(Opcode.READ, [0, CONFIG.payload_words]),
        device.packet(Opcode.PASS, pass_words(
            CONFIG.sources, sources=CONFIG.sources - 1, slots=CONFIG.slots - 1,
            steps=CONFIG.slots - 1, rounds=1, column=CONFIG.tiles_per_word - 1, emit=0)),
        device.packet(Opcode.WAIT),
        device.packet(Opcode.REPORT)]
    last, first, report = device.exchange(packets, 3)
    assert [*last.payload] == [5, 6]
    assert [*first.payload[:-1]] == [*range(CONFIG.payload_words - 1)]
    assert report.opcode == Answer.REPORT


def test_an_error_waits_for_the_pass_and_its_taps(device):
    words = pass_words(emit=Emit.MEMBRANES, rounds=CONFIG.banks - 1)
    packets = [device.begin(), device.packet(Opcode.PASS, words),
               device.packet(0x55), *rest(device)]
    for packet in packets:
        device.transport.send_partial(packet, last=True)
    device.transport.run(1500)
    answers = []
    while (words := device.transport.core.take()) is not None:
        answers.append(decode(words))
    opcodes = [answer.opcode for answer in answers]
    assert opcodes == [*[Answer.PROBE] * 2 * CONFIG.banks, Answer.ERROR]
    assert {len(answer.payload) for answer in answers[:-1]} == {CONFIG.lanes}
    device.works()


def test_counters(device):
    first, second = device.exchange([
        device.begin(), device.packet(Opcode.SPIKES, [0, 0b1011, 0]),
        device.packet(Opcode.PASS, pass_words()), device.packet(Opcode.REPORT),
        device.packet(Opcode.REPORT)], 2)
    seen = dict(zip(COUNTERS, map(int, first.payload), strict=True))
    assert (seen["events"], seen["nulls"]) == (3, 1)
    assert seen["busy"] == sum(seen[name] for name in ("events", "nulls", "drains", "starved"))
    assert 0 < seen["busy"] < seen["cycles"]
    assert [*second.payload[1:6]] == [0] * 5


# A network, end to end ------------------------------------------------------------------------

def network_vectors(seed: int, *, input_bits: int, readout: bool, sizes=(21, 12, 8),
                    images: int = 3) -> dict:
    """Packets that load and run a random network, and the answers by the integer reference.

    A REPORT counts cycles, which depend on stalls: an INFO, which waits as well, stands for it.
    """
    rng = np.random.default_rng(seed)
    network = random_network(rng, CONFIG, sizes=sizes, steps=3, input_bits=input_bits,
                             readout=readout)
    inputs = random_inputs(rng, network, images)
    program = compile_network(network, CONFIG)
    result = reference.run(network, inputs, record=True)

    def expected(item, tag: int) -> np.ndarray:
        if item.what == "counters":
            words = np.array([MAGIC, VERSION, CONFIG.hash, program.network_id])
            return encode(Answer.INFO, tag, words)
        if item.what == "spikes":       # less than a word of channels
            spikes = np.zeros((network.steps, 32), bool)
            layer = result.spikes[item.layer][:, item.image].numpy()
            spikes[:, :layer.shape[1]] = layer
            words = np.packbits(spikes, axis=1, bitorder="little").view("<u4").ravel()
            assert item.length == len(words)
            return encode(Answer.SPIKES, tag, words)
        membranes = result.membranes[item.layer][item.step, item.image].numpy()
        first = item.index * CONFIG.lanes
        return encode(Answer.PROBE, tag, membranes[first:first + CONFIG.lanes])

    packets, answers = [], []
    for tape in (setup_tape(program, tag=5),
                 inference_tape(program, inputs, tag=250, probe=True, read_spikes=True)):
        for words in tape.packets:
            packet = decode(words)
            packets.append(encode(Opcode.INFO, packet.sequence)
                           if packet.opcode == Opcode.REPORT else words)
        answers += [expected(item, tape.tag) for item in tape.expected]
    return {"packets": [packet.tolist() for packet in packets],
            "answers": [answer.tolist() for answer in answers], "timeout": 30_000}


@pytest.mark.parametrize("readout", [False, True])
@pytest.mark.parametrize("input_bits", [0, 3])
@pytest.mark.parametrize("seed", range(4))
def test_networks_equal_the_integer_reference(device, seed, input_bits, readout):
    vectors = network_vectors(seed, input_bits=input_bits, readout=readout)
    got = device.transport.exchange([np.array(packet, np.uint32) for packet in vectors["packets"]],
                                    len(vectors["answers"]))
    assert [answer.tolist() for answer in got] == vectors["answers"]
    device.transport.run(500)
    assert device.transport.core.status.packets == 0


@pytest.mark.cocotb
@pytest.mark.parametrize("input_bits", [0, 3])
def test_verilog_between_axi_stream_models(simulator, input_bits, tmp_path):
    vectors = network_vectors(7, input_bits=input_bits, readout=bool(input_bits), sizes=(9, 8, 4))
    assert run_testbench(simulator, core_verilog(CONFIG), "quadfire", vectors, tmp_path,
                     module="quadfire.sim.cocotb.testbench_core") == 10
