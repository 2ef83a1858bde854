"""`quadfire`: train, quantise and measure networks."""

import sys

import torch
import typer
from rich.console import Console
from safetensors import SafetensorError

from quadfire.models.commands.files import evaluate, info
from quadfire.models.commands.integers import quantize, report, untrained
from quadfire.models.commands.training import compare, train
from quadfire.models.commands.dynamics import dynamics
from quadfire.models.commands.experiments import document, experiments

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="""
Train spiking networks, turn them into integers for the array, and measure both.

\b
  quadfire train               784-128-10, QIF neurons, a minute
  quadfire train --network resnet19 --dataset cifar10 --data ~/data
  quadfire quantize --bits 4   the shipped checkpoint, 4-bit weights
  quadfire report --bits 4     what rounding does to every layer
  quadfire untrained resnet19  an integer network of random weights
  quadfire evaluate models/pretrained/*.safetensors
  quadfire neurons             QIF against LIF, three seeds
  quadfire experiments neurons the tables of models/README.md
  quadfire dynamics            the theory of a neuron, in numbers and pictures

Both kinds of file are safetensors: a checkpoint (floating point), and an
integer network, which is what `quadfire` compiles.
""")

for command in (experiments, document, train, quantize, report, untrained, evaluate, info, compare,
                dynamics):
    app.command()(command)


@app.callback()
def _setup() -> None:
    # On small layers one thread is as fast as many, and results then do not depend on cores.
    torch.set_num_threads(1)


def main() -> None:
    """Run the command; say what is wrong in one line instead of a traceback."""
    try:
        app()
    except (OSError, SafetensorError, ValueError) as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
