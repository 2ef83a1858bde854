"""Losses, optimisers, resuming to the bit, several processes, and both from the command line."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from quadfire.models.datasets import ImageDataset, TensorSamples
from quadfire.models.networks import ConvNet
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import GLIF, LIF, QIF
from quadfire.models.training import parallel
from quadfire.models.training.augment import Augment, ImageAugment
from quadfire.models.training.checkpoint import CheckpointError, load_checkpoint
from quadfire.models.training.losses import tet_loss
from quadfire.models.training.options import Options, environment
from quadfire.models.training.train import fit, measure

ROOT = Path(__file__).parents[3]


def coloured(count: int = 48, seed: int = 1) -> TensorSamples:
    """Noise around one of four smooth pictures."""
    generator = torch.Generator().manual_seed(seed)
    smooth = functional.interpolate(torch.rand(4, 3, 3, 3, generator=torch.Generator()
                                               .manual_seed(9)), (12, 12), mode="bilinear")
    labels = torch.arange(count) % 4
    noise = torch.rand(count, 3, 12, 12, generator=generator)
    return TensorSamples((255 * (0.7 * smooth[labels] + 0.3 * noise)).to(torch.uint8), labels)


@pytest.fixture(scope="module")
def pictures() -> ImageDataset:
    return ImageDataset(name="coloured", shape=(3, 12, 12), classes=4,
                        train_samples=coloured(), held_out_samples=coloured(20, 2))


def small(kind: Any = QIF, steps: int = 2) -> ConvNet:
    torch.manual_seed(1)
    return ConvNet("6C3-P2-8C3-P2-16-4", kind(window=1.0), input_shape=(3, 12, 12), steps=steps)


def plan(**options) -> Options:
    return Options(**{"epochs": 4, "batch": 16, "rate": 1e-2, "loss": "tet", "decay": "weights",
                      "augment": ImageAugment(crop=1, cutout=3), **options})


def same(one, two) -> bool:
    return all(torch.equal(value, two.state_dict()[key])
               for key, value in one.state_dict().items())


# Losses -------------------------------------------------------------------------------------------


def test_losses():
    logits = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 0])
    each = [functional.cross_entropy(step, labels) for step in logits]
    mean = functional.cross_entropy(logits.mean(0), labels)
    torch.testing.assert_close(tet_loss(logits, labels, weight=0), torch.stack(each).mean())
    torch.testing.assert_close(
        tet_loss(logits, labels, weight=0.2, target=0.5),
        0.8 * torch.stack(each).mean() + 0.2 * ((logits - 0.5) ** 2).mean())
    assert tet_loss(logits, labels, weight=0) > mean       # convex
    constant = logits[:1].expand(3, -1, -1)
    torch.testing.assert_close(tet_loss(constant, labels, weight=0, smoothing=0.1),
                               functional.cross_entropy(logits[0], labels, label_smoothing=0.1))


# Options ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [
    {"optimizer": "adamw"}, {"optimizer": "sgd", "rate": 0.1}, {"loss": "mean", "smoothing": 0.1},
    {"decay": "all"}, {"precision": "bfloat16"},
])
def test_every_way_of_training_learns(pictures, options):
    epochs = []
    network = small()
    fit(network, pictures, plan(epochs=16, augment=None, **options), epochs.append)
    assert epochs[-1].loss < 0.7 * epochs[0].loss
    assert all(p.dtype == torch.float32 for p in network.parameters())
    share, rates = measure(network, pictures.held_out_samples, batch=7)
    assert share > 0.6 and len(rates) == 3


def test_a_last_batch_of_one_sample_is_left_out(data):
    """It would have no variance: a dense network's tdBN cannot train on it."""
    some = replace(data, train=data.train[:41])
    networks, watched = [], []
    for dataset in (some, replace(data, train=data.train[:40])):
        torch.manual_seed(1)
        networks.append(SpikingMLP([64, 8, 10], LIF(), 2))
        fit(networks[-1], dataset, Options(epochs=1, batch=20, augment=None),
            watch=watched.append)
    assert [step.batch for step in watched] == [1, 2, 1, 2]
    with pytest.raises(ValueError, match="more than 1 value"):      # what else would it do
        fit(networks[0], some, Options(epochs=1, batch=1, augment=None))


def test_decay_of_weights_leaves_norms_and_neurons_alone(pictures):
    """With a rate of almost nothing only decay moves parameters."""
    for decay, still in (("weights", True), ("all", False)):
        network = small()
        with torch.no_grad():
            network.readout.bias.fill_(1.0)
        fit(network, pictures, plan(epochs=1, rate=1e-9, weight_decay=1e8, decay=decay,
                                    augment=None))
        assert torch.allclose(network.readout.bias, torch.ones(4), atol=1e-6) == still
        assert network.readout.weight.abs().max() < 0.9 * small().readout.weight.abs().max()


def test_decay_of_weights_leaves_the_gates_of_glif_alone(pictures):
    """Per channel they have two dimensions, as weights have."""
    network = ConvNet("4C3-P2-4", GLIF(2, channels=4), input_shape=(3, 12, 12), steps=2)
    before = {name: value.clone() for name, value in network.named_parameters()}
    assert before["layers.0.neuron.logit_gates"].shape == (3, 4)
    fit(network, pictures, plan(epochs=1, rate=1e-9, weight_decay=1e8, decay="weights",
                                augment=None))
    for name, value in network.named_parameters():
        moved = not torch.allclose(value, before[name], atol=1e-6)
        assert moved == (name in ("layers.0.conv.weight", "readout.weight")), name


def test_measure_in_batches_is_accuracy(pictures):
    network, held_out = small().eval(), pictures.held_out_samples
    images, labels = held_out.batch(torch.arange(20))
    with torch.no_grad():
        expected = (network(images).argmax(1) == labels).double().mean().item()
    rates = network.rates
    for batch in (3, 20):
        share, found = measure(network, held_out, batch=batch)
        assert share == expected and found == pytest.approx(rates, abs=1e-6)


def test_workers_change_nothing(pictures):
    networks = [small(), small()]
    for workers, network in enumerate(networks):
        fit(network, pictures, plan(epochs=2), workers=workers)
    assert same(*networks)


@pytest.mark.parametrize(("options", "message"), [
    ({"optimizer": "lion"}, "optimizer must be adamw or sgd, not 'lion'"),
    ({"loss": "mse"}, "loss must be mean or tet"), ({"decay": "none"}, "decay must be"),
    ({"precision": "int8"}, "precision must be"), ({"epochs": 0}, "must be above 0"),
])
def test_options_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        Options(**options)


def test_float16_is_for_gpus(pictures):
    with pytest.raises(ValueError, match="float16 is for GPUs"):
        fit(small(), pictures, plan(precision="float16"))


def test_config_holds_what_is_not_the_default():
    assert "optimizer" not in Options().config() and Options().config()["rate"] == 3e-3
    assert Options(loss="tet").config()["loss"] == "tet"
    assert json.loads(json.dumps(plan().config())) == plan().config()
    assert "torch" in environment() and environment()["processes"] == 1


# Resuming -----------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def stop_after(epochs: int):
    def report(epoch) -> None:
        if epoch.number == epochs:
            raise Killed

    return report


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd", "rate": 0.1}, {"loss": "mean"}])
def test_a_run_that_was_stopped_comes_to_the_same_weights(pictures, tmp_path, options):
    whole, state = small(), tmp_path / "run.safetensors"
    told: list = []
    last = fit(whole, pictures, plan(**options), told.append)
    for epochs in (1, 3):
        with pytest.raises(Killed):
            fit(small(), pictures, plan(**options), stop_after(epochs), state=state)
    resumed, again = small(), []
    assert fit(resumed, pictures, plan(**options), again.append, state=state) == last
    assert again == told and same(whole, resumed)


def test_stopped_in_the_middle_of_an_epoch(pictures, tmp_path):
    whole, state = small(), tmp_path / "run.safetensors"
    fit(whole, pictures, plan())

    def watch(progress) -> None:
        if (progress.epoch, progress.batch) == (3, 2):
            raise Killed

    with pytest.raises(Killed):
        fit(small(), pictures, plan(), watch=watch, state=state)
    resumed = small()
    fit(resumed, pictures, plan(), state=state)
    assert same(whole, resumed)


def test_a_finished_run_is_not_trained_again(pictures, tmp_path):
    network, state = small(), tmp_path / "run.safetensors"
    last = fit(network, pictures, plan(epochs=1), state=state)
    before = state.read_bytes()
    again = small()
    assert fit(again, pictures, plan(epochs=1), state=state) == last and same(network, again)
    assert state.read_bytes() == before


def test_the_state_of_another_run_is_refused(pictures, tmp_path, data):
    state = tmp_path / "run.safetensors"
    fit(small(), pictures, plan(epochs=1), state=state)
    for network, options, message in [
            (small(), plan(epochs=2), "of another run: its options.epochs is 1, not 2"),
            (small(LIF), plan(epochs=1), "of another run: its network.neuron.a"),
            (small(), plan(epochs=1, augment=None), "of another run: its options.augment is")]:
        with pytest.raises(CheckpointError, match=message):
            fit(network, pictures, options, state=state)
    state.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="not the state of a run"):
        fit(small(), pictures, plan(), state=state)


def test_dense_networks_resume_as_well(data, tmp_path):
    def make() -> SpikingMLP:
        torch.manual_seed(1)
        return SpikingMLP([64, 8, 10], QIF(window=1.0), 2)

    options = Options(epochs=2, augment=Augment(), loss="tet")
    whole, resumed = make(), make()
    fit(whole, data, options)
    with pytest.raises(Killed):
        fit(make(), data, options, stop_after(1), state=tmp_path / "run")
    fit(resumed, data, options, state=tmp_path / "run")
    assert same(whole, resumed)


# The command line ---------------------------------------------------------------------------------


def command(*words, launcher: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *launcher, "-m", "quadfire", "train", *map(str, words)]


def environ() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def cifar(tmp_path_factory) -> Path:
    """64 + 16 images in CIFAR-10's binary version."""
    folder = tmp_path_factory.mktemp("data") / "cifar-10-batches-bin"
    folder.mkdir()
    random = np.random.default_rng(1)
    for n, file in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        labels = (np.arange(14 if n < 5 else 16) % 10).astype(np.uint8)
        pixels = random.integers(120, size=(len(labels), 3072)) + 13 * labels[:, None]
        (folder / f"{file}.bin").write_bytes(
            np.concatenate([labels[:, None], pixels], 1).astype(np.uint8).tobytes())
    return folder.parent


RUN = ("--network", "resnet19", "--width", 0.03, "--dataset", "cifar10", "--steps", 2,
       "--batch", 16, "--neuron", "lif")


def test_killed_and_resumed_from_the_command_line(cifar, tmp_path):
    """kill -9 in the middle, then --resume: the file is the one of a run left alone."""
    def start(out: Path, *words) -> subprocess.Popen:
        return subprocess.Popen(
            command(*RUN, "--data", cifar, "--epochs", 4, "--out", out, *words), env=environ(),
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    whole = start(tmp_path / "whole.safetensors")
    cut = start(tmp_path / "cut.safetensors")
    state = tmp_path / "cut.run.safetensors"
    deadline = time.monotonic() + 60
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL and state.exists()
    rest = start(tmp_path / "cut.safetensors", "--resume")
    output, told = whole.communicate()[0], rest.communicate()[0]
    assert whole.returncode == rest.returncode == 0, output + told
    assert not state.exists()
    one, two = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "cut"))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)
    _, about = load_checkpoint(tmp_path / "cut.safetensors")
    assert [epoch["number"] for epoch in about["history"]] == [1, 2, 3, 4]
    assert about["options"]["seed"] == 1 and about["options"]["optimizer"] == "sgd"
    assert about["environment"]["processes"] == 1 and len(about["spike_rates"]) == 18
    assert "epoch 1:" in told and "held-out images" in told


TWO = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
       "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0")


def test_torchrun_trains(cifar, tmp_path):
    done = subprocess.run(command(*RUN, "--data", cifar, "--epochs", 1, "--out", "two.safetensors",
                                  launcher=TWO), env=environ(), cwd=tmp_path, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("epoch 1:") == 1               # the first process alone speaks
    _, about = load_checkpoint(tmp_path / "two.safetensors")
    assert about["environment"]["processes"] == 2 and about["options"]["synchronise"]
    assert not (tmp_path / "two.run.safetensors").exists()


WORKER = """
from pathlib import Path
import sys
import torch
from quadfire.models.training import parallel, train
from tests.models.training.test_fit import Killed, stop_after, train_in_float64

torch.set_num_threads(1)
with parallel.processes(torch.device("cpu")):
    out = Path(sys.argv[1])
    train_in_float64(out / "together")
    train_in_float64(out / "apart", synchronise=False)
    try:
        train_in_float64(out / "resumed", stop_after(2), state=out / "state")
    except Killed:
        train_in_float64(out / "resumed", state=out / "state")
    train._Clock.LOOK = 1
    for _ in range(4):      # the first process alone is asked to stop, after a batch
        try:
            train_in_float64(out / "parts", state=out / "within", stop=parallel.is_first)
        except train.OutOfTime:
            pass
    train_in_float64(out / "parts", state=out / "within")
threads = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
assert not any("gloo" in thread for thread in threads), threads
"""


def train_in_float64(out: Path, report=lambda _: None, *, synchronise: bool = True,
                     **settings) -> None:
    """9 steps with augmentation, the last batch of each epoch an odd one; all numbers to `out`."""
    pictures = ImageDataset(name="coloured", shape=(3, 12, 12), classes=4,
                            train_samples=coloured(45), held_out_samples=coloured(21, 2))
    network = small().double()
    last = fit(network, pictures, plan(epochs=3, synchronise=synchronise), report, **settings)
    share, rates = measure(network, pictures.held_out_samples, batch=8)
    if parallel.is_first():
        numbers = torch.tensor([last.loss, last.accuracy, *last.rates, share, *rates]).double()
        save_file({**network.state_dict(), "numbers": numbers}, out)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, dict[str, torch.Tensor]]:
    """The same network trained by one process, and in several ways by two, over gloo."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "worker.py").write_text(WORKER)
    done = subprocess.run([sys.executable, *TWO, str(folder / "worker.py"), str(folder)],
                          env=environ(), cwd=folder, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    train_in_float64(folder / "alone")
    return {name: load_file(folder / name)
            for name in ("alone", "together", "apart", "resumed", "parts")}


def test_two_processes_come_to_the_weights_of_one(runs):
    """And accuracy and rates, to 1e-9, in float64.

    In float32 sums differ in the last bit. The first spike that this turns over magnifies it.
    """
    assert runs["together"].keys() == runs["alone"].keys()
    for key, value in runs["alone"].items():
        torch.testing.assert_close(runs["together"][key], value, rtol=1e-9, atol=1e-9)


def test_two_processes_with_statistics_of_their_own_differ(runs):
    assert all(value.isfinite().all() for value in runs["apart"].values())
    assert not torch.allclose(runs["apart"]["layers.0.norm.mu"],
                              runs["alone"]["layers.0.norm.mu"], rtol=1e-6)


@pytest.mark.parametrize("name", ["resumed", "parts"])
def test_two_processes_resume_to_the_bit(runs, name):
    """After an epoch, and within it: loss and accuracy are of all batches and of both parts."""
    for key, value in runs[name].items():
        assert torch.equal(value, runs["together"][key]), key
