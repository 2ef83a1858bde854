"""Floorplan: where block RAM and multipliers of an array stand.

Of all that a placer has to place, block RAM is the rarest and the least movable: rows of it cross
the chip, an array may need nearly all, and where the placer, which looks at the length of wires
alone, puts one of them amiss, all logic around it is torn apart. The array is a chain, and so are
its groups: laid out along that chain, block RAM gives the placer a frame in which every wire is
short. All else is the placer's.

The rows of block RAM are taken in pairs. The groups stand side by side along a pair of rows, from
left to right, and back along the next pair. Every group begins at its left in one row of the pair,
goes to its right, and comes back in the other, so that its neurons stand where it began, and their
multiplier next to them. At the left, beside the first group and the last, is the block RAM of the
core, a module's side by side.

That is an ECP5. On an iCE40 the accumulators are in block RAM, and a sum has half a cycle from
there through its adder and back: those of a bank stand one above the other in a column, in the
middle of the bank's logic. All else is the placer's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["GRIDS", "UP5K", "Column", "Grid", "accumulators", "floorplan"]


@dataclass(frozen=True)
class Grid:
    """Block RAM and multipliers of an ECP5: rows of either at `ys` and `multiplier_ys`, and in a
    row four from every column of `xs` on."""

    ys: tuple[int, ...]
    xs: tuple[int, ...]
    multiplier_ys: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Block RAMs of a row."""
        return 4 * len(self.xs)

    def site(self, row: int, column: int) -> str:
        """Name of a site, as nextpnr knows it."""
        tile, number = divmod(column, 4)
        return f"X{self.xs[tile] + 2 * number}/Y{self.ys[row]}/EBR{number}"

    def multiplier_site(self, row: int, column: int) -> str:
        """The same of a multiplier."""
        tile, number = divmod(column, 4)
        number += number // 2 * 2       # 0, 1, 4, 5
        return f"X{self.xs[tile] + number}/Y{self.multiplier_ys[row]}/MULT18_{number}"


@dataclass(frozen=True)
class Column:
    """A column of an iCE40: block RAM at `x`, and at `ys` what accumulators may take."""

    x: int
    ys: tuple[int, ...]

    def site(self, row: int) -> str:
        """Name of a site, as nextpnr knows it."""
        return f"X{self.x}/Y{self.ys[row]}/ram"


#: Of an ECP5, by the option of nextpnr that chooses the device.
GRIDS = {
    "25k": Grid((25, 37), (*range(4, 31, 9), *range(33, 69, 9)), (13,)),
    "85k": Grid((22, 46, 70, 82), (*range(4, 67, 9), *range(69, 123, 9)), (10, 34, 58)),
}

#: Of the two columns of an iCE40 UP5K the left one, its upper 12: two banks of eight lanes.
UP5K = Column(6, tuple(range(7, 31, 2)))

#: Where in the netlist a block RAM stands; `step` after `of` is the order along the chain.
_GROUP = re.compile(r"\barray\.group_(?P<group>\d+)\.(?P<of>[a-z]+)_(?P<step>\d+|stage)\.")

#: Block RAM of accumulators, and which part of a bank's it is.
_SLOTS = re.compile(r"\barray\.group_(\d+)\.cell_(\d+)\.slot_mem\.\d+\.(\d+)$")

#: Modules of the core with block RAM, in the order in which it is laid out. The scanner's six hold
#: what it adds up within a cycle: in two rows, they tear it apart. Other modules come first.
_CORE = ("scanner", "counters", "receiver", "spike_memory", "tap_words")


def _core_order(name: str) -> tuple[int, str]:
    """Place of a block RAM of the core in that order."""
    found = [place for place, module in enumerate(_CORE) if f"core.{module}." in name]
    return found[0] if found else -1, name


def _chains(names: list[str]) -> tuple[list[list[str]], list[str]]:
    """Block RAMs of every group in the order of its chain, and those of no group in that of
    `_CORE`."""
    groups: dict[int, list[tuple]] = {}
    core = []
    for name in sorted(names):
        found = _GROUP.search(name)
        if found is None:
            core.append(name)
            continue
        # parameters and states serve the neurons, where the chain ends
        step = 1 << 16 if found["step"] == "stage" else int(found["step"])
        groups.setdefault(int(found["group"]), []).append((step, found["of"], name))
    return ([[name for *_, name in sorted(groups[group])] for group in sorted(groups)],
            sorted(core, key=_core_order))


def _nearest(grid: Grid, row: int, column: int, taken: set[str]) -> str:
    """The free site of a multiplier next to a column of a pair of rows of block RAM."""
    middle = (grid.ys[row] + grid.ys[row ^ 1]) / 2
    rows = sorted(range(len(grid.multiplier_ys)),
                  key=lambda place: abs(grid.multiplier_ys[place] - middle))
    sites = (grid.multiplier_site(place, near) for place in rows
             for near in sorted(range(grid.columns), key=lambda near: abs(near - column)))
    return next(site for site in sites if site not in taken)


def floorplan(names: list[str], grid: Grid, multipliers: Iterable[str] = ()) -> dict[str, str]:
    """Site of every block RAM and of the groups' multipliers; none where the groups do not fit side
    by side.

    names, multipliers: of the `DP16KD` and the `MULT18X18D` of a flat netlist.
    """
    chains, core = _chains(names)
    if not chains:
        return {}
    pairs = len(grid.ys) // 2
    across = -(-len(chains) // pairs)           # groups side by side
    longest = max(map(len, chains))
    there, back = longest // 2, -(-longest // 2)        # block RAMs of a group in its two rows

    # The rows in which groups begin are the inner ones of the device: groups above each other are
    # near, and the core stands between the first and the last, in the outer rows only if it must.
    begins = [2 * pair + (1 - pair % 2) for pair in range(pairs)]
    margin = -(-len(core) // pairs)
    outer_margin = 0
    if margin > grid.columns - across * there:
        margin = outer_margin = -(-len(core) // len(grid.ys))
    pitch = (grid.columns - margin) // across
    outer_pitch = max(back, min(pitch, (grid.columns - outer_margin) // across))
    if pitch < there or outer_pitch * across + outer_margin > grid.columns:
        return {}

    sites: dict[str, str] = {}
    for index, chain in enumerate(chains):
        pair, place = divmod(index, across)
        from_right = place + 1 if pair % 2 else across - place
        row = begins[pair]
        there_sites = [(row, grid.columns - pitch * from_right + column)
                       for column in range(there)]
        back_sites = [(row ^ 1, grid.columns - outer_pitch * from_right + column)
                      for column in reversed(range(back))]
        for name, site in zip(chain, there_sites + back_sites, strict=False):
            sites[name] = grid.site(*site)
        for name in multipliers:
            if f".group_{index}." in name:
                sites[name] = _nearest(grid, *there_sites[0], set(sites.values()))
    free = [(row, column) for row in begins for column in range(margin)]
    free += [(row ^ 1, column) for row in begins for column in range(outer_margin)]
    return sites | {name: grid.site(*site) for name, site in zip(core, free, strict=False)}


def accumulators(names: Iterable[str], column: Column) -> dict[str, str]:
    """Site of every block RAM of accumulators, bank by bank; none where they do not all fit.

    names: of the `SB_RAM40_4K` of a flat netlist.
    """
    found = sorted((*map(int, part.groups()), name) for name in names
                   if (part := _SLOTS.search(name)))
    if len(found) > len(column.ys):
        return {}
    return {name: column.site(row) for row, (*_, name) in enumerate(found)}
