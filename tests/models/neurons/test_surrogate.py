"""Surrogate gradients: shapes, and windows that follow the parameters of a neuron."""

import math

import pytest
import torch

from quadfire.models.dynamics import one_step_moments
from quadfire.models.dynamics.window import analytic_window, analytic_window_of_root, gradient_gain
from quadfire.models.neurons import LIF, PLIF, QIF, QIFEuler
from quadfire.models.neurons.surrogate import (
    SURROGATES,
    arctan,
    rectangular,
    sigmoid,
    spike,
    triangular,
)

NAMED = {"rectangular": rectangular, "triangular": triangular, "sigmoid": sigmoid,
         "arctan": arctan}

# antiderivatives, written from the docstrings and not from the code
INTEGRALS = {
    "rectangular": lambda x, w: ((x + w) / (2 * w)).clamp(0, 1),
    "triangular": lambda x, w: 0.5 + 0.5 * torch.sign(x) * (
        1 - (1 - x.abs() / (4 / 3 * w)).clamp(min=0) ** 2),
    "sigmoid": lambda x, w: torch.sigmoid(3 * x / w),
    "arctan": lambda x, w: torch.atan(math.pi * x / w) / math.pi + 0.5,
}


def test_every_surrogate_is_here():
    assert set(SURROGATES) == set(NAMED) == set(INTEGRALS)


def test_rectangular_surrogate():
    x = torch.tensor([-2.0, -0.5, -0.1, 0.0, 0.4, 0.5, 2.0], requires_grad=True)
    spike = rectangular(x, 0.5)
    assert spike.tolist() == [0, 0, 0, 1, 1, 1, 1]
    (3 * spike).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 0, 3, 3, 3, 0, 0]


def test_surrogate_has_unit_area():
    x = torch.linspace(-3, 3, 60001, dtype=torch.float64, requires_grad=True)
    for window in (0.25, 1.0, 2.0):
        gradient, = torch.autograd.grad(rectangular(x, window).sum(), x)
        assert torch.trapezoid(gradient, x.detach()).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("window", [0.0, -1.0])
def test_window_must_be_positive(window):
    with pytest.raises(ValueError, match="window must be above 0"):
        rectangular(torch.zeros(1), window)
    with pytest.raises(ValueError, match="window must be above 0"):
        QIF(window=window)


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("window", [0.3, 1.0, 1.7])
def test_derivative_is_that_of_the_integral(name, window):
    x = torch.linspace(-2.987, 3.013, 401, dtype=torch.float64, requires_grad=True)
    fired = NAMED[name](x, window)
    assert torch.equal(fired, (x >= 0).double())
    gradient, = torch.autograd.grad((fired * torch.cos(x.detach())).sum(), x)
    expected, = torch.autograd.grad((INTEGRALS[name](x, window) * torch.cos(x.detach())).sum(), x)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("name", SURROGATES)
def test_window_means_the_same_energy(name):
    """Unit area, and the integral of the square is 1 / (2 window)."""
    x = torch.linspace(-400, 400, 800_001, dtype=torch.float64, requires_grad=True)
    gradient, = torch.autograd.grad(spike(x, 0.8, name).sum(), x)
    assert torch.trapezoid(gradient, x.detach()).item() == pytest.approx(1, abs=1e-2)
    assert torch.trapezoid(gradient ** 2, x.detach()).item() == pytest.approx(1 / 1.6, rel=2e-3)


def test_window_per_channel():
    x = torch.full((2, 3), 0.6, requires_grad=True)
    spike(x, torch.tensor([0.5, 1.0, 2.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [[0, 0.5, 0.25]] * 2


@pytest.mark.parametrize(("make", "message"), [
    (lambda: spike(torch.zeros(1), 0.5, "erf"), "surrogate must be one of rectangular"),
    (lambda: sigmoid(torch.zeros(1), 0.0), "window must be above 0"),
    (lambda: QIF(surrogate="erf"), "surrogate must be one of"),
    (lambda: QIF(window="best"), "window must be a number or 'analytic'"),
])
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# Windows of modules -------------------------------------------------------------------------------


@pytest.mark.parametrize("window", ["analytic", 0.25, 2.0])
def test_gain_is_what_autograd_measures(window):
    """The gradient's variance before one tdBN layer over that behind it, for one time step."""
    generator = torch.Generator().manual_seed(3)
    inputs, outputs, batch = 600, 600, 600
    neuron = QIF(0.25, 0.0, 0.5, window=window)
    moments = one_step_moments(neuron.quadratic_map())
    q = moments.rate
    s = (torch.rand(batch, inputs, generator=generator) < q).float().requires_grad_()
    weight = torch.randn(outputs, inputs, generator=generator) / (inputs * q * (1 - q)) ** 0.5
    u = moments.mean + moments.deviation * torch.randn(batch, outputs, generator=generator)
    gradient = torch.randn(batch, outputs, generator=generator)
    current = s @ weight.T
    fired = spike(current - current.detach() + u - 1, neuron.window)
    found, = torch.autograd.grad(fired, s, gradient)
    expected = gradient_gain(neuron.window, moments, 1.0)
    assert found.var().item() == pytest.approx(expected, rel=0.04)


def test_window_follows_what_is_learnt():
    neuron = QIF(0.25, 0.0, 0.5, window="analytic", learn=True)
    assert neuron.window == pytest.approx(analytic_window_of_root(0.25, 0.0, 0.5), abs=1e-6)
    optimizer = torch.optim.SGD(neuron.parameters(), 0.1)
    x = torch.randn(4, 50, 30, generator=torch.Generator().manual_seed(1))
    neuron(x).mean().backward()
    optimizer.step()
    assert neuron.a.item() != pytest.approx(0.25, abs=1e-4)
    now = analytic_window_of_root(neuron.a.item(), neuron.u1.item(), neuron.u2.item())
    assert neuron.window == pytest.approx(now, abs=1e-6)
    assert neuron.window != pytest.approx(analytic_window_of_root(0.25, 0.0, 0.5), abs=1e-4)


def test_window_per_channel_from_parameters_per_channel():
    neuron = QIF(0.25, 0.0, 0.5, window="analytic", learn=True, channels=3)
    with torch.no_grad():
        neuron.u2.copy_(torch.tensor([0.5, -2.0, 1.0]))
    assert neuron.window.tolist() == pytest.approx([0.816, 0.866, 0.787], abs=1e-3)
    for shape in ((4, 5, 3), (4, 5, 3, 6, 6)):
        neuron.reset()
        x = torch.randn(shape, requires_grad=True)
        neuron(x).sum().backward()
        assert x.grad is not None and x.grad.abs().sum() > 0


@pytest.mark.parametrize("neuron", [
    QIF(0.25, window="analytic"), LIF(window="analytic"), PLIF(window="analytic", alpha=2.0),
    QIFEuler(window="analytic", alpha=2.0), QIF(0.25, v_reset=None, window="analytic")])
def test_analytic_window_of_modules(neuron):
    assert neuron.window == pytest.approx(analytic_window(neuron.quadratic_map(), neuron.alpha))
    assert 0.5 < neuron.window < 1.5
    assert neuron.config()["window"] == "analytic"
