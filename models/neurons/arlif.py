"""A LIF with a learnt adaptive reset, after the idea of AR-LIF. Not the authors' neuron."""

from typing import Any

import torch
from torch import Tensor

from quadfire.models.neurons.firing import Limits
from quadfire.models.neurons.spiking_neuron import SpikingNeuron
from quadfire.models.neurons.surrogate import spike

__all__ = ["ARLIF", "arlif_step"]


def arlif_step(x: Tensor, v: Tensor, m: Tensor, *, beta: float = 0.5, memory: Any = 0.5,
               by_input: Any = 0.0, by_output: Any = 0.0, shift: Any = 0.0,
               v_threshold: float = 1.0, v_reset: None = None, limits: Limits = None,
               window: Any = 0.5, surrogate: str = "rectangular",
               detach_reset: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """One time step, (x, v, m) -> (s, v, m), see `ARLIF`."""
    v = beta * v + x
    threshold = v_threshold + shift
    fired = spike(v - threshold, window, surrogate)
    m = memory * m + (1 - memory) * (by_input * x + by_output * fired)
    gate = fired.detach() if detach_reset else fired
    if limits is not None:
        v = v.clamp(*limits)
    return fired, v - gate * threshold * (1 + torch.tanh(m)), m


class ARLIF(SpikingNeuron):
    """Leaky integrate-and-fire whose soft reset adapts to inputs and spikes.

        v' = beta v + x,    V = v_threshold + shift
        s = 1 where v' >= V, else 0
        m' = memory m + (1 - memory)(by_input x + by_output s)
        v = v' - s V (1 + tanh m')

    | parameter           | learnt       | meaning |
    |---------------------|--------------|---|
    | beta                | no           | share of v that is left after one time step |
    | channels            |              | learn one of each per channel; None: one per layer |
    | memory              | as its logit | share of m that is left after one step, at first 1/2 |
    | by_input, by_output | yes          | how inputs and spikes enter m, at first 0 |
    | shift               | yes          | shift of the threshold, at first 0 |

    m is a fading memory of inputs and spikes. It weakens the reset, down to none, or strengthens
    it, up to 2 V. Before training m stays 0, and the neuron is exactly a LIF with soft reset. v and
    m start at 0. There is no hard reset. Raises ValueError unless v_reset is None.

    This is not the neuron of the authors' code. AR-LIF (Huang et al., arXiv:2507.20746) also
    relates its reset to inputs and outputs and adjusts its threshold. The equations here are this
    project's own, so do not expect the paper's figures.
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
                "memory": self._per_channel(self.logit_memory.sigmoid(), x),
                "by_input": self._per_channel(self.by_input, x),
                "by_output": self._per_channel(self.by_output, x),
                "shift": self._per_channel(self.shift, x)}

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(x), torch.zeros_like(x)
