"""`quadfire compile` and `quadfire header`: what becomes of a network, and its tapes as files."""

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from quadfire.arguments import Changes, Config, Network, PlainConsole, console
from quadfire.files import whole_file
from quadfire.rtl.contract.config_file import read_config

if TYPE_CHECKING:
    from quadfire.firmware import Program

__all__ = ["compile_", "header"]

#: What a table of many layers shows; all is in the .json of a tape.
_COLUMNS = ("name", "makes", "mode", "passes", "sources", "rows", "map", "streamed_words",
            "map_words", "estimated_cycles")


def _table(program: "Program") -> Table:
    from quadfire.firmware.compiler.report import LayerReport

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


def compile_(network: Network, config: Config = "default", changes: Changes = None,
             output: Annotated[Path | None, typer.Option(
                 "--output", "-o", metavar="FILE",
                 help="Setup tape to write; FILE.json goes beside it.")] = None) -> None:
    """Show what becomes of every layer: passes, memory, proved widths, what saturation can do.

    Mode: "kernel", the banks are the taps of 3 x 3 kernels; "tiles", of tiles of outputs; "dense",
    pixel by pixel of the output. Map: the spike word where it begins, or "host". Words are 32 bits
    for an image; estimated cycles are those at 15 % spikes.

    Saturation: "none" never happens, "lossless" changes no spike, "model" can change spikes and is
    part of the model.

    With -o also the setup tape: packets back to back as little-endian 32-bit words, which a UART
    or a DMA can play as they are (a packet ends where its header's length says). FILE.json holds
    the configuration, its hash, the network's id, numbers of packets and words, all of the table.

    \b
      quadfire compile net.safetensors --config wide
      quadfire compile net.safetensors --config build/quadfire.json -o build/net.tape
    """
    from quadfire.firmware.compiler.compile import compile_network
    from quadfire.firmware.driver.session import setup_tape
    from quadfire.models.integer import IntegerNetwork

    shape = read_config(config, changes or ())
    program = compile_network(IntegerNetwork.load(network), shape)
    PlainConsole(width=max(console.width, 120)).print(_table(program))
    if output is None:
        return
    tape = setup_tape(program)
    with whole_file(output) as part:
        part.write_bytes(tape.to_array().astype("<u4").tobytes())
    about = {"configuration": program.config.as_dict(), "configuration_hash": program.config.hash,
             "network_id": program.network_id, "packets": len(tape.packets), "words": tape.words,
             "answers": tape.answers, "layers": [asdict(layer) for layer in program.report()]}
    path = output.with_name(output.name + ".json")
    with whole_file(path) as part:
        part.write_text(json.dumps(about, indent=2) + "\n")
    console.print(f"{output}: {len(tape.packets)} packets, {tape.words} words; {path}",
                  soft_wrap=True)


def header(network: Network,
           output: Annotated[Path, typer.Option("-o", "--output", dir_okay=False,
                                                help="Header to write.")]
           = Path("build/net_tape.h"),
           config: Config = "default", changes: Changes = None,
           name: Annotated[str, typer.Option(help="What the tapes are called in C.")] = "net",
           image: Annotated[Path | None, typer.Option(
               dir_okay=False, show_default="zeros",
               help="The tape's own input: one image as .npy, .npz or a grey picture.")] = None
           ) -> None:
    """Write the tapes of a network as a C header, for the C driver.

    NAME_setup loads the network, NAME_run runs it on one input; a program gives other inputs to
    qf_play. Compile quadfire.c with it, and see quadfire.h for how.
    """
    import numpy as np

    from quadfire.firmware.c.tape_header import c_header
    from quadfire.firmware.compiler.compile import compile_network
    from quadfire.firmware.driver.inputs import checked, read_inputs
    from quadfire.models.integer import IntegerNetwork

    shape = read_config(config, changes or ())
    net = IntegerNetwork.load(network)
    extent = (1, net.inputs) if net.input_bits else (net.steps, 1, net.inputs)
    pixels = np.zeros(extent, np.uint8)
    if image is not None:
        pixels = read_inputs([image], net)
        if pixels.size != math.prod(extent):
            raise ValueError(f"{image}: one image has {math.prod(extent)} values, not "
                             f"{pixels.size}")
        pixels = checked(net, pixels.reshape(extent))
    text = c_header(compile_network(net, shape), pixels, name)
    with whole_file(output) as part:
        part.write_text(text)
    console.print(f"{output}: {name}_setup and {name}_run, {len(text) >> 10} KiB of text",
                  soft_wrap=True)
