"""Moments of the membrane potential behind tdBN: closed forms against Monte Carlo."""

import numpy as np
import pytest
import torch

from quadfire.models.dynamics import (
    QuadraticMap,
    free_variance,
    not_escaped,
    one_step_moments,
    propagate,
    simulate,
    stationary_moments,
)

from tests.models.dynamics.examples import MEMORY, NEAR, SHIFTED, STRONG

HARD = [    # map, tolerances: mean, deviation (share), rate
    (NEAR, 0.015, 0.015, 0.015), (MEMORY, 0.015, 0.015, 0.015), (SHIFTED, 0.015, 0.015, 0.015),
    (QuadraticMap.root(0.25, 0, 0), 0.015, 0.015, 0.015),
    (QuadraticMap.root(0.25, 0, -1), 0.015, 0.015, 0.015),
    (QuadraticMap.root(0.125, 0, 0.5), 0.015, 0.015, 0.015),
    (QuadraticMap.euler(1.0, 0.25, 0, 0.8), 0.015, 0.015, 0.015),
    (QuadraticMap.linear(0.25), 0.015, 0.015, 0.015),
    (QuadraticMap.linear(0.5), 0.015, 0.015, 0.015),
    (QuadraticMap.linear(0.5, v_reset=-0.25), 0.015, 0.015, 0.015),
    (STRONG, 0.12, 0.18, 0.09),
]


@pytest.mark.parametrize(("neuron", "mean", "deviation", "rate"), HARD)
def test_stationary_moments_with_hard_reset(neuron, mean, deviation, rate):
    found = stationary_moments(neuron)
    u = simulate(neuron, steps=10, samples=300_000, seed=1)
    assert found.mean == pytest.approx(u.mean(), abs=mean)
    assert found.deviation == pytest.approx(u.std(), rel=deviation)
    assert found.rate == pytest.approx(np.mean(u >= 1), abs=rate)


@pytest.mark.parametrize("alpha", [0.5, 1.5])
@pytest.mark.parametrize(("neuron", "mean", "deviation"), [
    (NEAR, 0.06, 0.06), (MEMORY, 0.05, 0.05), (QuadraticMap.linear(0.5), 0.03, 0.015)])
def test_stationary_moments_at_other_alpha(neuron, mean, deviation, alpha):
    found = stationary_moments(neuron, alpha)
    u = simulate(neuron, alpha, steps=10, samples=300_000, seed=1)
    assert found.mean == pytest.approx(u.mean(), abs=mean)
    assert found.deviation == pytest.approx(u.std(), rel=deviation)


@pytest.mark.parametrize(("neuron", "mean", "deviation"), [
    (NEAR, 0.04, 0.02), (MEMORY, 0.02, 0.02), (STRONG, 0.08, 0.04),
    (QuadraticMap.linear(0.5), 0.08, 0.02)])
def test_one_step_form_against_the_fourth_step(neuron, mean, deviation):
    found = one_step_moments(neuron)
    u = simulate(neuron, steps=4, samples=300_000, seed=1)
    assert found.mean == pytest.approx(u.mean(), abs=mean)
    assert found.deviation == pytest.approx(u.std(), rel=deviation)


def test_explicit_numbers_of_the_one_step_form():
    c2, c1, c0 = 0.3, -0.2, 0.1
    found = one_step_moments(QuadraticMap(c2, c1, c0))
    assert found.mean == pytest.approx(c0 - 0.242 * c1 + 0.599 * c2, abs=1e-3)
    assert found.variance == pytest.approx(
        1 + 1.197 * c2 ** 2 + 0.541 * c1 ** 2 - 1.162 * c1 * c2, abs=1e-3)


@pytest.mark.parametrize("reset", ["hard", "soft", "none"])
@pytest.mark.parametrize("v_reset", [0.0, -0.5])
def test_propagation_is_exact_for_a_gaussian(reset, v_reset):
    """One step from a Gaussian needs no closure: against 4 million samples."""
    if reset == "soft" and v_reset:
        v_reset = None
    neuron = QuadraticMap(0.3, -0.2, 0.1, 1.0, 1.0, v_reset)
    generator = np.random.default_rng(4)
    u = 0.3 + 1.3 * generator.standard_normal(4_000_000)
    fired = u >= 1
    if reset == "hard":
        u = np.where(fired, v_reset, u)
    elif reset == "soft":
        u = np.where(fired, u - 1, u)
    then = neuron(u, 0.8 * generator.standard_normal(len(u)))
    found = propagate(neuron, 0.3, 1.69, 0.8, reset)
    assert found.mean.item() == pytest.approx(then.mean(), abs=3e-3)
    assert found.variance.item() == pytest.approx(then.var(), rel=5e-3)
    assert found.rate.item() == pytest.approx(fired.mean(), abs=2e-3)


@pytest.mark.parametrize("neuron", [NEAR, QuadraticMap.root(0.125, 0, 0.5),
                                    QuadraticMap.linear(0.5), QuadraticMap.linear(0.9)])
def test_without_reset(neuron):
    """Valid if less than 1 % escape in 8 steps; a LIF never escapes, and the result is exact."""
    found = stationary_moments(neuron, reset="none")
    assert found.variance == pytest.approx(free_variance(neuron, found.mean), rel=1e-6)
    linear = neuron.c2 == 0
    u = simulate(neuron, steps=80 if linear else 8, samples=300_000, reset="none", seed=1)
    inside = not_escaped(neuron, u, "none")
    assert len(inside) == len(u) if linear else len(inside) > 0.99 * len(u)
    assert found.mean == pytest.approx(inside.mean(), abs=0.015)
    assert found.deviation == pytest.approx(inside.std(), rel=0.012)


@pytest.mark.parametrize(("neuron", "share"), [(NEAR, 0.003), (MEMORY, 0.33), (STRONG, 0.29)])
def test_share_that_escapes_without_reset(neuron, share):
    u = simulate(neuron, steps=8, samples=300_000, reset="none", seed=1)
    assert 1 - len(not_escaped(neuron, u, "none")) / len(u) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(("neuron", "tolerance"), [
    (NEAR, 0.01), (QuadraticMap.linear(0.5), 0.015), (QuadraticMap.root(0.125, 0, 0.5), 0.01)])
def test_soft_reset(neuron, tolerance):
    found = stationary_moments(neuron, reset="soft")
    u = simulate(neuron, steps=10, samples=300_000, reset="soft", seed=1)
    u = not_escaped(neuron, u, "soft")
    assert found.mean == pytest.approx(u.mean(), abs=0.02)
    assert found.deviation == pytest.approx(u.std(), rel=tolerance)


@pytest.mark.parametrize("make", [
    lambda: stationary_moments(MEMORY, reset="none"), lambda: stationary_moments(STRONG, 2.0),
    lambda: stationary_moments(QuadraticMap.linear(1.0), reset="none"),
    lambda: free_variance(MEMORY, 0.5)])
def test_no_stationary_law(make):
    with pytest.raises(ValueError, match="escapes"):
        make()


def test_moments_per_channel():
    u2 = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)
    together = stationary_moments(QuadraticMap.root(0.25, 0.0, u2))
    one_step = one_step_moments(QuadraticMap.root(0.25, 0.0, u2))
    for i, value in enumerate(u2.tolist()):
        alone = QuadraticMap.root(0.25, 0.0, value)
        for part, whole in zip(stationary_moments(alone), together, strict=True):
            assert whole[i].item() == pytest.approx(part, abs=1e-9)
        assert one_step.mean[i].item() == pytest.approx(one_step_moments(alone).mean)
