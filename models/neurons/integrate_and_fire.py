"""Integrate-and-fire: without leak, and with a leak that does not depend on v."""

from typing import Any

import torch
from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.canonical import Canonical, canonical_if, canonical_linear
from quadfire.models.neurons.firing import fire
from quadfire.models.neurons.lif import lif_step
from quadfire.models.neurons.spiking_neuron import SpikingNeuron

__all__ = ["IF", "ConstantLeakIF", "constant_leak_step"]


def constant_leak_step(x: Tensor, v: Tensor, *, leak: float = 0.125, towards_rest: bool = False,
                       **firing: Any) -> tuple[Tensor, Tensor]:
    """One time step: v' = v - leak + x, then `fire`.

    With `towards_rest` the leak stops at 0: v' = sign(v) max(abs(v) - leak, 0) + x.
    """
    if towards_rest:
        return fire(torch.sign(v) * (v.abs() - leak).clamp(min=0) + x, **firing)
    return fire(v - leak + x, **firing)


class IF(SpikingNeuron):
    """Integrate-and-fire: v' = v + x, a LIF with beta = 1.

    It fires where v' >= v_threshold. With either reset it is SpikingJelly's `IFNode`, and Sinabs'
    `IAF` with SingleSpike and MembraneSubtract or MembraneReset. Norse's `IAFCell` and snnTorch's
    `Leaky(beta=1)`, subtract, are the same but fire only above the threshold.
    """

    kind = "if"
    function = staticmethod(lif_step)

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "beta": 1.0}

    def _map(self) -> QuadraticMap:
        return QuadraticMap.linear(1.0, self.v_threshold, self.v_reset)

    def _canonical(self) -> Canonical:
        return canonical_if(self.v_threshold, self.v_reset, self.v_initial)


class ConstantLeakIF(SpikingNeuron):
    """Integrate-and-fire with a constant leak: v' = v - leak + x.

    | parameter    | meaning |
    |--------------|---|
    | leak         | loss per time step, in units of v, not below 0 |
    | towards_rest | the leak moves v towards 0 from either side and stops there |

    Without `towards_rest` the leak also lowers a negative v. It is then a bias, and the array runs
    the neuron as IF. With it, the neuron has no canonical form. It fires where v' >= v_threshold,
    with hard or soft reset. Raises ValueError for a leak below 0.

    GLIF (arXiv:2210.13768) calls this leak linear decay; TrueNorth (Cassidy et al., IJCNN 2013)
    has it, too. The "linear leaky integrate-and-fire" of arXiv:2207.04889 is something else: that
    paper maps networks of LIF neurons to networks of ReLUs.
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

    @property
    def _is_map(self) -> bool:
        return super()._is_map and not self.towards_rest

    def _map(self) -> QuadraticMap:
        if self.towards_rest:
            return super()._map()
        return QuadraticMap(0.0, 1.0, -self.leak, 1.0, self.v_threshold, self.v_reset)

    def _canonical(self) -> Canonical:
        if self.towards_rest:
            return super()._canonical()
        return canonical_linear(decay=1.0, threshold=self.v_threshold, reset=self.v_reset,
                                offset=-self.leak, initial=self.v_initial)
