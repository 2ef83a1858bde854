"""What all networks on images share: the input, the readout over time, spike rates."""

import copy
import math
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from quadfire.models.integer.encoding import present_images
from quadfire.models.networks.multilayer import check_neuron
from quadfire.models.neurons import SpikingNeuron, make_neuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["ConvLayer", "ImageNetwork", "over_time", "scaled"]


def over_time(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`module`, which knows no time, on every step of x [T, N, C, H, W].

    Channels are innermost in memory: pooling and tdBN take half the time then, on a CPU.
    """
    order = torch.channels_last
    x, times = x.flatten(0, 1), x.shape[:2]
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) != module.stride:
        x = x.contiguous()      # in torch 2.13 the other order corrupts memory, below 8 channels
    else:
        x = x.contiguous(memory_format=order)
    return module(x).contiguous(memory_format=order).unflatten(0, times)


def scaled(channels: int, width: float) -> int:
    """A number of channels times a width, at least 1."""
    return max(1, round(channels * width))


class ConvLayer(nn.Module):
    """convolution -> tdBN -> neuron, [T, N, C, H, W] to spikes [T, N, channels, H', W'].

    A constant input comes as [1, N, C, H, W]: its current is computed once for all `steps`.
    kernel: odd; padding keeps the size where stride is 1. The neuron is copied.
    """

    def __init__(self, inputs: int, outputs: int, neuron: SpikingNeuron, *, steps: int,
                 kernel: int = 3, stride: int = 1, alpha: float = 1.0):
        super().__init__()
        self.steps = steps
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = TDBatchNorm(outputs, alpha, neuron.v_threshold)
        self.neuron = copy.deepcopy(neuron)

    def forward(self, x: Tensor) -> Tensor:
        self.neuron.reset()
        current = self.norm(over_time(self.conv, x))
        return self.neuron(current.expand(self.steps, *current.shape[1:]))


class ImageNetwork(nn.Module):
    """Base: logits [N, classes] of images, the mean over time of the readout of `features`.

    input_shape: (C, H, W). A subclass gives `features`, from [T or 1, N, C, H, W] to spikes
    [T, N, ...] of `readout`'s inputs, sets `readout`, and names itself by `kind`.
    """

    kind: str
    readout: nn.Linear

    def __init__(self, neuron: SpikingNeuron, *, input_shape: tuple[int, int, int], steps: int,
                 alpha: float):
        super().__init__()
        if len(input_shape) != 3 or min(input_shape) < 1:
            raise ValueError(f"input_shape must be (C, H, W), not {input_shape!r}")
        if steps < 1:
            raise ValueError(f"steps must be above 0, not {steps!r}")
        check_neuron(neuron)
        channels, height, width = input_shape
        self.input_shape = (channels, height, width)
        self.steps = steps
        self.alpha = alpha
        self.neuron_config = neuron.config()

    def config(self) -> dict[str, Any]:
        """The arguments that make this network again, see `network_from_config`."""
        return {"network": self.kind, "input_shape": list(self.input_shape), "steps": self.steps,
                "alpha": self.alpha, "neuron": self.neuron_config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """An untrained network from its `config()`."""
        config = {key: value for key, value in config.items() if key != "network"}
        return cls(**{**config, "input_shape": tuple(config["input_shape"]),
                      "neuron": make_neuron(**config["neuron"])})

    @property
    def classes(self) -> int:
        return self.readout.out_features

    @property
    def neurons(self) -> dict[str, SpikingNeuron]:
        """The layers of neurons by name, in the order in which spikes pass them."""
        return {name.removesuffix(".neuron"): module for name, module in self.named_modules()
                if isinstance(module, SpikingNeuron)}

    @property
    def rates(self) -> list[float]:
        """Share of neurons that spiked in a time step, per layer, in the last call."""
        return [neuron.rate for neuron in self.neurons.values()]

    @property
    def parameter_count(self) -> int:
        return sum(math.prod(parameter.shape) for parameter in self.parameters())

    def features(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, every_step: bool = False) -> Tensor:
        """Logits [N, classes]; with every_step [T, N, classes], whose mean they are.

        x: bytes [N, C, H, W] or flat [N, C * H * W], the same in every step; or frames
        [T, N, C, H, W]. Raises the errors of `encoding.present_images`.
        """
        x = present_images(x, shape=self.input_shape, steps=self.steps,
                           dtype=self.readout.weight.dtype)
        logits = self.readout(self.features(x))
        return logits if every_step else logits.mean(0)
