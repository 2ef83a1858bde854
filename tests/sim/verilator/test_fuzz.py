"""Damaged and random packets into the core: no hang, no wrong answer."""

from itertools import pairwise

import pytest

from quadfire.rtl.contract.config import preset
from quadfire.rtl.contract.tape import COUNTERS, Answer
from quadfire.sim.verilator import fuzz as fuzzing
from quadfire.sim.verilator.fuzz import FuzzFailure, fuzz

TINY = preset("tiny")


@pytest.mark.parametrize("stalls", [0.0, 0.3])
def test_a_few_thousand_packets(stalls):
    report = fuzz(TINY, 4000, seed=3, idle=stalls, backpressure=stalls)
    assert report.packets >= 4000
    assert report.refused > 100 and report.harmless > 0


def swap_reads(answers):
    """The first two READs whose answers differ, in the wrong order."""
    reads = [number for number, answer in enumerate(answers) if answer[0] >> 24 == Answer.SPIKES]
    a, b = next((a, b) for a, b in pairwise(reads) if (answers[a] != answers[b]).any())
    answers[a], answers[b] = answers[b], answers[a]


def miscount(name):
    def change(answers):
        report = next(answer for answer in answers if answer[0] >> 24 == Answer.REPORT)
        report[1 + COUNTERS.index(name)] += 1
    return change


@pytest.mark.parametrize(("wrong", "message"), [
    (swap_reads, "a wrong answer"),
    *((miscount(name), "wrong counters") for name in ("busy", "events", "nulls", "starved"))],
    ids=["reads", "busy", "events", "nulls", "starved"])
def test_what_is_answered_wrongly_is_told(monkeypatch, wrong, message):
    """Wrong answers among the expected ones: the device differs from them, as if it were wrong."""
    tapes = fuzzing._tapes

    def changed(*arguments):
        setup, (packets, answers) = tapes(*arguments)
        answers = [answer.copy() for answer in answers]
        wrong(answers)
        return [setup, (packets, answers)]

    monkeypatch.setattr(fuzzing, "_tapes", changed)
    with pytest.raises(FuzzFailure, match=f"^{message}: seed 3, round"):
        fuzz(TINY, 200, seed=3)


@pytest.mark.slow
def test_a_million_packets():
    report = fuzz(TINY, 1_000_000, seed=1)
    assert report.packets >= 1_000_000
    assert report.refused > 10_000 and report.harmless > 100
