"""Commands of `quadfire` that talk to a device."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quadfire.firmware.driver.accelerator import Accelerator
from quadfire.firmware.compiler.compile import compile
from quadfire.firmware.driver.inputs import read_inputs
from quadfire.firmware.tape.packets import encode, unpack
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.selftest import selftest as run_selftest
from quadfire.firmware.transports.transport import Transport
from quadfire.firmware.transports import KINDS, kind_of, open_device
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import PRESETS, ArrayConfig, preset
from quadfire.rtl.contract.tape import INFO_WORDS, Answer, Opcode

__all__ = ["register"]

console = Console()

#: How often a tape is played again on a real device.
RETRIES = 3

NetworkPath = Annotated[Path, typer.Argument(metavar="NET", show_default=False,
                                             help="Integer network, a .safetensors file.")]
Device = Annotated[str, typer.Option("--device", "-d", metavar="NAME",
                                     help="See `devices`: " + ", ".join(
                                         kind.form for kind in KINDS.values()) + ".")]
Config = Annotated[str | None, typer.Option(
    "--config", "-c", help=f"Array: {', '.join(PRESETS)}. By default what a real device says that "
                           "it is, and `default` for a simulated one.")]


class _Counting(Transport):
    """Counts the bytes of another transport."""

    def __init__(self, transport: Transport):
        self.transport, self.sent, self.received = transport, 0, 0

    def exchange(self, packets: Sequence[np.ndarray], answers: int) -> list[np.ndarray]:
        self.sent += 4 * sum(map(len, packets))
        got = self.transport.exchange(packets, answers)
        self.received += 4 * sum(map(len, got))
        return got

    def reset(self) -> None:
        self.transport.reset()

    def close(self) -> None:
        self.transport.close()


def _config_of(transport: Transport) -> ArrayConfig:
    """What a device was made from, by what its transport knows, or as one of the presets."""
    if transport.config is not None:
        return transport.config
    words = transport.exchange([encode(Opcode.INFO, 0)], 1)
    while int(words[0][0]) >> 24 != Answer.INFO:
        words = transport.exchange([], 1)
    found = unpack(dict.fromkeys(INFO_WORDS, 32), words[0][1:-1])["configuration"]
    for config in PRESETS.values():
        if config.hash == found:
            return config
    raise ValueError(f"the device has configuration {found:#010x}, which has no name: none of "
                     f"{', '.join(PRESETS)}")


def _open(name: str, config: str | None) -> Accelerator:
    """The driver of a device."""
    kind, _ = kind_of(name)
    wanted = preset(config or "default") if config or not kind.real else None
    with console.status(f"opening {name}"):
        transport = open_device(name, wanted)
        try:
            shape = wanted or _config_of(transport)
        except (ValueError, OSError):
            transport.close()
            raise
    return Accelerator(_Counting(transport), shape, retries=RETRIES if kind.real else 0)


def _load(device: Accelerator, network: Path) -> tuple[Program, bool]:
    """(program, whether it had to be loaded): a device that holds it already keeps it."""
    program = compile(IntegerNetwork.load(network), device.config)
    if device.info().network == program.network_id:
        device.program = program
        return program, False
    with console.status("loading the network"):
        device.load(program)
    return program, True


def devices() -> None:
    """List the kinds of devices, and the serial ports of this machine."""
    table = Table("name", "what it is", "")
    for kind in KINDS.values():
        table.add_row(kind.form, kind.about, "" if kind.available else f"needs {kind.needs}")
    console.print(table)
    if KINDS["serial"].available:
        from serial.tools.list_ports import comports

        for port in comports():
            console.print(f"serial:{port.device}  {port.description}", highlight=False)


def info(device: Device = "sim", config: Config = None) -> None:
    """Say what a device is: version, configuration, network."""
    with _open(device, config) as accelerator:
        about = accelerator.info()
        shape = accelerator.config
    console.print(f"{device}: tape version {about.version >> 16}.{about.version & 0xFFFF}, "
                  f"configuration {about.configuration:#010x}, "
                  + (f"network {about.network:#010x}" if about.network else "no network"),
                  soft_wrap=True, highlight=False)
    console.print(str(shape) if shape.hash == about.configuration else
                  "not the configuration asked for", soft_wrap=True, highlight=False)


def load(network: NetworkPath, device: Device = "sim", config: Config = None) -> None:
    """Load a network; a real device keeps it until it is reset, and `run` finds it there."""
    with _open(device, config) as accelerator:
        begin = time.perf_counter()
        program, fresh = _load(accelerator, network)
        seconds = time.perf_counter() - begin
    console.print(f"{network}: network {program.network_id:#010x} "
                  + (f"loaded in {seconds:.2f} s" if fresh else "was loaded already"),
                  soft_wrap=True, highlight=False)


def _run(accelerator: Accelerator, data: np.ndarray):
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("running", total=None)
        return accelerator.run(data, progress=lambda done, total: progress.update(
            task, completed=done, total=total))


def run(network: NetworkPath,
        inputs: Annotated[list[Path], typer.Argument(
            metavar="INPUT...", show_default=False,
            help="Pixels, integers [N, inputs], or spikes, 0 or 1, [T, N, inputs], as .npy or "
                 ".npz; or grey pictures.")],
        device: Device = "sim", config: Config = None,
        output: Annotated[Path | None, typer.Option(
            "--output", "-o", metavar="FILE",
            help=".npy: logits [N, outputs], or spikes [T, N, outputs]. .json: classes, logits "
                 "and counters.")] = None) -> None:
    """Run inputs on a device; print classes and counters."""
    if output is not None and output.suffix not in (".npy", ".json"):
        raise ValueError(f"--output must end in .npy or .json, not {output.name!r}")
    data = read_inputs(inputs, IntegerNetwork.load(network))
    with _open(device, config) as accelerator:
        _load(accelerator, network)
        result = _run(accelerator, data)
    votes = result.outputs.sum(axis=0) if result.outputs.ndim == 3 else result.outputs
    classes = votes.argmax(axis=1)
    console.print("classes: " + " ".join(map(str, classes)))
    table = Table("counter", "total", "an image")
    for name, value in result.counters.items():
        table.add_row(name, str(value), f"{value / max(1, len(votes)):.1f}")
    console.print(table)
    if output is None:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.suffix == ".npy":
        np.save(output, result.outputs)
    else:
        output.write_text(json.dumps({"classes": classes.tolist(),
                                      "outputs": result.outputs.astype(int).tolist(),
                                      "counters": result.counters}) + "\n")


def selftest(device: Device = "sim", config: Config = None) -> None:
    """Test a device: registers, spike memory, a network whose answers are known.

    It forgets its network.
    """
    with _open(device, config) as accelerator:
        for name, seen in run_selftest(accelerator):
            console.print(f"passed  {name}: {seen}", soft_wrap=True, highlight=False)


def throughput(network: NetworkPath, device: Device = "sim", config: Config = None,
               images: Annotated[int, typer.Option(min=1, help="How many.")] = 64) -> None:
    """Measure images a second, cycles and bytes, on random inputs."""
    rng = np.random.default_rng(0)
    with _open(device, config) as accelerator:
        program, _ = _load(accelerator, network)
        net = program.network
        shape = (images, net.inputs) if net.input_bits else (net.steps, images, net.inputs)
        data = rng.integers(0, 1 << max(net.input_bits, 1), shape, dtype=np.uint8)
        line = accelerator.transport
        assert isinstance(line, _Counting)
        line.sent = line.received = 0
        begin = time.perf_counter()
        counters = _run(accelerator, data).counters
        seconds = time.perf_counter() - begin
    table = Table("", "an image", title=f"{images} images in {seconds:.2f} s on {device}")
    table.add_row("images a second", f"{images / seconds:.1f}")
    table.add_row("cycles of the array", f"{counters['busy'] / images:.1f}")
    table.add_row("cycles in all", f"{counters['cycles'] / images:.1f}")
    table.add_row("bytes sent", f"{line.sent / images:.1f}")
    table.add_row("bytes received", f"{line.received / images:.1f}")
    console.print(table)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (devices, info, load, run, selftest, throughput):
        app.command()(command)
