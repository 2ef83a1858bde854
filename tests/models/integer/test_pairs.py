"""Strides, paddings and pools of two values: as arguments, in files, and what they compute."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from torch.nn import functional

from quadfire.models.integer import (
    INPUT,
    ConvBranch,
    IntegerLayer,
    IntegerNetwork,
    NetworkError,
    Pool,
    as_pair,
    number_or_pair,
    reference,
)
from quadfire.models.integer.random_network import random_inputs
from quadfire.rtl.contract.numerics import Neuron

pytestmark = pytest.mark.fast


def conv(*shape: int, **options) -> ConvBranch:
    return ConvBranch(source=INPUT, weight=np.ones(shape, np.int8), **options)


def test_one_number_stands_for_two():
    assert as_pair(3) == as_pair((3, 3)) == (3, 3) and as_pair((1, 2)) == (1, 2)
    assert number_or_pair((3, 3)) == 3 and number_or_pair((1, 2)) == (1, 2)
    one, other = Pool(kind="sum", size=2, stride=3), Pool(kind="sum", size=(2, 2), stride=(3, 3))
    assert one == other and hash(one) == hash(other) and one.size == (2, 2)
    assert one.padding == (0, 0) == conv(1, 1, 2, 2).padding and conv(1, 1, 2, 2).stride == (1, 1)


def test_a_pair_is_a_field_like_any_other():
    pool = Pool(kind="max", size=(3, 2), stride=(1, 2))
    assert dataclasses.replace(pool, padding=(1, 0)) == Pool(kind="max", size=(3, 2),
                                                             stride=(1, 2), padding=(1, 0))
    assert dataclasses.asdict(pool) == {"kind": "max", "size": (3, 2), "stride": (1, 2),
                                        "padding": (0, 0)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        pool.size = 2                                               # pyright: ignore
    with pytest.raises(TypeError, match="'size'"):
        Pool(kind="max", stride=1)                                  # pyright: ignore


def test_windows_that_are_not_square():
    pool = Pool(kind="sum", size=(2, 3), stride=(1, 2), padding=(1, 0))
    assert pool.count == 6 and pool.output_shape((4, 5, 7)) == (4, 6, 3)
    assert Pool(kind="max", size=(2, 3), stride=1).count == 1
    branch = conv(6, 4, 1, 5, stride=(2, 1), padding=(0, 2), pool=pool, gain=3)
    assert branch.output_shape((4, 5, 7)) == (6, 3, 3)
    assert (branch.sum_range()[1] == 4 * 5 * 6 * 3).all()
    with pytest.raises(NetworkError, match="no window of 2 x 3 fits in a map of 7 x 2"):
        pool.output_shape((1, 7, 2))


@pytest.mark.parametrize(("options", "message"), [
    ({"stride": (0, 1)}, "stride, rows, must be an integer in 1..255, not 0"),
    ({"stride": (1, 256)}, "stride, columns, must be an integer in 1..255, not 256"),
    ({"stride": (2, True)}, "stride, columns, must be an integer in 1..255, not True"),
    ({"stride": (2.0, 1)}, "stride, rows, must be an integer in 1..255, not 2.0"),
    ({"stride": (1, 2, 3)}, r"stride must be an integer or a pair .*, not \(1, 2, 3\)"),
    ({"stride": ()}, r"stride must be an integer or a pair .*, not \(\)"),
    ({"stride": [1, 2]}, "stride must be an integer in 1..255, not .1, 2."),
    ({"stride": None}, "stride must be an integer in 1..255, not None"),
    ({"padding": (0, 5)}, "padding, columns, must be an integer in 0..4, not 5"),
    ({"padding": (-1, 0)}, "padding, rows, must be an integer in 0..4, not -1"),
    ({"padding": 5}, "padding must be an integer in 0..4, not 5"),
])
def test_what_is_no_pair_is_refused(options, message):
    with pytest.raises(NetworkError, match=message):
        conv(1, 1, 1, 5, **options)


@pytest.mark.parametrize(("options", "message"), [
    ({"size": (2, 0)}, "size of a pool, columns, must be an integer in 1..255, not 0"),
    ({"stride": (1, False)}, "stride of a pool, columns, must be an integer in 1..255, not False"),
    ({"padding": (1, 2)}, "padding of a pool, columns, must be an integer in 0..1, not 2"),
    ({"size": (2, 4), "padding": (2, 2)}, "padding of a pool, rows, must be an integer in 0..1"),
    ({"size": (2, 2, 2)}, "size of a pool must be an integer or a pair"),
])
def test_the_limits_of_a_pool_are_those_of_each_axis(options, message):
    with pytest.raises(NetworkError, match=message):
        Pool(**{"kind": "sum", "size": 3, "stride": 1, **options})


# What they compute -------------------------------------------------------------------------------

#: Adds up currents and never fires: its membrane after one step is the sum of the branch.
SUMS = Neuron(square=False, soft=False, factor=1024, theta=(1 << 17) - 1, lo=-(1 << 17),
              hi=(1 << 17) - 1, initial=0, reset=0, delta=0)


def network(shape, *branches: ConvBranch, neuron: Neuron = SUMS) -> IntegerNetwork:
    """One layer whose membranes are its sums, and a readout."""
    def layer(name, branches, neuron):
        zeros = np.zeros(branches[0].outputs)
        return IntegerLayer(name=name, branches=branches, weight_bits=8, neuron=neuron,
                            shift=zeros.astype(np.int8), bias=zeros.astype(np.int32))

    first = layer("sums", branches, neuron)
    whole = ConvBranch(source=0, weight=np.ones((1, *first.output_shape(lambda _: shape)), np.int8))
    return IntegerNetwork(input_shape=shape, layers=(first, layer("readout", (whole,), None)),
                          steps=1, input_bits=0, state_bits=18, fraction_bits=10)


def by_torch(branch: ConvBranch, x: torch.Tensor) -> torch.Tensor:
    """torch's own convolution and pools, with its own padding, in float64."""
    if pool := branch.pool:
        x = functional.max_pool2d(x, pool.size, pool.stride, pool.padding) if pool.kind == "max" \
            else functional.avg_pool2d(x, pool.size, pool.stride, pool.padding) * pool.count
    return functional.conv2d(x, torch.from_numpy(branch.weight).double(), stride=branch.stride,
                             padding=branch.padding) * branch.gain


def random_branch(rng: np.random.Generator, channels: int) -> ConvBranch:
    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high)), int(rng.integers(low, high))

    kernel, size, pool = pair(1, 6), pair(1, 5), None
    if rng.random() < 0.6:
        pool = Pool(kind=str(rng.choice(["sum", "max"])), size=size, stride=pair(1, 5),
                    padding=(int(rng.integers(size[0] // 2 + 1)),
                             int(rng.integers(size[1] // 2 + 1))))
    weight = rng.integers(-16, 16, (3, channels, *kernel)).astype(np.int8)
    return ConvBranch(source=INPUT, weight=weight, stride=pair(1, 5), padding=pair(0, max(kernel)),
                      pool=pool, gain=int(rng.integers(1, 4)))


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_the_reference_computes_what_torch_does(first):
    """Two hundred convolutions of signals and maps, every sum the same."""
    compared, unequal = 0, 0
    for seed in range(first, first + 50):
        rng = np.random.default_rng(seed)
        while True:
            shape = (int(rng.integers(1, 4)), int(rng.choice([1, 5, 8])), int(rng.integers(1, 24)))
            branch = random_branch(rng, shape[0])
            try:
                branch.output_shape(shape)
                break
            except NetworkError:
                continue
        made = network(shape, branch)
        inputs = random_inputs(rng, made, 4)
        sums = reference.run(made, inputs, record=True).membranes[0][0].reshape(4, -1)
        want = by_torch(branch, torch.from_numpy(inputs[0]).double().reshape(4, *shape))
        assert torch.equal(sums.double(), want.flatten(1).round())
        torch.testing.assert_close(want, want.round(), rtol=0, atol=1e-9)   # 1 / 3 is no integer
        compared += want.numel()
        unequal += branch.stride[0] != branch.stride[1]
    assert compared > 500 and unequal > 25


def test_a_signal_by_hand():
    """Stride (2, 1), padding (0, 2), kernel (1, 5) over one row: the stride of rows is not seen."""
    weight = np.array([[[[1, 2, 3, 4, 5]]]], np.int8)
    branch = ConvBranch(source=INPUT, weight=weight, stride=(2, 1), padding=(0, 2))
    spikes = np.array([1, 0, 0, 1], np.uint8).reshape(1, 1, 1, 1, 4)
    sums = reference.run(network((1, 1, 4), branch), spikes, record=True).membranes[0]
    assert sums.flatten().tolist() == [3, 2 + 5, 1 + 4, 3]


# In a file ---------------------------------------------------------------------------------------

@pytest.fixture
def path(tmp_path):
    branch = conv(2, 1, 1, 5, stride=(2, 1), padding=(0, 2), pool=Pool(
        kind="max", size=(3, 2), stride=2, padding=(0, 1)))
    network((1, 9, 9), branch).save(path := tmp_path / "network.safetensors")
    return path


def parts(path):
    with safe_open(path, framework="numpy") as file:
        head = json.loads(file.metadata()["quadfire"])
        return head, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_a_file_has_one_number_where_both_are_equal(path, tmp_path):
    head, _ = parts(path)
    assert head["layers"][0]["branches"] == [{
        "kind": "conv", "source": -1, "stride": [2, 1], "padding": [0, 2], "gain": 1,
        "pool": {"kind": "max", "size": [3, 2], "stride": 2, "padding": [0, 1]}}]
    other = head["layers"][1]["branches"][0]
    assert (other["stride"], other["padding"], other["pool"]) == (1, 0, None)
    loaded = IntegerNetwork.load(path)
    branch = loaded.layers[0].branches[0]
    assert isinstance(branch, ConvBranch) and branch.pool and branch.pool.size == (3, 2)
    assert (branch.stride, branch.padding) == ((2, 1), (0, 2))
    loaded.save(again := tmp_path / "again.safetensors")
    assert path.read_bytes() == again.read_bytes()


@pytest.mark.parametrize(("place", "value", "message"), [
    ("stride", [2, 2], "branch 0: stride must be a number, or a list of two that differ, not .2, "),
    ("stride", [1, 1.0], "stride must be a number, or a list of two that differ"),
    ("stride", [1, 2, 3], "stride must be a number, or a list of two that differ, not .1, 2, 3."),
    ("stride", [], "stride must be a number, or a list of two that differ"),
    ("stride", [2], "stride must be a number, or a list of two that differ"),
    ("stride", [True, 2], "stride, rows, must be an integer in 1..255, not True"),
    ("stride", [1, 2.0], "stride, columns, must be an integer in 1..255, not 2.0"),
    ("stride", ["1", 2], "stride, rows, must be an integer in 1..255, not '1'"),
    ("stride", [[1, 2], 2], "stride, rows, must be an integer in 1..255, not .1, 2."),
    ("padding", [0, 5], "padding, columns, must be an integer in 0..4, not 5"),
    ("gain", [1, 2], "gain must be an integer in 1..16, not .1, 2."),
    ("source", [-1, 0], "source must be an integer in"),
    ("pool.size", [3, 2, 1], "the pool: size must be a number, or a list of two that differ"),
    ("pool.stride", [0, 2], "stride of a pool, rows, must be an integer in 1..255, not 0"),
    ("pool.padding", [0, 2], "padding of a pool, columns, must be an integer in 0..1, not 2"),
    ("pool.kind", ["sum", "max"], "the kind of a pool must be 'sum' or 'max'"),
])
def test_a_pair_in_a_file_is_checked(path, place, value, message):
    head, tensors = parts(path)
    branch = head["layers"][0]["branches"][0]
    *outer, last = place.split(".")
    (branch["pool"] if outer else branch)[last] = value
    save_file(tensors, path, metadata={"quadfire": json.dumps(head)})
    with pytest.raises(NetworkError, match=message):
        IntegerNetwork.load(path)
