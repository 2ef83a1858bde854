"""The curve of a run: a CSV file, and event files for TensorBoard."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quadfire.files import write_text
from quadfire.models.training.resume import Epoch

__all__ = ["COLUMNS", "TensorBoard", "write_csv"]

#: The columns of the CSV file. train, validation: accuracies; the latter is empty where nothing was
#: held out for it. rates: spike rates by layer. rate: the last learning rate.
COLUMNS = ("epoch", "steps", "loss", "train", "validation", "rates", "size", "rate", "seconds")


def _row(epoch: Epoch) -> tuple[Any, ...]:
    """An epoch in COLUMNS."""
    return (epoch.number, epoch.steps, f"{epoch.loss:.5f}", f"{epoch.accuracy:.5f}",
            "" if epoch.validation is None else f"{epoch.validation:.5f}",
            " ".join(f"{rate:.4f}" for rate in epoch.rates), epoch.size, f"{epoch.rate:.6g}",
            f"{epoch.seconds:.1f}")


def write_csv(path: Path, epochs: Sequence[Epoch]) -> None:
    """Write all epochs of a run, whole or not at all: a run that goes on repeats no row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_row, epochs))
    write_text(path, text.getvalue())


class TensorBoard:
    """Event files in a folder. A run that goes on hides what is there of it already.

    Raises ValueError unless the package `tensorboard` is installed.
    """

    def __init__(self, folder: Path):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ValueError("--tensorboard needs the package tensorboard, which is not installed: "
                             "pip install tensorboard") from None
        self.writer = SummaryWriter(str(folder), purge_step=0)

    def add(self, epoch: Epoch) -> None:
        """Write the numbers of an epoch."""
        values = {"loss/train": epoch.loss, "accuracy/train": epoch.accuracy,
                  "accuracy/validation": epoch.validation, "rate": epoch.rate, "T": epoch.steps,
                  "size": epoch.size, "seconds": epoch.seconds,
                  **{f"spikes/layer{n}": rate for n, rate in enumerate(epoch.rates)}}
        for name, value in values.items():
            if value is not None:
                self.writer.add_scalar(name, value, epoch.number)
        self.writer.flush()
