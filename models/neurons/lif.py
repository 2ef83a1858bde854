"""Leaky integrate-and-fire."""

from typing import Any

from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.base import Limits, SpikingNeuron, fire
from quadfire.models.neurons.canonical import Canonical, canonical_lif

__all__ = ["LIF", "lif_step"]


def lif_step(x: Tensor, v: Tensor, *, beta: Any = 0.5, gain: Any = 1.0, v_rest: float = 0.0,
             v_threshold: float = 1.0, v_reset: float | None = 0.0, limits: Limits = None,
             window: Any = 0.5, surrogate: str = "rectangular",
             detach_reset: bool = False) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire, v' = v_rest + beta (v - v_rest) + gain x.

    beta = 1 does not leak (IF). Source: STBP, arXiv:1706.02609.
    """
    if v_rest:
        v = v_rest + beta * (v - v_rest) + gain * x
    else:
        v = beta * v + gain * x
    return fire(v, v_threshold, v_reset, limits, window, surrogate, detach_reset)


class LIF(SpikingNeuron):
    """Leaky integrate-and-fire, see `lif_step`.

    snnTorch's Leaky has gain 1 and v_rest 0. SpikingJelly's LIFNode has beta = 1 - 1/tau, rests at
    its v_reset (0 with soft reset), and gain = 1/tau unless decay_input is off.
    """

    kind = "lif"
    function = staticmethod(lif_step)

    def __init__(self, beta: float = 0.5, *, gain: float = 1.0, v_rest: float = 0.0,
                 **options: Any):
        super().__init__(**options)
        self.beta, self.gain, self.v_rest = beta, gain, v_rest

    def _form(self) -> dict[str, float]:
        return {"beta": self.beta, "gain": self.gain, "v_rest": self.v_rest}

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self._form()}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), **self._form()}

    def quadratic_map(self) -> QuadraticMap:
        return QuadraticMap.linear(self.beta, self.v_threshold, self.v_reset, gain=self.gain,
                                   v_rest=self.v_rest)

    def _canonical(self) -> Canonical:
        return canonical_lif(self.beta, self.v_threshold, self.v_reset, self.v_initial,
                             gain=self.gain, v_rest=self.v_rest)
