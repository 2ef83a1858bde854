"""Translation: a recorded graph becomes a `Folded` graph, node by node.

| node | becomes |
|---|---|
| Conv1d, Conv2d, Linear, norms, pools, sums, factors | numbers of a `Lowering` value |
| neurons, AND of spikes | a layer |
| Flatten, Dropout, Identity, all that moves values | nothing, see `provenance` |

Every problem is collected, so that a user sees all of them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends import neurons
from quadfire.models.frontends.functions import HINTS, UNKNOWN
from quadfire.models.frontends.graph import map_sides
from quadfire.models.frontends.imported import Line
from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons import CallForm
from quadfire.models.frontends.recording import Node, Recording, Ref, Traced
from quadfire.models.integer import Pool, Shape
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.neurons.tdbn import TDBatchNorm
from quadfire.models.quantize import modules
from quadfire.models.quantize.lowering import Lowering
from quadfire.models.quantize.values import Current, Maps, Value, binary

__all__ = ["Translation", "described_map", "described_value", "form_of", "kind_of"]

#: Layers of other libraries that compute what the torch layer that they derive from computes.
TRUSTED = tuple(("spikingjelly.activation_based", name) for name in (
    "Conv1d", "Conv2d", "Linear", "BatchNorm1d", "BatchNorm2d", "AvgPool1d", "AvgPool2d",
    "MaxPool1d", "MaxPool2d", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d"))
LINEAR = (nn.Linear, nn.Conv2d, nn.Conv1d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm1d, TDBatchNorm)
POOLS = (nn.AvgPool2d, nn.AvgPool1d, nn.MaxPool2d, nn.MaxPool1d, nn.AdaptiveAvgPool2d,
         nn.AdaptiveAvgPool1d)
#: Modules of libraries that are no torch layers, by class: what the translation does with them.
SUM_POOL = ("sinabs.layers", "SumPool2d")
VOTING = ("spikingjelly.activation_based", "VotingLayer")


def _in(module: Any, wanted: tuple[str, str]) -> bool:
    """Whether a module's class has this name and comes from that package."""
    return type(module).__qualname__ == wanted[1] and \
        f"{type(module).__module__}.".startswith(f"{wanted[0]}.")


def kind_of(module: nn.Module) -> str:
    """What a module is for the recorder: "neuron", "module", or "" for all that is transparent."""
    if isinstance(module, SpikingNeuron) or neurons.is_neuron(module):
        return "neuron"
    known = isinstance(module, (*LINEAR, *NORMS, *POOLS))
    return "module" if known or _in(module, SUM_POOL) or _in(module, VOTING) else ""


def form_of(module: nn.Module) -> CallForm:
    """How a module of neurons is called."""
    if isinstance(module, SpikingNeuron):
        sequence = module.step_mode == "m"
        return CallForm(time="sequence" if sequence else "step", layout="TN" if sequence else "N")
    return neurons.call_form(module)


def _size(shape: tuple[int, ...]) -> int:
    result = 1
    for n in shape:
        result *= n
    return result


def _times(shape: Shape) -> str:
    return " x ".join(map(str, shape))


@dataclass
class Translation:
    """The work of one translation, and what it found.

    | field | meaning |
    |---|---|
    | recording | the graph to translate |
    | graph | where the layers go; made by `run` |
    | values | what every node holds |
    | mapped | the neuron of every node of neurons |
    | lines | a line a node, for `explain` |
    | problems | what cannot be honoured |
    | layer_of | the layer that a node of neurons became |
    """

    recording: Recording
    input_shape: Shape
    start: Callable[[Lowering], Value]
    steps: int
    graph: Lowering
    values: dict[Node, Value] = field(default_factory=dict)
    mapped: dict[Node, MappedNeuron] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    layer_of: dict[Node, str] = field(default_factory=dict)

    def run(self) -> None:
        """Translate all nodes that the outputs need."""
        needed = self._needed()
        for node in self.recording.nodes:
            if node not in needed:
                continue
            if node.kind == "input":
                self.values[node] = self.start(self.graph)
                continue
            missing = [ref for ref in node.inputs if ref.node not in self.values]
            if missing:
                continue        # the reason stands in an earlier line
            try:
                self.values[node] = self._translated(node)
            except ValueError as error:
                text = str(error)
                problem = text if text.startswith(node.label) else f"{node.label}: {text}"
                self.problems.append(problem)
                self._line(node, "", problem)
                stand_in = self._stand_in(node)
                if stand_in is not None:
                    self.values[node] = stand_in

    def _stand_in(self, node: Node) -> Value | None:
        """A value in place of one that could not be made, so that what follows is looked at, too.

        Nothing is built of it: a problem has been found.
        """
        x = self.values[node.inputs[0].node] if node.inputs else None
        if x is None or node.kind == "unknown":
            return None
        if node.kind == "neuron":
            return Lowering(x.shape).input
        graph = Lowering(self.input_shape, move_pools=True)
        before, lines = self.graph, [*self.lines]
        try:
            self.graph = graph
            return self._translated(node)
        except ValueError:
            return None
        finally:
            self.graph, self.lines = before, lines

    def _needed(self) -> set[Node]:
        """All nodes that an output comes from, and all neurons, which a user wants to hear of."""
        open_ = [output.ref.node for output in self.recording.outputs]
        found: set[Node] = set()
        while open_:
            node = open_.pop()
            if node not in found:
                found.add(node)
                open_ += [ref.node for ref in node.inputs]
        return found

    def _line(self, node: Node, becomes: str, problem: str = "", condition: str = "",
              changed: str = "") -> None:
        read = self.mapped[node].text if node in self.mapped else _described(node)
        self.lines.append(Line(name=node.name, read=read, becomes=becomes, condition=condition,
                               problem=problem, changed=changed))

    def _inputs(self, node: Node) -> list[Value]:
        """What a node reads. Only the first result of a neuron, its spikes, can be read."""
        for ref in node.inputs:
            if ref.port and ref.node.kind == "neuron":
                raise ValueError(f"reads the membrane potential of {ref.node.name!r}, layers read "
                                 "spikes")
            if ref.node in self.mapped and not self.mapped[ref.node].spiking:
                raise ValueError(f"reads the potential of {ref.node.name!r}, which has no spikes: "
                                 "only the answer may be a potential")
        return [self.values[ref.node] for ref in node.inputs]

    def _translated(self, node: Node) -> Value:
        inputs = self._inputs(node)
        if node.kind == "neuron":
            value = self._neuron(node, inputs[0])
        elif node.kind == "module":
            value = self._module(node, inputs[0])
            self._line(node, described_value(value), changed=_changed(inputs, value))
        elif node.kind == "function":
            value = _FUNCTIONS[node.operation](self, node, inputs)
            self._line(node, described_value(value), changed=_changed(inputs, value))
        else:
            raise ValueError(HINTS.get(node.name, UNKNOWN))
        return value

    # Neurons --------------------------------------------------------------------------------------

    def _neuron(self, node: Node, x: Value) -> Value:
        module: Any = node.module
        if isinstance(module, SpikingNeuron):
            form = module.canonical()
            mapped = MappedNeuron(form=form, text=repr(module), window=float(module.window),
                                  surrogate=module.surrogate)
        else:
            mapped = neurons.read(module, self._sample_shape(node, x))
        self.mapped[node] = mapped
        if mapped.before is not None:
            x = self.graph.linear(x, *modules.linear(node.label, mapped.before), name=node.name)
        channels = mapped.form.channels
        if channels not in (None, 1, x.shape[0]):
            raise ValueError(f"has values for {channels} channels, its map has {x.shape[0]}")
        value = torch.tensor(mapped.spike_value, dtype=torch.float64)
        made = self.graph.neuron(x, mapped, node.name, spike_value=value, module=node.name,
                                 notes=(mapped.condition,) if mapped.condition else ())
        layer = self.graph.layers[-1]
        self.layer_of[node] = layer.name
        self._line(node, f"layer {layer.name!r}, {_times(layer.shape)}: {described_map(mapped)}",
                   condition=mapped.condition)
        return made

    @staticmethod
    def _sample_shape(node: Node, x: Value) -> tuple[int, ...]:
        """(C, H, W), or (C,) where the module saw vectors."""
        return node.sides if map_sides(node.sides) == x.shape else x.shape

    # Modules --------------------------------------------------------------------------------------

    def _module(self, node: Node, x: Value) -> Value:
        module: Any = node.module
        trusted, name = any(_in(module, layer) for layer in TRUSTED), node.label
        if isinstance(module, nn.Linear):
            weight, bias = modules.linear(name, module, trusted=trusted)
            return self.graph.linear(x, weight, bias, name=node.name)
        if isinstance(module, LINEAR):
            found = modules.convolution(name, module, trusted=trusted)
            return self.graph.conv(x, found.weight, found.bias, stride=found.stride,
                                   padding=found.padding, name=node.name)
        if isinstance(module, NORMS):
            scale, shift = modules.norm(name, module, trusted=trusted)
            if len(scale) != x.shape[0]:
                raise ValueError(f"has {len(scale)} features, its map of {_times(x.shape)} has "
                                 f"{x.shape[0]} channels")
            return self.graph.affine(x, scale, shift, name=node.name)
        if _in(module, VOTING):
            return self._voting(x, int(module.voting_size), node.name)
        if _in(module, SUM_POOL):
            size = modules.pair(module.kernel_size)
            stride = size if module.stride is None else modules.pair(module.stride)
            modules.check_ceil_mode(name, module, x.shape, size, stride)
            return self.graph.pool(x, Pool(kind="sum", size=size, stride=stride), name=node.name)
        window = modules.pool(name, module, x.shape, trusted=trusted)
        return self.graph.pool(x, window.pool, divisor=window.divisor, name=node.name)

    def _voting(self, x: Value, size: int, name: str) -> Value:
        """The mean of every `size` neurons: a fully connected layer."""
        groups, rest = divmod(x.shape[0], size)
        if rest or x.shape[1:] != (1, 1):
            raise ValueError(f"votes in groups of {size}, its map is {_times(x.shape)}")
        weight = torch.eye(groups, dtype=torch.float64).repeat_interleave(size, 1) / size
        return self.graph.linear(x, weight, name=name)

    # Functions ------------------------------------------------------------------------------------

    def _steps(self, node: Node, inputs: list[Value]) -> Value:
        """A sum over all time steps, as T times the mean."""
        return self.graph.affine(inputs[0], float(self.steps))

    def _affine(self, node: Node, inputs: list[Value]) -> Value:
        scale, shift = node.arguments["scale"], node.arguments["shift"]
        for value in (scale, shift):
            if not torch.isfinite(value).all():
                raise ValueError("computes with a constant that is NaN or infinite")
            if value.numel() not in (1, inputs[0].shape[0]):
                raise ValueError(f"computes with {value.numel()} constants, its map of "
                                 f"{_times(inputs[0].shape)} has {inputs[0].shape[0]} channels")
        return self.graph.affine(inputs[0], scale, shift)

    def _sum(self, node: Node, inputs: list[Value]) -> Value:
        scaled = [x if factor == 1 else self.graph.affine(x, float(factor))
                  for x, factor in zip(inputs, node.arguments["factors"], strict=True)]
        return self.graph.add(scaled[0], scaled[1])

    def _product(self, node: Node, inputs: list[Value]) -> Value:
        first, second = inputs
        return self.graph.product(first, second, f"and{len(self.graph.layers)}")

    def _spikes(self, node: Node, inputs: list[Value]) -> Value:
        if not binary(inputs[0]):
            raise ValueError("makes integers or truth values of something other than spikes")
        return inputs[0]

    def _not(self, node: Node, inputs: list[Value]) -> Value:
        return self.graph.affine(self._spikes(node, inputs), -1.0, 1.0)

    def _cat(self, node: Node, inputs: list[Value]) -> Value:
        return self.graph.cat(inputs)

    def _channels(self, node: Node, inputs: list[Value]) -> Value:
        return self.graph.channels(inputs[0], node.arguments["first"], node.arguments["count"])

    def _pool(self, node: Node, inputs: list[Value]) -> Value:
        """A functional pool, read by the module that it corresponds to."""
        window = modules.pool(node.label, node.arguments["module"], inputs[0].shape)
        return self.graph.pool(inputs[0], window.pool, divisor=window.divisor)

    def _linear(self, node: Node, inputs: list[Value]) -> Value:
        weight, bias = self._weights(node)
        return self.graph.linear(inputs[0], weight, bias)

    def _conv(self, node: Node, inputs: list[Value]) -> Value:
        weight, bias = self._weights(node)
        module = node.arguments["module"]
        module.weight = nn.Parameter(weight, requires_grad=False)
        found = modules.convolution(node.label, module)
        return self.graph.conv(inputs[0], found.weight, bias, stride=found.stride,
                               padding=found.padding)

    @staticmethod
    def _weights(node: Node) -> tuple[Tensor, Tensor | None]:
        weight, bias = node.arguments["weight"], node.arguments.get("bias")
        for value in (weight, bias):
            if value is not None and not torch.isfinite(value).all():
                raise ValueError("has weights that are NaN or infinite")
        return weight, bias

    def _area(self, node: Node, inputs: list[Value]) -> Value:
        """The mean or sum over the rows and columns of a map."""
        x, = inputs
        size = x.shape[1:]
        divisor = float(size[0] * size[1]) if node.arguments["mean"] else 1.0
        return self.graph.pool(x, Pool(kind="sum", size=size, stride=size), divisor=divisor)

    # The answer -----------------------------------------------------------------------------------

    def answer(self, wanted: str | None) -> tuple[str, Traced, Node]:
        """(count, current or membrane; the output; its node): which output the map gives.

        Raises ValueError where the outputs have no such answer.
        """
        found: dict[str, tuple[str, Traced, Node]] = {}
        for output in self.recording.outputs:
            ref, factor = self._stripped(output.ref)
            node, kind = ref.node, "current"
            if node.kind == "neuron":
                module: Any = node.module
                form = None if isinstance(module, SpikingNeuron) else form_of(module)
                potential = bool(ref.port) or (form and form.returns == "membrane")
                kind = "membrane" if potential else "count"
            if kind == "count" and not _one_value(self.mapped.get(node)):
                kind = "current"            # spikes of channels count differently
            if kind == "current" and abs(factor - 1) > 1e-9:
                node = output.ref.node
            if kind != "membrane" and output.over == "max":
                raise ValueError(f"the answer is the largest {kind} of all time steps, which the "
                                 "array does not answer: take the sum or the mean")
            found.setdefault(kind, (kind, output, node))
        if wanted is None:
            return next(iter(found.values()))
        if wanted not in found:
            raise ValueError(f"--answer {wanted}: the network gives {' and '.join(found)}")
        return found[wanted]

    def _stripped(self, ref: Ref) -> tuple[Ref, float]:
        """(what is behind products with positive numbers, their product).

        They change neither which count is the largest nor which potential.
        """
        node, factor = ref.node, 1.0
        while node.operation == "steps" or node.operation == "affine" and \
                node.arguments["scale"].numel() == 1 and node.arguments["scale"] > 0 and \
                not node.arguments["shift"].any():
            factor *= self.steps if node.operation == "steps" else float(node.arguments["scale"])
            ref = node.inputs[0]
            node = ref.node
        return ref, factor


_FUNCTIONS: dict[str, Callable[[Translation, Node, list[Value]], Value]] = {
    "steps": Translation._steps, "affine": Translation._affine, "add": Translation._sum,
    "product": Translation._product, "spikes": Translation._spikes, "not": Translation._not,
    "cat": Translation._cat, "channels": Translation._channels, "pool": Translation._pool,
    "linear": Translation._linear, "conv": Translation._conv, "area": Translation._area}


def _one_value(mapped: MappedNeuron | None) -> bool:
    """Whether all spikes of a layer count alike."""
    return mapped is None or isinstance(mapped.spike_value, int | float) and mapped.spike_value > 0


def _changed(inputs: list[Value], value: Value) -> str:
    """What an operation makes of the network that it was not; empty: nothing."""
    def moved(x: Value) -> int:
        return len(x.moved) if isinstance(x, Current) else 0

    return "moved behind the neurons" if moved(value) > sum(map(moved, inputs)) else ""


def _described(node: Node) -> str:
    """A node as read, for `explain`."""
    if node.module is not None:
        text = repr(node.module)
        return text if len(text) < 100 and "\n" not in text else type(node.module).__name__
    return f"{node.name}()"


def described_value(value: Value) -> str:
    """What a node that is no layer becomes."""
    kind = "currents" if isinstance(value, Current) else "spikes"
    assert isinstance(value, Maps | Current)
    return f"{kind} of {_times(value.shape)}"


def described_map(mapped: MappedNeuron) -> str:
    """The canonical map of a neuron in words."""
    form = mapped.form
    x = "w" if form.factor is None else f"{form.factor:g}"
    fires = ">" if form.strict else ">="
    after = f"w - {form.delta:g}" if form.soft else f"{form.reset:g}"
    if not mapped.spiking:
        return f"w' = {x} w + J, never fires"
    return f"w' = {x} w + J, fires {fires} {form.theta:g}, then {after}"
