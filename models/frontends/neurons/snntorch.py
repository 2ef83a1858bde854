"""snnTorch's neurons, as of 1.0.0: what each computes, and which the array runs.

With s the spike of the last time step, all of them fire where mem > threshold (by the spike
function given as `spike_grad`, which is asked), and start at mem = 0:

| neuron | one time step |
|---|---|
| `Leaky` | mem = beta mem + I - s threshold; zero: beta (1 - s) mem + I. beta is clamped to 0..1 |
| `RLeaky` | the same + V s; zero: all of it (1 - s) |
| `Lapicque` | mem = (1 - dt/RC) mem + dt/C I - s threshold; zero: all of it (1 - s) |
| `Synaptic` | syn = alpha syn + I, mem = beta mem + syn - s threshold; zero: all of it (1 - s) |
| `LeakyParallel` | mem = relu(w_hh mem + w_ih I + b), no reset |

The reset of a spike is taken in the next time step, in the array at once: subtracting threshold
after the leak is subtracting threshold / beta before it. With `reset_delay=False` it is taken at
once here, too, but again in the next step if mem is still above the threshold.

Before 0.8 the same names meant other things (subtract was beta (mem - s threshold), zero lost the
input), and no state dict says which; what is read here is the module itself.
"""

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons.common import (
    CallForm,
    check_start,
    check_unchanged,
    each,
    fires_above,
    library_class,
    linear,
    lowest,
    mapped,
    number,
    one,
    values,
)
from quadfire.models.neurons.canonical import Canonical, Value

__all__ = ["call_form", "check_states", "is_neuron", "read", "reset_state"]

Shape = tuple[int, ...] | None

#: Neurons of the library that the array cannot run: why not, and what to do.
_REFUSED = {
    "RSynaptic": "it has a synaptic current beside its potential, the array one state a neuron: "
                 "train with Leaky",
    "Alpha": "it has two synaptic currents beside its potential, the array one state a neuron: "
             "train with Leaky",
    "SLSTM": "it is an LSTM, not a neuron of one state: train with Leaky",
    "SConv2dLSTM": "it is an LSTM, not a neuron of one state: train with Leaky",
    "DeltaLeaky": "it fires at changes of its potential, which are a second state: train with "
                  "Leaky",
    "StateLeaky": "it answers with potentials of all time steps at once and never resets: train "
                  "with Leaky",
    "LinearLeaky": "it answers with potentials of all time steps at once and never resets: train "
                   "with Linear and Leaky",
    "AssociativeLeaky": "it has a matrix as its state, the array one number a neuron: train with "
                        "Leaky",
}


def is_neuron(module: nn.Module) -> bool:
    """Whether the module is a neuron of snnTorch, one that can be read or not."""
    base = library_class(module, "snntorch._neurons")
    return base is not None and base.__name__ != "RecurrentOneToOne"


def read(module: nn.Module, shape: Shape = None) -> MappedNeuron:
    """The neuron as the array runs it. shape: of one sample of its input, [C, ...].

    Raises ValueError for a neuron, or an attribute of it, that the array cannot honour.
    """
    base = library_class(module, "snntorch._neurons")
    assert base is not None, "not a neuron of snnTorch"
    if base.__name__ in _REFUSED:
        raise ValueError(f"{base.__name__}: {_REFUSED[base.__name__]}")
    if base.__name__ not in _READERS:
        raise ValueError(f"{base.__name__} is no neuron that can be imported: train with Leaky")
    _check_version(base)
    check_unchanged(module, base)
    return _READERS[base.__name__](module, shape)


def call_form(module: nn.Module) -> CallForm:
    """How the neuron's module is called."""
    name = getattr(library_class(module, "snntorch._neurons"), "__name__", "")
    if name == "LeakyParallel":
        return CallForm(time="sequence", layout="TN")
    alone = getattr(module, "init_hidden", False) and not getattr(module, "output", False)
    membrane = {"Leaky": 1, "Lapicque": 1, "RLeaky": 1, "Synaptic": 2}.get(name, 1)
    return CallForm(time="step", layout="N", states=not alone, membrane=None if alone else membrane)


def check_states(module: nn.Module, *states: Any) -> None:
    """Raise ValueError unless states passed to the first call are the start: all of them 0."""
    for state in states:
        check_start(type(module).__name__, state, 0.0)


def reset_state(module: Any) -> None:
    """Forget what earlier calls left in the neuron's module."""
    if hasattr(module, "reset_mem"):
        module.reset_mem()


# What all neurons have ----------------------------------------------------------------------------


def _check_version(base: type) -> None:
    """Raise ValueError for a version in which the same names meant something else."""
    package = sys.modules[base.__module__.split(".")[0]]
    version = str(getattr(package, "__version__", ""))
    found = re.match(r"(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) < (0, 8):
        raise ValueError(f"{base.__name__} of snnTorch {version}: before 0.8 it reset otherwise; "
                         "load the weights into the module of a newer snnTorch and see that it "
                         "still works")


def _common(module: Any, shape: Shape) -> tuple[Value, bool, dict[str, Any]]:
    """(threshold, whether it fires above it only, further fields of the mapped neuron)."""
    name = type(module).__name__
    if getattr(module, "inhibition", False):
        raise ValueError(f"{name} has inhibition=True, one spike in a layer at most: train without")
    if getattr(module, "state_quant", False):
        raise ValueError(f"{name} has state_quant, a rounding that the array's is not: train "
                         "without, the array's own is tried by calibration")
    threshold = values("threshold", module.threshold, shape)
    if lowest(threshold) <= 0:
        raise ValueError(f"{name} has threshold {number(threshold)}: it must be above 0, where mem "
                         "starts")
    factor = values("graded_spikes_factor", module.graded_spikes_factor, shape)
    if 0.0 in (factor if isinstance(factor, tuple) else (factor,)):
        raise ValueError(f"{name} has graded_spikes_factor 0: its spikes say nothing")
    return threshold, fires_above(module.spike_grad, f"{name}'s spike_grad"), {
        "spike_value": factor, "surrogate": _surrogate(module.spike_grad)}


def _surrogate(function: Any) -> tuple[str, float] | None:
    """(surrogate, window) of a function of snntorch.surrogate; None: none of ours is like it."""
    if inspect.isfunction(function) and function.__module__ == "snntorch.surrogate":
        inside = inspect.getclosurevars(function).nonlocals
        if function.__qualname__.startswith("atan."):
            return "arctan", 2 / inside["alpha"]
        if function.__qualname__.startswith("sigmoid."):
            return "sigmoid", 3 / inside["slope"]
    if getattr(getattr(function, "__self__", None), "__qualname__", "") == "LeakyParallel.ATan":
        return "arctan", 1.0
    return None


def _reset(module: Any) -> str:
    """ "subtract", "zero" or "none". Raises ValueError where the module's two notes of it differ.

    The update is chosen when the module is made, a state dict or an assignment changes the other.
    """
    kinds = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}
    function = getattr(module.state_function, "__func__", None)
    made = kinds.get(getattr(function, "__name__", ""), "")
    if function is not getattr(type(module), getattr(function, "__name__", ""), None) or not made:
        raise ValueError(f"{type(module).__name__} has a state_function of its own: use one of the "
                         "library's reset mechanisms")
    now = ("subtract", "zero", "none")[int(module.reset_mechanism_val)]
    if made != now:
        raise ValueError(f"{type(module).__name__} was made with reset_mechanism {made!r} and now "
                         f"says {now!r}: make it with the one it was trained with")
    return made


def _recurrent(module: Any, *, decay: Value, threshold: Value, strict: bool, feedback: Value = 0.0,
               gain: Value = 1.0, keeps_input: bool, delayed: bool, reset: str) -> tuple[
                   Canonical, str, float | None]:
    """(form, condition, membrane_delta) of mem = decay mem + gain I + feedback s, with a reset.

    keeps_input: zero clears the potential before the input is added, not after. A spike changes
    the potential now by `now`, and in the next step by `later`; the array does both now.
    """
    name, x = type(module).__name__, one("beta", decay)
    zero, subtract = reset == "zero", reset == "subtract"
    if zero and delayed and not keeps_input:
        raise ValueError(f"{name} with reset_mechanism='zero' loses the input of the step after a "
                         "spike, the array does not: train with 'subtract' or with Leaky")
    later: Value = feedback
    if subtract and delayed:
        later = each(lambda v, th: v - th, feedback, threshold)
    some = any(later) if isinstance(later, tuple) else bool(later)
    if some and x == 0:
        raise ValueError(f"{name} has a decay of 0, and a spike changes the step after it: the "
                         "array holds that change in the potential, which it forgets; train with "
                         "a decay above 0, or reset_delay=False")
    kept: Value = each(lambda v: v / x, later) if some else 0.0
    arguments = {"decay": x, "threshold": threshold, "gain": gain, "strict": strict}
    if zero:
        form = linear(**arguments, reset=kept)
        return form, "", None if delayed else _unit(form.scale, each(lambda r: -r, kept))
    now: Value = threshold if subtract and not delayed else 0.0
    form = linear(**arguments, delta=each(lambda th, v: th - v, now, kept))
    taken = _unit(form.scale, now)
    high = f"v {'<=' if strict else '<'} 2 threshold"
    return (form, high if subtract and not delayed else "",
            None if taken is None else form.delta - taken)


def _unit(scale: Value, value: Value) -> float | None:
    """`value` in units of w; None where it differs between channels."""
    product = each(lambda k, u: k * u, scale, value)
    if not isinstance(product, tuple):
        return product
    return product[0] if max(product) - min(product) <= 1e-9 * max(map(abs, product)) else None


# The neurons --------------------------------------------------------------------------------------


def _leaky(module: Any, shape: Shape) -> MappedNeuron:
    threshold, strict, fields = _common(module, shape)
    beta = each(lambda b: min(max(b, 0.0), 1.0), values("beta", module.beta, shape))
    reset, delayed = _reset(module), bool(module.reset_delay)
    form, condition, shift = _recurrent(module, decay=beta, threshold=threshold, strict=strict,
                                        keeps_input=True, delayed=delayed, reset=reset)
    return mapped(form, f"Leaky(beta={number(beta)}, threshold={number(threshold)}), "
                  f"{_kind(reset, delayed)}", threshold, condition=condition,
                  membrane_delta=shift, **fields)


def _rleaky(module: Any, shape: Shape) -> MappedNeuron:
    if module.all_to_all or type(module.recurrent).__name__ != "RecurrentOneToOne":
        raise ValueError("RLeaky has recurrent weights (all_to_all=True): recurrent networks "
                         "cannot be imported; train with Leaky, or all_to_all=False")
    threshold, strict, fields = _common(module, shape)
    beta = each(lambda b: min(max(b, 0.0), 1.0), values("beta", module.beta, shape))
    v = values("V", module.recurrent.V, shape)
    reset, delayed = _reset(module), bool(module.reset_delay)
    feedback = each(lambda a, b: a * b, v, fields["spike_value"])
    form, condition, shift = _recurrent(module, decay=beta, threshold=threshold, strict=strict,
                                        feedback=feedback, keeps_input=False, delayed=delayed,
                                        reset=reset)
    return mapped(form, f"RLeaky(beta={number(beta)}, V={number(v)}, threshold="
                  f"{number(threshold)}), {_kind(reset, delayed)}", threshold, condition=condition,
                  membrane_delta=shift, **fields)


def _lapicque(module: Any, shape: Shape) -> MappedNeuron:
    threshold, strict, fields = _common(module, shape)
    r, c, dt = (values(name, getattr(module, name), shape) for name in ("R", "C", "time_step"))
    decay = each(lambda r, c, dt: 1 - dt / (r * c), r, c, dt)
    reset = _reset(module)
    form, condition, shift = _recurrent(module, decay=decay, threshold=threshold, strict=strict,
                                        gain=each(lambda c, dt: dt / c, c, dt), keeps_input=False,
                                        delayed=True, reset=reset)
    return mapped(form, f"Lapicque(R={number(r)}, C={number(c)}, time_step={number(dt)}: decay="
                  f"{number(decay)}, threshold={number(threshold)}), {_kind(reset, True)}",
                  threshold, condition=condition, membrane_delta=shift, **fields)


def _synaptic(module: Any, shape: Shape) -> MappedNeuron:
    alpha = each(lambda a: min(max(a, 0.0), 1.0), values("alpha", module.alpha, shape))
    if alpha != 0.0:
        raise ValueError(f"Synaptic has a synaptic current (alpha = {number(alpha)}), the array "
                         "one state a neuron: train with Leaky, or alpha = 0")
    threshold, strict, fields = _common(module, shape)
    beta = each(lambda b: min(max(b, 0.0), 1.0), values("beta", module.beta, shape))
    reset, delayed = _reset(module), bool(module.reset_delay)
    form, condition, shift = _recurrent(module, decay=beta, threshold=threshold, strict=strict,
                                        keeps_input=False, delayed=delayed, reset=reset)
    return mapped(form, f"Synaptic(alpha=0, beta={number(beta)}, threshold={number(threshold)}), "
                  f"{_kind(reset, delayed)}", threshold, condition=condition,
                  membrane_delta=shift, **fields)


def _parallel(module: Any, shape: Shape) -> MappedNeuron:
    """The weights of the module's `rnn` are a linear layer before its neurons."""
    rnn = module.rnn
    shape = None if shape is None else (rnn.hidden_size,)
    across = rnn.weight_hh_l0.detach().clone()
    across.fill_diagonal_(0)
    if across.any():
        raise ValueError("LeakyParallel has recurrent weights (weight_hh_enable=True): recurrent "
                         "networks cannot be imported; train with the default, False")
    if rnn.nonlinearity != "relu" or rnn.num_layers != 1 or rnn.bidirectional or rnn.batch_first:
        raise ValueError("LeakyParallel has an rnn that is not the library's own")
    threshold, strict, fields = _common(module, shape)
    beta = values("beta, the diagonal of rnn.weight_hh_l0,", rnn.weight_hh_l0.diagonal(), shape)
    form = linear(decay=one("beta", beta), threshold=threshold, delta=0.0, low=0.0, strict=strict)
    return mapped(form, f"LeakyParallel(beta={number(beta)}, threshold={number(threshold)}), no "
                  "reset, mem >= 0", threshold, before=_before(rnn), **fields)


def _before(rnn: Any) -> nn.Linear:
    """The layer from the input to the neurons, with both biases of the library's."""
    layer = nn.Linear(rnn.input_size, rnn.hidden_size, bias=bool(rnn.bias), device="meta")
    layer.weight = nn.Parameter(rnn.weight_ih_l0.detach().clone(), requires_grad=False)
    if rnn.bias:
        layer.bias = nn.Parameter((rnn.bias_ih_l0 + rnn.bias_hh_l0).detach(), requires_grad=False)
    return layer


def _kind(reset: str, delayed: bool) -> str:
    """The reset, for people."""
    return "no reset" if reset == "none" else f"{reset}, {'delayed' if delayed else 'at once'}"


_READERS: dict[str, Callable[[Any, Shape], MappedNeuron]] = {
    "Leaky": _leaky, "RLeaky": _rleaky, "Lapicque": _lapicque, "Synaptic": _synaptic,
    "LeakyParallel": _parallel}
