"""Measures area and clock of an array, or of one of its blocks, on a device.

yosys synthesises once, nextpnr places and routes once per seed. All clocks are nextpnr's static
timing estimates without pin constraints; nothing is measured on silicon. For a device without
nextpnr only the cells are counted.
"""

import hashlib
import json
import statistics
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from quadfire.rtl.contract.config import preset
from quadfire.rtl.fpga import (
    carry_packing,
    floorplan,
    netlist,
    packing,
    register_packing,
    synthesis,
)
from quadfire.rtl.fpga.blocks import HARNESS, REGISTERS, Harnessed, harnessed
from quadfire.rtl.fpga.devices import DEVICES, Device
from quadfire.rtl.fpga.synthesis import synthesise
from quadfire.rtl.fpga.tools import fit, run, tool, versions

__all__ = ["Job", "Row", "measure"]


@dataclass(frozen=True)
class Job:
    """What to measure: a block, or "core", of a preset on a device."""

    preset: str
    device: str
    block: str = "core"

    def __str__(self) -> str:
        return f"{self.preset} {self.block} on {self.device}"


@dataclass(frozen=True)
class Row:
    """Figures of a block, without its harness.

    | attribute | meaning |
    |---|---|
    | lanes | lanes of the whole array |
    | fmax_mhz_* | clock over all placements; None where nothing was placed |
    | lut4 | LUTs, also those of carry chains and LUT RAM; logic cells on iCE40 |
    | ff, bram, dsp | flip-flops, block RAMs, multipliers |
    | placements | number of placements |
    """

    preset: str
    device: str
    block: str
    lanes: int
    fmax_mhz_median: float | None
    fmax_mhz_min: float | None
    fmax_mhz_max: float | None
    lut4: int
    ff: int
    bram: float
    dsp: int
    placements: int

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class _Work:
    """A job, its Verilog, and the folder of its results. Its name hashes what they depend on."""

    job: Job
    device: Device
    block: Harnessed
    folder: Path


def _work(job: Job, output: Path) -> _Work:
    """Generate the Verilog of a job. Raises ValueError for names that do not exist."""
    if job.device not in DEVICES:
        raise ValueError(f"no device is called {job.device!r}; there are {', '.join(DEVICES)}")
    device, block = DEVICES[job.device], harnessed(preset(job.preset), job.block)
    programs = [Path(module.__file__ or "").read_text()
                for module in (carry_packing, floorplan, netlist, packing, register_packing,
                              synthesis)]
    key = hashlib.sha256(repr((block.text, device, versions(), programs)).encode()).hexdigest()
    return _Work(job, device, block,
                 output / job.device / f"{job.preset}-{job.block}-{key[:12]}")


def _synthesise(work: _Work) -> None:
    """Make `netlist.json`."""
    folder, device = work.folder, work.device
    if (folder / "netlist.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "design.v").write_text(work.block.text)
    read = ["read_verilog -sv design.v"]
    # on Xilinx the harness's registers would become LUTs, and not be counted
    if not device.place:
        read.append(f"setattr -set keep 1 {' '.join(f'{HARNESS}/w:{name}' for name in REGISTERS)}")
    synthesise(read, device.synthesis, HARNESS, folder, grid=device.grid)


def _command(work: _Work) -> list[str]:
    """Command of nextpnr, without a seed."""
    name, *options = work.device.place
    return [*tool(name, *options), "--json", "netlist.json"]


def _fit(work: _Work) -> None:
    """Make `fit.log`, unless a placement shows that the netlist fits."""
    if not any(work.folder.glob("seed*.json")):
        fit(_command(work), work.folder)


def _place(work: _Work, seed: int) -> None:
    """Make `seedN.json`, nextpnr's report."""
    report = work.folder / f"seed{seed}.json"
    if not report.exists():
        run([*_command(work), "--seed", str(seed), "--timing-allow-fail",
             "--report", f"seed{seed}.part"], work.folder, f"seed{seed}.log")
        (work.folder / f"seed{seed}.part").rename(report)


def _row(work: _Work, seeds: int) -> Row:
    """Count cells and clocks of a job that is done, and take the harness off."""
    document = json.loads((work.folder / "netlist.json").read_text())
    used = Counter(cell["type"] for cell in document["modules"][HARNESS]["cells"].values())
    clocks = []
    for seed in range(1, seeds + 1) if work.device.place else ():
        report = json.loads((work.folder / f"seed{seed}.json").read_text())
        clocks.append(max(clock["achieved"] for clock in report["fmax"].values()))
        used.update({cell: entry["used"] - used[cell]
                     for cell, entry in report["utilization"].items()})

    def count(cells: dict[str, float]) -> float:
        return sum(used[cell] * each for cell, each in cells.items())

    device, block = work.device, work.block
    # on iCE40 a flip-flop of the harness without a LUT before it takes a logic cell as well
    luts = block.luts + block.inputs * ("ICESTORM_LC" in device.lut4)
    return Row(preset=work.job.preset, device=work.job.device, block=work.job.block,
               lanes=preset(work.job.preset).outputs,
               fmax_mhz_median=round(statistics.median(clocks), 1) if clocks else None,
               fmax_mhz_min=round(min(clocks), 1) if clocks else None,
               fmax_mhz_max=round(max(clocks), 1) if clocks else None,
               lut4=int(count(device.lut4)) - luts,
               ff=int(count(device.ff)) - block.registers,
               bram=count(device.bram), dsp=int(count(device.dsp)), placements=len(clocks))


def measure(jobs: list[Job], seeds: int, output: Path, workers: int,
            progress: Callable[[str], object]) -> tuple[list[Row], dict[Job, str]]:
    """Measure jobs: the rows of those that succeed, and the reason for each that does not.

    | argument | meaning |
    |---|---|
    | seeds | placements of each job |
    | output | folder of results; those of the same Verilog and tools are used again |
    | workers | tools that run at the same time |
    | progress | called with a line of text at every step |

    Raises ValueError for names that do not exist.
    """
    failed: dict[Job, str] = {}

    def attempt(step: Callable, work: _Work, *more: int) -> None:
        if work.job in failed:
            return
        progress(f"{work.job}: {step.__name__[1:]} {' '.join(map(str, more))}")
        try:
            step(work, *more)
        except RuntimeError as error:
            failed[work.job] = str(error)

    works = []
    for job in jobs:
        progress(f"{job}: Verilog")
        works.append(_work(job, output))
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda work: attempt(_synthesise, work), works))
        placed = [work for work in works if work.device.place]
        list(pool.map(lambda work: attempt(_fit, work), placed))
        list(pool.map(lambda pair: attempt(_place, *pair),
                      [(work, seed) for seed in range(1, seeds + 1) for work in placed]))
    return [_row(work, seeds) for work in works if work.job not in failed], failed
