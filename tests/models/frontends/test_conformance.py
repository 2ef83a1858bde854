"""Neurons of other libraries have the spikes of their canonical form; CONFORMANCE.md says so."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from quadfire.models.frontends.neurons import is_neuron, read
from quadfire.rtl.contract.numerics import neuron_step

from tests.models.frontends.conformance import (
    CHANNELS,
    DOCUMENT,
    Result,
    Row,
    compare,
    drive,
    render,
    run_library,
)
from tests.models.frontends.conformance_rows import REFUSED, ROWS, refusal
from tests.models.frontends.peers import peer

#: Library -> the module that must be there.
MODULES = {"snntorch": "snntorch", "spikingjelly": "spikingjelly.activation_based.neuron",
           "norse": "norse.torch", "sinabs": "sinabs.layers"}


def ids(rows: list[Row]) -> list[str]:
    return [f"{row.library}-{i}" for i, row in enumerate(rows)]


@cache
def result(row: Row) -> Result:
    return compare(row)


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_same_spikes_as_the_library(row: Row):
    peer(MODULES[row.library])
    got = result(row)
    assert got.steps >= 100_000
    assert got.mismatches == 0, got.neuron.text
    assert got.potential < 1e-12, got.neuron.text
    if got.neuron.spiking:
        assert got.at_threshold >= got.steps / 10
        assert got.spikes >= got.steps / 4


@pytest.mark.parametrize("row", [row for row in ROWS if row.top < 3],
                         ids=lambda row: f"{row.library}-{row.name}")
def test_outside_of_its_condition_a_neuron_differs(row: Row):
    """Where several spikes, or a reset still pending, change what comes: above 2 thresholds."""
    peer(MODULES[row.library])
    within, beyond = result(row), compare(row, top=4.0)
    assert "2 threshold" in within.neuron.condition
    assert beyond.mismatches > beyond.steps / 100


@pytest.mark.parametrize("row", [row for row in ROWS if row.top == 3], ids=lambda row: row.library)
def test_all_others_have_no_condition(row: Row):
    peer(MODULES[row.library])
    assert not result(row).neuron.condition


@pytest.mark.parametrize("row", REFUSED, ids=ids(REFUSED))
def test_other_neurons_are_refused(row: Row):
    peer(MODULES[row.library])
    module = row.make()
    assert is_neuron(module)
    _, _, message = refusal(row)
    assert "\n" not in message and ":" in message       # what is wrong, and what to do


def test_the_document_is_up_to_date():
    for module in MODULES.values():
        peer(module)
    text = render([result(row) for row in ROWS], list(map(refusal, REFUSED)))
    assert DOCUMENT.read_text(encoding="utf-8") == text, \
        "renew it: python -m tests.models.frontends.conformance"


def _everyday() -> list[Row]:
    """Neurons with the constants that people train with, which float64 rounds."""
    def snn(name: str, *arguments: Any, **options: Any) -> Row:
        return Row("snntorch", lambda: getattr(peer("snntorch"), name)(*arguments, **options))

    def sj(name: str, *arguments: Any, **options: Any) -> Row:
        return Row("spikingjelly", lambda: getattr(
            peer("spikingjelly.activation_based.neuron"), name)(*arguments, **options))

    return [snn("Leaky", 0.9), snn("Leaky", 0.95, reset_mechanism="zero"),
            snn("Leaky", 0.9, threshold=torch.linspace(0.3, 2, CHANNELS)),
            snn("Lapicque", beta=0.9), snn("Lapicque", R=5.0, C=3e-3, time_step=1e-3),
            snn("Lapicque", beta=0.9, C=2.0), snn("RLeaky", 0.9, V=0.3, all_to_all=False),
            sj("LIFNode", 3.0), sj("LIFNode", 1.5, v_reset=None), sj("ParametricLIFNode", 3.0),
            sj("KLIFNode", True, 3.0), sj("QIFNode"), sj("IzhikevichNode"),
            Row("norse", lambda: peer("norse.torch").LIFBoxCell()),
            Row("norse", lambda: peer("norse.torch").LIF(
                peer("norse.torch").LIFParameters(tau_syn_inv=torch.tensor(1000.0)))),
            Row("sinabs", lambda: peer("sinabs.layers").LIF(20.0), 1.9),
            Row("sinabs", lambda: peer("sinabs.layers").LIF(20.0, train_alphas=True,
                                                            min_v_mem=-0.7), 1.9)]


@pytest.mark.parametrize("row", _everyday(), ids=lambda row: row.library)
def test_everyday_constants(row: Row):
    """Away from the threshold by more than float64 rounds, the spikes are the same."""
    peer(MODULES[row.library])
    got = compare(row, ties=False)
    assert got.steps >= 100_000 and got.spikes > 10_000
    assert got.mismatches == 0, got.neuron.text
    assert got.potential < 1e-9, got.neuron.text


def test_lapicque_with_beta_decays_by_its_logarithm():
    """Its C follows from beta by the exponential, its update is Euler's."""
    found = read(peer("snntorch").Lapicque(beta=0.9)).form
    assert found.factor == pytest.approx(1 + np.log(0.9), rel=1e-6)


def test_in_integers_above_the_threshold_is_theta_plus_one():
    """An integer network of a neuron that fires above its threshold: `strict` is exact.

    The states are even, so that beta = 1/2 rounds nothing.
    """
    module = peer("snntorch").Leaky(0.5).double()
    form = read(module).form
    bits = 10
    ran = drive(form, top=3.0)
    spikes, _, _ = run_library(module, torch.from_numpy(ran.currents))

    def share(neuron: Any) -> float:
        """Of the steps in which the integers spike otherwise than the library."""
        w, wrong = np.full(ran.currents.shape[1:], neuron.initial), 0
        for current, s in zip(ran.currents, spikes, strict=True):
            j = (form.gain * current + form.offset) * 2 ** bits
            assert (j == np.rint(j)).all()
            fires, w = neuron_step(w, j.astype(int), neuron, bits)
            wrong += (fires != s).sum()
        return float(wrong / spikes.size)

    above, at = form.integer(16, bits), replace(form, strict=False).integer(16, bits)
    assert above.theta == at.theta + 1
    assert share(above) == 0
    assert share(at) > 0.1          # the share of steps at the threshold, and what follows
