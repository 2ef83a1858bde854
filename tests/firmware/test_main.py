"""The command line, and that the driver needs numpy alone."""

import json
import subprocess
import sys

import numpy as np
from typer.testing import CliRunner

from firmware.__main__ import app
from firmware.packets import decode, split
from rtl.config import preset
from rtl.tape import Opcode

from .networks import random_network


def test_compile_and_report(tmp_path):
    config = preset("tiny")
    net = random_network(np.random.default_rng(0), config, (20, 9, 5), steps=4, input_bits=8)
    net.save(tmp_path / "net.safetensors")
    output = tmp_path / "out" / "net.tape"
    result = CliRunner().invoke(app, ["compile", str(tmp_path / "net.safetensors"), "-c", "tiny",
                                      "-o", str(output)])
    assert result.exit_code == 0, result.output
    packets = [decode(words) for words in split(np.fromfile(output, "<u4"))]
    about = json.loads((tmp_path / "out" / "net.tape.json").read_text())
    assert packets[0].opcode == Opcode.BEGIN and packets[0].payload.tolist() == [config.hash, 0]
    assert packets[-2].payload.tolist() == [about["network_id"]]
    assert about["packets"] == len(packets) and about["configuration_hash"] == config.hash
    result = CliRunner().invoke(app, ["report", str(tmp_path / "net.safetensors"), "-c", "tiny"])
    assert result.exit_code == 0 and "dense" in result.output


def test_errors_are_one_line(tmp_path):
    result = subprocess.run([sys.executable, "-m", "firmware", "report", str(tmp_path / "no.file")],
                            capture_output=True, text=True)
    assert result.returncode == 1 and "no such file" in result.stderr
    assert "Traceback" not in result.stderr


def test_neither_torch_nor_amaranth():
    code = ("import sys, firmware, firmware.__main__; "
            "sys.exit(any(name in sys.modules for name in ('torch', 'amaranth', 'scipy')))")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
