"""Packing of ECP5 netlists.

Half a CCU2C is proved in full. Registers are moved only where they are plain. Packed circuits equal
unpacked ones, as yosys proves with its models of the cells.
"""

import copy
import json
import os
import subprocess
import sys
from itertools import product

import pytest

from quadfire.rtl.fpga.carry_packing import absorbed_init, absorbed_pair_init
from quadfire.rtl.fpga.packing import pack

from tests.rtl.fpga.netlists import for_yosys


def half(init: int, a: int, b: int, c: int, d: int, carry: int) -> tuple[int, int]:
    """(sum, carry out) of half a CCU2C, INJECT1 = "NO": `cells_sim_ecp5.v` of yosys."""
    propagate = init >> (a + 2 * b + 4 * c + 8 * d) & 1
    generate = init >> (a + 2 * b) & 1
    return propagate ^ carry, (1 - propagate) & generate | propagate & carry


def test_every_lut_that_is_absorbed_adds_as_before():
    absorbed = 0
    for number, first, second in product(range(256), (False, True), (False, True)):
        lut = tuple(number >> index & 1 for index in range(8))
        if first and second or (init := absorbed_init(lut, first, second)) is None:
            continue
        absorbed += 1
        for a, b, c, d, carry in product((0, 1), repeat=5):
            x, w = lut[b + 2 * c + 4 * d], a
            operands = (w, x) if first else (x, w)
            assert half(init, a, b, c, d, carry) == half(0x96AA, *operands, first or second, 1,
                                                         carry)
    assert absorbed == 3 * 64


def test_every_pair_of_luts_that_is_absorbed_adds_as_before():
    pairs = list(product((0, 1), repeat=4))
    absorbed = 0
    for first, second in product(pairs, pairs):
        if (init := absorbed_pair_init(first, second)) is None:
            continue
        absorbed += 1
        for a, b, c, d, carry in product((0, 1), repeat=5):
            operands = first[a + 2 * b], second[c + 2 * d]
            assert half(init, a, b, c, d, carry) == half(0x96AA, *operands, 0, 1, carry)
    assert absorbed == 16 * 8


def ff(d, q, clock=2, **changes):
    return {"type": "TRELLIS_FF",
            "parameters": {"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET",
                           **{key: value for key, value in changes.items() if key.isupper()}},
            "port_directions": {"CLK": "input", "DI": "input", "LSR": "input", "Q": "output"},
            "connections": {"CLK": [clock], "DI": [d], "LSR": [changes.get("reset", "0")],
                            "Q": [q]}}


def memory(width: int, outputs: dict[str, int]):
    bits = f"{width:032b}"
    connections = {port: [bit] for port, bit in outputs.items()}
    inputs = {"CLKA": [2], "CLKB": [2], "RSTA": ["0"], "RSTB": ["0"], "OCEA": ["0"], "OCEB": ["1"]}
    return {"type": "DP16KD", "parameters": {"DATA_WIDTH_A": bits, "DATA_WIDTH_B": bits,
                                             "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
            "port_directions": {**dict.fromkeys(connections, "output"),
                                **dict.fromkeys(inputs, "input")},
            "connections": {**connections, **inputs}}


def design(cells: dict, outputs: list[int]) -> dict:
    return {"modules": {"top": {"cells": cells, "ports": {
        "clk": {"direction": "input", "bits": [2]},
        "o": {"direction": "output", "bits": outputs}}}}}


@pytest.mark.parametrize("width", [18, 36])
def test_a_memory_takes_its_output_registers(width):
    document = design({"ram": memory(width, {"DOB0": 10, "DOB1": 11, "DOB2": 12}),
                       "f0": ff(10, 20), "f1": ff(11, 21)}, [20, 21])
    packed = pack(document, "top")
    cells = document["modules"]["top"]["cells"]
    assert (packed.memory_ports, packed.registers) == (1, 2) and list(cells) == ["ram"]
    ram = cells["ram"]
    assert ram["connections"]["DOB0"] == [20] and ram["connections"]["DOB1"] == [21]
    assert ram["parameters"]["REGMODE_B"] == "OUTREG"
    assert ram["parameters"]["REGMODE_A"] == ("OUTREG" if width == 36 else "NOREG")
    assert ram["connections"]["OCEA"] == (["1"] if width == 36 else ["0"])


@pytest.mark.parametrize("register, outputs", [
    (ff(10, 20, CEMUX="CE"), [20]), (ff(10, 20, reset=5), [20]), (ff(10, 20, REGSET="SET"), [20]),
    (ff(10, 20, clock=3), [20]), (ff(10, 20, CLKMUX="INV"), [20]), (ff(10, 20), [20, 10])])
def test_a_memory_leaves_registers_that_are_not_its_own(register, outputs):
    document = design({"ram": memory(18, {"DOB0": 10}), "f0": register}, outputs)
    before = json.dumps(document)
    assert pack(document, "top").registers == 0
    assert json.dumps(document) == before


def multiplier():
    connections = {**{f"A{n}": [100 + min(n, 11)] for n in range(18)},
                   **{f"B{n}": [120 + min(n, 11)] for n in range(18)},
                   **{f"P{n}": [200 + n] for n in range(36)}}
    return {"type": "MULT18X18D", "parameters": {},
            "port_directions": {port: "output" if port[0] == "P" else "input"
                                for port in connections}, "connections": connections}


def test_a_multiplier_takes_all_its_registers():
    """Operands are sign-extended, bits of the product unused, one operand is read by others."""
    cells = {"mul": multiplier()}
    cells |= {f"{side}{n}": ff(base + 200 + n, base + n)
              for side, base in (("a", 100), ("b", 120)) for n in range(12)}
    cells |= {f"p{n}": ff(200 + n, 400 + n) for n in range(8, 24)}
    document = design(cells, [*range(408, 424), *range(120, 132)])
    packed = pack(document, "top")
    cells = document["modules"]["top"]["cells"]
    assert packed.multipliers == 1 and packed.registers == 16 + 12
    assert set(cells) == {"mul", *(f"b{n}" for n in range(12))}
    mul = cells["mul"]
    assert {name for name in mul["parameters"] if name.endswith("_CLK")} == {
        "REG_OUTPUT_CLK", "REG_INPUTA_CLK", "REG_INPUTB_CLK"}
    assert mul["connections"]["CLK0"] == [2] and mul["connections"]["P8"] == [408]
    assert [mul["connections"][f"A{n}"][0] for n in (0, 11, 17)] == [300, 311, 311]


def yosys(folder, *commands: str) -> str:
    pytest.importorskip("pyosys", reason="make bench installs it")
    program = (f"from pyosys import libyosys as ys; d = ys.Design(); "
               f"[ys.run_pass(c, d) for c in {commands!r}]")
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env=os.environ | {"PYTHONPATH": ""}, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    return result.stdout


def assert_equal(folder, gold: dict, gate: dict):
    """Proof that two netlists of a module `top` compute the same."""
    for name, netlist in (("gold", gold), ("gate", gate)):
        (folder / f"{name}.json").write_text(
            json.dumps({"modules": {name: {**netlist["modules"]["top"], "attributes": {}}}}))
    assert "SUCCESS!" in yosys(
        folder, "read_verilog -overwrite +/lattice/cells_sim_ecp5.v", "read_json gold.json",
        "read_json gate.json", "hierarchy", "proc", "flatten", "opt_clean",
        "miter -equiv -flatten -make_outputs gold gate miter",
        "sat -verify -prove trigger 0 -show-inputs miter")


def synthesised(folder, text: str) -> dict:
    (folder / "top.v").write_text(text)
    yosys(folder, "read_verilog top.v", "synth_ecp5 -top top -json top.json")
    return json.loads((folder / "top.json").read_text())


@pytest.mark.parametrize("sum_, luts", [
    ("a + (b & {8{o}})", 8),
    ("(a | b) + (c | {8{o}})", 16),          # an accumulator: two of them are zero
    ("a + (b | c)", 8),
    ("a + ((b & {8{o}}) | c)", 8),      # an accumulator: its own sum or none, or that of another
    ("a - (b | ~c)", 8), ("(b & c) - a", 8),
    ("a - (b & c)", 0),                 # what is added is ~(b & c): its carry is not a's
    ("a + ((b & {8{o}}) | (c & {8{q}}))", 0)])
def test_sums_are_equal_before_and_after(sum_, luts, tmp_path):
    netlist = synthesised(tmp_path, f"module top(input [7:0] a, b, c, input o, q, "
                                    f"output [7:0] s);\nassign s = {sum_};\nendmodule\n")
    before = copy.deepcopy(netlist)
    assert pack(netlist, "top").luts == luts
    assert_equal(tmp_path, before, for_yosys(netlist, "top"))


@pytest.mark.parametrize("below", "01")
@pytest.mark.parametrize("bits, operation, carries", [
    (8, "+", 1),        # every half has a sum: only the unread carry out goes
    (7, "+", 2), (7, "-", 2),
    (7, "<", 0)])       # its carry out is read
def test_a_chain_ends_in_itself(bits, operation, carries, below, tmp_path):
    """The carry from the CCU2C below does not matter."""
    assign = (f"s = a {operation} b" if operation != "<" else f"s = {{{bits}{{a < b}}}}")
    netlist = synthesised(tmp_path, f"module top(input [{bits - 1}:0] a, b, output [{bits - 1}:0] s"
                                    f");\nassign {assign};\nendmodule\n")
    before = copy.deepcopy(netlist)
    packed = pack(netlist, "top")
    cells = [cell for cell in netlist["modules"]["top"]["cells"].values()
             if cell["type"] == "CCU2C"]
    open_carries = [cell for cell in cells if cell["connections"]["CIN"] == ["x"]]
    assert (packed.carries, len(open_carries)) == (carries, carries == 2)
    assert_equal(tmp_path, before, for_yosys(netlist, "top", below))
