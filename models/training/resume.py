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

__all__ = ["Epoch", "RunFile"]

FORMAT = "quadfire-run"


class Epoch(NamedTuple):
    """What an epoch came to, on the training set."""

    number: int
    loss: float
    accuracy: float
    rates: list[float]


class RunFile:
    """The state of a run after each epoch. Without a path nothing is kept.

    All processes read the file, and the first one writes it.
    """

    def __init__(self, path: Path | None, network: Any, optimizer: torch.optim.Optimizer,
                 schedule: torch.optim.lr_scheduler.LambdaLR, scaler: torch.amp.GradScaler,
                 generator: torch.Generator, setup: dict[str, Any]):
        self.path, self.network, self.optimizer = path, network, optimizer
        self.schedule, self.scaler, self.generator = schedule, scaler, generator
        self.history: list[Epoch] = []
        if path is not None:
            self.setup = {**setup, "network": network.config()}

    def save(self, epoch: Epoch) -> None:
        """Keep the run as it is after this epoch."""
        self.history.append(epoch)
        if self.path is None:
            return
        if parallel.is_first():
            write(self.path, FORMAT, *self._state())
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
        return self.history[-1]

    def _restore(self, head: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Set everything as `_state` has found it."""
        self.network.load_state_dict({name.removeprefix("network."): value
                                      for name, value in tensors.items()
                                      if name.startswith("network.")})
        state: dict[int, dict[str, Any]] = {}
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


def _difference(old: Any, new: Any, name: str = "") -> str:
    """The first entry in which two JSON values differ, in words. Empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if found := _difference(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")):
                return found
        return ""
    return "" if old == new else f"its {name} is {old!r}, not {new!r}"
