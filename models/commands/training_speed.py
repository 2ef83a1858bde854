"""`quadfire training-speed`: training beside SpikingJelly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from quadfire.models.commands.common import console, one_thread

if TYPE_CHECKING:
    from quadfire.models.experiments.training_speed import Timing

__all__ = ["training_speed"]


def training_speed(
    kind: Annotated[Literal["qif", "lif"], typer.Option(
        "--neuron", help="The same neuron in both.")] = "qif",
    network: Annotated[str, typer.Option(help="Layers, for images of 3 x 32 x 32.")] =
        "32C3-32C3-P2-64C3-64C3-P2-128C3-P2-256-10",
    steps: Annotated[int, typer.Option(min=1, help="Time steps T.")] = 4,
    batch: Annotated[int, typer.Option(min=2, help="Images in a step.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each.")] = 7,
    compiled: Annotated[bool, typer.Option(
        help="Whether torch.compile of SpikingJelly is measured, too; it takes minutes to "
             "compile.")] = True,
) -> None:
    """How long training takes beside SpikingJelly, in one thread: a step of the same network.

    Neurons alone (forward and backward) and whole steps (forward, loss, backward, SGD) of the same
    network take turns. A ratio is the median over the rounds of their time divided by ours. The
    seconds depend on the machine and on what else it does; the ratios much less.
    """
    from quadfire.models.experiments.training_speed import compare_networks, compare_neurons

    try:
        import spikingjelly  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("SpikingJelly is not installed: pip install --no-deps spikingjelly "
                         "(or `make setup`)") from None
    one_thread()

    def show(title: str, timing: Timing) -> None:
        table = Table("way", "median s", "theirs / ours", title=title)
        for way in timing.rounds:
            table.add_row(way, f"{timing.median(way):.4f}",
                          "" if way == "quadfire" else f"{timing.ratio(way):.2f}")
        console.print(table)

    with console.status("") as status:
        neurons, difference = compare_neurons(
            kind, shape=(steps, batch, 32, 32, 32), rounds=rounds, compiled=compiled,
            report=lambda text: status.update(f"neurons, {text}"))
        show("neurons alone", neurons)
        console.print(f"greatest difference of gradients, of the largest: {difference:.1e}")
        show("whole step", compare_networks(
            kind, text=network, steps=steps, batch=batch, rounds=rounds, compiled=compiled,
            report=lambda text: status.update(f"whole step, {text}")))
