"""Networks of convolutions, any neuron: by name, or written out in letters and numbers.

    make_network("16C3-P2-32C3-P2-128-10", make_neuron("qif"), input_shape=(1, 28, 28), classes=10)
    make_network("resnet19", make_neuron("lif"), input_shape=(3, 32, 32), classes=10, steps=4)

All of them take bytes [N, C, H, W] (direct encoding, p / 256 in every step) or frames
[T, N, C, H, W], and give logits [N, classes], the mean over time of the readout. The fully
connected network is `quadfire.models.networks.mlp.SpikingMLP`, which quantisation knows as well.
"""

from collections.abc import Callable
from typing import Any

from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import SpikingNeuron
from quadfire.models.networks.image_network import ImageNetwork
from quadfire.models.networks.convolution import ConvNet, vgg11, vgg_snn
from quadfire.models.networks.residual import ResNet, resnet19, resnet34

__all__ = ["NETWORKS", "ConvNet", "ImageNetwork", "ResNet", "make_network", "network_from_config",
           "resnet19", "resnet34", "vgg11", "vgg_snn"]

#: Networks that have a name.
NETWORKS: dict[str, Callable[..., ImageNetwork]] = {
    "vgg11": vgg11, "vggsnn": vgg_snn, "resnet19": resnet19, "resnet34": resnet34}


def make_network(name: str, neuron: SpikingNeuron, *, input_shape: tuple[int, int, int],
                 classes: int, steps: int = 4, width: float = 1.0) -> ImageNetwork:
    """A network of NETWORKS, or the one that `name` spells out (see `ConvNet`).

    input_shape: (C, H, W). neuron: copied for every layer. width: factor of all channels of a
    network that has a name. Raises ValueError for a name that is neither, or where the last number
    of the layers is not `classes`.
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
    """An untrained network from its `config()`. Raises ValueError for a kind there is not."""
    config = dict(config)
    kind = config.pop("network", "mlp")
    kinds = {"mlp": SpikingMLP, "conv": ConvNet, "resnet": ResNet}
    if kind not in kinds:
        raise ValueError(f"no kind of network is called {kind!r}; there are {', '.join(kinds)}")
    return kinds[kind].from_config(config)
