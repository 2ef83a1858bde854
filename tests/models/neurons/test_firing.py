"""Threshold and reset: the fused hard reset against its definition."""

import pytest
import torch

from quadfire.models.neurons.firing import fire
from quadfire.models.neurons.surrogate import SURROGATES, spike


@pytest.mark.parametrize("surrogate", list(SURROGATES))
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize(("v_reset", "window"), [(0.0, 0.5), (-0.25, 0.5), (0.0, torch.tensor(
    [[0.5], [0.7]], dtype=torch.float64))])
def test_hard_reset_at_once_is_that_of_its_parts(surrogate, detach, v_reset, window):
    """Values and gradients of the fused reset, against autograd of its definition."""
    generator = torch.Generator().manual_seed(1)
    v = torch.randn(2, 50, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 2, 50, generator=generator, dtype=torch.float64)
    fired = spike(v - 0.3, window, surrogate)
    gate = fired.detach() if detach else fired
    parts = fired, v * (1 - gate) + v_reset * gate
    fused = fire(v, 0.3, v_reset, None, window, surrogate, detach)
    for one, two in zip(parts, fused, strict=True):
        assert torch.equal(one, two)
    expected, found = (torch.autograd.grad(sum((weights[i] * pair[i]).sum() for i in (0, 1)), v)[0]
                       for pair in (parts, fused))
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_hard_reset_when_one_of_both_is_not_used():
    for used in (0, 1):
        v = torch.tensor([0.5, 1.2], requires_grad=True)
        fire(v, 1.0, 0.0, None, 0.5)[used].sum().backward()
        assert v.grad is not None
        assert v.grad.tolist() == ([0, 1] if used == 0 else [1, pytest.approx(-1.2)])
