"""Synaptic operations, counted while a network runs."""

import pytest
import torch

from quadfire.models.networks import SpikingMLP, make_network
from quadfire.models.networks.operations import active_operations, dense_operations
from quadfire.models.neurons import LIF, QIF


@pytest.mark.parametrize("layers", ["3C3-P2-5C3S2-6-4", "2C5-AP2-4"])
def test_active_operations_are_those_of_the_weights(layers):
    """The same layers with all weights 1 and active inputs 1: the sum of their outputs."""
    torch.manual_seed(3)
    network = make_network(layers, QIF(), input_shape=(2, 9, 9), classes=4, steps=3).eval()
    pixels = torch.randint(0, 256, (2, 2, 9, 9), dtype=torch.uint8) * (torch.rand(2, 2, 9, 9) < 0.5)
    seen = {}

    def keep(name):
        def hook(layer, inputs, _output):
            with torch.no_grad():
                ones = torch.ones_like(layer.weight, dtype=torch.float64)
                active = (inputs[0] != 0).double()
                seen[name] = torch.nn.functional.linear(active, ones).sum() \
                    if layer.weight.ndim == 2 else torch.nn.functional.conv2d(
                        active, ones, None, layer.stride, layer.padding).sum()
        return hook

    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
            layer.register_forward_hook(keep(name))
    logits, counts = active_operations(network, pixels)
    assert counts == {name: int(value) for name, value in seen.items()}
    assert torch.equal(logits, network(pixels))
    dense = dense_operations(network, pixels)
    assert dense.keys() == counts.keys() and all(counts[name] < dense[name] for name in counts)


def test_operations_of_a_dense_network(data):
    network = SpikingMLP([64, 5, 10], LIF(), 3).eval()
    _, counts = active_operations(network, data.images[:7])
    assert counts["hidden.0.linear"] == 5 * int((data.images[:7] > 0).sum())
    assert counts["readout"] == round(10 * 3 * 7 * 5 * network.rates[0])
    assert dense_operations(network, data.images[:7]) == {
        "hidden.0.linear": 7 * 64 * 5, "readout": 3 * 7 * 5 * 10}
