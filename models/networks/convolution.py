"""Plain networks of convolutions, written out as a text; VGG-SNN and VGG-11 among them."""

import copy
import re
from typing import Any

from torch import Tensor, nn

from quadfire.models.neurons import SpikingNeuron
from quadfire.models.networks.image_network import ImageNetwork, scaled
from quadfire.models.networks.layers import ConvLayer, DenseLayer, over_time

__all__ = ["VGG11", "VGG_SNN", "ConvNet", "vgg11", "vgg_snn"]

#: TET (arXiv:2202.11946), for CIFAR10-DVS at 48 x 48: 9.27 M parameters.
VGG_SNN = "64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2"
#: Configuration A of arXiv:1409.1556 with one dense layer, for 32 x 32: 9.23 M parameters.
VGG11 = "64C3-P2-128C3-P2-256C3-256C3-P2-512C3-512C3-P2-512C3-512C3-P2"

LAYER = re.compile(r"(?P<channels>\d+)C(?P<kernel>\d+)(S(?P<stride>\d+))?"
                   r"|(?P<pool>AP|P)(?P<size>\d+)|(?P<dense>\d+)")


class ConvNet(ImageNetwork):
    """Layers one after the other, separated by hyphens, as in "16C3-P2-32C3-P2-128-10":

        16C3    convolution to 16 channels, 3 x 3, tdBN, neurons; 16C3S2 with stride 2
        P2      largest of 2 x 2, of spikes: their OR
        AP2     mean of 2 x 2
        128     fully connected, tdBN, neurons
        10      the last one: the readout, without neurons

    Raises ValueError for anything else, and where pooling leaves nothing of the image.
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
        channels, height, width = self.input_shape
        flat = 0                                        # inputs of the next layer once it is dense
        for word in words:
            found = LAYER.fullmatch(word)
            if found is None or 0 in (numbers := [int(n) for n in re.findall(r"\d+", word)]):
                raise ValueError(f"a layer must be as 16C3, 16C3S2, P2, AP2 or 128, not {word!r}")
            if found["dense"]:
                flat = flat or channels * height * width
                self.layers.append(DenseLayer(flat, numbers[0], copy.deepcopy(neuron), steps,
                                                alpha))
                flat = numbers[0]
                continue
            if flat:
                raise ValueError(f"{word!r} cannot follow a fully connected layer")
            if found["pool"]:
                size = numbers[0]
                height, width = height // size, width // size
                self.layers.append((nn.AvgPool2d if found["pool"] == "AP" else nn.MaxPool2d)(size))
            else:
                outputs, kernel, stride = (*numbers, 1)[:3]
                if kernel % 2 == 0:
                    raise ValueError(f"a kernel must be odd, not {kernel} as in {word!r}")
                self.layers.append(ConvLayer(channels, outputs, neuron, steps=steps,
                                             kernel=kernel, stride=stride, alpha=alpha))
                channels = outputs
                height, width = -(-height // stride), -(-width // stride)
            if not height * width:
                raise ValueError(f"nothing of {input_shape} is left after {word!r} of {layers!r}")
        self.readout = nn.Linear(flat or channels * height * width, int(last))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "layers": self.spelling}

    def features(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if isinstance(layer, DenseLayer):
                x = layer(x.flatten(2))
            else:
                x = layer(x) if isinstance(layer, ConvLayer) else over_time(layer, x)
        x = x.flatten(2)
        return x.expand(self.steps, -1, -1)             # where there is no neuron at all


def _named(layers: str, classes: int, width: float, neuron: SpikingNeuron,
           options: dict[str, Any]) -> ConvNet:
    wide = re.sub(r"(\d+)C", lambda found: f"{scaled(int(found[1]), width)}C", layers)
    return ConvNet(f"{wide}-{classes}", neuron, **options)


def vgg_snn(neuron: SpikingNeuron, *, classes: int = 10, width: float = 1.0,
            input_shape: tuple[int, int, int] = (2, 48, 48), **options: Any) -> ConvNet:
    """VGG-SNN of TET: eight convolutions, mean pooling. width: factor of the channels."""
    return _named(VGG_SNN, classes, width, neuron, {"input_shape": input_shape, **options})


def vgg11(neuron: SpikingNeuron, *, classes: int = 10, width: float = 1.0,
          input_shape: tuple[int, int, int] = (3, 32, 32), **options: Any) -> ConvNet:
    """VGG-11: eight convolutions, pooling by OR, one readout. width: factor of the channels."""
    return _named(VGG11, classes, width, neuron, {"input_shape": input_shape, **options})
