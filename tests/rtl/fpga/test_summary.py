"""Figures against a baseline, and the names that `quadfire bench` takes."""

import subprocess
import sys
from pkgutil import resolve_name

import pytest
from amaranth.lib.wiring import Component

from quadfire import paths
from quadfire.paths import CHECKOUT
from quadfire.rtl.contract.config import PRESETS, preset
from quadfire.rtl.fpga.blocks import BLOCKS, harnessed
from quadfire.rtl.fpga.devices import DEVICES, PLAN
from quadfire.rtl.fpga.measure import Job, Row, measure
from quadfire.rtl.fpga.summary import AREA, CYCLES, baseline_path, compare, markdown, merge, unknown
from quadfire.sim.cycles.regression import changed

ROW = Row("tiny", "ecp5-25f", "core", 8, 100.0, 95.0, 105.0, 1000, 500, 4, 1, 5).as_dict()


def test_rows_have_the_keys_that_programs_expect():
    assert list(ROW) == ["preset", "device", "block", "lanes", "fmax_mhz_median", "fmax_mhz_min",
                         "fmax_mhz_max", "lut4", "ff", "bram", "dsp", "placements"]


@pytest.mark.parametrize("changes, outside", [
    ({"lut4": 1100}, 0), ({"lut4": 1101}, 1), ({"fmax_mhz_median": 95.0}, 0),
    ({"fmax_mhz_median": 94.9}, 1), ({"fmax_mhz_median": None}, 1), ({"dsp": 2, "ff": 200}, 2)])
def test_figures_outside_of_their_tolerance(changes, outside):
    moved, found = compare([ROW | changes], [ROW])
    assert len(moved) == len(changes) and len(found) == outside
    assert compare([ROW], [ROW]) == ([], [])
    other = ROW | changes | {"block": "x"}
    assert compare([other], [ROW]) == ([], [])
    assert unknown([ROW, other], [ROW], AREA) == ["tiny ecp5-25f x: not in the baseline"]


@pytest.mark.parametrize("clock, outside", [(75.0, 0), (74.9, 1)])
def test_the_clock_of_one_placement_may_differ_more(clock, outside):
    row = ROW | {"fmax_mhz_median": clock, "placements": 1}
    assert len(compare([row], [ROW])[1]) == outside


def test_cycles_may_not_differ():
    row = {"network": "net", "preset": "small", "images": 10, "busy": 100}
    assert changed([row], [row]) == changed([row], []) == unknown([row], [row], CYCLES) == []
    assert unknown([row], [], CYCLES) == ["net small: not in the baseline"]
    assert changed([row | {"busy": 101}], [row]) == ["net on small: busy 100 -> 101"]


def test_a_new_row_takes_the_place_of_the_old():
    other = ROW | {"block": "cell"}
    assert merge([ROW, other], [ROW | {"ff": 1}]) == [ROW | {"ff": 1}, other]
    assert "| tiny | ecp5-25f | core | 8 |  |" in markdown([ROW | {"fmax_mhz_median": None}], [])


def test_the_plan_names_what_there_is():
    assert set(PLAN) == set(DEVICES)
    assert {name for names in PLAN.values() for name in names} <= set(PRESETS)


def test_a_harness_connects_every_port():
    block = harnessed(preset("tiny"), "sender")
    assert block.registers == block.inputs + 2 * block.outputs > 64
    assert "module harness" in block.text and ".clk(clk)" in block.text


@pytest.mark.parametrize("job, message", [
    (Job("tiny", "ecp5-25f", "brain"), "no block is called 'brain'; there are core, cell"),
    (Job("tiny", "ecp6"), "no device is called 'ecp6'; there are ecp5-25f"),
    (Job("huge", "xc7"), "no configuration is called 'huge'")])
def test_names_that_there_are_not(job, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        measure([job], 1, tmp_path, 1, lambda text: None)


def test_a_baseline_is_updated_in_a_checkout_only(monkeypatch):
    assert baseline_path(True, update=True).name == "bench-fast.json"
    assert all(baseline_path(fast).exists() for fast in (False, True))
    monkeypatch.setattr(paths, "CHECKOUT", None)
    assert baseline_path(False).name == "bench.json"
    with pytest.raises(ValueError, match="^--update .* run it in a checkout"):
        baseline_path(False, update=True)


def test_data_of_devices_and_boards_needs_no_amaranth():
    modules = ("blocks", "devices", "floorplan", "measure", "summary")
    code = "".join(f"import quadfire.rtl.fpga.{name}; " for name in modules)
    subprocess.run([sys.executable, "-c", f"import sys; {code}"
                    "sys.exit('amaranth' in sys.modules)"], cwd=CHECKOUT, check=True)


def test_every_block_is_a_component():
    for path in BLOCKS.values():
        assert issubclass(resolve_name(path), Component), path
