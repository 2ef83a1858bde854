"""Estimates without Verilog: cycles, utilisation and host traffic of a network on an array.

| function | estimates |
|---|---|
| `estimate` | every layer by the cycle model, on spikes drawn at a given rate |
| `measured` | every layer by the cycle model, on the spikes of the network on inputs |
| `sweep` | many arrays by the closed form of `quadfire.firmware.compiler.cost_model` |

A layer takes the cycles of its passes, or one cycle for each word between host and array, whichever
is more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from quadfire.files import whole_file
from quadfire.firmware.compiler.compile import compile_network
from quadfire.firmware.compiler.pass_payload import emit_of
from quadfire.firmware.compiler.program import Program
from quadfire.firmware.driver.inputs import checked
from quadfire.firmware.tape.memory_layout import tiles_of
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.tape import Emit
from quadfire.sim.cycles import network_model

__all__ = ["Design", "LayerEstimate", "draw", "estimate", "measured", "pareto",
           "resources", "sweep"]

#: LUTs and block RAMs of the LFE5U-85F, bits of a block; LUTs per lane, as `quadfire bench` finds.
_LUTS, _BLOCKS, _BLOCK_BITS, _LUTS_A_LANE = 83_640, 208, 18_432, 60


@dataclass(frozen=True)
class LayerEstimate:
    """The estimate of a layer for one image, or its mean over several, rounded.

    | field | meaning |
    |---|---|
    | `busy` | cycles of its passes, the sum of events, nulls, drains and starved |
    | `operations` | synaptic additions that its events call for |
    | `utilisation` | operations per cycle and lane |
    | `words` | 32-bit words between host and array; of answers those that are membranes |
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
        """The larger of busy and words."""
        return max(self.busy, self.words)


def draw(network: IntegerNetwork, rate: float, seed: int = 0
         ) -> tuple[np.ndarray, list[np.ndarray]]:
    """(inputs, spikes of every layer) of one image, at a spike rate.

    Pixels are distributed uniformly: half of their bits are ones. Of counts every bit is a one at
    the spike rate.
    """
    rng = np.random.default_rng(seed)
    shapes = [network.input_shape, *network.shapes]
    spikes = [rng.random((network.steps, 1, *shape)) < rate for shape in shapes]
    if bits := network.input_bits:
        return rng.integers(0, 1 << bits, (1, *network.input_shape), np.uint8), spikes[1:]
    if bits := network.count_bits:
        counts = sum((rng.random(spikes[0].shape) < rate).astype(np.uint8) << bit
                     for bit in range(bits))
        return np.asarray(counts, np.uint8), spikes[1:]
    return spikes[0], spikes[1:]


def answer_words(program: Program) -> int:
    """Words of the membranes that an image answers with; 0 where these are not the answer."""
    network, config = program.network, program.config
    if network.answer is None:
        return 0
    last = emit_of(network, len(network.layers) - 1) == Emit.LOGITS
    return tiles_of(network.outputs, config) * config.lanes * (
        program.chunks if last else network.steps)


def estimate(program: Program, rate: float = 0.15, seed: int = 0) -> list[LayerEstimate]:
    """Estimate every layer of a compiled network. Raises ValueError unless 0 <= rate <= 1."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in 0..1, not {rate!r}")
    return _layers(program, *draw(program.network, rate, seed))


def measured(program: Program, inputs: np.ndarray) -> list[LayerEstimate]:
    """Estimate every layer of a compiled network on inputs, as `Accelerator.run` takes them.

    The spikes are those of the integer reference. Raises ValueError for no input and for others
    than the network takes.
    """
    inputs = checked(program.network, inputs)
    if not (images := inputs.shape[0 if program.network.input_bits else 1]):
        raise ValueError("there are no inputs to measure on")
    result = reference.run(program.network, inputs, record=True)
    spikes = [fired.numpy() for fired in result.spikes]
    if len(spikes) < len(program.network.layers):       # a readout has none
        spikes.append(np.zeros((program.network.steps, images, *program.network.shapes[-1]), bool))
    return _layers(program, inputs, spikes)


def _layers(program: Program, inputs: np.ndarray, spikes: Sequence[np.ndarray]
            ) -> list[LayerEstimate]:
    """The mean over all images, see `network_model.predict`."""
    predicted = network_model.predict(program, inputs, spikes)
    images = len(predicted)
    mean = predicted.mean(axis=0)
    operations = network_model.synaptic_operations(program.network, inputs, spikes) / images
    layer_of = np.array([item.layer for item in program.passes])
    result = []
    for index, layer in enumerate(program.layers):
        cycles = [round(value) for value in mean[layer_of == index].sum(axis=0).tolist()]
        classes = dict(zip(network_model.CLASSES, cycles, strict=True))
        classes["busy"] = sum(count for name, count in classes.items() if name != "busy")
        words = layer.streamed_words + layer.map_words + (0 if index else program.input_words)
        words += answer_words(program) if index == len(program.layers) - 1 else 0
        result.append(LayerEstimate(
            name=layer.name, mode=layer.mode, passes=layer.passes, **classes,
            operations=int(operations[index]), words=words,
            utilisation=int(operations[index]) / classes["busy"] / program.config.outputs))
    return result


# Design space ------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Design:
    """An array, and what a network costs on it.

    | field | meaning |
    |---|---|
    | `changes` | the fields in which the array differs from the first one |
    | `cycles` | cycles for one image |
    | `words` | 32-bit words between host and array |
    | `resources` | see `resources` |
    """

    config: ArrayConfig
    changes: dict[str, int]
    cycles: float
    words: int
    resources: float


def resources(config: ArrayConfig) -> float:
    """A rough share of an LFE5U-85F: that of its LUTs or of its block RAM, the larger one."""
    groups = config.groups
    bits = (config.banks * groups * config.weight_rows * config.row_bits
            + config.spike_words * config.word_bits + groups * config.parameter_words * 32
            + 2 * config.line_words * config.lanes * config.accumulator_bits)
    return max(config.outputs * _LUTS_A_LANE / _LUTS, bits / (_BLOCKS * _BLOCK_BITS))


def sweep(network: IntegerNetwork, config: ArrayConfig, options: Mapping[str, Iterable[int]]
          ) -> tuple[list[Design], dict[str, int]]:
    """Estimate all combinations of options, {field: values}, as changes of `config`.

    Returns (designs, {reason: how many arrays are impossible for it}). Raises ValueError for a
    field that no array has.
    """
    ArrayConfig.from_dict({**dict.fromkeys(options), **config.as_dict()})
    designs, refused = [], {}
    for values in product(*options.values()):
        changes = dict(zip(options, values, strict=True))
        try:
            shape = replace(config, **changes)
            program = compile_network(network, shape)
        except ValueError as error:
            refused[str(error)] = refused.get(str(error), 0) + 1
            continue
        words = [layer.streamed_words + layer.map_words for layer in program.layers]
        words[0] += program.input_words
        words[-1] += answer_words(program)
        total = sum(max(layer.estimated_cycles, count)
                    for layer, count in zip(program.layers, words, strict=True))
        designs.append(Design(shape, changes, total, sum(words), resources(shape)))
    return designs, refused


def pareto(designs: Iterable[Design]) -> list[Design]:
    """The Pareto front: designs that no other one beats in cycles and resources, smallest first."""
    front: list[Design] = []
    for design in sorted(designs, key=lambda design: (design.resources, design.cycles)):
        if not front or design.cycles < front[-1].cycles:
            front.append(design)
    return front


def picture(path: Path, designs: list[Design], title: str) -> None:
    """Draw cycles over resources, the Pareto front as a line."""
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
    with whole_file(path) as part:
        figure.savefig(part, dpi=150)
