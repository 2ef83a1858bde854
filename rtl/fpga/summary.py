"""Figures as files, and against those of a baseline: area within 10 %, clocks within 5 %.

Of a single placement a clock may be 25 % off: any change of a netlist is a new throw of the dice,
and the seeds of one netlist differ by up to 23 % (the neuron of `tiny`: 161 to 197 MHz).
"""

import json
from pathlib import Path

from quadfire.rtl.fpga.tools import versions

__all__ = ["AREA", "CYCLES", "compare", "markdown", "merge", "unknown", "write"]

#: What tells a row of areas, a row of cycles from all others.
AREA, CYCLES = ("preset", "device", "block"), ("network", "preset")

#: How far a figure may be off its baseline; the clock of one placement.
_TOLERANCE = {"fmax_mhz_median": 0.05, "lut4": 0.1, "ff": 0.1, "bram": 0.1, "dsp": 0.1}
_ONE_PLACEMENT = {"fmax_mhz_median": 0.25}

Rows = list[dict]


def _key(row: dict, names: tuple[str, ...] = AREA) -> tuple[str, ...]:
    return tuple(row[name] for name in names)


def merge(old: Rows, new: Rows) -> Rows:
    """All rows, the new one where both have it."""
    return list(({_key(row): row for row in old} | {_key(row): row for row in new}).values())


def _table(rows: Rows) -> str:
    """Rows that have the same figures, in Markdown."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join("" if row[name] is None else str(row[name]) for name in names)
              for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def markdown(rows: Rows, cycles: Rows) -> str:
    """Tables, and the versions of the tools that made them."""
    tools = ", ".join(f"{name} {version}" for name, version in versions().items())
    text = ("# Area and clock\n\nMedian, least and greatest clock of some placements: static "
            f"timing of the tools, not of silicon.\n{tools}\n")
    if rows:
        text += f"\n{_table(rows)}"
    if cycles:
        text += f"\n# Cycles\n\nOf the Verilog, simulated.\n\n{_table(cycles)}"
    return text


def unknown(rows: Rows, baseline: Rows, names: tuple[str, ...]) -> list[str]:
    """Rows that the baseline does not have, a line each. names: `AREA` or `CYCLES`."""
    known = {_key(row, names) for row in baseline}
    return [f"{' '.join(_key(row, names))}: not in the baseline"
            for row in rows if _key(row, names) not in known]


def compare(rows: Rows, baseline: Rows) -> tuple[list[str], list[str]]:
    """(figures that moved, figures outside of their tolerance) of rows that both have."""
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
    """`summary.json`, where rows of earlier runs stay, `cycles.json`, `summary.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "summary.json"
    if path.exists():
        rows = merge(json.loads(path.read_text()), rows)
    path.write_text(json.dumps(rows, indent=2) + "\n")
    if cycles:
        (folder / "cycles.json").write_text(json.dumps(cycles, indent=2) + "\n")
    (folder / "summary.md").write_text(markdown(rows, cycles))
