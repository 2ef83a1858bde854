"""What the experiments train: lists of runs, and the choice of a neuron by their results.

| experiment  | runs |
|-------------|---|
| sensitivity | 784-128-10 over (a, u2) at u1 = 0, and over (u1, u2) at a = 1/4 |
| neurons     | two networks, seven neurons, T = 2, 4, 8 |
| windows     | the analytic window and fixed ones, in a shallow and in a deep network |
| study       | why QIF is behind LIF in the convolutional network |

Sensitivity is measured on validation digits, and `best_qif` chooses the "best found" QIF neuron of
the table by it. The study tries more memory, a wider window and, with one seed, longer training.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

from quadfire.models.experiments.runs import Neuron, Run

__all__ = ["CURVATURES", "DEEP", "DENSE", "CONV", "ROOTS", "SHALLOW", "WINDOWS", "best_qif",
           "neuron_runs", "neurons", "qif", "sensitivity_runs", "study_runs", "windows_runs"]

DENSE = "784-128-10"
CONV = "16C3-P2-32C3-P2-128-10"
SHALLOW, DEEP = DENSE, "784-128-128-128-128-128-128-10"

#: The grid of the heat maps: a, and u1 or u2.
CURVATURES = (0.0625, 0.125, 0.25, 0.5, 0.75, 1.0)
ROOTS = (-2.0, -1.0, -0.5, 0.0, 0.5, 1.0)
SEEDS = (1, 2, 3)
WINDOWS: tuple[float | str, ...] = ("analytic", 0.25, 0.5, 1.0, 1.5, 2.0)
#: a, u1, u2 of the paper's plot (arXiv:2510.05168).
PAPER = (0.25, 0.0, 0.5)


def qif(a: float, u1: float, u2: float, label: str = "") -> Neuron:
    """A QIF neuron in root form."""
    return Neuron(label=label, kind="qif", options={"a": a, "u1": u1, "u2": u2})


def neurons(best: tuple[float, float, float]) -> list[Neuron]:
    """The rows of the table. PLIF and Euler form divide their input by tau, hence alpha = tau."""
    return [
        Neuron(label="LIF, β = 0.5", kind="lif", options={"beta": 0.5}),
        Neuron(label="PLIF", kind="plif", options={"tau": 2.0}, alpha=2.0),
        qif(*PAPER, "QIF (0.25, 0, 0.5)"),
        qif(*best, "QIF, best found"),
        Neuron(label="QIF Euler", kind="qif_euler", alpha=2.0,
               options={"tau": 2.0, "a0": 1.0, "v_rest": 0.0, "v_c": 0.8}),
        Neuron(label="CLIF", kind="clif"),
        Neuron(label="GLIF", kind="glif"),
    ]


def sensitivity_runs(seeds: Sequence[int] = (1,)) -> list[Run]:
    """Both planes of the heat maps. The order of the roots does not matter, so u1 <= u2."""
    cells = [(a, 0.0, u2) for a, u2 in product(CURVATURES, ROOTS)]
    cells += [(PAPER[0], u1, u2) for u1, u2 in product(ROOTS, ROOTS) if u1 <= u2 and u1 and u2]
    return [Run(layers=DENSE, neuron=qif(*cell), seed=seed, held_out="validation")
            for seed in seeds for cell in cells]


def best_qif(results: Sequence[dict[str, Any]]) -> tuple[float, float, float]:
    """(a, u1, u2) with the best neighbourhood in the plane u1 = 0, by the results of sensitivity.

    The mean over a cell and its up to eight neighbours decides. The best single cell would be the
    best by luck, since single cells vary as much as the whole plane.
    """
    plane = {(i, j): [result["accuracy"] for result in results
                      if result["run"]["neuron"]["options"] == {"a": a, "u1": 0.0, "u2": u2}]
             for (i, a), (j, u2) in product(enumerate(CURVATURES), enumerate(ROOTS))}

    def around(cell: tuple[int, int]) -> float:
        near = [value for (i, j), values in plane.items() for value in values
                if abs(i - cell[0]) <= 1 and abs(j - cell[1]) <= 1]
        return sum(near) / len(near)

    i, j = max(plane, key=around)
    return CURVATURES[i], 0.0, ROOTS[j]


def _conv(neuron: Neuron, seed: int, **options: Any) -> Run:
    """A run of the convolutional network."""
    return Run(**{"layers": CONV, "neuron": neuron, "seed": seed, "epochs": 3, "batch": 50,
                  **options})


def neuron_runs(best: tuple[float, float, float]) -> list[Run]:
    """The table of neurons: three seeds, but one for the convolutional network with T = 8."""
    every = neurons(best)
    runs = [Run(layers=DENSE, neuron=neuron, steps=steps, seed=seed)
            for steps in (4, 2, 8) for seed in SEEDS for neuron in every]
    for steps, seeds in ((4, SEEDS), (2, SEEDS), (8, SEEDS[:1])):
        runs += [_conv(neuron, seed, steps=steps) for seed in seeds for neuron in every]
    return runs


def study_runs() -> list[Run]:
    """The study of the convolutional network, T = 4."""
    lif, paper = neurons(PAPER)[0], neurons(PAPER)[2]
    memory = qif(0.25, 0.0, -2.0, "QIF (0.25, 0, -2)")
    runs = [_conv(neuron, seed) for neuron in (lif, paper, memory) for seed in SEEDS]
    runs += [_conv(paper, seed, window=1.0) for seed in SEEDS]
    return runs + [_conv(neuron, 1, epochs=6) for neuron in (lif, paper)]


def windows_runs() -> list[Run]:
    """Every window in both networks, three seeds."""
    return [Run(layers=layers, neuron=qif(*PAPER), seed=seed, window=window)
            for seed in SEEDS for layers in (SHALLOW, DEEP) for window in WINDOWS]
