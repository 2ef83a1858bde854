"""Training and measuring under a progress bar."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from quadfire.models.commands.common import console
from quadfire.models.datasets import Dataset, ImageDataset, Samples
from quadfire.models.integer import IntegerNetwork
from quadfire.models.networks import ImageNetwork
from quadfire.models.quantize.report import integer_accuracy
from quadfire.models.training.options import Options
from quadfire.models.training.resume import Epoch
from quadfire.models.training.train import Progress as Step
from quadfire.models.training.train import Trainable, fit

__all__ = ["fit_watched", "integer_accuracy_watched"]


def fit_watched(network: Trainable, dataset: Dataset | ImageDataset, options: Options, title: str,
                report: Callable[[Epoch], None] = lambda _: None, **settings: Any) -> Epoch:
    """`fit` under a progress bar with a line of spike rates; into a file, a line every epoch."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[epoch]}"),
               TimeRemainingColumn())
    progress, layers = Progress(*columns, console=console), Text()
    task = progress.add_task(title, total=options.epochs, epoch="")

    def rates(values: list[float]) -> str:
        return " ".join(f"{rate:.2f}" for rate in values) or "-"

    shown = 0.0

    def watch(step: Step) -> None:
        nonlocal shown
        if not console.is_terminal or time.monotonic() < shown + 0.5:
            return              # reading the numbers waits for the device
        shown = time.monotonic()
        progress.update(task, completed=step.epoch - 1 + step.batch / step.batches,
                        epoch=f"epoch {step.epoch}  loss {step.loss:.3f}  "
                              f"train {step.accuracy:.2%}")
        layers.plain = f"spike rate by layer: {rates(step.rates)}"

    def tell(epoch: Epoch) -> None:
        progress.update(task, completed=epoch.number)
        if not console.is_terminal and isinstance(network, ImageNetwork):
            console.print(f"{_line(epoch)}, spike rate by layer {rates(epoch.rates)}",
                          soft_wrap=True)
        elif epoch.validation is not None:
            console.print(_line(epoch), soft_wrap=True)
        report(epoch)

    with Live(Group(progress, layers), console=console, transient=True):
        return fit(network, dataset, options, tell, watch=watch, **settings)


def _line(epoch: Epoch) -> str:
    """An epoch in words."""
    held = "" if epoch.validation is None else f", validation {epoch.validation:.2%}"
    return (f"epoch {epoch.number}: T {epoch.steps}, loss {epoch.loss:.4f}, train "
            f"{epoch.accuracy:.2%}{held}, {epoch.seconds:.0f} s")


def integer_accuracy_watched(network: IntegerNetwork, samples: Samples) -> float:
    """`integer_accuracy` under a progress bar."""
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("integer reference", total=len(samples))
        return integer_accuracy(network, samples,
                                lambda done: progress.update(task, completed=done))
