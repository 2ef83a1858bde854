"""Threshold-dependent batch normalisation (arXiv:2011.05280), and how it folds away."""

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["TDBatchNorm"]


class TDBatchNorm(nn.Module):
    """y = gamma alpha V_th (x - mu) / sqrt(var + eps) + beta, for x of shape [T, N, features].

    mu and var are taken over time steps and batch while training, and are running means when
    evaluating. alpha V_th stands outside of the learnt gamma, which starts at 1: currents start
    with the standard deviation alpha V_th, and the learning rate of gamma depends on neither.
    """

    mu: Tensor
    var: Tensor

    def __init__(self, features: int, alpha: float = 1.0, v_threshold: float = 1.0,
                 eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.amplitude = alpha * v_threshold
        self.eps = eps
        self.momentum = momentum
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.register_buffer("mu", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.batch_norm(x.flatten(0, 1), self.mu, self.var, self.gamma * self.amplitude,
                                  self.beta, self.training, self.momentum, self.eps)
        return y.view_as(x)

    def fold(self, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(weight, bias) of one linear layer equal to linear, then this norm in eval mode.

        weight: [features, inputs], bias: [features] or None. The result is float64: exact up to
        its rounding.
        """
        scale = self.amplitude * self.gamma.double() / (self.var.double() + self.eps).sqrt()
        offset = -self.mu.double() if bias is None else bias.double() - self.mu.double()
        return ((weight.double() * scale[:, None]).detach(),
                (self.beta.double() + offset * scale).detach())
