"""The tables of `models/README.md`, as Markdown made from the stored results."""

import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from tabulate import tabulate

from quadfire.models.experiments.plans import (
    CONV,
    CURVATURES,
    DEEP,
    DENSE,
    ROOTS,
    SHALLOW,
    WINDOWS,
    best_qif,
)

__all__ = ["BLOCKS", "accuracy", "rewrite", "select"]

Result = dict[str, Any]
Stored = dict[str, Any]


def select(results: Sequence[Result], **wanted: Any) -> list[Result]:
    """The results of the runs whose fields have the `wanted` values; label: the neuron's label."""
    label = wanted.pop("label", None)
    return [result for result in results
            if all(result["run"][name] == value for name, value in wanted.items())
            and label in (None, result["run"]["neuron"]["label"])]


def accuracy(results: Sequence[Result]) -> str:
    """Mean ± standard deviation over the seeds in per cent; of one run without deviation."""
    values = [100 * result["accuracy"] for result in results]
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def _mean(results: Sequence[Result], key: str) -> str:
    if not results:
        return "-"
    return f"{statistics.mean(result[key] for result in results):,.0f}"


def _rates(results: Sequence[Result]) -> str:
    layers = zip(*(result["rates"] for result in results), strict=True)
    return " ".join(f"{statistics.mean(layer):.3f}" for layer in layers) or "-"


def _name(result: Result) -> str:
    neuron = result["run"]["neuron"]
    values = ", ".join(f"{value:g}" for value in neuron["options"].values())
    return f"{neuron['label']} ({values})" if neuron["label"].endswith("found") else \
        neuron["label"]


def neurons(stored: Stored, layers: str) -> str:
    """Accuracy, spike rates and operations of every neuron in one network."""
    results = select(stored["neurons"], layers=layers)
    labels = list(dict.fromkeys(_name(result) for result in results))
    times = sorted({result["run"]["steps"] for result in results})
    rows = []
    for label in labels:
        own = [result for result in results if _name(result) == label]
        by_steps = [select(own, steps=steps) for steps in times]
        rows.append([label, *map(accuracy, by_steps), _rates(select(own, steps=4)),
                     *(_mean(some, "operations") for some in by_steps)])
    return _table(["neuron", *(f"T = {steps}, %" for steps in times), "spike rate by layer, T = 4",
                   *(f"operations, T = {steps}" for steps in times)], rows)


def sensitivity(stored: Stored) -> str:
    """Accuracy over (a, u2) at u1 = 0, and the best neighbourhood."""
    def cell(a: float, u2: float) -> str:
        return accuracy([result for result in stored["sensitivity"] if
                         result["run"]["neuron"]["options"] == {"a": a, "u1": 0.0, "u2": u2}])

    grid = _table(["a \\ u2", *(f"{u2:g}" for u2 in ROOTS)],
                  [[f"{a:g}", *(cell(a, u2) for u2 in ROOTS)] for a in CURVATURES])
    a, u1, u2 = best_qif(stored["sensitivity"])
    return f"{grid}\n\nBest neighbourhood: a = {a:g}, u1 = {u1:g}, u2 = {u2:g}."


def windows(stored: Stored) -> str:
    """Gain, error and accuracy of every window."""
    rows = []
    for window, numbers in zip(WINDOWS, stored["mismatch"], strict=True):
        name = f"analytic, {numbers['window']:.3f}" if isinstance(window, str) else f"{window:g}"
        rows.append([name, f"{numbers['formula']:.2f}", f"{numbers['measured']:.2f}",
                     f"{numbers['error']:.3f}",
                     *(accuracy(select(stored["windows"], layers=layers, window=window))
                       for layers in (SHALLOW, DEEP))])
    return _table(["window", "gain a layer, formula", "measured", "error of the gradient",
                   "one hidden layer, %", "six hidden layers, %"], rows)


def study(stored: Stored) -> str:
    """The study of the convolutional network: one row per neuron, epochs and window."""
    groups: dict[tuple[str, int, str], list[Result]] = {}
    for result in stored["study"]:
        run = result["run"]
        groups.setdefault((run["neuron"]["label"], run["epochs"], f"{run['window']:g}"),
                          []).append(result)
    rows = [[label, str(epochs), window, accuracy(own),
             f"{statistics.mean(100 * result['train'] for result in own):.2f}", _rates(own),
             _mean(own, "operations")] for (label, epochs, window), own in groups.items()]
    return _table(["neuron", "epochs", "window", "held out, %", "trained on, %",
                   "spike rate by layer", "operations"], rows)


#: The generated blocks of `models/README.md`, by name.
BLOCKS: dict[str, Callable[[Stored], str]] = {
    "neurons-dense": lambda stored: neurons(stored, DENSE),
    "neurons-conv": lambda stored: neurons(stored, CONV),
    "sensitivity": sensitivity, "windows": windows, "study": study}


def rewrite(text: str, stored: Stored) -> str:
    """`text` with every block from <!-- table NAME --> to <!-- end --> made anew.

    Raises ValueError for a name that is not in BLOCKS, and if a name in BLOCKS has no block.
    """
    found = set()

    def block(match: re.Match[str]) -> str:
        name = match[1]
        if name not in BLOCKS:
            raise ValueError(f"no table is called {name!r}; there are {', '.join(BLOCKS)}")
        found.add(name)
        return f"<!-- table {name} -->\n{BLOCKS[name](stored)}\n<!-- end -->"

    text = re.sub(r"<!-- table (\S+) -->\n.*?<!-- end -->", block, text, flags=re.DOTALL)
    if missing := BLOCKS.keys() - found:
        raise ValueError(f"there is no place for the table {', '.join(sorted(missing))}")
    return text
