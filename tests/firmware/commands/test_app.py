"""The command line, and that the driver needs numpy and safetensors alone."""

import json
import re
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest

from quadfire.firmware.tape.packets import decode, split
from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import Opcode

from tests.command import quadfire
from tests.firmware.networks import random_network


def test_compile_and_report(tmp_path):
    config = preset("tiny")
    net = random_network(np.random.default_rng(0), config, (20, 9, 5), steps=4, input_bits=8)
    net.save(tmp_path / "net.safetensors")
    output = tmp_path / "out" / "net.tape"
    result = quadfire("compile", tmp_path / "net.safetensors", "-c", "tiny", "-o", output)
    assert result.status == 0 and "dense" in result.out, result.text
    packets = [decode(words) for words in split(np.fromfile(output, "<u4"))]
    about = json.loads((tmp_path / "out" / "net.tape.json").read_text())
    assert packets[0].opcode == Opcode.BEGIN and packets[0].payload.tolist() == [config.hash, 0]
    assert packets[-2].payload.tolist() == [about["network_id"]]
    assert about["packets"] == len(packets) and about["configuration_hash"] == config.hash


def test_errors_are_one_line(tmp_path):
    result = quadfire("compile", tmp_path / "no.file")
    assert result.status == 2 and "no such file" in result.err and result.err.count("\n") == 1


@pytest.mark.parametrize("modules, more", [
    ("quadfire.firmware, quadfire.firmware.transports.pynq, quadfire.firmware.transports.uio",
     set()),
    ("quadfire.cli, quadfire.firmware.commands.device", {"typer", "rich"})])
def test_what_the_driver_needs(modules, more):
    """On a board: no torch, no amaranth, nothing that has to be compiled but numpy and safetensors.
    """
    code = f"import sys; old = set(sys.modules); import {modules}; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    distributions = metadata.packages_distributions()
    needed = {name for module in done.stdout.split()
              for name in distributions.get(module.partition(".")[0], [])}
    allowed = {"numpy", "safetensors", "quadfire"} | more
    for name in more:
        allowed |= {re.split(r"[^\w.-]", need)[0] for need in metadata.requires(name) or []}
    assert {name.lower() for name in needed} <= {name.lower() for name in allowed}, needed
