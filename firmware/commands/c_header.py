"""`quadfire header`: a network as a C header, for the C driver."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape

from quadfire.firmware.compiler.overflow import CompileError
from quadfire.firmware.c.tape_header import c_header
from quadfire.firmware.compiler.compile import compile
from quadfire.firmware.driver.inputs import checked, read_inputs
from quadfire.models.integer import IntegerNetwork, NetworkError
from quadfire.rtl.contract.config import PRESETS, preset

console = Console(stderr=True, highlight=False)


def main(network: Annotated[Path, typer.Argument(metavar="NET", show_default=False,
                                                 help="Integer network, a .safetensors file.")],
         output: Annotated[Path, typer.Option("-o", "--output", dir_okay=False,
                                              help="Header to write.")] = Path("build/net_tape.h"),
         config: Annotated[str, typer.Option("-c", "--config", help="Array to compile for: "
                                             f"{', '.join(PRESETS)}.")] = "default",
         name: Annotated[str, typer.Option(help="What the tapes are called in C.")] = "net",
         image: Annotated[Path | None, typer.Option(
             dir_okay=False, help="The tape's own input: one image as .npy, .npz or a grey "
                                  "picture. By default zeros.")] = None) -> None:
    """Write the tapes of a network as a C header.

    NAME_setup loads the network, NAME_run runs it on one input; a program gives other inputs to
    qf_play. Compile quadfire.c with it, and see quadfire.h for how.
    """
    try:
        program = compile(IntegerNetwork.load(network), preset(config))
        net = program.network
        shape = (1, net.inputs) if net.input_bits else (net.steps, 1, net.inputs)
        pixels = np.zeros(shape, np.uint8)
        if image is not None:
            pixels = read_inputs([image], net)
            if pixels.size != math.prod(shape):
                raise ValueError(f"{image}: one image has {math.prod(shape)} values, not "
                                 f"{pixels.size}")
            pixels = checked(net, pixels.reshape(shape))
        text = c_header(program, pixels, name)
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text)
    except (CompileError, NetworkError, OSError, ValueError) as error:
        console.print(f"[red]error:[/] {escape(str(error))}", soft_wrap=True)
        raise typer.Exit(1) from None
    console.print(f"{output}: {name}_setup and {name}_run, {len(text) >> 10} KiB of text")


if __name__ == "__main__":
    typer.run(main)
