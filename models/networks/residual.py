"""Residual networks in the form of the tdBN paper: a block adds currents, before its neuron.

    block(s) = neuron(tdBN(conv(neuron(tdBN(conv(s))))) + tdBN(shortcut(s)))

The shortcut is s itself, or a 1 x 1 convolution if the shape changes. Both tdBN at the addition
have alpha / sqrt(2): two independent currents of half the variance add up to the standard deviation
alpha V_th of every other current. A block turns spikes into spikes. Its tdBN fold away for the
array: at the shortcut into a 1 x 1 convolution, or into one weight per channel.

Source: arXiv:2011.05280.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from quadfire.models.networks.image_network import ImageNetwork, scaled
from quadfire.models.networks.layers import ConvLayer, DenseLayer, over_time, spikes_of
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.neurons.tdbn import TDBatchNorm

__all__ = ["Block", "ResNet", "resnet19", "resnet34"]


class Block(nn.Module):
    """Residual block: two 3 x 3 convolutions and a shortcut, see the module.

    | argument        | meaning |
    |-----------------|---|
    | inputs, outputs | channels in, channels out |
    | neuron          | copied for both layers of neurons |
    | steps           | time steps T |
    | stride          | of the first convolution and of the shortcut |
    | alpha           | scale of the currents, see `TDBatchNorm` |

    `forward` takes spikes [T, N, inputs, H, W] and returns spikes [T, N, outputs, H', W'].
    """

    def __init__(self, inputs: int, outputs: int, neuron: SpikingNeuron, *, steps: int,
                 stride: int = 1, alpha: float = 1.0):
        super().__init__()
        join = alpha / math.sqrt(2)
        self.first = ConvLayer(inputs, outputs, neuron, steps=steps, stride=stride, alpha=alpha)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm = TDBatchNorm(outputs, join, neuron.v_threshold)
        self.shortcut = nn.Identity() if (inputs, stride) == (outputs, 1) else \
            nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        self.shortcut_norm = TDBatchNorm(outputs, join, neuron.v_threshold)
        self.neuron = copy.deepcopy(neuron)

    def forward(self, x: Tensor) -> Tensor:
        return spikes_of(self.neuron, [(self.norm, over_time(self.conv, self.first(x))),
                                       (self.shortcut_norm, over_time(self.shortcut, x))],
                         self.first.steps)


class ResNet(ImageNetwork):
    """Residual network: stem, stages of blocks, mean over the image, dense layer, readout.

    | argument                          | meaning |
    |-----------------------------------|---|
    | widths, blocks                    | channels and number of blocks of every stage |
    | stem                              | "3x3"; "7x7": stride 2, then 3 x 3 pooling of stride 2 |
    | hidden                            | neurons of the dense layer; 0: no dense layer |
    | neuron, input_shape, steps, alpha | as in `ImageNetwork` |

    Every stage but the first halves the image. Raises ValueError unless widths and blocks have the
    same length and positive values, and for another stem.
    """

    kind = "resnet"

    def __init__(self, neuron: SpikingNeuron, *, widths: Sequence[int], blocks: Sequence[int],
                 classes: int, input_shape: tuple[int, int, int], stem: str = "3x3",
                 hidden: int = 0, steps: int = 4, alpha: float = 1.0):
        super().__init__(neuron, input_shape=input_shape, steps=steps, alpha=alpha)
        if len(widths) != len(blocks) or not blocks or min(*widths, *blocks, classes) < 1:
            raise ValueError(f"widths, blocks and classes must be above 0 and the first two of one "
                             f"length, not {widths!r}, {blocks!r}, {classes!r}")
        if stem not in ("3x3", "7x7"):
            raise ValueError(f"stem must be 3x3 or 7x7, not {stem!r}")
        self._config = {"widths": [*widths], "blocks": [*blocks], "classes": classes,
                        "stem": stem, "hidden": hidden}
        channels = widths[0]
        kernel, stride = (3, 1) if stem == "3x3" else (7, 2)
        self.stem = ConvLayer(self.input_shape[0], channels, neuron, steps=steps, kernel=kernel,
                              stride=stride, alpha=alpha)
        self.pool = nn.Identity() if stem == "3x3" else nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.ModuleList()
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for number in range(count):
                self.blocks.append(Block(channels, width, neuron, steps=steps, alpha=alpha,
                                         stride=2 if stage and not number else 1))
                channels = width
        self.hidden = DenseLayer(channels, hidden, copy.deepcopy(neuron), steps, alpha) \
            if hidden else None
        self.readout = nn.Linear(hidden or channels, classes)

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self._config}

    def features(self, x: Tensor) -> Tensor:
        x = over_time(self.pool, self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = x.mean((-2, -1))
        return x if self.hidden is None else self.hidden(x)


def resnet19(neuron: SpikingNeuron, *, classes: int = 10, width: float = 1.0,
             input_shape: tuple[int, int, int] = (3, 32, 32), **options: Any) -> ResNet:
    """ResNet-19 of the tdBN paper: 128, 256, 512 channels, 3 + 3 + 2 blocks, 256 dense neurons.

    With 10 classes it has 12.7 M parameters, 12.57 M of them before the dense layers; papers state
    12.6 M. `width` scales all channels and the dense layer.
    """
    return ResNet(neuron, widths=[scaled(n, width) for n in (128, 256, 512)], blocks=(3, 3, 2),
                  classes=classes, hidden=scaled(256, width), input_shape=input_shape, **options)


def resnet34(neuron: SpikingNeuron, *, classes: int = 1000, width: float = 1.0,
             input_shape: tuple[int, int, int] = (3, 224, 224), **options: Any) -> ResNet:
    """ResNet-34 (arXiv:1512.03385) for ImageNet, 21.8 M parameters. `width` scales all channels."""
    return ResNet(neuron, widths=[scaled(n, width) for n in (64, 128, 256, 512)],
                  blocks=(3, 4, 6, 3), classes=classes, stem="7x7", input_shape=input_shape,
                  **options)
