"""Threshold-dependent batch normalisation (arXiv:2011.05280), and how it folds away."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

__all__ = ["TDBatchNorm"]


class _Total(torch.autograd.Function):
    """The sum over all processes; every process's gradient counts for each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        distributed.all_reduce(total)
        return total


class TDBatchNorm(nn.Module):
    """y = gamma alpha V_th (x - mu) / sqrt(var + eps) + beta, per feature.

    x: [T, N, features] or [T, N, features, H, W]. mu and var are taken over time steps, batch and
    positions while training, and are running means when evaluating. alpha V_th stands outside of
    the learnt gamma, which starts at 1: currents start with the standard deviation alpha V_th, and
    the learning rate of gamma depends on neither. Where n currents are added, each of their norms
    has alpha / sqrt(n).

    `synchronised`: statistics are those of the batches of all processes together (where there are
    several, see `quadfire.models.training.parallel`), else of each process's own part.
    """

    mu: Tensor
    var: Tensor

    def __init__(self, features: int, alpha: float = 1.0, v_threshold: float = 1.0,
                 eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        self.amplitude = alpha * v_threshold
        self.eps = eps
        self.momentum = momentum
        self.synchronised = False
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))
        self.register_buffer("mu", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.to(self.gamma.dtype)      # mixed precision: currents and membranes are not
        if self.synchronised and self.training and distributed.is_available() \
                and distributed.is_initialized() and distributed.get_world_size() > 1:
            return self._synchronised(x)
        y = functional.batch_norm(x.flatten(0, 1), self.mu, self.var, self.gamma * self.amplitude,
                                  self.beta, self.training, self.momentum, self.eps)
        return y.view_as(x)

    def _synchronised(self, x: Tensor) -> Tensor:
        """`forward` in training, with statistics of all processes.

        Each adds (n, n mu, n (var + mu^2)) of its own part, in float64, which leaves no room for
        cancellation; the sum is differentiable.
        """
        axes = [0, 1, *range(3, x.ndim)]
        own_var, own_mu = torch.var_mean(x, axes, correction=0)
        n = x.new_full((1,), x.numel() / x.shape[2], dtype=torch.float64)
        own_mu, own_var = own_mu.double(), own_var.double()
        part = torch.cat([n, n * own_mu, n * (own_var + own_mu.square())])
        total: Tensor = _Total.apply(part)      # pyright: ignore[reportAssignmentType]
        count, features = total[0].detach(), len(self.gamma)
        mu = total[1:features + 1] / count
        var = total[features + 1:] / count - mu.square()
        with torch.no_grad():
            self.mu.lerp_(mu.to(self.mu.dtype), self.momentum)
            self.var.lerp_((var * count / (count - 1)).to(self.var.dtype), self.momentum)
        shape = (-1, *[1] * (x.ndim - 3))
        scale = self.gamma * self.amplitude * (var + self.eps).rsqrt().to(x.dtype)
        return (x - mu.to(x.dtype).view(shape)) * scale.view(shape) + self.beta.view(shape)

    def fold(self, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(weight, bias) of one linear layer equal to linear, then this norm in eval mode.

        weight: [features, inputs], or [features, inputs, height, width] of a convolution; bias:
        [features] or None. The result is float64: exact up to its rounding.
        """
        scale = self.amplitude * self.gamma.double() / (self.var.double() + self.eps).sqrt()
        offset = -self.mu.double() if bias is None else bias.double() - self.mu.double()
        return ((weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))).detach(),
                (self.beta.double() + offset * scale).detach())
