"""Leaky integrate-and-fire (LIF)."""

from typing import Any

from torch import Tensor

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.canonical import Canonical, canonical_lif
from quadfire.models.neurons.firing import fire
from quadfire.models.neurons.spiking_neuron import SpikingNeuron

__all__ = ["LIF", "lif_step"]


def lif_step(x: Tensor, v: Tensor, *, beta: Any = 0.5, gain: Any = 1.0, v_rest: float = 0.0,
             **firing: Any) -> tuple[Tensor, Tensor]:
    """One time step: v' = v_rest + beta (v - v_rest) + gain x, then `fire`."""
    if v_rest:
        return fire(v_rest + beta * (v - v_rest) + gain * x, **firing)
    return fire(beta * v + gain * x, **firing)


class LIF(SpikingNeuron):
    """Leaky integrate-and-fire: v' = v_rest + beta (v - v_rest) + gain x.

    | parameter | meaning |
    |-----------|---|
    | beta      | share of v - v_rest that is left after one time step; 1: no leak (IF) |
    | gain      | factor of the input current |
    | v_rest    | resting potential, in units of v |

    It fires where v' >= v_threshold, with hard or soft reset. Source: STBP, arXiv:1706.02609.

    Neurons of other libraries, "zero" and "subtract" being v_reset = 0 and None here:

    | neuron                            | beta              | gain           | v_rest        |
    |-----------------------------------|-------------------|----------------|---------------|
    | SpikingJelly `LIFNode`            | 1 - 1/tau         | 1/tau          | v_reset, or 0 |
    | the same, decay_input=False       | 1 - 1/tau         | 1              | v_reset, or 0 |
    | Sinabs `LIF`, SingleSpike         | exp(-1/tau)       | 1 - beta, or 1 | 0             |
    | snnTorch `Leaky`, zero            | beta              | 1              | 0             |
    | snnTorch, subtract, no delay      | beta              | 1              | 0             |
    | Norse `LIFBoxCell`                | 1 - dt tau_mem_inv | 1 - beta       | v_leak        |

    SpikingJelly and Sinabs fire at the threshold, too: the same spikes, with either reset.
    snnTorch and Norse fire only above it: the same spikes unless v' is the threshold (and, with
    subtract and reset_delay=False, unless v' is above 2 v_threshold, where a reset stays pending).
    By default snnTorch subtracts the threshold in the next time step, after the leak. Here that
    would be a subtraction of v_threshold / beta, which this class does not have, but its canonical
    form does: `quadfire.models.frontends` reads all of these neurons exactly.
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

    def _map(self) -> QuadraticMap:
        return QuadraticMap.linear(self.beta, self.v_threshold, self.v_reset, gain=self.gain,
                                   v_rest=self.v_rest)

    def _canonical(self) -> Canonical:
        return canonical_lif(self.beta, self.v_threshold, self.v_reset, self.v_initial,
                             gain=self.gain, v_rest=self.v_rest)
