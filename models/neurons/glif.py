"""Gated LIF (GLIF): learnt gates mix two leaks, two inputs and two resets."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.neurons.firing import Limits
from quadfire.models.neurons.spiking_neuron import SpikingNeuron
from quadfire.models.neurons.surrogate import spike

__all__ = ["GLIF", "glif_step"]


def glif_step(x: Tensor, v: Tensor, s: Tensor, *, alpha: Any, beta: Any, gamma: Any, tau: Any,
              leak: Any, subtract: Any, conduct: Any, v_threshold: Any = 1.0,
              limits: Limits = None, window: Any = 0.5, surrogate: str = "rectangular",
              detach_reset: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """One time step, (x, v, s) -> (s', v', s'), see `GLIF`. s is the spike of the step before."""
    gate = s.detach() if detach_reset else s
    v = ((1 - alpha * (1 - tau)) * v * (1 - gamma * gate) - (1 - alpha) * leak
         + (1 - beta * (1 - conduct)) * x - (1 - gamma) * subtract * gate)
    fired = spike(v - v_threshold, window, surrogate)
    return fired, v if limits is None else v.clamp(*limits), fired


class GLIF(SpikingNeuron):
    """Gated leaky integrate-and-fire; the reset of a spike happens in the next time step.

        v' = (1 - alpha (1 - tau)) v (1 - gamma s) - (1 - alpha) leak
             + (1 - beta (1 - conduct)) x - (1 - gamma) subtract s
        s' = 1 where v' >= v_threshold, else 0

    | gate  | at 1                                              | at 0 |
    |-------|---------------------------------------------------|---|
    | alpha | exponential leak: v keeps the share tau           | linear leak: v loses leak |
    | beta  | x times conduct, the conductance of the time step | x as it is |
    | gamma | hard reset to 0                                   | soft reset: subtract |

    | argument       | meaning |
    |----------------|---|
    | steps          | T, the number of conductances; later time steps use the last |
    | tau, conduct   | where they start, in 0..1 |
    | v_threshold    | where it starts, above 0 |
    | leak, subtract | where they start, above 0; None: v_threshold / (2 T), v_threshold |
    | channels       | learn one of each per channel, the paper's best; None: one per layer |

    Gates and all values are learnt. Gates, tau and conductances are logistic functions of their
    parameters, the others exponentials, so all stay in range. Gates start near 1/2 at random, drawn
    from torch's generator, as in the paper. They are soft here: a gate stays a mixture.

    With equal values it is SpikingJelly's `GatedLIFNode`. That neuron keeps threshold, leak and
    subtract in 0..1 by logistic functions. The state is v before the reset, and the spike. v_reset
    must be None. Raises ValueError for another v_reset or a value out of range.

    Source: Yao et al., NeurIPS 2022, arXiv:2210.13768.
    """

    kind = "glif"
    function = staticmethod(glif_step)

    def __init__(self, steps: int = 4, *, tau: float = 0.25, conduct: float = 0.5,
                 leak: float | None = None, subtract: float | None = None,
                 channels: int | None = None, v_threshold: float = 0.5,
                 v_reset: float | None = None, **options: Any):
        if v_reset is not None:
            raise ValueError("the gate of GLIF mixes hard and soft reset: v_reset must be None, "
                             f"not {v_reset!r}")
        super().__init__(v_threshold=v_threshold, v_reset=None, **options)
        if steps < 1:
            raise ValueError(f"steps must be above 0, not {steps!r}")
        for name, value in (("tau", tau), ("conduct", conduct)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in 0..1, not {value!r}")
        leak = v_threshold / (2 * steps) if leak is None else leak
        subtract = v_threshold if subtract is None else subtract
        for name, value in (("v_threshold", v_threshold), ("leak", leak), ("subtract", subtract)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, not {value!r}")
        self.steps, self.channels = steps, channels
        self._start = {"tau": tau, "conduct": conduct, "leak": leak, "subtract": subtract}
        shape = () if channels is None else (channels,)
        self.gates = nn.Parameter(0.2 * (torch.rand(3, *shape) - 0.5))
        self.logit_tau = self._parameter(math.log(tau / (1 - tau)), channels)
        self.logit_conduct = nn.Parameter(torch.full((steps, *shape),
                                                     math.log(conduct / (1 - conduct))))
        self.log_threshold = self._parameter(math.log(v_threshold), channels)
        self.log_leak = self._parameter(math.log(leak), channels)
        self.log_subtract = self._parameter(math.log(subtract), channels)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "steps": self.steps, "channels": self.channels, **self._start}

    def options(self, x: Tensor) -> dict[str, Any]:
        options = super().options(x)
        del options["v_reset"]
        alpha, beta, gamma = (self._per_channel(gate, x) for gate in self.gates.sigmoid())
        return {**options, "alpha": alpha, "beta": beta, "gamma": gamma,
                "tau": self._per_channel(self.logit_tau.sigmoid(), x),
                "leak": self._per_channel(self.log_leak.exp(), x),
                "subtract": self._per_channel(self.log_subtract.exp(), x),
                "v_threshold": self._per_channel(self.log_threshold.exp(), x),
                "conduct": [self._per_channel(step, x) for step in self.logit_conduct.sigmoid()]}

    def at_step(self, options: dict[str, Any], step: int) -> dict[str, Any]:
        return {**options, "conduct": options["conduct"][min(step, self.steps - 1)]}

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(x), torch.zeros_like(x)
