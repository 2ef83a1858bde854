"""Networks that snnTorch and SpikingJelly trained, imported and run on the Verilated array.

Small ones are trained here, on scikit-learn's 8 x 8 digits (real data). In float64 every spike is
the module's own; in integers every spike and potential of the RTL is the reference's.
"""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quadfire.firmware import Accelerator
from quadfire.models.frontends import fit, from_snntorch, from_spikingjelly
from quadfire.models.frontends.imported import Imported
from quadfire.models.integer import IntegerNetwork, reference
from quadfire.models.quantize.agreement import agreement
from quadfire.models.quantize.quantize import calibrate, to_integer
from quadfire.rtl.contract.config import preset
from quadfire.sim.report.compare import first_mismatch
from quadfire.sim.verilator.core import VerilatedTransport

from tests.models.frontends.peers import peer

STEPS = 6


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Pictures in 0..1 [N, 1, 8, 8] on a grid of 1/255, and labels."""
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    x = (torch.from_numpy(data.images).float() * 255 / 16).round() / 255
    return x.unsqueeze(1), torch.from_numpy(data.target).long()


def train(net: nn.Module, epochs: int) -> float:
    """Train on all but the last 300 digits; returns the accuracy on these."""
    torch.manual_seed(0)
    x, y = digits()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    net.train()
    for _ in range(epochs):
        for index in torch.randperm(len(x) - 300).split(100):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[index]), y[index]).backward()
            optimizer.step()
            reset(net)
    net.eval()
    with torch.no_grad():
        right = (net(x[-300:]).argmax(1) == y[-300:]).double().mean().item()
    reset(net)
    return right


def reset(net: nn.Module) -> None:
    """Forget the states that a library keeps in its modules."""
    for module in net.modules():
        if type(module).__module__.startswith("spikingjelly") and hasattr(module, "reset"):
            module.reset()      # pyright: ignore[reportCallIssue]


def snntorch_net() -> nn.Module:
    import snntorch

    class Net(nn.Module):
        """A loop over time, states by hand: as snnTorch's tutorials write it."""

        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(64, 40), nn.Linear(40, 10)
            self.lif1, self.lif2 = snntorch.Leaky(beta=0.75), snntorch.Leaky(beta=0.5)

        def forward(self, x: Tensor) -> Tensor:
            mem1, mem2, spikes = self.lif1.init_leaky(), self.lif2.init_leaky(), []
            for _ in range(STEPS):
                spk1, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spikes.append(spk2)
            return torch.stack(spikes).sum(0)

    return Net()


def spikingjelly_net() -> nn.Module:
    from spikingjelly.activation_based import functional as sj
    from spikingjelly.activation_based import layer, neuron

    class Net(nn.Module):
        """Multi-step modules in a container, a picture repeated for every step."""

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(
                layer.Conv2d(1, 6, 3, padding=1, bias=False), layer.BatchNorm2d(6),
                neuron.LIFNode(tau=2.0, detach_reset=True), layer.MaxPool2d(2), layer.Flatten(),
                layer.Linear(96, 10), neuron.IFNode(v_reset=None))
            sj.set_step_mode(self, "m")

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)).mean(0)

    return Net()


def on_rtl(integer: IntegerNetwork, inputs: np.ndarray, array: str) -> None:
    """Every spike and potential of the RTL is the reference's."""
    config = preset(array)
    accelerator = Accelerator(VerilatedTransport(config), config)
    accelerator.load(integer)
    expected = reference.run(integer, inputs, record=True)
    found = accelerator.run(inputs, probe=True, spikes=True)
    _, _, first = first_mismatch(found, expected, integer)
    assert first is None, first
    assert found.spikes and sum(s.sum() for s in found.spikes) > 0
    assert np.array_equal(found.outputs, expected.spikes[-1].numpy())


@pytest.mark.parametrize(("library", "make", "imported", "epochs", "array"), [
    ("snntorch", snntorch_net, from_snntorch, 8, "tiny"),
    ("spikingjelly", spikingjelly_net, from_spikingjelly, 4, "tiny-conv")])
def test_a_trained_network_comes_in_and_runs(library, make, imported, epochs, array):
    peer(library)
    net, (x, y) = make(), digits()
    accuracy = train(net, epochs)
    assert accuracy > 0.8
    network: Imported = imported(net, x[:1], input="pixels")
    assert network.steps == STEPS and network.output == "count"

    report = network.check(net, x[:40])
    assert report.exact, str(report)
    assert all(0.01 < layer.rate < 0.9 for layer in report.layers)

    inputs = network.inputs(x[:100])
    grid = network.to_grid(inputs=inputs)
    calibrate(grid, network, inputs)
    rows = [*agreement(grid, network, network.inputs(x[-300:]))]
    assert [row.name for row in rows] == [layer.name for layer in report.layers]
    assert min(row.equal for row in rows) > 0.95, rows

    integer = to_integer(grid)
    held_out = network.inputs(x[-300:])
    found = reference.run(integer, held_out).classes
    assert (found == y[-300:]).double().mean() > accuracy - 0.02
    on_rtl(integer, held_out[:3].numpy(), array)


def test_training_on_the_grid_with_the_network_as_teacher():
    """Four bits lose spikes; two epochs with the network in real numbers as teacher mend it."""
    peer("snntorch")
    net, (x, _) = snntorch_net(), digits()
    train(net, 8)
    network = from_snntorch(net, x[:1], input="pixels")
    inputs = network.inputs(x[:600])
    grid = network.to_grid(weight_bits=4, inputs=inputs)
    before = fit(grid, inputs.split(100), teacher=network, epochs=1, rate=0.0)
    after = fit(grid, inputs.split(100), teacher=network, epochs=6, rate=2e-3)
    assert after < before
    with pytest.raises(ValueError, match="the loader gives no labels: name a teacher"):
        fit(grid, inputs.split(100))
