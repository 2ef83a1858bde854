"""Threshold-dependent batch normalisation (tdBN), and how it folds into a linear layer."""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from quadfire.models.kernels import Affine

__all__ = ["TDBatchNorm"]


class TDBatchNorm(nn.Module):
    """tdBN: y = gamma alpha V_th (x - mu) / sqrt(var + eps) + beta, per feature.

    | argument    | meaning |
    |-------------|---|
    | features    | number of features, dimension 2 of x |
    | alpha       | scale of the currents; alpha / sqrt(n) where n currents are added |
    | v_threshold | V_th of the neurons behind |
    | eps         | added to the variance |
    | momentum    | share of a batch in the running means of mu and var |

    x is [T, N, features] or [T, N, features, H, W]. In training mu and var are those of the batch,
    over time steps, images and positions. In eval mode they are running means. The learnt gamma
    starts at 1, and alpha V_th is no part of it: currents start with the standard deviation
    alpha V_th, and the effect of a learning rate on gamma does not depend on it.

    With `synchronised`, mu and var are those of the batches of all processes together (see
    `quadfire.models.training.parallel`). Otherwise every process has its own.

    Source: arXiv:2011.05280.
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

    @property
    def shared(self) -> bool:
        """Whether statistics are taken over several processes now."""
        return (self.synchronised and self.training and distributed.is_available()
                and distributed.is_initialized() and distributed.get_world_size() > 1)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.to(self.gamma.dtype)      # currents and potentials stay out of mixed precision
        if self.shared:
            return self._synchronised(x)
        y = functional.batch_norm(x.flatten(0, 1), self.mu, self.var, self.gamma * self.amplitude,
                                  self.beta, self.training, self.momentum, self.eps)
        return y.view_as(x)

    def affine(self, x: Tensor) -> Affine:
        """This norm of x, for a fused neuron. Raises ValueError for one value a feature."""
        own = self.training
        if own and x.numel() <= x.shape[2]:
            raise ValueError("tdBN needs more than 1 value per channel when training, got "
                             f"{list(x.shape)}")
        return Affine(x, self.gamma * self.amplitude, self.beta, None if own else self.mu,
                      None if own else self.var, self.eps, self._observe if own else None)

    @torch.no_grad()
    def _observe(self, mu: Tensor, var: Tensor, count: int) -> None:
        """Take the mean and variance of `count` values a feature into the running ones."""
        self.mu.lerp_(mu.to(self.mu.dtype), self.momentum)
        self.var.lerp_((var * (count / (count - 1))).to(self.var.dtype), self.momentum)

    def _synchronised(self, x: Tensor) -> Tensor:
        """`forward` in training with the statistics of all processes.

        Every process contributes (n, n mu, n (var + mu^2)) of its part to a differentiable sum, in
        float64 against cancellation.
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
        """(weight, bias) of one layer that equals the given layer with this norm in eval mode.

        `weight` is [features, inputs], or [features, inputs, kh, kw] of a convolution; `bias` is
        [features] or None. The result is float64 and exact up to its rounding.
        """
        scale = self.amplitude * self.gamma.double() / (self.var.double() + self.eps).sqrt()
        offset = -self.mu.double() if bias is None else bias.double() - self.mu.double()
        return ((weight.double() * scale.view(-1, *[1] * (weight.ndim - 1))).detach(),
                (self.beta.double() + offset * scale).detach())


class _Total(torch.autograd.Function):
    """The sum over all processes. Backward, each input gets the sum of all gradients."""

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
