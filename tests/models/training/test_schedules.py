"""Schedules of a run: stages of T, rates, averages, mixing, validation, time; each with resume."""

import math

import pytest
import torch

from quadfire.models.training.average import Average
from quadfire.models.training.mixing import mixed
from quadfire.models.training.optimizer import Schedule
from quadfire.models.training.options import Options
from quadfire.models.training.stages import parse_stages, value_at
from quadfire.models.training.train import fit

from tests.command import quadfire
from tests.models.training.test_fit import pictures, plan, small  # noqa: F401 (a fixture)

STAGES = ((1, 1), (2, 2))


def test_stages_are_read():
    assert parse_stages("1:10,2:5,4:5") == ((1, 10), (2, 5), (4, 5))
    assert [value_at(parse_stages("1:2,4:3"), epoch) for epoch in range(1, 8)] == \
        [1, 1, 4, 4, 4, 4, 4]
    for text in ("", "4", "1:2,", "1:0", "0:3", "1:2;4:3", "1:-2"):
        with pytest.raises(ValueError, match="must be"):
            parse_stages(text)


def test_stages_train_at_few_steps_first(pictures):  # noqa: F811
    network, epochs, seen = small(), [], []
    fit(network, pictures, plan(epochs=3, stages=STAGES), epochs.append,
        watch=lambda step: seen.append((step.epoch, network.steps, network.layers[0].steps)))
    assert [epoch.steps for epoch in epochs] == [1, 2, 2]
    assert set(seen) == {(1, 1, 1), (2, 2, 2), (3, 2, 2)}
    assert network.steps == 2
    for wrong, message in ((((1, 1), (2, 1)), "must have 3 epochs in sum"),
                           (((2, 1), (1, 2)), "must be at the network's own T = 2")):
        with pytest.raises(ValueError, match=message):
            fit(small(), pictures, plan(epochs=3, stages=wrong))


@pytest.mark.fast
@pytest.mark.parametrize(("schedule", "warm_up", "expected"), [
    ("cosine", 0.05, lambda p: 0.5 + 0.5 * math.cos(math.pi * p)),
    ("linear", 0.3, lambda p: (1 - p) / 0.7)])
def test_rates(schedule, warm_up, expected):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 2.0)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, Schedule(Options(schedule=schedule, warm_up=warm_up), 100))
    found = []
    for _ in range(100):
        found.append(rates.get_last_lr()[0])
        optimizer.step()
        rates.step()
    rising = round(100 * warm_up)
    assert found[:rising - 1] == pytest.approx([2 * (i + 1) / rising for i in range(rising - 1)])
    assert found[rising:] == pytest.approx([2 * expected(i / 100) for i in range(rising, 100)])


@pytest.mark.fast
def test_mixup_and_cutmix():
    generator = torch.Generator().manual_seed(1)
    images = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 3, 10, 10) * 20
    labels = torch.arange(8)
    for mixup, cutmix in ((0.5, 0.0), (2.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        kinds = set()
        for _ in range(30):
            found = mixed(images, labels, mixup, cutmix, generator)
            assert found.images.dtype == torch.uint8 and 0 <= found.share <= 1
            values = found.images.float()
            mean = found.share * 20 * labels + (1 - found.share) * 20 * found.others
            assert (values.mean((1, 2, 3)) - mean).abs().max() < 0.51
            kinds.add("cut" if all(set(image.unique().tolist()) <= {20 * a, 20 * b} for image, a, b
                                   in zip(values, labels.tolist(), found.others.tolist(),
                                          strict=True)) else "blend")
        assert "blend" in kinds if mixup else kinds == {"cut"}
        assert "cut" in kinds if cutmix else True


@pytest.mark.fast
def test_average_of_weights():
    layer = torch.nn.Linear(2, 1)
    average, values = Average(layer, 0.5), []
    for value in (1.0, 2.0, 4.0):
        torch.nn.init.constant_(layer.weight, value)
        values.append(average.values["weight"][0, 0].item())
        average.update()
    first = values[0]
    decays = [0.1, 2 / 11, 0.25]        # (1 + n) / (10 + n), below 0.5
    for decay, value in zip(decays, (1.0, 2.0, 4.0), strict=True):
        first = decay * first + (1 - decay) * value
    assert average.values["weight"][0, 0].item() == pytest.approx(first)
    with average.shown():
        assert layer.weight[0, 0].item() == pytest.approx(first)
    assert layer.weight[0, 0].item() == 4.0
    average.keep()
    assert layer.weight[0, 0].item() == pytest.approx(first)


@pytest.mark.parametrize(("words", "told"), [
    (("--stages", "1:2,4:x"), "stages must be"),
    (("--stages", "1:2,4:2", "--epochs", 3), "leave --epochs out"),
    (("--stages", "4:2,1:2"), "must be at the network's own T = 4"),
    (("--augment", "cutout"), "is for colour images in memory"),
    (("--hole", 4), "a hole of 4 pixels"),
    (("--validate", 3), "validation takes at least one sample a class"),
    (("--init", "models/pretrained/mnist5k-784-128-10.safetensors"), "of another network"),
])
def test_the_command_refuses(words, told):
    done = quadfire("train", "--dataset", "digits", "--network", "8C3-P2-10", *words)
    assert done.status and told in (done.out + done.err)


def test_the_command_goes_on_and_starts_from_a_checkpoint(tmp_path):
    net = tmp_path / "net.safetensors"
    words = ("train", "--dataset", "digits", "--network", "8C3-P2-10", "--stages", "1:1,2:1",
             "--steps", 2, "--augment", "none", "--validate", 100, "--no-test", "--out", net)
    stopped = quadfire(*words, "--minutes", 0)
    assert stopped.status == 75 and "--resume" in stopped.out and not net.exists()
    done = quadfire(*words, "--resume")
    assert done.status == 0 and net.exists(), (done.out + done.err)
    rows = (tmp_path / "net.log.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,steps,loss,train,validation") and len(rows) == 3
    other = tmp_path / "other.safetensors"
    done = quadfire("train", "--dataset", "digits", "--network", "8C3-P2-10", "--steps", 3,
                    "--neuron", "lif", "--epochs", 1, "--rate", 1e-9, "--weight-decay", 0,
                    "--init", net, "--out", other)
    assert done.status == 0 and "other parameters" in (done.out + done.err), (done.out + done.err)
