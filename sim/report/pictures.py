"""Pictures of the demo: what the RTL computed over what the reference computed."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from quadfire.files import whole_file
from quadfire.firmware.driver.outputs import Outputs
from quadfire.models.integer import IntegerNetwork
from quadfire.models.integer.reference import Result

__all__ = ["maps", "membrane", "raster"]

_REFERENCE, _MEASURED = "#b9c7d9", "#c2410c"


def _frame(axes, steps: int, images: int) -> None:
    """Set the time axis of several images in a row, with a line between them."""
    for image in range(1, images):
        axes.axvline(image * steps - 0.5, color="0.85", linewidth=0.8, zorder=0)
    axes.set_xlim(-0.5, images * steps - 0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _spikes(measured: Outputs) -> np.ndarray:
    """The spikes of the first layer. Raises ValueError if they were not read."""
    if not measured.spikes or (spikes := measured.spikes[0]) is None:
        raise ValueError("the first layer must have neurons, and its spikes must have been read")
    return spikes


def _one_of_each(labels: np.ndarray) -> np.ndarray:
    """The index of the first digit of every class."""
    return np.unique(labels, return_index=True)[1]


def raster(path: Path, pixels: np.ndarray, labels: np.ndarray, measured: Outputs, expected: Result
           ) -> None:
    """Draw the spikes of the hidden layer for one digit of each class.

    Spikes of the RTL are dots, those of the reference are rings around them.
    """
    some = _one_of_each(labels)
    images, side = len(some), round(pixels.shape[1] ** 0.5)
    got, want = _spikes(measured), expected.spikes[0].numpy()
    differ, total = int((got != want).sum()), want.size
    got, want = got[:, some], want[:, some]
    steps, _, neurons = want.shape
    figure = plt.figure(figsize=(11, 6.5), layout="constrained")
    grid = figure.add_gridspec(2, images, height_ratios=[1, 6])
    chosen = measured.outputs.argmax(axis=1)
    for image in range(images):
        axes = figure.add_subplot(grid[0, image])
        axes.imshow(pixels[some[image]].reshape(side, side), cmap="gray_r")
        axes.set_title(f"{labels[some[image]]} → {chosen[some[image]]}", fontsize=9)
        axes.set_axis_off()
    axes = figure.add_subplot(grid[1, :])
    for spikes, style in ((want, {"s": 26, "facecolors": "none", "edgecolors": _REFERENCE,
                                  "linewidths": 1.4, "label": "reference"}),
                          (got, {"s": 4, "color": _MEASURED, "label": "RTL"})):
        time, neuron = np.nonzero(np.moveaxis(spikes, 1, 0).reshape(-1, neurons))
        axes.scatter(time, neuron, **style)
    _frame(axes, steps, images)
    axes.set_ylim(-1, neurons * 1.09)     # room for the legend
    axes.set_xlabel(f"time step, {steps} for each digit")
    axes.set_ylabel("hidden neuron")
    axes.set_title(f"Spikes of the hidden layer, RTL and PyTorch: {differ} of "
                   f"{total:,} differ (digit → class given by the RTL)", fontsize=10)
    axes.legend(loc="upper right", fontsize=8, ncols=2, frameon=False)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
    plt.close(figure)


def membrane(path: Path, labels: np.ndarray, network: IntegerNetwork, measured: Outputs,
             expected: Result) -> None:
    """Draw the membrane potential and the spikes of one hidden neuron, one digit of each class.

    Of the neurons that spike and never saturate, it is the one with the most different values.
    """
    some = _one_of_each(labels)
    images = len(some)
    neuron = network.layers[0].neuron
    assert neuron is not None, "the first layer of the demo has neurons"
    one = 1 << network.fraction_bits
    want, got = expected.membranes[0].numpy()[:, some], measured.membranes[0][:, some]
    spikes = _spikes(measured)[:, some]
    steps, _, neurons = want.shape
    flat = np.sort(want.reshape(-1, neurons), axis=0)
    variety = (np.diff(flat, axis=0) != 0).sum(axis=0) * spikes.any(axis=(0, 1))
    saturates = (flat[0] == neuron.lo) | (flat[-1] == neuron.hi)
    index = int(np.where(saturates, 0, variety).argmax())

    def series(values: np.ndarray) -> np.ndarray:
        return values[:, :, index].T.reshape(-1)

    figure, axes = plt.subplots(figsize=(11, 3.6), layout="constrained")
    time = np.arange(images * steps)
    reset = np.insert(series(want / one), np.arange(0, images * steps, steps), neuron.initial / one)
    around = np.insert(time.astype(float), np.arange(0, images * steps, steps),
                       np.arange(0, images * steps, steps) - 0.5)
    axes.plot(around, reset, color=_REFERENCE, linewidth=3, label="reference")
    axes.plot(time, series(got / one), "o", color=_MEASURED, markersize=4, label="RTL")
    axes.axhline(neuron.theta / one, color="0.4", linestyle="--", linewidth=0.9, label="threshold")
    fired = np.flatnonzero(series(spikes))
    axes.vlines(fired, neuron.theta / one, neuron.theta / one + 0.12, color=_MEASURED,
                linewidth=1.6, label="spike")
    _frame(axes, steps, images)
    axes.set_xticks(np.arange(images) * steps + (steps - 1) / 2,
                    [f"digit {n}" for n in labels[some]])
    axes.set_ylabel("membrane w")
    axes.set_title(f"Membrane potential of hidden neuron {index} after each of {steps} time steps "
                   "(after reset), w' = w² + J", fontsize=10)
    axes.legend(loc="upper right", fontsize=8, ncols=4, framealpha=0.95)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
    plt.close(figure)


def maps(path: Path, pixels: np.ndarray, labels: np.ndarray, network: IntegerNetwork,
         measured: Outputs, expected: Result, channels: int = 8) -> None:
    """Draw the maps of the first layer for one digit of each class, spikes summed over time.

    The spikes are those of the RTL. A pixel is red if it differs from the reference in a time step.
    """
    some = _one_of_each(labels)
    got, want = _spikes(measured), expected.spikes[0].numpy()
    differ, steps = got != want, network.steps
    chosen = measured.outputs.argmax(axis=1)
    figure, grid = plt.subplots(
        channels + 1, len(some), figsize=(0.95 * len(some), 0.95 * channels + 1.6),
        layout="constrained", squeeze=False)
    side = network.input_shape[1:]
    for column, image in enumerate(some):
        grid[0, column].imshow(pixels[image].reshape(side), cmap="gray_r")
        grid[0, column].set_title(f"{labels[image]} → {chosen[image]}", fontsize=9)
        for channel in range(channels):
            counts = got[:, image, channel].sum(axis=0) / steps
            colours = plt.get_cmap("magma_r")(counts * 0.9)[..., :3]
            colours[differ[:, image, channel].any(axis=0)] = (1, 0, 0)
            grid[channel + 1, column].imshow(colours)
    for axes in grid.flat:
        axes.set_axis_off()
    figure.suptitle(f"Spikes of {channels} maps of {network.layers[0].name}, computed by the RTL: "
                    f"{int(differ.sum())} of {want.size:,} differ from PyTorch\n"
                    f"(darker: more of {steps} time steps; digit → class given by the RTL)",
                    fontsize=10)
    with whole_file(path) as part:
        figure.savefig(part, dpi=120)
    plt.close(figure)
