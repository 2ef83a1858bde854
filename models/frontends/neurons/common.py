"""What the tables of all libraries share: values, refusals, the spike function, how one calls."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.neurons.canonical import Canonical, Value, canonical_linear

__all__ = ["CallForm", "check_start", "check_unchanged", "each", "fires_above", "integrator",
           "library_class", "linear", "lowest", "mapped", "number", "one", "values"]

#: Methods that a subclass may have of its own: they compute nothing.
_HARMLESS = {"__init__", "extra_repr", "reset_mem", "init_leaky", "state_dict", "train", "to"}


@dataclass(frozen=True, kw_only=True)
class CallForm:
    """How a neuron's module is called, and what it returns.

    | field | meaning |
    |---|---|
    | time | "step": one call is one time step; "sequence": one call is all of them |
    | layout | the axes before those of a sample: "N"; "TN" or "NT"; "(NT)", both in one axis, |
    |  | time running faster |
    | returns | "spikes", or "membrane" where the neuron has none |
    | states | whether states follow: the call returns (spikes, *states) and may take them |
    | membrane | the place of the potential among the results; None: it is not among them. Norse |
    |  | returns one state, whose field `v` it is |
    | decoded | a "sequence" that returns no time axis: "last", "mean", "max", "max-abs" over time |
    | batch_size, num_timesteps | of layout "(NT)"; -1: follows from the other |
    """

    time: str
    layout: str
    returns: str = "spikes"
    states: bool = False
    membrane: int | None = None
    decoded: str | None = None
    batch_size: int = -1
    num_timesteps: int = -1


# Classes ------------------------------------------------------------------------------------------


def library_class(module: nn.Module, package: str) -> type | None:
    """The first class of `package` among the module's class and its bases."""
    return next((cls for cls in type(module).__mro__
                 if f"{cls.__module__}.".startswith(f"{package}.")), None)


def check_unchanged(module: nn.Module, base: type) -> None:
    """Raise ValueError if the module computes something else than its library's class `base`.

    A subclass, or the module itself, may have further attributes, but no method of the library's
    class replaced.
    """
    mro = type(module).__mro__
    owners = [(cls.__name__, vars(cls)) for cls in mro[:mro.index(base)]]
    for owner, names in [*owners, (f"this {type(module).__name__}", vars(module))]:
        for name in names:
            if name in _HARMLESS or (name.startswith("__") and name != "__call__"):
                continue
            there = inspect.getattr_static(base, name, None)
            if callable(there) or isinstance(there, (property, staticmethod, classmethod)):
                raise ValueError(f"{owner} has a {name} of its own, which cannot be read: use the "
                                 f"{base.__name__} of the library, or a neuron of "
                                 "quadfire.models.neurons")


# Values -------------------------------------------------------------------------------------------


def values(name: str, value: Any, shape: tuple[int, ...] | None) -> Value:
    """A number, or a tuple with one for each channel, of a number or tensor of a library.

    shape: of one sample of the neuron's input, channels first, over which the library broadcasts
    the tensor; None: the tensor's first axis (other than leading ones of 1) is that of channels.
    Raises ValueError, naming it, for a value that is not finite, that does not fit the shape, or
    that differs within a channel.
    """
    value = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
    if not torch.isfinite(value).all():
        raise ValueError(f"{name} is {in_words(value.flatten())}")
    if value.numel() == 1:
        return value.item()
    while value.dim() > 1 and value.shape[0] == 1 and (shape is None or value.dim() > len(shape)):
        value = value[0]
    if shape is not None:
        try:
            value = value.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(f"{name} of shape {tuple(value.shape)} does not fit the neuron's "
                             f"input of shape {tuple(shape)}") from None
    channels = value.reshape(value.shape[0], -1)
    if (channels != channels[:, :1]).any():
        raise ValueError(f"{name} differs within a channel ({in_words(value.flatten())}): the "
                         f"array holds one a channel; train with a {name} of shape [C, 1, 1]")
    found = tuple(channels[:, 0].tolist())
    return found[0] if len(set(found)) == 1 else found


def one(name: str, value: Value) -> float:
    """The one number that all channels share. Raises ValueError, naming it, where they differ."""
    if not isinstance(value, tuple):
        return value
    raise ValueError(f"{name} differs between channels ({number(value)}): the array holds one a "
                     f"layer; train with one {name}")


def each(function: Callable[..., float], *arguments: Value) -> Value:
    """function of numbers, for every channel where an argument has one for each."""
    count = next((len(value) for value in arguments if isinstance(value, tuple)), None)
    if count is None:
        return function(*arguments)
    return tuple(map(function, *(value if isinstance(value, tuple) else (value,) * count
                                 for value in arguments)))


def lowest(value: Value) -> float:
    """The smallest over all channels."""
    return min(value) if isinstance(value, tuple) else value


def number(value: Any) -> str:
    """A value for people: "0.9", or "0.82..0.97" for a value of each channel."""
    if isinstance(value, tuple):
        return f"{min(value):g}..{max(value):g}"
    if isinstance(value, Tensor):
        return in_words(value.detach().double().flatten())
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def in_words(tensor: Tensor) -> str:
    """The lowest and the highest of a tensor where they differ; or what is not finite."""
    odd = tensor[~torch.isfinite(tensor)]
    if odd.numel():
        return str(odd[0].item())
    low, high = tensor.min().item(), tensor.max().item()
    return number(low if low == high else (low, high))


# Forms --------------------------------------------------------------------------------------------


def linear(**arguments: Any) -> Canonical:
    """`canonical_linear`, which also refuses what the array's registers cannot hold.

    Raises ValueError for a spike that raises the potential, and for a state after a spike or at the
    start that lies below the lower limit.
    """
    form = canonical_linear(**arguments)
    if form.soft and form.delta < 0:
        raise ValueError("a spike raises the potential, the array can only subtract: train with a "
                         "reset that lowers it")
    after = form.theta - form.delta if form.soft else form.reset
    for what, w in (("after a spike", after), ("at the start", form.initial)):
        if w < form.lo:
            raise ValueError(f"the potential {what} lies below its lower limit, where the array "
                             "cannot hold it: train with a lower limit, or a reset, that allows it")
    return form


def mapped(form: Canonical, text: str, threshold: Value, surrogate: tuple[str, float] | None,
           **fields: Any) -> MappedNeuron:
    """A mapped neuron with its surrogate, (name, window).

    None: no surrogate of ours has that shape. It becomes the rectangle whose half-width is half of
    the way from the reset potential, or 0, to the threshold.
    """
    if surrogate is None or not 0 < surrogate[1] < float("inf"):
        way = each(lambda th, r: abs(th - r) / 2, threshold, form.center)
        surrogate = "rectangular", lowest(way)
    return MappedNeuron(form=form, text=text, surrogate=surrogate[0], window=surrogate[1], **fields)


def integrator(form: Canonical, text: str) -> MappedNeuron:
    """A leaky integrator without spikes: a soft reset that subtracts nothing."""
    return MappedNeuron(form=replace(form, delta=0.0), text=text, spiking=False)


# The spike function -------------------------------------------------------------------------------


def fires_above(function: Callable[[Tensor], Tensor], what: str) -> bool:
    """Whether a spike function of v - threshold fires above 0 only; False: at 0, too.

    The function is tried on values around 0. Raises ValueError, naming it as `what`, unless it
    answers 0 below and 1 above, and the same every time.
    """
    x = torch.tensor([-2.0 ** 20, -3, -1, -2.0 ** -30, 0, 2.0 ** -30, 1, 3, 2.0 ** 20])
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            s = function(x.repeat(16, 1))
        except Exception as error:
            raise ValueError(f"{what} fails on potentials around the threshold "
                             f"({type(error).__name__}): train with one that is a step") from None
    first = s[0].tolist() if isinstance(s, Tensor) and s.shape == (16, 9) else []
    if first not in ([0, 0, 0, 0, at, 1, 1, 1, 1] for at in (0, 1)) or (s != s[0]).any():
        raise ValueError(f"{what} is no step from 0 to 1 at the threshold: the array's spikes are "
                         "0 or 1; train with such a spike function")
    return first[4] == 0


# Starting states ----------------------------------------------------------------------------------


def check_start(name: str, state: Any, start: Any) -> None:
    """Raise ValueError unless a state passed by hand is the one in which the neuron starts."""
    if state is None or (isinstance(state, Tensor) and state.numel() == 0):
        return
    if not isinstance(state, Tensor):
        state = torch.as_tensor(state)
    if (state.detach() != torch.as_tensor(start, device=state.device)).any():
        raise ValueError(f"{name} starts at {in_words(state.detach().double().flatten())}: the "
                         f"array starts every neuron alike; start it at {number(start)}")
