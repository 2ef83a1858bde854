"""The command line, end to end on small digits."""

import json

import pytest
from typer.testing import CliRunner

from models.__main__ import app, main
from models.integer import IntegerNetwork

runner = CliRunner()


def run(*words) -> str:
    result = runner.invoke(app, [*map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "net.safetensors"
    output = run("train", "--dataset", "digits", "--hidden", 24, "--hidden", 16, "--epochs", 4,
                 "--rate", 0.01, "--no-augment", "--out", path)
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


def test_info_tells_how_a_file_was_made(checkpoint):
    path = checkpoint.with_name("info.safetensors")
    run("quantize", checkpoint, "--epochs", 0, "--out", path)
    assert "QIF" in run("info", checkpoint) and "command" in run("info", checkpoint)
    output = run("info", path)
    assert "Q2.10" in output and "readout" in output and "float_accuracy" in output


def test_compare_writes_every_run(tmp_path):
    path = tmp_path / "compare.json"
    run("compare", "--dataset", "digits", "--epochs", 1, "--seeds", 2, "--window", 1.0,
        "--out", path)
    rows = json.loads(path.read_text())["neurons"]
    assert [row["neuron"]["kind"] for row in rows] == ["qif", "lif"]
    assert all(len(row["held_out"]) == 2 for row in rows)


def test_help_teaches():
    output = run("--help")
    for word in ("train", "quantize", "evaluate", "info", "compare", "safetensors"):
        assert word in output


@pytest.mark.parametrize(("words", "message"), [
    (["info", "nothing.safetensors"], "there is no such file"),
    (["quantize", "--bits", "5"], "bits must be 4 or 8, not 5"),
])
def test_errors_are_one_line(monkeypatch, capsys, words, message):
    monkeypatch.setattr("sys.argv", ["models", *words])
    with pytest.raises(SystemExit, match="1"):
        main()
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
