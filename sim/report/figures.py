"""The figures of benchmarks, defined as others publish theirs.

    dense SOP         synapses x time steps, as if every input spiked in every step: the work of
                      an accelerator that does not look at spikes
    active SOP        additions that the spikes, and the set bits of pixels, of a run call for
    SOP a cycle       active SOP / cycles in which the array computes
    utilisation       SOP a cycle / lanes
    latency           cycles of an image alone, from the first word of its tape to the last / clock
    images a second   clock / cycles of an image of many, loaded while the one before is computed
    energy proxy      0.9 pJ an addition, 4.6 pJ a multiplication, at 45 nm. Additions are the
                      active SOP, and one a neuron and step; every neuron multiplies once a step.
                      It is a convention of the field, not a measurement, and counts arithmetic only

Cycles are counted by the Verilog ("RTL"), or come from the cycle model ("model"), which agrees with
the Verilog to the cycle where both are known. Clock and area come from `quadfire bench`: they are
static timing, not silicon. "not measured" stands where it has no row of the array. Latency and
images a second are of runs that read answers back, no spikes; spikes are compared in other runs.
Estimated networks have held-out digits as input, and hidden spikes at the rate of the trained
784-128-10. A network with more time steps than the array has slots runs in time chunks, and each of
them adds the pixels up again.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import floor, log10
from pathlib import Path

from tabulate import tabulate

from quadfire.files import write_text
from quadfire.paths import PACKAGE, cache_folder

__all__ = ["LayerFigures", "Measurement", "area_of", "figures_of", "markdown", "read_rows", "write"]

#: Energy of an operation in picojoules, at 45 nm.
ADDITION_PJ, MULTIPLICATION_PJ = 0.9, 4.6

#: The file that `quadfire bench` writes, and the baseline that it is compared with.
BENCH = cache_folder() / "bench" / "summary.json"
BASELINE = PACKAGE / "rtl" / "fpga" / "baselines" / "bench.json"

#: The classes that the cycles of a layer are divided into.
CLASSES = ("events", "nulls", "drains", "starved")


@dataclass(frozen=True)
class LayerFigures:
    """The figures of a layer for one image, means over images.

    | field | meaning |
    |---|---|
    | `cycles` | cycles of computing, the sum of events, nulls, drains and starved |
    | `total_cycles` | with what is streamed for the layer; in RTL, its spikes read back as well |
    | `active_sop`, `dense_sop` | synaptic operations, see above |
    | `updates` | neurons x time steps |
    | `words` | 32-bit words between host and array |
    """

    name: str
    cycles: float
    events: float
    nulls: float
    drains: float
    starved: float
    total_cycles: float
    active_sop: float
    dense_sop: int
    updates: int
    words: int


@dataclass(frozen=True)
class Measurement:
    """A network on an array.

    | field | meaning |
    |---|---|
    | `array`, `preset` | name of the array; its preset, "" where it is none |
    | `lanes` | lanes of the whole array |
    | `what` | weights and images of the run |
    | `made` | where the cycles come from, "RTL" or "model" |
    | `latency_cycles` | cycles of an image alone |
    | `image_cycles` | cycles of an image among many |
    | `mismatches`, `compared` | spikes that differ from PyTorch, of how many; None: not compared |
    """

    network: str
    array: str
    preset: str
    lanes: int
    steps: int
    what: str
    made: str
    images: int
    latency_cycles: float
    image_cycles: float
    layers: tuple[LayerFigures, ...]
    accuracy: float | None = None
    mismatches: int | None = None
    compared: int | None = None

    def total(self, name: str) -> float:
        """The sum of a field over the layers."""
        return sum(getattr(layer, name) for layer in self.layers)


def energy_nj(active_sop: float, updates: float) -> float:
    """The energy proxy in nanojoules. Memories, clock and input are not in it."""
    return (ADDITION_PJ * (active_sop + updates) + MULTIPLICATION_PJ * updates) / 1000


def work_of(item: Measurement) -> dict:
    """The figures that need no clock: operations, cycles, utilisation, energy proxy."""
    cycles, active, dense = (item.total(name) for name in ("cycles", "active_sop", "dense_sop"))
    return {
        "network": item.network, "array": item.array, "steps": item.steps, "lanes": item.lanes,
        "what": item.what, "made": item.made, "images": item.images, "accuracy": item.accuracy,
        "mismatches": item.mismatches, "compared": item.compared,
        "cycles": cycles, "latency_cycles": item.latency_cycles, "image_cycles": item.image_cycles,
        "dense_sop": dense, "active_sop": active, "sop_per_cycle": active / cycles,
        "dense_sop_per_cycle": dense / cycles, "utilisation": active / cycles / item.lanes,
        "words": item.total("words"), "energy_nj": energy_nj(active, item.total("updates"))}


def time_of(work: dict, row: dict) -> dict:
    """The figures on a device, from a row of `quadfire bench`. None: no clock, or no DSP, in it."""
    clock = row["fmax_mhz_median"]
    per_cycle = work["sop_per_cycle"]
    return {
        "device": row["device"], "fmax_mhz": clock,
        "latency_us": None if clock is None else work["latency_cycles"] / clock,
        "images_per_second": None if clock is None else 1e6 * clock / work["image_cycles"],
        "gsop_per_second": None if clock is None else
        work["active_sop"] / work["image_cycles"] * clock / 1000,
        "sop_per_cycle_per_klut": 1000 * per_cycle / row["lut4"],
        "sop_per_cycle_per_dsp": per_cycle / row["dsp"] if row["dsp"] else None}


# Rows of `quadfire bench` -------------------------------------------------------------------------

def read_rows(path: Path | None) -> list[dict]:
    """The rows of a `summary.json` of `quadfire bench`.

    None: those of the last run here, or of the baseline where there was none.
    """
    if path is None:
        if not BENCH.exists():
            return json.loads(BASELINE.read_text())["rows"]
        path = BENCH
    return json.loads(path.read_text())


def area_of(rows: Iterable[dict], preset: str) -> list[dict]:
    """The rows of whole arrays of a preset, one for each device."""
    return [row for row in rows if row["preset"] == preset and row["block"] == "core"]


def figures_of(item: Measurement, rows: Iterable[dict]) -> dict:
    """All figures of a network: `work_of`, `time_of` for each of its `devices`, and its layers."""
    work = work_of(item)
    return {**work, "devices": [time_of(work, row) for row in area_of(rows, item.preset)],
            "layers": [asdict(layer) for layer in item.layers]}


# Tables -------------------------------------------------------------------------------------------

UNKNOWN = "not measured"


def _number(value: float | None, digits: int = 0, unit: str = "") -> str:
    return UNKNOWN if value is None else f"{value:,.{digits}f}{unit}"


def _significant(value: float | None, unit: str = "") -> str:
    """A number with at least three significant digits."""
    digits = 0 if not value else max(0, 2 - floor(log10(abs(value))))
    return _number(value, digits, unit)


def _energy(nanojoules: float) -> str:
    return _significant(nanojoules, " nJ") if nanojoules < 1000 else \
        _significant(nanojoules / 1000, " µJ")


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], left: int) -> str:
    """A table in Markdown. left: columns that are aligned left, the others are aligned right."""
    align = ["left"] * left + ["right"] * (len(head) - left)
    return tabulate(lines, head, tablefmt="github", disable_numparse=True, colalign=align) + "\n"


def _work_line(figures: dict) -> list[str]:
    compared = figures["compared"]
    return [
        figures["network"], figures["array"], figures["what"], figures["made"],
        str(figures["steps"]), _number(figures["dense_sop"]), _number(figures["active_sop"]),
        _number(figures["cycles"]), _significant(figures["sop_per_cycle"]),
        f"{figures['utilisation']:.1%} of {figures['lanes']}",
        _significant(figures["dense_sop_per_cycle"]),
        _energy(figures["energy_nj"]),
        "not compared" if compared is None else f"{figures['mismatches']:,} of {compared:,}"]


def _time_lines(figures: dict) -> Iterable[list[str]]:
    for device in figures["devices"] or [{}]:
        yield [figures["network"], figures["array"], device.get("device", UNKNOWN),
               _number(device.get("fmax_mhz"), 1, " MHz"), _number(figures["latency_cycles"]),
               _number(figures["image_cycles"]), _significant(device.get("latency_us"), " µs"),
               _number(device.get("images_per_second")),
               _significant(device.get("gsop_per_second")),
               _significant(device.get("sop_per_cycle_per_klut")),
               _significant(device.get("sop_per_cycle_per_dsp"))]


def markdown(networks: Sequence[dict], published: str) -> str:
    """The page of figures. networks: see `figures_of`. published: the table of others."""
    work = _table(
        ["network", "array", "weights, input", "cycles by", "T", "dense SOP", "active SOP",
         "cycles", "SOP a cycle", "utilisation", "dense SOP a cycle", "energy proxy",
         "mismatched spikes"], map(_work_line, networks), 4)
    time = _table(
        ["network", "array", "device", "clock", "cycles, one image", "cycles, image of many",
         "latency", "images a second", "active GSOP a second", "SOP a cycle and kLUT",
         "SOP a cycle and DSP"], (line for item in networks for line in _time_lines(item)), 3)
    return (f"# Figures\n\n{(__doc__ or '').strip()}\n\n## Work of an image\n\n{work}\n"
            f"## Time and area\n\n{time}\n## Published figures of others\n\n{published}")


def write(folder: Path, networks: Sequence[dict], published: str) -> None:
    """Write `figures.json` and `figures.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "figures.json", json.dumps(networks, indent=2) + "\n")
    write_text(folder / "figures.md", markdown(networks, published))
