"""Recording: one run of a user's own `forward` becomes a graph of what fed what.

Hooks see the calls of modules that are known, a torch function mode sees all other operations on
tensors that come from the input. Time folds up by itself: a node is *the same* operation on *the
same* nodes, so the calls of a module in every time step are one node, called T times.

| written as | a module of neurons is | its step |
|---|---|---|
| a loop over time steps | called once a step | number of the call |
| multi-step modules | called once with all steps | none: the tensor has a time axis |

An operation that is in no table here becomes a node `unknown`. The translation refuses it by name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

from quadfire.models.frontends.copying import fresh_copy
from quadfire.models.frontends.neurons import CallForm, check_states

__all__ = ["Node", "Recording", "Ref", "Traced", "record"]


@dataclass(eq=False)
class Node:
    """One operation on earlier nodes.

    | field | meaning |
    |---|---|
    | kind | "input", "module", "neuron", "function" or "unknown" |
    | name | of the module, or of the function |
    | inputs | what it reads; of a neuron, its input current alone |
    | module | for modules and neurons |
    | arguments | of a function, apart from what it reads |
    | shape | of the tensor it gave at its first call |
    | where | name of the module whose `forward` called a function |
    | calls | how often it was called |
    | kept | what every call read and gave (input, output), if asked for |
    """

    kind: str
    name: str
    inputs: tuple["Ref", ...] = ()
    module: nn.Module | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    where: str = ""
    calls: int = 0
    kept: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def label(self) -> str:
        """The node as errors name it."""
        if self.kind in ("module", "neuron"):
            return f"layer {self.name!r}"
        inside = f" in {self.where!r}" if self.where else ""
        return f"{self.name!r}{inside}"


@dataclass(frozen=True)
class Ref:
    """One result of a node: port 0 is the first tensor that it gives."""

    node: Node
    port: int = 0


@dataclass(frozen=True)
class Traced:
    """What a tensor holds.

    | field | meaning |
    |---|---|
    | ref | the node that made it |
    | step | the time step, where a loop made it; None: all steps, or the same in all |
    | spread | a constant that was given a time axis |
    | over | "sum", "mean" or "last" of the time steps; empty: every step by itself |
    | steps | the steps that a sum holds so far; empty: all of an axis |
    """

    ref: Ref
    step: int | None = None
    spread: bool = False
    over: str = ""
    steps: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Recording:
    """The graph of a run.

    | field | meaning |
    |---|---|
    | nodes | in order of their first calls; the input comes first |
    | outputs | the tensors that `forward` gave, those that come from the input |
    | steps | how often the neurons were called, or their time axis is long; 1 for a single step |
    | time_axis | which axis of the example is time, where the network reads it so; None: none |
    """

    nodes: tuple[Node, ...]
    outputs: tuple[Traced, ...]
    steps: int
    time_axis: int | None


#: Functions that hand on what they get.
SAME = {"detach", "detach_", "clone", "contiguous", "to", "float", "double", "type", "cpu", "cuda",
        "requires_grad_", "type_as", "as_tensor", "alias", "bool", "int", "long"}
#: Functions that change the shape alone and keep the order of the values.
SHAPES = {"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as",
          "reshape_as", "squeeze_", "unsqueeze_"}
#: Functions that exchange axes.
AXES = {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t"}
#: Functions that repeat values along an axis.
SPREADS = {"expand", "repeat", "expand_as", "tile", "broadcast_to"}
#: Functions that take one or some steps.
INDICES = {"__getitem__", "select", "narrow", "index_select", "unbind", "split", "chunk"}
#: In-place and operator forms, by the name of the plain one.
PLAIN = {"__add__": "add", "__radd__": "add", "__iadd__": "add", "add_": "add",
         "__sub__": "sub", "__isub__": "sub", "sub_": "sub", "subtract": "sub",
         "__rsub__": "rsub", "__mul__": "mul", "__rmul__": "mul", "__imul__": "mul",
         "mul_": "mul", "multiply": "mul", "__truediv__": "div", "__itruediv__": "div",
         "div_": "div", "divide": "div", "true_divide": "div", "__neg__": "neg",
         "negative": "neg", "concat": "cat", "concatenate": "cat", "__and__": "logical_and",
         "bitwise_and": "logical_and"}
#: Functions that the translation knows, with a node of their own.
FUNCTIONS = {"add", "sub", "rsub", "mul", "div", "neg", "cat", "max_pool2d", "max_pool1d",
             "avg_pool2d", "avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool1d", "mean",
             "sum", "logical_and", "dropout"}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dictionaries, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from tensors_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors_in(each)
    elif hasattr(value, "__dict__") and not isinstance(value, nn.Module | type):
        for each in vars(value).values():
            if isinstance(each, Tensor):
                yield each


class _Recorder(TorchFunctionMode):
    """Watches one run. known: what kind of node a module is, "module", "neuron", or "" for none."""

    def __init__(self, root: nn.Module, known: Callable[[nn.Module], str],
                 form: Callable[[nn.Module], CallForm], keep: bool):
        super().__init__()
        self.root, self.known, self.form, self.keep = root, known, form, keep
        self.names = {module: name for name, module in root.named_modules()}
        self.nodes: list[Node] = []
        self.by_key: dict[tuple, Node] = {}
        self.values: dict[int, tuple[Tensor, Traced]] = {}
        self.inside = 0
        self.stack: list[str] = []
        self.lengths: dict[Node, int] = {}
        self.time_axis: int | None = None
        self.constants = {id(t) for t in (*root.parameters(), *root.buffers())}

    # Values ---------------------------------------------------------------------------------------

    def trace(self, tensor: Tensor, value: Traced) -> None:
        self.values[id(tensor)] = (tensor, value)       # the tensor stays, so that its id does

    def traced(self, value: Any) -> list[Traced]:
        """What the traced tensors in a value hold."""
        return [self.values[id(t)][1] for t in tensors_in(value) if id(t) in self.values]

    def node(self, kind: str, name: str, inputs: tuple[Ref, ...], shape: tuple[int, ...],
             module: nn.Module | None = None, **arguments: Any) -> Node:
        """The node of this operation; a new one if it is the first call."""
        key = (kind, name, id(module), inputs, repr(sorted(arguments.items())))
        if key not in self.by_key:
            where = self.stack[-1] if self.stack else ""
            self.by_key[key] = Node(kind, name, inputs, module, arguments, shape, where)
            self.nodes.append(self.by_key[key])
        return self.by_key[key]

    @staticmethod
    def common(name: str, values: list[Traced]) -> Traced:
        """The time of an operation on several values."""
        steps = {value.step for value in values} - {None}
        if len(steps) > 1:
            raise ValueError(f"{name} reads time steps {sorted(map(str, steps))[0]} and "
                             f"{sorted(map(str, steps))[1]} at once: layers that mix time steps "
                             "cannot be imported yet")
        over = {value.over for value in values}
        if len(over) > 1:
            raise ValueError(f"{name} joins a sum over time with single steps")
        return replace(values[0], step=steps.pop() if steps else None,
                       spread=any(value.spread for value in values))

    # Modules --------------------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        self.stack.append(self.names[module])
        if not self.inside and self.known(module):
            self.call = (args, kwargs)
        self.inside += bool(self.inside or self.known(module))

    def leave(self, module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        name = self.stack.pop()
        if self.inside:
            self.inside -= 1
        kind = self.known(module)
        if self.inside or not kind:
            return
        first = next(tensors_in((args, kwargs)), None)
        if first is None or id(first) not in self.values:
            raise ValueError(f"layer {name!r} reads a tensor that does not come from the input by "
                             "recorded operations: random numbers, a custom autograd function or "
                             "a constant; draw spikes before the network")
        value = self.values[id(first)][1]
        if kind == "neuron":
            value = self.neuron(module, name, value, first, (args, kwargs), result)
        else:
            node = self.node(kind, name, (value.ref,), tuple(next(tensors_in(result)).shape),
                             module)
            node.calls += 1
            value = replace(self.whole(value, node.label), ref=Ref(node))
        if self.keep and kind == "neuron":
            given = next(tensors_in(result))
            value.ref.node.kept.append((first.detach().clone(), given.detach().clone()))
        for port, tensor in enumerate(tensors_in(result)):
            self.trace(tensor, replace(value, ref=Ref(value.ref.node, port)))

    def whole(self, value: Traced, label: str) -> Traced:
        """A value for a linear operation: a sum over time must be complete, and becomes T means."""
        if value.over == "last":
            raise ValueError(f"{label} reads the last time step alone: only the answer may")
        if value.over == "sum":
            node = self.node("function", "steps", (value.ref,), value.ref.node.shape)
            return replace(value, ref=Ref(node), over="mean", steps=frozenset())
        return value

    def neuron(self, module: nn.Module, name: str, value: Traced, current: Tensor, given: Any,
               result: Any) -> Traced:
        """A call of neurons with an input current. given: all that the call was given."""
        if value.over:
            raise ValueError(f"layer {name!r} reads a {value.over} over time steps: neurons read "
                             "every step")
        node = self.node("neuron", name, (value.ref,), tuple(next(tensors_in(result)).shape),
                         module)
        form = self.form(module)
        if form.time == "sequence":
            node.calls += 1
            if node.calls > 1:
                raise ValueError(f"layer {name!r} was called {node.calls} times with all time "
                                 "steps: give every layer a module of its own")
            if not value.spread and not self.behind_neurons(node):
                self.time_axis = max(form.layout.find("T"), 0)
            self.lengths[node] = _length(form, current)
            return replace(value, ref=Ref(node), spread=False, over=form.decoded or "")
        step = node.calls
        node.calls += 1
        if value.step not in (None, step):
            raise ValueError(f"layer {name!r} reads time step {value.step} in its step {step}: "
                             "delays cannot be imported yet")
        states = list(tensors_in(given))[1:]
        self.check_states(name, node, step, states)
        others = [other for other in self.nodes
                  if other.module is module and other is not node and other.kind == "neuron"]
        if others:
            self.refuse_second_place(name, node, others[0], bool(states))
        return replace(value, ref=Ref(node), step=step, spread=False)

    def refuse_second_place(self, name: str, node: Node, other: Node, by_hand: bool) -> None:
        """A module of neurons that reads another value than in its first call."""
        if self.depends(node.inputs[0].node, node.module):
            raise ValueError(f"{self.loop(node.inputs[0].node, node.module, name)} is a loop: "
                             "recurrent networks cannot be imported yet")
        if not by_hand:
            raise ValueError(f"layer {name!r} reads {node.inputs[0].node.label} and "
                             f"{other.inputs[0].node.label}: its state would be shared, give "
                             "every layer neurons of its own")

    @staticmethod
    def behind_neurons(node: Node) -> bool:
        """Whether what a node reads comes from neurons; else from the input alone."""
        open_ = [ref.node for ref in node.inputs]
        while open_:
            at = open_.pop()
            if at.kind == "neuron":
                return True
            open_ += [ref.node for ref in at.inputs]
        return False

    @staticmethod
    def depends(node: Node, module: nn.Module | None) -> bool:
        """Whether a node needs results of a module."""
        open_, seen = [node], set()
        while open_:
            at = open_.pop()
            if at.module is module and module is not None:
                return True
            if id(at) not in seen:
                seen.add(id(at))
                open_ += [ref.node for ref in at.inputs]
        return False

    def loop(self, node: Node, module: nn.Module | None, name: str) -> str:
        """The loop from a module back to itself, for an error."""
        path = [repr(name)]
        while node.module is not module:
            path.append(repr(node.name))
            node = next(ref.node for ref in node.inputs if self.depends(ref.node, module))
        return " -> ".join([repr(name), *reversed(path[1:]), repr(name)])

    def check_states(self, name: str, node: Node, step: int, states: list[Tensor]) -> None:
        """States that come by hand are zero in the first step, and then those that came back."""
        for state in states:
            known = self.values.get(id(state))
            if known is None and not step:
                try:
                    check_states(node.module, *states)
                except ValueError as error:
                    raise ValueError(f"layer {name!r}: {error}") from None
                return
            if known is None:
                raise ValueError(f"layer {name!r}: the state that it gets in step {step} was not "
                                 "recorded: hand on the state that it gave")
            value = known[1]
            if value.ref.node is not node or value.step != step - 1:
                raise ValueError(f"layer {name!r}: the state that it gets in step {step} comes "
                                 f"from {value.ref.node.label}: hand on the state that it gave")

    # Functions ------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _TO_SINGLE:              # spike functions of snnTorch do: all is float64 here
            func = Tensor.double
        result = func(*args, **kwargs)
        if self.inside:
            return result
        values = self.traced((args, kwargs))
        if not values:
            return result
        name = getattr(func, "__name__", str(func))
        if name == "__get__" or not any(isinstance(t, Tensor) for t in tensors_in(result)):
            name = (resolve_name(func) or name).rsplit(".__get__", 1)[0].rsplit(".", 1)[-1]
            if name in ("T", "mT"):
                name = "transpose"
            elif name != "data":
                return result
        name = PLAIN.get(name, name)
        self.function(name, values, args, kwargs, result)
        return result

    def function(self, name: str, values: list[Traced], args: tuple, kwargs: dict,
                 result: Any) -> None:
        """Trace what a function outside of known modules gave."""
        results = list(tensors_in(result))
        if name in SAME or name == "data":
            made = [values[0]] * len(results)
        elif name in SHAPES or name in AXES:
            made = [self.reshaped(name, values[0], args[0], results[0])]
        elif name in SPREADS:
            made = [replace(values[0], spread=values[0].spread or values[0].step is None)]
        elif name in INDICES:
            made = self.indexed(name, values[0], args, kwargs, results)
        elif name == "stack" or (name == "cat" and len({v.ref for v in values}) == 1):
            made = [self.stacked(name, values)]
        else:
            made = [self.computed(name, values, args, kwargs, results[0])] * len(results)
        for tensor, value in zip(results, made, strict=True):
            self.trace(tensor, value)

    @staticmethod
    def map_axes(ref: Ref, shape: tuple[int, ...]) -> int:
        """How many trailing axes of a tensor hold one sample's map; 0 where that is not known."""
        node = ref.node
        while node.kind not in ("module", "input", "neuron") or (
                node.kind == "neuron" or isinstance(node.module, nn.Dropout | nn.Identity)):
            if not node.inputs:
                return 0
            node = node.inputs[0].node
        if node.kind == "input":
            return 0
        is_map = not isinstance(node.module, nn.Linear)
        signal = isinstance(node.module, nn.Conv1d | nn.AvgPool1d | nn.MaxPool1d)
        return (2 if signal else 3) if is_map else 1

    def reshaped(self, name: str, value: Traced, before: Tensor, after: Tensor) -> Traced:
        """A change of shape that keeps the order of a map's values."""
        if name in AXES:
            axes = self.map_axes(value.ref, tuple(before.shape))
            kept = before.shape[before.ndim - axes:] == after.shape[after.ndim - axes:]
            strides = before.stride()[before.ndim - axes:] == after.stride()[after.ndim - axes:]
            if axes and not (kept and strides) or not axes and before.ndim > 2 \
                    and before.stride()[-1] != after.stride()[-1]:
                node = self.node("unknown", name, (value.ref,), tuple(after.shape))
                return replace(value, ref=Ref(node))
        return value

    def indexed(self, name: str, value: Traced, args: tuple, kwargs: dict,
                results: list[Tensor]) -> list[Traced]:
        """Parts of a tensor: single steps, or all of an axis."""
        source = value.ref.node
        if name == "unbind":
            axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            if axis in (0, 1) and value.step is None and not value.over:
                if source.kind == "input" and not value.spread:
                    self.time_axis = axis
                return [self.at_step(value, step) for step in range(len(results))]
        if name == "__getitem__":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            whole = [i for i in index if i in (slice(None), Ellipsis)] \
                if not any(isinstance(i, Tensor) for i in index) else []
            numbers = [(place, i) for place, i in enumerate(index) if isinstance(i, int)
                       and not isinstance(i, bool)]
            if len(whole) == len(index) and index:
                return [value]
            if len(numbers) == 1 and len(whole) == len(index) - 1 and numbers[0][0] in (0, 1) \
                    and value.step is None and not value.over:
                (place, step), = numbers
                length = args[0].shape[place]
                if source.kind == "input" and not value.spread:
                    self.time_axis = place
                return [self.at_step(value, step % length, last=step % length == length - 1)]
        node = self.node("unknown", name, (value.ref,), tuple(results[0].shape),
                         index=repr(args[1:]))
        return [replace(value, ref=Ref(node))] * len(results)

    @staticmethod
    def at_step(value: Traced, step: int, last: bool = False) -> Traced:
        """One step of a value that has a time axis; the same value, where it is a constant."""
        if value.spread:
            return value
        if value.ref.node.kind != "input" and last:
            return replace(value, over="last")
        return replace(value, step=step)

    def stacked(self, name: str, values: list[Traced]) -> Traced:
        """Time steps of one node behind each other."""
        first = values[0]
        if any(value.ref != first.ref for value in values):
            node = self.node("unknown", name, tuple(value.ref for value in values), ())
            return Traced(Ref(node))
        steps = [value.step for value in values]
        if steps == list(range(len(values))):
            return replace(first, step=None)
        if set(steps) == {None}:
            return replace(first, spread=True)
        raise ValueError(f"{name!r} puts time steps {steps} of {first.ref.node.label} together: "
                         "they must be all, in order")

    def computed(self, name: str, values: list[Traced], args: tuple, kwargs: dict,
                 result: Tensor) -> Traced:
        """An operation with numbers."""
        if name in ("add", "sum", "mean") and (made := self.over_time(name, values, args, kwargs)):
            return made
        constants = [t for t in tensors_in((args, kwargs)) if id(t) not in self.values]
        for constant in constants:
            if constant.numel() > 1 and id(constant) not in self.constants:
                name = f"{name} with a tensor that is no weight"
        kind = "function" if name in FUNCTIONS else "unknown"
        common = self.common(repr(name), [self.whole(value, repr(name)) for value in values])
        arguments = {"args": tuple(_argument(a, self.values) for a in args),
                     **{key: _argument(a, self.values) for key, a in kwargs.items()}}
        node = self.node(kind, name, tuple(
            self.whole(value, name).ref for value in values), tuple(result.shape), **arguments)
        node.calls += 1
        node.arguments["rank"] = result.ndim
        return replace(common, ref=Ref(node))

    def over_time(self, name: str, values: list[Traced], args: tuple,
                  kwargs: dict) -> Traced | None:
        """A sum or mean over time steps; None where it is over something else."""
        first = values[0]
        if name == "add":
            if len(values) == 1 and kwargs.get("alpha", 1) == 1:
                other = args[1] if isinstance(args[0], Tensor) and id(args[0]) in self.values \
                    else args[0]
                start = isinstance(other, int | float) and other == 0 or \
                    isinstance(other, Tensor) and not other.any() and id(other) not in \
                    self.constants
                return first if start else None
            if len(values) == 2 and values[0].ref == values[1].ref and (
                    values[0].step != values[1].step or values[0].over):
                steps = [v.steps or frozenset({v.step}) for v in values if v.step is not None
                         or v.over]
                if len(steps) == 2 and not steps[0] & steps[1]:
                    return Traced(first.ref, over="sum", steps=steps[0] | steps[1])
            return None
        axes = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
        axes = [axes] if isinstance(axes, int) else axes
        rank = args[0].ndim
        if axes is not None and len(axes) == 1 and axes[0] % rank in (0, 1) and first.step is None \
                and rank - self.map_axes(first.ref, tuple(args[0].shape)) > axes[0] % rank \
                and not first.over:
            return replace(first, over=name)
        return None


#: Functions that would leave float64.
_TO_SINGLE = (Tensor.float, Tensor.half, Tensor.bfloat16)


@contextmanager
def _double() -> Iterator[None]:
    """A context in which new tensors are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _argument(value: Any, traced: dict[int, Any]) -> Any:
    """An argument as a node keeps it: traced tensors by a mark, weights as they are."""
    if isinstance(value, Tensor):
        return "..." if id(value) in traced else value
    if isinstance(value, list | tuple):
        return tuple(_argument(each, traced) for each in value)
    return value


@torch.no_grad()
def record(module: nn.Module, example: Tensor, *, known: Callable[[nn.Module], str],
           form: Callable[[nn.Module], CallForm], keep: bool = False,
           repeat: int = 0) -> Recording:
    """Run a copy of `module` on `example` in eval mode and float64, and record it.

    | argument | meaning |
    |---|---|
    | known | "module" or "neuron" for modules that count as one node, "" for all others |
    | form | how a module of neurons is called |
    | keep | keep what every call of neurons read and gave |
    | repeat | call the module so often, for every step of an example [T, N, ...]; 0: once |

    Raises ValueError naming the layer where the time steps do not repeat one pattern.
    """
    module = fresh_copy(module).double().eval()
    example = example.double()
    recorder = _Recorder(module, known, form, keep)
    source = recorder.node("input", "input", (), tuple(example.shape))
    recorder.trace(example, Traced(Ref(source)))
    hooks = [hook for each in module.modules() for hook in (
        each.register_forward_pre_hook(recorder.enter, with_kwargs=True),
        each.register_forward_hook(recorder.leave, with_kwargs=True))]
    try:
        with _double(), recorder:
            result = [module(example[step]) for step in range(repeat)] if repeat \
                else module(example)
    finally:
        for hook in hooks:
            hook.remove()
    outputs = [recorder.values[id(t)][1] for t in tensors_in(result) if id(t) in recorder.values]
    if not outputs:
        raise ValueError("what the network gives does not come from its input by recorded "
                         "operations")
    return Recording(tuple(recorder.nodes), tuple(outputs), _steps(recorder),
                     recorder.time_axis)


def _steps(recorder: _Recorder) -> int:
    """How often neurons were called. Raises ValueError where they were not called alike."""
    lengths = {node: recorder.lengths.get(node, node.calls) for node in recorder.nodes
               if node.kind == "neuron"}
    first = next(iter(lengths), None)
    if first is None:
        return 1
    for node, length in lengths.items():
        if length != lengths[first]:
            raise ValueError(f"steps differ: {first.name!r} ran {lengths[first]}, {node.name!r} "
                             f"{length}: the graph must be the same in every step")
    return lengths[first]


def _length(form: CallForm, current: Tensor) -> int:
    """Time steps of a current that a multi-step module takes."""
    if form.layout != "(NT)":
        return current.shape[form.layout.index("T")]
    if form.num_timesteps > 0:
        return form.num_timesteps
    return current.shape[0] // max(form.batch_size, 1)
