"""`from_nir`: a NIR file becomes an `Imported` network.

| node | becomes |
|---|---|
| Affine, Linear, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d | numbers of a `Lowering` value |
| IF, LIF, Threshold | a layer of neurons |
| LI, I | the answer: a layer whose potential is read; an I may be the readout instead |
| Flatten, Input, Output | nothing |
| CubaLI, CubaLIF, Delay, and every loop | refused |

Several edges that lead to a node add up. Shapes follow from that of the Input; every shape that a
node states itself is checked. All that cannot be honoured is told at once.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from quadfire.models.frontends.answers import check_pixel, membrane_answer
from quadfire.models.frontends.imported import Imported, ImportProblems, Line
from quadfire.models.frontends.importing import INPUTS, OUTPUTS, input_value
from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.nir_file import NirFile, NirNode, read_nir
from quadfire.models.frontends.nir_graph import ordered
from quadfire.models.frontends.nir_layers import LAYERS, Sides
from quadfire.models.frontends.nir_neurons import (
    WRITERS,
    Dynamics,
    Fires,
    Reset,
    Solver,
    Writer,
    map_neuron,
)
from quadfire.models.frontends.nir_values import Unmapped, numbers, told
from quadfire.models.frontends.translation import described_map, described_value
from quadfire.models.integer import Shape
from quadfire.models.neurons.canonical import canonical_if
from quadfire.models.quantize.folded import FoldedAnswer
from quadfire.models.quantize.lowering import Lowering
from quadfire.models.quantize.values import Value

__all__ = ["from_nir"]

_STAND_IN = MappedNeuron(form=canonical_if(), text="")
_NEURONS = ("I", "IF", "LI", "LIF", "Threshold")
#: Why the array cannot run a type of node at all.
_REFUSED = {
    "CubaLI": "has a synaptic current (tau_syn = {tau_syn}), the array one state for each neuron: "
              "train with LI",
    "CubaLIF": "has a synaptic current (tau_syn = {tau_syn}), the array one state for each neuron: "
               "train with LIF",
    "Delay": "the array has no delays: train without them",
}


def from_nir(path: Path | str, *, steps: int, input: str = "spikes",  # noqa: A002
             output: str | None = None, dt: float | None = None, solver: Solver | None = None,
             reset: Reset | None = None, fires: Fires | None = None, writer: Writer | None = None,
             mean: Any = 0.0, std: Any = 1.0, count_bits: int = 0) -> Imported:
    """The network in a NIR file as a graph that `to_grid`, `calibrate` and `to_integer` take.

    | argument | meaning |
    |---|---|
    | steps | time steps T |
    | input | "pixels" (the same in every step), "spikes" (0 or 1), "counts" (0, 1, 2...) |
    | output | "count" of spikes, mean "current" or "membrane"; None: what the file ends with |
    | dt, solver, reset, fires, writer | what NIR does not say of neurons, see `nir_neurons` |
    | mean, std | what the pixels p / 255 were normalised with: numbers, or one for every channel |
    | count_bits | bits of the counts, 1..5 |

    Raises ValueError for a file that cannot be read, see `read_nir`, and `ImportProblems`, which is
    one, with all that cannot be honoured, by node. Raises ImportError without h5py.
    """
    if input not in INPUTS:
        raise ValueError(f"input must be {', '.join(INPUTS)}, not {input!r}")
    if output is not None and output not in OUTPUTS:
        raise ValueError(f"output must be {', '.join(OUTPUTS)}, not {output!r}")
    if steps < 1:
        raise ValueError(f"steps must be above 0, not {steps!r}")
    if input == "counts" and not 1 <= count_bits <= 5:
        raise ValueError(f"count_bits must be 1 to 5, not {count_bits!r}: the array takes counts "
                         "of up to 31")
    options = Dynamics(dt=dt, solver=solver, reset=reset, fires=fires, writer=writer)
    file = read_nir(path)
    work = _Translation(file, options, output)
    order = work.order()
    shape = work.input_shape()
    if shape is not None:
        bits = count_bits if input == "counts" else 1
        graph = Lowering((shape[0] * bits, *shape[1:]))
        work.run(order, graph, input_value(graph, input, mean=mean, std=std,
                                           count_bits=count_bits))
    if work.problems or work.answer is None:
        raise ImportProblems(work.told(), work.lines)
    last, answer, kind = work.answer
    label = f" of {WRITERS[writer].label}" if writer else ""
    return work.graph.folded(
        steps, 8 if input == "pixels" else 0, last=last, made=Imported, lines=tuple(work.lines),
        library=f"NIR {file.version}".strip() + label, input=input, output=kind, answer=answer,
        count_bits=count_bits if input == "counts" else 0, mean=mean, std=std,
        layout="N" if input == "pixels" else "TN",
        remarks=work.remarks())


class _Translation:
    """The work of one import.

    | field | meaning |
    |---|---|
    | values, shapes | what every node gives, and its shape as NIR has it: [N], [C, L], [C, H, W] |
    | layers | of a node of neurons: the layer that it became |
    | potentials | nodes that give potentials, which only the answer may be |
    | lines | a line a node, for `explain` |
    | problems | what cannot be honoured: the reason, and the nodes that it holds for |
    | answer | (the layer that the graph ends with or None, its potentials that are the answer, |
    |  | the kind of answer) |
    """

    def __init__(self, file: NirFile, options: Dynamics, wanted: str | None):
        self.file, self.options, self.wanted = file, options, wanted
        self.sources: dict[str, list[str]] = {name: [] for name in file.nodes}
        self.readers: dict[str, list[str]] = {name: [] for name in file.nodes}
        for before, after in file.edges:
            self.sources[after].append(before)
            self.readers[before].append(after)
        self.signals = any(node.kind == "Conv1d" for node in file.nodes.values())
        self.values: dict[str, Value] = {}
        self.shapes: dict[str, Sides] = {}
        self.mapped: dict[str, MappedNeuron] = {}
        self.layers: dict[str, str] = {}
        self.potentials: set[str] = set()
        self.lines: list[Line] = []
        self.problems: dict[str, list[str]] = {}
        self.answer: tuple[str | None, FoldedAnswer | None, str] | None = None
        self.graph: Lowering

    def _problem(self, reason: str, *nodes: NirNode) -> None:
        for node in nodes or (None,):
            self.problems.setdefault(reason, []).append("" if node is None else str(node))

    def told(self) -> list[str]:
        """The problems in words, a line each."""
        made = []
        for reason, nodes in self.problems.items():
            where = f"{self.file.path}: "
            if nodes[0]:
                where += nodes[0] + (" " if reason.startswith(("has ", "keeps ")) else ": ")
            others = f" (also: {', '.join(nodes[1:])})" if len(nodes) > 1 else ""
            made.append(where + reason + others)
        return made

    def remarks(self) -> tuple[str, ...]:
        """What the libraries that wrote the file do not tell."""
        writers = dict.fromkeys(self.options.writer or node.metadata.get("writer")
                                for node in self.file.nodes.values() if node.name in self.mapped)
        known = [WRITERS[str(writer)] for writer in writers if writer is not None]
        made = [f"no file tells {writer.lost} of {writer.label}: taken as its defaults"
                for writer in known if writer.lost]
        for key, label in (("v_reset", "SpikingJelly"), ("v_leak", "Norse")):
            if None in writers and any(np.any(self.file.nodes[name].values.get(key, 0.0))
                                       for name in self.mapped):
                made.append(f"potentials start at 0; if {label} wrote the file, they start at "
                            f"{key}: --writer {label.lower()}")
        return tuple(made)

    # The graph ------------------------------------------------------------------------------------

    def order(self) -> list[NirNode]:
        """The nodes that no loop feeds, sources first. Loops, and types refused, are problems."""
        for node in self.file.nodes.values():
            if node.kind in _REFUSED:
                values = {key: told(np.asarray(value)) for key, value in node.values.items()}
                reason = _REFUSED[node.kind].format(**values)
                self._problem(reason, node)
                self._line(node, problem=reason)
        order, loops = ordered(self.sources)
        for loop in loops:
            names = " -> ".join(map(repr, [*loop, loop[0]]))
            self._problem(f"{names} is a loop: recurrent networks cannot be imported yet")
        return [self.file.nodes[name] for name in order]

    def input_shape(self) -> Shape | None:
        """(C, H, W) of the one Input; None where there is a problem with it."""
        inputs = [node for node in self.file.nodes.values()
                  if node.kind == "Input" and not self.sources[node.name]]
        if len(inputs) != 1:
            self._problem("the graph has no Input" if not inputs else
                          f"the graph has {len(inputs)} Inputs, the array takes one", *inputs)
            return None
        shape = self._batchless(numbers(inputs[0], "shape"))
        if not 1 <= len(shape) <= 3 or min(shape) < 1:
            self._problem(f"its shape {[*shape]} must have one to three sides: [N], [C, L] or "
                          "[C, H, W] without the batch; export with a sample that is a batch of "
                          "one", inputs[0])
            return None
        self.shapes[inputs[0].name] = shape
        return _map_shape(shape)

    def _batchless(self, shape: Sides) -> Sides:
        """A shape without the batch of one that Norse's exporter leaves in front of it."""
        batch = len(shape) == 4 or len(shape) == 2 and not self.signals
        return shape[1:] if batch and shape[0] == 1 else shape

    # Nodes ----------------------------------------------------------------------------------------

    def run(self, order: list[NirNode], graph: Lowering, start: Value) -> None:
        """Translate the nodes in this order."""
        self.graph = graph
        for node in order:
            if node.kind in _REFUSED:
                continue
            if node.name in self.shapes:
                self.values[node.name] = start
                continue
            sources = self.sources[node.name]
            if not sources:
                self._problem("nothing leads to it", node)
                continue
            if any(name not in self.values for name in sources):
                continue        # the reason stands at another node
            try:
                value, shape = self._inputs(node, sources)
                self.values[node.name], self.shapes[node.name] = self._node(node, value, shape)
            except ValueError as error:
                reasons = error.args if isinstance(error, Unmapped) else (str(error),)
                for reason in reasons:
                    self._problem(str(reason), node)
                self._line(node, problem="; ".join(map(str, reasons)))
        outputs = [node for node in self.file.nodes.values()
                   if node.kind == "Output" and not self.readers[node.name]]
        if len(outputs) != 1:
            self._problem("the graph has no Output" if not outputs else
                          f"the graph has {len(outputs)} Outputs, the array gives one answer",
                          *outputs)
        elif outputs[0].name in self.values and not self.problems:
            self._finish(outputs[0])

    def _line(self, node: NirNode, becomes: str = "", problem: str = "",
              condition: str = "") -> None:
        mapped = self.mapped.get(node.name)
        self.lines.append(Line(name=node.name, read=_described(node, mapped), becomes=becomes,
                               condition=condition, problem=problem))

    def _inputs(self, node: NirNode, names: list[str]) -> tuple[Value, Sides]:
        """The sum of what these nodes give."""
        value, shape = self.values[names[0]], self.shapes[names[0]]
        for name in self.potentials.intersection(names):
            if node.kind not in ("Flatten", "Input", "Output") or len(names) > 1:
                raise ValueError(f"reads the potential of {name!r}, which has no spikes: only the "
                                 "answer may be a potential")
            self.potentials.add(node.name)
        for name in names[1:]:
            if self.shapes[name] != shape:
                raise ValueError(f"adds {[*shape]} of {names[0]!r} and {[*self.shapes[name]]} of "
                                 f"{name!r}")
            value = self.graph.add(value, self.values[name])
        return value, shape

    def _node(self, node: NirNode, x: Value, shape: Sides) -> tuple[Value, Sides]:
        """What a node gives."""
        if node.kind in _NEURONS:
            return self._neuron(node, x, shape), shape
        if node.kind in LAYERS:
            x, shape = LAYERS[node.kind](self.graph, node, x, shape)
            self._line(node, described_value(x))
        elif (stated := numbers(node, "shape")) not in (shape, (1, *shape)):
            raise ValueError(f"states the shape {[*stated]}, what leads to it has {[*shape]}")
        return x, shape

    def _neuron(self, node: NirNode, x: Value, shape: Sides) -> Value:
        """A layer of neurons, or what the readout reads."""
        try:
            mapped = map_neuron(node, shape, x.shape[0], self.options)
        except Unmapped:        # a stand-in, so that the nodes behind it are looked at as well
            self.values[node.name] = self.graph.neuron(x, _STAND_IN, node.name)
            self.shapes[node.name] = shape
            raise
        self.mapped[node.name] = mapped
        if not mapped.spiking:
            self.potentials.add(node.name)
        if node.kind == "I" and self.wanted in (None, "current"):
            gain, scale = (torch.tensor(value, dtype=torch.float64)
                           for value in (mapped.form.gain, mapped.form.scale))
            self._line(node, "the readout: its last potential by the number of steps")
            return self.graph.affine(x, gain / scale, name=node.name)
        made = self.graph.neuron(x, mapped, node.name, module=node.name,
                                 notes=(mapped.condition,) if mapped.condition else ())
        layer = self.graph.layers[-1]
        self.layers[node.name] = layer.name
        self._line(node, f"layer {layer.name!r}, {' x '.join(map(str, layer.shape))}: "
                         f"{described_map(mapped)}", condition=mapped.condition)
        return made

    # The answer -----------------------------------------------------------------------------------

    def _finish(self, output: NirNode) -> None:
        """The answer that the Output gives, and where the graph ends."""
        name = output.name
        while self.file.nodes[name].kind in ("Output", "Flatten", "Input") \
                and len(self.sources[name]) == 1:
            name = self.sources[name][0]
        layer, mapped = self.layers.get(name), self.mapped.get(name)
        kinds = ("current",) if layer is None or mapped is None else \
            ("count", "membrane") if mapped.spiking else ("membrane",)
        kind = self.wanted or kinds[0]
        if kind not in kinds:
            self._problem(f"--answer {kind}: the network gives {' or '.join(kinds)}", output)
            return
        try:
            if kind == "current":
                self.graph.readout(self.values[output.name], "readout")
                self.answer = (None, None, kind)
                return
            shape = next(made.shape for made in self.graph.layers if made.name == layer)
            if kind == "membrane":
                assert mapped is not None
                self.answer = (layer, membrane_answer(mapped, shape, "last"), "membrane-last")
            else:
                check_pixel(shape)
                self.answer = (layer, None, kind)
        except ValueError as error:
            self._problem(str(error), self.file.nodes[name] if layer else output)


def _map_shape(shape: Sides) -> Shape:
    """(C, H, W) of a vector [N], a signal [C, L] or a map [C, H, W]."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return (shape[0], 1, 1) if len(shape) == 1 else (shape[0], 1, shape[1])


def _described(node: NirNode, mapped: MappedNeuron | None) -> str:
    """A node as read, for `explain`: its type and whole numbers, and the shape of its weights."""
    if mapped is not None:
        return mapped.text
    told = []
    for key, value in node.values.items():
        if isinstance(value, str) or value.dtype == np.int64:
            text = value if isinstance(value, str) else " x ".join(map(str, np.atleast_1d(value)))
            told.append(f"{key}={text}")
        elif value.ndim:
            told.append(f"{key} [{', '.join(map(str, value.shape))}]")
    return f"{node.kind}({', '.join(told)})"
