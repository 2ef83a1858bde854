"""The test benches themselves: they pass on right designs and fail on wrong ones."""

import re

import numpy as np
import pytest

from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.cocotb.run import CocotbFailure, run_testbench

from tests.sim.standins import BLINK, BROKEN, DOUBLE, loopback

pytestmark = pytest.mark.cocotb

LOOPBACK = {"payload": ["tdata", "tlast"], "valid": "tvalid", "ready": "tready"}


def stream(prefix: str, words: list[int], **options) -> dict:
    ports = {key: [f"{prefix}_{p}" for p in value] if isinstance(value, list) else
             f"{prefix}_{value}" for key, value in LOOPBACK.items()}
    return golden.channel(prefix, [{f"{prefix}_tdata": word, f"{prefix}_tlast": word & 1}
                                   for word in words], **ports, **options)


def loop_vectors(expected: list[int] | None = None, words: int = 40) -> dict:
    sent = [int(word) for word in np.random.default_rng(1).integers(0, 1 << 32, words)]
    return golden.vectors([stream("s_axis", sent)],
                          [stream("m_axis", sent if expected is None else expected)])


def failure(simulator: str, verilog: str, vectors: dict, folder, **options) -> str:
    with pytest.raises(CocotbFailure) as raised:
        run_testbench(simulator, verilog, "quadfire", vectors, folder, waves=False, **options)
    return str(raised.value)


def test_a_correct_stream_passes_at_all_nine_levels(simulator, tmp_path):
    assert run_testbench(simulator, loopback(), "quadfire", loop_vectors(), tmp_path) == 9


def test_a_correct_strobe_passes_with_its_latency(simulator, tmp_path):
    values = [-128, 127, -1, 0, 1, 5, -77, 100]
    vectors = golden.vectors([golden.channel("i", values, period=2, gaps=[0, 0, 5, 0, 0, 3, 0, 0])],
                             [golden.channel("o", [2 * v - 3 for v in values], latency=3)],
                             constants={"offset": -3})
    assert run_testbench(simulator, DOUBLE, "double", vectors, tmp_path) == 9
    vectors["outputs"][0]["latency"] = 4
    with pytest.raises(CocotbFailure, match="transaction 0 came after 3 cycles, not 4"):
        run_testbench(simulator, DOUBLE, "double", vectors, tmp_path, waves=False)


def test_exact_spacing_leaves_no_idle_cycles(simulator, tmp_path):
    values = list(range(20))
    vectors = golden.vectors([golden.channel("i", values, exact=True)],
                             [golden.channel("o", [2 * v for v in values])],
                             constants={"offset": 0}, timeout=100)
    assert run_testbench(simulator, DOUBLE, "double", vectors, tmp_path) == 9
    log = (tmp_path / f"{simulator}.log").read_text()
    assert set(re.findall(r"seed 1: (\d+) cycles", log)) == {"23"}


def test_wrong_data_is_reported_with_index_and_values(simulator, tmp_path):
    vectors = loop_vectors()
    vectors["outputs"][0]["transactions"][17]["m_axis_tdata"] ^= 1 << 31
    wrong = vectors["outputs"][0]["transactions"][17]["m_axis_tdata"]
    text = failure(simulator, loopback(), vectors, tmp_path)
    assert f"transaction 17, m_axis_tdata: expected {wrong}, got {wrong ^ 1 << 31}" in text
    assert "seed 1" in text
    assert text.count("m_axis: transaction 17") == 9


def test_missing_and_surplus_output_is_reported(simulator, tmp_path):
    vectors = loop_vectors()
    surplus = vectors["outputs"][0]["transactions"].pop()
    text = failure(simulator, loopback(), vectors, tmp_path)
    assert "follows the 39 expected ones" in text
    vectors["outputs"][0]["transactions"] += [surplus, surplus]
    vectors["timeout"] = 600
    text = failure(simulator, loopback(), vectors, tmp_path)
    assert "timeout after 600 cycles: s_axis: 40 of 40 sent, m_axis: 40 of 41 received" in text


def test_a_hanging_block_is_reported(simulator, tmp_path):
    vectors = {**loop_vectors(), "timeout": 500}
    text = failure(simulator, loopback(wait="sent < 7"), vectors, tmp_path)
    assert text.count("timeout after 500 cycles") == 9


@pytest.mark.parametrize("rule", BROKEN)
def test_a_broken_rule_of_the_stream_is_reported(simulator, rule, tmp_path):
    text = failure(simulator, BROKEN[rule], loop_vectors(), tmp_path)
    assert "before ready" in text
    assert ("valid fell" if rule == "tvalid fell" else "the payload changed") in text


def test_an_x_is_reported_where_the_simulator_knows_it(simulator, tmp_path):
    unknown = {"payload": loopback(body="reg [31:0] nothing;", data="sent == 5 ? nothing : word"),
               "valid": loopback(body="reg nothing;", valid="level != 0 && (sent != 5 || nothing)"),
               "ready": loopback(body="reg nothing;", wait="sent != 5 || nothing")}
    for where, verilog in unknown.items():
        vectors = {**loop_vectors(), "timeout": 500}
        if simulator == "icarus":
            text = failure(simulator, verilog, vectors, tmp_path)
            assert {"payload": "m_axis_tdata is xxxx", "valid": "m_axis_tvalid is x",
                    "ready": "s_axis_tready is x"}[where] in text.lower()
        elif where == "payload":    # Verilator knows no X: what is not initialised is random
            assert "transaction 5, m_axis_tdata" in failure(simulator, verilog, vectors, tmp_path)


def test_a_failure_leaves_a_waveform(simulator, tmp_path):
    vectors = loop_vectors([0] * 40)
    with pytest.raises(CocotbFailure, match="waveform") as raised:
        run_testbench(simulator, loopback(), "quadfire", vectors, tmp_path)
    wave = tmp_path / {"verilator": "verilator.vcd", "icarus": "icarus.fst"}[simulator]
    assert str(wave) in str(raised.value)
    assert wave.stat().st_size > 500


def test_a_module_that_cannot_be_imported_is_no_success(simulator, tmp_path):
    text = failure(simulator, loopback(), loop_vectors(), tmp_path, module="sim.no_such_bench")
    assert "no test was run" in text


def test_vectors_that_prove_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one output transaction"):
        golden.vectors([stream("s_axis", [1])], [stream("m_axis", [])])
    with pytest.raises(ValueError, match="transaction 1 of channel 'a' must give a value"):
        golden.channel("a", [{"a__payload": 1}, {"b": 2}])
    with pytest.raises(ValueError, match="must come after one of s_axis"):
        golden.vectors([stream("s_axis", [1], after="nothing")], [stream("m_axis", [1])])


def test_a_channel_waits_for_another(simulator, tmp_path):
    two = """module two(input clk, input rst, input a__valid, input [7:0] a__payload,
        input b__valid, input [7:0] b__payload, output o__valid, output [7:0] o__payload);
        assign o__valid = a__valid | b__valid;
        assign o__payload = a__valid ? a__payload : b__payload;
    endmodule"""
    first, second = list(range(1, 20)), list(range(100, 120))
    vectors = golden.vectors([golden.channel("b", second, after="a"), golden.channel("a", first)],
                             [golden.channel("o", first + second)])
    assert run_testbench(simulator, two, "two", vectors, tmp_path) == 9


# The whole core ----------------------------------------------------------------------------------

CORE = "quadfire.sim.cocotb.testbench_core"


def core_vectors() -> dict:
    rng = np.random.default_rng(2)
    packets = [[int(word) for word in rng.integers(0, 1 << 32, n)] for n in (1, 5, 20, 2, 33)]
    return {"packets": packets, "answers": [list(packet) for packet in packets], "timeout": 5000}


def test_core_testbench_passes(simulator, tmp_path):
    assert run_testbench(simulator, loopback(), "quadfire", core_vectors(), tmp_path,
                         module=CORE) == 10


def test_core_testbench_reports_the_first_wrong_word(simulator, tmp_path):
    vectors = core_vectors()
    vectors["answers"][1][3] = None     # may be anything
    vectors["answers"][2][7] ^= 1
    text = failure(simulator, loopback(), vectors, tmp_path, module=CORE)
    assert text.count("answer 2, word 7: expected") == 10
    vectors["answers"][2] = vectors["answers"][2][:7]
    text = failure(simulator, loopback(), vectors, tmp_path, module=CORE)
    assert text.count("answer 2, word 7: expected its end") == 10


def test_core_testbench_reports_surplus_missing_and_unreset_words(simulator, tmp_path):
    vectors = core_vectors()
    last = vectors["answers"].pop()
    text = failure(simulator, loopback(), vectors, tmp_path, module=CORE)
    assert text.count("an answer followed that is not in the vectors") == 10
    vectors["answers"] += [last, last]
    text = failure(simulator, loopback(), vectors, tmp_path, module=CORE)
    assert text.count("answer 5 did not come in 5000 cycles") == 10
    deaf = loopback(body=BLINK).replace("if (rst)", "if (rst && sent === 32'bx)")
    assert "reset_in_mid_stream" in failure(simulator, deaf, core_vectors(), tmp_path,
                                            module=CORE)


@pytest.mark.parametrize("rule", BROKEN)
def test_core_testbench_reports_a_broken_rule_of_the_stream(simulator, rule, tmp_path):
    text = failure(simulator, BROKEN[rule], core_vectors(), tmp_path, module=CORE)
    assert "before ready" in text
    assert ("valid fell" if rule == "tvalid fell" else "the payload changed") in text


def test_core_testbench_reports_an_x(tmp_path):
    unknown = loopback(body="reg [31:0] nothing;", data="sent == 5 ? nothing : word[31:0]")
    text = failure("icarus", unknown, core_vectors(), tmp_path, module=CORE)
    assert "m_axis_tdata is xxxx" in text.lower()
