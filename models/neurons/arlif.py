"""AR-LIF: a LIF whose threshold follows its input, and whose soft reset follows a memory."""

from typing import Any

import torch
from torch import Tensor

from quadfire.models.neurons.firing import Limits
from quadfire.models.neurons.renewed import Renewed
from quadfire.models.neurons.surrogate import spike

__all__ = ["ARLIF", "arlif_step"]


def arlif_step(x: Tensor, v: Tensor, m: Tensor, *, beta: float = 0.5, a: Any = 0.0, c: Any = 1.0,
               v_threshold: float = 1.0, v_reset: None = None, limits: Limits = None,
               window: Any = 0.5, surrogate: str = "rectangular",
               detach_reset: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """One time step, (x, v, m) -> (s, v, m), see `ARLIF`."""
    v = beta * v + x
    threshold = v_threshold + torch.tanh(torch.as_tensor(a)) * torch.tanh(x)
    fired = spike(v - threshold, window, surrogate)
    kept = torch.sigmoid(c * x)
    m = torch.relu(m) * kept - torch.relu(-m) * (1 - kept)
    m = m + (2 * fired - 1) * torch.sigmoid(x)
    gate = fired.detach() if detach_reset else fired
    if limits is not None:
        v = v.clamp(*limits)
    return fired, v - gate * (threshold + torch.sigmoid(m)), m


class ARLIF(Renewed):
    """Adaptive-reset leaky integrate-and-fire, with the memory m of inputs and outputs.

        v' = beta v + x
        V = V_th + tanh(a) tanh(x)
        s = 1 where v' >= V, else 0
        k = sigmoid(c x)
        m' = k m where m > 0, else (1 - k) m
        m'' = m' + (2 s - 1) sigmoid(x)
        v = v' - s (V + sigmoid(m''))

    | parameter | learnt | meaning |
    |-----------|--------|---|
    | beta      | no     | share of v that is left after one time step |
    | a         | yes    | how the threshold follows the input, at first 0: it does not |
    | c         | yes    | how the fading of m follows the input, at first 1 |
    | channels  |        | learn one of each per channel; None: one per layer, as the authors do |

    m grows with spikes and falls without them, faster where x is large. It adds 0..1 to what a
    spike subtracts. v and m start at 0. There is no hard reset: v_reset must be None. The defaults
    are those of the authors' code: beta = 0.5, V_th = 1, a rectangle of width 1 (window 0.5), and a
    gradient through everything. Raises ValueError for another v_reset, and for weights of the
    neuron that had this name before.

    Source: Huang et al., arXiv:2507.20746, and the authors' code.
    """

    kind = "arlif"
    function = staticmethod(arlif_step)
    former = "logit_memory"

    def __init__(self, beta: float = 0.5, *, channels: int | None = None,
                 v_reset: float | None = None, **options: Any):
        if v_reset is not None:
            raise ValueError("the reset of AR-LIF is a subtraction: v_reset must be None, "
                             f"not {v_reset!r}")
        super().__init__(v_reset=None, **options)
        self.beta, self.channels = beta, channels
        self.a = self._parameter(0.0, channels)
        self.c = self._parameter(1.0, channels)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "beta": self.beta, "channels": self.channels}

    def options(self, x: Tensor) -> dict[str, Any]:
        return {**super().options(x), "beta": self.beta, "a": self._per_channel(self.a, x),
                "c": self._per_channel(self.c, x)}

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.zeros_like(x), torch.zeros_like(x)
