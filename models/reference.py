"""The integer reference: what the hardware must compute, bit for bit, in PyTorch.

The arithmetic is `rtl.numerics`, on int64 tensors. Only acc = weights x inputs is done in float64,
for speed: every term and partial sum is an integer of at most inputs * 2^7 * (2^8 - 1) in
magnitude, below 2^53 for any layer that exists, so it is exact in whatever order it is summed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rtl.numerics import READOUT_BITS, current, neuron_step

from .encoding import present
from .integer import DenseLayer, IntegerNetwork

__all__ = ["Result", "run"]


@dataclass(frozen=True)
class Result:
    """What a batch came to.

    logits: int64 [N, outputs], the readout's sum of J over time, or without a readout the number
    of spikes. With `record`, one entry a layer: spikes, bool [T, N, outputs] (neurons only), and
    membranes, int64 [T, N, outputs] after reset (the readout's: its running sum).
    """

    logits: Tensor
    spikes: tuple[Tensor, ...] = ()
    membranes: tuple[Tensor, ...] = ()

    @property
    def classes(self) -> Tensor:
        """Index of the largest logit, int64 [N]; the lowest index wins a tie."""
        return self.logits.argmax(1)


def _currents(layer: DenseLayer, x: Tensor) -> Tensor:
    """J, int64 [T, N, outputs], of integer inputs [T, N, inputs]."""
    acc = (x.double() @ torch.from_numpy(layer.weight).double().T).long()
    bias = torch.from_numpy(layer.bias).long()
    result = torch.empty_like(acc)
    for shift in np.unique(layer.shift):
        channels = torch.from_numpy(np.flatnonzero(layer.shift == shift))
        result[..., channels] = current(acc[..., channels], int(shift), bias[channels])
    return result


def run(network: IntegerNetwork, inputs: Tensor | np.ndarray, *, record: bool = False) -> Result:
    """Run a batch: uint8 pixels [N, inputs], or uint8 or bool spikes [T, N, inputs].

    Raises TypeError and ValueError for inputs of another type, shape or range, OverflowError when a
    readout leaves its 32 bits.
    """
    x = present(torch.as_tensor(inputs), inputs=network.inputs, steps=network.steps,
                input_bits=network.input_bits)
    spikes, membranes = [], []
    for layer in network.layers:
        currents = _currents(layer, x).expand(network.steps, -1, -1)
        if layer.neuron is None:
            membranes.append(currents.cumsum(0))
            continue
        w = torch.full_like(currents[0], layer.neuron.initial)
        states = []
        for j in currents:
            states.append(neuron_step(w, j, layer.neuron, network.fraction_bits))
            w = states[-1][1]
        x, membrane = (torch.stack(part) for part in zip(*states, strict=True))
        spikes.append(x)
        membranes.append(membrane)
    if network.layers[-1].neuron is None:
        logits = membranes[-1][-1]
        if logits.numel() and int(logits.abs().max()) >> (READOUT_BITS - 1):
            raise OverflowError(f"the readout leaves its {READOUT_BITS} bits")
    else:
        logits = x.sum(0)
    return Result(logits, *((tuple(spikes), tuple(membranes)) if record else ()))
