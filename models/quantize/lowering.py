"""Lowering: operations of a trained network, one at a time, become layers of a `Folded` graph.

Between two layers of neurons everything is linear. So a value is either `Maps` of spikes or a
`Current`, a sum of them (`values`). A convolution turns `Maps` into a `Current`, a neuron turns a
`Current` into the `Maps` of a new layer. All other operations change the numbers of a value and add
no layer:

| operation | on spikes | on a current |
|---|---|---|
| norm, scale | into the weights and biases of all readers | into the weights and the bias |
| mean pool | a sum pool, 1/k^2 in the weights | one larger convolution with stride |
| max pool | a max pool | none: the largest current is no sum |
| sum, concatenation | a branch for each part | the branches of both |

Errors are ValueErrors without the name of the layer; the caller, who knows it, puts it in front.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from quadfire.models.integer import INPUT, Pair, Pool, Shape
from quadfire.models.neurons.canonical import Canonical, canonical_linear
from quadfire.models.quantize.folded import Folded, FoldedBranch, FoldedLayer, FoldedNeuron
from quadfire.models.quantize.values import (
    Current,
    Maps,
    Source,
    Value,
    as_kernel,
    binary,
    can_join,
    merged,
)

__all__ = ["Lowering"]


@dataclass(frozen=True)
class _Fixed:
    """A neuron that the lowering itself makes."""

    form: Canonical
    window: float = 0.5
    surrogate: str = "rectangular"

    def canonical(self) -> Canonical:
        return self.form


class Lowering:
    """Builds a `Folded` graph. Every operation takes values and returns a new one.

    | argument | meaning |
    |---|---|
    | shape | (C, H, W) of the input; of counts, of their bit planes |
    | relays | layers that repeat spikes may stand between a max pool and a pool behind it |
    | move_pools | a max pool of currents is put behind the neuron, which changes what it computes |

    name: of a torch module or node, kept in `FoldedLayer.modules`.
    """

    def __init__(self, shape: Shape, *, move_pools: bool = False, relays: bool = False):
        self.shape = shape
        self.relays = relays
        self.move_pools = move_pools
        self.layers: list[FoldedLayer] = []
        self.input = self._map(INPUT, shape)

    @staticmethod
    def _map(layer: int, shape: Shape) -> Maps:
        one = torch.ones(shape[0], dtype=torch.float64)
        return Maps(shape, ((0, Source(layer, shape, one, torch.zeros_like(one),
                                       total=shape[0])),))

    def count_planes(self, bits: int) -> Maps:
        """Counts of `bits` bits [C, H, W], from an input of bits C channels, lowest bit first.

        Source b counts 2^b; the branches that read it have the gain 2^b.
        """
        channels = self.shape[0] // bits
        shape = (channels, *self.shape[1:])
        one = torch.ones(channels, dtype=torch.float64)
        return Maps(shape, tuple(
            (0, Source(INPUT, shape, one * (1 << bit), torch.zeros_like(one),
                       first=bit * channels, total=self.shape[0], gain=1 << bit))
            for bit in range(bits)))

    # Linear operations ----------------------------------------------------------------------------

    def conv(self, x: Value, weight: Tensor, bias: Tensor | None = None, *, stride: Pair = (1, 1),
             padding: Pair = (0, 0), name: str = "") -> Current:
        """A convolution: weight [outputs, C, kh, kw], bias [outputs] or None."""
        weight = weight.detach().double()
        if weight.shape[1] != x.shape[0]:
            raise ValueError(f"takes {weight.shape[1]} channels, its input has {x.shape[0]}")
        if isinstance(x, Current):
            return self._conv_of_current(x, weight, bias, stride, padding, name)
        sides = [(n + 2 * p - k) // s + 1 for n, p, k, s in
                 zip(x.shape[1:], padding, weight.shape[2:], stride, strict=True)]
        if min(sides) < 1:
            raise ValueError(f"its kernel of {weight.shape[2]} x {weight.shape[3]} is larger than "
                             f"its map of {x.shape[1]} x {x.shape[2]}")
        total = weight.new_zeros(len(weight)) if bias is None else bias.detach().double()
        branches = []
        for first, source in x.channels():
            branch, extra = source.branch(weight[:, first:first + source.shape[0]], stride, padding)
            branches.append(branch)
            total = total + extra
        return Current((len(weight), sides[0], sides[1]), merged(branches), total,
                       (*x.names, name))

    def linear(self, x: Value, weight: Tensor, bias: Tensor | None = None, *,
               name: str = "") -> Current:
        """A fully connected layer: weight [outputs, C H W], bias [outputs] or None."""
        weight = weight.detach().double()
        count = x.shape[0] * x.shape[1] * x.shape[2]
        if weight.shape[1] != count:
            raise ValueError(f"takes {weight.shape[1]} inputs, its map of "
                             f"{' x '.join(map(str, x.shape))} has {count}")
        if isinstance(x, Current):
            return self.conv(x, weight.view(-1, *x.shape), bias, name=name)
        total = weight.new_zeros(len(weight)) if bias is None else bias.detach().double()
        branches = []
        for first, source in x.parts:
            kernel = weight[:, first:first + source.size].view(-1, *source.shape)
            branch, extra = source.branch(kernel, (1, 1), (0, 0))
            branches.append(branch)
            total = total + extra
        return Current((len(weight), 1, 1), merged(branches), total, (*x.names, name))

    @staticmethod
    def _conv_of_current(x: Current, weight: Tensor, bias: Tensor | None, stride: Pair,
                         padding: Pair, name: str) -> Current:
        """Two convolutions without neurons between them are one, if the second does not pad.

        W[o, c, s1 a + i, ...] += sum over m of W2[o, m, a, ...] W1[m, c, i, ...]
        """
        if any(padding):
            raise ValueError("it pads the currents of another layer, which has no neurons: "
                             "borders differ from those of one convolution")
        if x.moved:
            raise ValueError("it reads a max pool of currents: put a neuron between them")
        sides = [(n - k) // s + 1 for n, k, s in
                 zip(x.shape[1:], weight.shape[2:], stride, strict=True)]
        if min(sides) < 1:
            raise ValueError(f"its kernel of {weight.shape[2]} x {weight.shape[3]} is larger than "
                             f"its map of {x.shape[1]} x {x.shape[2]}")
        branches = []
        for branch in map(as_kernel, x.branches):
            rows, columns = branch.weight.shape[2:]
            down, right = branch.stride
            made = weight.new_zeros(len(weight), branch.weight.shape[1],
                                    rows + down * (weight.shape[2] - 1),
                                    columns + right * (weight.shape[3] - 1))
            for a in range(weight.shape[2]):
                for b in range(weight.shape[3]):
                    made[:, :, down * a:down * a + rows, right * b:right * b + columns] += \
                        torch.einsum("om,mcij->ocij", weight[:, :, a, b], branch.weight)
            branches.append(replace(branch, weight=made,
                                    stride=(down * stride[0], right * stride[1])))
        total = torch.einsum("omab,m->o", weight, x.bias)
        if bias is not None:
            total = total + bias.detach().double()
        return Current((len(weight), sides[0], sides[1]), tuple(branches), total,
                       (*x.names, name))

    def affine(self, x: Value, scale: Tensor | float, shift: Tensor | float = 0.0, *,
               name: str = "") -> Value:
        """scale * x + shift, each one number or [C]: a norm in eval mode, or a constant."""
        channels = x.shape[0]
        scale, shift = (torch.as_tensor(v).detach().double().expand(channels)
                        for v in (scale, shift))
        names = (*x.names, name) if name else x.names
        if isinstance(x, Current):
            if x.moved and (scale <= 0).any():
                raise ValueError("a norm with a scale of 0 or below behind a max pool of currents "
                                 "cannot move in front of it")
            return replace(x, branches=tuple(
                replace(b, weight=b.weight * scale.view(-1, *[1] * (b.weight.ndim - 1)))
                for b in x.branches), bias=x.bias * scale + shift, names=names)
        parts, open_ = [], torch.ones(channels, dtype=torch.bool)
        for first, source in x.channels():
            own = slice(first, first + source.shape[0])
            once = torch.where(open_[own], shift[own], torch.zeros_like(shift[own]))
            open_[own] = False      # of several sources that add up, one carries the shift
            parts.append((first * x.shape[1] * x.shape[2],
                          replace(source, scale=source.scale * scale[own],
                                  shift=source.shift * scale[own] + once)))
        return replace(x, parts=tuple(parts), names=names)

    def add(self, x: Value, y: Value, *, name: str = "") -> Value:
        """The sum of two values of one shape."""
        if x.shape != y.shape:
            raise ValueError(f"adds maps of {' x '.join(map(str, x.shape))} and "
                             f"{' x '.join(map(str, y.shape))}")
        names = (*x.names, *(n for n in y.names if n not in x.names), *((name,) if name else ()))
        if isinstance(x, Maps) and isinstance(y, Maps):
            return Maps(x.shape, (*x.parts, *y.parts), names)
        x, y = self.current(x), self.current(y)
        if x.moved or y.moved:
            raise ValueError("adds a max pool of currents: put the pool behind the neurons")
        return Current(x.shape, merged((*x.branches, *y.branches)), x.bias + y.bias, names)

    def cat(self, values: Sequence[Value], *, name: str = "") -> Value:
        """Maps side by side, one behind the other in C, H, W order."""
        names = tuple(dict.fromkeys(n for value in values for n in value.names))
        names += (name,) if name else ()
        shapes = [value.shape for value in values]
        if len({shape[1:] for shape in shapes}) > 1:
            sizes = [c * h * w for c, h, w in shapes]
            shape = (sum(sizes), 1, 1)
        else:
            shape = (sum(s[0] for s in shapes), *shapes[0][1:])
        if not all(isinstance(value, Maps) for value in values):
            return self._cat_currents(values, shape, names)
        parts, at = [], 0
        for value in values:
            assert isinstance(value, Maps)
            parts += [(at + first, source) for first, source in value.parts]
            at += value.shape[0] * value.shape[1] * value.shape[2]
        return Maps(shape, tuple(parts), names)

    def _cat_currents(self, values: Sequence[Value], shape: Shape,
                      names: tuple[str, ...]) -> Current:
        """Currents side by side: every branch gets outputs of weight 0 for the others."""
        branches, bias, at = [], [], 0
        for value in map(self.current, values):
            if value.shape[1:] != shape[1:] or value.moved:
                raise ValueError("joins currents of different sizes, or behind a max pool")
            for branch in map(as_kernel, value.branches):
                wide = branch.weight.new_zeros(shape[0], *branch.weight.shape[1:])
                wide[at:at + value.shape[0]] = branch.weight
                branches.append(replace(branch, weight=wide))
            bias.append(value.bias)
            at += value.shape[0]
        return Current(shape, merged(branches), torch.cat(bias), names)

    def channels(self, x: Value, first: int, count: int) -> Value:
        """The channels first .. first + count - 1 of a value."""
        own = slice(first, first + count)
        shape = (count, *x.shape[1:])
        if isinstance(x, Current):
            if x.moved:
                raise ValueError("takes channels of a max pool of currents: put a neuron between "
                                 "them")
            return replace(x, shape=shape, bias=x.bias[own], branches=tuple(
                replace(branch, weight=branch.weight[own])
                for branch in map(as_kernel, x.branches)))
        parts = []
        for start, source in x.channels():
            low, high = max(first, start), min(first + count, start + source.shape[0])
            if low < high:
                parts.append(((low - first) * shape[1] * shape[2],
                              source.channels(low - start, high - low)))
        return Maps(shape, tuple(parts), x.names)

    def pool(self, x: Value, pool: Pool, *, divisor: float = 1.0, name: str = "") -> Value:
        """Windows of a map: their OR, or their sum by `divisor` (a mean: rows times columns)."""
        names = (*x.names, name) if name else x.names
        if isinstance(x, Maps):
            parts = [(first, self._pooled(source, pool, divisor, name))
                     for first, source in x.channels()]
            covered = sorted((first, first + source.shape[0]) for first, source in parts)
            if pool.kind == "max" and any(b[0] < a[1] for a, b in zip(covered, covered[1:],
                                                                      strict=False)):
                raise ValueError("the largest of a sum of spikes is no OR: put the pool before "
                                 "the sum")
            shape = (x.shape[0], *parts[0][1].shape[1:])
            return Maps(shape, tuple((first * shape[1] * shape[2], source)
                                     for first, source in parts), names)
        if pool.kind == "max":
            if not self.move_pools:
                raise ValueError("a max pool reads currents: the largest current is not the OR of "
                                 "spikes; put the pool behind the neurons and train on, or import "
                                 "with --move-pools")
            return replace(x, shape=pool.output_shape(x.shape), moved=(*x.moved, pool),
                           sums=x.sums or x.shape, names=names)
        if x.moved:
            raise ValueError("a mean reads a max pool of currents: put a neuron between them")
        if any(pool.padding):
            raise ValueError("a mean of currents with padding: borders differ")
        eye = torch.eye(x.shape[0], dtype=torch.float64)[:, :, None, None] / divisor
        return replace(self.conv(x, eye.expand(-1, -1, *pool.size), stride=pool.stride,
                                 name=name), names=names)

    def _pooled(self, source: Source, pool: Pool, divisor: float, name: str) -> Source:
        """A source after one more pool. A layer that repeats max-pooled spikes stands between."""
        if self.relays and source.pool is not None and source.pool.kind == "max" and not (
                pool.kind == "max" and can_join(source.pool, pool)):
            one = torch.ones_like(source.scale)
            plain = replace(source, scale=one, shift=torch.zeros_like(one))
            relayed = self.relay(Maps(source.shape, ((0, plain),)), f"{name or 'pool'}.input")
            source = replace(relayed.parts[0][1], scale=source.scale, shift=source.shift)
        return source.pooled(pool, divisor)

    def current(self, x: Value) -> Current:
        """A value as a current: spikes get a weight of 1 each."""
        if isinstance(x, Current):
            return x
        branches, bias = [], torch.zeros(x.shape[0], dtype=torch.float64)
        for first, source in x.channels():
            count = source.shape[0]
            own = slice(first, first + count)
            bias[own] += source.shift
            if source.pool is None and source.total == count == x.shape[0] \
                    and source.layer != INPUT:
                branches.append(FoldedBranch(source=source.layer, weight=source.scale))
                continue
            weight = torch.zeros(x.shape[0], count, 1, 1, dtype=torch.float64)
            weight[own, :, 0, 0] = torch.eye(count, dtype=torch.float64)
            branches.append(source.branch(weight, (1, 1), (0, 0))[0])
        return Current(x.shape, merged(branches), bias, x.names)

    # Layers ---------------------------------------------------------------------------------------

    def neuron(self, x: Value, neuron: FoldedNeuron, name: str, *, module: str = "",
               spike_value: Tensor | float = 1.0, notes: Sequence[str] = (),
               exact: bool = False) -> Maps:
        """A layer of neurons; its map of spikes.

        spike_value: what a spike counts, one number or [C]. module: the neuron's name.
        notes, exact: of the `FoldedLayer`.
        """
        current = self.current(x)
        if current.moved:
            notes = (*notes, "max pool moved behind the neurons: train on, the network computes "
                             "something else now")
        shape = current.sums or current.shape
        made = self._layer(name, current, neuron, shape, notes, module, exact)
        for pool in current.moved:
            made = self.pool(made, pool)
        made = self.affine(made, spike_value)
        assert isinstance(made, Maps)
        return made

    def product(self, x: Value, y: Value, name: str) -> Maps:
        """x * y of spikes, each as it is or as 1 - spike: the AND of both, a layer without memory.

        Raises ValueError for anything else, which a sum cannot multiply.
        """
        for value in (x, y):
            if not binary(value):
                raise ValueError("multiplies something other than two maps of spikes: the array "
                                 "adds, it has no products of values")
        return self.neuron(self.add(self.current(x), self.current(y)), _memoryless(2.0), name,
                           notes=("AND of two maps of spikes",), exact=True)

    def relay(self, x: Value, name: str) -> Maps:
        """A layer that repeats spikes, so that a further pool can read them."""
        return self.neuron(x, _memoryless(1.0), name, notes=("repeats its input",), exact=True)

    def readout(self, x: Value, name: str, module: str = "") -> None:
        """The last layer, without neurons: its answer is the mean current over time."""
        current = self.current(x)
        if current.moved:
            raise ValueError("the answer is a max pool of currents, which is no sum")
        if current.shape[1:] != (1, 1):
            raise ValueError(f"the answer is a map of {' x '.join(map(str, current.shape))}: maps "
                             "as answers cannot be run yet, end with a pool or a dense layer")
        self._layer(name, current, None, current.shape, (), module, False)

    def _layer(self, name: str, current: Current, neuron: FoldedNeuron | None, shape: Shape,
               notes: Sequence[str], module: str, exact: bool) -> Maps:
        names = (*current.names, module)
        taken = {layer.name for layer in self.layers}
        unique = next(n for n in (name, *(f"{name}#{i}" for i in range(2, len(taken) + 3)))
                      if n not in taken)
        self.layers.append(FoldedLayer(
            name=unique, branches=current.branches, bias=current.bias, neuron=neuron, shape=shape,
            modules=tuple(dict.fromkeys(n for n in names if n)), notes=tuple(notes), exact=exact))
        return self._map(len(self.layers) - 1, shape)

    def folded(self, steps: int, input_bits: int | None = None, *, last: str | None = None,
               count_bits: int = 0, made: type[Folded] = Folded, **options: Any) -> Any:
        """The graph that ends with a layer, by default the last one.

        Layers that it does not need are left out. count_bits: the input is counts of so many bits.
        made: `Folded`, or a class that has more fields, which come as options.
        """
        if not self.layers:
            raise ValueError("the network has no layer that the array could run")
        names = [layer.name for layer in self.layers]
        needed = {len(names) - 1 if last is None else names.index(last)}
        for number in reversed(range(len(self.layers))):
            if number in needed:
                needed |= {branch.source for branch in self.layers[number].branches} - {INPUT}
        place = {INPUT: INPUT} | {number: at for at, number in enumerate(sorted(needed))}
        layers = tuple(replace(self.layers[number], branches=tuple(
            replace(branch, source=place[branch.source])
            for branch in self.layers[number].branches)) for number in sorted(needed))
        shape = (self.shape[0] // max(count_bits, 1), *self.shape[1:])
        return made(input_shape=shape, layers=layers, steps=steps, input_bits=input_bits,
                    count_bits=count_bits, **options)


def _memoryless(threshold: float) -> FoldedNeuron:
    """A neuron that fires where I >= threshold, whatever was before."""
    return _Fixed(canonical_linear(decay=0.0, threshold=threshold, reset=0.0))
