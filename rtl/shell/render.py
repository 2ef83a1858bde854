"""The register table as Markdown, C header, Python module, SystemRDL and HTML pages.

PeakRDL makes the HTML pages from our SystemRDL. The other forms are written here, because those of
PeakRDL serve the user less:

- C: peakrdl-cheader 1.1 lays a packed struct over the registers, which is GNU C, and has no macros
  for offsets. Our driver is C99 and reaches registers through callbacks that take an offset. It
  also needs the headers of packets, which are no registers.
- Markdown: peakrdl-markdown 1.0 writes a section for every register and every field, 800 lines
  instead of 70, with descriptions in HTML and without the names of values.
- Python: PeakRDL makes no module that stands alone.

Only SystemRDL and HTML depend on the configuration: it gives the constants their reset values.
This module needs no Amaranth.
"""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.register_access import FIELDS, Registers
from quadfire.rtl.contract.registers import (
    MAP_VERSION,
    REGISTERS,
    Access,
    Field,
    Register,
    constants,
)
from quadfire.rtl.contract.tape import HEADER, MAGIC, VERSION, Answer

__all__ = ["FORMATS", "render", "write_html"]

_GENERATED = "generated from rtl/contract/registers.py by `quadfire registers --format {}`"


def _is_number(register: Register) -> bool:
    """Whether the register is one number, without fields of its own."""
    return len(register.fields) == 1 and register.fields[0].name == "value"


def _named_fields(register: Register) -> tuple[Field, ...]:
    """The fields of a register that is more than one number."""
    return () if _is_number(register) else register.fields


def _access(register: Register, field: Field) -> str:
    """Access of a field as it is written: r, rw, w or rw1c."""
    return FIELDS[register.name if _is_number(register) else f"{register.name}_{field.name}"][3]


# Markdown ---------------------------------------------------------------------------------------

def _bit_range(field: Field) -> str:
    return f"{field.low + field.bits - 1}:{field.low}" if field.bits > 1 else str(field.low)


def _register_row(register: Register) -> str:
    first = register.fields[0]
    access = _access(register, first) if _is_number(register) else ""
    reset = "" if not _is_number(register) else (
        "constant" if first.access is Access.CONSTANT else str(first.reset))
    return (f"| 0x{register.offset:03x} | `{register.name}` | {access} | {reset} | "
            f"{register.description} |")


def _field_row(register: Register, field: Field) -> str:
    meaning = field.description
    if field.values:
        meaning += ": " + ", ".join(f"{item.value} {item.name}" for item in field.values)
    return (f"| `{register.name}` | {_bit_range(field)} | `{field.name}` | "
            f"{_access(register, field)} | {field.reset} | {meaning} |")


def markdown(config: ArrayConfig, stream_bits: int) -> str:
    """A table of the registers and a table of their fields."""
    return "\n".join([
        f"<!-- {_GENERATED.format('md')} -->", "",
        "| offset | register | access | reset | meaning |", "|---|---|---|---|---|",
        *(_register_row(register) for register in REGISTERS), "",
        "| register | bits | field | access | reset | meaning |", "|---|---|---|---|---|---|",
        *(_field_row(register, field)
          for register in REGISTERS for field in _named_fields(register)), ""])


# C ----------------------------------------------------------------------------------------------

def _packet_macros() -> Iterator[str]:
    """Masks and shifts of the fields of a packet's header, opcodes of the answers."""
    low = 0
    for field, bits in HEADER.items():
        yield f"#define QF_HEADER_{field.upper()} 0x{(1 << bits) - 1 << low:08x}u"
        yield f"#define QF_HEADER_{field.upper()}_SHIFT {low}"
        low += bits
    for answer in Answer:
        yield f"#define QF_ANSWER_{answer.name} 0x{answer:02x}u"


def _register_macros(register: Register) -> Iterator[str]:
    """Offset of a register, masks and shifts of its fields, values that have names."""
    yield f"/* {register.description} */".replace("`", "")
    yield f"#define QF_REG_{register.name.upper()} 0x{register.offset:03x}u"
    for field in _named_fields(register):
        name = f"QF_{register.name.upper()}_{field.name.upper()}"
        yield f"#define {name} 0x{field.mask:08x}u /* {field.description} */".replace("`", "")
        if field.bits > 1:
            yield f"#define {name}_SHIFT {field.low}"
        for item in field.values or ():
            yield f"#define {name}_{item.name} {item.value}u"


def c_header(config: ArrayConfig, stream_bits: int) -> str:
    """A header of macros, C90: registers, their fields, and what a driver must know of packets."""
    lines = [f"/* {_GENERATED.format('c')} */", "#ifndef QUADFIRE_REGISTERS_H",
             "#define QUADFIRE_REGISTERS_H", "",
             f"#define QF_MAGIC_VALUE 0x{MAGIC:08x}u",
             f"#define QF_MAP_VERSION_VALUE 0x{MAP_VERSION:08x}u",
             f"#define QF_TAPE_VERSION_VALUE 0x{VERSION:08x}u", "", "/* Headers of packets */",
             *_packet_macros()]
    for register in REGISTERS:
        lines += ["", *_register_macros(register)]
    return "\n".join([*lines, "", "#endif", ""])


# Python -----------------------------------------------------------------------------------------

def python(config: ArrayConfig, stream_bits: int) -> str:
    """A module that imports nothing of ours: FIELDS and the class Registers."""
    lines = ['"""Registers of Quadfire\'s AXI shell.', "",
             f'{_GENERATED.format("py")}', '"""', "", "from collections.abc import Callable", "",
             f"MAGIC = 0x{MAGIC:08x}", f"MAP_VERSION = 0x{MAP_VERSION:08x}",
             f"TAPE_VERSION = 0x{VERSION:08x}", "", "#: name: (offset, lowest bit, bits, access)",
             "FIELDS = {"]
    lines += [f'    "{name}": (0x{offset:03x}, {low}, {bits}, "{access}"),'
              for name, (offset, low, bits, access) in FIELDS.items()]
    return "\n".join([*lines, "}", "", "", inspect.getsource(Registers)])


# SystemRDL and what is made from it -------------------------------------------------------------

_RDL_ACCESS = {
    Access.CONSTANT: "sw = r; hw = na;",
    Access.STATUS: "sw = r; hw = w;",
    Access.COUNTER: "sw = r; hw = w; counter;",
    Access.CONTROL: "sw = rw; hw = r;",
    Access.STROBE: "sw = w; hw = r; singlepulse;",
    Access.STICKY: "sw = rw; hw = w; onwrite = woclr; hwset;",
}


def _rdl_register(register: Register, values: dict[str, int]) -> Iterator[str]:
    """A register in SystemRDL; values: of the constants, by name of the register."""
    for field in register.fields:
        if field.values:
            items = " ".join(f"{item.name} = {field.bits}'d{item.value};" for item in field.values)
            yield f"    enum {register.name}_{field.name} {{ {items} }};"
    yield f'    reg {{\n        name = "{register.name}"; desc = "{register.description}";'
    for field in register.fields:
        encode = f" encode = {register.name}_{field.name};" if field.values else ""
        reset = values.get(register.name, field.reset)
        begin = "" if field.access is Access.STATUS else f" = 0x{reset:x}"
        yield (f"        field {{ {_RDL_ACCESS[field.access]}{encode} "
               f'desc = "{field.description}"; }} '
               f"{field.name}[{field.low + field.bits - 1}:{field.low}]{begin};")
    yield f"    }} {register.name} @ 0x{register.offset:03x};"


def systemrdl(config: ArrayConfig, stream_bits: int) -> str:
    """SystemRDL 2.0 of a device made from `config`."""
    values = constants(config, stream_bits)
    lines = [f"// {_GENERATED.format('rdl')}", f"// {config}", "addrmap quadfire_axi {",
             '    name = "Quadfire AXI shell";', "    default regwidth = 32;",
             "    default accesswidth = 32;"]
    for register in REGISTERS:
        lines += ["", *_rdl_register(register, values)]
    return "\n".join([*lines, "};", ""])


def write_html(folder: Path, config: ArrayConfig | None = None, stream_bits: int = 32) -> Path:
    """Write HTML pages of the registers into a folder, and return the path of the first one.

    config: whose constants the pages show, by default that of the preset `default`. Raises
    ValueError for a width that streams cannot have, ModuleNotFoundError where there is no PeakRDL.
    """
    text = systemrdl(config or ArrayConfig(), stream_bits)
    from peakrdl_html import HTMLExporter  # only here: all other forms do without
    from systemrdl.compiler import RDLCompiler

    with tempfile.TemporaryDirectory() as build:
        source = Path(build) / "quadfire_axi.rdl"
        source.write_text(text)
        compiler = RDLCompiler()
        compiler.compile_file(str(source))
        HTMLExporter(generate_source_links=False).export(compiler.elaborate(), str(folder))
    return folder / "index.html"


#: The forms that are one text.
FORMATS: dict[str, Callable[[ArrayConfig, int], str]] = {
    "md": markdown, "c": c_header, "py": python, "rdl": systemrdl}


def render(form: str, config: ArrayConfig | None = None, stream_bits: int = 32) -> str:
    """The register table in one of FORMATS. Raises ValueError for another one."""
    if form == "html":
        raise ValueError("html is pages, not one text: call write_html")
    if form not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, html, not {form!r}")
    return FORMATS[form](config or ArrayConfig(), stream_bits)
