"""Runs in parts: states within an epoch, limits of time, signals, prolonging."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from quadfire.models.commands.signals import asked_to_stop
from quadfire.models.datasets import ImageDataset
from quadfire.models.networks import ConvNet
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint
from quadfire.models.training.train import OutOfTime, fit

from tests.command import quadfire
from tests.models.training.test_fit import RUN, Killed, cifar, coloured, plan, same, small
from tests.models.training.test_stages import STAGES, residual

__all__ = ["cifar"]         # a fixture


@pytest.fixture(scope="module")
def pictures() -> ImageDataset:
    return ImageDataset(name="coloured", shape=(3, 12, 12), classes=4,
                        train_samples=coloured(64), held_out_samples=coloured(20, 2))


def killed_at(epoch: int, batch: int):
    def watch(progress) -> None:
        if (progress.epoch, progress.batch) == (epoch, batch):
            raise Killed

    return watch


# States within an epoch -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"loss": "mean", "clip": 0.5, "schedule": "linear"}])
def test_a_run_cut_within_an_epoch_goes_on_from_there(pictures, tmp_path, options):
    whole, told, state = small(), [], tmp_path / "run"
    last = fit(whole, pictures, plan(epochs=3, **options), told.append)
    for place in ((1, 2), (1, 4), (3, 3)):
        with pytest.raises(Killed):
            fit(small(), pictures, plan(epochs=3, **options), watch=killed_at(*place),
                state=state, save_minutes=0)
    resumed, again, seen = small(), [], []
    found = fit(resumed, pictures, plan(epochs=3, **options), again.append, state=state,
                watch=lambda step: seen.append((step.epoch, step.batch, step.loss)))
    assert [at[:2] for at in seen] == [(3, 3), (3, 4)]      # the state is that after batch 2
    assert seen[-1][2] == last.loss                         # of all batches of the epoch
    assert found == last and again == told and same(whole, resumed)


def test_stages_resume_to_the_bit(pictures, tmp_path):
    whole, told, state = residual(), [], tmp_path / "run"
    fit(whole, pictures, plan(**STAGES), told.append)
    assert [(epoch.steps, epoch.size) for epoch in told] == [(1, 8), (2, 8), (4, 12)]
    assert whole.steps == 4 and whole.input_shape == (3, 12, 12)
    for place in ((1, 3), (2, 2), (3, 2)):
        with pytest.raises(Killed):
            fit(residual(), pictures, plan(**STAGES), watch=killed_at(*place), state=state,
                save_minutes=0)
    resumed, again = residual(), []
    fit(resumed, pictures, plan(**STAGES), again.append, state=state)
    assert again == told and same(whole, resumed)
    assert whole.config() == residual().config()


def test_a_limit_of_time_keeps_the_run(pictures, tmp_path):
    whole, state = small(), tmp_path / "run"
    fit(whole, pictures, plan(epochs=2))
    stops = []
    for _ in range(20):
        resumed = small()
        try:
            fit(resumed, pictures, plan(epochs=2), state=state, minutes=0)
            break
        except OutOfTime as stopped:
            stops.append((stopped.epochs, stopped.batches))
    # one batch at a time; after the last of an epoch, the epoch
    assert stops == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert same(whole, resumed)
    with pytest.raises(ValueError, match="needs a file for its state"):
        fit(small(), pictures, plan(), minutes=1)


def test_a_signal_stops_a_run_at_a_batch(pictures, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    whole, state = small(), tmp_path / "run"
    fit(whole, pictures, plan(epochs=2))

    def watch(progress) -> None:
        if (progress.epoch, progress.batch) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)

    with asked_to_stop() as asked, pytest.raises(OutOfTime) as stopped:
        fit(small(), pictures, plan(epochs=2), watch=watch, state=state, stop=asked)
    assert asked.status == 143 and (stopped.value.epochs, stopped.value.batches) == (0, 2)
    assert signal.getsignal(signal.SIGTERM) == before
    resumed = small()
    fit(resumed, pictures, plan(epochs=2), state=state)
    assert same(whole, resumed)


def test_the_second_signal_acts_as_ever_and_an_ignored_one_stays_ignored():
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with asked_to_stop(), pytest.raises(KeyboardInterrupt):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with asked_to_stop() as asked:
            os.kill(os.getpid(), signal.SIGINT)
        assert not asked() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_run_that_diverges_is_told(pictures):
    with pytest.raises(ValueError, match="the loss of epoch 1 is nan: the run diverges"):
        fit(small(), pictures, plan(rate=1e38, optimizer="sgd", warm_up=0.0))


# Prolonging -----------------------------------------------------------------------------------


def test_a_run_is_prolonged(pictures, tmp_path):
    state, told = tmp_path / "run", []
    with pytest.raises(CheckpointError, match="there is no run to prolong"):
        fit(small(), pictures, plan(epochs=3), state=state, prolong=True)
    fit(small(), pictures, plan(epochs=2), state=state)
    finished = state.read_bytes()
    longer = plan(epochs=4, rate=2e-3, schedule="linear", warm_up=0.25, weight_decay=0.0)

    def again(**settings) -> ConvNet:
        network = small()
        fit(network, pictures, longer, told.append, state=state, prolong=True, **settings)
        return network

    with pytest.raises(CheckpointError, match="of another run"):
        fit(small(), pictures, longer, state=state)
    whole = again()
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    # the schedule is one of its own over 8 steps: a warm-up of 2, then a line to 0
    assert told[-1].rate == pytest.approx(2e-3 * (1 / 8) / (1 - 0.25))
    state.write_bytes(finished)
    with pytest.raises(Killed):
        again(watch=killed_at(4, 2), save_minutes=0)
    resumed = small()
    fit(resumed, pictures, longer, state=state)             # it is a run of the new options now
    assert same(whole, resumed)
    state.write_bytes(finished)
    for options, message in [({"batch": 8}, "options.batch is 16, not 8"),
                             ({"epochs": 1}, "has 2 epochs already, which 1 do not prolong")]:
        with pytest.raises(CheckpointError, match=message):
            fit(small(), pictures, plan(**{"epochs": 3, **options}), state=state, prolong=True)


def test_a_state_of_an_older_version_is_read(pictures, tmp_path):
    """It holds whole epochs, and fewer numbers of each."""
    state, whole = tmp_path / "run", small()
    fit(whole, pictures, plan(epochs=2))
    with pytest.raises(Killed):
        fit(small(), pictures, plan(epochs=2), watch=killed_at(2, 1), state=state)
    with safe_open(state, framework="pt") as file:
        head = json.loads(file.metadata()["quadfire"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name in ("first", "earlier"):
        del head[name]
    head["history"] = [{name: entry[name] for name in ("number", "loss", "accuracy", "rates")}
                       for entry in head["history"]]
    save_file(tensors, state, {"quadfire": json.dumps(head)})
    resumed = small()
    fit(resumed, pictures, plan(epochs=2), state=state)
    assert same(whole, resumed)


# The command line -----------------------------------------------------------------------------


def test_a_chain_of_runs(cifar, tmp_path, monkeypatch):
    """Stopped, resumed and prolonged; another neuron starts from the weights."""
    monkeypatch.chdir(tmp_path)

    def train(*words):
        return quadfire("train", *RUN, "--data", cifar, *words)

    words = ("--validate", 10, "--augment", "cutout", "--hole", 4, "--smoothing", 0.1, "--out",
             "net.safetensors", "--keep-run", "--no-test", "--recalibrate", 1,
             "--checkpoints", 2)
    stages = ("--stages", "1:1,2:1")
    stopped = train(*words, *stages, "--minutes", 0)
    assert stopped.status == 75, stopped.text
    assert "stopped after 0 epochs and 1 batches" in stopped.text
    ended = train(*words, *stages, "--resume")
    assert ended.status == 0 and "were not looked at" in ended.text
    longer = train(*words, "--epochs", 3, "--prolong")
    assert longer.status == 0, longer.text
    _, about = load_checkpoint("net.safetensors")
    with open("net.log.csv", newline="") as file:
        rows = [*csv.DictReader(file)]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["steps"] for row in rows] == ["1", "2", "2"]
    assert about["accuracy"]["validation"] == pytest.approx(float(rows[-1]["validation"]))
    assert "held_out" not in about["accuracy"] and about["options"]["validate"] == 10
    assert about["options"]["augment"] == {"kind": "image", "crop": 4, "flip": True, "policy": "",
                                           "cutout": 4}
    assert [path.name for path in Path().glob("*.epoch-*")] == ["net.epoch-2.safetensors"]
    network, kept = load_checkpoint("net.epoch-2.safetensors")
    assert network.steps == 2 and kept["epoch"] == 2 and len(kept["history"]) == 2
    other = train("--epochs", 1, "--neuron", "qif", "--learn", "--init", "net.safetensors", "--out",
                  "qif")
    assert other.status == 0 and "lif neurons of other parameters" in " ".join(other.text.split())
    assert "stem.neuron.log_a" in load_checkpoint("qif")[0].state_dict()
    refused = train("--learn")
    assert refused.status == 2 and "--learn is for qif, not for lif" in refused.text
    refused = train("--width", 0.05, "--init", "net.safetensors")
    assert refused.status == 2 and "it is of another network" in refused.text
