"""Five pictures of a neuron: recurrence, bifurcations, membrane, f-I curve, gradient mismatch.

Each function draws one figure and returns it, and `draw_all` writes all of them. matplotlib draws
on its Agg canvas, so no window opens.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quadfire.files import whole_file
from quadfire.models.dynamics.moments import (
    Moments,
    Reset,
    input_deviation,
    not_escaped,
    one_step_moments,
    simulate,
    stationary_moments,
)
from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.dynamics.window import (
    exact_isometric_window,
    gradient_error,
    gradient_gain,
    isometric_window,
    least_error_window,
)

__all__ = ["bifurcations", "draw_all", "f_i_curve", "membrane", "mismatch", "panels",
           "recurrence"]

INK, BLUE, ORANGE, GREEN, GREY = "#222222", "#2b6cb0", "#dd6b20", "#2f855a", "#a0aec0"


def panels(columns: int, width: float = 4.6, height: float = 4.0) -> tuple[Figure, list[Any]]:
    """A figure with axes side by side, each `width` x `height` inches."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=INK)
    return figure, axes


def _formula(neuron: QuadraticMap) -> str:
    linear = f" {neuron.c1:+.4g}\\,u" if neuron.c1 else ""
    constant = f" {neuron.c0:+.4g}" if neuron.c0 else ""
    gain = "" if neuron.gain == 1 else f"{neuron.gain:.4g}\\,"
    return f"$u' = {neuron.c2:.4g}\\,u^2{linear}{constant} + {gain}I$"


def _title(neuron: QuadraticMap) -> str:
    reset = "soft reset" if neuron.v_reset is None else f"hard reset to {neuron.v_reset:g}"
    return f"{_formula(neuron)},  $V_{{th}} = {neuron.v_threshold:g}$,  {reset}"


def _cobweb(ax: Axes, neuron: QuadraticMap, start: float, current: float, steps: int,
            color: str, label: str, reset: bool) -> None:
    """Draw a cobweb: the orbit as a staircase, a reset as a dotted jump along the diagonal."""
    u, labelled = start, False
    ax.plot([u], [u], "o", color=color, ms=5, zorder=4)
    for _ in range(steps):
        then = float(neuron(u, current))
        ax.plot([u, u, then], [u, then, then], "-", color=color, lw=1.1, zorder=3,
                label=None if labelled else label)
        labelled = True
        if reset and then >= neuron.v_threshold:
            after = then - neuron.v_threshold if neuron.v_reset is None else neuron.v_reset
            ax.plot([then, after], [then, after], ":", color=color, lw=1.4, zorder=3)
            ax.plot([then], [then], "^", color=color, ms=6, zorder=4)
            then = after
        u = then


def recurrence(neuron: QuadraticMap) -> Figure:
    """u' over u: without input, and at a constant current just above the rheobase."""
    figure, (free, driven) = panels(2, 5.0, 4.8)
    threshold, points, basin = neuron.v_threshold, neuron.fixed_points(), neuron.basin()
    low, high = (basin.lower, basin.upper) if basin else (neuron.vertex - 3, threshold + 3)
    margin = 0.08 * (high - low)
    u = np.linspace(low - margin, high + margin, 400)
    free.plot(u, u, "-", color=GREY, lw=1)
    free.plot(u, neuron(u), "-", color=BLUE, lw=2, label="u' at I = 0")
    free.axhline(threshold, color=ORANGE, lw=1, ls="--", label="threshold")
    if points and basin:
        free.axvspan(basin.lower, basin.upper, color=BLUE, alpha=0.07, lw=0)
        free.plot([points.rest], [points.rest], "o", color=INK, mfc=INK if points.stable else "w",
                  ms=7, zorder=5, label=f"rest {points.rest:.3g}, slope {points.rest_slope:.3g}")
        free.plot([points.escape], [points.escape], "o", color=INK, mfc="w", ms=7, zorder=5,
                  label=f"escape {points.escape:.3g}, slope {points.escape_slope:.3g}")
        # far enough from rest to show the way back, but above the rebound
        start = max(points.rest - 0.55 * (points.rest - basin.lower),
                    neuron.rebound + 0.05 * (points.rest - neuron.rebound))
        _cobweb(free, neuron, start, 0.0, 7, GREEN, f"from u = {start:.2f}", False)
    free.set_title("no input, basin of rest shaded" if points else "no input: no rest", fontsize=10)
    free.set_ylim(u[0], u[-1])

    current = neuron.rheobase() + 0.06 * max(1.0, abs(neuron.rheobase()))
    lower = min(neuron.start, 0.0) - 0.45 * threshold
    u = np.linspace(lower, threshold * 1.5, 300)
    driven.plot(u, u, "-", color=GREY, lw=1)
    driven.plot(u, neuron(u, current), "-", color=BLUE, lw=2, label=f"u' at I = {current:.3g}")
    driven.axhline(threshold, color=ORANGE, lw=1, ls="--", label="threshold")
    _cobweb(driven, neuron, neuron.start, current, 12, GREEN, "orbit from the reset", True)
    driven.plot([], [], "^", color=GREEN, label="spike, then reset (dotted)")
    driven.set_ylim(lower, max(threshold * 1.6, driven.dataLim.x1 * 1.1))
    driven.set_title(f"just above the rheobase {neuron.rheobase():.3g}", fontsize=10)
    for ax, corner in ((free, "upper center"), (driven, "lower right")):
        ax.set_xlabel("u")
        ax.set_ylabel("u'")
        ax.legend(fontsize=8, loc=corner, framealpha=0.85, edgecolor="none")
    figure.suptitle(_title(neuron), fontsize=11)
    return figure


def bifurcations(neuron: QuadraticMap) -> Figure:
    """Bifurcation diagram: the attractor of u over the constant current, without reset."""
    figure, (ax,) = panels(1, 9.0, 4.8)
    low, high = neuron.crisis, neuron.saddle_node
    span = high - low
    current = np.linspace(low, high, 1600)
    u = np.full_like(current, neuron.vertex)        # the orbit of the vertex finds any attractor
    orbit = []
    for step in range(600):
        u = neuron(u, current)
        if step >= 480:
            orbit.append(u.copy())
    orbit = np.stack(orbit)
    spikes = orbit >= neuron.v_threshold
    where = np.broadcast_to(current, orbit.shape)
    for mask, color, name in ((~spikes, BLUE, "attractor, below threshold"),
                              (spikes, ORANGE, "attractor at or above threshold: it spikes")):
        ax.plot(where[mask], orbit[mask], ".", ms=0.9, mew=0, color=color)
        ax.plot([], [], "o", ms=4, color=color, label=name)
    points = [neuron.fixed_points(i) for i in current]
    ax.plot(current, [p.escape if p else math.nan for p in points], "--", color=GREY, lw=1.2,
            label="unstable fixed point")
    ax.plot(current, [p.rest if p and not p.stable else math.nan for p in points], ":",
            color=GREY, lw=1.2, label="rest where it is unstable")
    ax.axhline(neuron.v_threshold, color=ORANGE, lw=1, ls="--")
    ax.text(low + 0.68 * span, neuron.v_threshold, "$V_{th}$", color=ORANGE, va="bottom",
            fontsize=9, clip_on=True)
    bottom, top = float(np.nanmin(orbit)), max(p.escape for p in points if p)
    for value, name in ((neuron.saddle_node, "saddle-node"), (neuron.flip, "flip"),
                        (low, "orbits escape")):
        ax.axvline(value, color=INK, lw=0.8)
        ax.text(value, top + 0.04 * (top - bottom), f"{name}\n{value:.4g}", fontsize=8,
                ha="center", va="bottom")
    ax.set_xlim(low - 0.04 * span, high + 0.04 * span)
    ax.set_ylim(bottom - 0.05 * (top - bottom), top + 0.02 * (top - bottom))
    ax.set_xlabel("constant current I")
    ax.set_ylabel("u")
    ax.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(0.94, 0.02))
    figure.suptitle(f"{_formula(neuron)},  threshold and reset left out", fontsize=11)
    return figure


def membrane(neuron: QuadraticMap, alpha: float = 1.0, steps: int = 8) -> Figure:
    """Density of u behind tdBN: simulated, and Gaussian with the moments of theory."""
    figure, axes = panels(3, 4.4, 3.9)
    kinds: tuple[Reset, ...] = ("hard", "soft", "none")
    s = float(input_deviation(neuron, alpha))
    grid = np.linspace(-4.2 * s, max(5.0 * s, 1.8 * neuron.v_threshold), 400)
    top = 0.0
    for ax, kind in zip(axes, kinds, strict=True):
        u = simulate(neuron, alpha, steps=steps, samples=400_000, reset=kind)
        inside = not_escaped(neuron, u, kind)
        heights, edges = np.histogram(inside, bins=160, range=(grid[0], grid[-1]))
        density = heights / len(u) / (edges[1] - edges[0])
        top = max(top, density.max())
        ax.stairs(density, edges, fill=True, color=BLUE, alpha=0.3,
                  label=f"simulated, t = {steps}")
        curves: list[tuple[str, str, Moments]] = []
        if kind != "none":
            curves.append(("one step", GREEN, one_step_moments(neuron, alpha, reset=kind)))
        try:
            curves.append(("stationary", INK, stationary_moments(neuron, alpha, reset=kind)))
        except ValueError:
            ax.text(0.03, 0.62, "no stationary law", transform=ax.transAxes, fontsize=9,
                    color=INK)
        for name, color, moments in curves:
            z = (grid - moments.mean) / moments.deviation
            ax.plot(grid, np.exp(-z * z / 2) / (math.sqrt(2 * math.pi) * moments.deviation),
                    "--" if name == "one step" else "-", color=color, lw=1.4,
                    label=f"{name}: {moments.mean:+.3f}, {moments.deviation:.3f}, "
                          f"{moments.rate:.3f}")
        if inside.size:
            ax.plot([], [], " ", label=f"simulated: {inside.mean():+.3f}, {inside.std():.3f}, "
                                       f"{np.mean(u >= neuron.v_threshold):.3f}")
        gone = 1 - len(inside) / len(u)
        if gone > 0:
            ax.plot([], [], " ", label=f"{gone:.2%} left the basin")
        ax.axvline(neuron.v_threshold, color=ORANGE, lw=1, ls="--")
        ax.set_title({"hard": f"hard reset to {neuron.start:g}", "soft": "soft reset",
                      "none": "no reset"}[kind], fontsize=10)
        ax.set_xlabel("u before the reset")
    for ax in axes:
        ax.set_ylim(0, 1.6 * top)
        ax.set_xlim(grid[0], grid[-1])
        ax.legend(fontsize=7.5, frameon=False, loc="upper left",
                  title="mean, deviation, P(spike)", title_fontsize=7.5, alignment="left")
    axes[0].set_ylabel("density")
    figure.suptitle(f"{_formula(neuron)},  $V_{{th}} = {neuron.v_threshold:g}$,  "
                    f"tdBN $\\alpha = {alpha:g}$", fontsize=11)
    return figure


def f_i_curve(neuron: QuadraticMap) -> Figure:
    """f-I curves: simulated with either reset, and of continuous time."""
    figure, (whole, near) = panels(2, 4.8, 4.0)
    rheobase = neuron.rheobase()
    span = max(1.0, neuron.v_threshold)
    ranges = (np.linspace(neuron.crisis, rheobase + 2.5 * span, 2000),
              np.linspace(rheobase - 0.04 * span, rheobase + 0.3 * span, 1500))
    for ax, current in zip((whole, near), ranges, strict=True):
        for reset, color, width, name in ((None, GREY, 4.0, "soft reset"),
                                          (neuron.start, BLUE, 1.4, "hard reset")):
            variant = replace(neuron, v_reset=reset)
            ax.plot(current, variant.rate(current, 1000), "-", color=color, lw=width,
                    label=f"{name}, simulated")
        ax.plot(current, np.minimum(neuron.continuous_rate(current), 1), "--", color=GREEN, lw=1.3,
                label="continuous time, closed form")
        ax.axvline(rheobase, color=ORANGE, lw=1, label=f"rheobase {rheobase:.4g}")
        if current[0] < neuron.saddle_node < current[-1]:
            ax.axvline(neuron.saddle_node, color=INK, lw=1, ls=":",
                       label=f"saddle-node {neuron.saddle_node:.4g}")
        ax.set_xlabel("constant current I")
        ax.set_ylim(-0.03, 1.06)
    whole.set_ylabel("spikes per time step")
    whole.set_title("far left: spikes by rebound from inhibition", fontsize=10)
    near.set_title("near the rheobase", fontsize=10)
    whole.legend(fontsize=8, frameon=False, loc="best")
    figure.suptitle(f"{_formula(neuron)},  $V_{{th}} = {neuron.v_threshold:g}$", fontsize=11)
    return figure


def mismatch(neuron: QuadraticMap, alpha: float = 1.0) -> Figure:
    """What a rectangular window does to gradients: gain of one layer, of many, and error."""
    figure, (gain, deep, error) = panels(3, 4.4, 4.0)
    moments, s = one_step_moments(neuron, alpha), float(input_deviation(neuron, alpha))
    threshold = neuron.v_threshold
    closed = isometric_window(moments, s, threshold)
    exact = exact_isometric_window(moments, s, threshold)
    w = np.geomspace(0.08 * threshold, 4 * threshold, 300)
    gain.loglog(w, gradient_gain(w, moments, s, threshold).numpy(), "-", color=BLUE, lw=2)
    gain.axhline(1, color=GREY, lw=1)
    gain.axvline(closed, color=ORANGE, lw=1.3, label=f"closed form {closed:.3f}")
    gain.axvline(exact, color=ORANGE, lw=1.3, ls=":", label=f"exact G = 1 {exact:.3f}")
    gain.set_xlabel("window w (half-width)")
    gain.set_ylabel("gain of the gradient's variance, G(w)")
    gain.set_title("one layer", fontsize=10)
    gain.legend(fontsize=8, frameon=False)

    depth = np.arange(0, 19)
    fixed = [0.25, 0.5, 1.0, 2.0]
    shades = ["#9ecae1", "#6baed6", "#3182bd", "#08519c"]
    for width, color in [*zip(fixed, shades, strict=True), (closed, ORANGE)]:
        ratio = gradient_gain(width, moments, s, threshold) ** (depth / 2)
        label = f"analytic {width:.3f}" if width == closed else f"fixed {width:g}"
        deep.semilogy(depth, ratio, "-", color=color, lw=2.2 if width == closed else 1.5,
                      label=label)
    deep.axhline(1, color=GREY, lw=1)
    deep.set_xlabel("layers of plain network behind the loss")
    deep.set_ylabel("norm of the gradient, $G^{L/2}$")
    deep.set_title("many layers", fontsize=10)
    deep.set_xticks([0, 6, 12, 18])
    deep.legend(fontsize=8, frameon=False)

    styles = ["-", "--", ":"]
    for samples, style in zip((10, 100, 1000), styles, strict=True):
        error.loglog(w, gradient_error(w, moments, samples, threshold).numpy(), style,
                     color=BLUE, lw=1.6, label=f"N = {samples}")
        least = least_error_window(moments, samples, threshold)
        error.plot([least], [gradient_error(least, moments, samples, threshold)], "o",
                   color=GREEN, ms=6, label="$w_{mse}$" if samples == 1000 else None)
    error.axvline(closed, color=ORANGE, lw=1.3, label="$w_{iso}$")
    error.set_xlabel("window w (half-width)")
    error.set_ylabel("squared error of the gradient, relative")
    error.set_title("error of a gradient over N samples", fontsize=10)
    error.legend(fontsize=8, frameon=False)
    figure.suptitle(_title(neuron) + f",  tdBN $\\alpha = {alpha:g}$", fontsize=11)
    return figure


def draw_all(neuron: QuadraticMap, folder: Path, alpha: float = 1.0) -> list[Path]:
    """Write all pictures as PNG files into `folder` and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"recurrence": recurrence(neuron), "bifurcation": bifurcations(neuron),
               "membrane": membrane(neuron, alpha), "f_i_curve": f_i_curve(neuron),
               "mismatch": mismatch(neuron, alpha)}
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        with whole_file(paths[-1]) as part:
            figure.savefig(part, dpi=120)
    return paths
