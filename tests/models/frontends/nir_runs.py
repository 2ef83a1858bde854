"""Small NIR files written by hand, run in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from quadfire.models.frontends.imported import Imported, ImportProblems
from quadfire.models.frontends.nir import from_nir
from quadfire.models.quantize.quantize import real_network

from tests.models.frontends.nir_files import STEPS, graph, write_file

__all__ = ["IF", "SAID", "chain", "conv", "ending", "ends", "integrated", "problems", "random",
           "run", "steps_of"]

SAID = {"reset": "subtract", "fires": "at"}
IF = {"type": "IF", "r": 1.0, "v_threshold": 0.5}


def run(net: Imported, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """In float64: the spikes of every layer [T, N, C, H, W], and the last layer's potentials."""
    real = real_network(net, [layer.neuron and layer.neuron.canonical() for layer in net.layers])
    layers = list(real)
    potentials: list[Tensor] = []
    layers[-1].watch = potentials.append
    maps = list(real.run(net.inputs(x)))
    return maps, torch.stack(potentials) if potentials else maps[-1]


def problems(path: Any, **options: Any) -> list[str]:
    """What stands in the way of an import, each without the path."""
    with pytest.raises(ImportProblems) as caught:
        from_nir(path, steps=STEPS, **options)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def ends(shape: tuple[int, ...], answer: tuple[int, ...]) -> dict[str, Any]:
    return {"input": {"type": "Input", "shape": list(shape)},
            "output": {"type": "Output", "shape": list(answer)}}


def chain(folder: Any, shape: tuple[int, ...], answer: tuple[int, ...],
          nodes: dict[str, dict[str, Any]]) -> Any:
    """A file of nodes one behind the other."""
    names = ["input", *nodes, "output"]
    return write_file(folder / "net.nir", graph(
        ends(shape, answer) | nodes, list(zip(names, names[1:], strict=False))))


def ending(shape: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """Nodes behind a map of this shape: four neurons that give the answer."""
    return {"flat*": {"type": "Flatten", "start_dim": 0, "end_dim": -1},
            "fc*": {"type": "Linear", "weight": random(4, int(np.prod(shape)))}, "if*": IF}


def integrated(currents: Tensor, threshold: Any = 0.5) -> Tensor:
    """Spikes of an IF with a soft reset that fires at its threshold."""
    v, made = torch.zeros_like(currents[0]), []
    for current in currents:
        v = v + current
        made.append((v >= threshold).double())
        v = v - threshold * made[-1]
    return torch.stack(made)


def steps_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.stack([function(step) for step in x])


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.4, shape)


def conv(kind: str, weight: np.ndarray, **values: Any) -> dict[str, Any]:
    return {"type": kind, "weight": weight, "bias": random(len(weight)), "stride": 1, "padding": 0,
            "dilation": 1, "groups": 1} | values
