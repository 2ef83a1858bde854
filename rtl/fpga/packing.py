"""What `synth_ecp5` of yosys leaves undone, done on its netlist: nothing of it changes a function.

- The output registers of block RAM (`DP16KD`) and all registers of multipliers (`MULT18X18D`) stay
  empty, with flip-flops beside them. A block RAM then takes 5.8 ns to its output instead of 1 ns.
- The LUT in front of an adder stays outside of the carry chain. Half a `CCU2C` computes

      s = f(a, b, c, d) ^ carry,    carry' = f ? carry : g(a, b),    g(a, b) = f(a, b, 0, 0)

  yosys uses it as f = a ^ b. For a sum of w and l(p, q, r), l a LUT of its own, f = l(b, c, d) ^ a
  with a = w does the work of both where g = w, as in every carry chain: where l(p, 0, 0) = 0. For
  a sum of k(p, q) and l(r, s), f = k(a, b) ^ l(c, d) does that of three, where l(0, 0) = 0.
- nextpnr puts a CCU2C before every carry chain, for its carry in, and one behind it where there is
  a net at its carry out, read or not. So carries that nobody reads lose their net; and where the
  last half of a chain is spare, the chain moves on by one half, and the first, f = 0, g the carry
  in, begins it: its own carry in may then be anything.

A register is moved only where it is plain: no enable, no reset, same clock. Registers start at 0.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import permutations, product

from quadfire.rtl.fpga.netlist import Bit, Netlist

__all__ = ["Packed", "absorbed_init", "absorbed_pair_init", "pack"]

#: INIT of a half that adds or subtracts, d = 1: a ^ b ^ c, generate a.
_ADDER = 0x96AA


@dataclass
class Packed:
    """How many memory ports and multipliers have registers now, how many registers and LUTs went
    into others, how many ends of carry chains take no CCU2C of their own."""

    memory_ports: int = 0
    multipliers: int = 0
    registers: int = 0
    luts: int = 0
    carries: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{count} {name.replace('_', ' ')}"
                         for name, count in asdict(self).items())


def pack(document: dict, top: str) -> Packed:
    """Pack a netlist of `synth_ecp5`, in place."""
    netlist, packed = Netlist(document, top), Packed()
    for memory in netlist.of_type("DP16KD"):
        _pack_memory(netlist, memory, packed)
    for multiplier in netlist.of_type("MULT18X18D"):
        _pack_multiplier(netlist, multiplier, packed)
    for carry in netlist.of_type("CCU2C"):
        packed.luts += sum(_absorb(netlist, carry, half) for half in "01")
    for carry in netlist.of_type("CCU2C"):
        if netlist.bit(carry, "CIN") in ("0", "1"):
            packed.carries += _close(netlist, _chain(netlist, carry))
    return packed


# Registers --------------------------------------------------------------------------------------

def _is_plain(netlist: Netlist, name: str, clock: Bit | None) -> bool:
    """Whether a cell is a flip-flop without enable and reset (of that clock, where given)."""
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
    """Bit -> flip-flop, if all bits that are used go to one plain flip-flop each, or else {}."""
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
    """Bit -> flip-flop, if all bits but zeros come from plain flip-flops, or else {}."""
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
    """Let a cell drive what the flip-flops after it drove."""
    for port in ports:
        if (name := registers.get(netlist.bit(cell, port))) is not None:
            after = netlist.bit(name, "Q")
            netlist.remove(name)
            netlist.connect(cell, port, after)
    return len(registers)


def _take_inputs(netlist: Netlist, cell: str, ports: list[str], registers: dict[Bit, str]) -> int:
    """Feed a cell with what feeds the flip-flops before it; those without use go."""
    for port in ports:
        if (name := registers.get(netlist.bit(cell, port))) is not None:
            netlist.connect(cell, port, netlist.bit(name, "DI"))
    unused = [name for bit, name in registers.items() if not netlist.sinks_of(bit)]
    for name in unused:
        netlist.remove(name)
    return len(unused)


def _outputs(netlist: Netlist, cell: str, prefix: str, count: int) -> list[str]:
    connections = netlist.cells[cell]["connections"]
    return [port for port in (f"{prefix}{index}" for index in range(count)) if port in connections]


def _pack_memory(netlist: Netlist, name: str, packed: Packed) -> None:
    """OUTREG for every port of a block RAM; 36 bits wide, both halves are one port (of clock B)."""
    parameters = netlist.cells[name]["parameters"]
    if int(parameters["DATA_WIDTH_B"], 2) == 36:
        sides = ["AB"]
    elif int(parameters["DATA_WIDTH_A"], 2) == 36:
        return
    else:
        sides = ["A", "B"]
    for side in sides:
        clock = netlist.bit(name, f"CLK{side[-1]}")
        ports = [port for half in side for port in _outputs(netlist, name, f"DO{half}", 18)]
        registers = _registers_after(netlist, (netlist.bit(name, port) for port in ports), clock)
        if not registers or any(netlist.bit(name, f"RST{half}") != "0" for half in side):
            continue
        packed.registers += _take_outputs(netlist, name, ports, registers)
        packed.memory_ports += 1
        for half in side:
            parameters[f"REGMODE_{half}"] = "OUTREG"
            netlist.connect(name, f"OCE{half}", "1")


def _pack_multiplier(netlist: Netlist, name: str, packed: Packed) -> None:
    """Registers of a multiplier: two after it (pipeline, output) or one, one before each operand.

    A flip-flop that others read too stays for them.
    """
    used, clock = [], None
    outputs = _outputs(netlist, name, "P", 36)
    for stage in ("OUTPUT", "PIPELINE"):
        bits = (netlist.bit(name, port) for port in outputs)
        if not (registers := _registers_after(netlist, bits, clock)):
            break
        clock = netlist.bit(next(iter(registers.values())), "CLK")
        packed.registers += _take_outputs(netlist, name, outputs, registers)
        used.append(stage)
    for operand in "AB":
        ports = [f"{operand}{index}" for index in range(18)]
        bits = (netlist.bit(name, port) for port in ports)
        if registers := _registers_before(netlist, bits, clock):
            clock = netlist.bit(next(iter(registers.values())), "CLK")
            packed.registers += _take_inputs(netlist, name, ports, registers)
            used.append(f"INPUT{operand}")
    if not used or clock is None:
        return
    packed.multipliers += 1
    parameters = netlist.cells[name]["parameters"]
    parameters.update(GSR="DISABLED", RESETMODE="SYNC")
    for register in used:
        parameters.update({f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": "CE0",
                           f"REG_{register}_RST": "RST0"})
    for port, bit in (("CLK0", clock), ("CE0", "1"), ("RST0", "0")):
        netlist.connect(name, port, bit)


# Carry chains -----------------------------------------------------------------------------------

def absorbed_init(lut: tuple[int, ...], invert_lut: bool, invert_other: bool) -> int | None:
    """INIT of a half that adds a LUT of (b, c, d) to a, or None where it would break the carry.

    lut: its values, of b + 2 c + 4 d. invert_lut, invert_other: which operand is complemented.
    """
    if any(lut[b] != invert_lut for b in (0, 1)):
        return None
    return sum((lut[index >> 1] ^ invert_lut ^ (index & 1) ^ invert_other) << index
               for index in range(16))


def _live_inputs(netlist: Netlist, lut: str) -> tuple[list[Bit], dict[tuple[int, ...], int]]:
    """The nets that a LUT4 depends on, and its value for every combination of them."""
    init = int(netlist.cells[lut]["parameters"]["INIT"], 2)
    pins = [netlist.bit(lut, port) for port in "ABCD"]
    nets: list[Bit] = list(dict.fromkeys(bit for bit in pins if isinstance(bit, int)))

    def value(values: tuple[int, ...]) -> int:
        known = dict(zip(nets, values, strict=True))
        return init >> sum((known[bit] if bit in known else int(bit == "1")) << index
                           for index, bit in enumerate(pins)) & 1

    table = {values: value(values) for values in product((0, 1), repeat=len(nets))}
    live = [index for index in range(len(nets))
            if any(table[v] != table[(*v[:index], 1 - v[index], *v[index + 1:])] for v in table)]
    return ([nets[index] for index in live],
            {tuple(v[index] for index in live): bit for v, bit in table.items()})


def _orders(inputs: list[Bit], table: dict[tuple[int, ...], int]
            ) -> Iterator[tuple[list[Bit], tuple[int, ...]]]:
    """Every way of bringing a LUT's inputs to (b, c, d), and the LUT then."""
    for order in permutations(range(len(inputs))):
        place = {index: position for position, index in enumerate(order)}
        yield ([inputs[index] for index in order],
               tuple(table[tuple(bcd >> place[index] & 1 for index in range(len(inputs)))]
                     for bcd in range(8)))


def absorbed_pair_init(first: tuple[int, ...], second: tuple[int, ...]) -> int | None:
    """INIT of a half that adds a LUT of (a, b) to one of (c, d), or None as above.

    first, second: their values, of a + 2 b and c + 2 d.
    """
    if second[0]:
        return None
    return sum((first[index & 3] ^ second[index >> 2]) << index for index in range(16))


def _absorb(netlist: Netlist, carry: str, half: str) -> int:
    """Take LUTs before one half of a CCU2C into it, if they fit; how many."""
    parameters = netlist.cells[carry]["parameters"]
    inverted = netlist.bit(carry, f"C{half}")
    if (int(parameters[f"INIT{half}"], 2) != _ADDER or parameters[f"INJECT1_{half}"] != "NO"
            or inverted not in ("0", "1") or netlist.bit(carry, f"D{half}") != "1"):
        return 0
    luts = {operand: _lut_before(netlist, carry, operand + half) for operand in "AB"}
    if inverted == "0" and (taken := _absorb_pair(netlist, carry, half, luts)):
        return taken
    for operand, other in ("AB", "BA"):
        lut = luts[operand]
        if not lut:
            continue
        inputs, table = _live_inputs(netlist, lut)
        if not 1 <= len(inputs) <= 3:
            continue
        # the second operand is the one that a subtraction complements
        complement = inverted == "1"
        for order, values in _orders(inputs, table):
            init = absorbed_init(values, complement and operand == "B",
                                 complement and other == "B")
            if init is not None:
                _replace(netlist, carry, half, [lut], [netlist.bit(carry, other + half), *order],
                         init)
                return 1
    return 0


def _lut_before(netlist: Netlist, carry: str, port: str) -> str:
    """The LUT4 that feeds a port and nothing else, or ""."""
    net = netlist.bit(carry, port)
    lut, _ = netlist.driver.get(net, ("", "")) if isinstance(net, int) else ("", "")
    only = lut and netlist.cells[lut]["type"] == "LUT4" and len(netlist.sinks_of(net)) == 1
    return lut if only else ""


def _absorb_pair(netlist: Netlist, carry: str, half: str, luts: dict[str, str]) -> int:
    """Take the LUTs before both operands into it, those of two inputs at most; how many."""
    nets, values = [], []
    for operand, lut in luts.items():
        inputs = [netlist.bit(carry, operand + half)]
        table: dict[tuple[int, ...], int] = {(0,): 0, (1,): 1}
        if lut:
            inputs, table = _live_inputs(netlist, lut)
        if not 1 <= len(inputs) <= 2:
            return 0
        nets.append([*inputs, "0"][:2])
        values.append(tuple(table[tuple(ab >> place & 1 for place in range(len(inputs)))]
                            for ab in range(4)))
    taken = [lut for lut in luts.values() if lut]
    for first, second in ((0, 1), (1, 0)):
        init = absorbed_pair_init(values[first], values[second])
        if taken and init is not None:
            _replace(netlist, carry, half, taken, nets[first] + nets[second], init)
            break
    else:
        return 0
    return len(taken)


def _replace(netlist: Netlist, carry: str, half: str, luts: list[str], inputs: list[Bit],
             init: int) -> None:
    for lut in luts:
        netlist.remove(lut)
    for port, bit in zip("ABCD", [*inputs, "0", "0"][:4], strict=True):
        netlist.connect(carry, port + half, bit)
    netlist.cells[carry]["parameters"][f"INIT{half}"] = f"{init:016b}"


def _chain(netlist: Netlist, first: str) -> list[str]:
    """The CCU2C whose carries follow one from the other."""
    chain = [first]
    while sinks := netlist.sinks_of(netlist.bit(chain[-1], "COUT")):
        (name, port, _), *others = sinks
        if others or port != "CIN":
            break
        chain.append(name)
    return chain


def _close(netlist: Netlist, chain: list[str]) -> int:
    """Let a chain whose carry in is constant end, and begin, in itself; which of both, counted."""
    last = chain[-1]
    if netlist.sinks_of(netlist.bit(last, "COUT")):
        return 0
    netlist.connect(last, "COUT", "x")
    halves = [(carry, half) for carry in chain for half in "01"]
    plain = all(netlist.cells[carry]["parameters"][f"INJECT1_{half}"] == "NO"
                for carry, half in halves)
    if netlist.sinks_of(netlist.bit(last, "S1")) or not plain:
        return 1
    carry_in = netlist.bit(chain[0], "CIN")
    netlist.connect(chain[0], "CIN", "x")
    contents = [(0x000F if carry_in == "1" else 0, ["0", "0", "0", "1"], "x"),
                *(_half(netlist, carry, half) for carry, half in halves[:-1])]
    for (carry, half), (init, inputs, sum_) in zip(halves, contents, strict=True):
        netlist.cells[carry]["parameters"][f"INIT{half}"] = f"{init:016b}"
        for port, bit in zip("ABCD", inputs, strict=True):
            netlist.connect(carry, port + half, bit)
        netlist.cells[carry]["port_directions"][f"S{half}"] = "output"
        netlist.connect(carry, f"S{half}", sum_)
    return 2


def _half(netlist: Netlist, carry: str, half: str) -> tuple[int, list[Bit], Bit]:
    """INIT, inputs and sum of half a CCU2C."""
    return (int(netlist.cells[carry]["parameters"][f"INIT{half}"], 2),
            [netlist.bit(carry, port + half) for port in "ABCD"], netlist.bit(carry, f"S{half}"))
