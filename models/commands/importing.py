"""`quadfire import`: a network of another library becomes an integer network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import track
from rich.table import Table

from quadfire.arguments import Difference, PlainConsole
from quadfire.models.commands.common import Output, command_line, console, one_thread
from quadfire.models.frontends.nir_options import HELP, Fires, Reset, Solver, Writer

if TYPE_CHECKING:
    from torch import Tensor, nn

    from quadfire.models.frontends.imported import Imported, Line
    from quadfire.models.integer import IntegerNetwork
    from quadfire.models.quantize.fake_quant import GridNetwork

__all__ = ["import_"]

Kind = Literal["pixels", "spikes", "counts"]
Answer = Literal["count", "current", "membrane"]
Numbers = Annotated[list[float] | None, typer.Option(
    metavar="NUMBER", help="As of a normalisation to (p / 255 - mean) / std; once, or once for "
                           "every channel.")]
#: Samples that are run at a time.
BATCH = 100


def import_(
    source: Annotated[str, typer.Argument(
        metavar="FILE.py:FUNCTION|NET.nir", show_default=False,
        help="A function that returns a torch.nn.Module of snnTorch, SpikingJelly, Norse, Sinabs "
             "or quadfire; or a NIR file.")],
    weights: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Weights for the module: a state dict, .pt or .safetensors.")] = None,
    example: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Inputs as the module takes them: .npy, .pt, or .npz with x and, for "
                             "an accuracy, y. The first is run to find the graph.")] = None,
    shape: Annotated[str | None, typer.Option(
        metavar="C,H,W", help="Shape of one sample, in place of an example.")] = None,
    kind: Annotated[Kind, typer.Option(
        "--input", help="pixels: the same in every step. spikes: 0 or 1, [T, N, ...]. counts: "
                        "0, 1, 2..., [T, N, ...].")] = "spikes",
    answer: Annotated[Answer | None, typer.Option(
        "--answer", help="What the answer is: a count of spikes, a mean "
        "current, a membrane potential.", show_default="what the network gives")] = None,
    steps: Annotated[int | None, typer.Option(
        min=1, help="Time steps T, where the network does not say.")] = None,
    mean: Numbers = None, std: Numbers = None,
    count_bits: Annotated[int | None, typer.Option(
        min=1, max=5, help="Bits of counts.", show_default="as many as the inputs need")] = None,
    writer: Annotated[Writer | None, typer.Option(help=HELP["writer"])] = None,
    dt: Annotated[float | None, typer.Option(help=HELP["dt"])] = None,
    solver: Annotated[Solver | None, typer.Option(help=HELP["solver"])] = None,
    reset: Annotated[Reset | None, typer.Option(help=HELP["reset"])] = None,
    fires: Annotated[Fires | None, typer.Option(help=HELP["fires"])] = None,
    move_pools: Annotated[bool, typer.Option(
        "--move-pools", help="Put a max pool of currents behind the neurons. The network computes "
                             "something else then: look at the accuracy, and train on.")] = False,
    explain: Annotated[bool, typer.Option(
        "--explain", help="Say what each layer would become, and write nothing.")] = False,
    check: Annotated[bool, typer.Option(
        "--check", help="Compare every spike of every layer with the module, in float64.")] = False,
    calibrate: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Inputs to choose units and biases by.",
        show_default="the example")] = None,
    samples: Annotated[int, typer.Option(
        min=1, help="How many of them.")] = 200,
    bits: Annotated[int, typer.Option(help="Of a weight, 8 or 4.")] = 8,
    state_bits: Annotated[int, typer.Option(help="W, of the membrane potential.")] = 12,
    fraction_bits: Annotated[int, typer.Option(help="F, its fractional bits.")] = 10,
    epochs: Annotated[int, typer.Option(
        min=0, help="Of training on the integer grid; the network itself teaches.")] = 0,
    output: Output = None,
) -> None:
    """Turn a network that another library trained into an integer network.

    The module's own forward runs once on an example; what it did becomes layers of the array. What
    the array cannot honour is refused by the layer's name.

    \b
      quadfire import train.py:make --weights net.pt --example test.npz --input pixels --explain
      quadfire import train.py:make --weights net.pt --example test.npz --input pixels --check
      quadfire import net.nir --steps 16 --reset subtract --example frames.npy
    """
    from quadfire.models.frontends.imported import ImportProblems

    if bits not in (4, 8):
        raise ValueError(f"bits must be 4 or 8, not {bits}")
    one_thread()
    x, labels = _samples(example, shape, kind, steps)
    options = {"steps": steps, "input": kind, "output": answer, "move_pools": move_pools}
    if mean or std:
        options |= {"mean": _each(mean, 0.0), "std": _each(std, 1.0)}
    if kind == "counts":
        options["count_bits"] = count_bits or max(int(x.max()).bit_length(), 1)
    dynamics = {"dt": dt, "solver": solver, "reset": reset, "fires": fires, "writer": writer}
    module = None
    try:
        if source.endswith(".nir"):
            network = _from_nir(source, weights, options, dynamics)
        else:
            _refuse_dynamics(dynamics)
            module = _module(source, weights)
            network = _from_module(module, x, options, example)
    except ImportProblems as problems:
        _table(problems.lines)
        raise
    _table(network.lines)
    _remarks(network)
    some = x if calibrate is None else _samples(calibrate, None, kind, steps)[0]
    if check:
        _check(network, module, _few(network, some, samples))
    elif module is not None and not move_pools:
        _check(network, module, _few(network, x, 1), quiet=True)
    if explain:
        return
    inputs = network.inputs(_few(network, some, samples))
    have_data = example is not None or calibrate is not None
    grid = network.to_grid(weight_bits=bits, state_bits=state_bits, fraction_bits=fraction_bits,
                           inputs=inputs if have_data else None)
    if have_data:
        _adapt(grid, network, inputs, epochs)
    else:
        console.print("no example: units and biases as they are; name one by --example")
    output = output or Path("build") / f"{Path(source.rpartition(':')[0] or source).stem}" \
        ".safetensors"
    integer = _write(grid, output)
    if have_data:
        whole = network.inputs(x)
        beside = output.with_name(f"{output.stem}-inputs.npz")
        _write_inputs(beside, whole, labels)
        if labels is not None:
            _accuracy(network, module, x, integer, whole, labels)
        console.print(f"wrote {output} and {beside}, the example as the array takes it",
                      soft_wrap=True)
        how = f"--data {beside}" if labels is not None else f"{beside}"
        console.print(f"next: quadfire simulate {output} {how}", soft_wrap=True)
    else:
        console.print(f"wrote {output}", soft_wrap=True)


def _each(values: list[float] | None, default: float) -> Any:
    """One number, or a list with one for every channel."""
    if not values:
        return default
    return values[0] if len(values) == 1 else values


def _samples(path: Path | None, shape: str | None, kind: str,
             steps: int | None) -> tuple[Tensor, Tensor | None]:
    """(inputs, labels) of a file; or blank inputs of a shape."""
    import torch

    from quadfire.models.frontends.sources import read_samples

    if path is not None:
        return read_samples(path)
    if shape is None:
        raise ValueError("name an --example of the network's input, or its --shape C,H,W")
    try:
        sides = [int(side) for side in shape.replace("x", ",").split(",")]
    except ValueError:
        raise ValueError(f"--shape must be numbers as 1,28,28, not {shape!r}") from None
    if min(sides) < 1:
        raise ValueError(f"--shape must be above 0, not {shape!r}")
    lead = [1] if kind == "pixels" else [steps or 1, 1]
    return torch.zeros(*lead, *sides), None


def _module(source: str, weights: Path | None) -> nn.Module:
    """The user's module with its weights."""
    from quadfire.models.frontends.sources import load_weights, module_from_file

    module = module_from_file(source)
    if weights is not None:
        load_weights(module, weights)
    return module


def _refuse_dynamics(dynamics: dict[str, Any]) -> None:
    """Options of NIR files have no meaning for a module, which says all of this itself."""
    for name, value in dynamics.items():
        if value is not None:
            raise ValueError(f"--{name} is for NIR files; a module says it itself")


def _from_nir(source: str, weights: Path | None, options: dict[str, Any],
              dynamics: dict[str, Any]) -> Imported:
    """The network in a NIR file."""
    from quadfire.models.frontends.nir import from_nir

    if weights is not None:
        raise ValueError("--weights is for modules; a NIR file holds its weights")
    if options.pop("move_pools"):
        raise ValueError("--move-pools is for modules")
    if options["steps"] is None:
        raise ValueError("a NIR file does not say how many time steps: --steps")
    return from_nir(Path(source), **options, **dynamics)


def _from_module(module: nn.Module, x: Tensor, options: dict[str, Any],
                 example: Path | None) -> Imported:
    """The module imported, with the first sample as the example."""
    from quadfire.models.frontends.importing import from_module

    first = x[:1] if options["input"] == "pixels" else x[:, :1]
    try:
        return from_module(module, first, **options)
    except ValueError:
        raise
    except Exception as error:      # whatever the user's own forward raises
        line = f"{type(error).__name__}: {error}".splitlines()[0]
        what = f"on {example}" if example else f"on an input of {list(first.shape)}"
        raise ValueError(f"the module's forward failed {what}: {line}") from error


def _table(lines: list[Line] | tuple[Line, ...]) -> None:
    """What each layer becomes."""
    from rich.text import Text

    table = Table("layer", "as read", "as mapped", "")
    for line in lines:
        verdict = Text(line.verdict, style="red" if line.problem else
                       "yellow" if line.condition or line.changed else "green")
        table.add_row(Text(line.name), Text(line.read), Text(line.becomes), verdict)
    PlainConsole(width=max(console.width, 120)).print(table)


def _remarks(network: Imported) -> None:
    """Input, answer and what a user should know."""
    what = " x ".join(map(str, network.input_shape))
    console.print(f"{network.library}: {network.input} of {what}, {network.steps} time steps, "
                  f"answer: {network.output}", markup=False, soft_wrap=True)
    for remark in (*network.remarks, *(f"{layer.name}: {note}" for layer in network.layers
                                       for note in layer.notes)):
        console.print(f"note: {remark}", markup=False, soft_wrap=True)


def _few(network: Imported, x: Tensor, count: int) -> Tensor:
    """The first samples of inputs as the module takes them."""
    axis = {"TN": 1, "(NT)": 0}.get(network.layout, 0)
    if network.layout == "(NT)":
        count *= network.steps
    return x.narrow(axis, 0, min(count, x.shape[axis]))


def _check(network: Imported, module: nn.Module | None, x: Tensor, quiet: bool = False) -> None:
    """Print the comparison; quiet: only where it fails. Raises Difference where a spike differs."""
    if module is None:
        raise ValueError("--check compares with a module; a NIR file holds none")
    report = network.check(module, x)
    for line in () if quiet and report.exact else report.lines():
        console.print(line, markup=False, soft_wrap=True)
    if not report.exact:
        raise Difference("the module and its map differ; see above")


def _adapt(grid: GridNetwork, network: Imported, inputs: Tensor, epochs: int) -> None:
    """Set the biases, train if asked to, and say how far the integers part from real numbers."""
    from quadfire.models.frontends.fitting import fit
    from quadfire.models.quantize.agreement import agreement, warnings
    from quadfire.models.quantize.quantize import calibrate

    calibrate(grid, network, inputs)
    if epochs:
        axis = 0 if grid.input_bits else 1
        batches = inputs.split(50, axis)
        for epoch in track(range(epochs), "training on the grid", console=console,
                           transient=True):
            fit(grid, batches, teacher=network, epochs=1, rate=3e-4 * (1 - epoch / epochs))
    table, rows = Table("layer", "equal spikes", "rate", "clamped", "threshold", "weights lost"), []
    for row in track(agreement(grid, network, inputs), "integers", len([*grid]) - 1,
                     console=console, transient=True):
        rows.append(row)
        table.add_row(row.name, f"{row.equal:.2%}", f"{row.rate:.3f}", f"{row.clamped:.2%}",
                      f"{row.span} LSB", f"{row.lost:.2%}")
    console.print(table)
    for line in warnings(rows):
        console.print(f"warning: {line}", markup=False, soft_wrap=True)


def _write(grid: GridNetwork, output: Path) -> IntegerNetwork:
    """The integer network, in a file."""
    from quadfire.models.quantize.quantize import to_integer

    integer = to_integer(grid, {"command": command_line()})
    output.parent.mkdir(parents=True, exist_ok=True)
    integer.save(output)
    return integer


def _write_inputs(path: Path, inputs: Tensor, labels: Tensor | None) -> None:
    """Inputs as the array takes them, and labels: a .npz of x, y, all of which are held out."""
    import numpy as np

    from quadfire.files import whole_file

    with whole_file(path) as part, part.open("wb") as file:
        x = inputs.numpy()
        y = {} if labels is None else {"y": labels.numpy(), "x_test": x, "y_test": labels.numpy()}
        arrays = {"x": x} | y
        np.savez_compressed(file, **arrays)     # pyright: ignore[reportArgumentType]


def _accuracy(network: Imported, module: nn.Module | None, x: Tensor, integer: IntegerNetwork,
              inputs: Tensor, labels: Tensor) -> None:
    """Accuracy of the module, of its map in real numbers, and in integers.

    x, inputs: as the module takes them, as the array does.
    """
    from quadfire.models.frontends.answers import classes_of
    from quadfire.models.frontends.fitting import teacher_of
    from quadfire.models.integer import reference

    axis = 0 if integer.input_bits else 1
    if len(labels) != inputs.shape[axis]:
        raise ValueError(f"there are {len(labels)} labels for {inputs.shape[axis]} samples")
    real, right, same = teacher_of(network), [0, 0], 0
    for part, y in track([*zip(inputs.split(BATCH, axis), labels.split(BATCH), strict=True)],
                         "accuracy", console=console, transient=True):
        answers = real(part).argmax(1), reference.run(integer, part).classes
        right = [n + int((a == y).sum()) for n, a in zip(right, answers, strict=True)]
        same += int((answers[0] == answers[1]).sum())
    count = len(labels)
    classes = None if module is None else classes_of(network, module, x)
    own = "" if classes is None else \
        f"the module {(classes == labels).double().mean().item():.2%}, "
    console.print(f"{count} samples: {own}real numbers {right[0] / count:.2%}, integers "
                  f"{right[1] / count:.2%}, the same class in {same / count:.2%}")
