"""An answer that is read from the membrane potentials of the last layer. numpy only."""

from dataclasses import dataclass

import numpy as np

from quadfire.models.integer.checks import NetworkError, check_integer

__all__ = ["OVER", "MembraneAnswer"]

#: What of all time steps is the answer.
OVER = ("last", "mean", "sum", "max")


@dataclass(frozen=True, kw_only=True)
class MembraneAnswer:
    """The logits are the membrane potentials of the last layer, over the time steps.

        u(t) = w(t) + delta s(t),    logits = u(T), sum of u(t), or the largest u(t)

    | field | meaning |
    |---|---|
    | over | "last", "mean", "sum" or "max" of the time steps; a mean is left as the sum |
    | delta | what the potential as trained has more than w in a step with a spike, state LSBs |

    w is the potential after the reset, s the spike. A library that resets one step later answers
    with the potential before the reset: that has delta more, where the reset subtracts delta.
    Raises NetworkError for any other value.
    """

    over: str
    delta: int = 0

    def __post_init__(self):
        if not isinstance(self.over, str) or self.over not in OVER:
            raise NetworkError(f"over must be {', '.join(OVER)}, not {self.over!r}")
        check_integer("delta", self.delta, -(1 << 17), 1 << 17)

    def logits(self, membranes: np.ndarray, spikes: np.ndarray | None = None) -> np.ndarray:
        """int64 [N, outputs] of membranes and spikes [T, N, outputs].

        spikes: only where delta is not 0.
        """
        u = membranes.astype(np.int64)
        if self.delta:
            assert spikes is not None
            u = u + self.delta * spikes.astype(np.int64)
        return u[-1] if self.over == "last" else u.max(0) if self.over == "max" else u.sum(0)

    def __str__(self) -> str:
        return f"membrane-{self.over}"
