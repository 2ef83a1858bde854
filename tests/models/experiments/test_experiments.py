"""Runs of the experiments, and the tables and pictures of models/README.md."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from quadfire.models.commands import experiments as command
from quadfire.models.datasets import Dataset
from quadfire.models.experiments import pictures, tables
from quadfire.models.experiments.gradients import measured_gains, mismatch
from quadfire.models.experiments.plans import (
    CURVATURES,
    ROOTS,
    best_qif,
    neuron_runs,
    sensitivity_runs,
    study_runs,
    windows_runs,
)
from quadfire.models.experiments.runs import Neuron, Run, perform, validation
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import make_neuron

SMALL = Run(layers="64-12-10", neuron=Neuron(label="LIF", kind="lif"), steps=2, epochs=1)


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    runs = [SMALL, replace(SMALL, seed=2),
            replace(SMALL, layers="4C3-P2-10", held_out="validation")]
    told: list[tuple[int, object]] = []
    results = perform(runs, data, tmp_path, lambda index, run, what: told.append((index, what)))
    assert len({*tmp_path.iterdir()}) == 3 and [index for index, _ in told] == [0, 0, 1, 1, 2, 2]
    assert 0.1 < results[0]["accuracy"] < 1 and results[0]["accuracy"] != results[1]["accuracy"]
    assert results[2]["dataset"] == "digits-validation" and results[2]["environment"]["threads"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / runs[1].path).unlink()
    told.clear()
    again = perform(runs, data, tmp_path, lambda index, run, what: told.append((index, what)))
    assert [index for index, what in told if not isinstance(what, dict)] == [1]
    for one, two in zip(results, again, strict=True):
        assert {**one, "seconds": 0} == {**two, "seconds": 0}
    assert all(path.stat().st_mtime_ns == before[path] for path in before
               if path.name != runs[1].path)


def test_validation_digits_are_training_digits(data: Dataset):
    part = validation(data)
    train, held_out = {*part.train.tolist()}, {*part.held_out.tolist()}
    assert not train & held_out and train | held_out == {*data.train.tolist()}
    counts = torch.bincount(part.held_out_set[1])
    assert (counts - torch.bincount(data.train_set[1]) / 5).abs().max() < 1


@pytest.mark.fast
def test_plans_hold_what_the_tables_show():
    runs = [*sensitivity_runs(), *neuron_runs((1.0, 0.0, 0.5)), *windows_runs(), *study_runs()]
    for steps in (2, 4, 8):
        dense = [run for run in neuron_runs((1.0, 0.0, 0.5))
                 if "C" not in run.layers and run.steps == steps]
        assert len(dense) == 21 and len({run.path for run in dense}) == 21
    assert all(run.held_out == "validation" for run in sensitivity_runs())
    assert all(run.held_out == "test" for run in runs[len(sensitivity_runs()):])


@pytest.mark.fast
def test_best_qif_is_the_best_neighbourhood():
    """A single high cell among low ones loses to a plateau."""
    def result(a, u2):
        high = {(CURVATURES[0], ROOTS[0])} | {(a, u2) for a in CURVATURES[3:] for u2 in ROOTS[3:]}
        value = 0.99 if (a, u2) == (CURVATURES[0], ROOTS[0]) else 0.95 if (a, u2) in high else 0.9
        return {"accuracy": value, "run": {"neuron": {"options": {"a": a, "u1": 0.0, "u2": u2}}}}

    a, u1, u2 = best_qif([result(a, u2) for a in CURVATURES for u2 in ROOTS])
    assert a in CURVATURES[4:] and u1 == 0 and u2 in ROOTS[4:]


def test_measured_gain_follows_the_window(data):
    """A window twice as wide passes back half the variance, and the formula comes close."""
    images, labels = (part[:300] for part in data.train_set)
    gains = []
    for window in (0.5, 1.0):
        torch.manual_seed(1)
        network = SpikingMLP([64, 64, 64, 64, 64, 10],
                             make_neuron("qif", a=0.25, window=window), 4)
        gains.append(measured_gains(network, images, labels))
    assert len(gains[0]) == 3
    for narrow, wide in zip(*gains, strict=True):
        assert 1.5 < narrow / wide < 2.7
    run = replace(SMALL, layers="64-64-64-64-10", steps=4, window="analytic",
                  neuron=Neuron(label="", kind="qif", options={"a": 0.25, "u1": 0.0, "u2": 0.5}))
    numbers = mismatch(run, data.shape, images, labels)
    assert numbers["window"] == pytest.approx(0.816, abs=1e-3)
    assert 0.7 < numbers["measured"] / numbers["formula"] < 1.6


@pytest.mark.fast
def test_tables_of_the_readme_are_those_of_the_stored_results(capsys, monkeypatch, tmp_path):
    command.document(check=True)
    stale = tmp_path / "README.md"
    text = command.README.read_text()
    stale.write_text(re.sub(r"(\| LIF, β = 0.5 +\| )94\.", r"\g<1>99.", text))
    assert stale.read_text() != text
    monkeypatch.setattr(command, "README", stale)
    with pytest.raises(ValueError, match="tables are not those of .*quadfire document"):
        command.document(check=True)
    command.document(check=False)
    assert stale.read_text() == text


@pytest.mark.fast
def test_help_says_the_minutes_of_the_readme():
    minutes = dict(re.findall(r"experiments (\w+) --publish +# (\d+) minutes",
                              command.README.read_text()))
    assert "take {sensitivity}, {neurons}, {windows} and {study} minutes".format(**minutes) in \
        " ".join(str(command.experiments.__doc__).split())


@pytest.mark.fast
def test_blocks_must_be_known_and_all_there():
    stored = json.loads(command.STORED.read_text())
    with pytest.raises(ValueError, match="no table is called 'other'"):
        tables.rewrite("<!-- table other -->\n<!-- end -->", stored)
    with pytest.raises(ValueError, match="no place for the table neurons-conv"):
        tables.rewrite("<!-- table neurons-dense -->\n<!-- end -->", stored)


@pytest.mark.fast
def test_stored_results_hold_three_seeds_where_the_text_says_so():
    stored = json.loads(command.STORED.read_text())
    for layers in ("784-128-10", "16C3-P2-32C3-P2-128-10"):
        for label in {result["run"]["neuron"]["label"] for result in stored["neurons"]}:
            some = tables.select(stored["neurons"], layers=layers, steps=4, label=label)
            assert sorted(result["run"]["seed"] for result in some) == [1, 2, 3]


@pytest.mark.fast
def test_every_name_in_the_picture_of_neurons_stands_at_its_own_point():
    figure = pictures.neurons(json.loads(command.STORED.read_text()))
    figure.canvas.draw()
    for ax in figure.axes:
        assert not ax.xaxis.get_offset_text().get_text()
        points = ax.transData.transform([name.xy for name in ax.texts])
        for number, name in enumerate(ax.texts):
            box = name.get_window_extent()
            nearest = np.clip(points, box.min, box.max)
            distances = np.hypot(*(points - nearest).T)
            assert distances.argmin() == number and distances.min() > 0, name.get_text()
