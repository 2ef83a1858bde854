"""Surrogate windows: against stored values, Monte Carlo and exact minima."""

import math

import numpy as np
import pytest

from quadfire.models.dynamics import QuadraticMap, one_step_moments, simulate
from quadfire.models.dynamics.window import (
    analytic_window,
    analytic_window_of_root,
    exact_isometric_window,
    gradient_error,
    gradient_gain,
    isometric_window,
    least_error_window,
)

STUDY = [   # map, mean, deviation, w_iso, w of G = 1, w_mse for N = 10, 100, 1000
    (QuadraticMap.root(0.25, 0, 0.5), 0.180, 1.058, 0.816, 0.786, (0.98, 0.62, 0.39)),
    (QuadraticMap.root(0.25, 0, 1.0), 0.210, 1.087, 0.787, 0.757, None),
    (QuadraticMap.root(0.25, 0, -2.0), 0.029, 1.032, 0.866, 0.851, (1.00, 0.63, 0.40)),
    (QuadraticMap.root(0.125, 0, 0.5), 0.090, 1.015, 0.872, 0.849, (0.96, 0.61, 0.38)),
    (QuadraticMap.root(0.5, 0, 0.5), 0.360, 1.216, 0.681, 0.658, (1.11, 0.70, 0.44)),
    (QuadraticMap.root(0.25, -0.5, 0.5), 0.087, 1.037, 0.851, 0.828, None),
    (QuadraticMap.euler(1, 0.25, 0, 0.8), -0.044, 1.090, 0.823, 0.814, (1.06, 0.67, 0.42)),
    (QuadraticMap.linear(0.25), -0.060, 1.017, 0.901, 0.902, (1.02, 0.64, 0.41)),
    (QuadraticMap.linear(0.5), -0.121, 1.065, 0.861, 0.865, (1.07, 0.68, 0.43)),
]


@pytest.mark.parametrize(("neuron", "mean", "deviation", "closed", "exact", "least"), STUDY)
def test_windows_of_the_study(neuron, mean, deviation, closed, exact, least):
    moments = one_step_moments(neuron)
    assert moments.mean == pytest.approx(mean, abs=1e-3)
    assert moments.deviation == pytest.approx(deviation, abs=1e-3)
    assert isometric_window(moments, 1.0) == pytest.approx(closed, abs=1e-3)
    assert exact_isometric_window(moments, 1.0) == pytest.approx(exact, abs=1e-3)
    if least:
        for samples, window in zip((10, 100, 1000), least, strict=True):
            assert least_error_window(moments, samples) == pytest.approx(window, abs=6e-3)


def test_analytic_window_of_the_paper_s_parameters():
    assert analytic_window_of_root(0.25, 0.0, 0.5) == pytest.approx(0.82, abs=5e-3)
    assert analytic_window_of_root(0.25, 0.0, 0.5, v_threshold=2.0) != \
        analytic_window_of_root(0.25, 0.0, 0.5)


@pytest.mark.parametrize(("alpha", "closed", "exact"), [
    (0.5, 0.57, 1.13), (0.75, 0.68, 0.70), (1.0, 0.82, 0.79), (1.5, 1.10, 1.04)])
def test_exact_where_the_linearisation_fails(alpha, closed, exact):
    neuron = QuadraticMap.root(0.25, 0, 0.5)
    moments = one_step_moments(neuron, alpha)
    assert isometric_window(moments, alpha) == pytest.approx(closed, abs=5e-3)
    solved = exact_isometric_window(moments, alpha)
    assert solved == pytest.approx(exact, abs=5e-3)
    assert gradient_gain(solved, moments, alpha) == pytest.approx(1, abs=1e-9)
    assert analytic_window(neuron, alpha) == pytest.approx(exact if alpha < 0.75 else closed,
                                                              abs=5e-3)


@pytest.mark.parametrize(("neuron", "tolerance"), [
    (QuadraticMap.root(0.25, 0, 0.5), 0.05), (QuadraticMap.root(0.25, 0, -2.0), 0.05),
    (QuadraticMap.linear(0.5), 0.05), (QuadraticMap.root(0.5, 0, 0.5), 0.15)])
def test_gain_at_the_exact_window_is_one_for_the_simulated_potential(neuron, tolerance):
    """G(w) of the simulated u at t = 4 instead of a Gaussian with the formula's moments."""
    u = simulate(neuron, steps=4, samples=400_000)
    w = exact_isometric_window(one_step_moments(neuron), 1.0)
    q = np.mean(u >= 1)
    gain = np.mean(np.abs(u - 1) < w) / (4 * w * w * q * (1 - q))
    assert gain == pytest.approx(1, abs=tolerance)


@pytest.mark.parametrize("samples", [10, 100])
@pytest.mark.parametrize("window", [0.3, 0.82, 1.5])
def test_gradient_error_by_monte_carlo(window, samples):
    moments = one_step_moments(QuadraticMap.root(0.25, 0, 0.5))
    generator = np.random.default_rng(5)
    x = generator.standard_normal((20_000, samples))
    z = (1 - moments.mean) / moments.deviation
    k = (np.abs(x - z) < window / moments.deviation) / (2 * window / moments.deviation)
    p = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    error = (k.mean(1) - p) ** 2 + ((k * x).mean(1) - z * p) ** 2
    expected = gradient_error(window, moments, samples)
    assert error.mean() / (p * p * (1 + z * z)) == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("samples", [100, 1000, 10_000])
def test_least_error_window_is_near_the_minimum(samples):
    moments = one_step_moments(QuadraticMap.root(0.25, 0, 0.5))
    grid = np.linspace(0.05, 2.5, 2451)
    best = grid[np.argmin(gradient_error(grid, moments, samples).numpy())]
    window = least_error_window(moments, samples)
    assert window == pytest.approx(best, rel=0.12)
    assert gradient_error(window, moments, samples) < 1.1 * gradient_error(best, moments, samples)
