"""SpikingJelly's neurons, as of 2.0.0: what each computes, and which the array runs.

All fire where v >= v_threshold (by the surrogate function, which is asked), and a spike takes
effect at once: v = v_reset, or v - v_threshold with v_reset = None. They start at v_reset, or at 0.
With r = v_reset or 0:

| neuron | one time step |
|---|---|
| `IFNode` | v = v + I |
| `LIFNode` | v = v + (I - (v - r)) / tau; decay_input=False: v - (v - r) / tau + I |
| `ParametricLIFNode` | the same, 1 / tau = sigmoid(w) |
| `KLIFNode` | v = relu(k v'), v' that of `LIFNode`; scale_reset: a spike takes effect on v' |
| `QIFNode` | v = v + (I + a0 (v - v_rest)(v - v_c)) / tau |
| `IzhikevichNode` | the same, I - w for I; a = b = w_rest = 0 keeps w at 0 |
| `HalfThresholdIFNode` | `IFNode` with soft reset that starts at v_threshold / 2 |
| `ActivationAwareIFNode` | `IFNode` that fires where v + v_offset >= v_threshold |
| `SimpleIFNode`, `SimpleLIFNode` | `IFNode`, `LIFNode`, starting at 0 |
| `NonSpikingIFNode`, `NonSpikingLIFNode` | v = v + I, v + (I - v) / tau; v is the answer |

Whether a module runs one step a call or all of them (`step_mode`), on which backend, and what it
stores (`store_v_seq`), changes no spike.
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons.common import (
    CallForm,
    check_unchanged,
    each,
    fires_above,
    integrator,
    library_class,
    linear,
    mapped,
    number,
    one,
    values,
)
from quadfire.models.neurons.canonical import Canonical, Value, canonical_euler

__all__ = ["call_form", "check_states", "is_neuron", "read", "reset_state"]

Shape = tuple[int, ...] | None
PACKAGE = "spikingjelly.activation_based.neuron"

_SECOND = "it has a second state beside v, the array one state a neuron: train with LIFNode"
_TIME = "it mixes all time steps, the array goes through them one by one: train with LIFNode"
_VALUES = "its spikes carry values, the array's are 0 or 1: train with LIFNode"
_NEGATIVE = "it has negative spikes, the array's are 0 or 1: train with LIFNode"
_NOISE = "it draws noise in every time step, the array does not: train with LIFNode"

#: Neurons of the library that the array cannot run: why not, and what to do.
_REFUSED = {
    "GatedLIFNode": "its potential after a spike is a share of v minus a number, the array can do "
                    "one of the two: train with LIFNode",
    "CUBALIFNode": _SECOND, "ComplementaryLIFNode": _SECOND, "RAFNode": _SECOND,
    "EIFNode": "its exponential has no canonical form, the array's neuron is quadratic or linear: "
               "train with QIFNode",
    "FlexSN": "its step is a function of the user's own, which cannot be read: train with IFNode, "
              "LIFNode or QIFNode",
    "PSN": _TIME, "MaskedPSN": _TIME, "SlidingPSN": _TIME,
    "ILIFNode": _VALUES, "LIAFNode": _VALUES, "FewSpikeNode": _VALUES, "HGNode": _VALUES,
    "OutlierAwareThresholdNode": _VALUES,
    "DSRIFNode": _VALUES, "DSRLIFNode": _VALUES,
    "TernaryIFNode": _NEGATIVE, "TernaryLIFNode": _NEGATIVE, "STBIFNode": _NEGATIVE,
    "MPBNBaseNode": "it normalises v in every time step: train with BatchNorm before LIFNode",
    "MPBNLIFNode": "it normalises v in every time step: train with BatchNorm before LIFNode",
    "OTTTLIFNode": "it answers with traces while it trains: load its weights into a LIFNode",
    "SLTTLIFNode": "it is made for training step by step: load its weights into a LIFNode",
    "ILCIFNode": _SECOND, "ILCLIFNode": _SECOND, "ILCCUBALIFNode": _SECOND,
    "NoisyCUBALIFNode": _NOISE, "NoisyILCCUBALIFNode": _NOISE, "NoisyNonSpikingIFNode": _NOISE,
}


def is_neuron(module: nn.Module) -> bool:
    """Whether the module is a neuron of SpikingJelly, one that can be read or not."""
    return library_class(module, PACKAGE) is not None


def read(module: nn.Module, shape: Shape = None) -> MappedNeuron:
    """The neuron as the array runs it. shape: of one sample of its input, [C, ...].

    Raises ValueError for a neuron, or an attribute of it, that the array cannot honour.
    """
    base = library_class(module, PACKAGE)
    assert base is not None, "not a neuron of SpikingJelly"
    if base.__name__ in _REFUSED:
        raise ValueError(f"{base.__name__}: {_REFUSED[base.__name__]}")
    if base.__name__ not in _READERS:
        raise ValueError(f"{type(module).__name__} is a {base.__name__} whose equation is its own "
                         "and cannot be read: use IFNode, LIFNode or QIFNode, or a neuron of "
                         "quadfire.models.neurons")
    check_unchanged(module, base)
    return _READERS[base.__name__](module, shape)


def call_form(module: nn.Module) -> CallForm:
    """How the neuron's module is called: its step_mode as it stands."""
    if getattr(library_class(module, PACKAGE), "__name__", "").startswith("NonSpiking"):
        decoded = {"max-mem": "max", "max-abs-mem": "max-abs", "mean-mem": "mean",
                   "last_mem": "last"}.get(getattr(module, "decode", None) or "")
        return CallForm(time="sequence", layout="TN", returns="membrane", membrane=0,
                        decoded=decoded)
    if getattr(module, "step_mode", "m") == "m":
        return CallForm(time="sequence", layout="TN")
    return CallForm(time="step", layout="N")


def check_states(module: nn.Module, *states: Any) -> None:
    """Raise ValueError if states are passed: these neurons take none."""
    if states:
        raise ValueError(f"{type(module).__name__} takes its input alone, not {len(states)} more")


def reset_state(module: Any) -> None:
    """Forget what earlier calls left in the neuron's module."""
    if hasattr(module, "reset"):
        module.reset()


# What all neurons have ----------------------------------------------------------------------------


def _common(module: Any, shape: Shape) -> tuple[Value, float | None, float, bool]:
    """(threshold, reset or None, start, whether it fires above the threshold only)."""
    name = type(module).__name__
    if getattr(module, "_neuron_precision", None) is not None:
        raise ValueError(f"{name} keeps v in {module._neuron_precision[0]}, whose rounding the "
                         "array's is not: train without a neuron precision")
    threshold = values("v_threshold", module.v_threshold, shape)
    reset = module.v_reset
    if reset is not None:
        reset = one("v_reset", values("v_reset", reset, shape))
    start = one("the start of v", values("the start of v", module._memories_rv["v"], shape))
    return threshold, reset, start, fires_above(module.surrogate_function,
                                                f"{name}'s surrogate_function")


def _surrogate(function: Any) -> tuple[str, float] | None:
    """(surrogate, window) of spikingjelly's surrogate function; None: none of ours is like it."""
    if not type(function).__module__.startswith("spikingjelly."):
        return None
    name, alpha = type(function).__name__, getattr(function, "alpha", None)
    factor = {"Sigmoid": 3.0, "ATan": 2.0, "Rect": 0.5, "PiecewiseQuadratic": 0.75}.get(name)
    if factor is None or not isinstance(alpha, (int, float)) or not alpha > 0:
        return None
    ours = {"Sigmoid": "sigmoid", "ATan": "arctan", "Rect": "rectangular"}.get(name, "triangular")
    return ours, factor / alpha


def _mapped(module: Any, form: Canonical, text: str, threshold: Value, reset: float | None,
            unit: float = 1.0) -> MappedNeuron:
    """unit: of what the surrogate function gets, in units of u."""
    name, surrogate = type(module).__name__, _surrogate(module.surrogate_function)
    kind = "subtract" if reset is None else f"reset to {number(reset)}"
    return mapped(form, f"{name}({text}v_threshold={number(module.v_threshold)}), {kind}",
                  threshold, surrogate and (surrogate[0], surrogate[1] * unit))


# The neurons --------------------------------------------------------------------------------------


def _if(module: Any, shape: Shape) -> MappedNeuron:
    threshold, reset, start, strict = _common(module, shape)
    form = linear(decay=1.0, threshold=threshold, reset=reset, initial=start, strict=strict)
    return _mapped(module, form, "", threshold, reset)


def _activation_aware(module: Any, shape: Shape) -> MappedNeuron:
    if shape is not None and len(shape) > 1 and module.v_threshold.dim() + module.v_offset.dim():
        # A vector is laid along channel_dim, not along the last axis as in broadcasting.
        place = module.channel_dim
        if (place if place < 0 else place - 1 - len(shape)) != -len(shape):
            raise ValueError(f"ActivationAwareIFNode has channel_dim={place}, which is not the "
                             "axis of channels: use -3 for maps [N, C, H, W]")
    threshold, offset = (values(name, getattr(module, name), None)
                         for name in ("v_threshold", "v_offset"))
    reset = module.v_reset
    start = one("the start of v", values("the start of v", module._memories_rv["v"], None))
    strict = fires_above(module.surrogate_function, "ActivationAwareIFNode's surrogate_function")
    form = linear(decay=1.0, threshold=each(lambda th, o: th - o, threshold, offset), reset=reset,
                  delta=threshold, initial=start, strict=strict)
    return _mapped(module, form, f"v_offset={number(offset)}, ", threshold, reset)


def _lif(module: Any, shape: Shape) -> MappedNeuron:
    threshold, reset, start, strict = _common(module, shape)
    tau = one("tau", values("tau", module.tau, shape))
    form = linear(threshold=threshold, reset=reset, initial=start, strict=strict,
                  **_leak(1 / tau, module.decay_input, reset))
    return _mapped(module, form, _leak_text(tau, module.decay_input), threshold, reset)


def _plif(module: Any, shape: Shape) -> MappedNeuron:
    threshold, reset, start, strict = _common(module, shape)
    k = one("w", values("w", module.w.detach().double().sigmoid(), shape))
    form = linear(threshold=threshold, reset=reset, initial=start, strict=strict,
                  **_leak(k, module.decay_input, reset))
    return _mapped(module, form, _leak_text(1 / k, module.decay_input), threshold, reset)


def _klif(module: Any, shape: Shape) -> MappedNeuron:
    threshold, reset, start, strict = _common(module, shape)
    tau, k = (one(name, values(name, getattr(module, name), shape)) for name in ("tau", "k"))
    if not k > 0:
        raise ValueError(f"KLIFNode has k = {k:g}, which turns the potential over: train with a k "
                         "above 0")
    leak = _leak(1 / tau, module.decay_input, reset)
    if module.scale_reset:      # before k multiplies it, v is that of a LIFNode
        threshold = each(lambda th: th / k, threshold)
    else:
        leak = {name: k * value for name, value in leak.items()}
    form = linear(threshold=threshold, reset=reset, initial=start, low=0.0, strict=strict, **leak)
    text = f"k={number(k)}, scale_reset={bool(module.scale_reset)}, "
    return _mapped(module, form, text + _leak_text(tau, module.decay_input), threshold, reset,
                   1 / k if module.scale_reset else 1.0)


def _qif(module: Any, shape: Shape) -> MappedNeuron:
    threshold, reset, start, strict = _common(module, shape)
    names = ("tau", "a0", "v_rest", "v_c")
    found = {name: one(name, values(name, getattr(module, name), shape)) for name in names}
    form = canonical_euler(**found, v_threshold=one("v_threshold", threshold), v_reset=reset,
                           v_initial=start)
    if strict:
        raise ValueError(f"{type(module).__name__}'s surrogate_function fires above the threshold "
                         "only: use one of the library's")
    text = "".join(f"{name}={number(value)}, " for name, value in found.items())
    return _mapped(module, form, text, threshold, reset)


def _izhikevich(module: Any, shape: Shape) -> MappedNeuron:
    for name, value in (("a", module.a), ("b", module.b), ("w_rest", module._memories_rv["w"])):
        if value:
            raise ValueError(f"IzhikevichNode has a recovery current w ({name} = {number(value)}), "
                             "the array one state a neuron: train with QIFNode, or "
                             "a = b = w_rest = 0")
    return _qif(module, shape)


def _integrator(module: Any, shape: Shape) -> MappedNeuron:
    tau = one("tau", values("tau", module.tau, shape)) if hasattr(module, "tau") else None
    leak = {"decay": 1.0} if tau is None else _leak(1 / tau, True, None)
    text = "" if tau is None else f"tau={number(tau)}"
    return integrator(linear(threshold=1.0, **leak), f"{type(module).__name__}({text}), no spikes")


def _leak(k: float, decay_input: bool, reset: float | None) -> dict[str, float]:
    """decay, gain and offset of v + k (I - (v - r)), or of v - k (v - r) + I."""
    return {"decay": 1 - k, "gain": k if decay_input else 1.0, "offset": k * (reset or 0.0)}


def _leak_text(tau: float, decay_input: bool) -> str:
    return f"tau={number(tau)}, {'' if decay_input else 'decay_input=False, '}"


_READERS: dict[str, Callable[[Any, Shape], MappedNeuron]] = {
    "IFNode": _if, "HalfThresholdIFNode": _if, "SimpleIFNode": _if,
    "ActivationAwareIFNode": _activation_aware, "LIFNode": _lif, "SimpleLIFNode": _lif,
    "ParametricLIFNode": _plif, "KLIFNode": _klif, "QIFNode": _qif,
    "IzhikevichNode": _izhikevich, "NonSpikingIFNode": _integrator,
    "NonSpikingLIFNode": _integrator}
