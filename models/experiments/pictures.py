"""Pictures of the stored results, for `models/README.md`."""

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from quadfire.files import whole_file
from quadfire.models.dynamics.pictures import BLUE, GREEN, GREY, ORANGE, panels
from quadfire.models.experiments.plans import (
    CONV,
    CURVATURES,
    DEEP,
    DENSE,
    PAPER,
    ROOTS,
    SHALLOW,
    WINDOWS,
)
from quadfire.models.experiments.tables import Result, Stored, select

__all__ = ["draw_all"]


def _mean(results: list[Result], key: str = "accuracy") -> float:
    return statistics.mean(result[key] for result in results) if results else float("nan")


def _cell(stored: Stored, a: float, u1: float, u2: float) -> float:
    """Accuracy of (a, u1, u2) in per cent; the runs hold either order of the roots."""
    u1, u2 = (0.0, u1 + u2) if 0.0 in (u1, u2) else sorted((u1, u2))
    return 100 * _mean([result for result in stored["sensitivity"] if
                        result["run"]["neuron"]["options"] == {"a": a, "u1": u1, "u2": u2}])


def sensitivity(stored: Stored) -> Any:
    """Heat maps of the accuracy over (a, u2) and over (u1, u2)."""
    planes = [np.array([[_cell(stored, a, 0.0, u2) for u2 in ROOTS] for a in CURVATURES]),
              np.array([[_cell(stored, PAPER[0], u1, u2) for u2 in ROOTS] for u1 in ROOTS])]
    low = min(np.nanmin(plane) for plane in planes)
    high = max(np.nanmax(plane) for plane in planes)
    canvas, axes = panels(2)
    for ax, plane, rows, what in zip(axes, planes, (CURVATURES, ROOTS), ("a", "u1"), strict=True):
        ax.imshow(plane, origin="lower", cmap="viridis", vmin=low, vmax=high, aspect="auto")
        for (i, j), value in np.ndenumerate(plane):
            ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=8,
                    color="black" if value > (low + high) / 2 else "white")
        ax.set_xticks(range(len(ROOTS)), [f"{u2:g}" for u2 in ROOTS])
        ax.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
        ax.set_xlabel("u2")
        ax.set_ylabel(what)
    axes[0].set_title("accuracy, %, u1 = 0", fontsize=10)
    axes[1].set_title(f"accuracy, %, a = {PAPER[0]:g}", fontsize=10)
    return canvas


def windows(stored: Stored) -> Any:
    """Gain of a layer for gradients, and accuracy, over the window."""
    canvas, axes = panels(2)
    numbers = stored["mismatch"]
    order = np.argsort([entry["window"] for entry in numbers])
    x = [numbers[i]["window"] for i in order]
    for key, colour, label in (("measured", BLUE, "measured"), ("formula", ORANGE, "formula")):
        axes[0].plot(x, [numbers[i][key] for i in order], "o-", color=colour, label=label)
    axes[0].axhline(1, color=GREY, lw=1)
    axes[0].set_yscale("log", base=2)
    axes[0].set_ylabel("gain of the gradient's variance, a layer")
    axes[0].legend(frameon=False)
    for layers, colour, label in ((SHALLOW, GREEN, "one hidden layer"),
                                  (DEEP, BLUE, "six hidden layers")):
        groups = [[100 * result["accuracy"] for result in
                   select(stored["windows"], layers=layers, window=WINDOWS[i])] for i in order]
        axes[1].errorbar(x, [statistics.mean(group) for group in groups],
                         [statistics.stdev(group) for group in groups], fmt="o-", color=colour,
                         capsize=3, label=label)
    axes[1].set_ylabel("accuracy, %")
    axes[1].legend(frameon=False)
    for ax in axes:
        ax.axvline(numbers[0]["window"], color=GREY, ls="--", lw=1)
        ax.set_xlabel("half-width of the window (dashed: analytic)")
    return canvas


def _name(ax: Any, points: dict[str, tuple[float, float]], above: bool) -> None:
    """Write a name at every point.

    It stands on the right, a little above or below, or on the left and below if another point is
    close on the right.
    """
    places = [x for x, _ in points.values()]
    close = 0.065 * (max(places) - min(places))
    for label, (x, y) in points.items():
        left = any(x < other < x + close for other in places)
        ax.annotate(label, (x, y), fontsize=8, va="center", ha="right" if left else "left",
                    textcoords="offset points",
                    xytext=(-6, -6) if left else (6, 6 if above else -6),
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0, "alpha": 0.8})


def neurons(stored: Stored) -> Any:
    """Accuracy over operations of every neuron in both networks, T = 4."""
    canvas, axes = panels(2)
    for ax, layers in zip(axes, (DENSE, CONV), strict=True):
        results = select(stored["neurons"], layers=layers, steps=4)
        points = {}
        for label in dict.fromkeys(result["run"]["neuron"]["label"] for result in results):
            own = select(results, label=label)
            spread = statistics.stdev(result["accuracy"] for result in own) if len(own) > 1 else 0
            points[label] = x, y = _mean(own, "operations"), 100 * _mean(own)
            colour = ORANGE if label.startswith("QIF") else BLUE
            ax.errorbar([x], [y], [100 * spread], fmt="o", color=colour, capsize=3)
        _name(ax, points, above=layers == DENSE)    # clear of the error bars
        ax.margins(x=0.25)
        if layers == CONV:
            ax.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
        ax.set_title(layers, fontsize=10)
        ax.set_xlabel("operations an image behind the first layer")
        ax.set_ylabel("accuracy, %")
    return canvas


PICTURES: dict[str, Callable[[Stored], Any]] = {
    "neurons": neurons, "sensitivity": sensitivity, "windows": windows}


def draw_all(stored: Stored, folder: Path, *names: str) -> list[Path]:
    """Write the pictures of these experiments as NAME.png, the same bytes every time.

    `names` without a picture are skipped. Returns the paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in names:
        if name in PICTURES:
            paths.append(folder / f"{name}.png")
            with whole_file(paths[-1]) as part:
                PICTURES[name](stored).savefig(part, dpi=90, metadata={"Software": None})
    return paths
