"""Speed of the simulation: cycles per second, and the time that a build takes."""

import time
from dataclasses import dataclass

import numpy as np

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.models.datasets import mnist5k
from quadfire.models.integer import IntegerNetwork
from quadfire.paths import PRETRAINED
from quadfire.rtl import verilog
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.sim.report.demo import DEMOS
from quadfire.sim.verilator import build
from quadfire.sim.verilator.core import VerilatedTransport

__all__ = ["NETWORK", "Speed", "measure"]

#: Weights of four bits fit every array. The spike memory of some is too small nevertheless.
NETWORK = f"{DEMOS['dense'].name}-int4"

_IMAGES, _SECONDS = 10, 2.0


@dataclass(frozen=True)
class Speed:
    """Seconds to generate the Verilog of an array, to compile it, and the speed of its simulation.

    threads: threads that share the work of a cycle.
    """

    preset: str
    threads: int
    verilog_seconds: float
    build_seconds: float
    cycles_per_second: int


def measure(name: str, threads: int = 1) -> Speed:
    """Measure a preset on the dense network of the demo.

    Times are wall-clock times: other work on the machine makes them longer. Raises ValueError if
    the network does not fit the array.
    """
    config = preset(name)
    program = compile_network(IntegerNetwork.load(PRETRAINED / f"{NETWORK}.safetensors"), config)
    begin = time.perf_counter()
    text = verilog.generate(config)[0]
    generated = time.perf_counter()
    text += f"// {time.time_ns()}\n"        # so the cache has no library of it
    library = build.library(text, threads=threads)
    built = time.perf_counter()
    try:
        cycles, seconds = _run(program, config, text, threads)
    finally:
        build.forget(library.parent)
    return Speed(name, threads, round(generated - begin, 1), round(built - generated, 1),
                 round(cycles / seconds))


def _run(program: Program, config: ArrayConfig, text: str, threads: int) -> tuple[int, float]:
    """(cycles, seconds) of running images for some seconds."""
    images = mnist5k().held_out_set[0].numpy()
    chosen = images[np.linspace(0, len(images), _IMAGES, endpoint=False).astype(int)]
    transport = VerilatedTransport(config, verilog=text, threads=threads)
    with Accelerator(transport, config) as device:
        device.load(program)
        before, begin = transport.cycles, time.perf_counter()
        while (seconds := time.perf_counter() - begin) < _SECONDS:
            device.run(chosen)
        return transport.cycles - before, seconds
