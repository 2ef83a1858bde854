"""The integer reference: what the hardware must compute, bit for bit, in PyTorch.

The arithmetic is `quadfire.rtl.contract.numerics`, on int64 tensors. Only the sums of weights and spikes are done in
floating point, for speed, as a product of matrices: all of its terms and partial sums are integers
that lie in the branch's `sum_range`, so it is exact in whatever order it is summed, in float32
where they stay below 2^24 and in float64 (2^53) otherwise. Convolutions are matrix products of
unfolded maps, never an algorithm that transforms its inputs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.rtl.contract.numerics import READOUT_BITS, current, neuron_step

from quadfire.models.integer.encoding import present_maps
from quadfire.models.integer.branches import INPUT, ConvBranch, IdentityBranch, Pool
from quadfire.models.integer.layer import IntegerLayer
from quadfire.models.integer.network import IntegerNetwork

__all__ = ["Result", "run"]

#: Values of an unfolded map that are held at a time.
CHUNK = 1 << 24


@dataclass(frozen=True)
class Result:
    """What a batch came to.

    logits: int64 [N, outputs], the readout's sum of J over time, or without a readout the number
    of spikes. With `record`, one entry a layer: spikes, bool [T, N, C, H, W] (neurons only), and
    membranes, int64 [T, N, C, H, W] after reset (the readout's: its running sum). Maps of 1 x 1
    are [T, N, C].
    """

    logits: Tensor
    spikes: tuple[Tensor, ...] = ()
    membranes: tuple[Tensor, ...] = ()

    @property
    def classes(self) -> Tensor:
        """Index of the largest logit, int64 [N]; the lowest index wins a tie."""
        return self.logits.argmax(1)


def _pooled(x: Tensor, pool: Pool | None) -> Tensor:
    """Sum or OR over the windows of x [B, C, H, W], floating point."""
    if pool is None:
        return x
    if pool.kind == "max":
        return functional.max_pool2d(x, pool.size, pool.stride, pool.padding)
    return functional.avg_pool2d(x, pool.size, pool.stride, pool.padding, divisor_override=1)


def _conv(branch: ConvBranch, x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sums [B, outputs, H, W] of a pooled map x [B, C, H', W'], in floating point that is exact."""
    weight = torch.from_numpy(branch.weight).to(x.dtype).flatten(1)
    if tuple(x.shape[2:]) == branch.kernel and not branch.padding:
        return (x.flatten(1) @ weight.T).view(-1, *shape)
    if branch.kernel == (1, 1):
        columns = x[..., ::branch.stride, ::branch.stride].flatten(2)
    else:
        columns = functional.unfold(x, branch.kernel, padding=branch.padding, stride=branch.stride)
    return torch.bmm(weight.expand(len(x), -1, -1), columns).view(-1, *shape)


def _sums(layer: IntegerLayer, map_of: Callable[[int], Tensor], shape: tuple[int, ...],
          largest: int) -> Tensor:
    """acc, int64 [T, N, outputs, H, W], of integer maps [T, N, C, H, W] of values to `largest`."""
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
    """J of acc, both int64 [T, N, outputs, H, W]."""
    bias = torch.from_numpy(layer.bias).long()[:, None, None]
    result = torch.empty_like(acc)
    for shift in np.unique(layer.shift):
        channels = torch.from_numpy(np.flatnonzero(layer.shift == shift))
        result[:, :, channels] = current(acc[:, :, channels], int(shift), bias[channels])
    return result


@torch.no_grad()
def run(network: IntegerNetwork, inputs: Tensor | np.ndarray, *, record: bool = False) -> Result:
    """Run a batch: uint8 pixels [N, C, H, W], or uint8 or bool spikes [T, N, C, H, W].

    Both may be flat, [..., C * H * W]. Raises TypeError and ValueError for inputs of another type,
    shape or range, OverflowError when a readout leaves its 32 bits.
    """
    maps = {INPUT: present_maps(torch.as_tensor(inputs), shape=network.input_shape,
                                steps=network.steps, input_bits=network.input_bits)}
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
            w, states = torch.full_like(currents[0], layer.neuron.initial), []
            for j in currents:
                states.append(neuron_step(w, j, layer.neuron, network.fraction_bits))
                w = states[-1][1]
            fired, membrane = (torch.stack(part) for part in zip(*states, strict=True))
            maps[index] = fired
        for source in {*layer.sources}:
            if last_reader[source] == index:
                del maps[source]            # nobody reads it again
        if record or index == len(network.layers) - 1:
            squeeze = shape[1:] == (1, 1)
            membranes.append(membrane.flatten(2) if squeeze else membrane)
            if fired is not None:
                spikes.append(fired.flatten(2) if squeeze else fired)
    if network.layers[-1].neuron is None:
        logits = membranes[-1][-1]
        if logits.numel() and int(logits.abs().max()) >> (READOUT_BITS - 1):
            raise OverflowError(f"the readout leaves its {READOUT_BITS} bits")
    else:
        logits = spikes[-1].sum(0)
    return Result(logits, *((tuple(spikes), tuple(membranes)) if record else ()))
