"""Floorplan: each cell has a site of its own, and groups lie along their chain."""

import re

import pytest

from quadfire.rtl.fpga.floorplan import GRIDS, UP5K, accumulators, floorplan

pytestmark = pytest.mark.fast

CORE = [f"dut.core.scanner.source_mem_{word}.0.0" for word in range(6)]
MANY = [f"dut.core.spike_memory.spike_mem_{part}.0.0" for part in range(42)]


def array(groups: int, banks: int, each: int, lines: int) -> list[str]:
    """Names of block RAM: `each` per bank, `lines` per line buffer, one of parameters per group."""
    names = []
    for group in range(groups):
        at = f"dut.core.array.group_{group}."
        names += [f"{at}cell_{bank}.weight_memory.weight_mem.0.{part}"
                  for bank in range(banks) for part in range(each)]
        names += [f"{at}line_{bank}.line_mem.0.{part}" for bank in (2, 5) for part in range(lines)]
        names.append(f"{at}parameter_stage.parameter_mem.0.0")
    return names


def place(site: str) -> tuple[int, int]:
    found = re.fullmatch(r"X(\d+)/Y(\d+)/EBR\d", site)
    assert found, site
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("size, names", [
    ("85k", CORE + array(8, 9, 2, 2)), ("85k", CORE + array(8, 9, 1, 4)),
    ("85k", MANY + array(8, 9, 1, 4)),
    ("85k", array(2, 16, 2, 0)), ("25k", CORE + array(2, 9, 1, 1)), ("25k", array(1, 4, 1, 0))])
def test_every_memory_has_a_site_and_neighbours_are_near(size, names):
    grid, sites = GRIDS[size], floorplan(names, GRIDS[size])
    assert set(sites) == set(names)
    assert len(set(sites.values())) == len(names)
    assert set(sites.values()) <= {grid.site(row, column) for row in range(len(grid.ys))
                                   for column in range(grid.columns)}
    rows = max(b - a for a, b in zip(grid.ys, grid.ys[1:], strict=False))
    width = max(grid.xs) + 9
    for group in range(20):
        if f"dut.core.array.group_{group}.cell_0.weight_memory.weight_mem.0.0" not in names:
            break
        chain = [place(sites[name]) for name in names
                 if re.search(rf"group_{group}\.cell_\d+\.weight_memory\.weight_mem\.0\.0", name)]
        for (x, y), (other_x, other_y) in zip(chain, chain[1:], strict=False):
            assert abs(x - other_x) <= width / 4 and abs(y - other_y) <= rows
        # the chain comes back to where the group's parameters are
        x, y = place(sites[f"dut.core.array.group_{group}.parameter_stage.parameter_mem.0.0"])
        assert abs(chain[0][0] - x) <= 10 and abs(chain[-1][0] - x) <= width / 2


@pytest.mark.parametrize("size, groups, each", [("85k", 8, 1), ("25k", 2, 1), ("85k", 2, 9)])
def test_multipliers_stand_where_the_neurons_do(size, groups, each):
    memories = CORE + array(groups, 4, 1, 1)
    names = [f"dut.core.array.group_{group}.neuron_stage.product_{number}"
             for group in range(groups) for number in range(each)]
    sites = floorplan(memories, GRIDS[size], names)
    assert set(sites) == {*memories, *names} and len(set(sites.values())) == len(sites)
    for group in range(groups):
        x, y = place(sites[f"dut.core.array.group_{group}.parameter_stage.parameter_mem.0.0"])
        for number in range(each):
            site = sites[f"dut.core.array.group_{group}.neuron_stage.product_{number}"]
            found = re.fullmatch(r"X(\d+)/Y(\d+)/MULT18_[0145]", site)
            assert found, site
            assert abs(int(found[1]) - x) <= 9 * each and abs(int(found[2]) - y) <= 24


def test_groups_come_back_to_where_they_began():
    sites = floorplan(CORE + array(8, 9, 2, 2), GRIDS["85k"])
    starts = [place(sites[f"dut.core.array.group_{group}.cell_0.weight_memory.weight_mem.0.0"])
              for group in range(8)]
    assert [x for x, _ in starts[:4]] == sorted(x for x, _ in starts[:4])
    assert [x for x, _ in starts[4:]] == [x for x, _ in reversed(starts[:4])]
    assert {y for _, y in starts[:4]} == {46} and {y for _, y in starts[4:]} == {70}


@pytest.mark.parametrize("size, names", [
    ("25k", array(4, 9, 2, 2)),     # too wide
    ("85k", CORE), ("85k", [])])
def test_what_is_no_array_or_does_not_fit_is_left_to_the_placer(size, names):
    assert floorplan(names, GRIDS[size]) == {}


@pytest.mark.parametrize("top", ["core.core", "dut"])
def test_accumulators_of_a_bank_stand_one_above_the_other(top):
    bank = [[f"{top}.array.group_0.cell_{cell}.slot_mem.0.{part}" for part in range(6)]
            for cell in range(2)]
    others = [f"{top}.array.group_0.tap_stage.tap_mem.0.{part}" for part in range(2)]
    sites = accumulators([*others, *reversed(bank[0] + bank[1])], UP5K)
    assert set(sites) == {*bank[0], *bank[1]}
    rows = []
    for name in bank[0] + bank[1]:
        found = re.fullmatch(r"X6/Y(\d+)/ram", sites[name])
        assert found, sites[name]
        rows.append(int(found[1]))
    # block RAM is two tiles high, in odd rows of 1 to 29
    assert rows == [*range(rows[0], rows[0] + 24, 2)] and rows[0] % 2 and 1 <= rows[0] <= 7


def test_accumulators_come_in_the_order_of_numbers_and_only_if_all_fit():
    names = [f"dut.array.group_{group}.cell_0.slot_mem.0.0" for group in range(len(UP5K.ys))]
    sites = accumulators(sorted(names), UP5K)
    assert [sites[name] for name in names] == [UP5K.site(row) for row in range(len(UP5K.ys))]
    assert accumulators([*names, "dut.array.group_0.cell_1.slot_mem.0.0"], UP5K) == {}
    assert accumulators(["dut.slot_mem.0.0"], UP5K) == {}       # a cell on its own
