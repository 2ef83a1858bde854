"""Moves LUTs into carry chains (`CCU2C`), and saves the CCU2Cs at the ends of chains.

Half a CCU2C computes

    s = f(a, b, c, d) ^ carry,    carry' = f ? carry : g(a, b),    g(a, b) = f(a, b, 0, 0)

where f is its INIT.

- yosys uses it as f = a ^ b, with a LUT in front where one of the operands is a function. For the
  sum of w and l(p, q, r), f = l(b, c, d) ^ a with a = w does the work of both, if g = w as in every
  carry chain: if l(p, 0, 0) = 0.
- For the sum of k(p, q) and l(r, s), f = k(a, b) ^ l(c, d) does the work of three, if l(0, 0) = 0.
- nextpnr puts a CCU2C before every chain, for its carry in, and one behind it if there is a net at
  its carry out. So a carry out that nobody reads loses its net. If the last half of a chain is
  free, the chain moves on by one half, and the first half makes the carry in: f = 0, g = carry in.
  The carry in of the chain itself then has no effect.
"""

from collections.abc import Iterator
from itertools import permutations, product

from quadfire.rtl.fpga.netlist import Bit, Netlist

__all__ = ["absorb", "absorbed_init", "absorbed_pair_init", "carry_chain", "close_chain"]

#: INIT of a half that adds or subtracts, with d = 1: a ^ b ^ c, generate a.
_ADDER = 0x96AA


def absorbed_init(lut: tuple[int, ...], invert_lut: bool, invert_other: bool) -> int | None:
    """INIT of a half that adds a LUT of (b, c, d) to a. None where its carry would be wrong.

    lut: values of the LUT, in the order of b + 2 c + 4 d. invert_lut, invert_other: whether the LUT
    and the other operand are complemented.
    """
    if any(lut[b] != invert_lut for b in (0, 1)):
        return None
    return sum((lut[index >> 1] ^ invert_lut ^ (index & 1) ^ invert_other) << index
               for index in range(16))


def _live_inputs(netlist: Netlist, lut: str) -> tuple[list[Bit], dict[tuple[int, ...], int]]:
    """Nets on which a LUT4 depends, and its value for every combination of them."""
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
    """Every assignment of a LUT's inputs to (b, c, d), and the values of the LUT then."""
    for order in permutations(range(len(inputs))):
        place = {index: position for position, index in enumerate(order)}
        yield ([inputs[index] for index in order],
               tuple(table[tuple(bcd >> place[index] & 1 for index in range(len(inputs)))]
                     for bcd in range(8)))


def absorbed_pair_init(first: tuple[int, ...], second: tuple[int, ...]) -> int | None:
    """INIT of a half that adds LUTs of (a, b) and (c, d). None where its carry would be wrong.

    first, second: their values, in the order of a + 2 b and of c + 2 d.
    """
    if second[0]:
        return None
    return sum((first[index & 3] ^ second[index >> 2]) << index for index in range(16))


def absorb(netlist: Netlist, carry: str, half: str) -> int:
    """Absorb the LUTs before one half of a CCU2C, if they fit. Returns their number."""
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
        # a subtraction complements the second operand
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
    """The LUT4 that feeds this port and nothing else; "" where there is none."""
    net = netlist.bit(carry, port)
    lut, _ = netlist.driver.get(net, ("", "")) if isinstance(net, int) else ("", "")
    only = lut and netlist.cells[lut]["type"] == "LUT4" and len(netlist.sinks_of(net)) == 1
    return lut if only else ""


def _absorb_pair(netlist: Netlist, carry: str, half: str, luts: dict[str, str]) -> int:
    """Absorb the LUTs before both operands, of two inputs at most. Returns their number."""
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
    """Remove LUTs, and give half a CCU2C their inputs and a new INIT."""
    for lut in luts:
        netlist.remove(lut)
    for port, bit in zip("ABCD", [*inputs, "0", "0"][:4], strict=True):
        netlist.connect(carry, port + half, bit)
    netlist.cells[carry]["parameters"][f"INIT{half}"] = f"{init:016b}"


def carry_chain(netlist: Netlist, first: str) -> list[str]:
    """The CCU2Cs that are linked by their carries, from `first` on."""
    chain = [first]
    while sinks := netlist.sinks_of(netlist.bit(chain[-1], "COUT")):
        (name, port, _), *others = sinks
        if others or port != "CIN":
            break
        chain.append(name)
    return chain


def close_chain(netlist: Netlist, chain: list[str]) -> int:
    """Let a chain with a constant carry in end in itself, and also begin in itself if it can.

    Returns how many CCU2Cs that saves: 0, 1 or 2.
    """
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
    """INIT, inputs and sum output of half a CCU2C."""
    return (int(netlist.cells[carry]["parameters"][f"INIT{half}"], 2),
            [netlist.bit(carry, port + half) for port in "ABCD"], netlist.bit(carry, f"S{half}"))
