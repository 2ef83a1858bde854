"""The file of a run that may be cut short, from which it goes on to the same weights.

Tensors and JSON entries, in a file as `checkpoint` describes it:

| entry | kind | holds |
|---|---|---|
| `format`, `version` | JSON | "quadfire-run", 1 |
| `setup` | JSON | options, data set, processes, network; a run with others is refused |
| `network.*` | tensors | its `state_dict` |
| `optimizer.I.*` | tensors | state of parameter I |
| `numbers` | JSON | those entries of that state that are no tensors |
| `groups` | JSON | parameter groups of the optimiser |
| `schedule`, `scaler` | JSON | states of the learning rate and of the loss scale |
| `random.order` | tensor | state of the generator of order and augmentation |
| `random.torch` | tensor | state of PyTorch's global generator |
| `history` | JSON | the epochs so far |
| `within` | JSON | batches of the epoch that is not whole, if one is begun |
| `within.order` | tensor | state of the generator at its start |
| `within.totals` | tensor | sums of loss, right answers and samples so far |
| `average.*` | tensors | averaged values, and `batches` that they are of (JSON) |
| `environment` | JSON | versions, machine, threads, processes |
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quadfire.models.training import parallel
from quadfire.models.training.checkpoint import CheckpointError, read, reading, write
from quadfire.models.training.options import environment

__all__ = ["Epoch", "RunFile", "Within"]

FORMAT = "quadfire-run"


class Epoch(NamedTuple):
    """What an epoch came to, on the training set. steps: T; validation: accuracy on samples held
    back, or None."""

    number: int
    loss: float
    accuracy: float
    rates: list[float]
    steps: int = 0
    validation: float | None = None


class Within(NamedTuple):
    """Where an epoch was cut: states of the generator at its start and now, and sums so far."""

    batches: int
    order: Tensor
    now: Tensor
    totals: Tensor


class RunFile:
    """The state of a `Trainer` and of its history. Without a path nothing is kept.

    All processes read the file, and the first one writes it.
    """

    def __init__(self, path: Path | None, trainer: Any, setup: dict[str, Any]):
        self.path, self.network, self.optimizer = path, trainer.network, trainer.optimizer
        self.schedule, self.scaler = trainer.schedule, trainer.scaler
        self.generator, self.average, self.totals = (trainer.generator, trainer.average,
                                                     trainer.totals)
        self.history: list[Epoch] = []
        self.within: Within | None = None
        if path is not None:
            self.setup = {**setup, "network": self.network.config()}

    def save(self, epoch: Epoch) -> None:
        """Keep the run as it is after this epoch."""
        self.history.append(epoch)
        if self.path is None:
            return
        if parallel.is_first():
            write(self.path, FORMAT, *self._state())
        parallel.wait()

    def save_within(self, order: Tensor, batches: int) -> None:
        """Keep the run as it is within an epoch: after `batches`, and with `order` at its start."""
        if self.path is None:
            return
        if parallel.is_first():
            tensors, head = self._state()
            tensors |= {"within.order": order, "within.totals": self.totals.cpu()}
            write(self.path, FORMAT, tensors, {**head, "within": batches})
        parallel.wait()

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """(tensors, JSON) of the run."""
        state = self.optimizer.state_dict()
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        numbers: dict[str, Any] = {}
        for index, values in state["state"].items():
            for name, value in values.items():
                (tensors if isinstance(value, Tensor) else numbers)[
                    f"optimizer.{index}.{name}"] = value
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.values.items()}
            numbers["average"] = self.average.batches
        tensors["random.order"] = self.generator.get_state()
        tensors["random.torch"] = torch.get_rng_state()
        schedule = {name: value for name, value in self.schedule.state_dict().items()
                    if name != "lr_lambdas"}            # functions, the same in every run
        return tensors, {
            "setup": self.setup, "groups": state["param_groups"], "numbers": numbers,
            "schedule": schedule, "scaler": self.scaler.state_dict(),
            "environment": environment(), "history": [entry._asdict() for entry in self.history]}

    def resume(self) -> Epoch:
        """Go back to the last epoch in the file and return it. Without a file that is epoch 0.

        Raises CheckpointError if the file is damaged, or of a run with another setup.
        """
        if self.path is None or not self.path.is_file():
            parallel.wait()         # the first process writes only after all have looked
            return Epoch(0, math.nan, math.nan, [])
        with reading(self.path, "the state of a run"):
            head, tensors = read(self.path, FORMAT)
            if changed := _difference(head["setup"], json.loads(json.dumps(self.setup))):
                raise CheckpointError(f"{self.path}: of another run: {changed}")
            self._restore(head, tensors)
        parallel.wait()
        return self.history[-1] if self.history else Epoch(0, math.nan, math.nan, [])

    def _restore(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Set everything as `_state` has found it."""
        self.network.load_state_dict({name.removeprefix("network."): value
                                      for name, value in tensors.items()
                                      if name.startswith("network.")})
        state: dict[int, dict[str, Any]] = {}
        if self.average is not None:
            self.average.batches = head["numbers"]["average"]
            for name, value in self.average.values.items():
                value.copy_(tensors[f"average.{name}"])
        for name, value in (tensors | head["numbers"]).items():
            if name.startswith("optimizer."):
                _, index, entry = name.split(".", 2)
                state.setdefault(int(index), {})[entry] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": head["groups"]})
        self.schedule.load_state_dict({**head["schedule"],
                                       "lr_lambdas": [None] * len(head["groups"])})
        if head["scaler"]:
            self.scaler.load_state_dict(head["scaler"])
        self.generator.set_state(tensors["random.order"])
        torch.set_rng_state(tensors["random.torch"])
        self.history = [Epoch(**entry) for entry in head["history"]]
        if "within" in head:
            self.within = Within(head["within"], tensors["within.order"], tensors["random.order"],
                                 tensors["within.totals"])


def _difference(old: Any, new: Any, name: str = "") -> str:
    """The first entry in which two JSON values differ, in words. Empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if found := _difference(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")):
                return found
        return ""
    return "" if old == new else f"its {name} is {old!r}, not {new!r}"
