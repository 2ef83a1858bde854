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
| `within.totals` | tensor | sums of loss, right answers and samples so far, of each process |
| `within.seconds` | JSON | that the batches have taken |
| `average.*` | tensors | averaged values, and `batches` that they are of (JSON) |
| `first` | JSON | step of the optimiser at which the schedule began |
| `earlier` | JSON | options and `first` of the run before it was prolonged, each time |
| `environment` | JSON | versions, machine, threads, processes |
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from quadfire.models.training import parallel
from quadfire.models.training.checkpoint import CheckpointError, read, reading, write
from quadfire.models.training.options import environment

__all__ = ["Epoch", "RunFile", "Within"]

FORMAT = "quadfire-run"


#: Options that a run keeps when it is prolonged: the order of its samples depends on them, or the
#: state of its optimiser.
KEPT = ("batch", "seed", "validate", "optimizer", "decay", "synchronise", "init", "average")


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to, on the training set.

    | field | meaning |
    |---|---|
    | `steps`, `size` | T, and the side of the images |
    | `validation` | accuracy on samples that are held back, at the full T and size, or None |
    | `rate` | the last learning rate |
    | `seconds` | of training and validation |
    """

    number: int
    loss: float
    accuracy: float
    rates: list[float]
    steps: int = 0
    validation: float | None = None
    size: int = 0
    rate: float = 0.0
    seconds: float = field(default=0.0, compare=False)

    def json(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return asdict(self)


class Within(NamedTuple):
    """Where an epoch was cut.

    | field | meaning |
    |---|---|
    | `batches` | those that are done |
    | `order`, `now` | states of the generator at the start of the epoch and now |
    | `totals` | sums of loss, right answers and samples so far, of this process |
    | `seconds` | that they have taken |
    """

    batches: int
    order: Tensor
    now: Tensor
    totals: Tensor
    seconds: float


class RunFile:
    """The state of a `Trainer` and of its history. Without a path nothing is kept.

    All processes read the file, and the first one writes it. earlier: as in the file.
    """

    def __init__(self, path: Path | None, trainer: Any, setup: dict[str, Any]):
        self.path, self.network, self.optimizer = path, trainer.network, trainer.optimizer
        self.rate, self.schedule, self.scaler = trainer.rate, trainer.schedule, trainer.scaler
        self.generator, self.average, self.totals = (trainer.generator, trainer.average,
                                                     trainer.totals)
        self.history: list[Epoch] = []
        self.earlier: list[dict[str, Any]] = []
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

    def save_within(self, order: Tensor, batches: int, seconds: float) -> None:
        """Keep the run as it is within an epoch: after `batches`, and with `order` at its start."""
        if self.path is None:
            return
        totals = parallel.gather(self.totals)
        if parallel.is_first():
            tensors, head = self._state()
            tensors |= {"within.order": order, "within.totals": totals.cpu()}
            write(self.path, FORMAT, tensors,
                  {**head, "within": batches, "within.seconds": seconds})
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
            "environment": environment(), "history": [entry.json() for entry in self.history],
            "first": self.rate.first, "earlier": self.earlier}

    def resume(self, prolong: bool = False) -> Epoch:
        """Go back to where the file is and return its last whole epoch; without a file, epoch 0.

        prolong: options may be others than those of the file, but for KEPT. The learning rate then
        starts a schedule of its own over the steps that are left. If the options are the same,
        nothing is prolonged.

        Raises CheckpointError if the file is damaged, or of a run with another setup.
        """
        if self.path is None or not self.path.is_file():
            if prolong:
                raise CheckpointError(f"{self.path}: there is no run to prolong; --keep-run leaves "
                                      "the file of one that has ended")
            parallel.wait()         # the first process writes only after all have looked
            return _nothing()
        with reading(self.path, "the state of a run"):
            head, tensors = read(self.path, FORMAT)
            old, new = head["setup"], json.loads(json.dumps(self.setup))
            prolong = prolong and old["options"] != new["options"]
            if changed := _difference(_kept(old), _kept(new)) if prolong else \
                    _difference(old, new):
                raise CheckpointError(f"{self.path}: of another run: {changed}")
            groups = [{name: value for name, value in group.items() if name != "params"}
                      for group in self.optimizer.param_groups]
            self._restore(head, tensors)
            if prolong:
                self._prolong(old["options"], groups)
        parallel.wait()
        return self.history[-1] if self.history else _nothing()

    def _prolong(self, options: dict[str, Any], groups: list[dict[str, Any]]) -> None:
        """Start the schedule anew here, with the rates and decays of `groups`."""
        done, wanted = len(self.history), self.setup["options"]["epochs"]
        if wanted < done + (self.within is not None):
            raise CheckpointError(f"{self.path}: has {done} epochs already, which {wanted} do not "
                                  "prolong")
        self.earlier.append({"options": options, "first": self.rate.first})
        self.rate.first = self.schedule.last_epoch
        self.schedule.base_lrs = [group["initial_lr"] for group in groups]
        for group, new in zip(self.optimizer.param_groups, groups, strict=True):
            group.update(new)
            group["lr"] = group["initial_lr"] * self.rate(self.rate.first)
        self.schedule._last_lr = [group["lr"] for group in self.optimizer.param_groups]

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
        self.rate.first, self.earlier = head.get("first", 0), head.get("earlier", [])
        if "within" in head:
            totals = tensors["within.totals"].view(-1, 3)
            rank = parallel.rank()      # an older file has the totals of the first process alone
            self.within = Within(
                head["within"], tensors["within.order"], tensors["random.order"],
                totals[rank] if rank < len(totals) else torch.zeros(3, dtype=torch.float64),
                head.get("within.seconds", 0.0))


def _nothing() -> Epoch:
    """What a run has come to before its first epoch."""
    return Epoch(0, math.nan, math.nan, [])


def _kept(setup: dict[str, Any]) -> dict[str, Any]:
    """What of a setup a prolonged run must keep."""
    return {**setup, "options": {name: value for name, value in setup["options"].items()
                                 if name in KEPT}}


def _difference(old: Any, new: Any, name: str = "") -> str:
    """The first entry in which two JSON values differ, in words. Empty if they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if found := _difference(old.get(key), new.get(key), f"{name}.{key}".lstrip(".")):
                return found
        return ""
    return "" if old == new else f"its {name} is {old!r}, not {new!r}"
