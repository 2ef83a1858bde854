"""Networks are copied without what earlier calls left in them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from quadfire.models.frontends.check import check
from quadfire.models.frontends.copying import fresh_copy
from quadfire.models.frontends.importing import from_module
from quadfire.models.neurons import LIF

from tests.models.frontends.peers import peer


class _Steps(nn.Module):
    """A linear layer and hidden-state neurons, one call a time step."""

    def __init__(self, neuron: nn.Module):
        super().__init__()
        self.fc, self.neuron = nn.Linear(6, 5), neuron
        self.trace: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.trace = [self.neuron(self.fc(step)) for step in x]
        return torch.stack(self.trace)


class _Sequence(_Steps):
    """The same with all time steps at once, batch first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.neuron(self.fc(x))


def _snntorch() -> nn.Module:
    return _Steps(peer("snntorch").Leaky(0.9, init_hidden=True, threshold=0.5))


def _spikingjelly() -> nn.Module:
    return _Steps(peer("spikingjelly.activation_based.neuron").IFNode(v_reset=None))


def _sinabs() -> nn.Module:
    return _Sequence(peer("sinabs.layers").LIF(
        5.0, spike_fn=peer("sinabs.activation").SingleSpike, norm_input=False))


def _ours() -> nn.Module:
    return _Steps(LIF(step_mode="s"))


@pytest.mark.parametrize("make", [_snntorch, _spikingjelly, _sinabs, _ours])
def test_a_network_that_was_trained_is_read_and_checked_from_its_start(
        make: Callable[[], nn.Module]):
    torch.manual_seed(0)
    network: Any = make()
    with torch.no_grad():
        network.fc.weight.mul_(3)
    x = (torch.rand(8, 8, 6) < 0.5).float()
    given = network(x)
    given.sum().backward()              # the states hold gradients, and are not zero
    imported = from_module(network, x, input="spikes")
    report = check(imported, network, x)
    assert report.layers and 0 < report.layers[0].rate < 1
    assert all(layer.differences == 0 for layer in report.layers), str(report)
    torch.testing.assert_close(fresh_copy(network)(x), given)      # as its first call
