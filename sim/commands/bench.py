"""`quadfire bench`: area and clock from synthesis and placement, cycles from simulation."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from quadfire.arguments import Difference, PlainConsole, console
from quadfire.files import write_text
from quadfire.rtl.fpga.blocks import BLOCKS
from quadfire.rtl.fpga.devices import DEVICES, PLAN
from quadfire.rtl.fpga.summary import baseline_path

__all__ = ["bench"]

#: Rows that continuous integration measures, one placement each.
_FAST_BLOCKS = ("core", "cell", "neuron", "neuron-qif", "neuron-lif", "scanner", "sequencer")


def _against(baseline: Path, rows: list[dict], cycles: list[dict], *, whole: bool, update: bool
             ) -> bool:
    """Compare with a baseline and print what moved, or renew it. Returns whether all is well.

    whole: the rows are all that there should be, so the baseline must have them.
    """
    from quadfire.rtl.fpga import summary
    from quadfire.sim.cycles.regression import changed

    known = json.loads(baseline.read_text()) if baseline.exists() else {"rows": [], "cycles": []}
    if update:
        known["rows"] = summary.merge(known["rows"], rows)
        known["cycles"] = cycles or known["cycles"]
        write_text(baseline, json.dumps(known, indent=2) + "\n")
        console.print(f"{baseline} has these figures now", soft_wrap=True)
        return True
    moved, outside = summary.compare(rows, known["rows"])
    different = changed(cycles, known["cycles"])
    unknown = [*summary.unknown(rows, known["rows"], summary.AREA),
               *summary.unknown(cycles, known["cycles"], summary.CYCLES)]
    wrong = {*outside, *different, *(unknown if whole else [])}
    for line in [*moved, *different, *unknown]:
        console.print(f"{'outside: ' if line in wrong else ''}{line}", soft_wrap=True)
    if not moved and not different and not unknown:
        console.print(f"no figure differs from those in {baseline.name}")
    elif wrong:
        console.print("--update makes these figures the baseline")
    return not wrong


def bench(presets: Annotated[list[str] | None, typer.Option(
              "--preset", help="May be repeated; by default those that suit the device.")] = None,
          devices: Annotated[list[str] | None, typer.Option(
              "--device", help=f"{', '.join(DEVICES)}; may be repeated, by default all.")] = None,
          blocks: Annotated[list[str] | None, typer.Option(
              "--block", help=f"core, {', '.join(BLOCKS)}; may be repeated. By default core, and "
                              "all of the device's first preset or of those chosen.")] = None,
          seeds: Annotated[int, typer.Option(min=1, help="Placements to try.")] = 5,
          jobs: Annotated[int, typer.Option(min=1, help="Tools that run side by side.")] = 2,
          fast: Annotated[bool, typer.Option(
              "--fast", help="The subset of continuous integration.")] = False,
          update: Annotated[bool, typer.Option(
              "--update", help="Make these figures the baseline.")] = False,
          output: Annotated[Path | None, typer.Option(
              "-o", "--output", file_okay=False,
              help="Folder to write to, by default build/bench or build/bench-fast.")] = None,
          ) -> None:
    """Area and clock of arrays and their blocks: `summary.json`, `summary.md`, and a table.

    Without a choice of presets, devices or blocks also the cycles of a network, `cycles.json`. What
    was placed before is kept in the output folder, so a run that was stopped goes on. One seed of
    `default` takes about ten minutes, of `wide` twenty. Fails where figures left their baseline.

    \b
      quadfire bench --preset tiny --device ecp5-25f --seeds 1
    """
    baseline = baseline_path(fast, update=update)
    from quadfire.rtl.fpga import summary
    from quadfire.rtl.fpga.measure import Job, measure
    from quadfire.sim.cycles.regression import CASES, measure_cycles

    for device in devices or ():
        if device not in DEVICES:
            raise ValueError(f"no device is called {device!r}; there are {', '.join(DEVICES)}")
    wanted = [Job("tiny", "ecp5-25f", block) for block in _FAST_BLOCKS] if fast else [
        Job(name, device, block) for device in devices or DEVICES
        for place, name in enumerate(presets or PLAN.get(device, ()))
        for block in blocks or (["core"] if place and not presets else ["core", *BLOCKS])]
    if not wanted:
        raise ValueError(f"no preset is known to fit {', '.join(devices or ())}: name one "
                         "(--preset)")
    chosen, seeds = bool(presets or devices or blocks), 1 if fast else seeds
    output = output or Path("build/bench-fast" if fast else "build/bench")
    with console.status("") as status:
        rows, failed = measure(wanted, seeds, output, jobs, status.update)
    cycles = [] if chosen else [measure_cycles(case) for case in CASES]
    figures = [row.as_dict() for row in rows]
    summary.write(figures, cycles, output)
    for title, lines in (("Area and clock", figures), ("Cycles of ten digits", cycles)):
        if lines:
            table = Table(*lines[0], title=title)
            for line in lines:
                table.add_row(*("" if value is None else str(value) for value in line.values()))
            PlainConsole(width=max(console.width, 140)).print(table)
    for job, reason in failed.items():
        console.print(f"{job}: {reason}", soft_wrap=True)
    well = _against(baseline, figures, cycles, whole=fast or not chosen, update=update)
    if not well:
        raise Difference("figures have left their baseline")
    if failed and (chosen or fast):
        raise Difference(f"{len(failed)} of {len(wanted)} rows could not be measured")
