"""From a trained network to integers: fold tdBN, move the neurons to the canonical map, round.

After folding, the current of a layer is I = sum over branches of W * source + b. The canonical map
takes J = gain I + offset, so its weights are gain W and its bias is gain b + offset. The integer
weights of channel o are round(gain W[o] 2^exponent[o]). In state LSBs of 2^-F this makes

    J = round(acc 2^-shift) + bias,     shift = exponent + input_bits - F

since a pixel p of input_bits bits stands for p / 2^input_bits. A readout has gain 1 and offset 0;
its logits have the LSB 2^-F in all channels.

| step | function |
|---|---|
| a network with fake quantisation, to calibrate or train on | `to_grid` |
| set the biases by the mean currents of some samples | `calibrate` |
| the integers | `to_integer` |
| `to_grid` and `to_integer` in one | `quantize` |
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quadfire.models.integer import (
    INPUT,
    ConvBranch,
    IdentityBranch,
    IntegerLayer,
    IntegerNetwork,
    MembraneAnswer,
)
from quadfire.models.integer.bounds import current_range
from quadfire.models.networks import ImageNetwork
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons.canonical import Canonical
from quadfire.models.quantize.fake_quant import (
    GridAnswer,
    GridBranch,
    GridLayer,
    GridNetwork,
    GridNeuron,
    round_half_up,
)
from quadfire.models.quantize.fold import fold
from quadfire.models.quantize.folded import Folded, FoldedLayer
from quadfire.models.quantize.scales import choose_exponent
from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import Neuron

__all__ = ["calibrate", "fitted", "quantize", "real_network", "to_grid", "to_integer"]

#: Most values of a layer, over all time steps, on which `fitted` tries units of w.
MOST_TRIED = 1 << 22


def _on_grid(layer: FoldedLayer, canonical: Canonical, state_bits: int,
             fraction_bits: int) -> GridNeuron:
    """The neuron of a layer on the grid. Raises ValueError where the state cannot hold it."""
    assert layer.neuron is not None
    try:
        integer = canonical.integer(state_bits, fraction_bits)
    except ValueError as error:
        raise ValueError(f"layer {layer.name!r}: {error}") from None
    scale = torch.as_tensor(canonical.scale, dtype=torch.float64).mean().item()
    window = scale * float(layer.neuron.window)
    return GridNeuron(integer, canonical, fraction_bits, window * (1 << fraction_bits),
                      layer.neuron.surrogate)


def _gain(canonical: Canonical | None) -> tuple[Tensor, Tensor]:
    """(gain, offset) of J = gain I + offset, float64, one number or [channels]; a readout has I."""
    gain, offset = (1.0, 0.0) if canonical is None else (canonical.gain, canonical.offset)
    return torch.tensor(gain, dtype=torch.float64), torch.tensor(offset, dtype=torch.float64)


def _branches(layer: FoldedLayer, gain: Tensor, weight_bits: int) -> list[GridBranch]:
    """The branches of a layer in units of w."""
    made = []
    for branch in layer.branches:
        each = gain.view(-1, *[1] * (branch.weight.ndim - 1)) if gain.ndim else gain
        made.append(GridBranch(branch, each * branch.weight, weight_bits))
    return made


def _input_bits(layer: FoldedLayer, input_bits: int) -> int:
    """Bits of the pixels that a layer reads, 0 where it reads spikes."""
    return input_bits if any(branch.source == INPUT for branch in layer.branches) else 0


def _answer(graph: Folded, canonical: Canonical | None, fraction_bits: int) -> GridAnswer | None:
    """The answer of a graph whose last neuron is `canonical`, on the grid.

    Raises ValueError where channels have potentials of different units, so that the largest w is
    not the largest potential.
    """
    if graph.answer is None:
        return None
    last = graph.layers[-1]
    if last.neuron is None or canonical is None:
        raise ValueError(f"layer {last.name!r}: the answer is its potential, but it has no neurons")
    if canonical.channels is not None and any(
            isinstance(value, tuple) for value in (canonical.scale, canonical.center)):
        raise ValueError(f"layer {last.name!r}: the answer is its potential, and channels differ "
                         "in threshold or reset potential: train the last layer with one of each, "
                         "or take the count of its spikes as the answer")
    scale, own = canonical.scale, last.neuron.canonical().scale
    assert isinstance(scale, float | int) and isinstance(own, float | int)
    delta = graph.answer.delta * (scale / own)
    integer = MembraneAnswer(over=graph.answer.over,
                             delta=math.floor(delta * (1 << fraction_bits) + 0.5))
    assert not isinstance(canonical.center, tuple)
    return GridAnswer(integer, delta, float(scale), canonical.center, fraction_bits)


def real_network(graph: Folded, neurons: Sequence[Canonical | None], *,
                 input_bits: int = 0) -> GridNetwork:
    """The folded network in real numbers, float64: nothing is rounded or clamped by a format.

    neurons: the canonical neuron of every layer, in any unit of w.
    """
    layers = []
    for folded, canonical in zip(graph.layers, neurons, strict=True):
        gain, offset = _gain(canonical)
        neuron = None
        if canonical is not None:
            # Integers that are not used: the real neuron computes.
            whole = Neuron(square=canonical.factor is None, soft=canonical.soft, factor=0, theta=1,
                           lo=-1, hi=1, initial=0, reset=0, delta=0)
            neuron = GridNeuron(whole, canonical, 0, 1.0, "rectangular")
        bits = _input_bits(folded, input_bits)
        layer = GridLayer(folded.name, _branches(folded, gain, 8), gain * folded.bias + offset,
                          torch.zeros(len(folded.bias)), neuron, weight_bits=8, fraction_bits=0,
                          input_bits=bits, exponent_range=(0, 0))
        layer.rounded = False
        layers.append(layer)
    return GridNetwork(layers, input_shape=graph.input_shape, steps=graph.steps,
                       input_bits=input_bits, state_bits=18, fraction_bits=0,
                       count_bits=graph.count_bits, answer=_answer(graph, neurons[-1], 0)).eval()


@torch.no_grad()
def fitted(graph: Folded, neurons: Sequence[Canonical | None], inputs: Tensor, *,
           input_bits: int = 0, state_bits: int = 12,
           fraction_bits: int = 10) -> list[Canonical | None]:
    """The neurons in the units of w in which their integers spike most as the real numbers do.

    A linear neuron spikes alike in any unit, but its integers do not: a large unit clamps
    potentials, a small one rounds them. So every power of two is tried with the currents that
    `inputs` cause, from that in which the neuron's own values fit to that in which all potentials
    do; of equals the largest threshold is taken. Where the answer is the potentials of a layer,
    these shall differ least. Quadratic neurons have no choice.
    """
    network = real_network(graph, neurons, input_bits=input_bits)
    places = {layer.name: place for place, layer in enumerate(graph.layers)}
    result = list(neurons)

    def choose(layer: GridLayer, currents: Tensor) -> Tensor:
        place = places[layer.name]
        canonical = neurons[place]
        if canonical is None or canonical.factor is None or graph.layers[place].exact:
            return currents
        all_steps = currents.expand(graph.steps, *currents.shape[1:])
        some = all_steps[:, :max(1, MOST_TRIED // max(all_steps[:, :1].numel(), 1))]
        answers = graph.answer is not None and place == len(neurons) - 1
        result[place] = _best_unit(layer, canonical, some, state_bits, fraction_bits, answers)
        return currents

    for _ in network.run(inputs, choose):
        pass
    return result


def _best_unit(layer: GridLayer, canonical: Canonical, currents: Tensor, state_bits: int,
               fraction_bits: int, answers: bool) -> Canonical:
    """A neuron in its best unit for currents [T, N, C, H, W], in units of w.

    answers: its potentials are the answer.
    """
    highest = [0.0]

    def watch(v: Tensor) -> None:
        highest[0] = max(highest[0], float(v.abs().max()))

    assert layer.neuron is not None
    layer.watch = watch
    states: list[Tensor] = []
    expected = layer.spikes(currents, layer.neuron, states)
    layer.watch = None
    own = max(abs(value) for value in (canonical.theta, canonical.delta, canonical.initial,
                                       canonical.reset) if math.isfinite(value))
    reach = 2.0 ** (state_bits - fraction_bits - 1)
    last = math.floor(math.log2(max(highest[0], own, 1e-30))) + 1
    if math.isinf(canonical.theta):     # an integrator answers with its potential: all must fit
        return canonical.rescaled(reach * 2.0 ** -last) if max(highest[0], own) else canonical
    octaves = range(math.floor(math.log2(own)) + 1, last + 1)
    best, most = canonical, -math.inf
    for octave in octaves:
        unit = reach * 2.0 ** -octave
        tried = canonical.rescaled(unit)
        try:
            integer = tried.integer(state_bits, fraction_bits)
        except ValueError:      # its threshold is rounded to its reset potential, or to the limit
            continue
        layer.rounded, layer.fraction_bits = True, fraction_bits
        tried_states: list[Tensor] = []
        lsb = unit * (1 << fraction_bits)
        found = layer.spikes(round_half_up(currents * lsb),
                             GridNeuron(integer, tried, fraction_bits, 1.0, "rectangular"),
                             tried_states)
        layer.rounded, layer.fraction_bits = False, 0
        equal = int((found == expected).sum())
        if answers:
            equal = -sum(float((w / lsb - real).abs().sum())
                         for w, real in zip(tried_states, states, strict=True))
        if equal > most:
            best, most = tried, equal
    return best


def to_grid(network: SpikingMLP | ImageNetwork | Folded, *, weight_bits: int = 8,
            state_bits: int = 12, fraction_bits: int = 10,
            accumulator_bits: int = ArrayConfig.accumulator_bits, input_bits: int | None = None,
            learn_scales: bool = False, inputs: Tensor | None = None) -> GridNetwork:
    """The network on the grid, the numbers that the array can hold; see `fake_quant`.

    | argument | meaning |
    |---|---|
    | weight_bits | 4 or 8 |
    | state_bits, fraction_bits | the membrane potential is Q(W-F).F |
    | accumulator_bits | no sum of weights leaves this many bits |
    | input_bits | 8 for bytes, 0 for spikes; None: what the network says, else 8 |
    | learn_scales | training on the grid moves the exponents, too |
    | inputs | samples that choose the unit of w of every linear neuron, see `fitted` |

    The result is quantised as it stands; training it on adapts the weights to the grid.
    Raises ValueError for a network that cannot be folded, and for a neuron or a channel that does
    not fit its format.
    """
    graph, layers = fold(network), []
    if graph.input_bits is not None:
        input_bits = graph.input_bits
    elif input_bits is None:
        input_bits = 8
    neurons = graph.neurons
    if inputs is not None:
        neurons = fitted(graph, neurons, inputs, input_bits=input_bits, state_bits=state_bits,
                         fraction_bits=fraction_bits)
    for folded, canonical in zip(graph.layers, neurons, strict=True):
        neuron = canonical and _on_grid(folded, canonical, state_bits, fraction_bits)
        gain, offset = _gain(canonical)
        branches = _branches(folded, gain, weight_bits)
        bits = _input_bits(folded, input_bits)
        limits = (-bits, 31 - bits)     # the array can do 0 <= shift + fraction_bits <= 31
        try:
            exponent = choose_exponent(branches, accumulator_bits=accumulator_bits,
                                       lowest=limits[0], highest=limits[1])
        except ValueError as error:
            raise ValueError(f"layer {folded.name!r}, {error}") from None
        layers.append(GridLayer(folded.name, branches, gain * folded.bias + offset, exponent,
                                neuron, weight_bits=weight_bits, fraction_bits=fraction_bits,
                                input_bits=bits, exponent_range=limits,
                                learn_scales=learn_scales, exact=folded.exact))
    return GridNetwork(layers, input_shape=graph.input_shape, steps=graph.steps,
                       input_bits=input_bits, state_bits=state_bits, fraction_bits=fraction_bits,
                       count_bits=graph.count_bits, about=graph.about(),
                       answer=_answer(graph, neurons[-1], fraction_bits))


@torch.no_grad()
def calibrate(grid: GridNetwork, network: SpikingMLP | ImageNetwork | Folded,
              inputs: Tensor) -> None:
    """Set the biases of `grid` so that every channel has the mean current that it has in `network`.

    It goes layer by layer, with the spikes of the layers that are calibrated already, and takes out
    what rounding adds to a mean (arXiv:1906.04721, section 4.2). It needs no labels.
    inputs: some hundred samples, as both networks take them. `grid` is in eval mode afterwards.
    """
    first, *_ = grid.eval()
    real = real_network(fold(network), [layer.neuron and layer.neuron.real for layer in grid],
                        input_bits=grid.input_bits).to(first.bias.dtype)
    means: dict[str, Tensor] = {}

    def mean(values: Tensor) -> Tensor:
        """Mean of every channel of [T, N, channels, ...]."""
        return values.double().transpose(0, 2).flatten(1).mean(1)

    def keep(layer: GridLayer, currents: Tensor) -> Tensor:
        means[layer.name] = mean(currents)
        return currents

    def adjust(layer: GridLayer, currents: Tensor) -> Tensor:
        if layer.exact:
            return currents
        one = 1 << layer.fraction_bits
        before = layer.integer_bias()
        layer.bias.data += means[layer.name].to(layer.bias) - mean(currents).to(layer.bias) / one
        return currents + (layer.integer_bias() - before)[:, None, None]

    for _ in real.run(inputs, keep):
        pass
    for _ in grid.run(inputs, adjust):
        pass


def _branch(branch: GridBranch, exponent: Tensor) -> ConvBranch | IdentityBranch:
    """The integers of a branch."""
    weight = branch.integer_weight(exponent).cpu().numpy()
    if branch.is_identity:
        return IdentityBranch(source=branch.source, weight=weight.astype(np.int32))
    return ConvBranch(source=branch.source, weight=weight.astype(np.int8), stride=branch.stride,
                      padding=branch.padding, pool=branch.pool, gain=branch.gain)


@torch.no_grad()
def to_integer(grid: GridNetwork, about: dict[str, Any] | None = None, *,
               accumulator_bits: int = ArrayConfig.accumulator_bits,
               current_bits: int = ArrayConfig.current_bits) -> IntegerNetwork:
    """The integers of a network on the grid.

    about: kept in the file of the network, beside `grid.about`. Raises ValueError where a sum could
    need more than accumulator_bits, or a current more than current_bits.
    """
    layers = []
    for layer in grid:
        exponent = layer.exponent
        made = IntegerLayer(name=layer.name, weight_bits=layer.weight_bits,
                            branches=tuple(_branch(branch, exponent) for branch in layer),
                            shift=layer.shift.cpu().numpy().astype(np.int8),
                            bias=layer.integer_bias().cpu().numpy().astype(np.int32),
                            neuron=layer.neuron and layer.neuron.integer)
        for what, (low, high), bits, remedy in (
                ("sums", made.sum_range(), accumulator_bits, "fewer weight bits"),
                ("currents", current_range(made, layer.input_bits), current_bits,
                 "fewer fraction bits")):
            if max(-low.min() - 1, high.max()) >= 1 << (bits - 1):
                raise ValueError(f"layer {made.name!r}: {what} reach {low.min()}..{high.max()}, "
                                 f"more than {bits} bits: use {remedy}")
        layers.append(made)
    return IntegerNetwork(input_shape=grid.input_shape, layers=tuple(layers), steps=grid.steps,
                          input_bits=grid.input_bits, state_bits=grid.state_bits,
                          fraction_bits=grid.fraction_bits, count_bits=grid.count_bits,
                          answer=grid.answer and grid.answer.integer,
                          about=grid.about | (about or {}))


def quantize(network: SpikingMLP | ImageNetwork | Folded, **options: Any) -> IntegerNetwork:
    """Post-training quantisation: `to_integer(to_grid(network, **options))`."""
    return to_integer(to_grid(network, **options))
