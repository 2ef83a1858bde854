"""Registers by name, for any bus that reads and writes 32-bit words."""

from collections.abc import Callable

from quadfire.rtl.contract.registers import REGISTERS, Access

__all__ = ["FIELDS", "Registers"]

_ACCESS = {Access.CONSTANT: "r", Access.STATUS: "r", Access.COUNTER: "r", Access.CONTROL: "rw",
           Access.STROBE: "w", Access.STICKY: "rw1c"}

#: Name -> (offset, lowest bit, bits, access). The name is that of the register if it is one number,
#: else register_field. Access is r, rw, w (reads as 0) or rw1c (write 1 to clear).
FIELDS = {register.name if field.name == "value" else f"{register.name}_{field.name}":
          (register.offset, field.low, field.bits, _ACCESS[field.access])
          for register in REGISTERS for field in register.fields}


class Registers:
    """The registers of a device as attributes: `registers.control_reset = 1`.

    | argument | meaning |
    |---|---|
    | read(offset) | returns the 32 bits at a byte offset |
    | write(offset, value) | writes them |

    Writing a field keeps the rw fields beside it, triggers no strobe and clears no sticky bit
    beside it. Raises AttributeError for a name that is not in FIELDS or is read-only, ValueError
    for a value that does not fit.
    """

    _read: Callable[[int], int]
    _write: Callable[[int, int], object]

    def __init__(self, read: Callable[[int], int], write: Callable[[int, int], object]):
        self.__dict__.update(_read=read, _write=write)

    def __getattr__(self, name: str) -> int:
        if name not in FIELDS:
            raise AttributeError(f"there is no register or field {name!r}")
        offset, low, bits, _ = FIELDS[name]
        return self._read(offset) >> low & (1 << bits) - 1

    def __setattr__(self, name: str, value: int) -> None:
        if name not in FIELDS:
            raise AttributeError(f"there is no register or field {name!r}")
        offset, low, bits, access = FIELDS[name]
        if "w" not in access:
            raise AttributeError(f"{name} cannot be written")
        if not 0 <= value < 1 << bits:
            raise ValueError(f"{name} must be in 0..{(1 << bits) - 1}, not {value!r}")
        keep = sum((1 << width) - 1 << start for at, start, width, kind in FIELDS.values()
                   if at == offset and kind == "rw" and start != low)
        self._write(offset, (self._read(offset) & keep if keep else 0) | value << low)
