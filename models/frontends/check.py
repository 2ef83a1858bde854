"""`check`: every spike of every layer of a user's module against the map, in float64.

Layers are compared one at a time: a layer of the map reads the spikes that the module's own layers
gave. So the first difference is named where it arises, and one does not hide others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends.encoding import array_inputs, pixel_values, with_time_first
from quadfire.models.frontends.imported import Imported
from quadfire.models.frontends.importing import translated
from quadfire.models.frontends.recording import Node, record
from quadfire.models.frontends.translation import form_of, kind_of
from quadfire.models.integer import INPUT
from quadfire.models.integer.encoding import present_maps
from quadfire.models.quantize.fake_quant import GridLayer
from quadfire.models.quantize.quantize import real_network

__all__ = ["CheckReport", "LayerCheck", "check", "input_map"]

#: A potential this close to the threshold, relative to it, is a tie that rounding decides.
TIE = 1e-9


@dataclass
class LayerCheck:
    """One layer of neurons.

    | field | meaning |
    |---|---|
    | name | of the layer |
    | values | spikes compared: time steps, samples, neurons |
    | differences | spikes that are not the same |
    | ties | neurons that rounding decided, within TIE of the threshold; left out from there on |
    | outside | potentials that break the condition under which the map is exact |
    | rate | share of the module's values that are spikes |
    | first | the first difference, in words; empty: none |
    """

    name: str
    values: int = 0
    differences: int = 0
    ties: int = 0
    outside: int = 0
    rate: float = 0.0
    first: str = ""


@dataclass
class CheckReport:
    """All layers, in order. `str` of it is a table, with the first difference below."""

    layers: list[LayerCheck] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether every spike was the same."""
        return not any(layer.differences for layer in self.layers)

    def lines(self) -> Iterator[str]:
        for layer in self.layers:
            same = "all the same" if not layer.differences else \
                f"{layer.differences:,} differ ({layer.differences / max(layer.values, 1):.2%})"
            more = f", {layer.ties} ties left out" if layer.ties else ""
            more += f", {layer.outside:,} potentials outside of the condition" \
                if layer.outside else ""
            yield f"{layer.name}: {layer.values:,} values, {layer.rate:.1%} spikes: {same}{more}"
        yield from (f"{name}: not compared" for name in self.skipped)
        first = next((layer.first for layer in self.layers if layer.first), "")
        if first:
            yield f"check: {first}"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def input_map(network: Imported, x: Tensor) -> Tensor:
    """What the layers of the map read of an input as the module takes it: [T or 1, N, C, H, W]."""
    if network.input != "pixels":
        return present_maps(array_inputs(network, x), shape=network.input_shape,
                            steps=network.steps, input_bits=0,
                            count_bits=network.count_bits).double()
    if network.layout != "N":
        x = with_time_first(x, network.steps, network.layout)[0]
    return pixel_values(network, x).unsqueeze(0)


def _spikes(node: Node, steps: int, shape: tuple[int, ...]) -> Tensor | None:
    """What a node of neurons gave, as spikes [T, N, C, H, W]; None where the size is another."""
    outputs = [given for _, given in node.kept]
    if len(outputs) > 1:
        whole = torch.stack(outputs)
    else:
        assert node.module is not None
        whole = with_time_first(outputs[0], steps, form_of(node.module).layout)
    size = whole[0, 0].numel() if whole.ndim > 1 else 0
    if size != shape[0] * shape[1] * shape[2]:
        return None
    return (whole != 0).double().reshape(steps, -1, *shape)


def _place(wrong: Tensor, spikes: Tensor, found: Tensor, potentials: Tensor, layer: GridLayer,
           ) -> str:
    """The first difference in words: by time step, then sample and neuron."""
    step, sample, channel, row, column = wrong.nonzero()[0].tolist()
    assert layer.neuron is not None
    form = layer.neuron.real

    def of(value: Any) -> float:
        return value[channel] if isinstance(value, tuple) else value

    at = (step, sample, channel, row, column)
    v = float(potentials[at]) / of(form.scale) + of(form.center)
    threshold = form.theta / of(form.scale) + of(form.center)
    where = f"channel {channel}" + ("" if wrong.shape[3:] == (1, 1) else f", y {row}, x {column}")
    return (f"layer {layer.name!r}, sample {sample}, step {step}, {where}: module "
            f"{int(spikes[at])}, map {int(found[at])} (v = {v:.7f}, threshold {threshold:g})")


@torch.no_grad()
def check(network: Imported, module: nn.Module, x: Tensor) -> CheckReport:
    """Compare every spike of every layer of `module` on `x` with the map in real numbers.

    x: some samples as the module takes them; where it runs one step a call, [T, N, ...] of spikes.
    Returns a `CheckReport`; `report.exact` says whether all spikes are the same.
    Raises ValueError where the module is not the one that the network was made of.
    """
    pixels = x
    if network.repeat and network.input == "pixels":
        x = x.expand(network.repeat, *x.shape)
    if network.repeat and len(x) != network.repeat:
        raise ValueError(f"the module runs one step a call: x must be [{network.repeat}, N, ...], "
                         f"not {list(x.shape)}")
    recording = record(module, x, known=kind_of, form=form_of, keep=True, repeat=network.repeat)
    translation = translated(recording, network.input_shape, network.steps, network.input,
                             bits=network.count_bits, mean=network.mean, std=network.std,
                             move_pools=network.move_pools)
    nodes = {name: node for node, name in translation.layer_of.items()}
    conditions = {name: translation.mapped[node].condition for name, node in nodes.items()}
    real = real_network(network, network.neurons, input_bits=network.input_bits or 0)
    maps = {INPUT: input_map(network, pixels if network.input == "pixels" else x)}
    report = CheckReport()
    for number, (layer, folded) in enumerate(zip(real, network.layers, strict=True)):
        if layer.neuron is None:
            break
        potentials: list[Tensor] = []
        layer.watch = potentials.append
        currents = layer.current(maps.__getitem__)
        found = layer.spikes(currents.expand(network.steps, *currents.shape[1:]), layer.neuron)
        maps[number] = found
        node = nodes.get(folded.name)
        if node is None and not folded.exact:
            raise ValueError(f"layer {folded.name!r} is not in this module: check the module that "
                             "was imported")
        if node is None or not translation.mapped[node].spiking:
            continue
        spikes = _spikes(node, network.steps, folded.shape)
        if spikes is not None and spikes.shape != found.shape:
            raise ValueError(f"layer {folded.name!r}: the module gave spikes {list(spikes.shape)}, "
                             f"the map {list(found.shape)} [T, N, C, H, W]")
        if spikes is None:
            report.skipped.append(folded.name)
            continue
        report.layers.append(_compared(layer, spikes, found, torch.stack(potentials),
                                       conditions[folded.name]))
        maps[number] = spikes
    return report


def _compared(layer: GridLayer, spikes: Tensor, found: Tensor, potentials: Tensor,
              condition: str) -> LayerCheck:
    """One layer: the module's spikes, those of the map, and its potentials, [T, N, C, H, W]."""
    assert layer.neuron is not None
    theta = layer.neuron.real.theta
    wrong = spikes != found
    tied = wrong & ((potentials - theta).abs() <= TIE * max(abs(theta), 1e-30))
    after = tied.cumsum(0) > 0
    # A neuron that went wrong at a tie is in another state from there on.
    real_wrong = wrong & ~after
    made = LayerCheck(layer.name, values=int((~after).sum()), differences=int(real_wrong.sum()),
                      ties=int(after[-1].sum()), rate=float(spikes.mean()))
    if condition:
        made.outside = int((potentials > 2 * theta).sum())
    if made.differences:
        made.first = _place(real_wrong, spikes, found, potentials, layer)
    return made
