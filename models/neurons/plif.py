"""Parametric LIF (PLIF): a LIF that learns its time constant."""

import math
from typing import Any

from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.canonical import Canonical, canonical_lif
from quadfire.models.neurons.lif import lif_step
from quadfire.models.neurons.spiking_neuron import SpikingNeuron

__all__ = ["PLIF"]


class PLIF(SpikingNeuron):
    """Parametric LIF: v' = v + k (x - (v - v_rest)), k = 1/tau = logistic(w), w learnt.

    | parameter   | meaning |
    |-------------|---|
    | tau         | membrane time constant at the start, in time steps, above 1 |
    | decay_input | False: k does not multiply x, v' = v - k (v - v_rest) + x |
    | channels    | learn one w per channel; None: one per layer, as in the paper |

    v_rest is v_reset, or 0 with soft reset. The step is `lif_step` with beta = 1 - k. It fires
    where v' >= v_threshold. With either reset it is SpikingJelly's `ParametricLIFNode`, which fires
    at the threshold, too.
    Behind tdBN use alpha = tau, as k scales the current. Raises ValueError unless tau > 1.

    Source: Fang et al., ICCV 2021, arXiv:2007.05785, eq. 9.
    """

    kind = "plif"
    function = staticmethod(lif_step)

    def __init__(self, tau: float = 2.0, *, decay_input: bool = True, channels: int | None = None,
                 **options: Any):
        super().__init__(**options)
        if not tau > 1:
            raise ValueError(f"tau must be above 1, not {tau!r}")
        self.tau, self.decay_input, self.channels = tau, decay_input, channels
        self.w = self._parameter(-math.log(tau - 1), channels)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "tau": self.tau, "decay_input": self.decay_input,
                "channels": self.channels}

    def options(self, x: Tensor) -> dict[str, Any]:
        k = self._per_channel(self.w.sigmoid(), x)
        return {**super().options(x), "beta": 1 - k, "gain": k if self.decay_input else 1.0,
                "v_rest": self.v_initial}

    def _map(self) -> QuadraticMap:
        k = self.w.sigmoid()
        return QuadraticMap.linear(1 - k, self.v_threshold, self.v_reset,
                                   gain=k if self.decay_input else 1.0, v_rest=self.v_initial)

    def _canonical(self) -> Canonical:
        k = 1 / (1 + math.exp(-self._scalar(self.w)))
        return canonical_lif(1 - k, self.v_threshold, self.v_reset, self.v_initial,
                             gain=k if self.decay_input else 1.0, v_rest=self.v_initial)
