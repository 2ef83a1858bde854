"""Runs in parts: states within an epoch, limits of time, prolonging, stages, validation."""

import csv
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn import functional

from quadfire.models.datasets import ImageDataset, TensorSamples
from quadfire.models.networks import ConvNet, resnet19
from quadfire.models.neurons import QIF
from quadfire.models.training.augment import ImageAugment
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint
from quadfire.models.training.defaults import augmentation_for
from quadfire.models.training.optimizer import Schedule
from quadfire.models.training.options import Options
from quadfire.models.training.recalibration import recalibrated
from quadfire.models.training.stages import resized
from quadfire.models.training.train import OutOfTime, fit, measure
from quadfire.models.training.validation import Part, shares, split

from tests.command import quadfire
from tests.models.training.test_fit import RUN, Killed, cifar, coloured, plan, same, small

__all__ = ["cifar"]         # a fixture


@pytest.fixture(scope="module")
def pictures() -> ImageDataset:
    return ImageDataset(name="coloured", shape=(3, 12, 12), classes=4,
                        train_samples=coloured(64), held_out_samples=coloured(20, 2))


def residual(steps: int = 4) -> Any:
    torch.manual_seed(1)
    return resnet19(QIF(window=1.0), classes=4, width=0.03, input_shape=(3, 12, 12), steps=steps)


STAGES = {"stages": ((1, 1), (2, 1), (4, 1)), "sizes": ((8, 2), (12, 1)), "recalibrate": 2,
          "validate": 16, "epochs": 3, "clip": 1.0, "schedule": "one-cycle", "smoothing": 0.1,
          "average": 0.9, "mixup": 0.3, "cutmix": 1.0}


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


# Stages ---------------------------------------------------------------------------------------


def test_stages_are_refused(pictures):
    with pytest.raises(ValueError, match="readout of this network sees every place"):
        fit(small(), pictures, plan(sizes=((8, 3), (12, 1))))
    with pytest.raises(ValueError, match="must be at the network's own size = 12"):
        fit(residual(), pictures, plan(sizes=((8, 4),)))
    with pytest.raises(ValueError, match="must have 4 epochs in sum"):
        plan(sizes=((8, 1), (12, 2)))
    frames = ImageDataset(name="frames", shape=(3, 12, 12), classes=4, steps=2,
                          train_samples=coloured(), held_out_samples=coloured())
    for options, message in (({"stages": ((1, 4),)}, "stages are for images; frames has 2 frames"),
                             ({"mixup": 1.0}, "mixup and CutMix are for images")):
        with pytest.raises(ValueError, match=message):
            fit(small(), frames, plan(**options))


def test_smaller_images():
    images = coloured(4).images
    expected = functional.interpolate(images.float(), (6, 6), mode="bilinear", antialias=True)
    small_ones = resized(images, 6)
    assert small_ones.shape == (4, 3, 6, 6) and small_ones.dtype == torch.uint8
    assert (small_ones.float() - expected).abs().max() <= 0.5


def test_running_means_are_measured_anew(pictures):
    """The means over batches of training samples, at the present T; weights stay."""
    network: Any = small(steps=3)
    before = {name: value.clone() for name, value in network.named_parameters()}
    recalibrated(network, pictures.train_samples, batches=2, batch=16, seed=5,
                 device=torch.device("cpu"))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(5))
    norm, means, variances = network.layers[0].norm, [], []
    for index in order[:32].split(16):
        current = network.layers[0].conv(pictures.train_samples.batch(index)[0] / 256)
        means.append(current.mean((0, 2, 3)))
        variances.append(current.var((0, 2, 3)))
    torch.testing.assert_close(norm.mu, torch.stack(means).mean(0))
    torch.testing.assert_close(norm.var, torch.stack(variances).mean(0))
    assert all(torch.equal(value, before[name]) for name, value in network.named_parameters())
    assert norm.momentum == 0.1 and network.training


# Validation -----------------------------------------------------------------------------------


def test_validation_is_stratified_and_held_out():
    samples = coloured(64)
    train, held = split(samples, 10)
    assert isinstance(train, Part) and isinstance(held, Part)
    assert len(train) == 54 and len(held) == 10
    assert sorted([*train.index.tolist(), *held.index.tolist()]) == list(range(64))
    labels = held.batch(torch.arange(10))[1]
    assert sorted(labels.bincount().tolist()) == [2, 2, 3, 3]
    assert torch.equal(split(samples, 10)[1].index, held.index)    # pyright: ignore
    assert split(samples, 0) == (samples, None)
    for count in (3, 33):
        with pytest.raises(ValueError, match=f"4..32, not {count}"):
            split(samples, count)


def test_shares_of_the_classes():
    assert shares(np.array([10, 20, 70]), 10) == [1, 2, 7]
    assert sum(shares(np.array([3, 3, 3]), 4)) == 4


def test_validation_is_measured_and_not_trained_on(pictures):
    told: list = []
    network = small()
    last = fit(network, pictures, plan(validate=16), told.append)
    _, held = split(pictures.train_samples, 16)
    assert held is not None and all(epoch.validation is not None for epoch in told)
    assert measure(network, held)[0] == last.validation
    train, _ = split(pictures.train_samples, 16)
    alone = small()
    images, labels = train.batch(torch.arange(48))
    fit(alone, ImageDataset(name="part", shape=(3, 12, 12), classes=4,
                            train_samples=TensorSamples(images, labels),
                            held_out_samples=coloured()), plan())
    assert same(network, alone)


# Options --------------------------------------------------------------------------------------


def test_one_cycle():
    cycle = [*map(Schedule(Options(schedule="one-cycle", warm_up=0.3), 100), range(101))]
    assert cycle[0] == pytest.approx(1 / 25) and cycle[30] == max(cycle) == pytest.approx(1)
    assert cycle[15] == pytest.approx((1 + 1 / 25) / 2) and cycle[100] == pytest.approx(4e-6)


@pytest.mark.parametrize(("options", "message"), [
    ({"schedule": "step"}, "schedule must be cosine or linear or one-cycle"),
    ({"smoothing": 1.1}, "smoothing must be in 0..1"), ({"warm_up": -0.1}, "warm_up must be"),
    ({"clip": -1.0}, "clip must not be below 0"), ({"recalibrate": -1}, "recalibrate must not")])
def test_options_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_gradients_are_clipped(pictures):
    """One step of plain SGD moves all parameters together by rate times clip."""
    network = small()
    before = {name: value.clone() for name, value in network.named_parameters()}
    fit(network, pictures, Options(epochs=1, batch=64, optimizer="sgd", rate=1.0, weight_decay=0.0,
                                   clip=1e-3, augment=None))
    moved = sum((value - before[name]).square().sum().item() for name, value in
                network.named_parameters())
    # Nesterov's first step is (1 + momentum) times the gradient
    assert math.sqrt(moved) == pytest.approx(1.9e-3, rel=1e-3)


def test_augmentations_by_name(pictures, data):
    assert augmentation_for(pictures, "none") is None
    assert augmentation_for(pictures, "flip") == ImageAugment(crop=1, policy="", cutout=0)
    assert augmentation_for(pictures, "cutout") == ImageAugment(crop=1, policy="", cutout=3)
    assert augmentation_for(pictures, "autoaugment", 8) == ImageAugment(crop=1, cutout=8)
    assert augmentation_for(pictures, "auto", 0) == ImageAugment(cutout=0)
    for dataset, name, hole, message in [
            (data, "flip", None, "is for colour images in memory"),
            (pictures, "none", 8, "a hole of 8 pixels: the augmentation 'none'"),
            (pictures, "mixup", None, "augment must be auto, none"),
            (data, "auto", 8, "a hole of 8 pixels")]:
        with pytest.raises(ValueError, match=message):
            augmentation_for(dataset, name, hole)


# The command line -----------------------------------------------------------------------------


def test_a_chain_of_runs(cifar, tmp_path, monkeypatch):
    """Stopped, resumed and prolonged; another neuron starts from the weights."""
    monkeypatch.chdir(tmp_path)

    def train(*words):
        return quadfire("train", *RUN, "--data", cifar, *words)

    words = ("--validate", 10, "--augment", "cutout", "--hole", 4, "--smoothing", 0.1, "--out",
             "net.safetensors", "--keep-run", "--no-test", "--recalibrate", 1)
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
    other = train("--epochs", 1, "--neuron", "qif", "--init", "net.safetensors", "--out", "qif")
    assert other.status == 0 and "lif neurons of other parameters" in " ".join(other.text.split())
    refused = train("--width", 0.05, "--init", "net.safetensors")
    assert refused.status == 2 and "it is of another network" in refused.text
