"""Generated Verilog: the same bytes every time, readable names, accepted by all tools."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys

import pytest

from quadfire.paths import CHECKOUT
from quadfire.rtl.array.chain import spike_latency
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import VERSION
from quadfire.rtl.verilog import TOP, generate, write
from quadfire.sim.verilator import build, toolchain

SMALL = {"weight_rows": 16, "spike_words": 16, "parameter_words": 16, "packet_words": 32,
         "sources": 1}
CONFIGS = {
    "tiny": preset("tiny"),
    "taps, the smallest": ArrayConfig(lanes=1, group_lanes=1, slots=1, line_words=8, state_words=1,
                                      **SMALL),
    "taps of 4 bits": ArrayConfig(lanes=8, group_lanes=8, weight_bits=4, slots=3, line_words=16,
                                  state_words=5, **SMALL),
    "one lane, 8-bit state": ArrayConfig(
        banks=1, lanes=1, group_lanes=1, slots=2, state_bits=8, fraction_bits=4, current_bits=12,
        accumulator_bits=8, line_words=0, **SMALL),
    "one slot": ArrayConfig(banks=1, lanes=1, group_lanes=1, slots=1, line_words=0, **SMALL),
    "64 lanes of 4 bits": ArrayConfig(banks=1, lanes=64, group_lanes=8, weight_bits=4,
                                      line_words=0, **SMALL),
    "uneven, 18-bit state": ArrayConfig(        # nothing that may be odd is a power of two
        banks=3, lanes=2, group_lanes=1, slots=5, state_bits=18, fraction_bits=16,
        accumulator_bits=32, weight_rows=9, spike_words=17, parameter_words=19, packet_words=64,
        sources=3, line_words=0),
}

PORTS = {
    "clk": ("input", 1), "rst": ("input", 1),
    "s_axis_tdata": ("input", 32), "s_axis_tlast": ("input", 1), "s_axis_tvalid": ("input", 1),
    "s_axis_tready": ("output", 1),
    "m_axis_tdata": ("output", 32), "m_axis_tlast": ("output", 1), "m_axis_tvalid": ("output", 1),
    "m_axis_tready": ("input", 1),
}

#: Writes the Verilog of two arrays in either order: what was made before must not show.
_GENERATE = """
import sys
from quadfire.rtl.contract.config import preset
from quadfire.rtl.verilog import write
for name in sys.argv[2:]:
    write(preset(name), sys.argv[1], name)
"""


def test_the_same_bytes_in_another_process(tmp_path):
    folders = []
    for hash_seed, order in (("1", ("tiny", "small")), ("77", ("small", "tiny"))):
        folders.append(tmp_path / hash_seed)
        subprocess.run([sys.executable, "-c", _GENERATE, folders[-1], *order], check=True,
                       cwd=CHECKOUT, env={**os.environ, "PYTHONHASHSEED": hash_seed})
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == ["small.json", "small.v", "tiny.json", "tiny.v"]
    for name in names:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name
    text = text_of("tiny")
    assert text.encode() == (folders[0] / "tiny.v").read_bytes()
    assert str(CHECKOUT) not in text


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_generated(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for folder, reason in ((file, "File exists"), (file / "a", "Not a directory")):
        with pytest.raises(OSError) as error:
            write(CONFIGS["tiny"], folder, generator=lambda config: pytest.fail("generated"))
        assert str(error.value) == f"{folder} cannot be made: {reason}"


def test_description(tmp_path):
    config = CONFIGS["tiny"]
    source, about = write(config, tmp_path / "new" / "folder")
    assert (source.name, about.name) == ("quadfire.v", "quadfire.json")
    text, description = source.read_text(), json.loads(about.read_text())
    assert description["top"] == TOP == "quadfire"
    assert ArrayConfig.from_dict(description["configuration"]) == config
    assert int(description["configuration_hash"], 16) == config.hash
    assert int(description["interface_version"], 16) == VERSION
    assert description["verilog_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert {name: (port["direction"], port["width"])
            for name, port in description["ports"].items()} == PORTS
    assert description["latencies"]["array"] == spike_latency(config)
    assert description["latencies"]["neuron"] == 5
    assert min(description["latencies"].values()) > 0
    assert description["widths"]["state"] == config.state_bits
    assert description["lanes"] == config.banks * config.lanes
    assert f"0x{config.hash:08x}" in text.partition("module ")[0]
    for name, value in config.as_dict().items():
        assert f"//   {name} = {value}\n" in text


@functools.cache
def text_of(name: str) -> str:
    return generate(CONFIGS[name])[0]


def modules(text: str) -> dict[str, str]:
    """Text of every module by name."""
    return {match[1]: match[0]
            for match in re.finditer(r"^module (\S+?)\s*\(.*?^endmodule", text, re.M | re.S)}


def test_the_ports_of_the_top_module_are_those_described():
    top = modules(text_of("tiny"))[TOP]
    found = {}
    for way, high, name in re.findall(r"^\s*(input|output) (?:\[(\d+):0\] )?(\w+);", top, re.M):
        found[name] = (way, int(high or 0) + 1)
    assert found == PORTS


@pytest.mark.parametrize("name", ["tiny", "64 lanes of 4 bits"])
def test_names_of_modules_are_readable_and_unique(name):
    names = re.findall(r"^module (\S+?)\s*\(", text_of(name), re.M)
    assert len(set(names)) == len(names)
    assert {"quadfire", "quadfire_cell", "quadfire_group"} <= set(names)
    for module in names:
        assert "$" not in module, module
        assert module.startswith(("quadfire", "\\quadfire")), module


@pytest.mark.parametrize("name", CONFIGS)
def test_simulators_accept_it(simulator, name, tmp_path):
    """Verilator gives no warning but those that `sim.verilator.build` waives, with reasons."""
    source = tmp_path / "core.v"
    source.write_text(text_of(name))
    command = [toolchain.icarus(), "-g2005", "-tnull", "-s", TOP, source]
    environment = None
    if simulator == "verilator":
        tool = toolchain.verilator()
        command = [tool.binary, "--lint-only", "--top-module", TOP,
                   *(f"-Wno-{waiver}" for waiver in build.WAIVERS), source]
        environment = tool.environment
    run = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr[:4000]
    assert not run.stderr.strip()
