"""The C driver, compiled for this machine, with the Verilated AXI shell as its hardware."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from quadfire.firmware.c.tape_header import c_header
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.session import pack_inputs
from quadfire.paths import PACKAGE
from quadfire.sim.verilator import build, toolchain
from quadfire.sim.verilator.axi_shell import HARNESS, TOP

__all__ = ["FLAGS", "run"]

C_DRIVER = PACKAGE / "firmware" / "c"

_C_HOST = Path(__file__).parent / "cpp" / "c_host.c"

#: The driver must compile without a warning, and run under the sanitizers.
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(program: Program, inputs: np.ndarray, *, stream_bits: int = 32, idle: float = 0.0,
        backpressure: float = 0.0, seed: int = 1) -> tuple[np.ndarray, str]:
    """Run inputs through the C driver. Returns (logits, log).

    The logits are int32 [N + 1, outputs]: those of N inputs, then those of the input that the tape
    itself holds, which is input 0. On the way every fault that the driver reports is caused once,
    see sim/verilator/cpp/c_host.c. Raises ToolchainError if the driver gives a warning, fails, or a
    sanitizer finds an error.
    """
    library = build.library(build.axi_verilog(program.config, stream_bits), top=TOP,
                            harness=HARNESS)
    first = inputs[:1] if program.network.input_bits else inputs[:, :1]
    words = pack_inputs(program, inputs).astype("<u4")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "net_tape.h").write_text(c_header(program, first))
        _call([toolchain.c_compiler(), *FLAGS, *SANITIZERS, "-I", C_DRIVER, "-I", folder, "-c",
               C_DRIVER / "quadfire.c", "-o", folder / "quadfire.o"])
        _call([toolchain.c_compiler(), "-std=c99", "-Wall", "-Wextra", "-Werror", *SANITIZERS, "-I",
               C_DRIVER, "-I", folder, _C_HOST, folder / "quadfire.o", library,
               f"-Wl,-rpath,{library.parent}", "-o", folder / "host"])
        done = subprocess.run([folder / "host", str(seed), str(idle), str(backpressure)],
                              input=words.tobytes(), capture_output=True, check=False)
    log = done.stderr.decode()
    if done.returncode:
        raise toolchain.ToolchainError(f"the C driver failed ({done.returncode}):\n{log[-4000:]}")
    count = len(words) + 1
    results = np.frombuffer(done.stdout, "<i4").reshape(count, -1)
    return results[:, -program.network.layers[-1].outputs:], log


def _call(command: list) -> None:
    """Run a compiler. Raises ToolchainError with what it prints if it fails."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if done.returncode:
        raise toolchain.ToolchainError(f"the C driver does not compile:\n{done.stdout[:4000]}")
