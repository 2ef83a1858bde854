"""The integer reference: what the hardware must compute, bit for bit, in PyTorch.

The arithmetic is that of `quadfire.rtl.contract.numerics`, on int64 tensors. Only the sums of
weights and spikes are done in floating point, as matrix products, for speed. They are exact in any
order of summation: every partial sum is an integer within the branch's `sum_range`, and float32
holds all integers below 2^24, float64 all below 2^53. Convolutions are matrix products of unfolded
maps, never an algorithm that transforms its inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.integer.branches import INPUT, ConvBranch, IdentityBranch, Pool
from quadfire.models.integer.encoding import present_maps
from quadfire.models.integer.layer import IntegerLayer
from quadfire.models.integer.network import IntegerNetwork
from quadfire.rtl.contract.numerics import READOUT_BITS, Neuron, current, neuron_step

__all__ = ["Result", "run"]

#: Most values of unfolded maps that are in memory at a time.
CHUNK = 1 << 24


@dataclass(frozen=True)
class Result:
    """The results of a batch.

    | field | shape | meaning |
    |---|---|---|
    | logits | int64 [N, outputs] | sum of J over time; without a readout, number of spikes, or |
    |  |  | what the network's `answer` says |
    | spikes | bool [T, N, C, H, W] | one entry per layer of neurons |
    | membranes | int64 [T, N, C, H, W] | one entry per layer, after reset; readout: running sum |

    Spikes and membranes are there with `record` only. Maps of 1 x 1 are [T, N, C].
    """

    logits: Tensor
    spikes: tuple[Tensor, ...] = ()
    membranes: tuple[Tensor, ...] = ()

    @property
    def classes(self) -> Tensor:
        """Index of the largest logit, int64 [N]; of equal ones the lowest index."""
        return self.logits.argmax(1)


def _pooled(x: Tensor, pool: Pool | None) -> Tensor:
    """Sum or OR over the windows of a floating-point map x [B, C, H, W]."""
    if pool is None:
        return x
    if pool.kind == "max":
        return functional.max_pool2d(x, pool.size, pool.stride, pool.padding)
    return functional.avg_pool2d(x, pool.size, pool.stride, pool.padding, divisor_override=1)


def _conv(branch: ConvBranch, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums [B, *shape] of a pooled map x [B, C, H', W'], exact in the dtype of x."""
    weight = torch.from_numpy(branch.weight).to(x.dtype).flatten(1)
    if tuple(x.shape[2:]) == branch.kernel and not any(branch.padding):
        return (x.flatten(1) @ weight.T).view(-1, *shape)
    if branch.kernel == (1, 1):
        columns = x[..., ::branch.stride[0], ::branch.stride[1]].flatten(2)
    else:
        columns = functional.unfold(x, branch.kernel, padding=branch.padding, stride=branch.stride)
    return torch.bmm(weight.expand(len(x), -1, -1), columns).view(-1, *shape)


def _sums(layer: IntegerLayer, map_of: Callable[[int], Tensor], shape: tuple[int, ...],
          largest: int) -> Tensor:
    """acc, int64 [T, N, *shape], of integer maps [T, N, C, H, W] with values up to `largest`."""
    total = 0
    for branch in layer.branches:
        x = map_of(branch.source)
        flat = x.flatten(0, 1)
        if isinstance(branch, IdentityBranch):
            part = flat.long() * torch.from_numpy(branch.weight).long()[:, None, None]
        else:
            low, high = branch.sum_range()
            reach = max(-int(low.min()), int(high.max())) * largest
            dtype = torch.float32 if reach < 1 << 24 else torch.float64
            size = branch.weight[0].size * shape[1] * shape[2] + x.shape[2:].numel()
            part = torch.cat([_conv(branch, _pooled(some.to(dtype), branch.pool), shape).long()
                              for some in flat.split(max(1, CHUNK // size))]) * branch.gain
        total = total + part.unflatten(0, x.shape[:2])
    assert isinstance(total, Tensor)
    return total


def _currents(layer: IntegerLayer, acc: Tensor) -> Tensor:
    """J from acc, both int64 [T, N, outputs, H, W]."""
    bias = torch.from_numpy(layer.bias).long()[:, None, None]
    result = torch.empty_like(acc)
    for shift in np.unique(layer.shift):
        channels = torch.from_numpy(np.flatnonzero(layer.shift == shift))
        result[:, :, channels] = current(acc[:, :, channels], int(shift), bias[channels])
    return result


def _spikes(neuron: Neuron, currents: Tensor, fraction_bits: int) -> tuple[Tensor, Tensor]:
    """(spikes, membranes after reset) of currents [T, N, outputs, H, W], both alike."""
    w, states = torch.full_like(currents[0], neuron.initial), []
    for j in currents:
        states.append(neuron_step(w, j, neuron, fraction_bits))
        w = states[-1][1]
    fired, membranes = (torch.stack(part) for part in zip(*states, strict=True))
    return fired, membranes


@torch.no_grad()
def run(network: IntegerNetwork, inputs: Tensor | np.ndarray, *, record: bool = False) -> Result:
    """Compute a network on a batch.

    inputs: uint8 pixels [N, C, H, W], uint8 or bool spikes or uint8 counts [T, N, C, H, W]; or
    flat, [..., C H W]. record: keep the spikes and membranes of all layers.
    Raises TypeError or ValueError for inputs of another type, shape or range, OverflowError when a
    readout leaves its 32 bits.
    """
    maps = {INPUT: present_maps(torch.as_tensor(inputs), shape=network.input_shape,
                                steps=network.steps, input_bits=network.input_bits,
                                count_bits=network.count_bits)}
    last_reader = {source: index for index, layer in enumerate(network.layers)
                   for source in layer.sources}
    spikes, membranes = [], []
    for index, (layer, shape) in enumerate(zip(network.layers, network.shapes, strict=True)):
        acc = _sums(layer, maps.__getitem__, shape, (1 << max(network.bits_of(layer), 1)) - 1)
        currents = _currents(layer, acc).expand(network.steps, -1, -1, -1, -1)
        fired = None
        if layer.neuron is None:
            membrane = currents.cumsum(0)
        else:
            fired, membrane = _spikes(layer.neuron, currents, network.fraction_bits)
            maps[index] = fired
        for source in {*layer.sources}:
            if last_reader[source] == index:
                del maps[source]
        if record or index == len(network.layers) - 1:
            squeeze = shape[1:] == (1, 1)
            membranes.append(membrane.flatten(2) if squeeze else membrane)
            if fired is not None:
                spikes.append(fired.flatten(2) if squeeze else fired)
    if network.answer is not None:
        logits = torch.from_numpy(network.answer.logits(membranes[-1].numpy(), spikes[-1].numpy()))
    elif network.layers[-1].neuron is None:
        logits = membranes[-1][-1]
        if logits.numel() and int(logits.abs().max()) >> (READOUT_BITS - 1):
            raise OverflowError(f"the readout leaves its {READOUT_BITS} bits")
    else:
        logits = spikes[-1].sum(0)
    return Result(logits, *((tuple(spikes), tuple(membranes)) if record else ()))
