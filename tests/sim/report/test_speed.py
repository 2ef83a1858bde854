"""Speed: arrays that are too small are refused, and no library is left in the cache."""

import pytest

from quadfire.sim.report.speed import measure
from quadfire.sim.verilator import cache


def test_an_array_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="spike words"):
        measure("tiny")


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_an_array_is_measured(threads, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "ROOT", tmp_path)
    speed = measure("small", threads)
    assert speed.threads == threads
    assert speed.cycles_per_second > 1000 and speed.build_seconds > speed.verilog_seconds > 0
    assert (tmp_path / "verilated").is_dir() and not list((tmp_path / "verilated").iterdir())
