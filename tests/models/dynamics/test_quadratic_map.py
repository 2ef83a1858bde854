"""The map of a neuron, free and spiking: closed forms against float64 orbits."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quadfire.models.dynamics import QuadraticMap
from quadfire.models.neurons import IF, LIF, PLIF, QIF, ConstantLeakIF, QIFCanonical, QIFEuler
from quadfire.models.neurons.canonical import canonical_root

from tests.models.dynamics.examples import MEMORY, NEAR, maps


def orbit(neuron, u, current, steps):
    for _ in range(steps):
        u = np.clip(neuron(u, current), -1e12, 1e12)
    return u


# Without spikes -----------------------------------------------------------------------------------


def test_numbers_of_the_paper_s_parameters():
    """Fixed points and basin for a = 1/4, u1 = 0, u2 = 1/2 and -2."""
    assert NEAR.fixed_points() == (0.0, 4.5, -0.125, 2.125)
    assert NEAR.basin() == (-4.0, 4.5)
    assert NEAR.saddle_node == 1.265625 and NEAR.flip == 1.265625 - 4
    assert NEAR.crisis == 1.265625 - 9
    assert MEMORY.fixed_points() == (0.0, 2.0, 0.5, 1.5) and MEMORY.saddle_node == 0.25
    assert NEAR.rebound == pytest.approx(-1.77, abs=5e-3)
    assert MEMORY.rebound == pytest.approx(-3.24, abs=5e-3)


@maps
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_fixed_points_and_stability(neuron, share):
    """Between flip and saddle-node rest attracts. The slopes equal finite differences."""
    current = neuron.flip + share * (neuron.saddle_node - neuron.flip)
    points = neuron.fixed_points(current)
    for u, slope in ((points.rest, points.rest_slope), (points.escape, points.escape_slope)):
        assert neuron(u, current) == pytest.approx(u)
        assert (neuron(u + 1e-6, current) - neuron(u - 1e-6, current)) / 2e-6 == \
            pytest.approx(slope, abs=1e-6)
        assert neuron.slope(u) == pytest.approx(slope)
    assert points.stable and points.escape_slope > 1
    assert orbit(neuron, points.rest + 0.1, current, 5000) == pytest.approx(points.rest, abs=1e-6)


@maps
def test_saddle_node_and_flip_are_where_behaviour_changes(neuron):
    eps = 1e-3
    assert neuron.fixed_points(neuron.saddle_node - eps)
    assert neuron.fixed_points(neuron.saddle_node + eps) is None
    assert orbit(neuron, neuron.vertex, neuron.saddle_node + eps, 3000) > 1e6
    assert not neuron.fixed_points(neuron.flip - eps).stable
    # just below the flip an orbit of period 2 attracts
    current = neuron.flip - 0.05 / neuron.c2
    u = orbit(neuron, neuron.vertex, current, 4000)
    assert abs(neuron(u, current) - u) > 0.1
    assert orbit(neuron, u, current, 2) == pytest.approx(u, abs=1e-6)
    # J = -2: the critical orbit stays above, leaves below
    assert abs(orbit(neuron, neuron.vertex, neuron.crisis + eps, 300)) < 1e3 / neuron.c2
    assert orbit(neuron, neuron.vertex, neuron.crisis - 0.1 / neuron.c2, 300) > 1e9


@maps
@pytest.mark.parametrize("current", [0.0, -0.5, 0.1])
def test_basin(neuron, current):
    basin = neuron.basin(current)
    eps = 1e-6
    inside = np.linspace(basin.lower + eps, basin.upper - eps, 1001)
    assert (np.abs(orbit(neuron, inside, current, 400)) < 100).all()
    outside = np.array([basin.lower - 0.01, basin.upper + 0.01, basin.lower - 5, basin.upper + 5])
    assert (orbit(neuron, outside, current, 400) > 1e9).all()


@given(st.floats(0.05, 4), st.floats(-3, 3), st.floats(-3, 3), st.floats(-4, 4), st.floats(-2, 2))
def test_conjugacy_to_the_quadratic_map(a, u1, u2, u, current):
    """One step of u, moved to w, is one step of w^2 + J, and J is that of the canonical form."""
    neuron, c = QuadraticMap.root(a, u1, u2), canonical_root(a, u1, u2)
    w = neuron.to_canonical(u)
    assert w == pytest.approx(c.scale * (u - c.center), abs=1e-9)
    j = neuron.canonical_current(current)
    assert j == pytest.approx(c.gain * current + c.offset, abs=1e-9)
    assert neuron.current_of(j) == pytest.approx(current, abs=1e-7)
    assert neuron.to_canonical(neuron(u, current)) == pytest.approx(w * w + j, abs=1e-8)
    assert neuron.to_canonical(neuron.v_threshold) == pytest.approx(c.theta, abs=1e-9)


@pytest.mark.parametrize("neuron", [
    QIF(0.25, 0.1, 0.5), QIF(learn=True), QIFEuler(), LIF(0.7, gain=0.5, v_rest=-0.1), PLIF(1.7),
    IF(), ConstantLeakIF(0.2), QIFCanonical.of(QIF())])
def test_map_is_the_module_s_step(neuron):
    v = torch.linspace(-2, 0.9, 50, dtype=torch.float64)
    x = torch.full_like(v, -5.0)        # nobody spikes
    neuron.double()
    spike, after = neuron.step(x, v)[:2]
    quadratic = neuron.quadratic_map()
    silent = spike == 0
    assert silent.sum() > 20
    torch.testing.assert_close(after[silent], torch.as_tensor(quadratic(v, x))[silent])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: QuadraticMap.linear(0.5).saddle_node, "must be curved"),
    (lambda: QuadraticMap.linear(0.5).basin(), "must be curved"),
    (lambda: NEAR.bounds(-1.0), "i_max must not be below 0"),
])
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Spiking ------------------------------------------------------------------------------------------


@maps
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
def test_rheobase_divides_silent_from_spiking(neuron, v_reset):
    neuron = replace(neuron, v_reset=v_reset)
    rheobase = neuron.rheobase()
    below, above = neuron.rate([rheobase - 1e-3, rheobase + 1e-3], 5000)
    assert below == 0 and above > 0
    assert (neuron.rate(np.linspace(rheobase + 1e-3, rheobase + 3, 200)) > 0).all()


def test_rheobase_in_closed_form():
    assert MEMORY.rheobase() == MEMORY.saddle_node == 0.25
    assert QuadraticMap.linear(0.5).rheobase() == 0.5
    assert QuadraticMap.linear(0.5, gain=0.5).rheobase() == 1.0
    # the fixed point reaches V_th before it merges, V_th - u'(V_th); found by search here
    assert NEAR.rheobase() == pytest.approx(1 - NEAR(1.0), abs=1e-6) == pytest.approx(0.875)


@maps
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
def test_f_i_curve_is_the_module_s_rate(neuron, v_reset):
    currents = torch.linspace(-6, 3, 200, dtype=torch.float64)
    module = QIFCanonical(neuron.c2 * neuron.gain, float(neuron.canonical_current(0.0)),
                          neuron.c2, neuron.to_canonical(v_reset or 0.0),
                          v_threshold=neuron.to_canonical(1.0),
                          v_reset=None if v_reset is None else neuron.to_canonical(v_reset))
    found = module(currents.expand(200, 1, 200)).mean(0)[0].numpy()
    expected = replace(neuron, v_reset=v_reset).rate(currents.numpy(), 200)
    # soft reset at strong inhibition is chaotic: rounding decides single orbits, not the threshold
    where = currents.numpy() > neuron.flip if v_reset is None else np.full(200, True)
    assert np.abs(found - expected)[where].max() <= 1 / 200 + 1e-9


def test_f_i_curve_near_the_saddle_node():
    """Type I excitability: the rate grows as a square root and tends to the closed form."""
    slow = QuadraticMap(0.01, 1.0, 0.0, 1.0, 8.0, -8.0)
    assert slow.saddle_node == 0
    currents = np.array([1e-3, 3e-3, 1e-2])
    assert slow.rate(currents, 5000) == pytest.approx(slow.continuous_rate(currents), rel=0.05)
    assert slow.continuous_rate([0.0, -1.0]).tolist() == [0, 0]
    tiny = slow.continuous_rate([1e-6, 4e-6])
    assert tiny[1] / tiny[0] == pytest.approx(2, rel=0.01)
    assert tiny[0] == pytest.approx(math.sqrt(1e-6 * 0.01) / math.pi, rel=0.01)
