"""Charts of benchmarks: roofline, cycles and utilisation of layers, area of an array."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import EngFormatter

from quadfire.files import whole_file
from quadfire.rtl.contract.config import preset

__all__ = ["area", "draw", "layer_cycles", "roofline", "utilisation"]

#: {class of cycles: (legend, colour)}, in the colours of `quadfire.sim.report.activity`.
_CLASSES = {"events": ("events, one a cycle", "#2a6f97"), "nulls": ("silent slots", "#a9d6e5"),
            "drains": ("waiting for the neurons", "#e9c46a"),
            "starved": ("start, silent words", "#e76f51")}
_RTL, _GREY = "#c2410c", "#6b7280"


def _title(figures: dict) -> str:
    """Network, time steps, array, and where the cycles come from."""
    return (f"{figures['network']}, T = {figures['steps']}, on {figures['array']}"
            f" ({'RTL' if figures['made'] == 'RTL' else 'estimated'})")


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        figure.savefig(part, dpi=130)
    plt.close(figure)


# Roofline ----------------------------------------------------------------------------------------

def _arrays(networks: Sequence[dict]) -> dict[int, list[str]]:
    """{lanes: names of the arrays with so many}. A change of a preset is not part of its name."""
    arrays: dict[int, list[str]] = {}
    for figures in networks:
        names = arrays.setdefault(figures["lanes"], [])
        if (name := figures["array"].split(",")[0]) not in names:
            names.append(name)
    return arrays


def _roofs(axes, networks: Sequence[dict], low: float, high: float) -> None:
    """Draw the roof of every array, and the slope of one word per cycle."""
    x = np.geomspace(low, high, 400)
    for number, (lanes, names) in enumerate(_arrays(networks).items()):
        axes.plot(x[x >= lanes], np.minimum(x, lanes)[x >= lanes], color=f"C{number}",
                  linewidth=1.2)
        axes.text(high / 1.1, lanes * 1.07, f"{lanes} lanes, {' and '.join(names)}", fontsize=8,
                  color=f"C{number}", ha="right")
    axes.plot(x, x, color=_GREY, linewidth=1.2, zorder=1)
    axes.text(30, 34, "one word a cycle", fontsize=8, color=_GREY, rotation=45, ha="center",
              rotation_mode="anchor", transform_rotates_text=True)


def roofline(path: Path, networks: Sequence[dict]) -> None:
    """Draw active SOP per cycle over active SOP per word between host and array.

    The lanes of an array are its roof. Dots count all cycles, rings those of computing alone.
    """
    figure, axes = plt.subplots(figsize=(10, 5.8), layout="constrained")
    x = [figures["active_sop"] / figures["words"] for figures in networks]
    low, high = min(6.0, *(at / 2 for at in x)), max(3000.0, *(14 * at for at in x))
    axes.set(xscale="log", yscale="log", xlim=(low, high),
             ylim=(low, 1.6 * max(figures["lanes"] for figures in networks)),
             xlabel="active SOP a 32-bit word between host and array",
             ylabel="active SOP a cycle",
             title="What bounds a network: words from the host, or lanes\n"
                   "dots: all cycles of an image, rings: those of computing alone")
    axes.title.set_fontsize(10)
    _roofs(axes, networks, low, high)
    colours = {lanes: f"C{number}" for number, lanes in enumerate(_arrays(networks))}
    y = [figures["active_sop"] / figures["image_cycles"] for figures in networks]
    for at, whole, figures in zip(x, y, networks, strict=True):
        colour = colours[figures["lanes"]]
        axes.plot([at, at], [whole, figures["sop_per_cycle"]], color=colour, linewidth=1)
        axes.plot(at, figures["sop_per_cycle"], "o", mfc="white", mec=colour, ms=7)
        axes.plot(at, whole, "o", color=colour, ms=7)
        made = "" if figures["made"] == "RTL" else ", estimated"
        left = any(1 < other / at < 4 and 0.7 < height / whole < 1.4
                   for other, height in zip(x, y, strict=True))     # no room on the right
        array = figures["array"].split(",")[0]
        axes.annotate(f"{figures['network']}, T = {figures['steps']}, {array}{made}", (at, whole),
                      xytext=(-7 if left else 7, 0), textcoords="offset points", va="center",
                      ha="right" if left else "left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


# Layers ------------------------------------------------------------------------------------------

def _panels(networks: Sequence[dict], title: str):
    """A figure with a panel for each network, in two columns, as high as its layers need."""
    columns = [networks[0::2], networks[1::2]]
    rows = max(map(len, columns))
    heights = [2 + max(len(column[row]["layers"]) for column in columns if row < len(column))
               for row in range(rows)]
    figure, grid = plt.subplots(rows, 2, figsize=(11, 0.17 * sum(heights) + 1.6 * rows / 2 + 0.6),
                                layout="constrained", height_ratios=heights, squeeze=False)
    figure.suptitle(title, fontsize=11)
    panels = list(grid.flat)
    for axes in panels[len(networks):]:
        axes.set_axis_off()
    for axes, figures in zip(panels, networks, strict=False):
        names = [layer["name"] for layer in figures["layers"]]
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="x", labelsize=7)
        axes.set_title(_title(figures), fontsize=8.5)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels[:len(networks)]


def layer_cycles(path: Path, networks: Sequence[dict]) -> None:
    """Draw the cycles of every layer by class. A line adds the cycles of streaming."""
    figure, panels = _panels(networks, "Cycles of an image by layer")
    for axes, figures in zip(panels, networks, strict=True):
        layers = figures["layers"]
        at, left = np.arange(len(layers)), np.zeros(len(layers))
        for name, (label, colour) in _CLASSES.items():
            values = np.array([layer[name] for layer in layers])
            axes.barh(at, values, left=left, color=colour, label=label, height=0.75)
            left += values
        axes.hlines(at, left, [max(layer["total_cycles"], end)
                               for layer, end in zip(layers, left, strict=True)],
                    color="0.6", linewidth=1.2, label="streaming")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8,
                  frameon=False)
    _save(figure, path)


def utilisation(path: Path, networks: Sequence[dict]) -> None:
    """Draw the utilisation of every layer, and that of the network as a line."""
    figure, panels = _panels(
        networks, "Utilisation by layer: active SOP / (cycles × lanes); dashed: the network")
    for axes, figures in zip(panels, networks, strict=True):
        shares = [100 * layer["active_sop"] / (layer["cycles"] * figures["lanes"])
                  for layer in figures["layers"]]
        axes.barh(range(len(shares)), shares, color=_CLASSES["events"][1], height=0.75)
        for at, share in enumerate(shares):
            axes.text(share + 1, at, f"{share:.0f} %", va="center", fontsize=6.5)
        axes.axvline(100 * figures["utilisation"], color=_RTL, linestyle="--", linewidth=1)
        axes.set_xlim(0, 108)
        axes.xaxis.set_major_formatter("{x:.0f} %")
    _save(figure, path)


# Area --------------------------------------------------------------------------------------------

#: Blocks inside a group (see `quadfire.rtl.array.group`), and variants that no array has.
_IN_GROUP, _VARIANTS = ("cell", "neuron", "current"), ("neuron-qif", "neuron-lif")


def instances(block: str, name: str) -> int:
    """How many of a block an array has. 0 for a variant, and for what is part of another block."""
    config = preset(name)
    if block in _VARIANTS or block == "weights":
        return 0
    return {"cell": config.banks * config.groups, "group": config.groups, "neuron": config.groups,
            "current": config.groups}.get(block, 1)


def _places(rows: Sequence[dict]) -> dict[tuple[str, str], list[dict]]:
    """{(preset, device): rows of its blocks}, where more than one block was measured."""
    places: dict[tuple[str, str], list[dict]] = {}
    for row in rows:
        if row["block"] != "core" and instances(row["block"], row["preset"]):
            places.setdefault((row["preset"], row["device"]), []).append(row)
    return {place: blocks for place, blocks in places.items() if len(blocks) > 1}


def area(path: Path, rows: Sequence[dict]) -> bool:
    """Draw the LUTs of all instances of every block, each block measured alone.

    Returns False if there are no rows of blocks.
    """
    places = _places(rows)
    if not places:
        return False
    heights = [1.5 + len(blocks) for blocks in places.values()]
    figure, grid = plt.subplots(len(places), 1, figsize=(8, 0.26 * sum(heights) + 1),
                                layout="constrained", height_ratios=heights, squeeze=False)
    for axes, ((name, device), blocks) in zip(grid.flat, places.items(), strict=True):
        _blocks(axes, name, blocks)
        core = [row for row in rows if (row["preset"], row["device"], row["block"])
                == (name, device, "core")]
        whole = f", whole array {core[0]['lut4']:,}" if core else ""
        axes.set_title(f"{name} on {device}: LUTs of blocks measured alone{whole}", fontsize=9)
    _save(figure, path)
    return True


def _blocks(axes, name: str, rows: Sequence[dict]) -> None:
    """Draw a bar for each block, the largest on top, blocks inside a group in a pale colour."""
    sizes = sorted(((row["lut4"] * instances(row["block"], name), row) for row in rows),
                   key=lambda pair: -pair[0])
    for at, (size, row) in enumerate(sizes):
        inner = row["block"] in _IN_GROUP
        axes.barh(at, size, color="#a9d6e5" if inner else "#2a6f97", height=0.75)
        count = instances(row["block"], name)
        text = f"{count} × {row['lut4']:,}" if count > 1 else f"{size:,}"
        axes.text(size, at, f" {text}{' in the groups' if inner else ''}", va="center", fontsize=7)
    axes.set_yticks(range(len(sizes)), [row["block"] for _, row in sizes], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(size for size, _ in sizes))
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def draw(folder: Path, networks: Sequence[dict], rows: Sequence[dict]) -> list[str]:
    """Draw all charts. networks: see `figures.figures_of`. rows: of `quadfire bench`.

    Returns the names of the files.
    """
    pictures = {"roofline.png": roofline, "cycles.png": layer_cycles,
                "utilisation.png": utilisation}
    for name, picture in pictures.items():
        picture(folder / name, networks)
    return [*pictures, *(["area.png"] if area(folder / "area.png", rows) else [])]
