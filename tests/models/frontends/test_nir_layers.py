"""Layers of NIR files: each computes in float64 what torch computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from quadfire.models.frontends.nir import from_nir

from tests.models.frontends.nir_files import STEPS, graph, inputs
from tests.models.frontends.nir_runs import (
    IF,
    SAID,
    chain,
    conv,
    ending,
    ends,
    integrated,
    problems,
    random,
    run,
    steps_of,
)

pytestmark = pytest.mark.fast


def torch_conv(node: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    function = functional.conv1d if node["type"] == "Conv1d" else functional.conv2d
    weight, bias = (torch.from_numpy(node[key]) for key in ("weight", "bias"))
    return lambda x: function(x, weight, bias, *(node[key] for key in (
        "stride", "padding", "dilation", "groups")))


CONVOLUTIONS = {
    "plain": ((2, 6, 7), conv("Conv2d", random(3, 2, 3, 3), input_shape=[6, 7])),
    "pairs": ((2, 9, 7), conv("Conv2d", random(3, 2, 3, 2), stride=(2, 1), padding=(0, 1),
                              dilation=(1, 2))),
    "groups": ((4, 5, 5), conv("Conv2d", random(6, 2, 3, 3), groups=2, padding=1)),
    "depthwise": ((4, 5, 5), conv("Conv2d", random(4, 1, 3, 3), groups=4, padding=[1, 1])),
    "same, even": ((2, 6, 6), conv("Conv2d", random(3, 2, 4, 2), padding="same")),
    "valid": ((2, 6, 6), conv("Conv2d", random(3, 2, 3, 3), padding="valid")),
    "wide padding": ((2, 4, 4), conv("Conv2d", random(3, 2, 1, 3), padding=(2, 3))),
    "signal": ((3, 11), conv("Conv1d", random(4, 3, 3), stride=2, padding=1, input_shape=11)),
    "signal, dilated": ((3, 11), conv("Conv1d", random(4, 3, 3), padding="same", dilation=2)),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_are_those_of_torch(name, tmp_path):
    shape, node = CONVOLUTIONS[name]
    torch.manual_seed(1)
    x = inputs(*shape)
    currents = steps_of(torch_conv(node), x)
    nodes = {"conv": node, "if": IF} | ending(currents.shape[2:])
    found, _ = run(from_nir(chain(tmp_path, shape, (4,), nodes), steps=STEPS, **SAID), x)[0]
    assert torch.equal(found, integrated(currents).reshape(found.shape))
    assert 0.05 < found.mean() < 0.8


@pytest.mark.parametrize(("pool", "function"), [
    ({"type": "SumPool2d", "kernel_size": [2, 2], "stride": [2, 2], "padding": [0, 0]},
     lambda x: 4 * functional.avg_pool2d(x, 2)),
    ({"type": "SumPool2d", "kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0]},
     lambda x: 6 * functional.avg_pool2d(x, (3, 2), (2, 1), (1, 0))),
    ({"type": "AvgPool2d", "kernel_size": 2, "stride": 2, "padding": 0},
     lambda x: functional.avg_pool2d(x, 2)),
    ({"type": "AvgPool2d", "kernel_size": [2, 3], "stride": [1, 2], "padding": [1, 1]},
     lambda x: functional.avg_pool2d(x, (2, 3), (1, 2), (1, 1))),
])
@pytest.mark.parametrize("behind", ["neurons", "currents"])
def test_pools(pool, function, behind, tmp_path):
    torch.manual_seed(2)
    x, node = inputs(2, 6, 7), conv("Conv2d", random(3, 2, 3, 3), padding=1)
    first = steps_of(torch_conv(node), x)
    if behind == "currents":
        expected = [integrated(steps_of(function, first))]
        nodes = {"conv": node, "pool": pool, "if": IF}
    else:
        expected = [integrated(first)]
        expected += [integrated(steps_of(function, expected[0]), 0.71828)]
        nodes = {"conv": node, "a": IF, "pool": pool, "b": IF | {"v_threshold": 0.71828}}
    path = chain(tmp_path, (2, 6, 7), (4,), nodes | ending(expected[-1].shape[2:]))
    if behind == "currents" and np.any(pool["padding"]):
        assert problems(path, **SAID) == ["node 'pool' " + pool["type"] + ": a mean of currents "
                                          "with padding: borders differ"]
        return
    maps, _ = run(from_nir(path, steps=STEPS, **SAID), x)
    assert len(maps) == len(expected) + 1
    for found, spikes in zip(maps, expected, strict=False):
        assert torch.equal(found, spikes)
        assert 0.05 < found.mean() < 0.9


def test_flattened_maps_scales_sums_and_graphs_inside(tmp_path):
    """conv, if, flatten; a graph of two layers side by side, their sum, a scale of channels; if."""
    torch.manual_seed(3)
    x, node = inputs(2, 4, 5), conv("Conv2d", random(3, 2, 3, 3), padding=1)
    a, b, scale, bias = random(6, 60), random(6, 60) / 2, random(6) + 1, random(6)
    inner = graph(ends((60,), (6,)) | {
        "a": {"type": "Linear", "weight": a},
        "b": {"type": "Affine", "weight": b, "bias": bias},
        "scale": {"type": "Scale", "scale": scale}},
        [("input", "a"), ("input", "b"), ("a", "scale"), ("b", "scale"), ("scale", "output")])
    nodes = {"conv": node, "if": IF | {"r": np.ones((3, 4, 5))},
             "flat": {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": [3, 4, 5]},
             "both": inner, "last": IF}
    net = from_nir(chain(tmp_path, (2, 4, 5), (6,), nodes), steps=STEPS, **SAID)
    first = integrated(steps_of(torch_conv(node), x))
    flat = first.flatten(2)
    currents = torch.from_numpy(scale) * (flat @ torch.from_numpy(a + b).T + torch.from_numpy(bias))
    maps, _ = run(net, x)
    assert torch.equal(maps[0], first)
    assert torch.equal(maps[1].flatten(2), integrated(currents)) and 0.05 < maps[1].mean() < 0.9
    assert [layer.name for layer in net.layers] == ["if", "last"]
    assert "both.scale" in net.layers[1].modules


def test_neurons_behind_a_flatten_have_the_parameters_of_channels(tmp_path):
    flat = {"type": "Flatten", "start_dim": 0, "end_dim": -1}
    threshold = np.repeat([0.5, 1.0, 1.5], 6)
    nodes = {"conv": conv("Conv2d", random(3, 2, 1, 1)), "flat": flat,
             "if": IF | {"r": np.ones(18), "v_threshold": threshold}}
    x = inputs(2, 2, 3)
    path = chain(tmp_path, (2, 2, 3), (4,), nodes | ending((18,)))
    maps, _ = run(from_nir(path, steps=STEPS, **SAID), x)
    currents = steps_of(torch_conv(nodes["conv"]), x).flatten(2)
    assert torch.equal(maps[0].flatten(2), integrated(currents, torch.from_numpy(threshold)))
    nodes["if"]["v_threshold"] = threshold[::-1] + np.arange(18)
    assert "differs inside of a channel" in problems(chain(tmp_path, (2, 2, 3), (18,), nodes),
                                                     **SAID)[0]
