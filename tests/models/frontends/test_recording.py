"""What a recording is told and not told: nothing between known layers goes unseen.

A function between two layers is either computed exactly, or refused by its name.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quadfire.models.frontends.importing import from_module
from quadfire.models.neurons import IF

from tests.models.frontends.equal import Linked, equal, refused, spikes

X = spikes(5, 3, 2, 6, 6)
Function = Callable[["Between", Tensor], Tensor]


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


class _Heaviside(_Twice):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x > 0).double()


class Between(nn.Module):
    """Convolution, neurons, a function of their spikes, a fully connected layer, its mean."""

    scale: Tensor
    mask: Tensor

    def __init__(self, function: Function | None = None, currents: Function | None = None,
                 outputs: int = 5, inputs: int = 64):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.neuron = nn.Conv2d(2, 4, 3), IF(step_mode="s", v_threshold=0.5)
        self.fc, self.last = nn.Linear(inputs, outputs), IF(step_mode="s", v_threshold=0.3)
        self.function, self.currents = function, currents
        self.register_buffer("scale", torch.tensor([0.5, 1.5, -1.0, 2.0]).view(4, 1, 1))
        self.register_buffer("mask", (torch.rand(4, 4, 4) > 0.5).float())
        self.weight = nn.Parameter(torch.rand(6, 64) - 0.4)
        self.kernel = nn.Parameter(torch.rand(4, 4, 1, 1) - 0.3)
        self.relu, self.norm = nn.ReLU(), nn.GroupNorm(2, 4)
        self.up, self.gru = nn.ConvTranspose2d(4, 4, 1), nn.GRU(64, 64)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Any = 0
        for step in x:
            current = self.conv(step)
            spk = self.neuron(self.currents(self, current) if self.currents else current)
            out = out + self.fc((self.function(self, spk) if self.function else spk).flatten(1))
        return out / len(x)


def _write(x: Tensor, index: Any, value: Any) -> Tensor:
    x[index] = value
    return x


def _buffer(x: Tensor) -> Tensor:
    made = torch.zeros(len(x), 4, 4, 4)
    made[:, :2] = x[:, :2]
    made[:, 2:] = x[:, 2:]
    return made


HONOURED: dict[str, Function] = {
    "detach": lambda m, x: x.detach().clone().contiguous(),
    "single precision": lambda m, x: x.float(),
    "truth values": lambda m, x: x.bool().double(),
    "not": lambda m, x: (~x.bool()).float(),
    "integers": lambda m, x: (1 - x.int()).float(),
    "and of two": lambda m, x: (x.bool() & x.roll(1, 1).bool()).float(),
    "number": lambda m, x: x * 0.5,
    "division": lambda m, x: x / 4,
    "one less": lambda m, x: 1.0 - x,
    "scale of channels": lambda m, x: m.scale * x,
    "computed constant": lambda m, x: x * torch.sigmoid(m.scale),
    "constant of one value a channel": lambda m, x: x + 0.1 * m.scale.expand(4, 4, 4),
    "negative": lambda m, x: -x,
    "in place": lambda m, x: x.mul_(0.5).add_(0.1),
    "channels": lambda m, x: torch.cat([x[:, 2:], x[:, :2]], 1),
    "some channels twice": lambda m, x: x[:, [0, 1, 1, 3]],
    "roll of channels": lambda m, x: x.roll(1, 1),
    "flip of channels": lambda m, x: x.flip(1),
    "chunks": lambda m, x: torch.cat([y * k for y, k in zip(x.chunk(2, 1), (1, 2), strict=True)],
                                     1),
    "permute and back": lambda m, x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "view and back": lambda m, x: x.view(len(x), 2, -1).reshape(x.shape),
    "buffer that is filled": lambda m, x: _buffer(x),
    "twice the same": lambda m, x: x + x,
    "stack and sum": lambda m, x: torch.stack([x, 0.5 * x, x.roll(1, 1)]).sum(0),
    "stack and mean": lambda m, x: torch.stack([x, x.roll(1, 1)]).mean(0),
    "python sum": lambda m, x: sum([x, x.roll(1, 1)]),       # pyright: ignore
    "dropout": lambda m, x: F.dropout(m.dropout(x), 0.5, training=m.training),
    "functional convolution": lambda m, x: F.conv2d(x, m.kernel, m.scale.flatten()),
    "functional norm": lambda m, x: F.batch_norm(x, m.scale.flatten(), m.scale.flatten().abs()),
    "functional pool": lambda m, x: F.max_pool2d(x, 3, stride=1, padding=1),
    "autograd function": lambda m, x: x + _Twice.apply(x),      # pyright: ignore
    "sum of channels": lambda m, x: x + x.sum(1, keepdim=True).expand(x.shape),
    "prints": lambda m, x: x if repr(x) and x.shape[0] and x.is_floating_point() else -x,
}


@pytest.mark.parametrize("name", HONOURED)
def test_functions_that_are_computed(name: str):
    equal(Between(HONOURED[name]), X)


REFUSED: dict[str, tuple[Function, tuple[str, ...]]] = {
    "relu": (lambda m, x: m.relu(x), ("'relu' in 'relu'", "spiking neurons")),
    "sigmoid": (lambda m, x: x.sigmoid(), ("'sigmoid'",)),
    "where": (lambda m, x: torch.where(m.mask > 0, x, -x), ("'where'",)),
    "clamp": (lambda m, x: x.clamp(0, 1), ("'clamp'",)),
    "comparison": (lambda m, x: (x > 0.5).float(), ("'gt'",)),
    "power": (lambda m, x: x ** 2, ("'pow'",)),
    "or": (lambda m, x: (x.bool() | x.roll(1, 1).bool()).float(), ("'__or__'",)),
    "bernoulli": (lambda m, x: torch.bernoulli(x), ("'bernoulli'", "random")),
    "noise": (lambda m, x: x + torch.randn(4, 4, 4), ("'randn'", "random")),
    "NumPy's noise": (lambda m, x: x * float(np.random.rand()), ("random",)),   # noqa: NPY002
    "dropout that is on": (lambda m, x: F.dropout(x, 0.5), ("'dropout'", "self.training")),
    "spike function": (lambda m, x: _Heaviside.apply(x), ("'gt'", "neurons")),    # pyright: ignore
    "numpy": (lambda m, x: torch.from_numpy(x.numpy()), ("'numpy'",)),
    "tolist": (lambda m, x: torch.tensor(x.tolist()), ("'tolist'",)),
    "item": (lambda m, x: x * x[0, 0, 0, 0].item(), ("'item'",)),
    "truth of a value": (lambda m, x: x if x.any() else -x, ("'any'",)),
    "length by a value": (lambda m, x: x if bool(x[0, 0, 0, 0]) else -x, ("'__bool__'",)),
    "zeros in a channel": (lambda m, x: _write(x, (slice(None), 0), 0.0), ("constant in parts",)),
    "in place through a view": (lambda m, x: (x[:, 0].mul_(2), x)[1], ("in place",)),
    "data in place": (lambda m, x: (x.data.mul_(2), x)[1], ("in place",)),
    "in place by an index": (lambda m, x: x.index_put_((torch.tensor([0]),), torch.tensor(1.0)),
                             ("'index_put_'",)),
    "mask in space": (lambda m, x: x * m.mask, ("within a channel",)),
    "mask in space, in place": (lambda m, x: x.mul_(m.mask), ("within a channel",)),
    "mask of samples": (lambda m, x: x * torch.arange(3.0).view(3, 1, 1, 1), ("samples",)),
    "transpose": (lambda m, x: x.transpose(2, 3), ("'transpose'",)),
    "permute": (lambda m, x: x.permute(0, 2, 3, 1), ("'permute'",)),
    "flip in space": (lambda m, x: x.flip(-1), ("'flip'",)),
    "roll in space": (lambda m, x: x.roll(1, 2), ("'roll'",)),
    "flip of the batch": (lambda m, x: x.flip(0), ("samples",)),
    "roll of the batch": (lambda m, x: x.roll(1, 0), ("samples",)),
    "batch into channels": (lambda m, x: x.transpose(0, 1).reshape(x.shape), ("'reshape'",)),
    "bits as numbers": (lambda m, x: x.view(torch.int64).double(), ("'view'",)),
    "sum of truth values": (lambda m, x: x.bool() + x.bool(), ("'add'", "torch.bool")),
    "product of maps": (lambda m, x: (x * 0.5) * x, ("'mul'", "products")),
    "matmul in space": (lambda m, x: x @ torch.ones(4, 4), ("'matmul'",)),
    "einsum": (lambda m, x: torch.einsum("nchw,dc->ndhw", x, m.kernel.flatten(1)), ("'einsum'",)),
    "sort": (lambda m, x: x.sort(1)[0], ("'sort'",)),
    "cumsum": (lambda m, x: x.cumsum(1), ("'cumsum'",)),
    "group norm": (lambda m, x: m.norm(x), ("'group_norm' in 'norm'", "batch norm")),
    "layer norm": (lambda m, x: F.layer_norm(x, x.shape[1:]), ("'layer_norm'",)),
    "transposed convolution": (lambda m, x: m.up(x), ("'conv_transpose2d' in 'up'", "yet")),
    "upsampling": (lambda m, x: F.interpolate(x, scale_factor=2)[:, :, :4, :4],
                   ("'interpolate'", "yet")),
    "GRU": (lambda m, x: m.gru(x.flatten(1))[0], ("'gru' in 'gru'", "recurrent")),
    "attention": (lambda m, x: F.scaled_dot_product_attention(x, x, x), ("attention",)),
    "padding": (lambda m, x: F.pad(x, (0, 1, 0, 1))[..., :4, :4], ("'pad'", "convolution")),
    "part of a map": (lambda m, x: torch.cat([x[..., :2, :], x[..., :2, :]], 2), ("parts",)),
    "mean over the batch": (lambda m, x: x - x.mean(0, keepdim=True), ("'mean'",)),
    "mean over rows": (lambda m, x: x - x.mean(2, keepdim=True), ("'mean'", "parts")),
    "weights from the input": (lambda m, x: F.conv2d(x, x[:1].mean((2, 3))[..., None, None].expand(
        4, 4, 1, 1)), ("'conv2d'",)),
    "norm of the batch": (lambda m, x: F.batch_norm(x, None, None, training=True),
                          ("'batch_norm'", "fixed weights")),
    "functional pool with dilation": (
        lambda m, x: F.max_pool2d(x, 2, 1, 1, 2)[..., :4, :4], ("dilation",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_functions_that_are_refused(name: str):
    function, words = REFUSED[name]
    refused(Between(function), X, *words)


def test_currents_are_no_spikes():
    refused(Between(currents=lambda m, x: x.int().double()), X, "'int'", "spikes")
    refused(Between(currents=lambda m, x: x.bool().double()), X, "'bool'", "spikes")
    refused(Between(currents=lambda m, x: x * x), X, "'mul'", "products")
    refused(Between(currents=lambda m, x: F.max_pool2d(x, 1)), X, "'max_pool2d'", "--move-pools")
    equal(Between(currents=lambda m, x: m.scale * x + 0.2), X)


def test_weights_as_arguments():
    class Functional(nn.Module):
        def __init__(self, function: Any):
            super().__init__()
            self.fc, self.neuron, self.function = nn.Linear(72, 6), IF(v_threshold=0.3), function

        def forward(self, x: Tensor) -> Tensor:
            return self.neuron(self.function(self, x.flatten(2)))

    equal(Functional(lambda m, x: F.linear(x, m.fc.weight, m.fc.bias)), X)
    equal(Functional(lambda m, x: x @ m.fc.weight.T + m.fc.bias), X)
    equal(Functional(lambda m, x: torch.matmul(x, 0.5 * m.fc.weight.T)), X)
    refused(Functional(lambda m, x: F.linear(x, torch.randn(6, 72))), X, "'randn'")
    refused(Functional(lambda m, x: F.linear(x, m.fc.weight + x.mean())), X, "'mean'")


# Time ---------------------------------------------------------------------------------------------


class Time(nn.Module):
    """Two layers of neurons; a function runs them over time."""

    def __init__(self, function: Callable[["Time", Tensor], Any]):
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.c = nn.Linear(12, 8), nn.Linear(8, 4), nn.Linear(8, 8)
        self.na, self.nb = (IF(step_mode="s", v_threshold=0.3) for _ in range(2))
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)

    def step(self, x: Tensor) -> Tensor:
        return self.nb(self.b(self.na(self.a(x))))


def _delayed(m: Time, x: Tensor) -> Tensor:
    made, last = [], torch.zeros(x.shape[1], 8)
    for step in x:
        made.append(m.nb(m.b(last)))
        last = m.na(m.a(step))
    return torch.stack(made)


def _delayed_by_slices(m: Time, x: Tensor) -> Tensor:
    hidden = [m.na(m.a(step)) for step in x]
    return torch.stack([m.nb(m.b(hidden[max(t - 1, 0)])) for t in range(len(x))])


def _feedback(m: Time, x: Tensor) -> Tensor:
    made, last = [], torch.zeros(x.shape[1], 8)
    for step in x:
        last = m.na(m.a(step) + m.c(last))
        made.append(last)
    return torch.stack(made)


def _growing(m: Time, x: Tensor) -> Tensor:
    return torch.stack([m.nb(m.b(m.na(m.a(step)) * (1 + t * 1e-6))) for t, step in enumerate(x)])


def _skipped(m: Time, x: Tensor) -> Tensor:
    return torch.stack([m.step(step) for step in x[::2]])


def _reset(m: Time, x: Tensor) -> Tensor:
    made = []
    for step in x:
        m.na.reset()
        made.append(m.step(step))
    return torch.stack(made)


def _altered(m: Time, x: Tensor) -> Tensor:
    made = []
    for step in x:
        made.append(m.step(step))
        m.na.state = tuple(0.9 * part for part in m.na.state or ())
    return torch.stack(made)


def _threshold(m: Time, x: Tensor) -> Tensor:
    made = []
    for step in x:
        made.append(m.step(step))
        m.nb.v_threshold = 0.2
    return torch.stack(made)


def _learning(m: Time, x: Tensor) -> Tensor:
    made = []
    for step in x:
        made.append(m.step(step))
        m.b.weight.data.mul_(1.1)
    return torch.stack(made)


def _trace(m: Time, x: Tensor) -> Tensor:
    trace: Any = 0
    made = []
    for step in x:
        trace = 0.5 * trace + m.na(m.a(step))
        made.append(m.nb(m.b(trace)))
    return torch.stack(made)


TIMES: dict[str, tuple[Callable[[Time, Tensor], Any], tuple[str, ...]]] = {
    "a step before": (_delayed, ("'b'", "does not come from the input")),
    "a step before, by slices": (_delayed_by_slices, ("'nb'", "time step 0 in its step 1",
                                                      "delays")),
    "feedback": (_feedback, ("'c'", "feedback")),
    "another factor in every step": (_growing, ("'nb'", "time steps differ")),
    "half of the steps": (_skipped, ("time step 2 in its step 1",)),
    "backwards": (lambda m, x: torch.stack([m.step(step) for step in x.flip(0)]),
                  ("order",)),
    "backwards by a loop": (lambda m, x: torch.stack([m.step(x[t]) for t in (4, 3, 2, 1, 0)]),
                            ("order",)),
    "fewer steps": (lambda m, x: torch.stack([m.step(x[t]) for t in range(3)]), ("3 of", "5")),
    "first step again": (lambda m, x: torch.stack([m.step(x[0]) for _ in x]), ("'na'", "step 0")),
    "reset in every step": (_reset, ("'na'", "between time steps")),
    "state by hand": (_altered, ("'na'", "between time steps")),
    "threshold by hand": (_threshold, ("'nb'", "v_threshold", "between time steps")),
    "weights that change": (_learning, ("'b'", "weight", "between time steps")),
    "trace": (_trace, ("time steps",)),
    "early exit": (lambda m, x: torch.stack([m.step(step) for step in x if step.sum() > 0]),
                   ("'sum'",)),
    "some steps counted": (lambda m, x: sum([m.step(step) for step in x][2:]), ("3 of 5",)),
    "some steps in the answer": (lambda m, x: torch.stack([m.step(step) for step in x])[1:],
                                 ("4 of 5",)),
    "last spikes": (lambda m, x: [m.step(step) for step in x][-1], ("last time step",)),
    "largest count": (lambda m, x: torch.stack([m.step(step) for step in x]).max(0)[0],
                      ("largest",)),
    "a layer once more": (lambda m, x: torch.stack(
        [m.na(m.c(m.na(m.a(step)))) for step in x]), ("loop",)),
    "mean, then neurons": (lambda m, x: m.nb(m.b(torch.stack(
        [m.na(m.a(step)) for step in x]).mean(0))), ("mean over time",)),
    "nothing of the input": (lambda m, x: torch.ones(3, 4), ("does not come from its input",)),
    "arg max": (lambda m, x: torch.stack([m.step(step) for step in x]).sum(0).argmax(1),
                ("'argmax'", "same order")),
}


@pytest.mark.parametrize("name", TIMES)
def test_time_that_is_refused(name: str):
    function, words = TIMES[name]
    refused(Time(function), spikes(5, 3, 12), *words)


def _filled(m: Time, x: Tensor) -> Tensor:
    made = torch.zeros(len(x), x.shape[1], 4)
    for t in range(len(x)):
        made[t] = m.step(x[t])
    return made


def _added(m: Time, x: Tensor) -> Tensor:
    out = torch.zeros(x.shape[1], 4)
    for step in x:
        out += m.step(step)
    return out


@pytest.mark.parametrize("function", [
    lambda m, x: torch.stack([m.step(step) for step in x]),
    lambda m, x: [m.step(step) for step in x],
    lambda m, x: torch.stack([m.step(x[t]) for t in range(len(x))], 1).transpose(0, 1),
    lambda m, x: torch.stack([m.step(step) for step in x.unbind(0)], -1).sum(-1),
    lambda m, x: sum(m.step(step) for step in x), _filled, _added,
    lambda m, x: {"spikes": torch.stack([m.step(step) for step in x]), "extra": torch.ones(2)},
    lambda m, x: m.b(torch.stack([m.na(m.a(step)) for step in x]).mean(0)),
    lambda m, x: m.b(sum(m.na(m.a(step)) for step in x)),
], ids=range(10))
def test_time_as_people_write_it(function: Callable[[Time, Tensor], Any]):
    module, x = Time(function), spikes(5, 3, 12)
    with torch.no_grad():
        given = Time(function).double()(x.double())
    if isinstance(given, list):
        given = torch.stack(given)
    if isinstance(given, dict):
        given = given["spikes"]
    over = "sum" if from_module(module, x).output == "count" else "mean"
    answer = getattr(given, over)(0) if given.ndim > 2 else given
    equal(module, x, answer=answer)


def test_batch_before_time():
    module = Time(lambda m, x: torch.stack([m.step(x[:, t]) for t in range(x.shape[1])], 1))
    network = equal(module, spikes(3, 5, 12), answer=None)
    assert network.layout == "NT"


# Modules ------------------------------------------------------------------------------------------


def _twice(module: nn.Module, given: Any, result: Any) -> Any:
    return result * 2


def test_hooks_of_users():
    module = Linked(nn.Conv2d(2, 4, 3))
    module.neuron.register_forward_hook(_twice)
    refused(module, X, "layer 'neuron'", "hook")
    module = Linked(nn.Conv2d(2, 4, 3))
    module.layers[0].register_forward_hook(_twice)
    refused(module, X, "layers.0", "hook")


def test_modules_in_other_forms():
    torch.manual_seed(0)
    equal(nn.DataParallel(Linked(nn.Conv2d(2, 4, 3))), X)
    equal(Linked(nn.Conv2d(2, 4, 3)).half(), X)
    equal(Linked(nn.Conv2d(2, 4, 3)).train(), X)
    equal(Linked(nn.utils.parametrizations.weight_norm(nn.Conv2d(2, 4, 3))), X)
    refused(Linked(nn.Conv2d(2, 4, 3, device="meta")), X, "meta")

    class Own(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:     # noqa: A002
            return super().forward(input).relu()

    refused(Linked(Own(2, 4, 3)), X, "layers.0", "forward of its own")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(value: float):
    layer = nn.Conv2d(2, 4, 3)
    layer.weight.data[1, 0, 0, 0] = value
    refused(Linked(layer), X, "layers.0", "weight")


def test_an_example_without_a_batch_or_in_another_shape():
    refused(Linked(nn.Conv2d(2, 4, 3)), X[:, 0], "batch")
    module = Linked(nn.Unflatten(1, (2, 6, 6)), nn.Conv2d(2, 4, 3))
    refused(module, X.flatten(2), "layers.1", "give the example in that shape")
