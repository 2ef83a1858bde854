"""Figures as files, and against those of a baseline: area within 10 %, clocks within 5 %."""

import json
from pathlib import Path

from .measure import Row
from .tools import versions

__all__ = ["compare", "markdown", "merge", "write"]

#: How far a figure may be off its baseline.
_TOLERANCE = {"fmax_mhz_median": 0.05, "lut4": 0.1, "ff": 0.1, "bram": 0.1, "dsp": 0.1}

Rows = list[dict]


def _key(row: dict) -> tuple[str, str, str]:
    return row["preset"], row["device"], row["block"]


def merge(old: Rows, new: Rows) -> Rows:
    """All rows, the new one where both have it."""
    return list(({_key(row): row for row in old} | {_key(row): row for row in new}).values())


def markdown(rows: Rows, seeds: int) -> str:
    """A table, and the versions of the tools that made it."""
    names = list(Row.__dataclass_fields__)
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join("" if row[name] is None else str(row[name]) for name in names)
              for row in rows]
    table = "\n".join(f"| {line} |" for line in lines)
    tools = ", ".join(f"{name} {version}" for name, version in versions().items())
    return (f"# Area and clock\n\nMedian, least and greatest clock of {seeds} placements; static "
            f"timing of the tools, not of silicon.\n{tools}\n\n{table}\n")


def compare(rows: Rows, baseline: Rows) -> tuple[list[str], list[str]]:
    """(figures that moved, figures outside of their tolerance) of rows that both have."""
    known = {_key(row): row for row in baseline}
    moved, outside = [], []
    for row in rows:
        if (before := known.get(_key(row))) is None:
            continue
        for name, tolerance in _TOLERANCE.items():
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


def write(rows: Rows, seeds: int, folder: Path) -> None:
    """`summary.json`, where rows of earlier runs stay, and `summary.md`."""
    path = folder / "summary.json"
    if path.exists():
        rows = merge(json.loads(path.read_text()), rows)
    path.write_text(json.dumps(rows, indent=2) + "\n")
    (folder / "summary.md").write_text(markdown(rows, seeds))
