"""Networks as people write them with each library: loops, containers, states by hand or inside."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quadfire.models.neurons import IF, LIF

from tests.models.frontends.equal import equal, refused, spikes
from tests.models.frontends.peers import peer

X = spikes(6, 5, 12)
MAPS = spikes(6, 3, 2, 6, 6)


def _strong(network: nn.Module, factor: float = 3.0) -> nn.Module:
    """Weights that make neurons of every layer spike."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.reset_parameters()
            module.weight.data.mul_(factor)
    return network


# snnTorch -----------------------------------------------------------------------------------------


class _Tutorial(nn.Module):
    """States by hand, as in snnTorch's tutorials. again: the first neurons serve both layers."""

    def __init__(self, function: Callable[["_Tutorial", Tensor], Any] | None = None,
                 again: bool = False):
        super().__init__()
        leaky = peer("snntorch").Leaky
        self.fc1, self.fc2 = nn.Linear(12, 10), nn.Linear(10, 4)
        self.lif1 = leaky(0.8)
        self.lif2 = self.lif1 if again else leaky(0.8)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        if self.function is not None:
            return self.function(self, x)
        mem1, mem2, made, potentials = self.lif1.reset_mem(), self.lif2.reset_mem(), [], []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step].view(x.size(1), -1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2.detach())
            made.append(spk2)
            potentials.append(mem2)
        return torch.stack(made, dim=0), torch.stack(potentials, dim=0)


def test_snntorch_states_by_hand():
    equal(_strong(_Tutorial()), X)
    equal(_strong(_Tutorial(again=True)), X)


def test_snntorch_pixels_and_functional_pools():
    leaky = peer("snntorch").Leaky

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.lif1 = nn.Conv2d(1, 4, 5), leaky(0.9)
            self.conv2, self.lif2 = nn.Conv2d(4, 8, 3), leaky(0.9)
            self.fc, self.lif3 = nn.Linear(8, 5), leaky(0.9)

        def forward(self, x: Tensor) -> Tensor:
            mem1, mem2, mem3 = (lif.reset_mem() for lif in (self.lif1, self.lif2, self.lif3))
            made = []
            for _ in range(5):
                spk, mem1 = self.lif1(self.conv1(x), mem1)
                spk, mem2 = self.lif2(self.conv2(F.max_pool2d(spk, 2)), mem2)
                spk, mem3 = self.lif3(self.fc(F.avg_pool2d(spk, 2).view(x.size(0), -1)), mem3)
                made.append(spk)
            return torch.stack(made, dim=0)

    images = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    equal(_strong(Net(), 6), images, input="pixels")


def _hidden(output: bool) -> nn.Module:
    leaky = peer("snntorch").Leaky
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 10), leaky(0.8, init_hidden=True, threshold=0.3),
        nn.Linear(10, 4), leaky(0.8, init_hidden=True, threshold=0.3, output=output))


def test_snntorch_sequential_with_hidden_states():
    utils = peer("snntorch.utils")

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = _hidden(True)

        def forward(self, x: Tensor) -> Tensor:
            utils.reset(self.net)
            return torch.stack([self.net(step)[0] for step in x])

    equal(_strong(Loop()), X)
    network = equal(_strong(_hidden(False)), X[0], input="pixels", steps=7)
    assert network.repeat == 7


def test_snntorch_states_that_do_not_go_on():
    def changed(m: _Tutorial, x: Tensor) -> Tensor:
        mem, made = m.lif1.reset_mem(), []
        for step in x:
            spk, mem = m.lif1(m.fc1(step), mem)
            mem = 0.9 * mem
            made.append(spk)
        return torch.stack(made)

    def of_another(m: _Tutorial, x: Tensor) -> Tensor:
        a, b, made = m.lif1.reset_mem(), m.lif2.reset_mem(), []
        for step in x:
            first, a = m.lif1(m.fc1(step), a)
            second, b = m.lif2(m.fc1(step), b)
            a, b = b, a
            made.append(first + second)
        return torch.stack(made)

    def started(m: _Tutorial, x: Tensor) -> Tensor:
        mem, made = torch.full((x.shape[1], 10), 0.5), []
        for step in x:
            spk, mem = m.lif1(m.fc1(step), mem)
            made.append(spk)
        return torch.stack(made)

    def recurrent(m: _Tutorial, x: Tensor) -> Tensor:
        mem, spk, made = m.lif1.reset_mem(), torch.zeros(x.shape[1], 10), []
        for step in x:
            spk, mem = m.lif1(m.fc1(step) + spk, mem)
            made.append(spk)
        return torch.stack(made)

    def read(m: _Tutorial, x: Tensor) -> Tensor:
        mem, made = m.lif1.reset_mem(), []
        for step in x:
            _, mem = m.lif1(m.fc1(step), mem)
            made.append(m.fc2(mem))
        return torch.stack(made).mean(0)

    refused(_Tutorial(changed), X, "'lif1'", "step 1", "'mul'")
    refused(_Tutorial(recurrent), X, "'add'", "feedback")
    refused(_Tutorial(of_another), X, "'lif1'", "'lif2'")
    refused(_Tutorial(started), X, "'lif1'", "starts")
    refused(_Tutorial(read), X, "'fc2'", "membrane potential of 'lif1'")


# SpikingJelly -------------------------------------------------------------------------------------


def _layers(mode: str) -> nn.Module:
    layer, neuron = (peer(f"spikingjelly.activation_based.{n}") for n in ("layer", "neuron"))
    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4),
        neuron.IFNode(v_threshold=0.5), layer.MaxPool2d(2), layer.Flatten(), layer.Linear(36, 8),
        neuron.LIFNode(v_threshold=0.2), layer.Dropout(0.5), layer.Linear(8, 6),
        neuron.IFNode(v_threshold=0.3), layer.VotingLayer(3))
    peer("spikingjelly.activation_based.functional").set_step_mode(net, mode)
    return net


class _Runs(nn.Module):
    def __init__(self, net: nn.Module, function: Callable[[nn.Module, Tensor], Tensor]):
        super().__init__()
        self.net, self.function = net, function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.net, x)


def test_spikingjelly_step_modes():
    functional = peer("spikingjelly.activation_based.functional")
    equal(_strong(_layers("m")), MAPS)
    equal(_strong(_Runs(_layers("s"), lambda net, x: functional.multi_step_forward(x, net).mean(
        0))), MAPS)

    def loop(net: nn.Module, x: Tensor) -> Tensor:
        functional.reset_net(net)
        return sum(net(x[t]) for t in range(len(x))) / len(x)      # pyright: ignore

    equal(_strong(_Runs(_layers("s"), loop)), MAPS)

    def reset(net: nn.Module, x: Tensor) -> Tensor:
        made: Any = 0
        for step in x:
            functional.reset_net(net)
            made = made + net(step)
        return made

    refused(_Runs(_layers("s"), reset), MAPS, "'net.2'", "between time steps")
    refused(_Runs(_layers("s"), lambda net, x: net(x.flatten(0, 1)).view(6, 3, 2).mean(0)), MAPS,
            "'net.2'", "order")


def test_spikingjelly_containers():
    layer, neuron = (peer(f"spikingjelly.activation_based.{n}") for n in ("layer", "neuron"))
    equal(_strong(nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)),
        neuron.IFNode(step_mode="m", v_threshold=0.5),
        layer.SeqToANNContainer(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 5)),
        layer.MultiStepContainer(neuron.LIFNode(v_threshold=0.1)))), MAPS)
    shared = neuron.IFNode(step_mode="m")
    refused(nn.Sequential(nn.Linear(12, 12), shared, nn.Linear(12, 12), shared), X, "loop")


@pytest.mark.parametrize("join", ["ADD", "AND", "IAND"])
def test_spikingjelly_blocks_of_spikes(join: str):
    """Basic blocks as its SEW ResNet has them."""
    layer, neuron = (peer(f"spikingjelly.activation_based.{n}") for n in ("layer", "neuron"))

    def joined(x: Tensor, y: Tensor) -> Tensor:
        return {"ADD": x + y, "AND": x * y, "IAND": x * (1.0 - y)}[join]

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.conv1 = layer.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.bn1, self.sn1 = layer.BatchNorm2d(outputs), neuron.IFNode(v_threshold=0.4)
            self.conv2 = layer.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2, self.sn2 = layer.BatchNorm2d(outputs), neuron.IFNode(v_threshold=0.4)
            self.downsample = None if stride == 1 else nn.Sequential(
                layer.Conv2d(inputs, outputs, 1, stride, bias=False), layer.BatchNorm2d(outputs),
                neuron.IFNode(v_threshold=0.4))

        def forward(self, x: Tensor) -> Tensor:
            identity = x
            out = self.sn1(self.bn1(self.conv1(x)))
            out = self.sn2(self.bn2(self.conv2(out)))
            if self.downsample is not None:
                identity = self.downsample(x)
            return joined(identity, out)

    net = nn.Sequential(
        layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(v_threshold=0.5), Block(4, 4, 1),
        Block(4, 6, 2), Block(6, 6, 1), layer.AdaptiveAvgPool2d((1, 1)), layer.Flatten(),
        layer.Linear(6, 5))
    peer("spikingjelly.activation_based.functional").set_step_mode(net, "m")
    equal(_strong(_Runs(net, lambda net, x: net(x).mean(0))), MAPS)


# Norse, Sinabs, ours ------------------------------------------------------------------------------


def test_norse_loops_and_containers():
    norse = peer("norse.torch")
    p = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(200.0), v_th=torch.tensor(0.1))

    def net() -> nn.Module:
        return norse.SequentialState(nn.Linear(12, 8), norse.LIFBoxCell(p=p), nn.Linear(8, 4),
                                     norse.LIFBoxCell(p=p))

    def loop(net: nn.Module, x: Tensor) -> Tensor:
        state, made = None, []
        for step in x:
            spk, state = net(step, state)
            made.append(spk)
        return torch.stack(made)

    equal(_strong(_Runs(net(), loop)), X)
    equal(_strong(_Runs(norse.Lift(net()), lambda net, x: net(x)[0])), X)
    refused(_Runs(net(), lambda net, x: torch.stack([net(step)[0] for step in x])), X,
            "'net.1'", "without a state", "hand on")


def test_sinabs():
    layers, single = peer("sinabs.layers"), peer("sinabs.activation").SingleSpike
    options: dict[str, Any] = {"batch_size": 3, "spike_fn": single, "min_v_mem": None}
    squeezed = MAPS.transpose(0, 1).flatten(0, 1)
    network = equal(_strong(nn.Sequential(
        nn.Conv2d(2, 4, 3), layers.IAFSqueeze(**options), layers.SumPool2d(2), nn.Flatten(),
        nn.Linear(16, 5), layers.IAFSqueeze(**options)), 1), squeezed)
    assert network.layout == "(NT)"
    ann = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
                        nn.Linear(16, 5), nn.ReLU())
    made = peer("sinabs.from_torch").from_model(_strong(ann), batch_size=3, spike_fn=single)
    equal(made, squeezed)
    equal(made.spiking_model, squeezed)
    refused(ann, squeezed, "'relu' in '1'", "spiking neurons")


def test_ours():
    equal(_strong(nn.Sequential(nn.Linear(12, 8), LIF(v_threshold=0.3), nn.Linear(8, 4), IF())), X)
    one = IF()
    refused(nn.Sequential(nn.Linear(12, 12), one, nn.Linear(12, 12), one), X, "loop")


def test_two_answers_and_two_inputs():
    network = equal(_strong(_Tutorial()), X, output="count")
    assert network.output == "count"

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.neuron = nn.Linear(12, 4), IF()

        def forward(self, x: Tensor, gain: Tensor | None = None) -> Tensor:
            return self.neuron(self.fc(x if gain is None else gain * x))

    equal(_strong(Two()), X)
