"""Functions outside of known modules: each becomes a node, moves values, or is unknown.

| operation | arguments | computes |
|---|---|---|
| affine | scale, shift | scale x + shift, numbers or one for every channel |
| add | factors | the sum of two maps, each times its factor |
| product | | the product of two maps |
| not | | 1 - x of spikes |
| spikes | | x, if it is spikes: a change of format |
| cat, channels | first, count | maps side by side; some channels of one |
| pool | module | what this module of torch computes |
| linear, conv | weight, bias, module | with weights that are constants |
| area | mean | sum or mean over the rows and columns of a map |
| steps | | T x: a sum over all time steps, as T times their mean |
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends.arithmetic import Unknown
from quadfire.models.frontends.functions import (
    CONSTANTS,
    JOINS,
    MOVES,
    RANDOM,
    READS,
    SAME,
    options,
)
from quadfire.models.frontends.graph import Source, tensors_in
from quadfire.models.frontends.recorded import Ref
from quadfire.models.frontends.reductions import Reductions

__all__ = ["Operations"]

_POOLS = {"max_pool2d": nn.MaxPool2d, "max_pool1d": nn.MaxPool1d, "avg_pool2d": nn.AvgPool2d,
          "avg_pool1d": nn.AvgPool1d, "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
          "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d}


class Operations(Reductions):
    """Records functions into a graph."""

    def run(self, name: str, func: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        """Call a function and record what it did. Returns what it gave."""
        graph = self.graph
        if name in RANDOM or name == "dropout" and _is_on(args, kwargs):
            raise ValueError("draws random numbers: " + (
                "give it training=self.training" if name == "dropout" else
                "draw spikes before the network, or leave them out in eval mode"))
        traced = graph.traced((args, kwargs))
        entries = [graph.entry(tensor) for tensor in traced] if name not in READS else []
        if name == "__iter__":
            parts = args[0].unbind()
            self._move("unbind", Tensor.unbind, args, {}, parts)
            return iter(parts)
        result = func(*args, **kwargs)
        if not traced:
            self._constant(args, kwargs, result)
            return result
        if name != "__setitem__" and isinstance(result, Tensor) and graph.knows(result):
            graph.same(result, graph.entries[result])       # changed in place, and read below
        if name in READS or isinstance(result, torch.Size):
            return result
        if name in SAME and isinstance(result, Tensor):
            if result.is_floating_point() and result.dtype != torch.float64:
                result = args[0].double()       # all is float64 here
            self._same(name, args[0], entries[0], result)
        elif name == "__setitem__":
            self._set(args)
        elif name in CONSTANTS:
            for tensor in tensors_in(result):
                graph.constants[tensor] = True
        elif not any(True for _ in tensors_in(result)):
            raise ValueError("reads the values of a tensor: what a network computes must be "
                             "written with tensors")
        elif name in MOVES and not self._reinterprets(args, result):
            self._move(name, func, args, kwargs, result)
        else:
            self._compute(name, args, kwargs, result)
        return result

    # Values that stay -----------------------------------------------------------------------------

    def _constant(self, args: tuple, kwargs: dict, result: Any) -> None:
        """A function of constants alone makes constants."""
        if all(tensor in self.graph.constants for tensor in tensors_in((args, kwargs))):
            for tensor in tensors_in(result):
                self.graph.constants[tensor] = True

    def _same(self, name: str, tensor: Tensor, entry: Any, result: Tensor) -> None:
        """The same values. Only spikes may become integers or truth values."""
        if result.is_floating_point() or result.dtype == tensor.dtype:
            self.graph.same(result, entry)
            return
        source, axes = self.graph.source(tensor, None)
        if source.over:
            raise ValueError("rounds a sum over time steps to integers")
        self._give("spikes", name, (source,), source, result, {}, axes)

    @staticmethod
    def _reinterprets(args: tuple, result: Any) -> bool:
        """Whether `view(dtype)` reads the bits of a tensor as other numbers."""
        first = next(tensors_in(args))
        return any(tensor.dtype != first.dtype for tensor in tensors_in(result))

    def _ids(self, value: Any, joins: bool) -> Any:
        """Arguments with numbers for the tensors that come from the input."""
        if isinstance(value, Tensor):
            if self.graph.knows(value):
                return self.graph.entry(value).ids()
            return torch.full(value.shape, -1) if joins else value
        if isinstance(value, list | tuple):
            return type(value)(self._ids(each, joins) for each in value) \
                if not isinstance(value, torch.Size) else value
        return value

    def _move(self, name: str, func: Callable[..., Any], args: tuple, kwargs: dict,
              result: Any) -> None:
        """A function that moves values runs on their numbers as well."""
        joins = name in JOINS
        for tensor in tensors_in((args[1:], kwargs)) if not joins else ():
            if self.graph.knows(tensor) and name not in ("view_as", "reshape_as", "expand_as"):
                raise ValueError("takes values at places that depend on the input")
        numbers = self._ids(args, joins)
        if name.endswith("_") and not name.startswith("__"):
            numbers = (numbers[0].clone(), *numbers[1:])
        found = func(*numbers, **{key: self._ids(value, joins) for key, value in kwargs.items()})
        moved = tuple(step for tensor in self.graph.traced((args, kwargs))
                      for step in self.graph.entry(tensor).moved)
        inside = self.graph.where[-1] if self.graph.where else ""
        where = self.graph.described or f"{name!r}" + (f" in {inside!r}" if inside else "")
        for tensor, ids in zip(tensors_in(result), tensors_in(found), strict=True):
            self.graph.move(tensor, ids, tuple(dict.fromkeys((*moved, where))))

    def _set(self, args: tuple) -> None:
        """x[index] = value: a tensor that is filled step by step."""
        target, index, value = args
        if any(True for _ in self.graph.traced((index,))):
            raise ValueError("writes to places that depend on the input")
        if self.graph.knows(target):
            before = self.graph.entries[target]
            ids, moved = before.ids().clone(), before.moved
        else:
            ids, moved = torch.full(target.shape, -1), ()
        numbers = self.graph.entry(value).ids() if self.graph.knows(value) else -1
        if self.graph.knows(value):
            moved += self.graph.entry(value).moved
        ids[index] = numbers
        self.graph.move(target, ids, (*moved, "writing into a tensor"))

    # Operations -----------------------------------------------------------------------------------

    def _compute(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        try:
            if name in ("add", "sub", "rsub"):
                self._add(name, args, kwargs, result)
            elif name in ("mul", "div", "neg", "logical_and", "logical_not"):
                self._multiply(name, args, kwargs, result)
            elif name in ("mean", "sum", "max", "amax"):
                self._reduce(name, args, kwargs, result)
            elif name in _POOLS:
                self._pool(name, args, kwargs, result)
            elif name in ("linear", "matmul", "conv1d", "conv2d"):
                self._weights(name, args, kwargs, result)
            elif name == "batch_norm":
                self._norm(args, kwargs, result)
            elif name == "dropout":
                self.graph.same(result, self.graph.entry(args[0]))
            else:
                raise Unknown
        except Unknown:
            self._unknown(name, args, kwargs, result)

    def _unknown(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        """A function that the array has no layer for: refused later, if an answer needs it."""
        sources = []
        for tensor in self.graph.traced((args, kwargs)):
            try:
                sources.append((self.graph.source(tensor, None)[0], tensor))
            except ValueError:
                continue
        given = [tensor for tensor in tensors_in(result)]
        source = next((s for s, tensor in sources if tensor.shape == given[0].shape), None)
        node = self.graph.node("unknown", name, tuple(s.ref for s, _ in sources),
                               shape=tuple(given[0].shape))
        for tensor in given:
            if source is None or tensor.shape != given[0].shape:
                rows = torch.full((1,), 0) if source is None else source.rows
                source_ = Source(Ref(node), (max(tensor.numel() // len(rows), 1),), rows)
            else:
                source_ = source
            self.graph.give(tensor, source_, Ref(node))

    # Layers as functions --------------------------------------------------------------------------

    def _pool(self, name: str, args: tuple, kwargs: dict, result: Any) -> None:
        module = _POOLS[name](**options(name, args, kwargs))
        axes = 3 if name.endswith("2d") else 2
        given = next(tensors_in(result))
        source, _ = self.graph.source(args[0], axes, spatial=True)
        source = self.graph.whole(source, name, linear=not name.startswith("max"))
        self._give("pool", name, (source,), source, given, {"module": module}, axes,
                   sides=tuple(given.shape[given.ndim - axes:]))

    def _weights(self, name: str, args: tuple, kwargs: dict, result: Tensor) -> None:
        """A linear layer or a convolution with constants as its weights."""
        named = options(name, args, kwargs)
        weight, bias = named.pop("weight"), named.pop("bias", None)
        for value in (weight, bias):
            if value is not None and (not isinstance(value, Tensor)
                                      or value not in self.graph.constants):
                raise Unknown
        weight = weight.detach().double()
        if name == "matmul":
            weight = weight.T
        if name in ("linear", "matmul"):
            if weight.ndim != 2:
                raise Unknown
            source, _ = self.graph.source(args[0], 1)
            source, sides = self.graph.whole(source, name), (len(weight),)
            arguments: dict[str, Any] = {"weight": weight}
            operation, axes = "linear", 1
        else:
            axes = 3 if name == "conv2d" else 2
            source, _ = self.graph.source(args[0], axes, spatial=True)
            source = self.graph.whole(source, name)
            sides = tuple(result.shape[result.ndim - axes:])
            groups = named.get("groups", 1)
            module = (nn.Conv2d if axes == 3 else nn.Conv1d)(
                weight.shape[1] * groups, len(weight), tuple(weight.shape[2:]), bias=False,
                device="meta", **named)
            operation, arguments = "conv", {"module": module, "weight": weight}
        if bias is not None:
            arguments["bias"] = bias.detach().double()
        self._give(operation, name, (source,), source, result, arguments, axes, sides=sides)

    def _norm(self, args: tuple, kwargs: dict, result: Tensor) -> None:
        named = options("batch_norm", args, kwargs)
        mean, var = named.get("running_mean"), named.get("running_var")
        if named.get("training") or mean is None or var is None or any(
                isinstance(v, Tensor) and v not in self.graph.constants for v in named.values()):
            raise Unknown
        scale = (var.double() + named.get("eps", 1e-5)).rsqrt()
        if named.get("weight") is not None:
            scale = scale * named["weight"].double()
        shift = -mean.double() * scale
        if named.get("bias") is not None:
            shift = shift + named["bias"].double()
        axes = args[0].ndim - 1
        source, _ = self.graph.source(args[0], axes, spatial=True)
        source = self.graph.whole(source, "batch_norm")
        self._give("affine", "batch_norm", (source,), source, result,
                   {"scale": scale, "shift": shift}, axes)


def _is_on(args: tuple, kwargs: dict) -> bool:
    """Whether a dropout is on."""
    named = options("dropout", args, kwargs)
    return bool(named.get("training", named.get("train", True)))
