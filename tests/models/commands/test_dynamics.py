"""The theory of a neuron from the command line, in numbers and pictures."""

import pytest

from tests.command import quadfire


def test_command_prints_and_draws(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    result = quadfire("dynamics", "--a", "0.25", "--u1", "0", "--u2", "0.5", "--out", str(tmp_path))
    assert result.status == 0
    for text in ("0.875", "1.26562", "-4 .. 4.5", "0.1801, 1.0581, 0.2192", "0.8158"):
        assert text in result.text
    names = {"recurrence", "bifurcation", "membrane", "f_i_curve", "mismatch"}
    assert {path.stem for path in tmp_path.iterdir()} == names
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 20_000


@pytest.mark.parametrize("words", [["--a", "2", "--u1", "-1", "--u2", "-0.5"],
                                   ["--a", "0.5", "--soft", "--alpha", "0.5"]])
def test_command_on_extreme_neurons(words):
    result = quadfire("dynamics", *words, "--no-pictures")
    assert result.status == 0 and "none" in result.text
