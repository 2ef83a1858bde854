"""Stages of T and size, running means, validation, checkpoints, options, the curve of a run."""

import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from quadfire.models.datasets import ImageDataset, TensorSamples
from quadfire.models.networks import resnet19
from quadfire.models.neurons import QIF
from quadfire.models.training.augment import ImageAugment
from quadfire.models.training.defaults import augmentation_for
from quadfire.models.training.log import TensorBoard
from quadfire.models.training.optimizer import Schedule
from quadfire.models.training.options import Options
from quadfire.models.training.recalibration import recalibrated
from quadfire.models.training.resume import Epoch
from quadfire.models.training.stages import resized
from quadfire.models.training.train import fit, measure
from quadfire.models.training.validation import Part, shares, split

from tests.models.training.test_fit import coloured, plan, same, small


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


@pytest.mark.fast
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


@pytest.mark.fast
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


@pytest.mark.fast
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


def test_checkpoints_are_the_network_as_it_would_be_used(pictures):
    """The last one is the trained network; the training goes on as if there were none."""
    kept: dict = {}
    network = residual()

    def checkpoint(epoch) -> None:
        kept[epoch.number] = (network.config(), epoch.validation, {
            name: value.clone() for name, value in network.state_dict().items()})

    options = plan(**STAGES)
    fit(network, pictures, options, checkpoint=checkpoint, every=2)
    assert [*kept] == [2] and kept[2][0] == residual().config() and kept[2][1] is not None
    alone = residual()
    fit(alone, pictures, options)
    assert same(network, alone)
    fit(network := residual(), pictures, options, checkpoint=checkpoint)
    assert [*kept] == [2, 1, 3]
    assert all(torch.equal(value, kept[3][2][name]) for name, value in alone.state_dict().items())


# Options --------------------------------------------------------------------------------------


@pytest.mark.fast
def test_one_cycle():
    cycle = [*map(Schedule(Options(schedule="one-cycle", warm_up=0.3), 100), range(101))]
    assert cycle[0] == pytest.approx(1 / 25) and cycle[30] == max(cycle) == pytest.approx(1)
    assert cycle[15] == pytest.approx((1 + 1 / 25) / 2) and cycle[100] == pytest.approx(4e-6)


@pytest.mark.fast
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


# The curve ------------------------------------------------------------------------------------


class Writer:
    """Stands in for SummaryWriter, whose package is not installed here."""

    def __init__(self, folder: str, purge_step: int):
        self.scalars: list = []
        assert (folder, purge_step) == ("events", 0)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def flush(self) -> None:
        pass


@pytest.mark.fast
def test_tensorboard(monkeypatch):
    module = types.ModuleType("torch.utils.tensorboard")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    with pytest.raises(ValueError, match="needs the package tensorboard"):
        TensorBoard(Path("events"))
    module.SummaryWriter = Writer   # pyright: ignore[reportAttributeAccessIssue]
    board: Any = TensorBoard(Path("events"))
    board.add(Epoch(3, 1.5, 0.5, [0.1, 0.2], 2, 0.25, 32, 0.01, 9.0))
    found = {name: value for name, value, step in board.writer.scalars if step == 3}
    assert found["accuracy/validation"] == 0.25 and found["spikes/layer1"] == 0.2
    board.add(Epoch(4, 1.5, 0.5, []))
    assert not [row for row in board.writer.scalars if row[0] == "accuracy/validation"
                and row[2] == 4]
