"""What a layer must compute, by the definition of a convolution and of a neuron, in plain integers.

A `LayerDefinition` is some tiles of outputs: branches (maps, kernels, pools) that add up to one
output map, and neurons with a bias per output.
"""

from dataclasses import dataclass

import numpy as np

from quadfire.rtl.contract.config import ArrayConfig
from quadfire.rtl.contract.numerics import Neuron, neuron_step, round_shift
from quadfire.rtl.contract.tape import Emit

__all__ = ["Branch", "LayerDefinition", "expected"]


@dataclass(kw_only=True)
class Branch:
    """spikes [slots, C, H, W] through a pool and a kernel [outputs, C, k, k].

    pool: size and step of its windows, which reach `pool_padding` pixels out of the map; any: a
    window counts once. wide [lanes]: instead of a kernel, output c adds wide[c] for channel c.
    """

    spikes: np.ndarray
    weight: np.ndarray | None = None
    padding: int = 0
    pool: tuple[int, int] = (1, 1)
    pool_padding: int = 0
    any: bool = False
    wide: np.ndarray | None = None

    @property
    def kernel(self) -> int:
        return 1 if self.weight is None else self.weight.shape[-1]

    def pooled(self) -> np.ndarray:
        """Number of spikes (or whether there is one) of every window."""
        size, step = self.pool
        x = np.pad(self.spikes, ((0, 0), (0, 0), *[(self.pool_padding,) * 2] * 2))
        rows, columns = ((n - size) // step + 1 for n in x.shape[2:])
        windows = [x[:, :, dy:dy + step * (rows - 1) + 1:step,
                     dx:dx + step * (columns - 1) + 1:step].astype(np.int64)
                   for dy in range(size) for dx in range(size)]
        return np.maximum.reduce(windows) if self.any else sum(windows)

    def sums(self, stride: int) -> np.ndarray:
        """[slots, outputs, H', W'] by the definition."""
        x = np.pad(self.pooled(), ((0, 0), (0, 0), *[(self.padding, self.padding)] * 2))
        if self.weight is None:
            return x[:, :len(self.wide), ::stride, ::stride] * self.wide[:, None, None]
        rows, columns = ((n - self.kernel) // stride + 1 for n in x.shape[2:])
        total = np.zeros((len(x), len(self.weight), rows, columns), np.int64)
        for ky in range(self.kernel):
            for kx in range(self.kernel):
                branch = x[:, :, ky:ky + stride * (rows - 1) + 1:stride,
                         kx:kx + stride * (columns - 1) + 1:stride]
                total += np.einsum("oc,schw->sohw", self.weight[:, :, ky, kx].astype(int), branch)
        return total


@dataclass(kw_only=True)
class LayerDefinition:
    """Parts that add up, then J = round(acc 2^-shift) + bias and a neuron, or none: a readout.

    bias, shift: [outputs], whole tiles. planes: the slots are bit planes of the input, for `steps`
    time steps; else there are as many steps as slots.
    """

    branches: list[Branch]
    neuron: Neuron | None
    bias: np.ndarray
    shift: np.ndarray
    steps: int
    planes: bool = False
    stride: int = 1
    emit: Emit = Emit.NONE


def expected(acc: np.ndarray, layer: LayerDefinition, config: ArrayConfig
             ) -> tuple[np.ndarray, np.ndarray]:
    """(spikes, membranes or sums of a readout), both [H', W', steps, outputs].

    acc: the sums, [slots, outputs, H', W'].
    """
    if layer.planes:
        acc = sum(plane << (len(acc) - 1 - index) for index, plane in enumerate(acc))[None]
    j = np.stack([round_shift(acc[:, output], int(layer.shift[output])) + int(layer.bias[output])
                  for output in range(acc.shape[1])], 1)
    if layer.planes:
        j = np.repeat(j, layer.steps, 0)
    if layer.neuron is None:
        states = np.cumsum(j, 0)
        spikes = np.zeros(j.shape, bool)
    else:
        w, spikes, states = np.full(j.shape[1:], layer.neuron.initial), [], []
        for now in j:
            spike, w = neuron_step(w, now, layer.neuron, config.fraction_bits)
            spikes.append(spike)
            states.append(w)
    return tuple(np.stack(a).transpose(2, 3, 0, 1) for a in (spikes, states))
