"""`quadfire`: what is wrong is told in one line, before anything is written."""

import json

import numpy as np
import pytest

from quadfire.firmware import CompileError
from quadfire.models.integer import IntegerNetwork
from quadfire.models.integer.random_network import random_network
from quadfire.rtl.contract.config import preset
from quadfire.sim.cycles import estimate
from quadfire.sim.report import activity, deep, speed

from tests.command import quadfire

pytestmark = pytest.mark.fast


def fails(*words) -> str:
    """The error of a command, a line on stderr."""
    result = quadfire(*words)
    assert result.status == 2, result.text
    assert result.err.startswith("error: ") and result.err.count("\n") == 1
    return result.err


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "net.safetensors"
    random_network(np.random.default_rng(1), preset("tiny"), sizes=(20, 11, 7), steps=3,
                   input_bits=0, readout=True).save(path)
    return path


def test_the_demo_is_refused_before_anything_is_generated(monkeypatch):
    monkeypatch.setattr("quadfire.sim.report.demo.VerilatedTransport", None)
    assert "needs 204 spike words at least" in fails("demo", "-c", "tiny")


def test_errors_keep_their_brackets():
    for name in ("[bold]nothing[/]", "[/]"):
        assert name in fails("build", "--config", name)


def test_a_mismatch_keeps_the_brackets_of_its_layer(capsys, monkeypatch, tmp_path):
    result = {"network": "a", "input": "b", "image_cycles": 1, "steps": 4,
              "configuration": "tiny", "by_layer": [],
              "mismatched_spikes": 1, "compared_spikes": 9, "active_sop": 1, "lanes": 8,
              "utilisation": 0.1, "events_per_cycle": 0.1, "streamed_cycles": 1,
              "simulation_seconds": 1, "spike_rate": 0.1, "cycles": 1, "predicted_cycles": 1,
              "events": 1, "first_mismatch": "layer '[conv]', step 0"}
    deep._print(deep.Console(), preset("tiny"), result)
    assert "first: layer '[conv]', step 0" in capsys.readouterr().out


def test_the_title_of_a_picture_says_what_was_changed(monkeypatch, tmp_path):
    titles = []
    monkeypatch.setattr(activity, "measure", lambda config, **shape: [])
    monkeypatch.setattr(activity, "draw", lambda rows, title, path: titles.append(title))
    result = quadfire("activity", "--set", "spike_words=4096", "-o", tmp_path)
    assert result.status == 0, result.text
    assert titles == ["3 x 3 convolution: cost grows with spikes\n"
                      "default with a spike memory of 4,096 words"]


# speed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("names", "message"), [
    (["tiny", "tinny"], "no configuration is called 'tinny'"), (["tiny"], None)])
def test_speed_keeps_the_results_there_are(monkeypatch, tmp_path, names, message):
    def refuse(name, threads):
        assert message is None, "measured before all names were looked at"
        raise CompileError("does not fit")

    monkeypatch.setattr(speed, "measure", refuse)
    path = tmp_path / "speed.json"
    path.write_text("good")
    words = ["speed", *(word for name in names for word in ("-c", name)), "-o", tmp_path]
    if message:
        assert message in fails(*words)
    else:
        assert quadfire(*words).status == 2
    assert path.read_text() == "good"


def test_speed_writes_what_was_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "measure", lambda *what: speed.Speed(*what, 1.0, 2.0, 3))
    assert quadfire("speed", "-c", "tiny", "--threads", "1", "-o", str(tmp_path)).status == 0
    assert [row["preset"] for row in json.loads((tmp_path / "speed.json").read_text())] == ["tiny"]


# sweep -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "message"), [
    ("lanes", "--set takes FIELD=NUMBER,NUMBER, not 'lanes'"),
    ("lanes=a", "--set takes FIELD=NUMBER,NUMBER, not 'lanes=a'"),
    ("lanes=4,", "--set takes FIELD=NUMBER,NUMBER, not 'lanes=4,'"),
    ("lane=4", "there is no field 'lane'; there are banks, lanes,"),
    ("lanes=3,5", "none of these arrays can be")])
def test_sweep_says_what_cannot_be(network, tmp_path, change, message):
    path = tmp_path / "sweep.png"
    assert message in fails("sweep", network, "-c", "tiny", "--set", change, "-o", path)
    assert not path.exists()


def test_sweep_draws_the_arrays_that_can_be(network, tmp_path):
    path = tmp_path / "sweep.png"
    result = quadfire("sweep", str(network), "-c", "tiny", "--set", "lanes=4,6,8", "-o", str(path))
    assert result.status == 0, result.text
    assert "1 cannot be: lanes must be a power of two, not 6" in result.out
    assert path.stat().st_size > 5_000


def test_sweep_swallows_no_mistake(network, monkeypatch):
    monkeypatch.setattr(estimate, "compile_network", lambda *_: 1 + None)   # pyright: ignore
    with pytest.raises(TypeError):
        estimate.sweep(IntegerNetwork.load(network), preset("tiny"), {"lanes": (4,)})
