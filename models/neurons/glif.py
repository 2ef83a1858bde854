"""Gated LIF (GLIF): learnt gates choose between two leaks, two inputs and two resets."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.neurons.firing import Limits
from quadfire.models.neurons.renewed import Renewed
from quadfire.models.neurons.surrogate import spike

__all__ = ["GLIF", "glif_step"]

#: The values that are learnt as logits, one of each per layer or channel.
VALUES = ("tau", "threshold", "leak", "subtract")


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


class GLIF(Renewed):
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
    | tau, conduct, v_threshold, leak, subtract | where they start, in 0..1 |
    | channels       | learn one of each per channel, the paper's best; None: one per layer |
    | gates          | "hard": 0 or 1; "soft": a mixture, sigmoid(p) |

    All gates and values are learnt, and each is the sigmoid of its parameter. leak starts at
    v_threshold / (2 T) where None is given, subtract at v_threshold. With p the parameter of a hard
    gate, it is 1 where sigmoid(p) > 1/2, else 0; backward the step is the identity, so that the
    derivative by p is that of sigmoid(p). p starts within +-0.1 at random, drawn from torch's
    generator.

    Hard gates are the default of the authors' code; the figures of its README come from its option
    for soft ones. With soft gates it is SpikingJelly's `GatedLIFNode`. The state is v before the
    reset, and the spike. v_reset must be None. Raises ValueError for another v_reset, for a value
    out of range, and for weights of the neuron that had this name before.

    Source: Yao et al., NeurIPS 2022, arXiv:2210.13768, and the authors' code.
    """

    kind = "glif"
    function = staticmethod(glif_step)
    former = "log_threshold"

    def __init__(self, steps: int = 4, *, tau: float = 0.25, conduct: float = 0.5,
                 leak: float | None = None, subtract: float | None = None,
                 channels: int | None = None, gates: str = "hard", v_threshold: float = 0.5,
                 v_reset: float | None = None, **options: Any):
        if v_reset is not None:
            raise ValueError("the gate of GLIF mixes hard and soft reset: v_reset must be None, "
                             f"not {v_reset!r}")
        super().__init__(v_threshold=v_threshold, v_reset=None, **options)
        if steps < 1:
            raise ValueError(f"steps must be above 0, not {steps!r}")
        if gates not in ("hard", "soft"):
            raise ValueError(f"gates must be hard or soft, not {gates!r}")
        self._start = {"tau": tau, "conduct": conduct,
                       "leak": v_threshold / (2 * steps) if leak is None else leak,
                       "subtract": v_threshold if subtract is None else subtract}
        for name, value in (("v_threshold", v_threshold), *self._start.items()):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in 0..1, not {value!r}")
        self.steps, self.channels, self.gates = steps, channels, gates
        shape = () if channels is None else (channels,)
        self.logit_gates = nn.Parameter(0.2 * (torch.rand(3, *shape) - 0.5))
        self.logit_conduct = nn.Parameter(torch.full((steps, *shape), _logit(conduct)))
        for name in VALUES:
            value = self._start.get(name, v_threshold)
            self.register_parameter(f"logit_{name}", self._parameter(_logit(value), channels))

    def config(self) -> dict[str, Any]:
        return {**super().config(), "steps": self.steps, "channels": self.channels,
                "gates": self.gates, **self._start}

    def options(self, x: Tensor) -> dict[str, Any]:
        options = super().options(x)
        del options["v_reset"], options["v_threshold"]
        shares = self.logit_gates.sigmoid()
        if self.gates == "hard":
            shares = (shares > 0.5).to(shares) + (shares - shares.detach())
        values = {name: self._per_channel(getattr(self, f"logit_{name}").sigmoid(), x)
                  for name in VALUES}
        alpha, beta, gamma = (self._per_channel(share, x) for share in shares)
        return {**options, "alpha": alpha, "beta": beta, "gamma": gamma, "tau": values["tau"],
                "leak": values["leak"], "subtract": values["subtract"],
                "v_threshold": values["threshold"],
                "conduct": [self._per_channel(step, x) for step in self.logit_conduct.sigmoid()]}

    def at_step(self, options: dict[str, Any], step: int) -> dict[str, Any]:
        return {**options, "conduct": options["conduct"][min(step, self.steps - 1)]}

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(x), torch.zeros_like(x)


def _logit(value: float) -> float:
    """p with sigmoid(p) = value."""
    return math.log(value / (1 - value))
