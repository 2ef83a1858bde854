"""Figures as files, and their comparison with a baseline.

Area may differ by 10 %, a clock by 5 %. The clock of a single placement may differ by 25 %: any
change of a netlist gives a new random placement, and the seeds of one netlist differ by up to 23 %
(the neuron of `tiny`: 161 to 197 MHz). The baselines are files beside this module.
"""

import json
from pathlib import Path

from quadfire import paths
from quadfire.files import write_text
from quadfire.rtl.fpga.tools import versions

__all__ = ["AREA", "CYCLES", "baseline_path", "compare", "markdown", "merge", "unknown", "write"]

#: Columns that identify a row of areas, and a row of cycles.
AREA, CYCLES = ("preset", "device", "block"), ("network", "preset")

#: Largest relative difference from the baseline; that of the clock of a single placement.
_TOLERANCE = {"fmax_mhz_median": 0.05, "lut4": 0.1, "ff": 0.1, "bram": 0.1, "dsp": 0.1}
_ONE_PLACEMENT = {"fmax_mhz_median": 0.25}

Rows = list[dict]

_BASELINES = Path(__file__).parent / "baselines"


def baseline_path(fast: bool, *, update: bool = False) -> Path:
    """File of a baseline; fast: the one of continuous integration. It need not exist.

    Raises ValueError for an update of an installed package: baselines belong to the source tree.
    """
    if update and paths.CHECKOUT is None:
        raise ValueError("--update changes a baseline of the source tree: run it in a checkout, "
                         "this is an installed package")
    return _BASELINES / f"bench{'-fast' if fast else ''}.json"


def _key(row: dict, names: tuple[str, ...] = AREA) -> tuple[str, ...]:
    return tuple(row[name] for name in names)


def merge(old: Rows, new: Rows) -> Rows:
    """Rows of both; where both have a row, the new one."""
    return list(({_key(row): row for row in old} | {_key(row): row for row in new}).values())


def _table(rows: Rows) -> str:
    """A table in Markdown; all rows have the same columns."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join("" if row[name] is None else str(row[name]) for name in names)
              for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def markdown(rows: Rows, cycles: Rows) -> str:
    """Tables of area and cycles in Markdown, with the versions of the tools."""
    tools = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = ("# Area and clock\n\nMedian, least and greatest clock of some placements: static "
            f"timing of the tools, not of silicon.\n{tools}\n")
    if rows:
        text += f"\n{_table(rows)}"
    if cycles:
        text += f"\n# Cycles\n\nOf the Verilog, simulated.\n\n{_table(cycles)}"
    return text


def unknown(rows: Rows, baseline: Rows, names: tuple[str, ...]) -> list[str]:
    """A line for each row that the baseline does not have. names: `AREA` or `CYCLES`."""
    known = {_key(row, names) for row in baseline}
    return [f"{' '.join(_key(row, names))}: not in the baseline"
            for row in rows if _key(row, names) not in known]


def compare(rows: Rows, baseline: Rows) -> tuple[list[str], list[str]]:
    """Compare the rows that both have.

    Returns a line for each figure that moved, and those of them that are out of tolerance.
    """
    known = {_key(row): row for row in baseline}
    moved, outside = [], []
    for row in rows:
        if (before := known.get(_key(row))) is None:
            continue
        single = min(before["placements"], row["placements"]) == 1
        for name, tolerance in (_TOLERANCE | (_ONE_PLACEMENT if single else {})).items():
            was, now = before[name], row[name]
            if was == now:
                continue
            line = f"{' '.join(_key(row))}: {name} {was} -> {now}"
            if was and now is not None:
                line += f" ({(now - was) / was:+.1%})"
            moved.append(line)
            if not was or now is None or abs(now - was) > tolerance * was:
                outside.append(line)
    return moved, outside


def write(rows: Rows, cycles: Rows, folder: Path) -> None:
    """Write `summary.json`, `cycles.json` and `summary.md`; rows of earlier runs are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    if path.exists():
        rows = merge(json.loads(path.read_text()), rows)
    write_text(path, json.dumps(rows, indent=2) + "\n")
    if cycles:
        write_text(folder / "cycles.json", json.dumps(cycles, indent=2) + "\n")
    write_text(folder / "summary.md", markdown(rows, cycles))
