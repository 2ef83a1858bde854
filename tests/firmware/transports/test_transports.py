"""The unmodified driver over every transport to the AXI shell, on the Verilated `tiny` array.

The same networks, damage and resets over all of them; the bench of the shell's Verilog is
tests/rtl/shell/test_axi.py.
"""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quadfire.firmware import Accelerator, DeviceError
from quadfire.firmware.driver.session import inference_tape
from quadfire.firmware.tape.packets import encode
from quadfire.firmware.transports.axi import AxiTransport, DmaError, configuration, identify
from quadfire.firmware.transports.axi_dma import AxiDma
from quadfire.firmware.transports.pynq import open_overlay
from quadfire.firmware.transports.uio import Region, buffer, open_device
from quadfire.models.integer import reference
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.register_access import Registers
from quadfire.rtl.contract.registers import ADDRESS_BITS, REGISTERS, constants, find
from quadfire.rtl.contract.tape import Answer, Fault, Opcode
from quadfire.sim.cocotb.testbench_axi import written
from quadfire.sim.verilator.axi_shell import BusError, VerilatedShell
from quadfire.sim.verilator.axi_transport import (
    AxiDmaModel,
    Memory,
    VerilatedAxiTransport,
    simulated,
)
from quadfire.sim.verilator.pynq_standin import Pynq

TINY = preset("tiny")
STREAM_BITS = 64
PHYSICAL = 0x3000_0000
STALLS = {"stream_bits": STREAM_BITS, "idle": 0.2, "backpressure": 0.4}


def direct(**options) -> AxiTransport:
    return VerilatedAxiTransport(TINY, **STALLS, seed=5, idle_limit=40_000, **options)


def pynq(**options) -> AxiTransport:
    board = Pynq(TINY, **STALLS, seed=6)
    transport = open_overlay("quadfire.bit", TINY, pynq=board, timeout=400e-6,
                             clock=lambda: simulated(board.shell), pause=lambda: None,
                             **{"send_bytes": 4096, "receive_bytes": 1024, **options})
    transport.shell = board.shell
    return transport


def registers_of_a_dma(**options) -> AxiTransport:
    shell = VerilatedShell(TINY, **STALLS, seed=7)
    memory = Memory(options.pop("size", 1 << 13), PHYSICAL)
    engine = AxiDma(AxiDmaModel(shell, memory), memory.words, PHYSICAL, pause=lambda: None)
    transport = AxiTransport(shell.registers, engine, TINY, timeout=400e-6, pause=lambda: None,
                             clock=lambda: simulated(shell))
    transport.shell = shell
    return transport


TRANSPORTS = {"direct": direct, "pynq": pynq, "dma": registers_of_a_dma}


@pytest.fixture(scope="module", params=TRANSPORTS)
def transport(request):
    with TRANSPORTS[request.param]() as made:
        yield made


@pytest.fixture(scope="module")
def case():
    """(network, inputs, logits) of three layers."""
    rng = np.random.default_rng(11)
    network = random_network(rng, TINY, sizes=[40, 9, 6, 4], steps=3, input_bits=4, readout=True)
    inputs = random_inputs(rng, network, 4)
    return network, inputs, reference.run(network, inputs).logits.numpy()


@pytest.fixture
def device(transport, case):
    accelerator = Accelerator(transport, TINY)
    accelerator.load(case[0])
    return accelerator


def good(device, case) -> bool:
    return np.array_equal(device.run(case[1]).outputs, case[2])


@pytest.mark.parametrize("seed", range(3))
def test_networks_are_bit_exact(transport, seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng, TINY, largest_size=30)
    inputs = random_inputs(rng, network, 5)
    expected = reference.run(network, inputs, record=True)
    device = Accelerator(transport, TINY, batch=2)
    device.load(network)
    got = device.run(inputs, probe=True, spikes=True)
    for mine, theirs in zip(got.membranes, expected.membranes, strict=True):
        assert np.array_equal(mine, theirs.numpy())
    if network.layers[-1].neuron is None:
        assert np.array_equal(got.outputs, expected.logits.numpy())
    else:
        assert np.array_equal(got.outputs, expected.spikes[-1].numpy())
    assert transport.shell.status.violations == 0


def test_the_device_tells_its_configuration(transport):
    assert configuration(transport.registers) == TINY
    identify(transport.registers, TINY)


def test_beats_are_neither_lost_nor_doubled(device, case, transport):
    """The shell's counters and those of the far end of its streams are the same."""
    registers, before = transport.registers, transport.shell.status
    registers.control_clear = 1
    for stalls in ((0.0, 0.0), (0.7, 0.1), (0.1, 0.9), (0.8, 0.8)):
        transport.shell.stall(*stalls)
        assert good(device, case)
    transport.shell.stall(0.2, 0.4)
    after = transport.shell.status
    assert registers.input_beats == after.sent - before.sent > 0
    assert registers.output_beats == after.taken - before.taken > 0
    assert registers.input_bytes == 4 * sum(
        inference_tape(device.program, case[1]).words for _ in range(4))
    assert registers.output_stalls > 0 and registers.error_refused == 0


@pytest.mark.parametrize("change", [
    lambda packet: packet ^ np.array([0, 1 << 7] + [0] * (len(packet) - 2), np.uint32),
    lambda packet: packet[:-1],
    lambda packet: packet[:1],
    lambda packet: np.append(packet, packet[-1]),
    lambda packet: packet ^ np.array([1] + [0] * (len(packet) - 1), np.uint32),
    lambda packet: packet ^ np.array([0x4000] + [0] * (len(packet) - 1), np.uint32),
], ids=["payload", "short", "header", "long", "length", "oversize"])
def test_damage_is_told_and_survived(device, case, transport, change):
    inner = transport.exchange

    def tampered(packets, answers):
        transport.exchange = inner
        return inner([*packets[:1], change(packets[1]), *packets[2:]], answers)

    transport.exchange = tampered
    try:
        with pytest.raises(DeviceError) as caught:
            device.run(case[1])
    finally:
        transport.exchange = inner
    assert caught.value.fault is not None
    assert transport.registers.error_refused == 1
    assert transport.registers.fault_cause in Fault._value2member_map_
    assert good(device, case)
    transport.registers.error_refused = 1


def test_reset_in_mid_tape_loses_nothing_of_the_caller(device, case, transport):
    tape = inference_tape(device.program, case[1], 9)
    for cycles in (0, 30, 150, 400, 900):
        transport.shell.send(tape.to_array())
        transport.shell.step(cycles)
        device.reset()
        assert good(device, case), f"after a reset in cycle {cycles}"


def test_a_device_that_was_reset_by_others_is_loaded_again(device, case, transport):
    transport.shell.reset()
    transport.reset()
    assert good(device, case)


def test_a_silent_device_is_given_up_with_a_reason(device, case, transport):
    with pytest.raises(TimeoutError, match=r"1 of 1 frames were begun, 0 of 1 answers came; "
                                           r"status: none; error: none; 16 bytes in, 0 out"):
        transport.reset()
        transport.exchange([encode(Opcode.BEGIN, 0, [TINY.hash, 0])], 1)
    assert good(device, case)


def test_late_answers_are_given_by_the_next_call(transport):
    packets = [encode(Opcode.INFO, number) for number in range(5)]
    first = transport.exchange(packets, 2)
    second = transport.exchange([], 3)
    assert [int(words[0]) >> 24 for words in first + second] == [Answer.INFO] * 5


def test_packets_that_cannot_be_sent(transport):
    for packet in (np.zeros(0, np.uint32), np.zeros(1 << 20, np.uint32)):
        with pytest.raises(ValueError, match="a packet must have 1"):
            transport.exchange([packet], 1)


# Identity --------------------------------------------------------------------------------------

@pytest.mark.fast
@pytest.mark.parametrize("name, value, match", [
    ("magic", 0, "no Quadfire device at these registers: 0x00000000 stands where 0x51464952"),
    ("map_version", 0x20000, "map_version 2.0, this driver knows 1.1"),
    ("tape_version", 0x70003, "the device has tape_version 7.3"),
    ("configuration", 5, "made by another version of the generator"),
])
def test_another_device_is_refused(name, value, match):
    words = {find(key).offset: word for key, word in constants(TINY).items()}
    identify(Registers(words.__getitem__, words.__setitem__), TINY)
    words[find(name).offset] = value
    with pytest.raises(DeviceError, match=match):
        identify(Registers(words.__getitem__, words.__setitem__), TINY)


@pytest.mark.fast
def test_another_configuration_is_named():
    other = dataclasses.replace(TINY, weight_rows=128, spike_words=128)
    words = {find(key).offset: word for key, word in constants(other).items()}
    with pytest.raises(DeviceError, match="weight_rows = 128, not 64, spike_words = 128, not 64"
                       ) as caught:
        identify(Registers(words.__getitem__, words.__setitem__), TINY)
    assert caught.value.fault == Fault.CONFIGURATION


# Registers and memory of a Linux system -----------------------------------------------------------

@pytest.mark.fast
def test_regions_of_files(tmp_path):
    path = tmp_path / "uio0"
    path.write_bytes(bytes(8192))
    region = Region(path, 4096, offset=4096)
    region.write(0x44, 0x12345678)
    assert region.read(0x44) == 0x12345678
    assert path.read_bytes()[4096 + 0x44:][:4] == b"\x78\x56\x34\x12"
    for arguments, match in (({"size": 4096, "offset": 4}, "offset must be a multiple"),
                             ({"size": 6}, "size must be a multiple of 4")):
        with pytest.raises(ValueError, match=match):
            Region(path, **arguments)
    with pytest.raises(ValueError, match="multiple of 4"):
        region.read(2)


@pytest.mark.fast
def test_u_dma_buf_is_found(tmp_path):
    about, devices = tmp_path / "sys" / "udmabuf0", tmp_path / "dev"
    about.mkdir(parents=True)
    devices.mkdir()
    (about / "size").write_text("8192\n")
    (about / "phys_addr").write_text("0x1f000000\n")
    (devices / "udmabuf0").write_bytes(bytes(8192))
    region, physical = buffer("udmabuf0", tmp_path / "sys", devices)
    assert (len(region.words), physical) == (2048, 0x1F000000)
    with pytest.raises(FileNotFoundError, match="is the u-dma-buf module loaded"):
        buffer("udmabuf1", tmp_path / "sys", devices)
    (tmp_path / "dev" / "uio0").write_bytes(bytes(4096))
    nothing = Region(tmp_path / "dev" / "uio0", 4096)
    with pytest.raises(DeviceError, match="there is no Quadfire device"):
        open_device(nothing, nothing, region, physical, TINY)


# Trouble with a DMA --------------------------------------------------------------------------

def test_a_dma_that_stops_is_told_and_reset():
    with registers_of_a_dma() as transport:
        info = [encode(Opcode.INFO, 1)]
        assert len(transport.exchange(info, 1)) == 1
        transport.dma._out_address = 0x1000
        with pytest.raises(DmaError, match="to the device stopped: decode error"):
            transport.exchange(info, 1)
        transport.dma._out_address = PHYSICAL
        transport.reset()
        assert len(transport.exchange(info, 1)) == 1


@pytest.mark.fast
def test_what_is_no_dma_is_told():
    class Nothing:
        def read(self, offset):
            return 0xFFFFFFFF

        def write(self, offset, value):
            pass

    engine = AxiDma(Nothing(), np.zeros(64, np.uint32), 0, pause=lambda: None)
    with pytest.raises(DmaError, match="does not reset: is it in the bitstream"):
        engine.reset()
    for arguments, match in (((np.zeros(64), 0), "uint32 array"),
                             ((np.zeros(64, np.uint32), 2), "begin at a word"),):
        with pytest.raises(ValueError, match=match):
            AxiDma(Nothing(), *arguments)


def test_a_dma_that_is_too_small():
    longest = 4 * (TINY.payload_words + 2)
    with pytest.raises(ValueError, match=f"must move {longest} bytes at once"):
        registers_of_a_dma(size=160)


# The bus, byte by byte --------------------------------------------------------------------------

@given(st.lists(st.tuples(st.sampled_from([item for item in REGISTERS if item.writable]),
                          st.integers(0, 0xFFFFFFFF), st.integers(0, 15)), max_size=12))
@settings(max_examples=40)
def test_any_strobes(writes):
    """Every combination of WSTRB, on the Verilated shell, against the access rules of the table."""
    shell = shell_of_strobes()
    shell.reset()
    state = {item.name: shell.read(item.offset) for item in REGISTERS if item.writable}
    for register, word, strobe in writes:
        shell.write(register.offset, word, strobe)
        state[register.name] = written(register, state[register.name], word, strobe)
        assert shell.read(register.offset) == state[register.name], (register.name, word, strobe)


@functools.cache
def shell_of_strobes() -> VerilatedShell:
    return VerilatedShell(TINY, **STALLS, seed=8)


def test_every_address_answers_as_the_table_says():
    shell, mapped = shell_of_strobes(), {item.offset: item for item in REGISTERS}
    shell.reset()
    for address in range(1 << ADDRESS_BITS):
        register = mapped.get(address)
        for access, allowed in ((shell.read, register is not None),
                                (lambda at: shell.write(at, 0),
                                 register is not None and register.writable)):
            if allowed:
                access(address)
            else:
                with pytest.raises(BusError, match="SLVERR"):
                    access(address)
    assert shell.registers.error_access == 1
