"""Norse's neurons, as of 1.1.0: what each computes, and which the array runs.

All fire where v > v_th, whatever the method of the surrogate, and a spike takes effect at once:
v = v_reset, or v - v_th with `reset_subtract` (LIFBox alone). With k = dt tau_mem_inv:

| neuron | one time step | starts at |
|---|---|---|
| `LIFBoxCell` | v = v + k (v_leak - v + I) | v_leak |
| `LIFCell`, `LIF` | i = i + I, v = v + k (v_leak - v + i), i = i (1 - dt tau_syn_inv) | v_leak, 0 |
| `IAFCell`, `IAF` | v = v + I | v_reset |
| `LIBoxCell`; `LICell`, `LI` | v of `LIFBoxCell`; of `LIFCell`; v is the answer | v_leak, 0 |

With dt tau_syn_inv = 1 the current i is gone after its step, and `LIFCell` is `LIFBoxCell`. A Cell
runs one step a call, the others all of them, [T, N, ...].
"""

from typing import Any

from torch import nn

from quadfire.models.frontends.mapped import MappedNeuron
from quadfire.models.frontends.neurons.common import (
    CallForm,
    check_start,
    check_unchanged,
    integrator,
    library_class,
    linear,
    mapped,
    number,
    one,
    values,
)

__all__ = ["call_form", "check_states", "is_neuron", "read", "reset_state"]

Shape = tuple[int, ...] | None
PACKAGE = "norse.torch.module"

#: Modules of the package that are no neurons.
_OTHERS = {"LConv2d", "ExpFilter", "Lift", "SequentialState", "RecurrentSequential",
           "RegularizationCell", "SpikesToTimesDecoder", "SpatialReceptiveField2d",
           "SampledSpatialReceptiveField2d", "ParameterizedSpatialReceptiveField2d",
           "TemporalReceptiveField", "ConstantCurrentLIFEncoder", "PoissonEncoder",
           "PoissonEncoderStep", "PopulationEncoder", "SignedPoissonEncoder",
           "SignedPoissonEncoderStep", "SpikeLatencyLIFEncoder", "SpikeLatencyEncoder"}

#: The step that a neuron which can be read takes: function, and whether it has a synaptic current.
_STEPS = {"LIFBoxCell": ("lif_box_feed_forward_step", False),
          "LIFCell": ("lif_feed_forward_step", True), "LIF": ("lif_feed_forward_step", True),
          "IAFCell": ("iaf_feed_forward_step", False), "IAF": ("iaf_feed_forward_step", False),
          "LIBoxCell": ("li_box_feed_forward_step", False),
          "LICell": ("li_feed_forward_step", True), "LI": ("li_feed_forward_step", True)}

#: Why the array cannot run the others, by a part of their names.
_REFUSED = (
    ("Recurrent", "it has recurrent weights: recurrent networks cannot be imported; train with "
                  "LIFBoxCell"),
    ("LILinear", "it holds weights of its own: train with Linear and LIBoxCell"),
    ("Refrac", "it has a refractory period beside its potential, the array one state a neuron: "
               "train with LIFBoxCell"),
    ("LSNN", "its threshold adapts, a second state; the array has one a neuron: train with "
             "LIFBoxCell"),
    ("AdEx", "it has an adaptation current and an exponential, the array one state a neuron: train "
             "with LIFBoxCell"),
    ("Ex", "its exponential has no canonical form, the array's neuron is quadratic or linear: "
           "train with LIFBoxCell"),
    ("Izhikevich", "it has a recovery variable beside its potential, the array one state a neuron: "
                   "train with LIFBoxCell"),
    ("", "it is no neuron of one state: train with LIFBoxCell"),
)

_METHODS = ("heaviside", "super", "triangle", "tanh", "circ", "heavi_erfc")


def is_neuron(module: nn.Module) -> bool:
    """Whether the module is a neuron of Norse, one that can be read or not."""
    base = library_class(module, PACKAGE)
    return base is not None and base.__name__ not in _OTHERS


def read(module: nn.Module, shape: Shape = None) -> MappedNeuron:
    """The neuron as the array runs it. shape: of one sample of its input, [C, ...].

    Raises ValueError for a neuron, or an attribute of it, that the array cannot honour.
    """
    base = library_class(module, PACKAGE)
    assert base is not None, "not a neuron of Norse"
    name = base.__name__
    if name not in _STEPS:
        raise ValueError(f"{name}: {next(why for part, why in _REFUSED if part in name)}")
    check_unchanged(module, base)
    step, synapse = _STEPS[name]
    has = getattr(module.activation, "__name__", "")
    if has != step or not module.activation.__module__.startswith("norse."):
        raise ValueError(f"{name} has the step {has or module.activation}, not Norse's {step}: it "
                         "cannot be read; use the library's")
    if synapse:
        _check_synapse(module, name, shape)
    if name.startswith("IAF"):
        return _iaf(module, name, shape)
    return _leaky(module, name, shape, spiking=not name.startswith("LI") or name.startswith("LIF"))


def call_form(module: nn.Module) -> CallForm:
    """How the neuron's module is called."""
    name = getattr(library_class(module, PACKAGE), "__name__", "")
    steps = "step" if "Cell" in name else "sequence"
    return CallForm(time=steps, layout="N" if steps == "step" else "TN", states=True,
                    returns="membrane" if name in ("LI", "LICell", "LIBoxCell") else "spikes",
                    membrane=1)


def check_states(module: Any, *states: Any) -> None:
    """Raise ValueError unless a state passed to the first call is the start of `initial_state`."""
    name = type(module).__name__
    for state in states:
        if state is not None:
            check_start(name, state.v, module.p.v_reset if "IAF" in name else module.p.v_leak)
            check_start(name, getattr(state, "i", None), 0.0)


def reset_state(module: nn.Module) -> None:
    """Nothing: these modules keep no state."""


def _check_synapse(module: Any, name: str, shape: Shape) -> None:
    """Raise ValueError unless the synaptic current is gone after one time step."""
    step = one("dt tau_syn_inv", values("dt tau_syn_inv", module.dt * module.p.tau_syn_inv, shape))
    if abs(step - 1) > 1e-6:
        box = "LIBoxCell" if name.startswith("LI") and not name.startswith("LIF") else "LIFBoxCell"
        raise ValueError(f"{name} has a synaptic current (dt tau_syn_inv = {step:g}), the array "
                         f"one state a neuron: train with {box}, or tau_syn_inv = 1/dt")


def _fires(module: Any, name: str) -> tuple[str, float] | None:
    """The surrogate, (name, window). Raises ValueError for a method that draws its spikes."""
    if module.p.method not in _METHODS:
        raise ValueError(f"{name} has method={module.p.method!r}: train with one of "
                         f"{', '.join(_METHODS)}")
    return ("triangular", 0.75) if module.p.method == "triangle" else None


def _iaf(module: Any, name: str, shape: Shape) -> MappedNeuron:
    threshold, reset = (values(key, getattr(module.p, key), shape) for key in ("v_th", "v_reset"))
    form = linear(decay=1.0, threshold=threshold, reset=reset, initial=reset, strict=True)
    return mapped(form, f"{name}(v_th={number(threshold)}), reset to {number(reset)}", threshold,
                  _fires(module, name))


def _leaky(module: Any, name: str, shape: Shape, *, spiking: bool) -> MappedNeuron:
    p = module.p
    k = one("dt tau_mem_inv", values("dt tau_mem_inv", module.dt * p.tau_mem_inv, shape))
    leak = values("v_leak", p.v_leak, shape)
    offset = tuple(k * v for v in leak) if isinstance(leak, tuple) else k * leak
    arguments = {"decay": 1 - k, "gain": k, "offset": offset, "initial": leak}
    text = f"{name}(dt tau_mem_inv={number(k)}, v_leak={number(leak)}"
    if not spiking:
        return integrator(linear(threshold=1.0, **arguments), f"{text}), no spikes")
    threshold = values("v_th", p.v_th, shape)
    reset = None if _subtracts(module, name) else values("v_reset", p.v_reset, shape)
    form = linear(threshold=threshold, reset=reset, strict=True, **arguments)
    kind = "subtract" if reset is None else f"reset to {number(reset)}"
    return mapped(form, f"{text}, v_th={number(threshold)}), {kind}", threshold,
                  _fires(module, name))


def _subtracts(module: Any, name: str) -> bool:
    """Whether a spike subtracts v_th. Raises ValueError for a reset method of the user's own."""
    method = getattr(module.p, "reset_method", None)
    if method is None:
        return False
    known = {"reset_value": False, "reset_subtract": True}
    if getattr(method, "__module__", "") != "norse.torch.functional.reset":
        raise ValueError(f"{name} has a reset_method of its own: use reset_value or reset_subtract")
    return known[method.__name__]
