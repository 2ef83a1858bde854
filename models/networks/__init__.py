"""Spiking networks in floating point, of any neuron: by name, or written as a text.

    make_network("16C3-P2-32C3-P2-128-10", make_neuron("qif"), input_shape=(1, 28, 28), classes=10)
    make_network("resnet19", make_neuron("lif"), input_shape=(3, 32, 32), classes=10, steps=4)

| file             | holds |
|------------------|---|
| layers.py        | `DenseLayer`, `ConvLayer`: weights, tdBN, neurons |
| mlp.py           | `SpikingMLP`: the fully connected network, of pixels or spikes [T, N, inputs] |
| image_network.py | `ImageNetwork`: the base of the networks on images |
| convolution.py   | `ConvNet`: a plain network from its text; VGG-11, VGG-SNN |
| residual.py      | `ResNet`: ResNet-19, ResNet-34 |
| operations.py    | synaptic operations, counted while a network runs |
| untrained.py     | networks without training, with the spike rates of one at its start |

Networks on images take bytes [N, C, H, W], shown in every time step as p / 256 (direct encoding),
or frames [T, N, C, H, W]. All networks return logits [N, classes], the readout's mean over time.
"""

from collections.abc import Callable
from typing import Any

from quadfire.models.networks.convolution import ConvNet, vgg11, vgg_snn
from quadfire.models.networks.image_network import ImageNetwork
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks.residual import ResNet, resnet19, resnet34
from quadfire.models.neurons import SpikingNeuron

__all__ = ["NETWORKS", "ConvNet", "ImageNetwork", "ResNet", "SpikingMLP", "make_network",
           "network_from_config", "resnet19", "resnet34", "vgg11", "vgg_snn"]

#: The networks that have a name.
NETWORKS: dict[str, Callable[..., ImageNetwork]] = {
    "vgg11": vgg11, "vggsnn": vgg_snn, "resnet19": resnet19, "resnet34": resnet34}


def make_network(name: str, neuron: SpikingNeuron, *, input_shape: tuple[int, int, int],
                 classes: int, steps: int = 4, width: float = 1.0) -> ImageNetwork:
    """The network of that name, or the one that the text `name` describes.

    | argument    | meaning |
    |-------------|---|
    | name        | a name in NETWORKS, or a text for `ConvNet` |
    | neuron      | copied for every layer |
    | input_shape | (C, H, W) |
    | classes     | outputs of the readout |
    | steps       | time steps T |
    | width       | factor of all channels, for a network with a name |

    Raises ValueError if `name` is neither, or if the text does not end in `classes`.
    """
    if name in NETWORKS:
        return NETWORKS[name](neuron, input_shape=input_shape, classes=classes, steps=steps,
                              width=width)
    if "-" not in name and not name.isdecimal():
        raise ValueError(f"no network is called {name!r}; there are {', '.join(NETWORKS)}, and "
                         "layers as in 16C3-P2-32C3-P2-128-10")
    network = ConvNet(name, neuron, input_shape=input_shape, steps=steps)
    if network.classes != classes:
        raise ValueError(f"{name!r} ends in {network.classes} outputs, the data has {classes} "
                         "classes")
    return network


def network_from_config(config: dict[str, Any]) -> SpikingMLP | ImageNetwork:
    """An untrained network from its `config()`. Raises ValueError for an unknown kind."""
    config = dict(config)
    kind = config.pop("network", "mlp")
    kinds = {"mlp": SpikingMLP, "conv": ConvNet, "resnet": ResNet}
    if kind not in kinds:
        raise ValueError(f"no kind of network is called {kind!r}; there are {', '.join(kinds)}")
    return kinds[kind].from_config(config)
