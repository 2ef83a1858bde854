"""The figures of a made-up summary follow from their definitions."""

import json
import os
import re

import numpy as np
import pytest

from quadfire.firmware.compiler.compile import compile_network
from quadfire.rtl.contract.config import preset
from quadfire.sim.cycles import network_model
from quadfire.sim.report import benchmarks, charts, deep, figures, published

from tests.command import quadfire
from tests.firmware.networks import residual_network

pytestmark = pytest.mark.fast

SUMMARY = {
    "network": "made-up", "configuration": "tiny", "steps": 4, "lanes": 8,
    "mismatched_spikes": 0, "compared_spikes": 640, "streamed_cycles": 480, "image_cycles": 400,
    "input": "synthetic image", "by_layer": [
        {"layer": "first", "cycles": 150, "events": 100, "nulls": 5, "drains": 40, "starved": 5,
         "streamed_cycles": 380, "active_sop": 800},
        {"layer": "readout", "cycles": 50, "events": 40, "nulls": 0, "drains": 8, "starved": 2,
         "streamed_cycles": 100, "active_sop": 160}]}
FIXED = ({"dense_sop": 3200, "updates": 160, "words": 100},
         {"dense_sop": 640, "updates": 0, "words": 20})


def bench_row(device: str, block: str = "core", **changes) -> dict:
    return {"preset": "tiny", "device": device, "block": block, "lanes": 8,
            "fmax_mhz_median": 100.0, "fmax_mhz_min": 90.0, "fmax_mhz_max": 110.0, "lut4": 2000,
            "ff": 1500, "bram": 9, "dsp": 4} | changes


ROWS = [bench_row("ecp5-25f"), bench_row("xc7", fmax_mhz_median=None, dsp=0),
        bench_row("ecp5-25f", "cell", lut4=128), bench_row("ecp5-25f", "neuron", lut4=300),
        bench_row("ecp5-25f", "neuron-qif", lut4=270), bench_row("ecp5-25f", "scanner", lut4=400),
        bench_row("ecp5-85f", preset="default")]


@pytest.fixture
def made_up() -> dict:
    return figures.figures_of(benchmarks.of_summary("made-up", SUMMARY, FIXED), ROWS)


def test_work_follows_from_the_definitions(made_up):
    assert made_up["cycles"] == 200 and made_up["image_cycles"] == 400
    assert made_up["active_sop"] == 960 and made_up["dense_sop"] == 3840
    assert made_up["sop_per_cycle"] == 4.8 and made_up["dense_sop_per_cycle"] == 19.2
    assert made_up["utilisation"] == 0.6
    assert made_up["energy_nj"] == pytest.approx((0.9 * (960 + 160) + 4.6 * 160) / 1000)


def test_without_a_bench_the_rows_are_its_baseline(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    monkeypatch.setattr(figures, "BENCH", path)
    assert figures.area_of(figures.read_rows(None), "default")[0]["fmax_mhz_median"] > 100
    path.write_text(json.dumps(ROWS))
    assert figures.read_rows(None) == figures.read_rows(path) == ROWS


def test_time_and_area_are_those_of_the_rows(made_up):
    placed, counted = made_up["devices"]
    assert placed["latency_us"] == 4.0 and placed["images_per_second"] == 250_000
    assert placed["gsop_per_second"] == pytest.approx(960 * 250_000 / 1e9)
    assert placed["sop_per_cycle_per_klut"] == 2.4 and placed["sop_per_cycle_per_dsp"] == 1.2
    assert counted["device"] == "xc7" and counted["sop_per_cycle_per_dsp"] is None
    assert counted["latency_us"] is counted["images_per_second"] is None


def _cells(table: str, network: str) -> list[str]:
    return [cell.strip() for cell in next(
        line for line in table.splitlines() if line.startswith(f"| {network} ")).split("|")[1:-1]]


def test_tables_say_what_was_not_measured(made_up, tmp_path):
    unknown = figures.figures_of(benchmarks.of_summary("unknown", SUMMARY, FIXED), [])
    figures.write(tmp_path, [made_up, unknown], published.markdown())
    assert json.loads((tmp_path / "figures.json").read_text()) == [made_up, unknown]
    _, work, time, others = (tmp_path / "figures.md").read_text().split("\n## ")
    assert _cells(work, "made-up")[5:11] == ["3,840", "960", "200", "4.80", "60.0% of 8", "19.2"]
    assert _cells(work, "made-up")[-1] == "0 of 640"
    assert _cells(time, "made-up")[2:8] == [
        "ecp5-25f", "100.0 MHz", "400", "400", "4.00 µs", "250,000"]
    assert _cells(time, "unknown")[2:] == [
        figures.UNKNOWN if at not in (2, 3) else "400" for at in range(9)]
    for other in published.PUBLISHED:
        assert other.source in others and other.unfair in others


@pytest.mark.parametrize("bits", [0, 8])
def test_dense_operations_are_those_of_all_spikes(bits):
    """Dense operations are those of a run in which every input spikes."""
    config, steps = preset("large"), 3
    network = residual_network(config, 6, (8, 16), steps=steps, input_bits=bits)
    static = benchmarks.static(compile_network(network, config))
    spikes = [np.ones((steps, 1, *shape), bool) for shape in network.shapes]
    inputs = np.full((1, *network.input_shape), 255, np.uint8) if bits else \
        np.ones((steps, 1, *network.input_shape), bool)
    active = network_model.synaptic_operations(network, inputs, spikes)
    dense = np.array([layer["dense_sop"] for layer in static])
    of_pixels = np.array([bool(bits) and index == 0 for index in range(len(dense))])
    assert (dense[~of_pixels] == active[~of_pixels]).all() and dense.all()
    assert (dense[of_pixels] * 8 == active[of_pixels] * steps).all()
    assert [layer["updates"] for layer in static] == [
        0 if layer.neuron is None else steps * int(np.prod(shape))
        for layer, shape in zip(network.layers, network.shapes, strict=True)]


def test_an_estimate_agrees_with_itself():
    item = benchmarks.estimated("256-128-10", "128-10", 16, 4, "default", images=2)
    assert item.total("cycles") == sum(item.total(name) for name in figures.CLASSES)
    assert item.total("dense_sop") == 4 * (256 * 128 + 128 * 10)
    assert item.total("updates") == 4 * 128 and item.made == "model" and item.compared is None
    assert 0 < figures.work_of(item)["utilisation"] < 1


def test_pictures(made_up, tmp_path):
    names = charts.draw(tmp_path, [made_up, made_up | {"array": "small"}], ROWS)
    assert names == ["roofline.png", "cycles.png", "utilisation.png", "area.png"]
    assert all((tmp_path / name).stat().st_size > 5_000 for name in names)
    assert not charts.area(tmp_path / "none.png", ROWS[:1])
    assert charts.instances("cell", "tiny") == 4 and charts.instances("neuron-qif", "tiny") == 0


@pytest.mark.parametrize("other", [
    {"network": "resnet19"}, {"configuration": "wide"}, {"width": 0.1}, {"steps": 2},
    {"width": None}, {"changes": ["lanes=4"]}])
def test_a_summary_of_another_network_is_refused(monkeypatch, tmp_path, other):
    right = {"network": "vgg11", "configuration": "large", "width": 1.0, "steps": 4,
             "changes": []}
    path = tmp_path / "vgg11-large" / "summary.json"
    path.parent.mkdir()
    path.write_text(json.dumps({name: value for name, value in (SUMMARY | right | other).items()
                                if value is not None}))
    monkeypatch.setenv("QUADFIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(benchmarks, "_is_fresh", lambda path: True)
    monkeypatch.setattr(benchmarks.deep_networks, "network_of", None)
    ((part, value),) = other.items()
    with pytest.raises(ValueError, match=re.escape(
            f"is of {part} {value!r}, not {right[part]!r}: remove it")):
        benchmarks.deep("VGG-11", "vgg11", "large")


@pytest.fixture
def sources(monkeypatch, tmp_path):
    """A package with a file of every kind, and a summary that was made from it."""
    for name in ("rtl/array/cell.py", "firmware/compiler/compile.py", "models/integer/network.py",
                 "sim/report/charts.py", *(f"sim/{name}" for name in deep._MAKERS)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    monkeypatch.setattr(deep, "PACKAGE", tmp_path)
    (tmp_path / "summary.json").write_text(json.dumps({"sources": deep.sources_hash()}))
    return tmp_path


@pytest.mark.parametrize(("changed", "fresh"), [
    ("sim/report/charts.py", True), ("sim/report/deep.py", False),
    ("sim/verilator/cpp/harness.cpp", False), ("rtl/array/cell.py", False),
    ("firmware/compiler/compile.py", False), ("models/integer/network.py", False)])
def test_a_summary_lasts_until_the_content_of_its_sources_changes(sources, changed, fresh):
    summary = sources / "summary.json"
    os.utime(sources / changed)                     # a touch, or a fresh clone
    os.utime(summary, (1000, 1000))
    assert benchmarks._is_fresh(summary)
    (sources / changed).write_text("something else")
    assert benchmarks._is_fresh(summary) == fresh


def test_a_moved_source_makes_a_summary_old(sources):
    (sources / "rtl" / "array" / "cell.py").rename(sources / "rtl" / "cell.py")
    assert not benchmarks._is_fresh(sources / "summary.json")


@pytest.mark.parametrize("content", [None, "", "{}"])
def test_what_is_no_summary_is_old(sources, content):
    path = sources / "other.json"
    if content is not None:
        path.write_text(content)
    assert not benchmarks._is_fresh(path)


@pytest.mark.parametrize("fresh", [True, False])
def test_a_deep_network_runs_only_without_a_fresh_summary(monkeypatch, tmp_path, fresh):
    class Ran(Exception):
        pass

    def run(*_, **__):
        raise Ran

    path = tmp_path / "vgg11-large" / "summary.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"sources": deep.sources_hash() if fresh else "older"}))
    monkeypatch.setenv("QUADFIRE_CACHE", str(tmp_path))
    monkeypatch.setattr(deep, "run", run)
    with pytest.raises(ValueError if fresh else Ran, match="is of network None" if fresh else None):
        benchmarks.deep("VGG-11", "vgg11", "large")


def test_the_command_writes_all(monkeypatch, tmp_path):
    rows = tmp_path / "summary.json"
    rows.write_text(json.dumps(ROWS))
    wrong = {"fine": SUMMARY, "wrong": SUMMARY | {"mismatched_spikes": 3}}
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {
        name: lambda summary=summary: benchmarks.of_summary("made-up", summary, FIXED)
        for name, summary in wrong.items()})
    result = quadfire("figures", "--no-deep", "--rows", str(rows), "-o", str(tmp_path / "out"))
    assert result.status == 1 and "3 spikes" in result.text
    assert (tmp_path / "out" / "figures.md").exists()
