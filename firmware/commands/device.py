"""Commands that talk to a device: `quadfire devices`, `info`, `load`, `run`, `selftest`."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from quadfire.arguments import (
    By,
    Changes,
    DataFiles,
    Network,
    OptionalConfig,
    Sensor,
    SpikesAbove,
    console,
)
from quadfire.firmware.transports import KINDS, kind_of
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.config_file import read_config

if TYPE_CHECKING:
    import numpy as np

    from quadfire.firmware import Accelerator, Program
    from quadfire.models.integer import IntegerNetwork

__all__ = ["Given", "Images", "Inputs", "Output", "devices", "info", "load", "run", "run_inputs",
           "selftest", "throughput"]

Device = Annotated[str, typer.Option("--device", "-d", metavar="NAME",
                                     help="See `devices`: " + ", ".join(
                                         kind.form for kind in KINDS.values()) + ".")]
Inputs = Annotated[list[Path] | None, typer.Argument(
    metavar="[INPUT...]", show_default=False,
    help="Pixels, integers [N, inputs], or spikes, 0 or 1, or counts, [T, N, inputs], as .npy or "
         ".npz; or grey pictures. Or labelled --data.")]
Images = Annotated[int, typer.Option(
    "--images", min=1, help="--data: how many held-out samples, evenly over all of them.")]
Output = Annotated[Path | None, typer.Option(
    "--output", "-o", metavar="FILE",
    help=".npy: logits [N, outputs], or spikes [T, N, outputs]. .json: classes, logits and "
         "counters.")]


def _wanted(name: str, config: str | None, changes: Sequence[str] | None) -> ArrayConfig | None:
    """The array that was asked for, or that a simulated device is made from; None: ask the device.
    """
    kind, _ = kind_of(name)
    if config is None and not changes and kind.real:
        return None
    return read_config(config or "default", changes or ())


def _open(name: str, config: str | None, changes: Sequence[str] | None) -> "Accelerator":
    """The driver of a device; its arguments are checked before anything is opened or built."""
    from quadfire.firmware.driver.connect import connect

    wanted = _wanted(name, config, changes)
    with console.status(f"opening {name}"):
        return connect(name, wanted)


def _read(network: Path, device: str, config: str | None, changes: Sequence[str] | None
          ) -> "IntegerNetwork":
    """The network in a file, which fits the array wherever that is known without a device."""
    from quadfire.firmware.compiler.compile import compile_network
    from quadfire.models.integer import IntegerNetwork

    integers = IntegerNetwork.load(network)
    if (wanted := _wanted(device, config, changes)) is not None:
        compile_network(integers, wanted)
    return integers


def _load(device: "Accelerator", network: "IntegerNetwork") -> "tuple[Program, bool]":
    """(program, whether it had to be loaded): a device that holds it already keeps it."""
    from quadfire.firmware.compiler.compile import compile_network

    program = compile_network(network, device.config)
    if device.info().network == program.network_id:
        device.program = program
        return program, False
    with console.status("loading the network"):
        device.load(program)
    return program, True


def devices() -> None:
    """List the kinds of devices, and the serial ports of this machine."""
    table = Table("name", "what it is", "needs")
    for kind in KINDS.values():
        table.add_row(kind.form, kind.about, "" if kind.available else kind.needs)
    console.print(table)
    if KINDS["serial"].available:
        from serial.tools.list_ports import comports

        for port in comports():
            about = "" if port.description in (None, "n/a") else f"  {port.description}"
            console.print(f"serial:{port.device}{about}")


def info(device: Device = "sim", config: OptionalConfig = None, changes: Changes = None) -> None:
    """Say what a device is: version, configuration, network."""
    with _open(device, config, changes) as accelerator:
        about = accelerator.info()
        shape = accelerator.config
    console.print(f"{device}: tape version {about.version >> 16}.{about.version & 0xFFFF}, "
                  f"configuration {about.configuration:#010x}, "
                  + (f"network {about.network:#010x}" if about.network else "no network"),
                  soft_wrap=True)
    console.print(str(shape) if shape.hash == about.configuration else
                  "not the configuration asked for", soft_wrap=True)


def load(network: Network, device: Device = "sim", config: OptionalConfig = None,
         changes: Changes = None) -> None:
    """Load a network; a real device keeps it until it is reset, and `run` finds it there."""
    integers = _read(network, device, config, changes)
    with _open(device, config, changes) as accelerator:
        begin = time.perf_counter()
        program, fresh = _load(accelerator, integers)
        seconds = time.perf_counter() - begin
    console.print(f"{network}: network {program.network_id:#010x} "
                  + (f"loaded in {seconds:.2f} s" if fresh else "was loaded already"),
                  soft_wrap=True)


def _watched(accelerator: "Accelerator", data: "np.ndarray") -> Any:
    """`Accelerator.run` under a progress bar."""
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("running", total=None)
        return accelerator.run(data, progress=lambda done, total: progress.update(
            task, completed=done, total=total))


def run(network: Network, inputs: Inputs = None, device: Device = "sim",
        config: OptionalConfig = None, changes: Changes = None, output: Output = None,
        data: DataFiles = None, images: Images = 100, spikes_above: SpikesAbove = None,
        by: By = None, sensor: Sensor = None) -> None:
    """Run inputs on a device; print classes and counters, and of labelled data how many are right.

    \b
      quadfire run net.safetensors images.npy --device serial:/dev/ttyUSB0:3000000
      quadfire run net.safetensors digit.png --device pynq:quadfire.bit -o answers.json
      quadfire run net.safetensors --data mine.npz --images 20
    """
    run_inputs(network, Given(inputs or (), data, images, (spikes_above, by, sensor)), device,
               config, changes, output)


class Given(NamedTuple):
    """What a user gives to run: files of inputs, or labelled data.

    images: how many of the held-out samples. framing: spikes_above, by and sensor, as for
    `Framing.read`.
    """

    inputs: Sequence[Path]
    data: Path | None
    images: int
    framing: tuple[float | None, str | None, str | None]

    def read(self, network: "IntegerNetwork") -> "tuple[np.ndarray, np.ndarray | None]":
        """(inputs, classes of labelled data or None), checked."""
        from quadfire.data.framing import Framing
        from quadfire.firmware.driver.inputs import checked, read_data, read_inputs

        if bool(self.inputs) == (self.data is not None):
            raise ValueError("give inputs, or labelled data (--data)"
                             + (", not both" if self.inputs else ""))
        if self.data is None:
            if self.framing != (None, None, None):
                raise ValueError("--spikes-above, --by and --sensor are for --data: give inputs as "
                                 "the network takes them")
            return checked(network, read_inputs(list(self.inputs), network)), None
        return read_data(self.data, network, self.images,
                         Framing.read(network.about, *self.framing))


def run_inputs(network: Path, given: Given, device: str, config: str | None,
               changes: Sequence[str] | None, output: Path | None) -> None:
    """What `run` and `simulate` do; network and inputs are read before a device is opened."""
    import numpy as np

    from quadfire.files import whole_file
    if output is not None and output.suffix not in (".npy", ".json"):
        raise ValueError(f"--output must end in .npy or .json, not {output.name!r}")
    integers = _read(network, device, config, changes)
    data, labels = given.read(integers)
    with _open(device, config, changes) as accelerator:
        _load(accelerator, integers)
        result = _watched(accelerator, data)
    votes = result.outputs.sum(axis=0) if result.outputs.ndim == 3 else result.outputs
    classes = votes.argmax(axis=1)
    console.print("classes: " + " ".join(map(str, classes)))
    if labels is not None:
        right = int((classes == labels).sum())
        console.print(f"{right} of {len(labels)} held-out samples are right, "
                      f"{right / len(labels):.2%}")
    table = Table("counter", "total", "an image")
    for name, value in result.counters.items():
        table.add_row(name, str(value), f"{value / max(1, len(votes)):.1f}")
    console.print(table)
    if output is None:
        return
    with whole_file(output) as part:
        if output.suffix == ".npy":
            np.save(part, result.outputs)
            return
        answers = {"classes": classes.tolist(), "outputs": result.outputs.astype(int).tolist(),
                   "counters": result.counters}
        if labels is not None:
            answers["labels"] = labels.tolist()
        part.write_text(json.dumps(answers) + "\n")


def selftest(device: Device = "sim", config: OptionalConfig = None, changes: Changes = None
             ) -> None:
    """Test a device: registers, spike memory, a network whose answers are known.

    It forgets its network.
    """
    from quadfire.firmware.driver.selftest import selftest as test

    with _open(device, config, changes) as accelerator:
        for name, seen in test(accelerator):
            console.print(f"passed  {name}: {seen}", soft_wrap=True)


def throughput(network: Network, device: Device = "sim", config: OptionalConfig = None,
               changes: Changes = None,
               images: Annotated[int, typer.Option(min=1, help="How many.")] = 64) -> None:
    """Measure images a second, cycles and bytes, on random inputs."""
    import numpy as np

    from quadfire.firmware.transports.counting import CountingTransport

    rng, integers = np.random.default_rng(0), _read(network, device, config, changes)
    with _open(device, config, changes) as accelerator:
        program, _ = _load(accelerator, integers)
        net = program.network
        extent = (images, net.inputs) if net.input_bits else (net.steps, images, net.inputs)
        data = rng.integers(0, 1 << max(net.input_bits, net.count_bits, 1), extent, dtype=np.uint8)
        accelerator.transport = counted = CountingTransport(accelerator.transport)
        begin = time.perf_counter()
        counters = _watched(accelerator, data).counters
        seconds = time.perf_counter() - begin
    table = Table("", "an image", title=f"{images} images in {seconds:.2f} s on {device}")
    table.add_row("images a second", f"{images / seconds:.1f}")
    table.add_row("cycles of the array", f"{counters['busy'] / images:.1f}")
    table.add_row("cycles in all", f"{counters['cycles'] / images:.1f}")
    table.add_row("bytes sent", f"{counted.sent / images:.1f}")
    table.add_row("bytes received", f"{counted.received / images:.1f}")
    console.print(table)
