"""Floorplan: sites of the block RAMs and multipliers of an array. The placer does the rest.

Block RAM is what a placer can move least: it lies in a few rows across the chip, and an array may
need nearly all of it. The placer looks at the length of wires alone. If it puts one block RAM in
the wrong place, all logic around it is torn apart. The array is a chain of groups, and a group is a
chain of cells. Block RAM that is laid out along these chains keeps every wire short.

On an ECP5, rows of block RAM are taken in pairs:

    pair 0   core | group 0 -> group 1 -> group 2 ->
    pair 1   core | group 5 <- group 4 <- group 3 <-

Groups stand side by side along a pair, to the right along the first pair, to the left along the
next one, and so on. Each group is a loop: it goes along one row of its pair and comes back in the
other. So its neurons, at the end of its chain, stand where it began; their multiplier stands next
to them. The core's block RAM stands at the left, beside the first group and the last.

On an iCE40, the accumulators are in block RAM, and a sum has half a cycle from there through its
adder and back. The block RAMs of a bank stand one above the other in a column, with the logic of
the bank around them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["GRIDS", "UP5K", "Column", "Grid", "accumulators", "floorplan"]


@dataclass(frozen=True)
class Grid:
    """Sites of block RAM and multipliers of an ECP5, in tiles.

    | attribute | meaning |
    |---|---|
    | ys | rows of block RAM |
    | xs | columns in which a block of four begins, in rows of either kind |
    | multiplier_ys | rows of multipliers |
    """

    ys: tuple[int, ...]
    xs: tuple[int, ...]
    multiplier_ys: tuple[int, ...]

    @property
    def columns(self) -> int:
        """Number of block RAMs in a row."""
        return 4 * len(self.xs)

    def site(self, row: int, column: int) -> str:
        """nextpnr's name of a site of block RAM."""
        tile, number = divmod(column, 4)
        return f"X{self.xs[tile] + 2 * number}/Y{self.ys[row]}/EBR{number}"

    def multiplier_site(self, row: int, column: int) -> str:
        """nextpnr's name of a site of a multiplier."""
        tile, number = divmod(column, 4)
        number += number // 2 * 2       # 0, 1, 4, 5
        return f"X{self.xs[tile] + number}/Y{self.multiplier_ys[row]}/MULT18_{number}"


@dataclass(frozen=True)
class Column:
    """A column of block RAM of an iCE40 at `x`; accumulators may take the sites at `ys`."""

    x: int
    ys: tuple[int, ...]

    def site(self, row: int) -> str:
        """nextpnr's name of a site of block RAM."""
        return f"X{self.x}/Y{self.ys[row]}/ram"


#: ECP5 devices, by the option of nextpnr that chooses them.
GRIDS = {
    "25k": Grid((25, 37), (*range(4, 31, 9), *range(33, 69, 9)), (13,)),
    "85k": Grid((22, 46, 70, 82), (*range(4, 67, 9), *range(69, 123, 9)), (10, 34, 58)),
}

#: The upper 12 sites in the left of the two columns of an iCE40 UP5K: two banks of eight lanes.
UP5K = Column(6, tuple(range(7, 31, 2)))

#: Name of a group's block RAM. `of` is its module; `step` is the place of that in the chain.
_GROUP = re.compile(r"\barray\.group_(?P<group>\d+)\.(?P<of>[a-z]+)_(?P<step>\d+|stage)\.")

#: Name of a block RAM of accumulators: group, bank, and which of the bank's it is.
_SLOTS = re.compile(r"\barray\.group_(\d+)\.cell_(\d+)\.slot_mem\.\d+\.(\d+)$")

#: Modules of the core with block RAM, in the order of layout; any others come before them. The
#: scanner adds up words of all its six block RAMs in a cycle, so they must stand in one row.
_CORE = ("scanner", "counters", "receiver", "spike_memory", "tap_words")


def _core_order(name: str) -> tuple[int, str]:
    """Sort key: place of the block RAM's module in `_CORE`, then its name."""
    found = [place for place, module in enumerate(_CORE) if f"core.{module}." in name]
    return found[0] if found else -1, name


def _chains(names: list[str]) -> tuple[list[list[str]], list[str]]:
    """Split block RAMs into those of each group and those of the core.

    Groups come in the order of their numbers, their block RAMs in the order of the chain, those of
    the core in the order of `_CORE`.
    """
    groups: dict[int, list[tuple]] = {}
    core = []
    for name in sorted(names):
        found = _GROUP.search(name)
        if found is None:
            core.append(name)
            continue
        # parameters and state memory belong to the neurons, at the end of the chain
        step = 1 << 16 if found["step"] == "stage" else int(found["step"])
        groups.setdefault(int(found["group"]), []).append((step, found["of"], name))
    return ([[name for *_, name in sorted(groups[group])] for group in sorted(groups)],
            sorted(core, key=_core_order))


def _nearest(grid: Grid, row: int, column: int, taken: set[str]) -> str:
    """The free multiplier site that is nearest to a column in a pair of rows of block RAM."""
    middle = (grid.ys[row] + grid.ys[row ^ 1]) / 2
    rows = sorted(range(len(grid.multiplier_ys)),
                  key=lambda place: abs(grid.multiplier_ys[place] - middle))
    sites = (grid.multiplier_site(place, near) for place in rows
             for near in sorted(range(grid.columns), key=lambda near: abs(near - column)))
    return next(site for site in sites if site not in taken)


@dataclass(frozen=True)
class _Layout:
    """How the groups lie on a `Grid`, in columns of block RAM.

    | attribute | meaning |
    |---|---|
    | begins | per pair of rows, the row in which its groups begin; the other row is `row ^ 1` |
    | across | groups side by side |
    | ahead, back | block RAMs of the longest group in the row where it begins, in the other row |
    | pitch, back_pitch | columns from group to group in either row |
    | margin, back_margin | columns that are left to the core in either row |
    """

    begins: tuple[int, ...]
    across: int
    ahead: int
    back: int
    pitch: int
    back_pitch: int
    margin: int
    back_margin: int

    @classmethod
    def of(cls, grid: Grid, groups: int, longest: int, core: int) -> "_Layout | None":
        """The layout of so many groups of so many block RAMs; None where they do not fit."""
        pairs = len(grid.ys) // 2
        across = -(-groups // pairs)
        ahead, back = longest // 2, -(-longest // 2)
        # Groups begin in the inner rows of the device, so that groups above each other are near.
        # The core stands between the first and the last, and takes outer rows only if it must.
        begins = tuple(2 * pair + (1 - pair % 2) for pair in range(pairs))
        margin = -(-core // pairs)
        back_margin = 0
        if margin > grid.columns - across * ahead:
            margin = back_margin = -(-core // len(grid.ys))
        pitch = (grid.columns - margin) // across
        back_pitch = max(back, min(pitch, (grid.columns - back_margin) // across))
        if pitch < ahead or back_pitch * across + back_margin > grid.columns:
            return None
        return cls(begins, across, ahead, back, pitch, back_pitch, margin, back_margin)

    def group(self, grid: Grid, index: int) -> list[tuple[int, int]]:
        """(row, column) of the sites of a group, along its chain."""
        pair, place = divmod(index, self.across)
        from_right = place + 1 if pair % 2 else self.across - place
        row = self.begins[pair]
        return [
            *((row, grid.columns - self.pitch * from_right + column)
              for column in range(self.ahead)),
            *((row ^ 1, grid.columns - self.back_pitch * from_right + column)
              for column in reversed(range(self.back)))]

    def core(self) -> list[tuple[int, int]]:
        """(row, column) of the sites that are left to the core."""
        return [*((row, column) for row in self.begins for column in range(self.margin)),
                *((row ^ 1, column) for row in self.begins for column in range(self.back_margin))]


def floorplan(names: list[str], grid: Grid, multipliers: Iterable[str] = ()) -> dict[str, str]:
    """Map each block RAM, and each multiplier of a group, to its site.

    names, multipliers: of the `DP16KD` and `MULT18X18D` cells in a flat netlist. Empty where there
    are no groups, or where they do not fit side by side.
    """
    chains, core = _chains(names)
    if not chains:
        return {}
    layout = _Layout.of(grid, len(chains), max(map(len, chains)), len(core))
    if layout is None:
        return {}
    sites: dict[str, str] = {}
    for index, chain in enumerate(chains):
        places = layout.group(grid, index)
        for name, place in zip(chain, places, strict=False):
            sites[name] = grid.site(*place)
        for name in multipliers:
            if f".group_{index}." in name:
                sites[name] = _nearest(grid, *places[0], set(sites.values()))
    return sites | {name: grid.site(*place)
                    for name, place in zip(core, layout.core(), strict=False)}


def accumulators(names: Iterable[str], column: Column) -> dict[str, str]:
    """Map each block RAM of accumulators to its site, bank by bank. Empty where they do not fit.

    names: of the `SB_RAM40_4K` cells in a flat netlist.
    """
    found = sorted((*map(int, part.groups()), name) for name in names
                   if (part := _SLOTS.search(name)))
    if len(found) > len(column.ys):
        return {}
    return {name: column.site(row) for row, (*_, name) in enumerate(found)}
