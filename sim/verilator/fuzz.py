"""Fuzzing: random and damaged packets into the Verilated core.

A round sends a damaged tape or noise, then a good tape, which must give the right answers. Nothing
may hang, and no rule of AXI4-Stream may be broken. The rounds run in sim/verilator/cpp/fuzz.cpp.
"""

import ctypes
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.progress import track

from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.session import inference_tape, setup_tape
from quadfire.firmware.tape.memory_layout import unpack_map
from quadfire.firmware.tape.packets import encode
from quadfire.firmware.tape.writer import Expected, Tape
from quadfire.models.integer.random_network import random_inputs, random_network
from quadfire.rtl.contract.config import ArrayConfig, preset
from quadfire.rtl.contract.tape import Opcode
from quadfire.sim.verilator import build
from quadfire.sim.verilator.core import VerilatedCore

__all__ = ["FuzzFailure", "Report", "fuzz"]

FUZZ = Path(__file__).parent / "cpp" / "fuzz.cpp"

#: Sizes of the network of the good tapes: two layers, the first one in two tiles.
SIZES = [12, 8, 4]


class FuzzFailure(AssertionError):
    """The device hung, answered wrongly, or broke a rule. The message has seed and round."""


class Report(NamedTuple):
    """What was sent to the device.

    refused: damaged tapes that gave an error answer. harmless: damaged tapes that gave only right
    answers.
    """

    rounds: int
    packets: int
    refused: int
    harmless: int
    cycles: int


def _read_words(program: Program, tape: Tape) -> Tape:
    """The tape, and then a READ for every spike word of the hidden layer, one at a time."""
    region, config = program.memory.outputs[0], program.config
    assert region is not None
    for at in range(region.base * config.stream_words, region.end * config.stream_words):
        tape.packets.append(encode(Opcode.READ, tape.tag + len(tape.packets), [at, 1]))
        tape.expected.append(Expected("spikes", 1, index=at))
    return tape


def _tapes(core: VerilatedCore, config: ArrayConfig, seed: int) -> list[tuple[list, list]]:
    """(packets, answers) of a setup tape and of an inference tape.

    The answers are those of the device. Its logits and spikes are compared with the reference
    before anything is damaged. Raises FuzzFailure if they differ.
    """
    from quadfire.models.integer import reference  # only here: PyTorch takes long to import

    rng = np.random.default_rng(seed)
    network = random_network(rng, config, sizes=SIZES, steps=3, input_bits=2, readout=True)
    inputs = random_inputs(rng, network, 1)
    program = compile_network(network, config)
    tapes = []
    for tape in (setup_tape(program, 1), _read_words(program, inference_tape(program, inputs, 77))):
        for packet in tape.packets:
            core.send(packet)
        if not core.run(tape.answers, 100_000):
            raise FuzzFailure("the device hangs on a good tape")
        answers: list[Any] = [core.take() for _ in range(tape.answers)]
        tapes.append((tape.packets, answers))
        found = {what: [answer[1:-1] for answer, item in
                        zip(answers, tape.expected, strict=True) if item.what == what]
                 for what in ("logits", "spikes")}
    expected = reference.run(network, inputs, record=True)
    logits = np.concatenate(found["logits"]).view(np.int32)[:SIZES[-1]]
    spikes = unpack_map(np.concatenate(found["spikes"])[None], network.shapes[0], config)[0]
    if not np.array_equal(logits, expected.logits.numpy()[0]) or not np.array_equal(
            spikes.reshape(network.steps, -1), expected.spikes[0].numpy()[:, 0]):
        raise FuzzFailure("the device computes wrongly before anything is damaged")
    return tapes


def fuzz(config: ArrayConfig, packets: int, *, seed: int = 1, idle: float = 0.0,
         backpressure: float = 0.0, progress: bool = False) -> Report:
    """Send at least `packets` packets to the core of `config`.

    idle, backpressure: probability that a cycle offers no word, takes no word. progress: show a
    bar. Raises FuzzFailure at the first fault.
    """
    core = VerilatedCore(build.core_verilog(config), idle=idle, backpressure=backpressure,
                         seed=seed, harness=FUZZ)
    lib = core._lib
    for name, result in (("qf_fuzz_open", ctypes.c_void_p), ("qf_fuzz", ctypes.c_int),
                         ("qf_fuzz_status", ctypes.c_char_p), ("qf_fuzz_close", None)):
        getattr(lib, name).restype = result
    tapes = _tapes(core, config, seed)
    flat = [np.concatenate([*sent, *answers]).astype(np.uint32) for sent, answers in tapes]
    counts = (ctypes.c_uint64 * 4)(*(len(side) for tape in tapes for side in tape))
    state = ctypes.c_void_p(lib.qf_fuzz_open(
        ctypes.c_void_p(core._handle()), ctypes.c_uint64(seed),
        *(ctypes.c_void_p(words.ctypes.data) for words in flat), counts))
    values = (ctypes.c_uint64 * 4)()
    steps = range(100)
    try:
        for step in track(steps, "fuzzing") if progress else steps:
            while lib.qf_fuzz_status(state, values) is None and (
                    values[1] < packets * (step + 1) // len(steps)):
                lib.qf_fuzz(state, ctypes.c_uint64(20))
        if failure := lib.qf_fuzz_status(state, values):
            raise FuzzFailure(f"{failure.decode()}: seed {seed}, round {values[0]}, in cycle "
                              f"{core.status.cycles}")
        return Report(*map(int, values), cycles=core.status.cycles)
    finally:
        lib.qf_fuzz_close(state)
        core.close()


def main(packets: Annotated[int, typer.Option(min=1, help="How many packets.")] = 1_000_000,
         config: Annotated[str, typer.Option(help="Array; `tiny` is fastest.")] = "tiny",
         seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 1,
         idle: Annotated[float, typer.Option(help="Probability that a cycle has no input.")] = 0.0,
         backpressure: Annotated[
             float, typer.Option(help="Probability that a cycle takes no output.")] = 0.0,
         ) -> None:
    """Send random and damaged packets to the Verilated core, and a good tape after every few.

    Fails if the device hangs, answers wrongly, or breaks a rule of AXI4-Stream.
    """
    begin = time.monotonic()
    try:
        report = fuzz(preset(config), packets, seed=seed, idle=idle, backpressure=backpressure,
                      progress=True)
    except (FuzzFailure, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{report.packets:,} packets in {report.rounds:,} rounds, {report.cycles:,} cycles: "
               f"{report.refused:,} damaged tapes refused, {report.harmless:,} harmless, no hang, "
               f"no wrong answer ({time.monotonic() - begin:.0f} s)")


if __name__ == "__main__":
    typer.run(main)
