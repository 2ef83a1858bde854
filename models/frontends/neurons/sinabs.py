"""Sinabs' neurons, as of 3.1.3: what each computes, and which the array runs.

All start at v = 0 and fire where v >= spike_threshold. With a = exp(-1 / tau_mem), or alpha_mem
where that is learnt, and g = 1 - a with norm_input, else 1:

| neuron | one time step |
|---|---|
| `LIF` | v = a v + g I |
| `IAF` | v = v + I |
| `ExpLeak` | that of `LIF`; v is the answer |

| reset_fn | a spike leaves |
|---|---|
| `MembraneSubtract` | v - n threshold, or n subtract_value, n the spikes of this step |
| `MembraneReset` | reset_value; every other step leaves v + reset_value |

| spike_fn | n |
|---|---|
| `SingleSpike`, `MaxSpike(1)` | 0 or 1 |
| `MultiSpike`, `MaxSpike` | v / threshold, rounded to zero: 0 or 1 while v < 2 threshold |

Then v is at least min_v_mem; `ExpLeak` answers with v before that. Layers take [N, T, ...]; the
Squeeze ones both axes in one.
"""

from dataclasses import replace
from typing import Any

from torch import nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons.common import (
    CallForm,
    check_unchanged,
    each,
    integrator,
    library_class,
    linear,
    lowest,
    mapped,
    number,
    one,
    values,
)
from quadfire.models.neurons.canonical import Value

__all__ = ["call_form", "check_states", "is_neuron", "read", "reset_state"]

Shape = tuple[int, ...] | None

_KNOWN = {"LIF", "LIFSqueeze", "IAF", "IAFSqueeze", "ExpLeak", "ExpLeakSqueeze"}


def is_neuron(module: nn.Module) -> bool:
    """Whether the module is a neuron of Sinabs, one that can be read or not."""
    return any(cls.__module__ == "sinabs.layers.stateful_layer" for cls in type(module).__mro__)


def read(module: Any, shape: Shape = None) -> MappedNeuron:
    """The neuron as the array runs it. shape: of one sample of its input, [C, ...].

    Raises ValueError for a neuron, or an attribute of it, that the array cannot honour.
    """
    base = library_class(module, "sinabs.layers")
    assert base is not None, "not a neuron of Sinabs"
    name = base.__name__
    if "Recurrent" in name:
        raise ValueError(f"{name} has recurrent weights: recurrent networks cannot be imported; "
                         "train with LIF or IAF")
    if "ALIF" in name:
        raise ValueError(f"{name}: its threshold adapts, a second state; the array has one a "
                         "neuron: train with LIF")
    if name not in _KNOWN:
        raise ValueError(f"{name} is no neuron that can be imported: train with LIF or IAF")
    check_unchanged(module, base)
    if module.alpha_syn_calculated is not None:
        raise ValueError(f"{name} has a synaptic current (tau_syn = "
                         f"{number(module.tau_syn_calculated)}), the array one state a neuron: "
                         "train with tau_syn=None")
    decay = one("tau_mem", values("alpha_mem", module.alpha_mem_calculated, shape))
    arguments = {"decay": decay, "gain": 1 - decay if module.norm_input else 1.0,
                 "low": -float("inf") if module.min_v_mem is None
                 else values("min_v_mem", module.min_v_mem, shape)}
    text = f"{name}(alpha={number(decay)}, norm_input={bool(module.norm_input)}, "
    text += "" if module.min_v_mem is None else f"min_v_mem={number(arguments['low'])}, "
    if not module.spike_fn and module.min_v_mem is not None:
        raise ValueError(f"{name} answers with its potential before min_v_mem limits it, the array "
                         "with the limited one: train with min_v_mem=None")
    if not module.spike_fn:
        return integrator(linear(threshold=1.0, **arguments), f"{text.rstrip(', ')}), no spikes")
    return _spiking(module, name, text, arguments, shape)


def call_form(module: Any) -> CallForm:
    """How the neuron's module is called."""
    form = CallForm(time="sequence", layout="NT")
    if not module.spike_fn:
        form = replace(form, returns="membrane", membrane=0)
    if hasattr(module, "num_timesteps"):
        form = replace(form, layout="(NT)", batch_size=module.batch_size,
                       num_timesteps=module.num_timesteps)
    return form


def check_states(module: nn.Module, *states: Any) -> None:
    """Raise ValueError if states are passed: these neurons take none."""
    if states:
        raise ValueError(f"{type(module).__name__} takes its input alone, not {len(states)} more")


def reset_state(module: Any) -> None:
    """Forget what earlier calls left in the neuron's module."""
    module.reset_states()


def _spiking(module: Any, name: str, text: str, arguments: dict[str, Any],
             shape: Shape) -> MappedNeuron:
    threshold = values("spike_threshold", module.spike_threshold, shape)
    if lowest(threshold) <= 0:
        raise ValueError(f"{name} has spike_threshold {number(threshold)}: it must be above 0, "
                         "where v starts")
    several = _several(module.spike_fn, name)
    low = arguments.pop("low")
    kind, fields = _reset(module.reset_fn, name, threshold, low)
    form = linear(threshold=fields.pop("threshold"), **arguments, **fields)
    return mapped(form, f"{text}threshold={number(threshold)}), {kind}", threshold, None,
                  condition="v < 2 threshold" if several else "")


def _several(spike_fn: Any, name: str) -> bool:
    """Whether one step may have several spikes. Raises ValueError for an unknown spike function."""
    kind = spike_fn if isinstance(spike_fn, type) else type(spike_fn)
    if kind.__module__ == "sinabs.activation.spike_generation":
        if kind.__name__ == "MaxSpike":
            most = spike_fn.max_num_spikes_per_bin
            if most is None or most >= 1:
                return most != 1
            raise ValueError(f"{name} has MaxSpike({most}), which never fires: train with "
                             "SingleSpike")
        if kind.__name__ in ("SingleSpike", "MultiSpike"):
            return kind.__name__ == "MultiSpike"
    raise ValueError(f"{name} has the spike_fn {kind.__name__}, which cannot be read: train with "
                     "SingleSpike")


def _reset(reset_fn: Any, name: str, threshold: Value, low: Value) -> tuple[str, dict[str, Any]]:
    """(the reset for people, arguments of `linear`).

    The library limits v after the reset, the array before it; what a spike leaves is limited here.
    """
    kind = type(reset_fn)
    if kind.__module__ != "sinabs.activation.reset_mechanism" or kind.__name__ not in (
            "MembraneSubtract", "MembraneReset"):
        raise ValueError(f"{name} has the reset_fn {getattr(reset_fn, '__name__', kind.__name__)}, "
                         "which cannot be read: train with MembraneSubtract or MembraneReset")
    if kind.__name__ == "MembraneSubtract":
        amount = reset_fn.subtract_value
        delta = threshold if amount is None else values("subtract_value", amount, None)
        return ("subtract" if amount is None else f"subtract {number(delta)}",
                {"threshold": threshold, "delta": delta, "low": low})
    # v gains reset_value in every step. In terms of that v, it fires where v - reset_value, its
    # potential before the gain, reaches the threshold.
    value = values("reset_value", reset_fn.reset_value, None)
    after = each(max, value, low)
    return f"reset to {number(value)}", {
        "threshold": each(lambda th, r: th + r, threshold, value), "reset": after, "offset": value,
        "low": low}
