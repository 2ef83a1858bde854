"""The theory of one neuron as the rows of a table."""

import math
from collections.abc import Iterator

import numpy as np

from quadfire.models.dynamics.moments import (
    Reset,
    input_deviation,
    not_escaped,
    one_step_moments,
    simulate,
    stationary_moments,
)
from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.dynamics.window import (
    analytic_window,
    exact_isometric_window,
    gradient_gain,
    isometric_window,
    least_error_window,
)

__all__ = ["rows"]

#: (quantity, value, meaning)
Row = tuple[str, str, str]
#: Of the Monte Carlo: membrane potentials, and the time step at which they are looked at.
SAMPLES, STEPS = 400_000, 8


def _map_rows(neuron: QuadraticMap) -> Iterator[Row]:
    """Fixed points, bifurcations and thresholds."""
    points, basin = neuron.fixed_points(), neuron.basin()
    if points and basin:
        yield ("rest", f"{points.rest:.4g}", f"fixed point at I = 0, slope {points.rest_slope:.4g}"
               f" ({'stable' if points.stable else 'unstable'})")
        yield ("escape", f"{points.escape:.4g}", "unstable fixed point at I = 0, slope "
               f"{points.escape_slope:.4g}")
        yield ("basin", f"{basin.lower:.4g} .. {basin.upper:.4g}",
               "u in it stays bounded at I = 0, without reset")
    else:
        yield "rest", "none", "no fixed point at I = 0: it spikes by itself"
    yield "saddle-node", f"{neuron.saddle_node:.6g}", "I at which both fixed points merge (J = 1/4)"
    yield "flip", f"{neuron.flip:.6g}", "I below which rest is unstable, u alternates (J = -3/4)"
    yield ("escape current", f"{neuron.crisis:.6g}",
           "I below which orbits escape, without reset (J = -2)")
    yield "rheobase", f"{neuron.rheobase():.6g}", "least constant I that makes it spike"
    yield "rebound", f"{neuron.rebound:.4g}", "u below which it spikes at the next step, I = 0"


def _hardware_rows(neuron: QuadraticMap, i_max: float) -> Iterator[Row]:
    """The canonical form and the range of its state."""
    yield ("w", f"{neuron.c2:g} u {neuron.c1 / 2:+g}", "state of the array: w' = w^2 + J")
    yield ("J", f"{neuron.c2 * neuron.gain:g} I {neuron.canonical_current(0.0):+g}",
           "the factor goes into the weights, the offset into the bias")
    yield "theta", f"{neuron.to_canonical(neuron.v_threshold):g}", "threshold of w"
    bounds = neuron.bounds(i_max)
    yield ("u, bounds", f"{bounds.lower:.4g} .. {bounds.upper:.4g}",
           f"before the reset, for currents within +-{i_max:g}")
    if math.isinf(bounds.upper):
        limit = neuron.v_threshold / neuron.gain + neuron.saddle_node
        yield ("w, integer bits", "a clamp", f"soft reset is bounded only up to |I| of about "
               f"{limit:.4g}: the clamp is part of the model")
        return
    low, high = (neuron.to_canonical(u) for u in bounds)
    low = min(low, 0.0) if bounds.lower > neuron.vertex else low
    yield "w, bounds", f"{low:.4g} .. {high:.4g}", "the same for w"
    yield "w, integer bits", str(neuron.integer_bits(i_max)), "with sign; w never saturates"
    if neuron.v_reset is not None:
        clamp = neuron.lossless_range(i_max)
        yield ("w, lossless clamp", f"{clamp.lower:.4g} .. {clamp.upper:.4g}",
               "saturation at these limits changes no spike")


def _moment_rows(neuron: QuadraticMap, alpha: float) -> Iterator[Row]:
    """Mean, deviation and rate behind tdBN, by formula and by Monte Carlo."""
    own: Reset = "soft" if neuron.v_reset is None else "hard"
    one = one_step_moments(neuron, alpha)
    yield (f"one step, {own}", f"{one.mean:.4f}, {one.deviation:.4f}, {one.rate:.4f}",
           "closed form: mean, deviation, P(spike)")
    for kind in (own, "none"):
        try:
            moments = stationary_moments(neuron, alpha, reset=kind)
            text = f"{moments.mean:.4f}, {moments.deviation:.4f}, {moments.rate:.4f}"
        except ValueError:
            text = "none"
        yield f"stationary, {kind}", text, "fixed point of the Gaussian closure"
        u = simulate(neuron, alpha, steps=STEPS, samples=SAMPLES, reset=kind)
        inside = not_escaped(neuron, u, kind)
        text = "none" if not inside.size else f"{inside.mean():.4f}, {inside.std():.4f}, " \
            f"{np.mean(u >= neuron.v_threshold):.4f}"
        yield (f"simulated, {kind}", text, f"{SAMPLES:,} samples, t = {STEPS}"
               + ("" if kind == "hard" else
                  f"; {1 - len(inside) / len(u):.2%} left the basin, not in the moments"))


def _window_rows(neuron: QuadraticMap, alpha: float) -> Iterator[Row]:
    """Surrogate windows and their gain."""
    moments, deviation = one_step_moments(neuron, alpha), input_deviation(neuron, alpha)
    threshold = neuron.v_threshold
    used = analytic_window(neuron, alpha)
    yield "w_iso", f"{isometric_window(moments, deviation, threshold):.4f}", \
        "surrogate window with gradient gain 1, closed form"
    yield "w_iso, exact", f"{exact_isometric_window(moments, deviation, threshold):.4f}", \
        "the same without linearisation"
    yield "analytic", f"{used:.4f}", "the window of window='analytic'"
    gains = ", ".join(f"{gradient_gain(w, moments, deviation, threshold):.2f}"
                      for w in (0.25, 0.5, used, 1.0, 2.0))
    yield "gain", gains, "of the gradient's variance, for w = 0.25, 0.5, analytic, 1, 2"
    least = ", ".join(f"{least_error_window(moments, n, threshold):.2f}" for n in (10, 100, 1000))
    yield "w_mse", least, "window of least gradient error over 10, 100, 1000 samples"


def rows(neuron: QuadraticMap, alpha: float, i_max: float) -> Iterator[Row | None]:
    """The rows (quantity, value, meaning) of the report; None separates its sections.

    alpha is that of the tdBN before the neuron, i_max the largest current for the bounds.
    """
    yield from _map_rows(neuron)
    yield None
    yield from _hardware_rows(neuron, i_max)
    yield None
    yield from _moment_rows(neuron, alpha)
    yield None
    yield from _window_rows(neuron, alpha)
