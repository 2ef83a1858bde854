"""Complementary LIF (CLIF): a LIF whose soft reset adapts to recent spikes."""

from typing import Any

import torch
from torch import Tensor

from quadfire.models.neurons.firing import Limits
from quadfire.models.neurons.spiking_neuron import SpikingNeuron
from quadfire.models.neurons.surrogate import spike

__all__ = ["CLIF", "clif_step"]


def clif_step(x: Tensor, v: Tensor, m: Tensor, *, tau: float = 2.0, v_threshold: float = 1.0,
              v_reset: None = None, limits: Limits = None, window: Any = 0.5,
              surrogate: str = "rectangular",
              detach_reset: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """One time step, (x, v, m) -> (s, v, m), see `CLIF`."""
    v = (1 - 1 / tau) * v + x
    fired = spike(v - v_threshold, window, surrogate)
    m = m * torch.sigmoid(v / tau) + fired
    gate = fired.detach() if detach_reset else fired
    if limits is not None:
        v = v.clamp(*limits)
    return fired, v - gate * (v_threshold + torch.sigmoid(m)), m


class CLIF(SpikingNeuron):
    """Complementary leaky integrate-and-fire, with the complementary potential m.

        v' = (1 - 1/tau) v + x
        s = 1 where v' >= V_th, else 0
        m' = m sigmoid(v' / tau) + s
        v = v' - s (V_th + sigmoid(m'))

    | parameter | meaning |
    |-----------|---|
    | tau       | membrane time constant in time steps, above 1 |

    m remembers recent spikes. They strengthen the reset, and m gives the gradient a second path
    through time. v and m start at 0. Nothing is learnt. There is no hard reset: v_reset must be
    None. It is SpikingJelly's `ComplementaryLIFNode`. Raises ValueError for another v_reset or tau.

    Source: Huang et al., ICML 2024, arXiv:2402.04663.
    """

    kind = "clif"
    function = staticmethod(clif_step)

    def __init__(self, tau: float = 2.0, *, v_reset: float | None = None, **options: Any):
        if v_reset is not None:
            raise ValueError(f"the reset of CLIF is a subtraction: v_reset must be None, "
                             f"not {v_reset!r}")
        super().__init__(v_reset=None, **options)
        if not tau > 1:
            raise ValueError(f"tau must be above 1, not {tau!r}")
        self.tau = tau

    def config(self) -> dict[str, Any]:
        return {**super().config(), "tau": self.tau}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "tau": self.tau}

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(x), torch.zeros_like(x)
