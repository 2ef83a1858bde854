"""Integer networks: from a checkpoint, what rounding costs it, and from random weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from quadfire.arguments import By, DataFiles, PlainConsole, Sensor, SpikesAbove
from quadfire.models.commands.common import (
    CHECKPOINT,
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
    from quadfire.data.framing import Framing
    from quadfire.models.datasets import Dataset, ImageDataset, Samples
    from quadfire.models.quantize.fake_quant import GridNetwork

__all__ = ["quantize", "report", "untrained"]

Checkpoint = Annotated[Path, typer.Argument(
    metavar="CHECKPOINT", show_default="mnist5k-784-128-10, which comes with the package",
    help="What `train` wrote.")]
Bits = Annotated[int, typer.Option(help="Of a weight, 8 or 4.")]
StateBits = Annotated[int, typer.Option(help="W, of the membrane potential.")]
FractionBits = Annotated[int, typer.Option(help="F, its fractional bits.")]
Calibrate = Annotated[int, typer.Option(
    "--calibrate", min=0,
    help="Images of the training set to set the biases by, without training: every channel gets "
         "the mean current it had before rounding. 0: none.")]


class _Source(NamedTuple):
    """A checkpoint on the grid, what it says of itself, and the data to measure it on.

    samples: None where no data are needed and none can be had; `lack` says why.
    """

    grid: GridNetwork
    about: dict[str, Any]
    framing: Framing
    samples: Dataset | ImageDataset | None
    lack: str = ""

    @property
    def data(self) -> Dataset | ImageDataset:
        """The data, where they must be there."""
        assert self.samples is not None
        return self.samples


def _input_bits(about: dict[str, Any]) -> int:
    """Bits of the inputs that a checkpoint was trained on, 0 for frames, without its data."""
    from quadfire.models.datasets import DATASETS, FILES

    name = about["dataset"]
    if (bits := about.get("input_bits")) in (0, 8):
        return bits
    if name in ("cifar10dvs", "nmnist", "dvsgesture"):
        return 0
    if name in DATASETS or name in FILES:
        return 8
    raise ValueError(f"the checkpoint does not say whether {name} has images or frames: name it "
                     "(--data)")


def _grid(checkpoint: Path, bits: int, state_bits: int, fraction_bits: int, data: Path | None,
          calibration: int, named: tuple[float | None, str | None, str | None],
          learn_scales: bool = False, needed: bool = True) -> _Source:
    """A checkpoint on the grid.

    named: spikes_above, by and sensor, as for `Framing.read`. needed: whether there must be data.
    """
    import torch

    from quadfire.data.framing import Framing
    from quadfire.data.own import size_for
    from quadfire.models.datasets import load_dataset
    from quadfire.models.networks import ImageNetwork
    from quadfire.models.quantize.quantize import calibrate, to_grid
    from quadfire.models.quantize.report import Selection, input_bits_of
    from quadfire.models.training.checkpoint import load_checkpoint

    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    one_thread()
    network, about = load_checkpoint(checkpoint)
    if lacking := [name for name in ("dataset", "accuracy", "options") if name not in about]:
        raise ValueError(f"{checkpoint}: it does not say its {' and '.join(lacking)}: use a "
                         "checkpoint that `quadfire train` wrote, or the Python functions")
    framing = Framing.read(about, *named)
    shape = network.input_shape if isinstance(network, ImageNetwork) else (network.sizes[0], 1, 1)
    samples, lack = None, ""
    try:
        samples = load_dataset(about["dataset"], data, steps=network.steps, size=size_for(shape),
                               framing=framing)
    except (ValueError, ModuleNotFoundError) as error:
        if needed or calibration or data is not None:
            raise
        lack = str(error).split("\n")[0]
    grid = to_grid(network, weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits,
                   input_bits=_input_bits(about) if samples is None else input_bits_of(samples),
                   learn_scales=learn_scales)
    if calibration and samples is not None:
        some = Selection(samples.train_samples, calibration)
        calibrate(grid, network, some.batch(torch.arange(len(some)))[0])
    return _Source(grid, about, framing, samples, lack)


def _warn(grid: GridNetwork, samples: Samples, most: int) -> None:
    """Print what a user should look at: clamped states, few LSBs, spikes that part ways."""
    from quadfire.models.quantize.agreement import agreement, warnings
    from quadfire.models.quantize.report import Selection, as_spikes

    some = Selection(samples, min(most, 50))
    inputs = as_spikes(some.batch(some.index.new_tensor(range(len(some))))[0])
    rows = track(agreement(grid, None, inputs), "layers", len([*grid]) - 1, console=console,
                 transient=True)
    for line in warnings([*rows]):
        console.print(f"warning: {line}", markup=False, soft_wrap=True)


def quantize(
    checkpoint: Checkpoint = CHECKPOINT,
    bits: Bits = 8, state_bits: StateBits = 12, fraction_bits: FractionBits = 10,
    epochs: Annotated[int, typer.Option(
        min=0, help="Of training on the integer grid; 0: none.")] = 15,
    rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 3e-4,
    learn_scales: Annotated[bool, typer.Option(
        "--learn-scales", help="Let the power-of-two scale of every channel learn as well.")] =
    False,
    calibration: Calibrate = 0,
    images: Annotated[int | None, typer.Option(
        min=1, help="Held-out images to measure the integers on, evenly over all of them.",
        show_default="all")] = None,
    seed: Seed = 1, data: DataFiles = None, spikes_above: SpikesAbove = None, by: By = None,
    sensor: Sensor = None, device: Device = "cpu", output: Output = None,
) -> None:
    """Turn a checkpoint, of any network, into an integer network.

    Folds batch normalisation, moves every neuron to w' = w x + J, rounds to a power-of-two scale
    per channel, then lets the weights adapt to the rounding with the hardware's own arithmetic in
    the loop (quantisation-aware training).

    \b
      quadfire quantize --bits 4
      quadfire quantize build/net.safetensors --epochs 0 --calibrate 200
    """
    from quadfire.models.commands.progress import fit_watched, integer_accuracy_watched
    from quadfire.models.quantize.quantize import to_integer
    from quadfire.models.quantize.report import Selection, batch_of
    from quadfire.models.training.augment import augment_from_config
    from quadfire.models.training.options import Options

    needed = epochs > 0 or images is not None
    source = _grid(checkpoint, bits, state_bits, fraction_bits, data, calibration,
                   (spikes_above, by, sensor), learn_scales, needed)
    grid, about = source.grid, source.about
    output = output or Path(f"build/{checkpoint.stem}-int{bits}.safetensors")
    if source.samples is None:
        integer = to_integer(grid)
        integer.about.update(command=command_line(), dataset=about["dataset"],
                             float_accuracy=about["accuracy"], **source.framing.about())
        integer.save(output)
        console.print(f"not measured: {source.lack}\nwrote {output}", soft_wrap=True)
        return
    samples = source.data
    if about.get("frames", {}) != source.framing.about().get("frames", {}):
        console.print(f"the checkpoint was trained on other frames ({source.framing.options} is "
                      "new): what that costs is in what follows", soft_wrap=True)
    held_out_samples = samples.held_out_samples
    if images:
        held_out_samples = Selection(held_out_samples, images)
    rounded = integer_accuracy_watched(to_integer(grid), held_out_samples)
    if epochs:
        if grid.input_shape[1:] != (1, 1) and grid.fits_float32:
            grid.float()        # fully connected networks stay what they were, to the last bit
        augment = augment_from_config(about["options"]["augment"])
        fit_watched(grid, samples, Options(epochs=epochs, rate=rate, seed=seed, augment=augment),
                    f"{bits} bits", device=device_of(device))
    integer = to_integer(grid.cpu())
    _warn(grid, held_out_samples, batch_of(integer))
    held_out = integer_accuracy_watched(integer, held_out_samples) if epochs else rounded
    integer.about.update(command=command_line(), dataset=samples.name,
                         float_accuracy=about["accuracy"],
                         accuracy={"rounded": rounded, "held_out": held_out},
                         **source.framing.about())
    if images:
        integer.about["accuracy"]["images"] = len(held_out_samples)
    integer.save(output)
    console.print(f"held out: float {about['accuracy']['held_out']:.2%}, rounded {rounded:.2%}, "
                  f"adapted [bold]{held_out:.2%}[/]; wrote {escape(str(output))}", markup=True)


def report(
    checkpoint: Checkpoint = CHECKPOINT,
    bits: Bits = 8, state_bits: StateBits = 12, fraction_bits: FractionBits = 10,
    images: Annotated[int, typer.Option(min=1, help="Held-out images to measure on, evenly over "
                                                    "all of them.")] = 500,
    calibration: Calibrate = 0, data: DataFiles = None, spikes_above: SpikesAbove = None,
    by: By = None, sensor: Sensor = None,
    output: Annotated[Path | None, typer.Option(
        "--output", "-o", "--out", dir_okay=False, help="A JSON file for the table.")] = None,
) -> None:
    """What rounding does to every layer of a checkpoint: ranges, saturation, sensitivity.

    Nothing is trained. 'alone' is the accuracy with this layer on the integer grid and all others
    in real numbers, less that of the network in real numbers: what the layer's rounding costs.
    'error' is the weights' rounding, root mean square; 'clipped' the share of weights at the end of
    their range; 'sum' and 'J' the bits that accumulator and current need at worst; 'seen' the
    currents that came, in units of the state w; 'saturated' the share of states that its limits
    clamped.
    """
    from quadfire.models.quantize.report import Selection, layer_reports, only_rounded
    from quadfire.models.training.train import measure

    source = _grid(checkpoint, bits, state_bits, fraction_bits, data, calibration,
                   (spikes_above, by, sensor))
    grid, samples = source.grid, Selection(source.data.held_out_samples, images)
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
    PlainConsole(width=max(console.width, 110)).print(table)
    console.print(f"{len(samples)} held-out images: real numbers {exact:.2%}, all layers of "
                  f"{bits} bits {rounded:.2%}")
    if output is not None:
        write_json(output, {"real": exact, "rounded": rounded, "layers": rows})
        console.print(f"wrote {output}")


def untrained(
    network: Annotated[str, typer.Argument(help="vgg11, vggsnn, resnet19, resnet34, or layers: "
                                                "16C3-P2-32C3-P2-128-10.")] = "resnet19",
    shape: Annotated[tuple[int, int, int], typer.Option(help="Channels, height and width of the "
                                                             "input.")] = (3, 32, 32),
    classes: int = 10, steps: Annotated[int, typer.Option(min=1, help="Time steps T.")] = 4,
    width: Annotated[float, typer.Option(help="Factor of the channels of a network that has a "
                                              "name.")] = 1.0,
    events: Annotated[bool, typer.Option("--events", help="It is fed spikes, not pixels.")] = False,
    bits: Bits = 8, state_bits: StateBits = 12, fraction_bits: FractionBits = 10, seed: Seed = 1,
    output: Output = None,
) -> None:
    """An integer network of random weights, as lively as one at the start of its training.

    To try hardware with where there is no checkpoint. QIF neurons, a = 0.25, u1 = 0, u2 = 0.5;
    the means of tdBN come from random pictures.

    \b
      quadfire untrained resnet19
      quadfire untrained vggsnn --shape 2 48 48 --events
    """
    import torch

    from quadfire.models.networks.untrained import random_pictures
    from quadfire.models.networks.untrained import untrained as make_untrained
    from quadfire.models.neurons import QIF
    from quadfire.models.quantize.quantize import to_grid, to_integer

    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    one_thread()
    made = make_untrained(network, QIF(a=0.25, window=0.75), input_shape=shape, classes=classes,
                     steps=steps, width=width, events=events, seed=seed)
    grid = to_grid(made, weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits,
                   input_bits=0 if events else 8)
    pictures = random_pictures(1, shape, steps=steps if events else 0, seed=seed + 1)
    with torch.no_grad():
        grid.eval()(pictures)
    output = output or Path(f"build/{network}-untrained-int{bits}.safetensors")
    to_integer(grid, {"command": command_line()}).save(output)
    console.print(f"spikes a neuron and step, by layer: "
                  f"{' '.join(f'{rate:.2f}' for rate in grid.rates)}; wrote {output}")
