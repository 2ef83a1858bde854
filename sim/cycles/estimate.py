"""Estimates without any Verilog: cycles, utilisation and host traffic of a network on an array.

    estimate    every layer, event by event, on spikes drawn at a given rate
    sweep       many arrays, in closed form (`quadfire.firmware.compiler.cost_model`), and which of them are worth it

A layer takes as long as its passes, or as long as the words that the host must send for it (one a
cycle), whichever is longer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from quadfire.firmware.compiler.compile import compile
from quadfire.firmware.compiler.program import Program
from quadfire.models.integer import IntegerNetwork
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.sim.cycles import network_model

__all__ = ["Design", "LayerEstimate", "draw", "estimate", "pareto", "resources", "sweep"]

#: Of the LFE5U-85F, the largest ECP5, and what a lane takes of it, measured by `rtl bench`.
_LUTS, _BLOCKS, _BLOCK_BITS, _LUTS_A_LANE = 83_640, 208, 18_432, 60


@dataclass(frozen=True)
class LayerEstimate:
    """One layer, one image. busy: cycles of its passes, of which events, nulls, drains, starved.

    operations: synaptic additions that its events call for; utilisation: those a cycle and lane.
    words: 32-bit words between host and array. cycles: the larger of busy and words.
    """

    name: str
    mode: str
    passes: int
    busy: int
    events: int
    nulls: int
    drains: int
    starved: int
    operations: int
    utilisation: float
    words: int

    @property
    def cycles(self) -> int:
        return max(self.busy, self.words)


def draw(network: IntegerNetwork, rate: float, seed: int = 0
         ) -> tuple[np.ndarray, list[np.ndarray]]:
    """(inputs, spikes of every layer) of one image, each channel and step at `rate`.

    Pixels are uniform: half of their bits are ones.
    """
    rng = np.random.default_rng(seed)
    shapes = [network.input_shape, *network.shapes]
    spikes = [rng.random((network.steps, 1, *shape)) < rate for shape in shapes]
    if bits := network.input_bits:
        return rng.integers(0, 1 << bits, (1, *network.input_shape), np.uint8), spikes[1:]
    return spikes[0], spikes[1:]


def estimate(program: Program, rate: float = 0.15, seed: int = 0) -> list[LayerEstimate]:
    """Every layer of a compiled network. Raises ValueError unless 0 <= rate <= 1."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in 0..1, not {rate!r}")
    inputs, spikes = draw(program.network, rate, seed)
    predicted = network_model.predict(program, inputs, spikes)[0]
    operations = network_model.synaptic_operations(program.inner, inputs, spikes)
    layer_of = np.array([item.layer for item in program.passes])
    result = []
    for index, layer in enumerate(program.layers):
        parts = dict(zip(network_model.CLASSES, map(int, predicted[layer_of == index].sum(axis=0)),
                         strict=True))
        words = layer.streamed_words + layer.map_words + (0 if index else program.input_words)
        result.append(LayerEstimate(
            name=layer.name, mode=layer.mode, passes=layer.passes, **parts,
            operations=int(operations[index]), words=words,
            utilisation=int(operations[index]) / parts["busy"] / program.config.outputs))
    return result


# Design space ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Design:
    """An array and what a network takes on it. resources: see there; words: with the host."""

    config: ArrayConfig
    changes: dict[str, int]
    cycles: float
    words: int
    resources: float


def resources(config: ArrayConfig) -> float:
    """The larger share of the logic and of the block RAM of an LFE5U-85F, a rough proxy."""
    groups = config.groups
    bits = (config.banks * groups * config.weight_rows * config.row_bits
            + config.spike_words * config.word_bits + groups * config.parameter_words * 32
            + 2 * config.line_words * config.lanes * config.accumulator_bits)
    return max(config.outputs * _LUTS_A_LANE / _LUTS, bits / (_BLOCKS * _BLOCK_BITS))


def sweep(network: IntegerNetwork, config: ArrayConfig, options: Mapping[str, Iterable[int]]
          ) -> tuple[list[Design], dict[str, int]]:
    """All arrays with these fields, {name: values}; those that cannot be, by the reason why not.

    Raises ValueError for a field that no array has.
    """
    ArrayConfig.from_dict({**dict.fromkeys(options), **config.as_dict()})
    designs, refused = [], {}
    for values in product(*options.values()):
        changes = dict(zip(options, values, strict=True))
        try:
            shape = replace(config, **changes)
            program = compile(network, shape)
        except ValueError as error:
            refused[str(error)] = refused.get(str(error), 0) + 1
            continue
        words = [layer.streamed_words + layer.map_words for layer in program.layers]
        words[0] += program.input_words
        total = sum(max(layer.estimated_cycles, count)
                    for layer, count in zip(program.layers, words, strict=True))
        designs.append(Design(shape, changes, total, sum(words), resources(shape)))
    return designs, refused


def pareto(designs: Iterable[Design]) -> list[Design]:
    """Those of which none other has both fewer cycles and fewer resources, cheapest first."""
    front: list[Design] = []
    for design in sorted(designs, key=lambda design: (design.resources, design.cycles)):
        if not front or design.cycles < front[-1].cycles:
            front.append(design)
    return front


def picture(path: Path, designs: list[Design], title: str) -> None:
    """Cycles against resources, the Pareto front as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    front = pareto(designs)
    axes.scatter([d.resources for d in designs], [d.cycles for d in designs], s=14, color="0.6")
    axes.plot([d.resources for d in front], [d.cycles for d in front], "o-", ms=4, color="C0")
    for design in front:
        label = ", ".join(f"{name} {value}" for name, value in design.changes.items())
        axes.annotate(label, (design.resources, design.cycles), fontsize=6,
                      xytext=(4, 4), textcoords="offset points")
    axes.set(xlabel="share of an LFE5U-85F", ylabel="cycles an image", yscale="log", title=title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
