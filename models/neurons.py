"""Spiking neurons: a pure function for one time step, under a module that runs a sequence.

The step functions take (x, v) = (input current, membrane potential) of equal shape to
(spike, v after reset), and differentiate through `surrogate.rectangular`. All of them end alike:

    spike = v' >= v_threshold
    v     = v_reset where it spiked (hard), or v' - v_threshold spike where v_reset is None (soft)

`limits` = (lowest, highest) membrane potential at which a limited-precision state saturates. With
soft reset they are part of the trained model; with hard reset they hardly matter.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rtl.numerics import Canonical, canonical_if, canonical_lif, canonical_root

from .surrogate import rectangular

__all__ = ["IF", "LIF", "QIF", "SpikingNeuron", "lif_step", "make_neuron", "qif_step"]

Limits = tuple[float, float] | None


def _fire(v: Tensor, v_threshold: float, v_reset: float | None, limits: Limits,
          window: float) -> tuple[Tensor, Tensor]:
    spike = rectangular(v - v_threshold, window)
    if limits is not None:
        v = v.clamp(*limits)
    if v_reset is None:
        return spike, v - v_threshold * spike
    return spike, v * (1 - spike) + v_reset * spike


def qif_step(x: Tensor, v: Tensor, *, a: float = 0.5, u1: float = 0.0, u2: float = 0.5,
             v_threshold: float = 1.0, v_reset: float | None = 0.0, limits: Limits = None,
             window: float = 0.5) -> tuple[Tensor, Tensor]:
    """Quadratic integrate-and-fire, v' = a (v - u1)(v - u2) + x (arXiv:2510.05168)."""
    return _fire(a * (v - u1) * (v - u2) + x, v_threshold, v_reset, limits, window)


def lif_step(x: Tensor, v: Tensor, *, beta: float = 0.5, v_threshold: float = 1.0,
             v_reset: float | None = 0.0, limits: Limits = None,
             window: float = 0.5) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire, v' = beta v + x; beta = 1 does not leak (IF)."""
    return _fire(beta * v + x, v_threshold, v_reset, limits, window)


class SpikingNeuron(nn.Module):
    """A layer of neurons without parameters to learn: currents [T, N, features] to spikes alike.

    The membrane potential `v` [N, features] lasts from call to call; `reset()` forgets it. It
    starts at v_reset (hard) or 0 (soft). `rate` is the share of spikes of the last call, in 0..1.
    """

    kind: str

    def __init__(self, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                 limits: Limits = None, window: float = 0.5):
        super().__init__()
        if not window > 0:
            raise ValueError(f"window must be above 0, not {window!r}")
        if limits is not None and not limits[0] < v_threshold <= limits[1]:
            raise ValueError(f"limits must enclose v_threshold = {v_threshold}, not {limits!r}")
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.limits = None if limits is None else (limits[0], limits[1])
        self.window = window
        self.v: Tensor | None = None
        self.rate = 0.0

    @property
    def v_initial(self) -> float:
        return 0.0 if self.v_reset is None else self.v_reset

    def config(self) -> dict[str, Any]:
        """The arguments that make this neuron again, see `make_neuron`."""
        return {"kind": self.kind, "v_threshold": self.v_threshold, "v_reset": self.v_reset,
                "limits": self.limits, "window": self.window}

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.config().items() if k != "kind")

    def canonical(self) -> Canonical:
        """This neuron moved to the canonical map of the hardware."""
        canonical = self._canonical()
        return canonical if self.limits is None else canonical.limited(*self.limits)

    def _canonical(self) -> Canonical:
        raise NotImplementedError

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step, (current, membrane) -> (spike, membrane after reset)."""
        raise NotImplementedError

    def _options(self) -> dict[str, Any]:
        return {"v_threshold": self.v_threshold, "v_reset": self.v_reset, "limits": self.limits,
                "window": self.window}

    def reset(self) -> None:
        self.v = None

    def forward(self, x: Tensor) -> Tensor:
        v = torch.full_like(x[0], self.v_initial) if self.v is None else self.v
        spikes = []
        for current in x:
            spike, v = self.step(current, v)
            spikes.append(spike)
        self.v = v
        result = torch.stack(spikes)
        self.rate = result.detach().mean().item()
        return result


class QIF(SpikingNeuron):
    """Quadratic integrate-and-fire in root form, see `qif_step`."""

    kind = "qif"

    def __init__(self, a: float = 0.5, u1: float = 0.0, u2: float = 0.5, **options: Any):
        super().__init__(**options)
        if not a > 0:
            raise ValueError(f"a must be above 0, not {a!r}")
        self.a, self.u1, self.u2 = a, u1, u2

    def config(self) -> dict[str, Any]:
        return {**super().config(), "a": self.a, "u1": self.u1, "u2": self.u2}

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return qif_step(x, v, a=self.a, u1=self.u1, u2=self.u2, **self._options())

    def _canonical(self) -> Canonical:
        return canonical_root(self.a, self.u1, self.u2, self.v_threshold, self.v_reset,
                              self.v_initial)


class LIF(SpikingNeuron):
    """Leaky integrate-and-fire, see `lif_step`."""

    kind = "lif"

    def __init__(self, beta: float = 0.5, **options: Any):
        super().__init__(**options)
        self.beta = beta

    def config(self) -> dict[str, Any]:
        return {**super().config(), "beta": self.beta}

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return lif_step(x, v, beta=self.beta, **self._options())

    def _canonical(self) -> Canonical:
        return canonical_lif(self.beta, self.v_threshold, self.v_reset, self.v_initial)


class IF(SpikingNeuron):
    """Integrate-and-fire: a LIF with beta = 1."""

    kind = "if"

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return lif_step(x, v, beta=1.0, **self._options())

    def _canonical(self) -> Canonical:
        return canonical_if(self.v_threshold, self.v_reset, self.v_initial)


def make_neuron(kind: str, **options: Any) -> SpikingNeuron:
    """A new neuron from its `config()`. Raises ValueError for a kind or option there is not."""
    kinds = {cls.kind: cls for cls in (QIF, LIF, IF)}
    if kind not in kinds:
        raise ValueError(f"no neuron is called {kind!r}; there are {', '.join(kinds)}")
    try:
        return kinds[kind](**options)
    except TypeError as error:
        raise ValueError(f"neuron {kind!r}: {error}") from None
