"""A run that may be cut short: its epochs so far, and the file from which it goes on."""

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
    """What an epoch came to: numbers of the training set only."""

    number: int
    loss: float
    accuracy: float
    rates: list[float]


class RunFile:
    """The file that keeps a run: network, optimiser, schedule, random numbers, epochs so far.

    All ranks read it, the first one writes it.
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
            state = self.optimizer.state_dict()
            tensors = {f"network.{name}": value
                       for name, value in self.network.state_dict().items()}
            numbers: dict[str, Any] = {}
            for index, values in state["state"].items():
                for name, value in values.items():
                    (tensors if isinstance(value, Tensor) else numbers)[
                        f"optimizer.{index}.{name}"] = value
            tensors["random.order"] = self.generator.get_state()
            tensors["random.torch"] = torch.get_rng_state()
            schedule = {name: value for name, value in self.schedule.state_dict().items()
                        if name != "lr_lambdas"}
            write(self.path, FORMAT, tensors, {
                "setup": self.setup, "groups": state["param_groups"], "numbers": numbers,
                "schedule": schedule, "scaler": self.scaler.state_dict(),
                "environment": environment(),
                "history": [entry._asdict() for entry in self.history]})
        parallel.wait()

    def resume(self) -> Epoch:
        """Go back to the epoch that the file holds, which is returned; or to the beginning."""
        if self.path is None or not self.path.is_file():
            parallel.wait()                                 # nobody writes before all have looked
            return Epoch(0, math.nan, math.nan, [])
        with reading(self.path, "the state of a run"):
            head, tensors = read(self.path, FORMAT)
            if changed := _difference(head["setup"], json.loads(json.dumps(self.setup))):
                raise CheckpointError(f"{self.path}: of another run: {changed}")
            self.network.load_state_dict({name.removeprefix("network."): value
                                          for name, value in tensors.items()
                                          if name.startswith("network.")})
            state: dict[int, dict[str, Any]] = {}
            for name, value in (tensors | head["numbers"]).items():
                if name.startswith("optimizer."):
                    _, index, entry = name.split(".", 2)
                    state.setdefault(int(index), {})[entry] = value
            self.optimizer.load_state_dict({"state": state, "param_groups": head["groups"]})
            self.schedule.load_state_dict({**head["schedule"], "lr_lambdas": [None] * len(
                head["groups"])})
            if head["scaler"]:
                self.scaler.load_state_dict(head["scaler"])
            self.generator.set_state(tensors["random.order"])
            torch.set_rng_state(tensors["random.torch"])
            self.history = [Epoch(**entry) for entry in head["history"]]
        parallel.wait()
        return self.history[-1]


def _difference(old: Any, new: Any, name: str = "") -> str:
    """The first entry in which two JSON values differ, in words; empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if found := _difference(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")):
                return found
        return ""
    return "" if old == new else f"its {name} is {old!r}, not {new!r}"
