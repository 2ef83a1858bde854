"""Moves flip-flops into the registers of block RAMs (`DP16KD`) and multipliers (`MULT18X18D`).

A flip-flop is moved only if it is *plain*: no enable, no reset, the clock of the cell. All
registers start at 0, those of the cells as well.
"""

from collections.abc import Iterable

from quadfire.rtl.fpga.netlist import Bit, Netlist

__all__ = ["pack_memory", "pack_multiplier"]


def _is_plain(netlist: Netlist, name: str, clock: Bit | None) -> bool:
    """Whether a cell is a flip-flop without enable and reset, at `clock` if that is given."""
    cell = netlist.cells.get(name, {})
    if cell.get("type") != "TRELLIS_FF":
        return False
    parameters = cell["parameters"]
    return (parameters.get("CEMUX", "1").strip() == "1"
            and parameters.get("CLKMUX", "CLK").strip() == "CLK"
            and parameters.get("REGSET") == "RESET"
            and netlist.bit(name, "LSR") == "0" and parameters.get("LSRMUX", "LSR") == "LSR"
            and clock in (None, netlist.bit(name, "CLK")))


def _registers_after(netlist: Netlist, bits: Iterable[Bit], clock: Bit | None
                     ) -> dict[Bit, str]:
    """Map bits to the flip-flops after them. Empty unless each used bit feeds just a plain one."""
    registers: dict[Bit, str] = {}
    for bit in bits:
        sinks = netlist.sinks_of(bit)
        if not sinks:
            continue
        (name, port, _), *others = sinks
        if others or port != "DI" or not _is_plain(netlist, name, clock):
            return {}
        registers[bit] = name
        clock = netlist.bit(name, "CLK")
    return registers


def _registers_before(netlist: Netlist, bits: Iterable[Bit], clock: Bit | None
                      ) -> dict[Bit, str]:
    """Map bits to the flip-flops before them. Empty unless all but zeros come from plain ones."""
    registers: dict[Bit, str] = {}
    for bit in bits:
        if bit == "0":
            continue
        name, _ = netlist.driver.get(bit, ("", "")) if isinstance(bit, int) else ("", "")
        if not _is_plain(netlist, name, clock):
            return {}
        registers[bit] = name
        clock = netlist.bit(name, "CLK")
    return registers


def _take_outputs(netlist: Netlist, cell: str, ports: list[str], registers: dict[Bit, str]
                  ) -> int:
    """Remove the flip-flops after a cell; it drives what they drove. Returns their number."""
    for port in ports:
        if (name := registers.get(netlist.bit(cell, port))) is not None:
            after = netlist.bit(name, "Q")
            netlist.remove(name)
            netlist.connect(cell, port, after)
    return len(registers)


def _take_inputs(netlist: Netlist, cell: str, ports: list[str], registers: dict[Bit, str]) -> int:
    """Feed a cell with what feeds the flip-flops before it.

    Removes the flip-flops that nothing reads any more, and returns their number.
    """
    for port in ports:
        if (name := registers.get(netlist.bit(cell, port))) is not None:
            netlist.connect(cell, port, netlist.bit(name, "DI"))
    unused = [name for bit, name in registers.items() if not netlist.sinks_of(bit)]
    for name in unused:
        netlist.remove(name)
    return len(unused)


def _outputs(netlist: Netlist, cell: str, prefix: str, count: int) -> list[str]:
    """Ports PREFIX0, PREFIX1 ... of a cell that are connected."""
    connections = netlist.cells[cell]["connections"]
    return [port for port in (f"{prefix}{index}" for index in range(count)) if port in connections]


def pack_memory(netlist: Netlist, name: str) -> tuple[int, int]:
    """Move flip-flops into the output registers of a block RAM, port by port.

    A block RAM of 36 bits has one read port: both halves together, at clock B. Returns how many
    ports have registers now, and how many flip-flops that took.
    """
    ports_packed = registers_packed = 0
    parameters = netlist.cells[name]["parameters"]
    if int(parameters["DATA_WIDTH_B"], 2) == 36:
        sides = ["AB"]
    elif int(parameters["DATA_WIDTH_A"], 2) == 36:
        return 0, 0
    else:
        sides = ["A", "B"]
    for side in sides:
        clock = netlist.bit(name, f"CLK{side[-1]}")
        ports = [port for half in side for port in _outputs(netlist, name, f"DO{half}", 18)]
        registers = _registers_after(netlist, (netlist.bit(name, port) for port in ports), clock)
        if not registers or any(netlist.bit(name, f"RST{half}") != "0" for half in side):
            continue
        registers_packed += _take_outputs(netlist, name, ports, registers)
        ports_packed += 1
        for half in side:
            parameters[f"REGMODE_{half}"] = "OUTREG"
            netlist.connect(name, f"OCE{half}", "1")
    return ports_packed, registers_packed


def pack_multiplier(netlist: Netlist, name: str) -> int | None:
    """Move flip-flops into a multiplier: up to two after it, one before each operand.

    The two after it become its pipeline and output registers. A flip-flop that others read as well
    stays for them. Returns how many flip-flops were removed, or None where nothing could be moved.
    """
    used, clock, removed = [], None, 0
    outputs = _outputs(netlist, name, "P", 36)
    for stage in ("OUTPUT", "PIPELINE"):
        bits = (netlist.bit(name, port) for port in outputs)
        if not (registers := _registers_after(netlist, bits, clock)):
            break
        clock = netlist.bit(next(iter(registers.values())), "CLK")
        removed += _take_outputs(netlist, name, outputs, registers)
        used.append(stage)
    for operand in "AB":
        ports = [f"{operand}{index}" for index in range(18)]
        bits = (netlist.bit(name, port) for port in ports)
        if registers := _registers_before(netlist, bits, clock):
            clock = netlist.bit(next(iter(registers.values())), "CLK")
            removed += _take_inputs(netlist, name, ports, registers)
            used.append(f"INPUT{operand}")
    if not used or clock is None:
        return None
    parameters = netlist.cells[name]["parameters"]
    parameters.update(GSR="DISABLED", RESETMODE="SYNC")
    for register in used:
        parameters.update({f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": "CE0",
                           f"REG_{register}_RST": "RST0"})
    for port, bit in (("CLK0", clock), ("CE0", "1"), ("RST0", "0")):
        netlist.connect(name, port, bit)
    return removed
