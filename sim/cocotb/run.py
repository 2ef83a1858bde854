"""Runs cocotb test benches on a simulator."""

import contextlib
import logging
import sys
from pathlib import Path
from xml.etree import ElementTree

from cocotb_tools.runner import Runner, get_runner

from quadfire.paths import PACKAGE
from quadfire.sim.cocotb import vectors as golden
from quadfire.sim.verilator import build, toolchain
from quadfire.sim.verilator.cache import cached

__all__ = ["CocotbFailure", "run_testbench", "run_module"]

#: Icarus must read Amaranth's `always @*` as Verilog, not as SystemVerilog, or it stays at X.
ICARUS_FLAGS = ("-g2005",)


class CocotbFailure(AssertionError):
    """A test bench failed. The message has the errors, and the paths of log and waveform."""

#: A second top module that writes a waveform. That of cocotb is SystemVerilog, this one Verilog.
_DUMP = """
module quadfire_dump;
reg [8191:0] path;
initial if ($value$plusargs("dump=%%s", path)) begin $dumpfile(path); $dumpvars(0, %s); end
endmodule
"""


def run_testbench(simulator: str, verilog: str, top: str, vectors: dict, build_dir: Path | str, *,
                  module: str = "quadfire.sim.cocotb.testbench_block", seed: int = 1,
                  waves: bool | None = None) -> int:
    """Play golden vectors into a design. Returns the number of tests that passed.

    | argument | meaning |
    |---|---|
    | `simulator` | "verilator" or "icarus" |
    | `verilog`, `top` | the design and its top module |
    | `vectors` | in the form that the test bench takes |
    | `build_dir` | gets vectors, log and results; compiled simulators are cached elsewhere |
    | `module` | the test bench |
    | `waves` | write a waveform; None writes it in a second run if the first one fails |

    Raises CocotbFailure if a test fails.
    """
    path = golden.write(Path(build_dir).resolve() / "vectors.json", vectors)
    return run_module(simulator, verilog, top, module, path.parent, waves=waves, seed=seed,
                      environment={"QUADFIRE_VECTORS": str(path), "QUADFIRE_SEED": str(seed)})


def run_module(simulator: str, verilog: str, top: str, module: str, build_dir: Path | str, *,
               environment: dict[str, str], seed: int = 1, waves: bool | None = None) -> int:
    """Run the cocotb tests of a Python module. `environment` is added to the simulator's."""
    build_dir = Path(build_dir).resolve()
    build_dir.mkdir(parents=True, exist_ok=True)
    passed, errors, log = _run(simulator, verilog, top, module, build_dir, environment, seed,
                               bool(waves))
    if not errors:
        return passed
    text = f"{module} on {simulator}, {top}, seed {seed}:\n" + "\n".join(errors) + f"\nlog: {log}"
    if waves is None:
        _run(simulator, verilog, top, module, build_dir, environment, seed, True)
    if waves is not False:
        text += f"\nwaveform: {_waveform(simulator, build_dir)}"
    raise CocotbFailure(text)


def _run(simulator: str, verilog: str, top: str, module: str, build_dir: Path,
         environment: dict[str, str], seed: int, waves: bool) -> tuple[int, list[str], Path]:
    """(tests passed, messages of failures, log file) of one run of the simulator."""
    runner = get_runner(simulator)
    runner.log = logging.getLogger("quadfire.cocotb")   # its own logger prints every command
    image = _image(runner, simulator, verilog, top, waves)
    log = build_dir / f"{simulator}.log"
    results = build_dir / f"{simulator}.xml"
    wave = str(_waveform(simulator, build_dir))
    arguments = [f"+dump={wave}"]
    if simulator == "verilator":    # uninitialised registers and memories are random
        arguments = ["--trace-file", wave, "+verilator+rand+reset+2",
                     f"+verilator+seed+{seed % (1 << 31) or 1}"]
    if str(PACKAGE.parent) not in sys.path:     # the simulator gets this path
        sys.path.append(str(PACKAGE.parent))
    with contextlib.suppress(SystemExit, RuntimeError):     # the results file says what failed
        runner.test(test_module=module, hdl_toplevel=top, hdl_toplevel_lang="verilog", seed=seed,
                    build_dir=image, test_dir=build_dir, results_xml=str(results), log_file=log,
                    waves=waves, plusargs=arguments,
                    extra_env={"COCOTB_ANSI_OUTPUT": "0", **environment})
    passed, errors = _results(results)
    if not passed and not errors:
        tail = log.read_text().splitlines()[-30:] if log.exists() else []
        errors = ["no test was run", *tail]
    return passed, errors, log


def _waveform(simulator: str, folder: Path) -> Path:
    return folder / ("icarus.fst" if simulator == "icarus" else "verilator.vcd")


def _results(path: Path) -> tuple[int, list[str]]:
    """(tests passed, messages of failed ones) in a results file."""
    if not path.exists():
        return 0, []
    passed, errors = 0, []
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        failures = [*case.iter("failure"), *case.iter("error")]
        if failures:
            detail = failures[0].get("error_msg") or failures[0].get("message") or ""
            detail = (detail or failures[0].text or "").strip().partition("\nassert ")[0]
            errors.append(f"{case.get('name')}: {detail}")
        elif case.find("skipped") is None:
            passed += 1
    return passed, errors


def _image(runner: Runner, simulator: str, verilog: str, top: str, waves: bool) -> Path:
    """The folder of the compiled simulation, from the cache."""
    if simulator == "verilator":
        return build.executable(verilog, top=top, trace=waves).parent
    if simulator != "icarus":
        raise ValueError(f"simulator must be 'verilator' or 'icarus', not {simulator!r}")
    if toolchain.icarus() is None:
        raise toolchain.ToolchainError("Icarus Verilog is not installed "
                                       "(Debian: apt-get install iverilog)")

    flags = [*ICARUS_FLAGS, "-s", "quadfire_dump"] if waves else [*ICARUS_FLAGS]

    def compile_into(folder: Path) -> None:
        source = folder / f"{top}.v"
        source.write_text(verilog + (_DUMP % top if waves else ""))
        log = folder / "build.log"
        try:
            runner.build(sources=[source], hdl_toplevel=top, build_args=flags, build_dir=folder,
                         timescale=("1ns", "1ps"), log_file=log)
        except RuntimeError:
            raise toolchain.ToolchainError(f"Icarus failed:\n{log.read_text()}") from None

    return cached("cocotb", (verilog, top, "icarus", flags), compile_into)
