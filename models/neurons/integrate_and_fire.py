"""Neurons that add up their input: without leak, and with a leak that does not depend on v."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.base import Limits, SpikingNeuron, fire
from quadfire.models.neurons.canonical import Canonical, canonical_if
from quadfire.models.neurons.lif import lif_step

__all__ = ["IF", "ConstantLeakIF", "constant_leak_step"]


def constant_leak_step(x: Tensor, v: Tensor, *, leak: float = 0.125, towards_rest: bool = False,
                    v_threshold: float = 1.0, v_reset: float | None = 0.0, limits: Limits = None,
                    window: Any = 0.5, surrogate: str = "rectangular",
                    detach_reset: bool = False) -> tuple[Tensor, Tensor]:
    """Linear leak, v' = v - leak + x; towards_rest: v' = sign(v) max(|v| - leak, 0) + x."""
    if towards_rest:
        v = torch.sign(v) * (v.abs() - leak).clamp(min=0)
    else:
        v = v - leak
    return fire(v + x, v_threshold, v_reset, limits, window, surrogate, detach_reset)


class IF(SpikingNeuron):
    """Integrate-and-fire: a LIF with beta = 1."""

    kind = "if"
    function = staticmethod(lif_step)

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "beta": 1.0}

    def quadratic_map(self) -> QuadraticMap:
        return QuadraticMap.linear(1.0, self.v_threshold, self.v_reset)

    def _canonical(self) -> Canonical:
        return canonical_if(self.v_threshold, self.v_reset, self.v_initial)


class ConstantLeakIF(SpikingNeuron):
    """Leaky integrate-and-fire whose leak is a constant, see `constant_leak_step`.

    leak: what is lost a time step, in units of v. Without `towards_rest` the leak goes on below 0
    (the linear decay of GLIF, arXiv:2210.13768, and of TrueNorth, Cassidy et al., IJCNN 2013): it
    is a bias then, and the array runs it as IF. With it, v rests at 0.
    """

    kind = "constant_leak"
    function = staticmethod(constant_leak_step)

    def __init__(self, leak: float = 0.125, *, towards_rest: bool = False, **options: Any):
        super().__init__(**options)
        if not leak >= 0:
            raise ValueError(f"leak must not be below 0, not {leak!r}")
        self.leak, self.towards_rest = leak, towards_rest

    def config(self) -> dict[str, Any]:
        return {**super().config(), "leak": self.leak, "towards_rest": self.towards_rest}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "leak": self.leak, "towards_rest": self.towards_rest}

    def quadratic_map(self) -> QuadraticMap:
        if self.towards_rest:
            return super().quadratic_map()
        return QuadraticMap(0.0, 1.0, -self.leak, 1.0, self.v_threshold, self.v_reset)

    def _canonical(self) -> Canonical:
        if self.towards_rest:
            return super()._canonical()
        canonical = canonical_if(self.v_threshold, self.v_reset, self.v_initial)
        return replace(canonical, offset=-canonical.gain * self.leak)
