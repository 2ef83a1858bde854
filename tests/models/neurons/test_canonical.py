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
    canonical_linear,
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
                                                              v_rest=0.2, theta=0.3),
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
    (lambda: canonical_lif(0.5, theta=0.0), "theta must be above 0"),
    (lambda: canonical_if().limited(1.0, 1.0), "low must be below high"),
])
def test_conversions_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def soft_delayed(beta: float, threshold: np.ndarray, currents: np.ndarray) -> np.ndarray:
    """Spikes of u(t) = beta u(t-1) + I(t) - threshold s(t-1), fired where u > threshold."""
    u, spike, spikes = np.zeros_like(currents[0]), np.zeros_like(currents[0]), []
    for x in currents:
        u = beta * u + x - threshold * spike
        spike = (u > threshold).astype(float)
        spikes.append(spike > 0)
    return np.array(spikes)


def run_strict(c: Canonical, currents: np.ndarray) -> np.ndarray:
    """Spikes of a canonical neuron with values per channel; currents are [T, N, channels]."""
    gain, offset = np.array(c.gain), np.array(c.offset)
    w, spikes = np.full_like(currents[0], c.initial), []
    for x in currents:
        v = np.clip(w * c.factor + gain * x + offset, c.lo, c.hi)
        spikes.append(v > c.theta if c.strict else v >= c.theta)
        w = np.where(spikes[-1], v - c.delta if c.soft else c.reset, v)
    return np.array(spikes)


@pytest.mark.parametrize("beta", [0.5, 0.9, 1.0])
def test_a_reset_one_step_late_subtracts_the_threshold_over_beta(beta):
    """Every beta that tutorials use, thresholds per channel, a tenth of the currents on a grid."""
    rng = np.random.default_rng(7)
    threshold = np.array([0.5, 1.0, 1.5, 64.0, 0.01])
    currents = rng.uniform(-0.2, 1.0, (40, 300, 5)) * threshold
    c = canonical_linear(decay=beta, threshold=tuple(threshold), strict=True,
                         delta=tuple(threshold / beta))
    assert np.array_equal(run_strict(c, currents), soft_delayed(beta, threshold, currents))


def test_strict_is_the_next_integer_above_the_threshold():
    base = canonical_lif(0.5)
    for theta, at, above in ((0.5, 8, 9), (0.5 + 1 / 64, 9, 9), (0.5 - 1 / 64, 8, 8),
                             (0.5 + 1e-12, 8, 9), (-0.25, -4, -3)):
        for strict, expected in ((False, at), (True, above)):
            made = replace(base, theta=theta, strict=strict).integer(8, 4)
            assert made.theta == expected, (theta, strict)


def test_thresholds_resets_and_gains_of_channels_go_into_gain_and_offset():
    rng = np.random.default_rng(8)
    th, r = rng.uniform(0.5, 1.5, 100), rng.uniform(-0.5, 0.25, 100)
    g, leak = rng.uniform(0.5, 2.0, 100), rng.uniform(-0.1, 0.1, 100)
    c = canonical_linear(decay=0.75, threshold=tuple(th), reset=tuple(r), gain=tuple(g),
                         offset=tuple(leak), initial=tuple(r))
    assert (c.channels, c.theta, c.initial, c.reset) == (100, c.theta, 0.0, 0.0)
    currents = rng.normal(0.3, 0.7, (50, 20, 100))
    u, expected = np.broadcast_to(r, (20, 100)).copy(), []
    for x in currents:
        u = 0.75 * u + g * x + leak
        expected.append(u >= th)
        u = np.where(expected[-1], r, u)
    assert 0.05 < np.mean(expected) < 0.8
    assert np.array_equal(run_strict(c, currents), expected)


@pytest.mark.parametrize("scale", [2.0 ** -10, 64.0, 1000.0])
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
def test_a_linear_neuron_in_other_units_is_the_same_integers(scale, v_reset):
    reset = None if v_reset is None else v_reset * scale
    one, other = canonical_lif(0.5, 1.0, v_reset), canonical_lif(0.5, scale, reset)
    assert one.integer(12, 10) == other.integer(12, 10)
    assert (one.gain, one.offset) == pytest.approx((other.gain * scale, other.offset))


def test_rescaling_leaves_the_spikes():
    currents = np.random.default_rng(9).normal(0.3, 1.0, (40, 50, 1))
    c = canonical_lif(0.75, 1.0, -0.25)
    assert np.array_equal(run_strict(c, currents), run_strict(c.rescaled(0.125), currents))
    with pytest.raises(ValueError, match="quadratic"):
        canonical_root(0.5, 0.0, 0.5).rescaled(2.0)


@pytest.mark.parametrize(("options", "message"), [
    ({"decay": (0.82, 0.97)}, r"the decay differs between channels \(0\.82\.\.0\.97\)"),
    ({"threshold": (1.0, 2.0), "delta": 1.0}, "what a spike subtracts"),
    ({"threshold": (1.0, 2.0), "initial": 0.5}, "the initial potential"),
    ({"threshold": (1.0, 2.0), "low": -1.0}, "the lower limit"),
    ({"threshold": 0.0}, "one side of 0"),
    ({"threshold": (-1.0, 1.0), "reset": 0.0}, "one side of the reset potential"),
    ({"threshold": math.nan}, "must be finite"),
    ({"threshold": (1.0, 2.0), "gain": (1.0, 2.0, 3.0)}, "not 2 and 3"),
])
def test_linear_neurons_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        canonical_linear(**{"decay": 0.5, "threshold": 1.0} | options)
