"""`python -m models`: train, quantise and measure networks."""

import json
import shlex
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from . import reference
from .augment import Augment
from .datasets import Dataset, load_dataset
from .integer import IntegerNetwork, NetworkError
from .network import SpikingMLP
from .neurons import SpikingNeuron, make_neuron
from .quantize import to_grid, to_integer
from .train import (
    CheckpointError,
    Epoch,
    Options,
    Trainable,
    accuracy,
    fit,
    load_checkpoint,
    save_checkpoint,
)

PRETRAINED = Path(__file__).parent / "pretrained"
CHECKPOINT = PRETRAINED / "mnist5k-784-128-10.safetensors"

Kind = Literal["qif", "lif", "if"]
Data = Literal["mnist5k", "digits"]

console = Console()
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="""
Train spiking networks, turn them into integers for the array, and measure both.

\b
  python -m models train               784-128-10, QIF neurons, a minute
  python -m models quantize --bits 4   the shipped checkpoint, 4-bit weights
  python -m models evaluate models/pretrained/*.safetensors
  python -m models compare             QIF against LIF, three seeds

Both kinds of file are safetensors: a checkpoint (floating point), and an
integer network, which is what `python -m firmware` compiles.
""")


@app.callback()
def _setup() -> None:
    # On layers this small one thread is as fast as many, and results then do not depend on cores.
    torch.set_num_threads(1)


def _command() -> str:
    return shlex.join(["python", "-m", "models", *sys.argv[1:]])


def _fit(network: Trainable, dataset: Dataset, options: Options, title: str) -> Epoch:
    """`fit` under a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[epoch]}"),
               TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=options.epochs, epoch="")

        def report(epoch: Epoch) -> None:
            rates = " ".join(f"{rate:.2f}" for rate in epoch.rates)
            progress.update(task, advance=1, epoch=f"loss {epoch.loss:.3f}  train "
                            f"{epoch.accuracy:.2%}  spike rate {rates or '-'}")

        return fit(network, dataset, options, report)


def _train(dataset: Dataset, hidden: list[int], neuron: SpikingNeuron, steps: int,
           options: Options) -> tuple[SpikingMLP, dict[str, Any]]:
    """A network trained from scratch, and what there is to say about it."""
    torch.manual_seed(options.seed)
    network = SpikingMLP([dataset.side ** 2, *hidden, dataset.classes], neuron, steps)
    start = time.perf_counter()
    epoch = _fit(network, dataset, options, f"{neuron.kind} seed {options.seed}")
    seconds = time.perf_counter() - start
    held_out = accuracy(network, *dataset.held_out_set)
    console.print(f"{neuron.kind} seed {options.seed}: [bold]{held_out:.2%}[/] of "
                  f"{len(dataset.held_out)} held-out images, {seconds:.0f} s")
    return network, {"command": _command(), "dataset": dataset.name, "options": asdict(options),
                     "accuracy": {"train": epoch.accuracy, "held_out": held_out},
                     "spike_rates": network.rates, "torch": torch.__version__}


def _load(path: Path) -> tuple[SpikingMLP | IntegerNetwork, dict[str, Any]]:
    """A file of either kind, and what it says of itself."""
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        return load_checkpoint(path)
    except CheckpointError as checkpoint_error:
        try:
            network = IntegerNetwork.load(path)
        except NetworkError as network_error:
            raise ValueError(f"{checkpoint_error}\n{network_error}") from None
        return network, network.about


def _integer_accuracy(network: IntegerNetwork, dataset: Dataset) -> float:
    images, labels = dataset.held_out_set
    return (reference.run(network, images).classes == labels).double().mean().item()


Seed = Annotated[int, typer.Option(help="Of weights, order and augmentation; a run repeats to the "
                                        "bit on the same machine.")]
Dest = Annotated[Path | None, typer.Option(help="Where to write; by default under build/.")]


@app.command()
def train(
    dataset: Annotated[Data, typer.Option(help="mnist5k: 4,000 digits of 28 x 28, 1,000 held out. "
                                               "digits: 8 x 8, trains in seconds.")] = "mnist5k",
    hidden: Annotated[list[int], typer.Option(help="Neurons of a hidden layer; repeat for "
                                                   "more layers.")] = [128],  # noqa: B006
    neuron: Annotated[Kind, typer.Option(help="qif: a(u-u1)(u-u2) + I. lif: beta u + I. "
                                              "if: u + I.")] = "qif",
    a: Annotated[float, typer.Option(help="QIF: curvature.")] = 0.5,
    u1: Annotated[float, typer.Option(help="QIF: first root.")] = 0.0,
    u2: Annotated[float, typer.Option(help="QIF: second root.")] = 0.5,
    beta: Annotated[float, typer.Option(help="LIF: leak, 1 keeps all.")] = 0.5,
    soft: Annotated[bool, typer.Option("--soft", help="Reset by subtraction, membrane limited to "
                                                      "+-3, instead of reset to 0.")] = False,
    window: Annotated[float, typer.Option(help="Half-width of the surrogate gradient.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Time steps T.")] = 4,
    epochs: int = 100, batch: int = 100,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-3,
    augment: Annotated[bool, typer.Option(help="Shift, turn and bend the images.")] = True,
    seed: Seed = 1, out: Dest = None,
) -> None:
    """Train a network from scratch and write a checkpoint.

    The defaults make the shipped models/pretrained/mnist5k-784-128-10.safetensors. The last epoch
    counts; held-out images are looked at once, at the end.
    """
    data = load_dataset(dataset)
    parameters = {"qif": {"a": a, "u1": u1, "u2": u2}, "lif": {"beta": beta}, "if": {}}[neuron]
    model = make_neuron(neuron, **parameters, window=window, v_reset=None if soft else 0.0,
                        limits=(-3.0, 3.0) if soft else None)
    options = Options(epochs=epochs, batch=batch, rate=rate, seed=seed,
                      augment=Augment() if augment else None)
    network, about = _train(data, hidden, model, steps, options)
    name = "-".join(map(str, network.sizes))
    out = out or Path(f"build/{dataset}-{name}.safetensors")
    save_checkpoint(out, network, about)
    console.print(f"wrote {out}")


@app.command()
def quantize(
    checkpoint: Annotated[Path, typer.Argument(help="What `train` wrote.")] = CHECKPOINT,
    bits: Annotated[int, typer.Option(help="Of a weight, 8 or 4.")] = 8,
    state_bits: Annotated[int, typer.Option(help="W, of the membrane potential.")] = 12,
    fraction_bits: Annotated[int, typer.Option(help="F, its fractional bits.")] = 10,
    epochs: Annotated[int, typer.Option(help="Of training on the integer grid; 0: none.")] = 15,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    seed: Seed = 1, out: Dest = None,
) -> None:
    """Turn a checkpoint into an integer network.

    Folds batch normalisation, moves every neuron to w' = w x + J, rounds to a power-of-two scale
    per channel, then lets the weights adapt to the rounding with the hardware's own arithmetic in
    the loop (quantisation-aware training).
    """
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    network, about = load_checkpoint(checkpoint)
    data = load_dataset(about["dataset"])
    grid = to_grid(network, weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits)
    rounded = _integer_accuracy(to_integer(grid), data)
    if epochs:
        _fit(grid, data, Options(epochs=epochs, rate=rate, seed=seed,
                                 augment=Augment(**about["options"]["augment"])
                                 if about["options"]["augment"] else None), f"{bits} bits")
    integer = to_integer(grid)
    held_out = _integer_accuracy(integer, data)
    integer.about.update(command=_command(), dataset=data.name, float_accuracy=about["accuracy"],
                         accuracy={"rounded": rounded, "held_out": held_out})
    out = out or Path(f"build/{checkpoint.stem}-int{bits}.safetensors")
    integer.save(out)
    console.print(f"held out: float {about['accuracy']['held_out']:.2%}, rounded {rounded:.2%}, "
                  f"adapted [bold]{held_out:.2%}[/]; wrote {out}")


@app.command()
def evaluate(files: Annotated[list[Path], typer.Argument(help="Checkpoints and integer networks.")],
             dataset: Annotated[Data | None, typer.Option(
                 help="By default the one a network was trained on.")] = None) -> None:
    """Accuracy on held-out images, floating point or integer (bit for bit what the array says)."""
    table = Table("file", "arithmetic", "held out", "right", "accuracy")
    for path in files:
        network, about = _load(path)
        data = load_dataset(dataset or about.get("dataset", ""))
        integer = isinstance(network, IntegerNetwork)
        share = _integer_accuracy(network, data) if integer else \
            accuracy(network, *data.held_out_set)
        count = len(data.held_out)
        table.add_row(path.name, "integer" if integer else "float", str(count),
                      str(round(share * count)), f"{share:.2%}")
    console.print(table)


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A checkpoint or an integer network.")]) -> None:
    """What is in a file: layers, formats, and how it was made."""
    network, about = _load(file)
    if isinstance(network, IntegerNetwork):
        console.print(f"integer network, T = {network.steps}, input of {network.input_bits} bits, "
                      f"membrane Q{network.state_bits - network.fraction_bits}."
                      f"{network.fraction_bits}")
        table = Table("layer", "inputs", "outputs", "weight bits", "shift", "neuron")
        for layer in network.layers:
            table.add_row(layer.name, str(layer.inputs), str(layer.outputs), str(layer.weight_bits),
                          f"{layer.shift.min()}..{layer.shift.max()}", str(layer.neuron or "-"))
        console.print(table)
    else:
        console.print(network)
    console.print_json(json.dumps(about))


@app.command()
def compare(
    dataset: Data = "mnist5k", epochs: int = 100,
    seeds: Annotated[int, typer.Option(help="Runs of each neuron.")] = 3,
    window: Annotated[list[float], typer.Option(
        help="Half-width of the surrogate gradient; repeat to compare at several.")] = [0.75, 1.0],  # noqa: B006
    out: Path = Path("build/compare.json"),
) -> None:
    """QIF against LIF, all else equal, over several seeds and windows; writes a JSON file."""
    data = load_dataset(dataset)
    table = Table("neuron", "window", "mean", "deviation", "spike rate", "runs")
    rows = []
    for neuron in (make_neuron(kind, window=width) for width in window for kind in ("qif", "lif")):
        runs = [_train(data, [128], neuron, 4, Options(epochs=epochs, seed=seed))[1]
                for seed in range(1, seeds + 1)]
        held_out = [run["accuracy"]["held_out"] for run in runs]
        mean = statistics.mean(held_out)
        deviation = statistics.stdev(held_out) if seeds > 1 else 0.0
        rate = statistics.mean(run["spike_rates"][0] for run in runs)
        rows.append({"neuron": neuron.config(), "held_out": held_out, "mean": mean,
                     "deviation": deviation, "spike_rate": rate})
        table.add_row(neuron.kind, str(neuron.window), f"{mean:.2%}", f"{deviation:.2%}",
                      f"{rate:.3f}", " ".join(f"{share:.2%}" for share in held_out))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"command": _command(), "dataset": data.name, "neurons": rows},
                              indent=2) + "\n")
    console.print(table, f"wrote {out}")


def main() -> None:
    """Run the command; say what is wrong in one line instead of a traceback."""
    try:
        app()
    except ValueError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
