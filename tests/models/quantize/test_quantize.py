"""Rounding to integers, and training on the grid: equal to the integer reference bit for bit."""

import numpy as np
import pytest
import torch

from quadfire.models.integer import reference
from quadfire.models.integer.bounds import current_range
from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import IF, LIF, QIF
from quadfire.models.quantize.fake_quant import GridBranch, round_half_up
from quadfire.models.quantize.folded import FoldedBranch
from quadfire.models.quantize.quantize import quantize, to_grid, to_integer
from quadfire.models.quantize.scales import choose_exponent
from quadfire.models.training.options import Options
from quadfire.models.training.train import accuracy, fit

NEURONS = {
    "qif": QIF(window=1.0),
    "qif soft": QIF(a=0.25, u1=-0.5, u2=0.5, v_reset=None, limits=(-3.0, 3.0)),
    "lif": LIF(0.75, v_reset=-0.25),
    "lif soft": LIF(v_reset=None, limits=(-2.0, 2.0)),
    "if": IF(),
}


def random_network(neuron, input_bits: int) -> SpikingMLP:
    """Untrained, with the batch statistics of random inputs and lively norms."""
    torch.manual_seed(7)
    network = SpikingMLP([30, 24, 18, 5], neuron, 6, input_bits=input_bits)
    for layer in network.layers:
        torch.nn.init.uniform_(layer.norm.gamma, 0.5, 1.5)
        torch.nn.init.normal_(layer.norm.beta, 0.3, 0.3)
    for _ in range(30):
        network(random_inputs(network))
    return network.eval()


def random_inputs(network: SpikingMLP, batch: int = 40) -> torch.Tensor:
    inputs = network.sizes[0]
    if network.input_bits:
        return torch.randint(1 << network.input_bits, (batch, inputs), dtype=torch.uint8)
    return (torch.rand(network.steps, batch, inputs) < torch.rand(batch, 1)).to(torch.uint8)


def assert_same(grid, inputs):
    """The network on the grid and the reference agree in every spike and every logit."""
    integer = to_integer(grid)
    result = reference.run(integer, inputs, record=True)
    with torch.no_grad():
        *found, currents = grid.run(inputs)
        assert torch.equal(currents.cumsum(0).flatten(2), result.membranes[-1])
        for layer, spikes, want in zip(grid, found, result.spikes, strict=False):
            assert torch.equal(spikes.bool().view(want.shape), want)
            assert layer.rate == pytest.approx(want.double().mean().item())
        logits = grid(inputs) * grid.steps * 2.0 ** integer.fraction_bits
    assert torch.equal(logits, result.logits.double())


def test_round_half_up_and_its_gradient():
    x = torch.tensor([-1.5, -0.51, -0.5, 0.49, 0.5, 2.5], requires_grad=True)
    y = round_half_up(x)
    assert y.tolist() == [-1, -1, 0, 0, 1, 3]
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1] * 6


def branch(weight: torch.Tensor, bits: int, **options) -> GridBranch:
    """A branch of these weights; [outputs, inputs] is a dense one."""
    weight = weight if weight.ndim != 2 else weight[:, :, None, None]
    return GridBranch(FoldedBranch(source=0, weight=weight, **options), weight, bits)


@pytest.mark.parametrize("bits", [4, 8])
def test_exponent_has_the_least_error(bits):
    weight = torch.randn(20, 50, dtype=torch.float64,
                         generator=torch.Generator().manual_seed(1)) * torch.logspace(
                             -3, 2, 20, 10, dtype=torch.float64)[:, None]
    limit = 1 << (bits - 1)

    def error(row: torch.Tensor, exponent: int) -> float:
        return sum((min(max(np.floor(w * 2.0 ** exponent + 0.5), -limit), limit - 1)
                    / 2.0 ** exponent - w) ** 2 for w in row.tolist())

    for row, found in zip(weight, choose_exponent([branch(weight, bits)]).tolist(), strict=True):
        assert found == min(range(32), key=lambda exponent, row=row: error(row, exponent))


def test_exponent_keeps_the_accumulator():
    weight = torch.full((1, 700), 0.9, dtype=torch.float64)
    for accumulator_bits in (12, 14, 16, 20):
        exponent = int(choose_exponent([branch(weight, 8)], accumulator_bits=accumulator_bits)[0])
        largest = 700 * int(np.floor(0.9 * 2 ** exponent + 0.5))
        assert largest < 1 << (accumulator_bits - 1)
    with pytest.raises(ValueError, match="channel 0: its 700 weights overflow"):
        choose_exponent([branch(weight, 8)], accumulator_bits=10)


@pytest.mark.parametrize("input_bits", [0, 1, 5, 8])
@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize("name", NEURONS)
def test_grid_equals_reference(name, weight_bits, input_bits):
    network = random_network(NEURONS[name], input_bits)
    grid = to_grid(network, weight_bits=weight_bits)
    assert all(0.02 < rate < 0.98 for rate in network.rates)
    assert_same(grid, random_inputs(network))


@pytest.mark.parametrize(("state_bits", "fraction_bits"), [(8, 6), (10, 8), (16, 12), (18, 16)])
def test_grid_equals_reference_in_any_format(state_bits, fraction_bits):
    network = random_network(QIF(), 8)
    grid = to_grid(network, state_bits=state_bits, fraction_bits=fraction_bits)
    assert_same(grid, random_inputs(network))


def test_a_readout_alone():
    network = SpikingMLP([30, 5], QIF(), 3)
    assert_same(to_grid(network), random_inputs(network))


def integers(layer) -> torch.Tensor:
    return torch.cat([part.integer_weight(layer.exponent).detach().flatten() for part in layer])


@pytest.mark.parametrize("bits", [8, 4])
def test_training_on_the_grid_stays_on_it(trained, data, bits):
    grid = to_grid(trained, weight_bits=bits)
    before = [integers(layer) for layer in grid]
    fit(grid, data, Options(epochs=1, rate=2e-3, augment=None))
    images, labels = data.held_out_set
    assert any(not torch.equal(old, integers(layer))
               for old, layer in zip(before, grid, strict=True))
    assert_same(grid, images)
    right = (reference.run(to_integer(grid), images).classes == labels).double().mean().item()
    assert right == accuracy(grid, images, labels)
    assert right >= accuracy(trained, images, labels) - 0.02


def test_wide_integers_come_close_to_floating_point(trained, data):
    """With 8-bit weights and a fine state the spikes are those of the float network, nearly all."""
    images = data.images[:200]
    integer = quantize(trained, state_bits=18, fraction_bits=14)
    result = reference.run(integer, images, record=True)
    with torch.no_grad():
        expected = trained.eval()(images)
        spikes = trained.layers[0](images.float()[None] / 256)
    assert (result.spikes[0] == spikes.bool()).double().mean() > 0.985
    logits = result.logits / (integer.steps * 2 ** 14)
    assert (logits - expected).abs().mean() < 0.05 * expected.abs().mean()


def test_integers_respect_the_bounds(trained):
    for bits in (4, 8):
        integer = quantize(trained, weight_bits=bits)
        assert (integer.input_bits, integer.steps) == (8, 4)
        for index, layer in enumerate(integer.layers):
            low, high = layer.sum_range()
            assert low.min() >= -(1 << 19) and high.max() < 1 << 19
            assert (layer.shift + 10 >= 0).all() and (layer.shift + 10 <= 31).all()
            low, high = current_range(layer, integer.input_bits if index == 0 else 0)
            assert low.min() >= -(1 << 23) and high.max() < 1 << 23


def test_current_range_is_reached(trained):
    layer = quantize(trained).layers[0]
    low, high = current_range(layer, 8)
    for channel in (0, 7, 31):
        for weight, expected in ((np.minimum(layer.weight[channel], 0), low[channel]),
                                 (np.maximum(layer.weight[channel], 0), high[channel])):
            acc = int(weight.astype(int).sum()) * 255
            assert expected == np.floor(acc / 2.0 ** layer.shift[channel] + 0.5) \
                + layer.bias[channel]


def test_currents_that_do_not_fit_are_refused(trained):
    grid = to_grid(trained)
    with torch.no_grad():
        [*grid][1].bias[3] = 2.0 ** 14
    with pytest.raises(ValueError, match=r"layer 'readout': currents reach .* more than 20 bits"):
        to_integer(grid)


def test_neuron_that_does_not_fit_is_refused():
    network = SpikingMLP([4, 3, 2], QIF(v_threshold=9.0))
    with pytest.raises(ValueError, match=r"threshold = 4\.375"):
        to_grid(network)
