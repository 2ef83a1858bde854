"""The command line, end to end on small digits."""

import json

import pytest
from safetensors import SafetensorError

from quadfire.models.integer import IntegerNetwork
from quadfire.models.neurons import SpikingNeuron

from tests.command import quadfire


def run(*words) -> str:
    result = quadfire(*words)
    assert result.status == 0, result.text
    return result.text


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "net.safetensors"
    output = run("train", "--dataset", "digits", "--hidden", 24, "--hidden", 16, "--epochs", 4,
                 "--rate", 0.01, "--augment", "none", "--out", path)
    assert "of 359 held-out images" in output
    return path


@pytest.mark.parametrize("bits", [8, 4])
def test_train_quantize_evaluate(checkpoint, bits):
    path = checkpoint.with_name(f"int{bits}.safetensors")
    output = run("quantize", checkpoint, "--bits", bits, "--epochs", 1, "--out", path)
    assert "rounded" in output and "adapted" in output
    network = IntegerNetwork.load(path)
    assert [layer.outputs for layer in network.layers] == [24, 16, 10]
    assert network.about["accuracy"]["held_out"] > 0.7
    table = run("evaluate", checkpoint, path)
    assert "float" in table and "integer" in table
    share = network.about["accuracy"]["held_out"]
    assert f"{share:.2%}" in table and str(round(share * 359)) in table


def test_rounding_alone_trains_nothing(checkpoint):
    path = checkpoint.with_name("rounded.safetensors")
    run("quantize", checkpoint, "--epochs", 0, "--out", path)
    accuracy = IntegerNetwork.load(path).about["accuracy"]
    assert accuracy["rounded"] == accuracy["held_out"]


def test_show_tells_how_a_file_was_made(checkpoint):
    path = checkpoint.with_name("info.safetensors")
    run("quantize", checkpoint, "--epochs", 0, "--out", path)
    assert "QIF" in run("show", checkpoint) and "command" in run("show", checkpoint)
    output = run("show", path)
    assert "Q2.10" in output and "readout" in output and "float_accuracy" in output


def test_neurons_writes_every_run(tmp_path):
    path = tmp_path / "compare.json"
    run("neurons", "--dataset", "digits", "--epochs", 1, "--seeds", 2, "--window", 1.0,
        "--out", path)
    rows = json.loads(path.read_text())["neurons"]
    assert [row["neuron"]["kind"] for row in rows] == ["qif", "lif"]
    assert all(len(row["held_out"]) == 2 for row in rows)


def test_help_teaches():
    output = run("--help")
    for word in ("train", "quantize", "evaluate", "show", "neurons", "simulate", "verilog"):
        assert word in output


@pytest.mark.parametrize(("words", "message"), [
    (["show", "nothing.safetensors"], "there is no such file"),
    (["quantize", "--bits", "5"], "bits must be 4 or 8, not 5"),
    (["untrained", "2C3-10", "--shape", "1", "8", "8", "--out", "/dev/null/net.safetensors"],
     "/dev/null"),
])
def test_errors_are_one_line(monkeypatch, capsys, words, message):
    done = quadfire(*words)
    assert done.status == 2
    error = done.err
    assert message in error and "Traceback" not in error


@pytest.mark.parametrize(("name", "hint"), [
    ("notes.txt", ""), ("quadfire.json", ": an array? see `quadfire configs {}`"),
    ("", ": it is a folder, name a file in it")])
def test_a_file_of_neither_kind_is_one_line(tmp_path, name, hint):
    path = tmp_path / name
    if name:
        path.write_text("{}" if name.endswith(".json") else "milk, bread")
    done = quadfire("show", path)
    assert done.status == 2
    assert done.err == (f"error: {path}: neither a checkpoint nor an integer network"
                        f"{hint.format(path)}\n")


def test_a_file_that_cannot_be_written_is_one_line(monkeypatch, capsys):
    """safetensors has an error of its own for it."""
    def refuse(*_, **__):
        raise SafetensorError("I/O error: no space left")

    monkeypatch.setattr("quadfire.models.integer.network_file.save_file", refuse)
    done = quadfire("untrained", "2C3-10", "--shape", "1", "8", "8")
    assert done.status == 2
    assert "safetensors cannot be written: I/O error: no space left\n" in done.err


@pytest.mark.parametrize("words", [
    ["train", "--steps", 0], ["train", "--out", "."], ["neurons", "--seeds", 0],
    ["neurons", "--out", "."], ["quantize", "--images", 0], ["quantize", "--epochs", -1],
    ["quantize", "--calibrate", -5], ["quantize", "--out", "."], ["report", "--images", 0],
    ["report", "--images", -5], ["report", "--calibrate", -5], ["report", "--out", "."],
    ["untrained", "--steps", 0], ["untrained", "--out", "."],
    ["experiments", "neurons", "--out", __file__], ["dynamics", "--out", __file__]])
def test_options_are_checked_before_anything_is_done(monkeypatch, words):
    monkeypatch.setattr(SpikingNeuron, "__init__", None)    # no network is made
    monkeypatch.setattr("quadfire.models.datasets.load_dataset", None)
    result = quadfire(*words)
    assert result.status == 2 and "Invalid value for" in result.err
    assert f"'{words[-2]}'" in result.err


def test_a_file_that_names_no_data_set(tmp_path):
    path = tmp_path / "net.safetensors"
    run("untrained", "2C3-10", "--shape", 1, 8, 8, "--steps", 1, "--out", path)
    done = quadfire("evaluate", path)
    assert done.status == 2 and "names no data set: name it by --dataset" in done.err
    assert "359" in run("evaluate", path, "--dataset", "digits")
