"""The module around a step function: state, sequences, learnt parameters, canonical form."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from quadfire.models import kernels
from quadfire.models.dynamics.quadratic_map import QuadraticMap
from quadfire.models.dynamics.window import analytic_window
from quadfire.models.neurons.canonical import Canonical
from quadfire.models.neurons.firing import Limits
from quadfire.models.neurons.surrogate import SURROGATES

__all__ = ["SpikingNeuron"]


class SpikingNeuron(nn.Module):
    """Base class of neurons: a layer of them, which turns input currents into spikes.

    | argument  | meaning |
    |-----------|---|
    | window    | half-width of the surrogate derivative, or "analytic" |
    | alpha     | of the tdBN before this layer; the analytic window depends on it |
    | step_mode | "m": `forward` takes sequences [T, N, ...]; "s": one time step [N, ...] |

    v_threshold, v_reset, limits, surrogate and detach_reset are those of `firing.fire`. Raises
    ValueError for an option out of range.

    The output has the shape of the input. The state lasts from call to call, and `reset()` forgets
    it. The membrane potential `v` [N, ...] starts at v_reset (hard reset) or 0 (soft reset).
    `rate` is the mean of the spikes of the last call, in 0..1.

    The analytic window keeps the size of gradients (`quadfire.models.dynamics.window`). It follows
    the neuron's parameters as they are learnt. Neurons with a `quadratic_map` have one, except
    QIFCanonical.

    A subclass has a `kind`, its name in checkpoints, and a `function`, the pure function of one
    time step: (x, v, further state) -> (spike, v after the reset, further state), all [N, ...].
    A learnt parameter is one value per layer, or one per channel, dimension 1 of [N, C, ...].
    """

    kind: ClassVar[str]
    function: ClassVar[Callable[..., tuple[Tensor, ...]]]

    def __init__(self, v_threshold: float = 1.0, v_reset: float | None = 0.0,
                 limits: Limits = None, window: float | str = 0.5, *,
                 surrogate: str = "rectangular", detach_reset: bool = False, alpha: float = 1.0,
                 step_mode: str = "m"):
        super().__init__()
        v_threshold = _number("v_threshold", v_threshold)
        v_reset = None if v_reset is None else _number("v_reset", v_reset)
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
        self._rate: float | Tensor = 0.0
        self._window = window
        self._analytic: tuple[tuple[int, ...], Any] | None = None

    # Running --------------------------------------------------------------------------------------

    @property
    def v_initial(self) -> float:
        """The membrane potential before the first time step."""
        return 0.0 if self.v_reset is None else self.v_reset

    @property
    def amount(self) -> float:
        """What a soft reset subtracts."""
        return self.v_threshold

    @property
    def v(self) -> Tensor | None:
        """The membrane potential after the last time step; None after `reset()`."""
        return None if self.state is None else self.state[0]

    def options(self, x: Tensor) -> dict[str, Any]:
        """The keywords of the step function, for input currents shaped as x [N, ...]."""
        window = self.window
        if isinstance(window, Tensor):
            window = self._per_channel(window.to(x), x)
        return {"v_threshold": self.v_threshold, "v_reset": self.v_reset, "limits": self.limits,
                "window": window, "surrogate": self.surrogate,
                "detach_reset": self.detach_reset}

    def at_step(self, options: dict[str, Any], step: int) -> dict[str, Any]:
        """`options` for time step `step`, counted from 0 after `reset()`."""
        return options

    def initial(self, x: Tensor) -> tuple[Tensor, ...]:
        """The state before the first time step, for input currents shaped as x [N, ...]."""
        return (torch.full_like(x, self.v_initial),)

    def step(self, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One time step from a given state: (current, *state) -> (spike, *state after reset).

        It leaves the module's own state alone.
        """
        options = self.at_step(self.options(x), self.elapsed)
        return type(self).function(x, *state, **options)

    def __getstate__(self) -> dict[str, Any]:
        """A copy gets the values of the state, detached: autograd's history cannot be copied."""
        state = None if self.state is None else tuple(part.detach() for part in self.state)
        return {**self.__dict__, "state": state}

    def reset(self) -> None:
        """Forget the state."""
        self.state = None
        self.elapsed = 0

    @property
    def rate(self) -> float:
        """The mean of the spikes of the last call, 0..1."""
        return float(self._rate)

    def forward(self, x: Tensor) -> Tensor:
        sequence = x if self.step_mode == "m" else x.unsqueeze(0)
        if not len(sequence):
            raise ValueError(f"a sequence needs a time step or more, not {list(x.shape)}")
        if self.fusible(sequence):
            result = self._fused_alone(sequence)
            return result if self.step_mode == "m" else result[0]
        state = self.initial(sequence[0]) if self.state is None else self.state
        options, function = self.options(sequence[0]), type(self).function
        spikes = []
        for current in _Unbind.apply(sequence):      # pyright: ignore[reportGeneralTypeIssues]
            fired, *rest = function(current, *state, **self.at_step(options, self.elapsed))
            state = tuple(rest)
            spikes.append(fired)
            self.elapsed += 1
        self.state = state
        result = torch.cat(spikes).view(sequence.shape) if self.step_mode == "m" else spikes[0]
        self._rate = result.detach().mean()
        return result

    def fusible(self, x: Tensor) -> bool:
        """Whether `fused` runs currents x [T, N, ...] from the present state.

        The neuron must be a quadratic map, its state must be like the currents, and
        `kernels.fusible` must take these.
        """
        begun = None if self.state is None else self.state[0]
        return self._is_map and kernels.fusible(x) and (begun is None or (
            begun.shape == x.shape[1:] and (begun.dtype, begun.device) == (x.dtype, x.device)))

    @property
    def _is_map(self) -> bool:
        """Whether `_map` tells all that the neuron does.

        A subclass that changes the step without a `_map` of its own is no longer the map of the
        class above it.
        """
        step = {"function", "options", "at_step", "initial", "step"}
        for cls in type(self).__mro__:
            if "_map" in vars(cls):
                return cls is not SpikingNeuron
            if step & vars(cls).keys():
                return False
        return False

    def _fused_alone(self, x: Tensor) -> Tensor:
        """`forward` of currents x [T, N, ...] in one operation.

        Where all channels have the same parameters, what lies next to each other in memory counts
        as channels: that needs no copy into another order.
        """
        quadratic = self._map()
        if any(isinstance(value, Tensor) and value.ndim for value in (
                quadratic.c2, quadratic.c1, quadratic.c0, quadratic.gain, self.window)):
            return self.fused([kernels.Affine.identity(x)], len(x))
        last = x.ndim > 3 and not x.is_contiguous() and x.movedim(2, -1).is_contiguous()
        ordered = x.movedim(2, -1) if last else x
        count = math.gcd(math.prod(x.shape[1:]), 64)
        if self.state is not None:
            begun = self.state[0].movedim(1, -1) if last else self.state[0]
            self.state = (begun.reshape(-1, count),)
        spikes = self.fused([kernels.Affine.identity(ordered.reshape(len(x), -1, count))], len(x))
        assert self.state is not None
        end = self.state[0].reshape(ordered.shape[1:])
        self.state = (end.movedim(-1, 1) if last else end,)
        spikes = spikes.reshape(ordered.shape)
        return spikes.movedim(-1, 2) if last else spikes

    def fused(self, inputs: list[kernels.Affine], steps: int) -> Tensor:
        """Spikes [T, N, ...] of the sum of `inputs` over T = `steps`, see `models.kernels`.

        State and rate are those of `forward`. It gives the means and variances that it has
        computed to `Affine.observe`.
        """
        quadratic = self._map()
        neuron = kernels.Quadratic(
            quadratic.c2, quadratic.c1, quadratic.c0, quadratic.gain, self.v_threshold,
            self.window, self.v_initial, self.v_reset, self.amount, self.limits, self.surrogate,
            self.detach_reset)
        run = kernels.fused(inputs, neuron, steps, None if self.state is None else self.state[0])
        self.state, self._rate = (run.end,), run.rate
        self.elapsed += steps
        return run.spikes

    # Description ----------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The arguments from which `make_neuron` builds this neuron again.

        Learnt values are in the state dict instead.
        """
        return {"kind": self.kind, "v_threshold": self.v_threshold, "v_reset": self.v_reset,
                "limits": self.limits, "window": self._window, "surrogate": self.surrogate,
                "detach_reset": self.detach_reset, "alpha": self.alpha,
                "step_mode": self.step_mode}

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in self.config().items() if k != "kind")

    def quadratic_map(self) -> QuadraticMap:
        """The neuron as a map u' = c2 u^2 + c1 u + c0 + g I with threshold and reset.

        Learnt values are float64 tensors without gradient. Raises ValueError for a neuron that is
        no such map.
        """
        found = self._map()
        return replace(found, **{
            name: value.detach().double() for name in ("c2", "c1", "c0", "gain")
            if isinstance(value := getattr(found, name), Tensor)})

    def _map(self) -> QuadraticMap:
        """`quadratic_map` whose learnt values have their gradients."""
        raise ValueError(f"neuron {self.kind!r} has more state than a membrane potential: "
                         "no map of the line, hence no analytic window either")

    def canonical(self) -> Canonical:
        """This neuron in the canonical form w' = w x + J, which the array runs.

        Raises ValueError for a neuron without such a form: parameters per channel, further state
        or another nonlinearity.
        """
        canonical = self._canonical()
        return canonical if self.limits is None else canonical.limited(*self.limits)

    def _canonical(self) -> Canonical:
        raise ValueError(f"neuron {self.kind!r} has no canonical form: the array cannot run it")

    # Learnt parameters ----------------------------------------------------------------------------

    @staticmethod
    def _parameter(value: float, channels: int | None) -> nn.Parameter:
        """A learnt parameter that starts at `value`: one per layer, or one per channel."""
        return nn.Parameter(torch.full(() if channels is None else (channels,), float(value)))

    @staticmethod
    def _per_channel(value: Any, x: Tensor) -> Any:
        """A value per channel [C], shaped to broadcast with x [N, C, ...]; others unchanged."""
        if isinstance(value, Tensor) and value.ndim == 1:
            return value.view(-1, *[1] * (x.ndim - 2))
        return value

    def _scalar(self, value: Any) -> float:
        """A value per layer as a number. Raises ValueError for values per channel."""
        if isinstance(value, Tensor):
            if value.ndim:
                raise ValueError(f"neuron {self.kind!r} has no canonical form with a parameter "
                                 "per channel: the array holds one neuron per layer")
            return value.detach().double().item()
        return value

    @property
    def window(self) -> Any:
        """The present half-width of the surrogate: a number, or [C] if learnt per channel."""
        if not isinstance(self._window, str):
            return self._window
        version = tuple(value._version for value in self.parameters())
        if self._analytic is None or self._analytic[0] != version:
            with torch.no_grad():
                self._analytic = version, analytic_window(self.quadratic_map(), self.alpha)
        return self._analytic[1]


def _number(name: str, value: Any) -> float:
    """One finite number of a whole layer. Raises ValueError for anything else."""
    if isinstance(value, Tensor) and not value.ndim:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = f"a tensor of {list(value.shape)}" if isinstance(value, Tensor) else repr(value)
        raise ValueError(f"{name} must be one number for the layer, not {shown}: a linear neuron's "
                         "channel with a threshold of its own is one with its weights and bias "
                         "divided by it")
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return value


class _Unbind(torch.autograd.Function):
    """x [T, N, ...] as T tensors. Unlike that of `unbind`, its gradient keeps the memory order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, ...]:
        return x.unbind()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return torch.cat(grads).unflatten(0, (len(grads), -1))
