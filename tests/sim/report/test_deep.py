"""Deep networks in RTL, at a fraction of their width: every spike, every cycle as predicted."""

import json
from dataclasses import replace

import numpy as np
import pytest

from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.rtl.contract.config import preset
from quadfire.sim.report import activity, deep


@pytest.mark.parametrize(("name", "width"), [("resnet19", 1 / 32), ("vgg11", 1 / 32),
                                             ("vggsnn", 1 / 32)])
def test_a_narrow_network_is_exact(name, width, tmp_path):
    summary = deep.run(name, "tiny-conv", tmp_path, width=width, steps=2)
    assert summary["compared_spikes"] > 5_000 and 0.02 < summary["spike_rate"] < 0.5
    assert summary["mismatched_spikes"] == summary["mismatched_logits"] == 0
    assert summary["first_mismatch"] is None
    for layer in summary["by_layer"]:
        assert layer["cycles"] == layer["predicted_cycles"], layer["layer"]
        assert layer["cycles"] == sum(layer[name] for name in ("events", "nulls", "drains",
                                                               "starved"))
    assert summary["cycles"] < summary["image_cycles"] < summary["streamed_cycles"]
    assert summary["lanes"] == preset("tiny-conv").outputs
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet19", "vgg11", "vggsnn"])
def test_a_network_at_full_width(name, tmp_path):
    summary = deep.run(name, "large", tmp_path)
    assert summary["mismatched_spikes"] == summary["mismatched_logits"] == 0
    assert summary["cycles"] == summary["predicted_cycles"]


@pytest.mark.parametrize(("name", "bits"), [("vggsnn", 0), ("vgg11", 8)])
def test_an_event_camera_gives_spikes_not_pixels(name, bits):
    network = deep.network_of(name, preset("tiny-conv"), width=1 / 32, steps=2)
    assert network.input_bits == bits


def test_a_wrong_answer_of_the_run_without_spikes_is_counted(tmp_path, monkeypatch):
    class Broken(Accelerator):
        def run(self, inputs, *, spikes=False, **options):
            outputs = super().run(inputs, spikes=spikes, **options)
            return outputs if spikes else replace(outputs, outputs=outputs.outputs + 1)

    monkeypatch.setattr(deep, "Accelerator", Broken)
    summary = deep.run("vgg11", "tiny-conv", tmp_path, width=1 / 32, steps=1)
    assert summary["mismatched_logits"] == 10 and summary["mismatched_spikes"] == 0


def test_an_unknown_network_is_refused(tmp_path, capsys):
    with pytest.raises(ValueError, match="there are resnet19, vgg11, vggsnn"):
        deep.run("resnet20", "tiny-conv", tmp_path)
    assert not capsys.readouterr().out


def test_cost_grows_with_spikes(tmp_path):
    config = preset("tiny-conv")
    rows = activity.measure(config, (0.0, 0.2, 0.5), channels=20, side=5, steps=2)
    assert [row["events"] for row in rows] == [
        round(row["events_per_pixel"] * 25) for row in rows]
    assert rows[0]["events"] == 0 < rows[1]["events"] < rows[2]["events"]
    assert rows[0]["busy"] < rows[1]["busy"] < rows[2]["busy"]
    assert rows[2]["utilisation"] > rows[1]["utilisation"]
    activity.draw(rows, "test", tmp_path / "activity.png")
    assert (tmp_path / "activity.png").stat().st_size > 5_000


def test_useful_additions_leave_the_border_out():
    spikes = np.zeros((1, 1, 2, 3, 3))
    spikes[0, 0, 0, 1, 1] = spikes[0, 0, 1, 0, 0] = spikes[0, 0, 1, 0, 1] = 1
    assert activity.useful_additions(spikes, 5) == (9 + 4 + 6) * 5
