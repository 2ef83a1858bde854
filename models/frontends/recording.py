"""Recording: one run of a user's own `forward` becomes a graph of what fed what.

Hooks see the calls of modules that are known, a torch function mode sees all other operations on
tensors that come from the input. Both write into one graph:

| file | holds |
|---|---|
| recorded.py | nodes and the finished graph |
| provenance.py | where every value of a tensor comes from |
| graph.py | the graph while it grows |
| functions.py, operations.py | functions by name; what each becomes |
| arithmetic.py, reductions.py | sums and products; sums and means over axes |
| stepping.py | calls of neurons, time steps, states |

Time is written in one of two ways, which become the same graph:

| written as | a module of neurons is |
|---|---|
| a loop over time steps | called once a step |
| multi-step modules | called once with all steps |

An operation that is in no table becomes a node `unknown`. The translation refuses it by name.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from quadfire.models.frontends.copying import fresh_copy
from quadfire.models.frontends.functions import HINTS, UNKNOWN, plain_name
from quadfire.models.frontends.graph import Graph, Source, tensors_in
from quadfire.models.frontends.neurons import CallForm
from quadfire.models.frontends.operations import Operations
from quadfire.models.frontends.provenance import Example, Results, sample_of, step_of
from quadfire.models.frontends.recorded import Node, Recording, Ref, Traced
from quadfire.models.frontends.stepping import Stepping
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["Node", "Recording", "Ref", "Traced", "record"]

#: Functions that would leave float64.
_TO_SINGLE = (Tensor.float, Tensor.half, Tensor.bfloat16)
_DATA = Tensor.data.__get__     # pyright: ignore[reportAttributeAccessIssue]


class _Recorder(TorchFunctionMode):
    """Watches one run. known: what kind of node a module is, "module", "neuron", or "" for none."""

    def __init__(self, root: nn.Module, example: Tensor, known: Callable[[nn.Module], str],
                 form: Callable[[nn.Module], CallForm], keep: bool):
        super().__init__()
        self.known, self.keep = known, keep
        self.names = {module: name for name, module in root.named_modules()}
        self.hooked = {module for module in root.modules()
                       if module._forward_hooks or module._forward_pre_hooks}
        self.graph = Graph(Example(tuple(example.shape)), Results(Example(())))
        self.graph.results.example = self.graph.example
        self.operations = Operations(self.graph)
        self.stepping = Stepping(self.graph, form)
        self.inside = 0
        for module in root.modules():
            for tensor in tensors_in({**vars(module)}):
                self.graph.constants[tensor] = True
        source = self.graph.node("input", "input", (), shape=tuple(example.shape))
        self.graph.give(example, Source(Ref(source), (), torch.arange(0)), Ref(source),
                        raw=torch.arange(example.numel()))

    @contextmanager
    def named(self, label: str) -> Iterator[None]:
        """A context in which ValueErrors get a label in front, once."""
        try:
            yield
        except ValueError as error:
            if getattr(error, "named", False):
                raise
            named = ValueError(f"{label}: {error}")
            named.named = True          # pyright: ignore[reportAttributeAccessIssue]
            raise named from None

    # Modules --------------------------------------------------------------------------------------

    def enter(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before a module's forward."""
        self.graph.where.append(self.names[module])
        kind = self.known(module)
        if isinstance(module, nn.Flatten | nn.Unflatten):
            self.graph.described = f"{self.names[module]!r}, {module!r}"
        if not self.inside and kind:
            with torch._C.DisableTorchFunction(), self.named(f"layer {self.names[module]!r}"):
                self.stepping.before(module, _after_first(args, kwargs) if kind == "neuron" else ())
        self.inside += bool(self.inside or kind)

    def leave(self, module: nn.Module, args: tuple, kwargs: dict, result: Any) -> None:
        """Behind a module's forward."""
        name, self.graph.described = self.graph.where.pop(), ""
        if self.inside:
            self.inside -= 1
        kind = self.known(module)
        if self.inside or not kind:
            return
        with torch._C.DisableTorchFunction(), self.named(f"layer {name!r}"):
            self.module(module, name, kind, args, kwargs, result)
            self.stepping.done(module)

    def module(self, module: nn.Module, name: str, kind: str, args: tuple, kwargs: dict,
               result: Any) -> None:
        """A call of a known module."""
        first = next(tensors_in((args, kwargs)), None)
        if first is None or not self.graph.knows(first):
            raise ValueError("reads a tensor that does not come from the input by recorded "
                             "operations: a constant, as delays and feedback begin with, which "
                             "cannot be imported yet; random numbers; or NumPy")
        if kind == "neuron":
            if module in self.hooked:
                raise ValueError("has a forward hook, which may change what it computes: remove it")
            node = self.stepping.call(module, name, first, _after_first(args, kwargs), result)
            if self.keep:
                given = next(tensors_in(result))
                node.kept.append((first.detach().clone(), given.detach().clone()))
            return
        axes, given = _axes(module, first), next(tensors_in(result))
        source, _ = self.graph.source(first, axes, spatial=axes > 1)
        linear = not isinstance(module, nn.MaxPool2d | nn.MaxPool1d)
        source = self.graph.whole(source, f"layer {name!r}", linear)
        node = self.graph.node("module", name, (source.ref,), shape=tuple(given.shape),
                               module=module, sides=tuple(first.shape[first.ndim - axes:]))
        node.calls += 1
        self.graph.give(given, source, Ref(node), sides=tuple(given.shape[given.ndim - axes:]))

    # Functions ------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: tuple = (),
                           kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func == _DATA:                   # the same, but changes in place are seen
            func = Tensor.detach
        if func in _TO_SINGLE:              # spike functions of snnTorch do: all is float64 here
            func = Tensor.double
        if self.inside:
            return func(*args, **kwargs)
        name = plain_name(func)
        where = f" in {self.graph.where[-1]!r}" if self.graph.where and self.graph.where[-1] else ""
        with self.named(f"{name!r}{where}"):
            return self.operations.run(name, func, args, kwargs)


def _after_first(args: tuple, kwargs: dict) -> tuple[Any, ...]:
    """What a module of neurons is given after its input current."""
    given = [*args, *kwargs.values()]
    at = next((i for i, value in enumerate(given) if isinstance(value, Tensor)), 0)
    return tuple(given[at + 1:])


def _axes(module: nn.Module, x: Tensor) -> int:
    """How many trailing axes of its input a known module takes as those of a sample."""
    if isinstance(module, nn.BatchNorm1d):
        return x.ndim - (2 if getattr(module, "step_mode", "s") == "m" else 1)
    if isinstance(module, TDBatchNorm):
        return x.ndim - 2
    kind = next((cls.__name__ for cls in type(module).__mro__
                 if cls.__name__.endswith(("1d", "2d"))), "")
    return {"1d": 2, "2d": 3}.get(kind[-2:], 1)


@contextmanager
def _double() -> Iterator[None]:
    """A context in which new tensors are float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _no_random_numbers() -> Iterator[None]:
    """A context that raises ValueError where random numbers were drawn."""
    def states() -> list[Any]:
        numbers: Any = np.random.get_state()        # noqa: NPY002 - that of others is watched
        return [torch.get_rng_state().tolist(), random.getstate(), numbers[1].tobytes(),
                numbers[2:]]

    before, message = states(), ("the network draws random numbers: draw spikes before the "
                                 "network, or leave them out in eval mode")
    try:
        yield
    except ValueError:
        if states() != before:
            raise ValueError(message) from None
        raise
    if states() != before:
        raise ValueError(message)


def _copied(module: nn.Module) -> nn.Module:
    """A float64 copy of a module in eval mode, without states of earlier runs."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise ValueError(f"{name} is on the meta device and holds no values: load the weights")
    return fresh_copy(module).cpu().double().eval()


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

    Raises ValueError, naming the layer or function, where the time steps do not repeat one pattern,
    and for what cannot be recorded.
    """
    with _double():
        module, example = _copied(module), example.detach().cpu().double().clone()
        recorder = _Recorder(module, example, known, form, keep)
        hooks = [hook for each in module.modules() for hook in (
            each.register_forward_pre_hook(recorder.enter, with_kwargs=True),
            each.register_forward_hook(recorder.leave, with_kwargs=True))]
        try:
            with torch.compiler.set_stance("force_eager"), _no_random_numbers(), recorder:
                result = [module(example[step]) for step in range(repeat)] if repeat \
                    else module(example)
            return _finished(recorder, result)
        except ValueError:
            if _unknown(recorder.graph):
                raise ValueError(_unknown(recorder.graph)) from None
            raise
        finally:
            for hook in hooks:
                hook.remove()


def _unknown(graph: Graph) -> str:
    """The first function that the array has no layer for, in words; empty: there is none."""
    node = next((node for node in graph.nodes if node.kind == "unknown"), None)
    return f"{node.label}: {HINTS.get(node.name, UNKNOWN)}" if node else ""


def _finished(recorder: _Recorder, result: Any) -> Recording:
    """The recording of a run that gave a result."""
    graph, steps = recorder.graph, _steps(recorder)
    if not any(node.kind == "neuron" for node in graph.nodes) and _unknown(graph):
        raise ValueError(_unknown(graph))
    for what, held in graph.partial:
        if held != frozenset(range(steps)):
            raise ValueError(f"{what} reads a sum over {len(held)} of {steps} time steps: sum over "
                             "all of them")
    outputs = _outputs(graph, result, steps)
    if not outputs:
        raise ValueError("what the network gives does not come from its input by recorded "
                         "operations")
    example = graph.example
    if example.layout in ("TN", "NT") and steps != example.shape[example.layout.index("T")]:
        raise ValueError(f"the network reads {steps} of the example's "
                         f"{example.shape[example.layout.index('T')]} time steps: it must read all")
    axis = {"TN": 0, "NT": 1, "(NT)": 0}.get(example.layout)
    return Recording(tuple(graph.nodes), outputs, steps, axis)


def _outputs(graph: Graph, result: Any, steps: int) -> tuple[Traced, ...]:
    """The outputs that come from the input. Raises ValueError for some of the time steps alone."""
    found: dict[tuple[Ref, str], frozenset[int]] = {}
    for tensor in tensors_in(result):
        if not graph.knows(tensor):
            continue
        try:
            source, _ = graph.source(tensor, None)
        except ValueError as error:
            raise ValueError(f"the answer: {error}") from None
        held = source.steps if source.over else \
            frozenset(step_of(source.rows).unique().tolist()) - {-1}
        _check_samples(source)
        key = source.ref, source.over
        found[key] = found.get(key, frozenset()) | held
    made = []
    for (ref, over), held in found.items():
        if held in (frozenset(), frozenset(range(steps))):
            made.append(Traced(ref, over))
        elif held == {steps - 1} and not over:
            made.append(Traced(ref, "last"))
        else:
            raise ValueError(f"the answer holds {len(held)} of {steps} time steps of "
                             f"{ref.node.label}: give all of them, their sum, or the last one")
    return tuple(made)


def _check_samples(source: Source) -> None:
    """Raise ValueError unless an answer holds all samples in order, in each of its steps."""
    steps, samples = step_of(source.rows), sample_of(source.rows)
    for step in steps.unique():
        own = samples[steps == step]
        if (own != torch.arange(len(own))).any() or len(own) != int(samples.max()) + 1:
            raise ValueError("the answer holds the samples of a batch in another order")


def _steps(recorder: _Recorder) -> int:
    """How often neurons were called. Raises ValueError where they were not called alike."""
    lengths = {node: recorder.stepping.lengths.get(node, node.calls)
               for node in recorder.graph.nodes if node.kind == "neuron"}
    first = next(iter(lengths), None)
    if first is None:
        return 1
    for node, length in lengths.items():
        if length != lengths[first]:
            raise ValueError(f"steps differ: {first.name!r} ran {lengths[first]}, {node.name!r} "
                             f"{length}: the graph must be the same in every step")
    return lengths[first]
