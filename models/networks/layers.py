"""The spiking layers that networks are made of: weights, then tdBN, then neurons."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from quadfire.models import kernels
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["ConvLayer", "DenseLayer", "check_step_mode", "over_time", "spikes_of"]


def check_step_mode(neuron: SpikingNeuron) -> None:
    """Raise ValueError for a neuron with step_mode "s".

    A network passes whole sequences [T, N, ...]. Such a neuron would take time for a batch axis.
    """
    if neuron.step_mode != "m":
        raise ValueError("the neurons of a network run sequences: step_mode must be 'm', not "
                         f"{neuron.step_mode!r}")


def over_time(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply a `module` without state to every time step of x [T, N, C, H, W].

    The result has channels innermost in memory. On a CPU this halves the time of pooling and tdBN.
    """
    order = torch.channels_last
    x, times = x.flatten(0, 1), x.shape[:2]
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride:
        x = x.contiguous()      # channels_last corrupts memory here: torch 2.13, below 8 channels
    else:
        x = x.contiguous(memory_format=order)
    run = module
    if isinstance(module, nn.Module) and not _watched(module):
        run = kernels.fast(module) or module
    return run(x).contiguous(memory_format=order).unflatten(0, times)


def _watched(module: nn.Module) -> bool:
    """Whether somebody is to see what goes in or comes out of a module."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def spikes_of(neuron: SpikingNeuron, parts: list[tuple[TDBatchNorm, Tensor]], steps: int) -> Tensor:
    """Spikes [T, N, ...] of a neuron from rest, whose current is the sum of norms of parts.

    A part is [T, N, ...] or, constant, [1, N, ...]. One fused operation where that can be.
    """
    neuron.reset()
    wide = [(norm, x.float() if x.dtype in (torch.bfloat16, torch.float16) else x)
            for norm, x in parts]
    if not _watched(neuron) and len({x.shape for _, x in wide}) == 1 and all(
            neuron.fusible(x) and not norm.shared and not _watched(norm) for norm, x in wide):
        return neuron.fused([norm.affine(x) for norm, x in wide], steps)
    first, *others = (norm(x) for norm, x in parts)
    current: Tensor = sum(others, start=first)      # pyright: ignore[reportAssignmentType]
    return neuron(current.expand(steps, *current.shape[1:]))


class DenseLayer(nn.Module):
    """Fully connected layer: linear -> tdBN -> neuron.

    | argument        | meaning |
    |-----------------|---|
    | inputs, outputs | number of inputs, number of neurons |
    | neuron          | the layer's neuron, not copied |
    | steps           | time steps T |
    | alpha           | scale of the currents, see `TDBatchNorm` |

    `forward` takes [T, N, inputs] and returns spikes [T, N, outputs]. A constant input may come as
    [1, N, inputs]: the layer then computes its current once and repeats it `steps` times.
    """

    def __init__(self, inputs: int, outputs: int, neuron: SpikingNeuron, steps: int, alpha: float):
        super().__init__()
        self.steps = steps
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = TDBatchNorm(outputs, alpha, neuron.v_threshold)
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        return spikes_of(self.neuron, [(self.norm, self.linear(x))], self.steps)


class ConvLayer(nn.Module):
    """Convolutional layer: convolution -> tdBN -> neuron.

    | argument        | meaning |
    |-----------------|---|
    | inputs, outputs | channels in, channels out |
    | neuron          | copied for this layer |
    | steps           | time steps T |
    | kernel          | odd kernel size; padding kernel // 2 keeps H and W at stride 1 |
    | stride          | stride of the convolution |
    | alpha           | scale of the currents, see `TDBatchNorm` |

    `forward` takes [T, N, inputs, H, W] and returns spikes [T, N, outputs, H', W']. A constant
    input may come as [1, N, inputs, H, W], as in `DenseLayer`.
    """

    def __init__(self, inputs: int, outputs: int, neuron: SpikingNeuron, *, steps: int,
                 kernel: int = 3, stride: int = 1, alpha: float = 1.0):
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = TDBatchNorm(outputs, alpha, neuron.v_threshold)
        self.neuron = copy.deepcopy(neuron)

    def forward(self, x: Tensor) -> Tensor:
        return spikes_of(self.neuron, [(self.norm, over_time(self.conv, x))], self.steps)
