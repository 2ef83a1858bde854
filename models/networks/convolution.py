"""Plain convolutional networks, written as a text; VGG-SNN and VGG-11 are two of them.

The text lists the layers from input to readout, separated by hyphens. As an example, this is
"16C3-P2-32C3-P2-128-10" on images of 1 x 28 x 28 pixels:

| layer | what it is                                          | output |
|-------|-----------------------------------------------------|---|
| 16C3  | 3 x 3 convolution to 16 channels, tdBN, neurons     | 16 x 28 x 28 |
| P2    | largest of 2 x 2 spikes: their OR                   | 16 x 14 x 14 |
| 32C3  | 3 x 3 convolution to 32 channels, tdBN, neurons     | 32 x 14 x 14 |
| P2    | largest of 2 x 2 spikes                             | 32 x 7 x 7 |
| 128   | fully connected from all 1568 spikes, tdBN, neurons | 128 |
| 10    | the last number: the readout, without neurons       | 10 |

16C3S2 is a convolution with stride 2, and AP2 is the mean of 2 x 2 spikes. A convolution pads its
input by half of the kernel, which must be odd.
"""

import copy
import math
import re
from typing import Any

from torch import Tensor, nn

from quadfire.models.networks.image_network import ImageNetwork, scaled
from quadfire.models.networks.layers import ConvLayer, DenseLayer, over_time
from quadfire.models.neurons import SpikingNeuron

__all__ = ["VGG11", "VGG_SNN", "ConvNet", "vgg11", "vgg_snn"]

#: VGG-SNN of TET (arXiv:2202.11946), for CIFAR10-DVS at 48 x 48: 9.27 M parameters.
VGG_SNN = "64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2"
#: Configuration A of arXiv:1409.1556 with one dense layer, for 32 x 32: 9.23 M parameters.
VGG11 = "64C3-P2-128C3-P2-256C3-256C3-P2-512C3-512C3-P2-512C3-512C3-P2"

LAYER = re.compile(r"(?P<channels>\d+)C(?P<kernel>\d+)(S(?P<stride>\d+))?"
                   r"|(?P<pool>AP|P)(?P<size>\d+)|(?P<dense>\d+)")


class ConvNet(ImageNetwork):
    """The network that the text `layers` describes, see the module. Other arguments: ImageNetwork.

    Raises ValueError for a text that is no network, and if pooling leaves nothing of the image.
    """

    kind = "conv"

    def __init__(self, layers: str, neuron: SpikingNeuron, *,
                 input_shape: tuple[int, int, int], steps: int = 4, alpha: float = 1.0):
        super().__init__(neuron, input_shape=input_shape, steps=steps, alpha=alpha)
        self.spelling = layers
        *words, last = layers.split("-")
        if not last.isdecimal() or not int(last):
            raise ValueError(f"the last layer must be a number of classes, not {last!r}")
        self.layers = nn.ModuleList()
        shape: tuple[int, ...] = self.input_shape
        for word in words:
            layer, shape = self._layer(word, shape, neuron)
            if not math.prod(shape):
                raise ValueError(f"nothing of {input_shape} is left after {word!r} of {layers!r}")
            self.layers.append(layer)
        self.readout = nn.Linear(math.prod(shape), int(last))

    def _layer(self, word: str, shape: tuple[int, ...],
               neuron: SpikingNeuron) -> tuple[nn.Module, tuple[int, ...]]:
        """The layer that `word` describes, and the shape of its output.

        A shape is (C, H, W), or (neurons,) behind a fully connected layer.
        """
        found = LAYER.fullmatch(word)
        if found is None or 0 in (numbers := [int(n) for n in re.findall(r"\d+", word)]):
            raise ValueError(f"a layer must be as 16C3, 16C3S2, P2, AP2 or 128, not {word!r}")
        if found["dense"]:
            outputs = numbers[0]
            return DenseLayer(math.prod(shape), outputs, copy.deepcopy(neuron), self.steps,
                              self.alpha), (outputs,)
        if len(shape) == 1:
            raise ValueError(f"{word!r} cannot follow a fully connected layer")
        channels, height, width = shape
        if found["pool"]:
            size = numbers[0]
            pool = nn.AvgPool2d if found["pool"] == "AP" else nn.MaxPool2d
            return pool(size), (channels, height // size, width // size)
        outputs, kernel, stride = (*numbers, 1)[:3]
        if kernel % 2 == 0:
            raise ValueError(f"a kernel must be odd, not {kernel} as in {word!r}")
        layer = ConvLayer(channels, outputs, neuron, steps=self.steps, kernel=kernel,
                          stride=stride, alpha=self.alpha)
        return layer, (outputs, -(-height // stride), -(-width // stride))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "layers": self.spelling}

    def features(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, DenseLayer):
                x = layer(x.flatten(2))
            else:
                x = layer(x) if isinstance(layer, ConvLayer) else over_time(layer, x)
        x = x.flatten(2)
        return x.expand(self.steps, -1, -1)     # without any neuron, T is still 1


def _named(layers: str, classes: int, width: float, neuron: SpikingNeuron,
           options: dict[str, Any]) -> ConvNet:
    """The network `layers` with `classes` outputs and all channels times `width`."""
    wide = re.sub(r"(\d+)C", lambda found: f"{scaled(int(found[1]), width)}C", layers)
    return ConvNet(f"{wide}-{classes}", neuron, **options)


def vgg_snn(neuron: SpikingNeuron, *, classes: int = 10, width: float = 1.0,
            input_shape: tuple[int, int, int] = (2, 48, 48), **options: Any) -> ConvNet:
    """VGG-SNN of TET: eight convolutions with mean pooling. `width` scales all channels."""
    return _named(VGG_SNN, classes, width, neuron, {"input_shape": input_shape, **options})


def vgg11(neuron: SpikingNeuron, *, classes: int = 10, width: float = 1.0,
          input_shape: tuple[int, int, int] = (3, 32, 32), **options: Any) -> ConvNet:
    """VGG-11: eight convolutions with pooling by OR. `width` scales all channels."""
    return _named(VGG11, classes, width, neuron, {"input_shape": input_shape, **options})
