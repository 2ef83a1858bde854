"""Layers and their order, on random networks, against float64: each row equal, or refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quadfire.models.neurons import IF, LIF

from tests.models.frontends.equal import Linked, equal, means, refused, spikes

X = spikes(5, 3, 2, 8, 8)
SIGNAL = spikes(5, 3, 2, 16)


def _norm(channels: int, kind: Any = nn.BatchNorm2d) -> nn.Module:
    """A norm of numbers that are not those of an untrained network."""
    made = kind(channels)
    for value, low, high in ((made.weight, -0.5, 1.5), (made.bias, -0.3, 0.3),
                             (made.running_mean, -0.3, 0.3), (made.running_var, 0.2, 1.0)):
        value.data.uniform_(low, high)
    return made


def _if(threshold: float = 0.5) -> nn.Module:
    return IF(step_mode="s", v_threshold=threshold)


def _strong(network: nn.Module) -> nn.Module:
    """Weights that make neurons of every layer spike."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv1d):
            module.weight.data.mul_(2.5)
    return network


EQUAL: dict[str, Callable[[], nn.Module]] = {
    "stride, padding, kernel of pairs": lambda: Linked(
        nn.Conv2d(2, 4, (3, 5), (2, 1), (0, 2))),
    "pool of pairs behind neurons": lambda: Linked(
        nn.Conv2d(2, 4, 3), _if(), nn.MaxPool2d((2, 3), (2, 1), (1, 0)), nn.Conv2d(4, 3, 2)),
    "groups": lambda: Linked(nn.Conv2d(2, 4, 3, groups=2, padding=1)),
    "depthwise": lambda: Linked(nn.Conv2d(2, 2, 3, groups=2, bias=False)),
    "depthwise-separable without neurons between": lambda: Linked(
        nn.Conv2d(2, 2, 3, groups=2, padding=1), nn.Conv2d(2, 5, 1)),
    "two convolutions without neurons between": lambda: Linked(
        nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Conv2d(4, 3, 2, stride=2)),
    "dilation": lambda: Linked(nn.Conv2d(2, 4, 3, dilation=(1, 2), padding=2)),
    "same, even kernel": lambda: Linked(nn.Conv2d(2, 4, (2, 4), padding="same")),
    "bias before a norm": lambda: Linked(nn.Conv2d(2, 4, 3), _norm(4)),
    "norm before an unpadded convolution": lambda: Linked(_norm(2), nn.Conv2d(2, 4, 3)),
    "norm behind neurons, unpadded": lambda: Linked(
        nn.Conv2d(2, 4, 3), _if(), _norm(4), nn.Conv2d(4, 3, 3)),
    "two norms": lambda: Linked(nn.Conv2d(2, 4, 3), _norm(4), _norm(4)),
    "mean pool before neurons": lambda: Linked(nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(2)),
    "mean pool that overlaps, before": lambda: Linked(nn.Conv2d(2, 4, 3), nn.AvgPool2d(3, 1)),
    "mean pool behind neurons": lambda: Linked(
        nn.Conv2d(2, 4, 3), _if(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2)),
    "mean pool with padding, behind": lambda: Linked(
        nn.Conv2d(2, 4, 3), _if(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 3, 2)),
    "mean of a mean": lambda: Linked(
        nn.Conv2d(2, 4, 3, padding=1), _if(), nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Conv2d(4, 3, 1)),
    "adaptive": lambda: Linked(
        nn.Conv2d(2, 4, 3, padding=1), _if(), nn.AdaptiveAvgPool2d((2, 4)), nn.Flatten(),
        nn.Linear(32, 5), threshold=0.1),
    "global mean before neurons": lambda: Linked(nn.Conv2d(2, 4, 3), nn.AdaptiveAvgPool2d(1)),
    "flatten": lambda: Linked(nn.Conv2d(2, 4, 3), _if(), nn.Flatten(), nn.Linear(144, 5)),
    "neurons on a flattened map": lambda: Linked(
        nn.Conv2d(2, 4, 3), nn.Flatten(), _if(), nn.Linear(144, 5)),
    "neurons directly on spikes": lambda: Linked(nn.Identity(), threshold=1.5),
    "neurons directly on neurons": lambda: Linked(nn.Conv2d(2, 4, 3), _if(), threshold=1.5),
    "mean of a max pool": lambda: Linked(
        nn.Conv2d(2, 4, 3, padding=1), _if(), nn.MaxPool2d(2), _norm(4), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(4, 5), threshold=0.2),
    "max pools that overlap": lambda: Linked(
        nn.Conv2d(2, 4, 3), _if(), nn.MaxPool2d(3, 1), nn.MaxPool2d(2, 1), nn.Conv2d(4, 3, 1)),
    "dropout": lambda: Linked(nn.Dropout2d(0.9), nn.Conv2d(2, 4, 3), nn.AlphaDropout(0.9)),
}


@pytest.mark.parametrize("name", EQUAL)
def test_maps(name: str):
    torch.manual_seed(2)
    equal(_strong(EQUAL[name]()), X)


@pytest.mark.parametrize("layers", [
    lambda: (nn.Conv1d(2, 4, 5, 2, 3),),
    lambda: (nn.Conv1d(2, 4, 3, padding="same", groups=2), _norm(4, nn.BatchNorm1d)),
    lambda: (nn.Conv1d(2, 4, 3, padding=1), _if(), nn.AvgPool1d(4), nn.Conv1d(4, 3, 2)),
    lambda: (nn.Conv1d(2, 4, 3, padding=1), _if(), nn.MaxPool1d(2), nn.Flatten(),
             nn.Linear(32, 5)),
    lambda: (nn.Conv1d(2, 4, 3, dilation=2), nn.AdaptiveAvgPool1d(4)),
])
def test_signals(layers: Callable[[], tuple[nn.Module, ...]]):
    torch.manual_seed(2)
    equal(Linked(*layers()), SIGNAL)


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "norm before a padded convolution": (
        lambda: Linked(_norm(2), nn.Conv2d(2, 4, 3, padding=1)), ("layers.1", "borders")),
    "padded convolution behind a convolution": (
        lambda: Linked(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1)), ("layers.1", "borders")),
    "mean pool of currents with padding": (
        lambda: Linked(nn.Conv2d(2, 4, 3), nn.AvgPool2d(2, 2, 1)), ("layers.1", "borders")),
    "max pool of currents": (
        lambda: Linked(nn.Conv2d(2, 4, 3), nn.MaxPool2d(2)), ("layers.1", "--move-pools")),
    "max pool of a norm below 0": (
        lambda: Linked(nn.Conv2d(2, 4, 3), _if(), _norm(4), nn.MaxPool2d(2)),
        ("layers.3", "0 or below")),
    "max pool of a sum": (
        lambda: Linked(step=lambda m, x: m.neuron(F.max_pool2d(x + x.flip(1), 2))),
        ("'max_pool2d'", "sum")),
    "largest of a mean": (
        lambda: Linked(nn.Conv2d(2, 4, 3), _if(), nn.AvgPool2d(2), nn.MaxPool2d(2),
                       nn.Conv2d(4, 3, 1)), ("layers.3", "pool of a pool")),
    "means that overlap": (
        lambda: Linked(nn.Conv2d(2, 4, 3), _if(), nn.AvgPool2d(2, 1), nn.AvgPool2d(2),
                       nn.Conv2d(4, 3, 1)), ("layers.3", "pool of a pool")),
    "wrong channels": (lambda: Linked(nn.Conv2d(2, 4, 3), _if(), nn.Unflatten(1, (2, 2)),
                                      nn.Flatten(1, 2), nn.Flatten(2), nn.Conv1d(4, 3, 1)),
                       ("layers.5", "change of shape")),
    "a map of a vector": (lambda: Linked(nn.Flatten(), nn.Linear(128, 32), _if(),
                                         nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 3, 3)),
                          ("layers.4", "layers.3", "change of shape")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_maps_that_are_refused(name: str):
    make, words = REFUSED[name]
    refused(make(), X, *words)


def test_moved_pools():
    """Exact where the neurons have no memory; a note says what was done."""
    torch.manual_seed(2)

    class Net(nn.Module):
        def __init__(self, beta: float):
            super().__init__()
            self.conv, self.neuron = nn.Conv2d(2, 4, 3), LIF(beta, v_threshold=0.3)

        def forward(self, x: Tensor) -> Tensor:
            return means(self.neuron(torch.stack([F.max_pool2d(self.conv(s), 2) for s in x])))

    refused(Net(0.0), X, "'max_pool2d'", "--move-pools")
    network = equal(Net(0.0), X, move_pools=True, check_spikes=False)
    assert any("moved" in note for layer in network.layers for note in layer.notes)


# Sums, products and concatenations ----------------------------------------------------------------


class Blocks(nn.Module):
    """Convolutions and neurons of ours, which a function puts together; a readout."""

    def __init__(self, function: Callable[["Blocks", Tensor], Tensor], outputs: int = 4):
        super().__init__()
        torch.manual_seed(4)
        self.convs = nn.ModuleList(nn.Conv2d(2 if not i else 4, 4, 3, padding=1) for i in range(6))
        self.norms = nn.ModuleList(_norm(4) for _ in range(6))
        self.neurons = nn.ModuleList(_if(0.6) for _ in range(8))
        self.pool, self.function = nn.MaxPool2d(2), function
        self.fc = nn.Linear(outputs, 5)

    def c(self, i: int, x: Tensor) -> Tensor:
        return self.norms[i](self.convs[i](x))

    def n(self, i: int, x: Tensor) -> Tensor:
        return self.neurons[i](x)

    def forward(self, x: Tensor) -> Tensor:
        made = [self.function(self, step) for step in x]
        return self.fc(torch.stack(made).mean((-1, -2))).mean(0)


def _sew(join: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Blocks, Tensor], Tensor]:
    """Two blocks of a spike-element-wise network."""
    def run(m: Blocks, x: Tensor) -> Tensor:
        x = m.n(0, m.c(0, x))
        x = join(x, m.n(2, m.c(2, m.n(1, m.c(1, x)))))
        return join(x, m.n(4, m.c(4, m.n(3, m.c(3, x)))))
    return run


def _membrane_shortcut(m: Blocks, x: Tensor) -> Tensor:
    """Three blocks whose sums of currents run on."""
    current = m.c(0, x)
    for i in range(1, 4):
        current = current + m.c(i, m.n(i, current))
    return m.n(4, current)


def _residual(m: Blocks, x: Tensor) -> Tensor:
    """tdBN ResNet: currents of the main path and of the shortcut are added before the neurons."""
    x = m.n(0, m.c(0, x))
    x = m.n(2, m.c(2, m.n(1, m.c(1, x))) + x)
    return m.n(4, m.c(4, m.n(3, m.c(3, x))) + m.norms[5](m.convs[5](x)))


JOINED: dict[str, Callable[[Blocks, Tensor], Tensor]] = {
    "SEW ADD": _sew(lambda x, y: x + y),
    "SEW AND": _sew(lambda x, y: x * y),
    "SEW IAND": _sew(lambda x, y: x * (1.0 - y)),
    "MS-ResNet": _membrane_shortcut,
    "tdBN ResNet": _residual,
    "scaled sum": lambda m, x: m.n(1, m.c(1, 0.5 * m.n(0, m.c(0, x)))),
    "one module twice": lambda m, x: m.n(2, m.c(1, m.n(1, m.c(1, m.n(0, m.c(0, x)))))),
    "one pool twice": lambda m, x: m.n(2, m.c(2, m.pool(m.n(1, m.c(1, m.pool(m.n(0, m.c(
        0, x)))))))),
    "global mean": lambda m, x: m.n(0, m.c(0, x)).mean((2, 3), keepdim=True),
    "functional mean pool": lambda m, x: m.n(1, m.c(1, F.avg_pool2d(m.n(0, m.c(0, x)), 2))),
    "difference": lambda m, x: m.n(2, m.c(1, m.n(0, m.c(0, x))) - m.convs[0](x)),
    "alpha": lambda m, x: m.n(2, torch.add(m.c(1, m.n(0, m.c(0, x))), m.convs[0](x), alpha=0.5)),
    "currents side by side": lambda m, x: m.n(1, torch.cat([m.c(0, x)[:, 2:], m.convs[0](x)[
        :, :2]], 1)),
    "channels of two maps": lambda m, x: m.n(2, m.c(1, torch.cat(
        [m.n(0, m.c(0, x))[:, :2], m.n(1, m.convs[0](x))[:, 2:]], 1))),
}


@pytest.mark.parametrize("name", JOINED)
def test_joined_maps(name: str):
    equal(_strong(Blocks(JOINED[name])), X)


def test_joined_maps_of_other_sizes():
    class Net(nn.Module):
        def __init__(self, reads: int):
            super().__init__()
            torch.manual_seed(4)
            self.a, self.b = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 4, 3, 2)
            self.na, self.nb, self.nc = _if(), _if(), _if()
            self.fc, self.conv = nn.Linear(reads, 5), nn.Conv2d(7, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.step(step) for step in x])

        def step(self, x: Tensor) -> Tensor:
            both = [self.na(self.a(x)), self.nb(self.b(x))]
            return self.nc(self.fc(torch.cat([part.flatten(1) for part in both], 1)))

    equal(Net(3 * 36 + 4 * 9), X)


def test_sums_that_are_refused():
    def broken(m: Blocks, x: Tensor) -> Tensor:
        one = m.n(0, m.c(0, x))
        return (one + m.n(1, m.c(1, one))) * one

    refused(Blocks(broken), X, "'mul'", "two maps of spikes")
    refused(Blocks(lambda m, x: m.n(0, m.n(0, m.c(0, x)))), X, "'neurons.0'", "loop")
    refused(Blocks(lambda m, x: m.n(0, m.c(0, x)) + m.n(0, m.convs[0](x))), X, "'neurons.0'",
            "shared")
    refused(Blocks(lambda m, x: m.n(0, m.c(0, x))[..., :4] + 0), X, "over all rows")
