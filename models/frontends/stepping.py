"""Calls of neurons: which time step each one is, and that its state goes on from step to step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends.graph import Graph, Source, tensors_in
from quadfire.models.frontends.neurons import CallForm, check_states
from quadfire.models.frontends.provenance import places, sample_of, step_of
from quadfire.models.frontends.recorded import Node, Ref
from quadfire.models.neurons import SpikingNeuron

__all__ = ["Stepping"]


#: Axes before those of a sample, by layout.
_AXES = {"N": "N", "TN": "T, N", "NT": "N, T", "(NT)": "N T"}


def snapshot(module: nn.Module, states: bool = True) -> dict[str, Any]:
    """What a module computes with: its numbers, and its tensors with their versions.

    states: whether those that are no weights belong to it.
    """
    found: dict[str, Any] = {}
    memories = vars(module).get("_memories", {})
    parts = {**vars(module), **module._buffers, **memories} if states else dict(vars(module))
    for name, value in {**parts, **module._parameters}.items():
        if isinstance(value, bool | int | float | str | None) and (states or name not in memories):
            found[name] = value
        elif isinstance(value, Tensor) and (states or name in module._parameters):
            found[name] = (value, value._version)
        elif isinstance(value, tuple) and states and any(isinstance(v, Tensor) for v in value):
            found[name] = tuple((v, v._version) for v in value if isinstance(v, Tensor))
    return found


def _same(before: Any, after: Any) -> bool:
    """Whether two values of snapshots are the same storage, unchanged, or the same number."""
    if isinstance(before, tuple) and isinstance(after, tuple):
        if before and isinstance(before[0], tuple):
            return len(before) == len(after) and all(map(_same, before, after))
        return before[0].data_ptr() == after[0].data_ptr() and before[1] == after[1]
    return type(before) is type(after) and before == after


def changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """The name of an attribute that is another one now; empty: none."""
    return next((name for name in before.keys() & after.keys()
                 if not _same(before[name], after[name])), "")


class Stepping:
    """The calls of all neurons of a run. form: how a module of neurons is called."""

    def __init__(self, graph: Graph, form: Callable[[nn.Module], CallForm]):
        self.graph, self.form = graph, form
        self.lengths: dict[Node, int] = {}
        self.after: dict[nn.Module, dict[str, Any]] = {}

    def call(self, module: nn.Module, name: str, current: Tensor, given: tuple[Any, ...],
             result: Any) -> Node:
        """Record a call. given: all that came after the input current."""
        form, graph = self.form(module), self.graph
        layout = form.layout
        axes = current.ndim - len(layout.strip("()")) + (layout == "(NT)")
        if axes < 1:
            raise ValueError(f"reads a tensor of {list(current.shape)}, which has no batch axis")
        try:
            source, _ = graph.source(current, axes)
        except ValueError as error:
            raise ValueError(f"{error}; it takes [{_AXES[layout]}, ...], with a batch axis") \
                from None
        if source.over:
            raise ValueError(f"reads a {source.over} over time steps: neurons read every step")
        first = next(tensors_in(result))
        node = graph.node("neuron", name, (source.ref,), shape=tuple(first.shape), module=module,
                          sides=tuple(current.shape[current.ndim - axes:]))
        step = node.calls
        node.calls += 1
        self._check_place(node, form, step, given)
        self._check_states(node, form, step, given)
        rows, length = self._rows(form, source.rows, current, step)
        if form.time == "sequence":
            self.lengths[node] = length
        self._give(node, form, source, rows, result, length)
        return node

    def _give(self, node: Node, form: CallForm, source: Source, rows: Tensor, result: Any,
              length: int) -> None:
        """All tensors of a call's result: of every step, of the last one, or over time."""
        last = places(length - 1, sample_of(rows[step_of(rows) == step_of(rows).max()]))
        over = -1 - sample_of(last)
        for port, tensor in enumerate(tensors_in(result)):
            ref = Ref(node, port)
            done, steps = (over, frozenset(range(length))) if form.decoded and not port \
                else (rows, frozenset())
            if tensor.numel() % max(len(done), 1) or port and tensor.numel() < \
                    len(done) * _size(source.sides):
                done = last         # a state, of the last step
            size = tensor.numel() // max(len(done), 1)
            sides = source.sides if size == _size(source.sides) else (size,)
            made = Source(ref, sides, done, (form.decoded or "") if steps else "", steps)
            self.graph.give(tensor, made, ref, call=node.calls - 1)

    # Time -----------------------------------------------------------------------------------------

    def _rows(self, form: CallForm, rows: Tensor, current: Tensor, step: int,
              ) -> tuple[Tensor, int]:
        """(places of what neurons give, time steps so far) from those of what they read."""
        if form.time == "step":
            count, length = current.shape[0], 1
            n = torch.arange(count)
            t = torch.full_like(n, step)
        else:
            length = _length(form, current)
            count = rows.numel() // max(length, 1)
            t, n = torch.meshgrid(torch.arange(length), torch.arange(count), indexing="ij")
            if form.layout != "TN":
                t, n = t.T, n.T
            t, n = t.reshape(-1), n.reshape(-1)
        if rows.numel() != t.numel():
            raise ValueError(f"takes one time step a call, what it reads has {rows.numel()} rows "
                             f"for {t.numel()}: give it step_mode='m', or every step by itself")
        if self.graph.example.is_open(rows):
            self._settle(form.layout, rows, t, n, length)
            rows = self.graph.example.resolved(rows)
        found = step_of(rows)
        if (sample_of(rows) != n).any():
            raise ValueError("reads the samples of a batch in another order")
        wrong = (found >= 0) & (found != t)
        if wrong.any():
            at = int(wrong.nonzero()[0, 0])
            raise ValueError(f"reads time step {int(found[at])} in its step {int(t[at])}: delays "
                             "and other orders of time cannot be imported yet")
        return places(t, n), step + 1 if form.time == "step" else length

    def _settle(self, layout: str, rows: Tensor, t: Tensor, n: Tensor, length: int) -> None:
        """What the rows of the example mean, by the first neurons that read them."""
        example = self.graph.example
        if example.leading == 1:
            if (rows == n).all() and example.shape[0] == int(n.max()) + 1:
                example.settle("N")
                return
            if layout == "(NT)" and (rows == torch.arange(len(rows))).all():
                example.settle("(NT)", places(t, n))
                return
        else:
            a, b = example.shape[:2]
            grid = torch.arange(a * b).view(a, b)
            rows_, samples = torch.meshgrid(torch.arange(a), torch.arange(b), indexing="ij")
            whole = layout == "N" or length == a
            if whole and b == int(n.max()) + 1 and (rows == t * b + n).all():
                example.settle("TN", places(rows_, samples).reshape(-1))
                return
            whole = layout == "N" or length == b
            if whole and a == int(n.max()) + 1 and (rows == grid[n, t]).all():
                example.settle("NT", places(samples, rows_).reshape(-1))
                return
        raise ValueError(f"reads the rows of the example {list(example.shape)} in an order that "
                         "is neither [T, N, ...] nor [N, T, ...]: every neuron must read all "
                         "samples, one time step after the other")

    # States ---------------------------------------------------------------------------------------

    def before(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        """Raise ValueError where a module is not what it was after its last call."""
        if module not in self.after:
            return
        by_hand = any(True for _ in tensors_in(given))
        name = changed(self.after[module], snapshot(module, states=not by_hand))
        if name:
            raise ValueError(f"its {name} was changed between time steps: the array's neurons keep "
                             "their values, and their states go on by themselves")

    def done(self, module: nn.Module) -> None:
        """Remember what a module is after a call."""
        self.after[module] = snapshot(module)

    def _check_place(self, node: Node, form: CallForm, step: int, given: tuple[Any, ...]) -> None:
        """Raise ValueError where a module stands at two places and its state would be shared."""
        stateless = form.states and "norse" in type(node.module).__module__
        if form.time == "sequence" and step and not stateless:
            raise ValueError(f"was called {step + 1} times with all time steps: give every layer a "
                             "module of its own")
        if form.time == "sequence" and step:
            node.calls = 1          # the same result once more
        others = [other for other in self.graph.nodes
                  if other.module is node.module and other is not node]
        if not others:
            return
        source = node.inputs[0].node
        by_hand = any(True for _ in tensors_in(given)) or stateless
        if by_hand and (step or not self.graph.traced(given)):
            return
        if _depends(source, node.module):
            raise ValueError(f"{_loop(source, node)} is a loop: recurrent networks cannot be "
                             "imported yet")
        raise ValueError(f"reads {source.label} and {others[0].inputs[0].node.label}: either the "
                         "time steps differ, or its state would be shared; do the same in every "
                         "step, and give every layer neurons of its own")

    def _check_states(self, node: Node, form: CallForm, step: int, given: tuple[Any, ...]) -> None:
        """States that come by hand are the start in the first step, then those that came back."""
        states = [state for state in given if state is not None]
        if not step and self.graph.traced(states):
            raise ValueError("starts with a state that comes from the input: the array starts "
                             "every neuron alike")
        if not step or form.time == "sequence":
            if not isinstance(node.module, SpikingNeuron):
                check_states(node.module, *states)      # pyright: ignore[reportArgumentType]
            elif states:
                raise ValueError(f"takes its input alone, not {len(states)} more")
            return
        norse = "norse" in type(node.module).__module__
        if not states and norse:
            raise ValueError(f"was called without a state in step {step}, so that it starts again "
                             "in every step: hand on the state that it gave")
        position = 1
        for state in states:
            tensors = list(tensors_in(state))
            if not tensors:
                raise ValueError(f"gets {state!r} as its state in step {step}: hand on the state "
                                 "that it gave")
            for tensor in tensors:
                self._check_state(node, step, tensor, position)
                position += 1

    def _check_state(self, node: Node, step: int, tensor: Tensor, port: int) -> None:
        result = self.graph.result(tensor)
        if result is None:
            raise ValueError(f"the state that it gets in step {step} was not recorded: hand on the "
                             "state that it gave")
        if result.ref != Ref(node, port) or result.call != step - 1 or result.over:
            what = result.ref.node.label if result.ref.node is not node else \
                f"its step {result.call}, result {result.ref.port}"
            raise ValueError(f"the state that it gets in step {step} comes from {what}: hand on "
                             "the state that it gave")


def _size(sides: tuple[int, ...]) -> int:
    size = 1
    for side in sides:
        size *= side
    return size


def _length(form: CallForm, current: Tensor) -> int:
    """Time steps of a current that a multi-step module takes."""
    if form.layout != "(NT)":
        return current.shape[form.layout.index("T")]
    if form.num_timesteps > 0:
        return form.num_timesteps
    return current.shape[0] // max(form.batch_size, 1)


def _depends(node: Node, module: nn.Module | None) -> bool:
    """Whether a node needs results of a module."""
    open_, seen = [node], set()
    while open_:
        at = open_.pop()
        if at.module is module and module is not None:
            return True
        if at not in seen:
            seen.add(at)
            open_ += [ref.node for ref in at.inputs]
    return False


def _loop(at: Node, node: Node) -> str:
    """The loop from a node of neurons back to itself, for an error."""
    path = [repr(node.name)]
    while at.module is not node.module:
        path.append(repr(at.name))
        at = next(ref.node for ref in at.inputs if _depends(ref.node, node.module))
    return " -> ".join([repr(node.name), *reversed(path[1:]), repr(node.name)])
