"""Place and route: area and clock of an array on a device, with tools from pip.

yosys (pyosys) synthesises, nextpnr places and routes once a seed. All clocks are nextpnr's static
timing estimates without pin constraints; nothing is measured on silicon.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from .config import ArrayConfig
from .verilog import TOP, write

__all__ = ["DEVICES", "Device", "Row", "measure"]


@dataclass(frozen=True)
class Device:
    """A target: how to synthesise for it, how to place it, and what its resources are called."""

    synthesis: str
    nextpnr: tuple[str, ...]
    lut4: str
    ff: str
    bram: str
    dsp: str


def _ecp5(size: str) -> Device:
    return Device(f"synth_ecp5 -top {TOP} -json netlist.json",
                  ("nextpnr-ecp5", f"--{size}", "--package", "CABGA381", "--speed", "6",
                   "--lpf-allow-unconstrained"),
                  lut4="TRELLIS_COMB", ff="TRELLIS_FF", bram="DP16KD", dsp="MULT18X18D")


#: Devices by name. Speed grade 6 is the slowest of an ECP5.
DEVICES = {"ecp5-25f": _ecp5("25k"), "ecp5-85f": _ecp5("85k")}


@dataclass(frozen=True)
class Row:
    """What one array took on one device. LUTs include those of carry chains and small memories."""

    preset: str
    device: str
    block: str
    lanes: int
    fmax_mhz_median: float
    fmax_mhz_min: float
    fmax_mhz_max: float
    lut4: int
    ff: int
    bram: int
    dsp: int

    def as_dict(self) -> dict:
        return asdict(self)


def _run(command: list[str], folder: Path, log: str) -> None:
    with (folder / log).open("w") as file:
        result = subprocess.run(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT,
                                check=False)
    if result.returncode:
        tail = "\n".join((folder / log).read_text().splitlines()[-8:])
        raise RuntimeError(f"{Path(command[0]).name} failed, see {folder / log}:\n{tail}")


def _synthesise(config: ArrayConfig, device: Device, folder: Path) -> None:
    write(config, folder)
    script = f"read_verilog {TOP}.v; {device.synthesis}"
    program = ("from pyosys import libyosys as ys; d = ys.Design(); "
               f"[ys.run_pass(c.strip(), d) for c in {script!r}.split(';')]")
    _run([sys.executable, "-c", program], folder, "synthesis.log")
    if "Driver-driver conflict" in (folder / "synthesis.log").read_text():
        raise RuntimeError(f"yosys met two drivers of one wire, see {folder / 'synthesis.log'}")


def measure(name: str, config: ArrayConfig, device_name: str, seeds: int, folder: Path,
            progress: Callable[[str], object]) -> Row:
    """Synthesise once, place and route for every seed; a seed done before is not done again.

    Raises RuntimeError with the end of the log when a tool fails.
    """
    device = DEVICES[device_name]
    folder = folder / f"{name}-{config.hash:08x}-{device_name}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "netlist.json").exists():
        progress(f"{name} on {device_name}: synthesis")
        _synthesise(config, device, folder)
    clocks, used = [], {}
    for seed in range(1, seeds + 1):
        report = folder / f"seed{seed}.json"
        if not report.exists():
            progress(f"{name} on {device_name}: place and route, seed {seed} of {seeds}")
            tool = Path(sys.executable).parent / f"yowasp-{device.nextpnr[0]}"
            _run([str(tool), *device.nextpnr[1:], "--json", "netlist.json", "--freq", "200",
                  "--seed", str(seed), "--timing-allow-fail", "--report", report.name],
                 folder, f"seed{seed}.log")
        result = json.loads(report.read_text())
        clocks.append(max(clock["achieved"] for clock in result["fmax"].values()))
        used = {cell: entry["used"] for cell, entry in result["utilization"].items()}
    return Row(preset=name, device=device_name, block="core", lanes=config.outputs,
               fmax_mhz_median=round(statistics.median(clocks), 1),
               fmax_mhz_min=round(min(clocks), 1), fmax_mhz_max=round(max(clocks), 1),
               lut4=used[device.lut4], ff=used[device.ff], bram=used[device.bram],
               dsp=used[device.dsp])
