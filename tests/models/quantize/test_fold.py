"""Folding: what it reads of a torch module is exact, what it does not read is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quadfire.models.integer import Pool
from quadfire.models.networks import ConvNet, ResNet
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import LIF, QIF
from quadfire.models.quantize.fold import fold
from quadfire.models.quantize.lowering import Lowering
from quadfire.models.quantize.quantize import quantize, to_grid
from quadfire.models.quantize.report import only_rounded
from quadfire.models.quantize.values import Maps, Source, Value


def source_of(value: Value) -> Source:
    """The one map that a value reads."""
    assert isinstance(value, Maps)
    (_, source), = value.parts
    return source


def lively(network: Any, *shape: int) -> tuple[Any, Tensor]:
    """In eval mode, float64, with norms that let neurons spike; and spikes for its input."""
    torch.manual_seed(3)
    for module in network.modules():
        if hasattr(module, "gamma"):
            nn.init.uniform_(module.gamma, 0.5, 1.5)
            nn.init.normal_(module.beta, 0.5, 0.3)
            module.var.uniform_(0.05, 0.2)
            module.mu.normal_(0, 0.2)
    spikes = (torch.rand(network.steps, 6, *shape) < 0.4).to(torch.uint8)
    return network.eval().double(), spikes


def convnet(layers: str = "4C3-P2-6C3-AP2-7-5") -> ConvNet:
    return ConvNet(layers, QIF(a=0.25), input_shape=(2, 12, 12), steps=2)


def plain() -> ConvNet:
    return convnet("4C3-P2-6C3-5")


def resnet() -> ResNet:
    return ResNet(QIF(a=0.25), widths=(4, 6), blocks=(1, 1), classes=5, input_shape=(2, 8, 8),
                  hidden=7, steps=2)


def mlp() -> SpikingMLP:
    return SpikingMLP([12, 7, 5], QIF(a=0.25), 2, input_bits=0)


NETWORKS = {"convnet": (convnet, (2, 12, 12)), "plain": (plain, (2, 12, 12)),
            "resnet": (resnet, (2, 8, 8)), "mlp": (mlp, (12,))}


def replaced(name: str, where: str, module: nn.Module) -> tuple[Any, Tensor]:
    """A network with another module at one place, and spikes for its input."""
    make, shape = NETWORKS[name]
    network: Any = make()
    *outer, last = where.split(".")
    owner = network.get_submodule(".".join(outer))
    if last.isdecimal():
        owner[int(last)] = module
    else:
        setattr(owner, last, module)
    return lively(network, *shape)


def conv(**options) -> nn.Conv2d:
    return nn.Conv2d(4, 6, **{"kernel_size": 3, "padding": 1, "bias": False, **options})


@pytest.mark.parametrize(("network", "where", "module"), [
    ("plain", "layers.2.conv", conv(bias=True)),
    ("plain", "layers.2.conv", conv(stride=(1, 1), padding=(1, 1))),
    ("plain", "layers.2.conv", conv(kernel_size=(3, 1), padding=(1, 1))),
    ("plain", "layers.2.conv", conv(kernel_size=2, padding=0)),
    ("plain", "layers.2.conv", conv(groups=2)),
    ("plain", "layers.2.conv", nn.Conv2d(4, 6, (3, 1), groups=2, bias=True)),
    ("plain", "layers.2.conv", conv(padding=(3, 5))),
    ("plain", "layers.2.conv", conv(kernel_size=1, padding=(1, 0), stride=2)),
    ("plain", "layers.2.conv", conv(dilation=2, padding=2)),
    ("plain", "layers.2.conv", conv(dilation=(1, 2), groups=2, stride=(2, 1), padding=(0, 3))),
    ("plain", "layers.2.conv", conv(stride=(1, 2))),
    ("plain", "layers.2.conv", conv(padding=(1, 0))),
    ("plain", "layers.2.conv", conv(padding="same")),
    ("plain", "layers.2.conv", conv(kernel_size=(2, 4), dilation=(1, 2), padding="same")),
    ("plain", "layers.2.conv", conv(padding="valid")),
    ("plain", "layers.1", nn.MaxPool2d((2, 1))),
    ("plain", "layers.1", nn.MaxPool2d(2, ceil_mode=True)),
    ("plain", "layers.1", nn.MaxPool2d((3, 2), stride=(3, 2), padding=(0, 1))),
    ("plain", "layers.1", nn.AvgPool2d((1, 3), ceil_mode=True)),
    ("plain", "layers.1", nn.AvgPool2d(2, divisor_override=3)),
    ("plain", "layers.1", nn.AvgPool2d((2, 4), stride=(1, 2))),
    ("plain", "layers.1", nn.AdaptiveAvgPool2d((3, None))),
    ("plain", "layers.1", nn.AdaptiveAvgPool2d(6)),
    ("plain", "layers.2.conv", nn.utils.parametrizations.weight_norm(conv())),
    ("plain", "layers.1", nn.MaxPool2d((2, 2), 2, padding=(1, 1))),
    ("plain", "layers.1", nn.MaxPool2d(3, stride=2, padding=1)),
    ("plain", "layers.1", nn.AvgPool2d(2, padding=0, count_include_pad=False)),
    ("plain", "layers.1", nn.AvgPool2d(3, stride=2, padding=1)),
    ("convnet", "layers.4.linear", nn.Linear(54, 7, bias=True)),
    ("convnet", "readout", nn.Linear(7, 5, bias=False)),
    ("resnet", "pool", nn.MaxPool2d(2)),
    ("resnet", "pool", nn.AvgPool2d(2)),
    ("resnet", "blocks.1.conv", nn.Conv2d(6, 6, 3, padding=1, bias=True)),
    ("resnet", "blocks.1.shortcut", nn.Conv2d(4, 6, 1, stride=2, bias=True)),
    ("resnet", "readout", nn.Linear(7, 5, bias=False)),
    ("mlp", "hidden.0.linear", nn.Linear(12, 7, bias=True)),
    ("mlp", "readout", nn.Linear(7, 5, bias=False)),
], ids=str)
def test_what_is_read_is_exact(network, where, module):
    """The folded network in real numbers gives the logits that torch gives."""
    made, x = replaced(network, where, module)
    if network == "plain":
        made.readout = nn.Linear(made.features(x.double()).shape[-1], 5).double()
    grid = to_grid(made, input_bits=0).eval()
    with torch.no_grad(), only_rounded(grid):
        expected = made(x)
        assert expected.std() > 0.01
        torch.testing.assert_close(grid(x), expected, rtol=1e-9, atol=1e-9)
    assert quantize(made, input_bits=0).outputs == 5


class Standardised(nn.Conv2d):
    """A convolution of weights that are not its `weight`."""

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight - weight.mean(), bias)


class Halved(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2


@pytest.mark.parametrize(("network", "where", "module", "message"), [
    ("convnet", "layers.2.conv", nn.Conv2d(3, 6, 3),
     "layers.2.conv: takes 3 channels, its input has 4"),
    ("convnet", "layers.2.conv", nn.Conv2d(4, 6, 7),
     "layers.2.conv: its kernel of 7 x 7 is larger than its map of 6 x 6"),
    ("convnet", "layers.2.conv", conv(padding_mode="circular"),
     "padding_mode of a Conv2d must be 'zeros', not 'circular'"),
    ("convnet", "layers.2.conv", nn.ConvTranspose2d(4, 6, 3, padding=1),
     "layers.2.conv: must be Conv2d or Conv1d, not ConvTranspose2d"),
    ("convnet", "layers.2.conv", Standardised(4, 6, 3, padding=1),
     "a Standardised has a _conv_forward of its own, not that of Conv2d"),
    ("convnet", "layers.2.norm", nn.BatchNorm2d(6), "layers.2.norm: must be TDBatchNorm"),
    ("convnet", "layers.2.norm", nn.Identity(), "norm: must be TDBatchNorm, not Identity"),
    ("convnet", "layers.2.neuron", nn.ReLU(), "neuron: must be a SpikingNeuron, not ReLU"),
    ("convnet", "layers.2.neuron", LIF(step_mode="s"), "step_mode must be 'm', not 's'"),
    ("convnet", "layers.1", nn.MaxPool2d(5, ceil_mode=True),
     "layers.1: ceil_mode of a MaxPool2d must be False for a map of 12 x 12"),
    ("convnet", "layers.1", nn.AdaptiveAvgPool2d(5),
     "layers.1: output_size of a AdaptiveAvgPool2d must divide its map of 12 x 12, not 5 x 5"),
    ("convnet", "layers.1", nn.MaxPool2d(2, dilation=2), "dilation of a MaxPool2d must be 1"),
    ("convnet", "layers.1", nn.MaxPool2d(2, return_indices=True), "return_indices of a MaxPool2d"),
    ("convnet", "layers.3", nn.AvgPool2d(4, ceil_mode=True), "ceil_mode of a AvgPool2d must be"),
    ("convnet", "layers.3", nn.AvgPool2d(2, padding=1, count_include_pad=False),
     "layers.3: count_include_pad of a AvgPool2d must be True, not False"),
    ("convnet", "layers.3", nn.LPPool2d(2, 2),
     "layers.3: must be AvgPool2d or .*, not LPPool2d: the array has no layer for it"),
    ("convnet", "layers.3", nn.Dropout(), "layers.3: must be AvgPool2d or .*, not Dropout"),
    ("convnet", "layers.4.linear", Halved(54, 7, bias=False), "a Halved has a forward of its own"),
    ("convnet", "layers.4.linear", nn.Linear(27, 7, bias=False),
     "layers.4: takes 27 inputs, its map of 6 x 3 x 3 has 54"),
    ("convnet", "readout", nn.Sequential(nn.Linear(7, 5)), "readout: must be Linear, not Seq"),
    ("resnet", "stem", nn.Conv2d(2, 4, 3, padding=1), "stem: must be ConvLayer, not Conv2d"),
    ("resnet", "pool", nn.LPPool2d(2, 2), "pool: must be AvgPool2d or .*, not LPPool2d"),
    ("resnet", "blocks.1", nn.Identity(), "blocks.1: must be Block, not Identity"),
    ("resnet", "blocks.1.shortcut", nn.Conv2d(4, 6, 1, stride=(2, 1)),
     "blocks.1: adds maps of 6 x 4 x 4 and 6 x 4 x 8"),
    ("resnet", "blocks.0.shortcut", nn.AvgPool2d(1),
     "blocks.0.shortcut: must be Identity or Conv2d, not AvgPool2d"),
    ("resnet", "hidden", nn.Linear(6, 7), "hidden: must be DenseLayer, not Linear"),
    ("mlp", "hidden.0", nn.Linear(12, 7), "hidden.0: must be DenseLayer, not Linear"),
    ("mlp", "hidden.0.norm", nn.BatchNorm1d(7), "hidden.0.norm: must be TDBatchNorm"),
], ids=str)
def test_what_is_not_read_is_refused(network, where, module, message):
    made, _ = replaced(network, where, module)
    with pytest.raises(ValueError, match=message):
        fold(made)


def test_a_method_put_on_one_module_is_refused():
    network, _ = lively(convnet(), 2, 12, 12)
    network.layers[0].conv.forward = lambda x: x
    with pytest.raises(ValueError, match=r"layers.0.conv: a Conv2d has a forward of its own"):
        fold(network)


def test_another_network_is_refused():
    class Mine(ConvNet):
        def features(self, x: Tensor) -> Tensor:
            return super().features(1 - x)

    with pytest.raises(ValueError, match="a Mine cannot be folded, only SpikingMLP, ConvNet"):
        fold(Mine("4C3-5", QIF(), input_shape=(1, 4, 4)))


@pytest.mark.parametrize(("first", "second"), [
    (Pool(kind="sum", size=2, stride=2), Pool(kind="max", size=2, stride=2)),
    (Pool(kind="max", size=3, stride=2), Pool(kind="max", size=2, stride=2)),
    (Pool(kind="max", size=2, stride=2), Pool(kind="max", size=3, stride=2, padding=1))])
def test_pools_of_pools_that_are_no_single_pool_are_refused(first, second):
    graph = Lowering((2, 16, 16))
    assert source_of(graph.pool(graph.input, second)).pool == second
    with pytest.raises(ValueError, match="of the same kind, both without overlap and padding"):
        graph.pool(graph.pool(graph.input, first), second)


def test_pools_of_one_kind_without_overlap_are_one_pool():
    half = Pool(kind="max", size=2, stride=2)
    graph = Lowering((2, 16, 16))
    quarter = graph.pool(graph.pool(graph.input, half), half)
    assert source_of(quarter).pool == Pool(kind="max", size=4, stride=4)
    assert quarter.shape == source_of(quarter).shape == (2, 4, 4)
