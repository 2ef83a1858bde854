"""Threshold-dependent batch normalisation and its folding."""

import pytest
import torch
from torch import nn

from quadfire.models.neurons.tdbn import TDBatchNorm

pytestmark = pytest.mark.fast


@pytest.fixture
def x() -> torch.Tensor:
    return 3 + 5 * torch.randn(4, 50, 7, dtype=torch.float64,
                               generator=torch.Generator().manual_seed(1))


def test_training_normalises_over_time_and_batch(x):
    y = TDBatchNorm(7, alpha=0.5, v_threshold=1.5).double()(x)
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(7).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.std((0, 1), correction=0), torch.full((7,), 0.75).double(),
                               rtol=1e-5, atol=0)


def test_equation_in_eval_mode(x):
    norm = TDBatchNorm(7, alpha=0.5, v_threshold=1.5, eps=0.01).double().eval()
    with torch.no_grad():
        for part in (norm.gamma, norm.beta, norm.mu, norm.var):
            part.copy_(torch.rand(7) + 0.5)
    expected = norm.gamma * (0.5 * 1.5 * (x - norm.mu) / (norm.var + 0.01).sqrt()) + norm.beta
    torch.testing.assert_close(norm(x), expected)


def test_running_means_approach_the_statistics(x):
    norm = TDBatchNorm(7).double()
    for _ in range(200):
        norm(x)
    torch.testing.assert_close(norm.mu, x.mean((0, 1)))
    torch.testing.assert_close(norm.var, x.var((0, 1)))


@pytest.mark.parametrize("bias", [True, False])
def test_folding_is_exact(x, bias):
    torch.manual_seed(4)
    linear, norm = nn.Linear(7, 11, bias=bias).double(), TDBatchNorm(11, alpha=0.7).double()
    nn.init.normal_(norm.gamma)
    nn.init.normal_(norm.beta)
    for _ in range(5):
        norm(linear(x))
    norm.eval()
    weight, offset = norm.fold(linear.weight, linear.bias)
    assert not weight.requires_grad and weight.dtype == torch.float64
    torch.testing.assert_close(x @ weight.T + offset, norm(linear(x)), rtol=1e-12, atol=1e-12)


def test_tdbn_of_images_normalises_over_time_batch_and_positions():
    x = 3 + 5 * torch.randn(4, 6, 7, 5, 5, dtype=torch.float64,
                            generator=torch.Generator().manual_seed(1))
    norm = TDBatchNorm(7, alpha=0.5, v_threshold=1.5).double()
    y = norm(x)
    torch.testing.assert_close(y.mean((0, 1, 3, 4)), torch.zeros(7).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(y.std((0, 1, 3, 4), correction=0), torch.full((7,), 0.75).double(),
                               rtol=1e-5, atol=0)
    assert torch.equal(norm.gamma, torch.ones(7).double())      # the learnt scale is not alpha V_th
    for _ in range(200):
        norm(x)
    torch.testing.assert_close(norm.var, x.var((0, 1, 3, 4)))


@pytest.mark.parametrize("bias", [True, False])
def test_folding_into_a_convolution_is_exact(bias):
    torch.manual_seed(4)
    conv, norm = torch.nn.Conv2d(3, 11, 3, padding=1, bias=bias).double(), TDBatchNorm(11).double()
    torch.nn.init.normal_(norm.gamma)
    torch.nn.init.normal_(norm.beta)
    x = torch.randn(8, 3, 6, 6, dtype=torch.float64)
    for _ in range(5):
        norm(conv(x)[None])
    weight, offset = norm.eval().fold(conv.weight, conv.bias)
    torch.testing.assert_close(torch.nn.functional.conv2d(x, weight, offset, padding=1),
                               norm(conv(x)[None])[0], rtol=1e-12, atol=1e-12)
