"""The register table as Markdown, C header, Python module and SystemRDL.

Without a configuration the texts hold what is the same in every device; with one, the SystemRDL
has the values of its constants as reset values.
"""

import inspect
from collections.abc import Callable

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.register_access import FIELDS, Registers
from quadfire.rtl.contract.registers import (
    MAP_VERSION, REGISTERS, Access, Field, Register, constants,
)
from quadfire.rtl.contract.tape import HEADER, MAGIC, VERSION, Answer

__all__ = ["FORMATS", "render"]

_GENERATED = "generated from rtl/contract/registers.py by `quadfire registers --format {}`"

def _alone(register: Register) -> bool:
    """Is the register one number?"""
    return len(register.fields) == 1 and register.fields[0].name == "value"


def _access(register: Register, field: Field) -> str:
    return FIELDS[register.name if _alone(register) else f"{register.name}_{field.name}"][3]


def _bit_range(field: Field) -> str:
    return f"{field.low + field.bits - 1}:{field.low}" if field.bits > 1 else str(field.low)


def markdown(config: ArrayConfig, stream_bits: int) -> str:
    """A table of registers and one of fields."""
    lines = [f"<!-- {_GENERATED.format('md')} -->", "",
             "| offset | register | access | reset | what it is |", "|---|---|---|---|---|"]
    for register in REGISTERS:
        first = register.fields[0]
        access = _access(register, first) if _alone(register) else ""
        reset = "" if not _alone(register) else (
            "constant" if first.access is Access.CONSTANT else str(first.reset))
        lines.append(f"| 0x{register.offset:03x} | `{register.name}` | {access} | {reset} | "
                     f"{register.what} |")
    lines += ["", "| register | bits | field | access | reset | what it is |",
              "|---|---|---|---|---|---|"]
    for register in REGISTERS:
        for field in () if _alone(register) else register.fields:
            what = field.what
            if field.values:
                what += ": " + ", ".join(f"{item.value} {item.name}" for item in field.values)
            lines.append(f"| `{register.name}` | {_bit_range(field)} | `{field.name}` | "
                         f"{_access(register, field)} | {field.reset} | {what} |")
    return "\n".join(lines) + "\n"


def c_header(config: ArrayConfig, stream_bits: int) -> str:
    """Offsets, masks and shifts as macros; what a driver must know of packets."""
    lines = [f"/* {_GENERATED.format('c')} */", "#ifndef QUADFIRE_REGISTERS_H",
             "#define QUADFIRE_REGISTERS_H", "",
             f"#define QF_MAGIC_VALUE 0x{MAGIC:08x}u",
             f"#define QF_MAP_VERSION_VALUE 0x{MAP_VERSION:08x}u",
             f"#define QF_TAPE_VERSION_VALUE 0x{VERSION:08x}u", "", "/* Headers of packets */"]
    low = 0
    for field, bits in HEADER.items():
        lines += [f"#define QF_HEADER_{field.upper()} 0x{(1 << bits) - 1 << low:08x}u",
                  f"#define QF_HEADER_{field.upper()}_SHIFT {low}"]
        low += bits
    lines += [f"#define QF_ANSWER_{answer.name} 0x{answer:02x}u" for answer in Answer]
    for register in REGISTERS:
        name = f"QF_{register.name.upper()}"
        lines += ["", f"/* {register.what} */".replace("`", ""),
                  f"#define QF_REG_{register.name.upper()} 0x{register.offset:03x}u"]
        for field in () if _alone(register) else register.fields:
            part = f"{name}_{field.name.upper()}"
            lines.append(f"#define {part} 0x{field.mask:08x}u /* {field.what} */".replace("`", ""))
            if field.bits > 1:
                lines.append(f"#define {part}_SHIFT {field.low}")
            for item in field.values or ():
                lines.append(f"#define {part}_{item.name} {item.value}u")
    return "\n".join([*lines, "", "#endif", ""])


def python(config: ArrayConfig, stream_bits: int) -> str:
    """A module that needs nothing else: FIELDS and the class Registers."""
    lines = ['"""Registers of Quadfire\'s AXI shell.', "",
             f'{_GENERATED.format("py")}', '"""', "", "from collections.abc import Callable", "",
             f"MAGIC = 0x{MAGIC:08x}", f"MAP_VERSION = 0x{MAP_VERSION:08x}",
             f"TAPE_VERSION = 0x{VERSION:08x}", "", "#: name: (offset, lowest bit, bits, access)",
             "FIELDS = {"]
    lines += [f'    "{name}": (0x{offset:03x}, {low}, {bits}, "{access}"),'
              for name, (offset, low, bits, access) in FIELDS.items()]
    return "\n".join([*lines, "}", "", "", inspect.getsource(Registers)])


_RDL = {
    Access.CONSTANT: "sw = r; hw = na;",
    Access.STATUS: "sw = r; hw = w;",
    Access.COUNTER: "sw = r; hw = w; counter;",
    Access.CONTROL: "sw = rw; hw = r;",
    Access.STROBE: "sw = w; hw = r; singlepulse;",
    Access.STICKY: "sw = rw; hw = w; onwrite = woclr; hwset;",
}


def systemrdl(config: ArrayConfig, stream_bits: int) -> str:
    """SystemRDL 2.0 of a device made from `config`."""
    values = constants(config, stream_bits)
    lines = [f"// {_GENERATED.format('rdl')}", f"// {config}", "addrmap quadfire_axi {",
             '    name = "Quadfire AXI shell";', "    default regwidth = 32;",
             "    default accesswidth = 32;"]
    for register in REGISTERS:
        lines += ["", "    reg {", f'        name = "{register.name}"; desc = "{register.what}";']
        for field in register.fields:
            reset = values.get(register.name, field.reset)
            begin = "" if field.access is Access.STATUS else f" = 0x{reset:x}"
            lines.append(f"        field {{ {_RDL[field.access]} desc = \"{field.what}\"; }} "
                         f"{field.name}[{field.low + field.bits - 1}:{field.low}]{begin};")
        lines.append(f"    }} {register.name} @ 0x{register.offset:03x};")
    return "\n".join([*lines, "};", ""])


FORMATS: dict[str, Callable[[ArrayConfig, int], str]] = {
    "md": markdown, "c": c_header, "py": python, "rdl": systemrdl}


def render(form: str, config: ArrayConfig | None = None, stream_bits: int = 32) -> str:
    """The table in one of FORMATS; ValueError for another."""
    if form not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}, not {form!r}")
    return FORMATS[form](config or ArrayConfig(), stream_bits)
