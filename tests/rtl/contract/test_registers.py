"""The register table and the texts made from it: all say the same, committed copies are current."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
from systemrdl import RDLCompiler

from quadfire.paths import CHECKOUT
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.register_access import FIELDS, Registers
from quadfire.rtl.contract.registers import ADDRESS_BITS, REGISTERS, Access, constants, find
from quadfire.rtl.contract.tape import MAGIC, Answer, Fault
from quadfire.rtl.shell.render import FORMATS, render, write_html
from quadfire.sim.verilator import toolchain

from tests.command import quadfire

pytestmark = pytest.mark.fast


def test_the_table_is_sound():
    offsets = [register.offset for register in REGISTERS]
    assert offsets == sorted(set(offsets)) and max(offsets) < 1 << ADDRESS_BITS
    assert not any(offset % 4 for offset in offsets)
    assert len({register.name for register in REGISTERS}) == len(REGISTERS)
    for register in REGISTERS:
        used = 0
        for field in register.fields:
            assert field.mask < 1 << 32 and not used & field.mask, (register.name, field.name)
            assert field.description and 0 <= field.reset <= field.mask >> field.low
            used |= field.mask
        kinds = {field.access for field in register.fields}
        assert len(kinds) == 1 or kinds == {Access.CONTROL, Access.STROBE}, register.name


@pytest.mark.parametrize("stream_bits", [32, 64, 128])
def test_constants_tell_the_whole_configuration(stream_bits):
    config = dataclasses.replace(preset("tiny"), weight_rows=77)
    values = constants(config, stream_bits)
    named = [register.name for register in REGISTERS
             if register.fields[0].access is Access.CONSTANT]
    assert sorted(values) == sorted(named)
    assert (values["magic"], values["configuration"]) == (MAGIC, config.hash)
    assert values["stream_bits"] == stream_bits
    read = {name.removeprefix("config_"): value for name, value in values.items()
            if name.startswith("config_")}
    assert ArrayConfig.from_dict(read) == config


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="stream_bits must be one of 32, 64, 128, not 48"):
        constants(preset("tiny"), 48)
    with pytest.raises(ValueError, match="--format must be one of md, c, py, rdl, html, not 'xml'"):
        render("xml")
    with pytest.raises(ValueError, match="html is pages, not one text: call write_html"):
        render("html")
    with pytest.raises(KeyError, match="no register 'nothing'"):
        find("nothing")
    with pytest.raises(KeyError, match="no field 'nothing'"):
        find("control").field("nothing")


def test_the_table_needs_no_amaranth():
    code = ("import sys, quadfire.rtl.contract.registers, quadfire.rtl.shell.render; "
            "sys.exit('amaranth' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=True)


def test_systemrdl_is_valid_and_says_the_same(tmp_path):
    config = preset("large")
    path = tmp_path / "quadfire.rdl"
    path.write_text(render("rdl", config, 128))
    compiler = RDLCompiler()
    compiler.compile_file(str(path))
    top = compiler.elaborate().top
    values = constants(config, 128)
    nodes = list(top.registers())
    assert [(node.inst_name, node.absolute_address) for node in nodes] == [
        (register.name, register.offset) for register in REGISTERS]
    for node, register in zip(nodes, REGISTERS, strict=True):
        parts = list(node.fields())
        assert [(part.inst_name, part.low, part.width) for part in parts] == [
            (field.name, field.low, field.bits) for field in register.fields]
        for part, field in zip(parts, register.fields, strict=True):
            assert part.is_sw_writable == field.access.writable
            assert part.is_sw_readable == (field.access is not Access.STROBE)
            if field.access is not Access.STATUS:
                assert part.get_property("reset") == values.get(register.name, field.reset)
            if field.access is Access.STICKY:
                assert part.get_property("onwrite").name == "woclr"
            names = part.get_property("encode") or ()
            assert {item.name: item.value for item in names} == {
                item.name: item.value for item in field.values or ()}


def test_html_has_a_page_for_every_register(tmp_path):
    first = write_html(tmp_path / "html", preset("tiny"), 64)
    assert first == tmp_path / "html" / "index.html" and first.exists()
    pages = [path.read_text() for path in (tmp_path / "html" / "content").glob("*.html")]
    for register in REGISTERS:
        assert any(f">0x{register.offset:x}<" in page and all(
            field.description.partition("`")[0] in page for field in register.fields)
            for page in pages), register.name
    assert any("TRUNCATED" in page for page in pages)
    with pytest.raises(ValueError, match="stream_bits must be one of"):
        write_html(tmp_path, stream_bits=48)


def test_html_without_peakrdl_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peakrdl_html", None)
    done = quadfire("registers", "--format", "html", "-o", tmp_path)
    assert done.status == 2 and "pip install 'quadfire[hdl]'" in done.err
    done = quadfire("registers", "--format", "html")
    assert done.status == 2 and "-o FOLDER" in done.err


def test_the_c_header_compiles_and_says_the_same(tmp_path):
    (tmp_path / "regs.h").write_text(render("c"))
    names = {}
    for register in REGISTERS:
        names[f"QF_REG_{register.name.upper()}"] = register.offset
        for field in register.fields:
            if field.name != "value":
                names[f"QF_{register.name.upper()}_{field.name.upper()}"] = field.mask
    names |= {f"QF_FAULT_CAUSE_{fault.name}": int(fault) for fault in Fault}
    names |= {f"QF_ANSWER_{answer.name}": int(answer) for answer in Answer}
    lines = "\n".join(f'    printf("{name} %lu\\n", (unsigned long){name});' for name in names)
    (tmp_path / "main.c").write_text(
        f'#include "regs.h"\n#include <stdio.h>\nint main(void) {{\n{lines}\n    return 0;\n}}\n')
    subprocess.run([toolchain.c_compiler(), "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic",
                    "main.c", "-o", "main"], cwd=tmp_path, check=True)
    text = subprocess.run([tmp_path / "main"], check=True, text=True, capture_output=True).stdout
    assert dict(line.split() for line in text.splitlines()) == {
        name: str(value) for name, value in names.items()}


def test_the_python_module_stands_alone_and_says_the_same(tmp_path):
    (tmp_path / "quadfire_registers.py").write_text(render("py"))
    code = "import json, quadfire_registers as q; print(json.dumps([q.FIELDS, q.MAGIC]))"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '.'); {code}"]
    text = subprocess.run(command, cwd=tmp_path, check=True, text=True, capture_output=True).stdout
    fields, magic = json.loads(text)
    assert {name: tuple(value) for name, value in fields.items()} == FIELDS
    assert magic == MAGIC


def test_markdown_lists_every_register_and_field():
    text = render("md")
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| 0x")]
    assert [(int(offset, 16), name.strip(" `")) for offset, name in rows] == [
        (register.offset, register.name) for register in REGISTERS]
    for register in REGISTERS:
        for field in register.fields if register.fields[0].name != "value" else ():
            assert re.search(rf"^\| `{register.name}` .*`{field.name}`", text, re.M)
    columns = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert set(columns) == {6, 7}


@pytest.mark.parametrize("path, form", [("firmware/c/quadfire_registers.h", "c"),
                                        ("firmware/registers.md", "md")])
def test_committed_copies_are_up_to_date(path, form):
    assert (CHECKOUT / path).read_text() == render(form), (
        f"{path} is stale: run `quadfire registers --format {form} -o {path}`")


def test_the_command(tmp_path):
    for form in FORMATS:
        result = quadfire("registers", "--format", form, "--config", "tiny")
        assert result.status == 0 and result.text == render(form, preset("tiny"))
    target = tmp_path / "registers.md"
    assert quadfire("registers", "-o", str(target)).status == 0
    assert target.read_text() == render("md")
    assert quadfire("registers", "--format", "doc").status == 2
    for words in (["-o", target / "a" / "x.md"], ["--format", "html", "-o", target / "a"]):
        done = quadfire("registers", *words)
        assert done.status == 2
        assert done.err == f"error: {target / 'a'} cannot be made: Not a directory\n"


def test_registers_by_name():
    memory = {find("control").offset: 0b101, find("interrupt").offset: 3}
    registers = Registers(lambda offset: memory.get(offset, 0), memory.__setitem__)
    assert (registers.control_reset, registers.interrupt_answer) == (1, 1)
    registers.control_clear = 1
    assert memory[find("control").offset] == 0b11       # the rw bit stays, nothing else is written
    registers.interrupt_error = 1
    assert memory[find("interrupt").offset] == 0b10     # the sticky bit beside is not cleared
    registers.frame_answers = 5
    assert registers.frame_answers == 5
    for name, value, error, match in (("magic", 1, AttributeError, "cannot be written"),
                                      ("nothing", 1, AttributeError, "no register or field"),
                                      ("frame_answers", 1 << 16, ValueError, "0..65535")):
        with pytest.raises(error, match=match):
            setattr(registers, name, value)
    with pytest.raises(AttributeError, match="no register or field"):
        registers.control  # noqa: B018
