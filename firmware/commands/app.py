"""`quadfire`: compile networks to tapes, and run them on a device, real or simulated.

A compiled network is two files. NAME.tape: the setup tape, packets back to back as little-endian
32-bit words; a UART or a DMA can play it as it is (a packet ends where its header's length says).
NAME.tape.json: configuration, its hash, network id, number of packets and words, what became of
every layer.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from quadfire.firmware.commands import device as commands
from quadfire.firmware.driver.accelerator import DeviceError
from quadfire.firmware.compiler.compile import CompileError, compile
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.compiler.report import LayerReport
from quadfire.models.integer import IntegerNetwork, NetworkError
from quadfire.rtl.contract.config import PRESETS, preset

app = typer.Typer(no_args_is_help=True, add_completion=False, help=(
    "Compiler and driver: an integer network (a .safetensors file, made by `quadfire`) "
    "goes to a tape, and the tape to a device.\n\n"
    "Start with `report net.safetensors`: does the network fit, in how many passes, how wide are "
    "its sums? Then `run net.safetensors images.npy` computes it on the simulated array, and with "
    "`--device serial:/dev/ttyUSB0` on a board; `devices` lists what there is."))
console = Console()

NetworkPath = Annotated[Path, typer.Argument(metavar="NET", show_default=False,
                                             help="Integer network, a .safetensors file.")]
Config = Annotated[str, typer.Option("--config", "-c",
                                     help=f"Array to compile for: {', '.join(PRESETS)}.")]


def _program(path: Path, config: str) -> Program:
    return compile(IntegerNetwork.load(path), preset(config))


#: What a table of many layers shows; all is in the .json of `compile`.
_COLUMNS = ("name", "makes", "mode", "passes", "sources", "rows", "map", "streamed_words",
            "map_words", "estimated_cycles")


def _table(program: Program) -> Table:
    config, memory = program.config, program.memory
    host = sorted(memory.on_host)
    table = Table(title=f"{config}\nspike memory: {memory.words} of {config.spike_words} words, "
                        f"{len(memory.inputs)} input buffer{'s'[:len(memory.inputs) != 1]}"
                        f"{', maps shared' if memory.shared else ''}"
                        f"{f', {len(host)} maps kept by the host' if host else ''}")
    layers = program.report()
    if len(layers) <= 4:
        table.add_column("layer")
        for layer in layers:
            table.add_column(layer.name, justify="right")
        for field in fields(LayerReport)[1:]:
            table.add_row(field.name.replace("_", " "),
                          *(str(getattr(layer, field.name)) for layer in layers))
        return table
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), justify="left" if name == "name" else "right")
    for layer in layers:
        values = (getattr(layer, name) for name in _COLUMNS)
        table.add_row(*(f"{value:,}" if isinstance(value, int) else value for value in values))
    return table


@app.command()
def report(network: NetworkPath, config: Config = "default"):
    """Show what becomes of every layer: passes, memory, proved widths, what saturation can do.

    Mode: "taps", the banks are the taps of 3 x 3 kernels; "tiles", of tiles of outputs; "join",
    pixel by pixel of the output. Map: the spike word where it begins, or "host". Words are 32 bits
    for an image; estimated cycles are those at 15 % spikes.

    Saturation: "none" never happens, "lossless" changes no spike, "model" can change spikes and is
    part of the model.
    """
    console.print(_table(_program(network, config)), width=max(console.width, 120), crop=False)


@app.command("compile")
def compile_(network: NetworkPath, config: Config = "default",
            output: Annotated[Path, typer.Option(
                "--output", "-o", metavar="FILE",
                help="Tape to write; FILE.json goes beside it.")] = Path("build/net.tape")):
    """Write the setup tape: raw little-endian words, and a .json that describes them."""
    program = _program(network, config)
    tape = program.setup_tape()
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(tape.to_array().astype("<u4").tobytes())
    about = {"configuration": program.config.as_dict(), "configuration_hash": program.config.hash,
             "network_id": program.network_id, "packets": len(tape.packets), "words": tape.words,
             "answers": tape.answers, "layers": [asdict(layer) for layer in program.report()]}
    path = output.with_name(output.name + ".json")
    path.write_text(json.dumps(about, indent=2) + "\n")
    console.print(f"{output}: {len(tape.packets)} packets, {tape.words} words; {path}")


commands.register(app)


def main() -> None:
    """Run the command line; errors of networks, arrays and devices are told in one line."""
    try:
        app()
    except (CompileError, DeviceError, NetworkError, ValueError, OSError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", highlight=False,
                                   soft_wrap=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
