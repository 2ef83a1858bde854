"""Activity: cycles of a convolution in RTL at spike rates from 0 to 50 %."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quadfire.files import whole_file, write_text
from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.models.integer import ConvBranch, IntegerLayer, IntegerNetwork
from quadfire.models.neurons.canonical import canonical_root
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["RATES", "layer_network", "measure", "draw"]

#: Spike rates of the measurement: the share of inputs that spike in a time step.
RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)


def layer_network(config: ArrayConfig, *, channels: int = 64, side: int = 32, steps: int = 4,
                  seed: int = 0) -> IntegerNetwork:
    """A 3 x 3 convolution on [channels, side, side], and a readout of its spikes.

    All weights are random: the time that a layer takes depends on its input spikes alone.
    """
    rng = np.random.default_rng(seed)
    outputs, high = config.lanes, (1 << config.weight_bits - 1) - 1
    neuron = canonical_root(0.25, 0.0, 0.5).integer(config.state_bits, config.fraction_bits)
    weight = rng.integers(-high, high + 1, (outputs, channels, 3, 3), dtype=np.int8)
    readout = rng.integers(-1, 2, (10, outputs, side, side), dtype=np.int8)
    return IntegerNetwork(
        input_shape=(channels, side, side), steps=steps, input_bits=0,
        state_bits=config.state_bits, fraction_bits=config.fraction_bits,
        layers=(
            IntegerLayer(name="conv", branches=(ConvBranch(source=-1, weight=weight, padding=1),),
                         weight_bits=config.weight_bits, shift=np.full(outputs, 2, np.int8),
                         bias=np.zeros(outputs, np.int32), neuron=neuron),
            IntegerLayer(name="readout", branches=(ConvBranch(source=0, weight=readout),),
                         weight_bits=config.weight_bits, shift=np.full(10, 4, np.int8),
                         bias=np.zeros(10, np.int32), neuron=None)))


def useful_additions(spikes: np.ndarray, outputs: int) -> int:
    """Synaptic additions of a 3 x 3 convolution with padding 1: of kernel taps inside the map.

    spikes: [..., H, W].
    """
    height, width = spikes.shape[-2:]
    rows = np.minimum(np.arange(height) + 1, height - 1) - np.maximum(np.arange(height) - 1, 0) + 1
    columns = np.minimum(np.arange(width) + 1, width - 1) - np.maximum(np.arange(width) - 1, 0) + 1
    return int((spikes.astype(np.int64) * rows[:, None] * columns).sum()) * outputs


def measure(config: ArrayConfig, rates: tuple[float, ...] = RATES, *, channels: int = 64,
            side: int = 32, steps: int = 4,
            progress: Callable[[int, int], object] | None = None) -> list[dict]:
    """Run the layer at every rate. Returns a row for each rate.

    | key | meaning |
    |---|---|
    | `rate`, `events_per_pixel` | spike rate that was asked for, spikes per pixel that came |
    | `busy`, `events`, `nulls`, `drains`, `starved` | counters of the layer |
    | `additions` | synaptic additions of the spikes: synapses that exist |
    | `taps_inside` | share of kernel taps that fall inside the map |
    | `utilisation` | events per cycle: lanes that add, kernel taps off the border left out |
    """
    network = layer_network(config, channels=channels, side=side, steps=steps)
    rng, rows = np.random.default_rng(1), []
    with Accelerator(VerilatedTransport(config), config) as device:
        device.load(network)
        for index, rate in enumerate(rates):
            spikes = (rng.random((steps, 1, channels, side, side)) < rate).astype(np.uint8)
            counters = device.run(spikes, profile=True).layer_counters[0]
            additions = useful_additions(spikes, config.lanes)
            inside = additions / max(1, int(spikes.sum()) * 9 * config.lanes)
            rows.append({
                "rate": rate, "events_per_pixel": float(spikes.sum()) / side ** 2,
                **{name: counters[name] for name in ("busy", "events", "nulls", "drains",
                                                     "starved")},
                "additions": additions, "taps_inside": inside,
                "utilisation": counters["events"] / counters["busy"]})
            if progress is not None:
                progress(index + 1, len(rates))
    return rows


def draw(rows: list[dict], title: str, path: Path) -> None:
    """Draw the cycles of every class over the spike rate, as a stack."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    rates = [100 * row["rate"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    classes = {"events": "events, one a cycle", "nulls": "silent slots",
               "drains": "waiting for the neurons", "starved": "start, silent words"}
    axes.stackplot(rates, *([row[name] for row in rows] for name in classes),
                   labels=classes.values(), colors=("#2a6f97", "#a9d6e5", "#e9c46a", "#e76f51"))
    axes.set(xlabel="spike rate, %", ylabel="cycles of the layer", title=title, xlim=(0, rates[-1]),
             ylim=(0, None))
    axes.legend(loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        figure.savefig(part, dpi=130)
    pyplot.close(figure)


def run(config: ArrayConfig, name: str, folder: Path, **shape) -> list[dict]:
    """Measure, and write `activity.json` and `activity.png` into `folder`. Returns the rows.

    name: the array's name in the title. shape: options of `measure`.
    """
    rows = measure(config, **shape)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "activity.json", json.dumps(rows, indent=2) + "\n")
    draw(rows, f"3 x 3 convolution: cost grows with spikes\n{name}", folder / "activity.png")
    return rows
