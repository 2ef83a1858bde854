"""What Verilator's and Icarus's checks say of the generated Verilog."""

import subprocess
import tempfile
from pathlib import Path

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.shell import verilog as axi
from quadfire.rtl.verilog import TOP, write
from quadfire.sim.verilator import toolchain
from quadfire.sim.verilator.build import WAIVERS

__all__ = ["LINT_WAIVERS", "check"]

#: Waived beside those of a build, which raise no UNUSEDSIGNAL.
LINT_WAIVERS = {
    **WAIVERS,
    "DECLFILENAME": "all modules of the core stand in one file",
    "UNUSEDSIGNAL": "Amaranth gives every field of a record a signal of its own, for waveforms",
}


def _say(command: list, folder: str, tool: str) -> None:
    result = subprocess.run(command, cwd=folder, env=toolchain.verilator().environment, text=True,
                            capture_output=True, check=False)
    if result.returncode or result.stderr.strip():
        text = (result.stderr or result.stdout)[:4000]
        raise toolchain.ToolchainError(f"{tool} objects:\n{text}")


def check(config: ArrayConfig) -> list[str]:
    """The tools that found nothing to object to; raises ToolchainError with what one found."""
    with tempfile.TemporaryDirectory() as folder:
        source, _ = write(config, Path(folder))
        shell, _ = write(config, Path(folder), axi.TOP, axi.generate)
        _say([toolchain.verilator().binary, "--lint-only", "-Wall", "--top-module", TOP,
              *(f"-Wno-{name}" for name in LINT_WAIVERS), source.name], folder, "Verilator")
        _say([toolchain.verilator().binary, "--lint-only", "-Wall", "--top-module", axi.TOP,
              *(f"-Wno-{name}" for name in LINT_WAIVERS), shell.name], folder, "Verilator")
        passed = ["Verilator -Wall"]
        if icarus := toolchain.icarus():
            _say([icarus, "-g2005", "-Wall", "-Wno-timescale", "-tnull", "-s", TOP, source.name],
                 folder, "Icarus")
            _say([icarus, "-g2005", "-Wall", "-Wno-timescale", "-tnull", "-s", axi.TOP, shell.name],
                 folder, "Icarus")
            passed.append("Icarus -Wall")
    return passed
