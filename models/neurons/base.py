"""What all neurons share: spike, reset, state, options.

The step functions take (x, v, ...) = (input current, membrane potential, further state) of equal
shape to (spike, v after reset, further state), and differentiate through `surrogate.spike`. All of
them end alike:

    spike = v' >= v_threshold
    v     = v_reset where it spiked (hard), or v' - v_threshold spike where v_reset is None (soft)

`limits` = (lowest, highest) membrane potential at which a limited-precision state saturates. With
soft reset they are part of the trained model; with hard reset they hardly matter.
`detach_reset` keeps the gradient from running through the spike that resets.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.neurons.canonical import Canonical
from quadfire.models.neurons.surrogate import (
    SURROGATES, Kernel, Window, analytic_window_of, kernel, spike, step,
)

__all__ = ["Limits", "SpikingNeuron", "fire"]

Limits = tuple[float, float] | None


class _HardReset(torch.autograd.Function):
    """(spike, v after a hard reset) of v at once: the values and gradients of

        spike(v - v_threshold),    v (1 - spike) + v_reset spike

    in a fraction of the time, and without what autograd would keep of each part.
    """

    @staticmethod
    def forward(ctx: Any, v: Tensor, v_threshold: float, v_reset: float, window: Window,
                gradient: Kernel, detach: bool) -> tuple[Tensor, Tensor]:
        x = v - v_threshold
        fired = step(x)
        ctx.save_for_backward(v, x, fired)
        ctx.rest = v_reset, window, gradient, detach
        after = (1 - fired).mul_(v)
        return fired, after.add_(fired, alpha=v_reset) if v_reset else after

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (v, x, fired), (v_reset, window, gradient, detach) = ctx.saved_tensors, ctx.rest
        by_spike, by_after = grads
        if not detach:
            by_spike = (v_reset - v).mul_(by_after).add_(by_spike)
        return gradient(by_spike, x, window).add_((1 - fired).mul_(by_after)), *[None] * 5


def fire(v: Tensor, v_threshold: Any, v_reset: float | None, limits: Limits, window: Window,
         surrogate: str = "rectangular", detach_reset: bool = False,
         amount: Any = None) -> tuple[Tensor, Tensor]:
    """(spike, v after reset) of a membrane potential; `amount` is what a soft reset subtracts,
    v_threshold by default."""
    if v_reset is not None and limits is None and not isinstance(v_threshold, Tensor):
        return _HardReset.apply(        # pyright: ignore[reportReturnType]
            v, v_threshold, v_reset, window, kernel(surrogate, window), detach_reset)
    fired = spike(v - v_threshold, window, surrogate)
    if limits is not None:
        v = v.clamp(*limits)
    gate = fired.detach() if detach_reset else fired
    if v_reset is None:
        return fired, v - (v_threshold if amount is None else amount) * gate
    return fired, v * (1 - gate) + v_reset * gate


class _Steps(torch.autograd.Function):
    """x [T, N, ...] as T tensors; unlike `unbind`'s, its gradient keeps the order in memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        return x.unbind()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.cat(grads).unflatten(0, (len(grads), -1))


class SpikingNeuron(nn.Module):
    """A layer of neurons: currents [T, N, ...] to spikes alike, or one step of [N, ...].

    The state lasts from call to call; `reset()` forgets it. The membrane potential `v` [N, ...]
    starts at v_reset (hard) or 0 (soft). `rate` is the share of spikes of the last call, in 0..1.
    Learnt parameters are one value per layer, or one per channel (dimension 1 of [N, C, ...]).

    window: half-width of the surrogate gradient, see `surrogate.spike`, or "analytic": the one
    that keeps the gradient's norm behind a tdBN of `alpha`, made from this neuron's parameters and
    again whenever they have been learnt (QIF, LIF, PLIF, IF).
    step_mode: "m" for sequences [T, N, ...], "s" for a single time step [N, ...].
    """

    kind: ClassVar[str]
    function: ClassVar[Callable[..., tuple[Tensor, ...]]]

    def __init__(self, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                 limits: Limits = None, window: float | str = 0.5, *,
                 surrogate: str = "rectangular", detach_reset: bool = False, alpha: float = 1.0,
                 step_mode: str = "m"):
        super().__init__()
        if isinstance(window, str):
            if window != "analytic":
                raise ValueError(f"window must be a number or 'analytic', not {window!r}")
        elif not window > 0:
            raise ValueError(f"window must be above 0, not {window!r}")
        if limits is not None and not limits[0] < v_threshold <= limits[1]:
            raise ValueError(f"limits must enclose v_threshold = {v_threshold}, not {limits!r}")
        if surrogate not in SURROGATES:
            raise ValueError(f"surrogate must be one of {', '.join(SURROGATES)}, "
                             f"not {surrogate!r}")
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0, not {alpha!r}")
        if step_mode not in ("m", "s"):
            raise ValueError(f"step_mode must be 'm' or 's', not {step_mode!r}")
        self.v_threshold = v_threshold
        self.v_reset = v_reset
        self.limits = None if limits is None else (limits[0], limits[1])
        self.surrogate = surrogate
        self.detach_reset = detach_reset
        self.alpha = alpha
        self.step_mode = step_mode
        self.state: tuple[Tensor, ...] | None = None
        self.elapsed = 0
        self.rate = 0.0
        self._window = window
        self._known: tuple[tuple[int, ...], Any] | None = None

    # What a neuron says of itself -----------------------------------------------------------------

    @property
    def v_initial(self) -> float:
        return 0.0 if self.v_reset is None else self.v_reset

    @property
    def v(self) -> Tensor | None:
        """The membrane potential after the last reset, None after `reset()`."""
        return None if self.state is None else self.state[0]

    def config(self) -> dict[str, Any]:
        """The arguments that make this neuron again, see `make_neuron`.

        Learnt values are not among them: they are in the state dict.
        """
        return {"kind": self.kind, "v_threshold": self.v_threshold, "v_reset": self.v_reset,
                "limits": self.limits, "window": self._window, "surrogate": self.surrogate,
                "detach_reset": self.detach_reset, "alpha": self.alpha,
                "step_mode": self.step_mode}

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.config().items() if k != "kind")

    def quadratic_map(self) -> QuadraticMap:
        """The neuron between two resets, for `quadfire.models.dynamics`; learnt values as tensors.

        Raises ValueError for a neuron that is no such map.
        """
        raise ValueError(f"neuron {self.kind!r} has more state than a membrane potential: "
                         "no map of the line, hence no analytic window either")

    def canonical(self) -> Canonical:
        """This neuron moved to the canonical map of the hardware.

        Raises ValueError where there is none: parameters per channel, or further state.
        """
        canonical = self._canonical()
        return canonical if self.limits is None else canonical.limited(*self.limits)

    def _canonical(self) -> Canonical:
        raise ValueError(f"neuron {self.kind!r} has no canonical form: the array cannot run it")

    # Learnt parameters ----------------------------------------------------------------------------

    @staticmethod
    def _parameter(value: float, channels: int | None) -> nn.Parameter:
        return nn.Parameter(torch.full(() if channels is None else (channels,), float(value)))

    @staticmethod
    def _spread(value: Any, x: Tensor) -> Any:
        """A value per channel [C], shaped to go with x [N, C, ...]; others as they are."""
        if isinstance(value, Tensor) and value.ndim == 1:
            return value.view(-1, *[1] * (x.ndim - 2))
        return value

    def _scalar(self, value: Any) -> float:
        """A learnt value as a number."""
        if isinstance(value, Tensor):
            if value.ndim:
                raise ValueError(f"neuron {self.kind!r} has no canonical form with a parameter "
                                 "per channel: the array holds one neuron per layer")
            return value.detach().double().item()
        return value

    @property
    def window(self) -> Any:
        """Half-width of the surrogate, as it is now: a number, or [C] where learnt per channel."""
        if not isinstance(self._window, str):
            return self._window
        version = tuple(value._version for value in self.parameters())
        if self._known is None or self._known[0] != version:
            with torch.no_grad():
                self._known = version, analytic_window_of(self.quadratic_map(), self.alpha)
        return self._known[1]

    # Running --------------------------------------------------------------------------------------

    def options(self, x: Tensor) -> dict[str, Any]:
        """The keywords of the step function, for currents like x [N, ...]."""
        window = self.window
        if isinstance(window, Tensor):
            window = self._spread(window.to(x), x)
        return {"v_threshold": self.v_threshold, "v_reset": self.v_reset, "limits": self.limits,
                "window": window, "surrogate": self.surrogate,
                "detach_reset": self.detach_reset}

    def at_step(self, options: dict[str, Any], step: int) -> dict[str, Any]:
        """`options` for time step `step`, 0 being the first after `reset()`."""
        return options

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        """The state before the first time step, for currents like x [N, ...]."""
        return (torch.full_like(x, self.v_initial),)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One time step without memory, (current, *state) -> (spike, *state after reset)."""
        options = self.at_step(self.options(x), self.elapsed)
        return type(self).function(x, *state, **options)

    def __getstate__(self) -> dict[str, Any]:
        """What copies get: the state without its history, which cannot be copied."""
        state = None if self.state is None else tuple(part.detach() for part in self.state)
        return {**self.__dict__, "state": state}

    def reset(self) -> None:
        self.state = None
        self.elapsed = 0

    def forward(self, x: Tensor) -> Tensor:
        sequence = x if self.step_mode == "m" else x.unsqueeze(0)
        state = self.initial(sequence[0]) if self.state is None else self.state
        options, function = self.options(sequence[0]), type(self).function
        spikes = []
        for current in _Steps.apply(sequence):      # pyright: ignore[reportGeneralTypeIssues]
            fired, *rest = function(current, *state, **self.at_step(options, self.elapsed))
            state = tuple(rest)
            spikes.append(fired)
            self.elapsed += 1
        self.state = state
        result = torch.cat(spikes).view(sequence.shape) if self.step_mode == "m" else spikes[0]
        self.rate = result.detach().mean().item()
        return result
