"""Neurons moved to the canonical map: the same spikes, and integers within 2 LSB."""

import math
from dataclasses import replace

import numpy as np
import pytest

from quadfire.models.neurons.canonical import (
    Canonical,
    canonical_euler,
    canonical_if,
    canonical_lif,
    canonical_root,
)
from quadfire.rtl.contract.numerics import neuron_step

pytestmark = pytest.mark.fast

CONVERSIONS = {
    "root": (lambda reset, start: canonical_root(0.25, -0.5, 0.5, 1.0, reset, start),
             lambda u, x: 0.25 * (u + 0.5) * (u - 0.5) + x),
    "root, other threshold": (lambda reset, start: canonical_root(0.5, 0.0, 0.5, 1.3, reset, start),
                              lambda u, x: 0.5 * u * (u - 0.5) + x),
    "euler": (lambda reset, start: canonical_euler(2.0, 1.0, 0.0, 0.8, 1.0, reset, start),
              lambda u, x: u + (x + 1.0 * (u - 0.0) * (u - 0.8)) / 2.0),
    "lif": (lambda reset, start: canonical_lif(0.5, 1.0, reset, start),
            lambda u, x: 0.5 * u + x),
    "lif, rest and gain": (lambda reset, start: canonical_lif(0.75, 1.0, reset, start, gain=0.25,
                                                              v_rest=0.2, scale=0.3),
                           lambda u, x: 0.2 + 0.75 * (u - 0.2) + 0.25 * x),
    "if": (lambda reset, start: canonical_if(1.0, reset, start), lambda u, x: u + x),
}
THRESHOLDS = {"root, other threshold": 1.3}


def run_canonical(c: Canonical, currents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The canonical map in float64 through time: (spikes, u after reset)."""
    w = np.full_like(currents[0], c.initial)
    spikes, membranes = [], []
    for x in currents:
        v = np.clip(w * (w if c.factor is None else c.factor) + c.gain * x + c.offset, c.lo, c.hi)
        spikes.append(v >= c.theta)
        w = np.where(spikes[-1], v - c.delta if c.soft else c.reset, v)
        membranes.append(w / c.scale + c.center)
    return np.array(spikes), np.array(membranes)


@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
@pytest.mark.parametrize("limits", [(-3.0, 2.5), (-8.0, 8.0)])
@pytest.mark.parametrize("name", CONVERSIONS)
def test_conversion_keeps_every_spike(name, limits, v_reset):
    make, recurrence = CONVERSIONS[name]
    threshold = THRESHOLDS.get(name, 1.0)
    start = 0.125
    currents = np.random.default_rng(5).normal(0.3, 1.0, (40, 500))
    u = np.full_like(currents[0], start)
    expected, membranes = [], []
    for x in currents:
        v = np.clip(recurrence(u, x), *limits)
        expected.append(v >= threshold)
        u = np.where(expected[-1], v - threshold if v_reset is None else v_reset, v)
        membranes.append(u)
    canonical = make(v_reset, start).limited(*limits)
    spikes, found = run_canonical(canonical, currents)
    assert 0.02 < np.mean(expected) < 0.95
    assert np.array_equal(spikes, expected)
    np.testing.assert_allclose(found, membranes, atol=1e-9)


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.parametrize("v_reset", [0.0, None])
def test_integer_neuron_follows_the_real_one(name, v_reset):
    """One step from equal membranes: the integer one is off by rounding alone, 2 LSB."""
    fraction_bits = 13
    one = 1 << fraction_bits
    canonical = CONVERSIONS[name][0](v_reset, 0.0)
    values = canonical.limited(-2.0, 2.0).integer(18, fraction_bits)
    rng = np.random.default_rng(6)
    w = rng.integers(values.lo, values.hi + 1, 2000)
    j = rng.integers(-one, one, 2000)
    real = w * (w / one if canonical.factor is None else canonical.factor) + j
    spike, after = neuron_step(w, j, values, fraction_bits)
    clear = abs(real - canonical.theta * one) > 1
    assert np.array_equal(spike[clear], (real >= canonical.theta * one)[clear])
    kept = clear & ~spike
    assert abs(after - np.clip(real, values.lo, values.hi))[kept].max() <= 2


def test_saddle_node_is_where_the_theory_says():
    """J = 1/4 is the rheobase: below it w settles at (1 - sqrt(1 - 4J)) / 2, above it fires."""
    canonical = canonical_root(0.5, 0.0, 0.5, 4.0)
    below = (0.24 - canonical.offset) / canonical.gain
    above = (0.26 - canonical.offset) / canonical.gain
    spikes, membranes = run_canonical(canonical, np.full((200, 1), below))
    assert not spikes.any()
    settled = canonical.scale * (membranes[-1, 0] - canonical.center)
    assert settled == pytest.approx((1 - math.sqrt(1 - 4 * 0.24)) / 2, abs=1e-6)
    assert run_canonical(canonical, np.full((200, 1), above))[0].any()


def test_integer_rounds_half_up_and_saturates_limits_only():
    base = canonical_lif(0.5)
    fixed = replace(base, theta=0.5 + 1 / 32, reset=-1 / 32, initial=-1 / 32).integer(8, 4)
    assert (fixed.theta, fixed.reset, fixed.factor) == (9, 0, 8)
    assert (fixed.lo, fixed.hi) == (-128, 127)
    assert base.limited(-1.0, 1.5).integer(8, 4).lo == -8
    with pytest.raises(ValueError, match=r"threshold = 9 .*outside of the state's range -8\.\.7"):
        replace(base, theta=9.0).integer(8, 4)
    with pytest.raises(ValueError, match="factor"):
        replace(base, factor=100.0).integer(8, 4)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: canonical_root(0.0, 0, 1), "quadratic coefficient must be above 0"),
    (lambda: canonical_euler(0.0, 1, 0, 1), "tau must be above 0"),
    (lambda: canonical_lif(0.5, scale=0.0), "scale must be above 0"),
    (lambda: canonical_if().limited(1.0, 1.0), "low must be below high"),
])
def test_conversions_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()
