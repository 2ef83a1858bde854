"""The paper's experiments: the plan, its commands, the first steps of a row."""

import json
import re

import pytest
import torch
from safetensors import safe_open

from quadfire.models.experiments import paper
from quadfire.models.experiments.paper import ROWS, row_named, step_seconds
from quadfire.models.training.checkpoint import load_checkpoint

from tests.command import quadfire
from tests.models.training.test_fit import cifar, coloured  # noqa: F401, a fixture


def test_the_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "estimated_seconds", lambda row, device: 0.1 * row.steps)
    done = quadfire("experiments", "paper", "--out", tmp_path, "--device", "cpu")
    assert done.status == 0 and "an estimate for one process on this cpu" in done.text
    for row in ROWS:
        assert f"{row.name}: quadfire train --network {row.network}" in done.out
    # 300 epochs of 391 steps of 0.4 s
    assert row_named("resnet19-cifar10-t4").hours(0.4) == pytest.approx(300 * 391 * 0.4 / 3600)
    assert re.search(r"resnet19-cifar10-t4 .* 0.40 s .* 13 ", done.out)
    assert len({row.name for row in ROWS}) == 8 and len({row.load for row in ROWS}) == 5


@pytest.mark.parametrize("name", ["resnet19-cifar10-t2", "vggsnn-dvs"])
def test_a_step_is_timed(name):
    row = row_named(name)
    assert 0 < step_seconds(row, torch.device("cpu"), 2, steps=1, width=0.03) < 60


def test_the_first_steps_of_a_row(cifar, tmp_path):  # noqa: F811
    """Stopped after an epoch; the options are those of the plan. Then to the end."""
    row = row_named("resnet19-cifar10-t2")
    path = tmp_path / "paper" / f"{row.name}-seed1.safetensors"
    words = ("experiments", "paper", "--out", tmp_path, "--device", "cpu")
    here = ("--run", row.name, "--data", cifar, "--", "--width", 0.03)
    stopped = quadfire(*words, *here, "--minutes", 0)
    assert stopped.status == 75, stopped.text
    with safe_open(path.with_suffix(".run.safetensors"), framework="pt") as file:
        setup = json.loads(file.metadata()["quadfire"])["setup"]
    dataset = paper.ImageDataset(name="cifar10", shape=(3, 32, 32), classes=10,
                                 train_samples=coloured(), held_out_samples=coloured())
    assert setup["options"] == json.loads(json.dumps(row.options(dataset).config()))
    assert setup["network"]["steps"] == 2 and setup["network"]["neuron"]["window"] == "analytic"
    assert setup["network"]["neuron"]["u2"] == 0.5
    table = quadfire(*words, "--no-measure")
    assert "epoch 1" in table.out and "train" in table.out
    path.with_suffix(".run.safetensors").unlink()
    done = quadfire(*words, *here, "--epochs", 1, "--batch", 32)
    assert done.status == 0, done.text
    _, about = load_checkpoint(path)
    assert about["command"].startswith("quadfire train --network resnet19 --dataset cifar10")
    assert f"{about['accuracy']['held_out']:.2%}" in quadfire(*words, "--no-measure").out


@pytest.mark.parametrize(("words", "message"), [
    (["paper", "--run", "resnet19-cifar10-t3"], "no row is called 'resnet19-cifar10-t3'; there "
     "are resnet19-cifar10-t4"),
    (["paper", "--run", "resnet19-cifar10-t4"], "name the folder of its files, --data FOLDER"),
    (["paper", "--publish"], "--publish is not for paper"),
    (["paper", "--", "--epochs", "3"], "need a row: --run ROW"),
    (["paper", "--run", "vggsnn-dvs", "--data", ".", "--", "--epoch"], "No such option"),
    (["windows", "--run", "resnet19-cifar10-t4"], "are for paper, not for windows")])
def test_it_refuses(words, message):
    done = quadfire("experiments", *words)
    assert done.status == 2 and message in done.err
