"""Lint of the generated Verilog: Verilator and, where it is installed, Icarus."""

import subprocess
import tempfile
from pathlib import Path

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.shell import verilog as axi
from quadfire.rtl.verilog import TOP, write
from quadfire.sim.verilator import toolchain
from quadfire.sim.verilator.build import WAIVERS

__all__ = ["LINT_WAIVERS", "check"]

#: All warnings that are waived. A build has no -Wall, so it needs fewer.
LINT_WAIVERS = {
    **WAIVERS,
    "DECLFILENAME": "all modules of the core stand in one file",
    "UNUSEDSIGNAL": "Amaranth gives every field of a record a signal of its own, for waveforms",
}


def _lint(command: list, folder: str, tool: str) -> None:
    """Run a tool. Raises ToolchainError if it reports anything."""
    result = subprocess.run(command, cwd=folder, env=toolchain.verilator().environment, text=True,
                            capture_output=True, check=False)
    if result.returncode or result.stderr.strip():
        text = (result.stderr or result.stdout)[:4000]
        raise toolchain.ToolchainError(f"{tool} objects:\n{text}")


def check(config: ArrayConfig) -> list[str]:
    """Lint the core and the AXI shell. Returns the names of the tools, which all found nothing.

    Raises ToolchainError with what the first tool found.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, _ = write(config, Path(folder))
        shell, _ = write(config, Path(folder), axi.TOP, axi.generate)
        tops = ((TOP, source.name), (axi.TOP, shell.name))
        for top, name in tops:
            _lint([toolchain.verilator().binary, "--lint-only", "-Wall", "--top-module", top,
                   *(f"-Wno-{waiver}" for waiver in LINT_WAIVERS), name], folder, "Verilator")
        passed = ["Verilator -Wall"]
        if icarus := toolchain.icarus():
            for top, name in tops:
                _lint([icarus, "-g2005", "-Wall", "-Wno-timescale", "-tnull", "-s", top, name],
                      folder, "Icarus")
            passed.append("Icarus -Wall")
    return passed
