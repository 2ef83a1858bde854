"""Bounds of the membrane potential: proved ones against the worst currents."""

import math
from dataclasses import replace

import numpy as np
import pytest

from quadfire.models.dynamics import QuadraticMap

from tests.models.dynamics.examples import MEMORY, NEAR, maps


@maps
@pytest.mark.parametrize("i_max", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
def test_bounds_hold_and_are_reached(neuron, i_max, v_reset):
    neuron = replace(neuron, v_reset=v_reset)
    lower, upper = neuron.bounds(i_max)
    generator = np.random.default_rng(1)
    u, low, high = np.full(20_000, neuron.start), math.inf, -math.inf
    for _ in range(60):
        # extremes in runs, the worst there is, and some noise
        current = i_max * np.sign(generator.standard_normal(20_000))
        current = np.where(generator.random(20_000) < 0.1, generator.uniform(-i_max, i_max, 20_000),
                           current)
        u = np.clip(neuron(u, current), -1e9, 1e9)
        low, high = min(low, u.min()), max(high, u.max())
        fired = u >= 1
        u = np.where(fired, u - 1 if v_reset is None else v_reset, u)
    assert lower - 1e-9 <= low and high <= upper + 1e-9
    if math.isinf(upper):
        assert high > 1e3
    elif v_reset is not None and i_max == 4.0:
        assert low - lower < 0.35 * (upper - lower) and upper - high < 0.35 * (upper - lower)
        integer = neuron.integer_bits(i_max)
        assert -(2 ** (integer - 1)) <= neuron.to_canonical(lower)
        assert neuron.to_canonical(upper) < 2 ** (integer - 1)


def test_soft_reset_is_bounded_up_to_threshold_plus_saddle_node():
    soft = replace(NEAR, v_reset=None)
    assert math.isinf(soft.bounds(2.27).upper) and math.isfinite(soft.bounds(1.5).upper)
    assert soft.v_threshold + soft.saddle_node == pytest.approx(2.27, abs=5e-3)
    assert math.isinf(replace(MEMORY, v_reset=None).bounds(1.26).upper)
    with pytest.raises(ValueError, match="not bounded"):
        soft.integer_bits(4.0)
    with pytest.raises(ValueError, match="any clamp within reach changes spikes"):
        soft.lossless_range(4.0)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("v_reset", [0.0, None])
def test_bounds_of_lif(beta, v_reset):
    neuron = QuadraticMap.linear(beta, v_reset=v_reset)
    lower, upper = neuron.bounds(1.5)
    generator = np.random.default_rng(1)
    u, low, high = np.zeros(5000), math.inf, -math.inf
    for run in (1.5, -1.5, 1.5):
        for _ in range(60):
            current = np.where(generator.random(5000) < 0.9, run, -run)
            u = neuron(u, current)
            low, high = min(low, u.min()), max(high, u.max())
            u = np.where(u >= 1, u - 1 if v_reset is None else 0, u)
    assert lower - 1e-9 <= low and high <= upper + 1e-9
    assert low - lower < 0.2 and upper - high < 0.55


@maps
def test_lossless_clamp_changes_no_spike(neuron):
    i_max = 4.0
    lower, upper = neuron.lossless_range(i_max)
    theta, rest = neuron.to_canonical(1.0), neuron.to_canonical(0.0)
    generator = np.random.default_rng(2)
    j = neuron.canonical_current(generator.uniform(-i_max, i_max, (60, 5000)))
    free, clamped, touched = np.full(5000, rest), np.full(5000, rest), 0
    for current in j:
        free, clamped = free ** 2 + current, clamped ** 2 + current
        assert ((free >= theta) == (clamped >= theta)).all()
        touched += int(((clamped < lower) | (clamped > upper)).sum())
        free = np.where(free >= theta, rest, free)
        clamped = np.where(clamped >= theta, rest, np.clip(clamped, lower, upper))
    assert touched > 1000
