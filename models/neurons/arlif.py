"""LIF whose reset adapts, after the idea of AR-LIF (Huang et al., arXiv:2507.20746)."""

from typing import Any

import torch
from torch import Tensor

from quadfire.models.neurons.surrogate import spike
from quadfire.models.neurons.base import Limits, SpikingNeuron

__all__ = ["ARLIF", "arlif_step"]


def arlif_step(x: Tensor, v: Tensor, m: Tensor, *, beta: float = 0.5, memory: Any = 0.5,
               by_input: Any = 0.0, by_output: Any = 0.0, shift: Any = 0.0,
               v_threshold: float = 1.0, v_reset: None = None, limits: Limits = None,
               window: Any = 0.5, surrogate: str = "rectangular",
               detach_reset: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """v' = beta v + x, spike s where v' >= V = v_threshold + shift, then

    m' = memory m + (1 - memory)(by_input x + by_output s),    v = v' - s V (1 + tanh m')

    m is a fading memory of what came in and what went out; it makes the reset weaker (down to none)
    or stronger (up to 2 V) than the subtraction of the threshold, which it is at m' = 0.
    """
    v = beta * v + x
    threshold = v_threshold + shift
    fired = spike(v - threshold, window, surrogate)
    m = memory * m + (1 - memory) * (by_input * x + by_output * fired)
    gate = fired.detach() if detach_reset else fired
    if limits is not None:
        v = v.clamp(*limits)
    return fired, v - gate * threshold * (1 + torch.tanh(m)), m


class ARLIF(SpikingNeuron):
    """Leaky integrate-and-fire with an adaptive reset, see `arlif_step`.

    The paper relates the reset to inputs and outputs and adjusts the threshold; its equations were
    not at hand, so these are this project's own and figures of the paper are not to be expected.
    `memory` (as a logistic function), by_input, by_output and shift are learnt, one of each for the
    layer or for each of `channels`; by_input = by_output = shift = 0 at first, which is exactly a
    LIF with soft reset. State: v and m, both start at 0.
    """

    kind = "arlif"
    function = staticmethod(arlif_step)

    def __init__(self, beta: float = 0.5, *, channels: int | None = None,
                 v_reset: float | None = None, **options: Any):
        if v_reset is not None:
            raise ValueError("the reset of AR-LIF is a subtraction: v_reset must be None, "
                             f"not {v_reset!r}")
        super().__init__(v_reset=None, **options)
        self.beta, self.channels = beta, channels
        self.logit_memory = self._parameter(0.0, channels)
        self.by_input = self._parameter(0.0, channels)
        self.by_output = self._parameter(0.0, channels)
        self.shift = self._parameter(0.0, channels)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "beta": self.beta, "channels": self.channels}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "beta": self.beta,
                "memory": self._spread(self.logit_memory.sigmoid(), x),
                "by_input": self._spread(self.by_input, x),
                "by_output": self._spread(self.by_output, x), "shift": self._spread(self.shift, x)}

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(x), torch.zeros_like(x)
