"""Convolutional networks on the grid: folded exactly, equal to the integer reference to the bit."""

import functools

import pytest
import torch

from quadfire.models.datasets import digits
from quadfire.models.integer import Pool, reference
from quadfire.models.networks import ConvNet, ImageNetwork, make_network
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.networks.untrained import random_pictures, untrained
from quadfire.models.neurons import GLIF, IF, LIF, PLIF, QIF, ConstantLeakIF, QIFEuler
from quadfire.models.quantize.fake_quant import GridBranch
from quadfire.models.quantize.fold import fold
from quadfire.models.quantize.folded import FoldedBranch
from quadfire.models.quantize.quantize import calibrate, quantize, to_grid, to_integer
from quadfire.models.quantize.report import layer_reports, only_rounded
from quadfire.models.quantize.scales import choose_exponent
from quadfire.models.training.options import Options
from quadfire.models.training.train import accuracy, fit

#: (name, shape of the input, bits of it, width)
NETWORKS = [("6C3-P2-8C3-AP2-12-5", (2, 12, 12), 8, 1.0),
            ("4C5S2-AP2-AP2-5", (1, 17, 15), 8, 1.0),
            ("P3-5C1-5", (2, 9, 9), 0, 1.0),
            ("5", (2, 4, 5), 8, 1.0),
            ("vggsnn", (2, 48, 48), 0, 1 / 16),
            ("vgg11", (3, 32, 32), 8, 1 / 16),
            ("resnet19", (3, 32, 32), 8, 1 / 16),
            ("resnet34", (3, 64, 64), 8, 1 / 16)]


@functools.cache
def make(name: str, shape, input_bits: int, width: float = 1.0, neuron=None, steps: int = 2
         ) -> tuple[ImageNetwork, torch.Tensor]:
    """An untrained network with lively norms in eval mode, float64, and inputs for it; shared."""
    torch.manual_seed(1)
    network = make_network(name, neuron or QIF(a=0.25, window=0.75), input_shape=shape, classes=5,
                           steps=steps, width=width)
    for module in network.modules():
        if hasattr(module, "gamma"):
            torch.nn.init.uniform_(module.gamma, 0.5, 1.5)
            torch.nn.init.normal_(module.beta, 0.5, 0.3)
    x = torch.randint(256, (5, *shape), dtype=torch.uint8) if input_bits else \
        (torch.rand(steps, 5, *shape) < 0.3).to(torch.uint8)
    with torch.no_grad():
        for _ in range(12):
            network(x)
    return network.eval().double(), x


def assert_same(grid, inputs):
    """Grid and reference agree in every spike, the readout's sums and the logits."""
    integer = to_integer(grid)
    result = reference.run(integer, inputs, record=True)
    with torch.no_grad():
        *found, currents = grid.run(inputs)
        assert torch.equal(currents.cumsum(0).flatten(2), result.membranes[-1])
        for spikes, want in zip(found, result.spikes, strict=True):
            assert torch.equal(spikes.bool().view(want.shape), want)
    return integer, result


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize(("name", "shape", "input_bits", "width"), NETWORKS)
def test_grid_equals_reference_and_float(name, shape, input_bits, width, weight_bits):
    network, x = make(name, shape, input_bits, width)
    grid = to_grid(network, input_bits=input_bits, weight_bits=weight_bits).eval()
    integer, result = assert_same(grid, x)
    assert integer.input_shape == shape and len(integer.layers) == len(network.neurons) + 1
    assert all(spikes.any() for spikes in result.spikes)
    with torch.no_grad(), only_rounded(grid):
        expected, spikes = network(x), [*grid.run(x)]
        torch.testing.assert_close(grid(x), expected, rtol=1e-9, atol=1e-9)
    assert all(layer.rounded for layer in grid)
    for found, neuron in zip(spikes, network.neurons.values(), strict=False):
        assert found.mean().item() == pytest.approx(neuron.rate, abs=1e-12)


@pytest.mark.parametrize("neuron", [
    QIF(v_reset=None, limits=(-2.0, 2.0)), QIFEuler(window="analytic"), LIF(0.75, v_reset=-0.25),
    PLIF(), IF(v_reset=None, limits=(-3.0, 3.0)), ConstantLeakIF(0.1), QIF(learn=True)],
    ids=lambda neuron: f"{neuron.kind}{' soft' if neuron.v_reset is None else ''}")
def test_any_neuron(neuron):
    network, x = make("6C3-P2-8C3-AP2-12-5", (2, 12, 12), 8, neuron=neuron)
    grid = to_grid(network).eval()
    assert_same(grid, x)
    with torch.no_grad(), only_rounded(grid):
        torch.testing.assert_close(grid(x), network(x), rtol=1e-9, atol=1e-9)


def test_graph_of_resnet19():
    """A stem, eight blocks of two layers with a shortcut each, the mean, a dense layer, readout."""
    network, _ = make("resnet19", (3, 32, 32), 8, 1 / 16)
    integer = quantize(network)
    assert integer.shapes[0] == (8, 32, 32) and integer.shapes[-3:] == (
        (32, 8, 8), (16, 1, 1), (5, 1, 1))
    kinds = [[type(branch).__name__[:4] for branch in layer.branches] for layer in integer.layers]
    conv, join, projection = ["Conv"], ["Conv", "Iden"], ["Conv", "Conv"]
    assert kinds == [conv, *[conv, join] * 3, *[conv, projection, *[conv, join] * 2],
                     *[conv, projection, conv, join], conv, conv]
    assert integer.layers[17].branches[0].pool == Pool(kind="sum", size=8, stride=8)
    assert integer.layers[8].sources == (7, 6)
    wide = fold(make("resnet19", (3, 32, 40), 8, 1 / 16)[0])
    assert wide.layers[17].branches[0].pool == Pool(kind="sum", size=(8, 10), stride=(8, 10))


def branch(weight: torch.Tensor, bits: int = 8) -> GridBranch:
    return GridBranch(FoldedBranch(source=0, weight=weight), weight, bits)


def test_gains_where_a_projection_is_large():
    random = torch.Generator().manual_seed(1)
    main = torch.rand(6, 40, 3, 3, generator=random, dtype=torch.float64) - 0.5
    side = 3.9 * (torch.rand(6, 40, 1, 1, generator=random, dtype=torch.float64) - 0.5)
    for factor, gain in ((1 / 3.9, 1), (1 / 2, 2), (1, 4)):
        branches = [branch(main, 4), branch(side * factor, 4)]
        exponent = choose_exponent(branches)
        assert [b.gain for b in branches] == [1, gain]
        assert torch.equal(exponent, choose_exponent([branch(main, 4)]))   # the first keeps its own
    wide = branch(torch.full((6,), 37.123, dtype=torch.float64), 4)
    exponent = choose_exponent([branch(main, 4), wide])
    assert wide.gain == 1
    assert torch.equal(wide.integer_weight(exponent), (37.123 * 2 ** exponent).round())


def test_a_shortcut_of_a_pooled_map_is_a_diagonal():
    network, _ = make("resnet34", (3, 64, 64), 8, 1 / 16)
    first = quantize(network).layers[2]
    assert first.name == "block0" and first.branches[1].pool == Pool(
        kind="max", size=3, stride=2, padding=1)
    weight = first.branches[1].weight[:, :, 0, 0]
    assert weight.shape == (4, 4) and ((weight != 0) == torch.eye(4).bool().numpy()).all()


def test_pools_in_a_row():
    network, _ = make("3C3-P2-P3-4C3-AP2-AP2-5", (1, 48, 48), 8)
    pools = [layer.branches[0].pool for layer in fold(network).layers]
    assert pools == [None, Pool(kind="max", size=6, stride=6), Pool(kind="sum", size=4, stride=4)]
    with pytest.raises(ValueError, match="a pool of a pool must be of the same kind"):
        fold(make("3C3-P2-AP2-5", (1, 8, 8), 8)[0])


@pytest.mark.parametrize(("make_network", "message"), [
    (lambda: make("P2-3C3-5", (1, 8, 8), 8)[0], "layer 'conv0': pixels can neither be pooled"),
    (lambda: make("3C3-5", (1, 4, 4), 8, neuron=GLIF(steps=2))[0], "'glif' has no canonical form"),
    (lambda: make("3C3-5", (1, 4, 4), 8, neuron=QIF(v_threshold=9.0, a=1.0))[0],
     "layer 'conv0': threshold = 8.75"),
])
def test_networks_that_the_array_cannot_run(make_network, message):
    with pytest.raises(ValueError, match=message):
        quantize(make_network())


def test_sums_that_grow_in_training_are_refused():
    network, _ = make("3C3-5", (1, 20, 20), 8)
    grid = to_grid(network)
    with torch.no_grad():
        [*grid][1].branches[0].weight.fill_(9.0)
    with pytest.raises(ValueError, match=r"layer 'readout': sums reach .* more than 16 bits"):
        to_integer(grid, accumulator_bits=16)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "shape", "events"), [("resnet19", (3, 32, 32), False),
                                                       ("vggsnn", (2, 48, 48), True)])
def test_full_size(name, shape, events):
    network = untrained(name, QIF(a=0.25, window=0.75), input_shape=shape, events=events)
    grid = to_grid(network, input_bits=0 if events else 8).eval()
    x = random_pictures(1, shape, steps=4 if events else 0, seed=9)
    _, result = assert_same(grid, x)
    assert all(0.1 < spikes.double().mean() < 0.3 for spikes in result.spikes)


# On digits --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def convnet() -> ConvNet:
    torch.manual_seed(2)
    network = ConvNet("6C3-P2-8C3-AP2-10", QIF(window=1.0), input_shape=(1, 8, 8), steps=2)
    fit(network, digits(), Options(epochs=3, rate=1e-2, augment=None))
    return network.eval()


def test_calibration_brings_the_mean_currents_back(convnet):
    data = digits()
    images = data.train_set[0][::7]
    seen = {}
    hook = convnet.readout.register_forward_hook(lambda _, args, out: seen.update(float=out))
    convnet(images)
    hook.remove()
    distances = []
    grid = to_grid(convnet, weight_bits=4)
    for _ in range(2):
        *_, currents = grid.eval().run(images)
        mean = currents.mean((0, 1)).flatten() / (1 << grid.fraction_bits)
        distances.append((mean - seen["float"].mean((0, 1))).abs().max().item())
        calibrate(grid, convnet, images)
    assert distances[1] < 2 ** -10 < distances[0] / 10
    assert not any(neuron._forward_pre_hooks for neuron in convnet.neurons.values())
    assert accuracy(grid, *data.held_out_set) > accuracy(convnet, *data.held_out_set) - 0.05


@pytest.mark.parametrize(("bits", "dtype"), [(8, torch.float64), (4, torch.float32)])
def test_training_on_the_grid(convnet, bits, dtype):
    """With learnt scales; what comes out is on the grid, and not worse than rounding."""
    data = digits()
    grid = to_grid(convnet, weight_bits=bits, learn_scales=True).to(dtype)
    rounded = accuracy(grid, *data.held_out_set)
    before = [layer.exponent.clone() for layer in grid]
    fit(grid, data, Options(epochs=2, rate=2e-3, augment=None))
    assert any(not torch.equal(old, layer.exponent) for old, layer in
               zip(before, grid, strict=True))
    _, result = assert_same(grid, data.held_out_set[0])
    right = (result.classes == data.held_out_set[1]).double().mean().item()
    assert right == accuracy(grid, *data.held_out_set) >= rounded


def test_float32_is_exact_where_it_says_so():
    network, x = make("vgg11", (3, 32, 32), 8, 1 / 16)
    grid = to_grid(network).float().eval()
    assert grid.fits_float32
    assert_same(grid, x)
    assert not to_grid(network, state_bits=13, fraction_bits=10).fits_float32
    assert not to_grid(make("5", (8, 20, 20), 8)[0]).fits_float32


def test_gradient_of_a_scale_is_that_of_its_rounding():
    """d/de of round(w 2^e) 2^-e is ln 2 times the rounding error, where nothing saturates."""
    network = SpikingMLP([6, 3], QIF(), 1, input_bits=0)
    grid = to_grid(network, learn_scales=True)
    layer = [*grid][0]
    layer.current(lambda _: torch.ones(1, 1, 6, 1, 1, dtype=torch.float64)).sum().backward()
    exponent, (part,) = layer.exponent.detach(), [*layer]
    limit = torch.where(part.scaled(exponent).round() > 127, 127.0, torch.inf)
    error = part.scaled(exponent) * (limit == torch.inf) - part.integer_weight(exponent)
    want = 32 * torch.log(torch.tensor(2.0)) * (error / 2 ** exponent[:, None, None, None]).flatten(
        1).sum(1) * 2 ** 10
    torch.testing.assert_close(layer.octaves.grad, want.detach(), rtol=1e-6, atol=1e-6)


def test_reports(convnet):
    samples = digits().held_out_samples
    grid = to_grid(convnet, weight_bits=4)
    rows = [*layer_reports(grid, samples)]
    assert [row.name for row in rows] == ["conv0", "conv1", "readout"]
    assert [row.shape for row in rows] == [(6, 8, 8), (8, 4, 4), (10, 1, 1)]
    with only_rounded(grid):
        real = accuracy(grid, samples.images, samples.labels)
    assert real == accuracy(convnet, samples.images, samples.labels)
    with only_rounded(grid, [*grid][1]):
        assert rows[1].accuracy == accuracy(grid, samples.images, samples.labels)
    integer = to_integer(grid)
    result = reference.run(integer, samples.images, record=True)
    for row, layer, spikes in zip(rows, integer.layers, result.spikes, strict=False):
        assert row.rate == pytest.approx(spikes.double().mean().item())
        limit = 1 << (row.sum_bits - 1)
        low, high = layer.sum_range()
        assert -limit <= low.min() and high.max() < limit <= 2 * max(-low.min(), high.max() + 1)
        assert 0.02 < row.weight_error < 0.3 and 0 < row.clipped < 0.2
        assert 0 <= row.saturation < 0.2 and row.reach[0] < 0 < row.reach[1]
    eight = [*layer_reports(to_grid(convnet), samples)]
    assert all(fine.weight_error < row.weight_error / 8 for fine, row in
               zip(eight, rows, strict=True))
