"""Every parameter of every accepted layer, with several values: honoured exactly, or refused.

Each value stands in a network of that layer and of neurons behind it, which reads spikes, or the
currents of a convolution. A parameter that is not in these tables fails: a new version of a library
has a new one.
"""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from quadfire.models.frontends.translation import LINEAR, NORMS, POOLS, SUM_POOL, TRUSTED, VOTING
from quadfire.models.neurons import IF
from quadfire.models.neurons.tdbn import TDBatchNorm

from tests.models.frontends.equal import equal, means, refused, spikes
from tests.models.frontends.peers import peer


class No:
    """A value that must be refused with these words in the message."""

    def __init__(self, value: Any, *words: str):
        self.value, self.words = value, words

    def __repr__(self) -> str:
        return f"not {self.value!r}"


MAP, SIGNAL, VECTOR = (2, 6, 6), (2, 12), (12,)
FORMATS = {"device": ["cpu", No("meta", "meta")],
           "dtype": [torch.float64, torch.float16, torch.bfloat16]}
CONV = {"in_channels": [2], "out_channels": [1, 3, 4], "stride": [1, 2, 3], "groups": [1, 2],
        "dilation": [1, 2], "bias": [True, False],
        "padding_mode": ["zeros", No("reflect", "tested", "padding_mode"),
                         No("replicate", "tested", "padding_mode"),
                         No("circular", "tested", "padding_mode")], **FORMATS}
NORM = {"num_features": [2], "eps": [1e-5, 0.5], "momentum": [0.1, 0.9, None],
        "affine": [True, False], "bias": [True, False],
        "track_running_stats": [True, No(False, "tested", "track_running_stats")], **FORMATS}
MEAN = {"kernel_size": [1, 2, 3], "stride": [None, 1, 2, 3], "padding": [0, 1],
        "ceil_mode": [False, True, No(True, "tested", "ceil_mode")],
        "count_include_pad": [True, False, No(False, "tested", "count_include_pad")]}
MAX = {"kernel_size": [1, 2, 3], "stride": [None, 1, 2], "padding": [0, 1],
       "dilation": [1, No(2, "tested", "dilation")],
       "return_indices": [False, No(True, "tested", "return_indices")],
       "ceil_mode": [False, True, No(True, "tested", "ceil_mode")]}
DROP = {"p": [0.0, 0.5, 1.0], "inplace": [False, True]}
#: What stands beside a value, where it needs more than the layer's defaults.
BESIDE: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("AvgPool", "ceil_mode"): [{}, {}, {"kernel_size": 4, "stride": 3}],
    ("AvgPool", "count_include_pad"): [{}, {}, {"padding": 1}],
    ("MaxPool", "ceil_mode"): [{}, {}, {"kernel_size": 4, "stride": 3}],
    ("SumPool", "ceil_mode"): [{}, {}, {"kernel_size": 4, "stride": 3}],
    ("BatchNorm", "bias"): [{}, {}],
}

#: Layers of torch: shape of the input, arguments that they need, values of every parameter.
LAYERS: dict[type[nn.Module], tuple[tuple[int, ...], dict[str, Any], dict[str, list[Any]]]] = {
    nn.Linear: (VECTOR, {"in_features": 12, "out_features": 5}, {
        "in_features": [12], "out_features": [1, 7], "bias": [True, False], **FORMATS}),
    nn.Conv2d: (MAP, {"in_channels": 2, "out_channels": 4, "kernel_size": 3}, {
        **CONV, "kernel_size": [1, 2, 3, (1, 3), (3, 2), 6],
        "stride": [1, 2, 3, (2, 1), (1, 3)], "dilation": [1, 2, (1, 2), (2, 1)],
        "padding": [0, 1, 2, 3, (0, 2), (1, 0), "same", "valid"]}),
    nn.Conv1d: (SIGNAL, {"in_channels": 2, "out_channels": 4, "kernel_size": 3}, {
        **CONV, "kernel_size": [1, 2, 3, (5,), 12], "padding": [0, 1, 4, (2,), "same", "valid"]}),
    nn.BatchNorm2d: (MAP, {"num_features": 2}, NORM),
    nn.BatchNorm1d: (SIGNAL, {"num_features": 2}, NORM),
    nn.AvgPool2d: (MAP, {"kernel_size": 2}, {
        **MEAN, "kernel_size": [1, 2, 3, (1, 2), (6, 6)], "stride": [None, 1, 2, (1, 2)],
        "padding": [0, 1, (0, 1)], "divisor_override": [None, 1, 3]}),
    nn.AvgPool1d: (SIGNAL, {"kernel_size": 2}, MEAN),
    nn.MaxPool2d: (MAP, {"kernel_size": 2}, {
        **MAX, "kernel_size": [1, 2, 3, (1, 2), (6, 6)], "stride": [None, 1, 2, (1, 2)],
        "padding": [0, 1, (0, 1)]}),
    nn.MaxPool1d: (SIGNAL, {"kernel_size": 2}, MAX),
    nn.AdaptiveAvgPool2d: (MAP, {"output_size": 2}, {
        "output_size": [1, 2, 3, 6, (2, 3), (None, 2), No(4, "tested", "output_size")]}),
    nn.AdaptiveAvgPool1d: (SIGNAL, {"output_size": 2}, {
        "output_size": [1, 2, 3, 12, (4,), No(5, "tested", "output_size")]}),
    nn.Flatten: (MAP, {}, {
        "start_dim": [1, -3, No(0, "tested", "start_dim"), No(2, "tested", "start_dim")],
        "end_dim": [-1, 3, No(2, "tested", "end_dim")]}),
    nn.Unflatten: (VECTOR, {"dim": 1, "unflattened_size": (2, 6)}, {
        "dim": [1, -1], "unflattened_size": [(12, 1), (2, 6), (3, 2, 2)]}),
    nn.Dropout: (MAP, {}, DROP), nn.Dropout1d: (SIGNAL, {}, DROP), nn.Dropout2d: (MAP, {}, DROP),
    nn.AlphaDropout: (MAP, {}, DROP), nn.FeatureAlphaDropout: (MAP, {}, DROP),
    nn.Identity: (MAP, {}, {"args": [], "kwargs": []}),
    TDBatchNorm: (MAP, {"features": 2}, {
        "features": [2], "alpha": [1.0, 0.5], "v_threshold": [1.0, 0.7], "eps": [1e-5, 0.5],
        "momentum": [0.1, 0.9]}),
}

_PACKAGE = "spikingjelly.activation_based.layer"
_TDBN = {"num_features": [2], "alpha": [1.0, 0.5], "v_th": [1.0, 0.7], "eps": [1e-5, 0.5],
         "momentum": [0.1, 0.9], "affine": [True],
         "track_running_stats": [True, No(False, "tested", "track_running_stats")]}
#: Layers of other libraries: package, shape, needed arguments, values; where None, those of torch.
OTHERS: dict[tuple[str, str], tuple[tuple[int, ...], dict[str, Any], dict[str, list[Any]]]] = {
    **{(_PACKAGE, name): (*LAYERS[getattr(nn, name)][:2], LAYERS[getattr(nn, name)][2]
                          | {"step_mode": ["s", "m"]})
       for name in ("Conv1d", "Conv2d", "Linear", "BatchNorm1d", "BatchNorm2d", "AvgPool1d",
                    "AvgPool2d", "MaxPool1d", "MaxPool2d", "AdaptiveAvgPool1d",
                    "AdaptiveAvgPool2d", "Flatten")},
    (_PACKAGE, "Dropout"): (MAP, {}, {"p": [0.0, 0.5], "step_mode": ["s", "m"]}),
    (_PACKAGE, "Dropout2d"): (MAP, {}, {"p": [0.0, 0.5], "step_mode": ["s", "m"]}),
    (_PACKAGE, "ThresholdDependentBatchNorm2d"): (
        MAP, {"num_features": 2, "alpha": 1.0, "v_th": 1.0}, _TDBN),
    (_PACKAGE, "ThresholdDependentBatchNorm1d"): (
        SIGNAL, {"num_features": 2, "alpha": 1.0, "v_th": 1.0}, _TDBN),
    (_PACKAGE, "VotingLayer"): (VECTOR, {"voting_size": 3}, {
        "voting_size": [1, 3, 12], "step_mode": ["s", "m"]}),
    ("sinabs.layers", "SumPool2d"): (MAP, {"kernel_size": 2}, {
        "kernel_size": [1, 2, 3, (1, 2)], "stride": [None, 1, 2, (1, 2)],
        "ceil_mode": [False, True, No(True, "tested", "ceil_mode")]}),
}
#: Left out: they carry no meaning of their own.
_SPIKINGJELLY_LESS = {"device", "dtype", "bias"}


class Host(nn.Module):
    """A layer between spikes, or the currents of a convolution, and neurons, step by step."""

    def __init__(self, tested: nn.Module, shape: tuple[int, ...], currents: bool, multi: bool):
        super().__init__()
        self.before: nn.Module = nn.Identity()
        if currents:
            self.before = {1: nn.Linear(12, 12), 2: nn.Conv1d(2, 2, 1),
                           3: nn.Conv2d(2, 2, 1)}[len(shape)]
        self.tested, self.multi = tested, multi
        self.after = nn.Identity()
        if isinstance(tested, nn.Flatten):
            size = tested(torch.zeros(*[2] * multi, 3, *shape)).shape[-1]
            self.after = nn.Linear(size, 5)
        self.neuron = IF(step_mode="m", v_threshold=0.4)

    def forward(self, x: Tensor) -> Tensor:
        if self.multi:
            steps = torch.stack([self.before(step) for step in x])
            return means(self.neuron(self.after(self.tested(steps))))
        given = [self.tested(self.before(step)) for step in x]
        given = [each[0] if isinstance(each, tuple) else each for each in given]
        return means(self.neuron(self.after(torch.stack(given))))


def _fill(module: nn.Module) -> nn.Module:
    """Numbers that are not those of an untrained network."""
    generator = torch.Generator().manual_seed(1)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_meta or not value.is_floating_point():
            continue
        drawn = torch.rand(value.shape, generator=generator)
        value.data.copy_(drawn + 0.3 if name.endswith("var") else 1.5 * drawn - 0.4)
    return module


def _parameters(cls: type) -> list[str]:
    """Names of the parameters of a layer's constructor, with those that it hands on."""
    names = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    if "kwargs" in names and cls is not nn.Identity:
        names = [*names, *_parameters(cls.__mro__[1])] if cls.__mro__[1] is not object else names
    return [name for name in dict.fromkeys(names) if name not in ("args", "kwargs")] \
        if cls is not nn.Identity else names


def _values(values: dict[str, list[Any]], beside: str) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for name, each in values.items():
        more = next((found for (kind, what), found in BESIDE.items()
                     if beside.startswith(kind) and what == name), [{}] * len(each))
        yield from ((name, value, extra) for value, extra in zip(each, more, strict=True))


def _cases() -> list[Any]:
    cases = []
    for cls, (shape, needed, values) in LAYERS.items():
        known = {name: each for name, each in values.items() if name in _parameters(cls)}
        for name, value, extra in _values(known, cls.__name__):
            cases.append(pytest.param(cls, shape, needed | extra, name, value,
                                      id=f"{cls.__name__}-{name}-{value}"))
    return cases


def _try(cls: type[nn.Module], shape: tuple[int, ...], arguments: dict[str, Any], name: str,
         value: Any) -> None:
    """One value, behind spikes and behind currents."""
    wanted = value.value if isinstance(value, No) else value
    tested = _fill(cls(**arguments | {name: wanted}))
    multi = isinstance(tested, TDBatchNorm) or getattr(tested, "step_mode", "s") == "m"
    x = spikes(5, 3, *shape)
    pools_currents = "MaxPool" in cls.__name__
    pads = (arguments | {name: wanted}).get("padding", 0) not in (0, "valid")
    host = Host(tested, shape, False, multi)
    _fill(host.after)
    if isinstance(value, No):
        refused(host, x, *value.words)
        return
    equal(host, x, alive=False)
    if pools_currents or pads or name == "dtype":
        return
    host = Host(tested, shape, True, multi)
    _fill(host.before)
    _fill(host.after)
    equal(host, x, alive=False)


@pytest.mark.parametrize(("cls", "shape", "arguments", "name", "value"), _cases())
def test_layers_of_torch(cls: type[nn.Module], shape: tuple[int, ...], arguments: dict[str, Any],
                         name: str, value: Any):
    _try(cls, shape, arguments, name, value)


@pytest.mark.parametrize(("package", "layer"), OTHERS, ids=lambda name: str(name))
def test_layers_of_other_libraries(package: str, layer: str):
    peer(package.split(".")[0])
    cls = getattr(importlib.import_module(package), layer)
    shape, needed, values = OTHERS[package, layer]
    parameters = _parameters(cls)
    # What the library's layer does not take stands in the table of torch's alone.
    known = {name: each for name, each in values.items() if name in parameters}
    assert set(values) - set(known) <= _SPIKINGJELLY_LESS
    assert set(parameters) <= {*values, *FORMATS, "bias"}, "a parameter that is in no table"
    for name, value, extra in _values(known, layer):
        if isinstance(value, torch.dtype):
            continue
        _try(cls, shape, needed | extra, name, value)


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_no_parameter_is_left_out(cls: type[nn.Module]):
    parameters = set(_parameters(cls))
    assert parameters <= set(LAYERS[cls][2]), "a parameter that is in no table"
    assert set(LAYERS[cls][2]) - parameters <= {"bias"}, "a parameter that there is not"


def test_no_layer_is_left_out():
    assert set(LAYERS) >= {*LINEAR, *NORMS, *POOLS}
    assert {name for _, name in OTHERS} >= {name for _, name in (*TRUSTED, SUM_POOL, VOTING)}
