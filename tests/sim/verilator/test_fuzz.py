"""Damaged and random packets into the core: no hang, no wrong answer."""

import pytest

from quadfire.rtl.contract.config import preset
from quadfire.sim.verilator.fuzz import fuzz

TINY = preset("tiny")


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_a_few_thousand_packets(stalls):
    report = fuzz(TINY, 4000, seed=3, idle=stalls, backpressure=stalls)
    assert report.packets >= 4000
    assert report.refused > 100 and report.harmless > 0


@pytest.mark.slow
def test_a_million_packets():
    report = fuzz(TINY, 1_000_000, seed=1)
    assert report.packets >= 1_000_000
    assert report.refused > 10_000 and report.harmless > 100
