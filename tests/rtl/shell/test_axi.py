"""The AXI shell as Verilog, on every simulator: registers, streams, resets, protocol rules.

The stimulus is in `quadfire.sim.cocotb.testbench_axi`, the rules of AXI in
`quadfire.sim.cocotb.axi_checks`. By default one width and one level of stalls run on each
simulator; the slow test runs all of them.
"""

import re

import numpy as np
import pytest

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.driver.session import inference_tape, setup_tape
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.paths import CHECKOUT, PRETRAINED
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.registers import constants
from quadfire.rtl.shell.verilog import TOP as AXI_TOP
from quadfire.rtl.shell.verilog import generate
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.axi_checks import CHANNELS, TOP, checked, rule
from quadfire.sim.cocotb.run import CocotbFailure, run_module, run_testbench

from tests.rtl.core.test_core import network_vectors

CONFIG = preset("tiny")


def axi_vectors(stream_bits: int, levels: list[str], seed: int = 3) -> dict:
    """The tape of a small network, in frames of one packet and frames of many."""
    vectors = network_vectors(seed, input_bits=2, readout=True, sizes=(12, 8, 4), images=1)
    packets, frames = list(vectors["packets"]), []
    for count in (1, 2, 1, len(packets)):
        frames.append([word for packet in packets[:count] for word in packet])
        del packets[:count]
    assert len(frames[-1]) > CONFIG.packet_words
    return {"registers": constants(CONFIG, stream_bits), "frames": frames,
            "answers": vectors["answers"], "timeout": 3000, "levels": levels}


def bench(simulator, stream_bits, levels, folder) -> int:
    """Run the testbench on the shell of `CONFIG`; the number of tests that passed."""
    verilog, description = generate(CONFIG, stream_bits)
    return run_testbench(simulator, checked(verilog, description["ports"]), TOP,
                         axi_vectors(stream_bits, levels), folder,
                         module="quadfire.sim.cocotb.testbench_axi")


@pytest.mark.cocotb
def test_verilog(simulator, tmp_path):
    assert bench(simulator, 64, ["some"], tmp_path) == 8


@pytest.mark.cocotb
@pytest.mark.slow
@pytest.mark.parametrize("stream_bits", [32, 64, 128])
def test_verilog_at_every_width_and_level(simulator, stream_bits, tmp_path):
    assert bench(simulator, stream_bits, ["none", "some", "heavy"], tmp_path) == 24


@pytest.mark.cocotb
@pytest.mark.slow
def test_a_broken_rule_is_told(tmp_path):
    """The checks work: they find a shell whose answers change while they wait."""
    verilog, description = generate(CONFIG, 64)
    broken = checked(verilog, description["ports"]).replace(
        "quadfire_axi dut(", "wire [63:0] tdata; assign m_axis_tdata = tdata ^ "
        "{63'b0, m_axis_tvalid & ~m_axis_tready & m_axis_t_pending};\n  quadfire_axi dut(").replace(
        ".m_axis_tdata(m_axis_tdata)", ".m_axis_tdata(tdata)")
    with pytest.raises(CocotbFailure, match="m_axis_t: the payload changed before ready"):
        run_testbench("icarus", broken, TOP, axi_vectors(64, ["heavy"]), tmp_path,
                      module="quadfire.sim.cocotb.testbench_axi", waves=False)


def test_rules_have_names():
    assert rule(1) == "s_axi_aw: valid fell before ready"
    assert rule(6 * len(CHANNELS)) == "m_axis_t: TKEEP is not full before TLAST"


def test_the_block_design_connects_every_interface():
    """The Tcl script uses the names of interfaces that Vivado infers from the ports."""
    text = (CHECKOUT / "firmware" / "zynq" / "quadfire.tcl").read_text()
    used = set(re.findall(r"quadfire_0/(\w+)", text))
    ports = generate(CONFIG, 32)[1]["ports"]
    assert used == {re.sub(r"^(s_axi|s_axis|m_axis)_.*", r"\1", port) for port in ports}
    assert f"-reference {AXI_TOP} " in text


@pytest.mark.cocotb
@pytest.mark.slow
def test_the_trained_network(simulator, tmp_path):
    """Two digits through the shell around the default array, every logit."""
    from quadfire.models.datasets import mnist5k

    config = preset("default")
    images = mnist5k().held_out_set[0].numpy()[:2]
    network = IntegerNetwork.load(PRETRAINED / "mnist5k-784-128-10-int8.safetensors")
    program = compile_network(network, config)
    logits = reference.run(network, images).logits.numpy()
    frames, answers = [], []
    for tape in (setup_tape(program, 1), inference_tape(program, images, 2)):
        frames.append(tape.to_array().tolist())
        for item in tape.expected:
            words: list[int | None] = [item.opcode << 24 | tape.tag << 16 | item.length]
            if item.what == "logits":
                tile = np.zeros(config.lanes, np.int64)
                part = logits[item.image, item.index * config.lanes:][:config.lanes]
                tile[:len(part)] = part
                words += (tile & 0xFFFFFFFF).tolist()[:len(part)]
            answers.append(words + [None] * (item.length + 2 - len(words)))
    verilog, description = generate(config, 64)
    path = golden.write(tmp_path / "vectors.json", {
        "registers": constants(config, 64), "frames": frames, "answers": answers,
        "timeout": 100_000, "levels": ["none"]})
    environment = {"QUADFIRE_VECTORS": str(path), "QUADFIRE_SEED": "1",
                   "COCOTB_TEST_FILTER": "packets"}
    assert run_module(simulator, checked(verilog, description["ports"]), TOP,
                      "quadfire.sim.cocotb.testbench_axi", tmp_path, environment=environment) == 2
