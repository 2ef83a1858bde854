"""The neurons of the conformance table: those that must agree, and those that are refused.

Constants are dyadic, and so are threshold / beta and (threshold - V) / beta, so that float64 rounds
nowhere.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from quadfire.models.frontends.neurons import read

from tests.models.frontends.conformance import CHANNELS, Row

__all__ = ["REFUSED", "ROWS", "refusal"]

#: Thresholds, or what else a channel may have of its own: powers of two.
PER_CHANNEL = tuple(2.0 ** (i % 4 - 2) for i in range(CHANNELS))


def per_channel(factor: float = 1.0) -> torch.Tensor:
    """A value of each channel."""
    return factor * torch.tensor(PER_CHANNEL)


def refusal(row: Row) -> tuple[str, str, str]:
    """(library, neuron, what `read` says of it). Raises AssertionError where it is not refused."""
    module = row.make()
    try:
        neuron = read(module, (CHANNELS,))
    except ValueError as error:
        return row.library, type(module).__name__, str(error)
    raise AssertionError(f"{neuron.text} was not refused")


# snnTorch -----------------------------------------------------------------------------------------


def _snntorch(neuron: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import snntorch

        return getattr(snntorch, neuron)(*arguments, **options)
    return make


def _leaky_at() -> nn.Module:
    """A spike function of the user's own, which fires at the threshold."""
    return _snntorch("Leaky", 0.5, spike_grad=lambda x: (x >= 0).to(x))()


def _parallel() -> nn.Module:
    """Its linear layer passes the currents on."""
    module: Any = _snntorch("LeakyParallel", CHANNELS, CHANNELS, beta=0.75)()
    with torch.no_grad():
        module.rnn.weight_ih_l0.copy_(torch.eye(CHANNELS))
        module.rnn.bias_ih_l0.zero_()
        module.rnn.bias_hh_l0.zero_()
    return module


def _snn(make: Callable[[], nn.Module], top: float = 3.0, name: str = "") -> Row:
    return Row("snntorch", make, top, name)


_ONE: dict[str, Any] = {"V": 0.25, "all_to_all": False}

_SNNTORCH = [
    _snn(_snntorch("Leaky", 0.5)),
    _snn(_snntorch("Leaky", 0.75, threshold=0.75)),
    _snn(_snntorch("Leaky", 1.0, init_hidden=True), name="init_hidden"),
    _snn(_snntorch("Leaky", 1.5, learn_beta=True), name="beta clamped to 1"),
    _snn(_snntorch("Leaky", 0.5, threshold=64.0, learn_threshold=True)),
    _snn(_snntorch("Leaky", 0.5, threshold=2.0 ** -10)),
    _snn(_snntorch("Leaky", 0.5, threshold=per_channel()), name="a threshold a channel"),
    _snn(_snntorch("Leaky", 0.5, graded_spikes_factor=per_channel()), name="graded spikes"),
    _snn(_leaky_at, name="a spike function that fires at 0"),
    _snn(_snntorch("Leaky", 0.5, reset_delay=False), 2.0),
    _snn(_snntorch("Leaky", 0.0, reset_delay=False), 2.0),
    _snn(_snntorch("Leaky", 0.75, reset_mechanism="zero")),
    _snn(_snntorch("Leaky", 0.0, reset_mechanism="zero")),
    _snn(_snntorch("Leaky", 0.75, reset_mechanism="zero", reset_delay=False)),
    _snn(_snntorch("Leaky", 0.75, reset_mechanism="none")),
    _snn(_snntorch("Leaky", 0.75, reset_mechanism="none", reset_delay=False)),
    _snn(_parallel),
    _snn(_snntorch("RLeaky", 0.75, **_ONE)),
    _snn(_snntorch("RLeaky", 0.5, V=per_channel(0.5), threshold=per_channel(), all_to_all=False),
         name="V and a threshold a channel"),
    _snn(_snntorch("RLeaky", 0.5, reset_delay=False, **_ONE), 2.0),
    _snn(_snntorch("RLeaky", 0.5, reset_mechanism="zero", reset_delay=False, **_ONE)),
    _snn(_snntorch("RLeaky", 0.5, V=-0.25, all_to_all=False, reset_mechanism="none")),
    _snn(_snntorch("Lapicque", R=2, C=2, threshold=0.75)),
    _snn(_snntorch("Lapicque", R=2, C=2, reset_mechanism="none")),
    _snn(_snntorch("Synaptic", 0.0, 0.5)),
    _snn(_snntorch("Synaptic", 0.0, 0.5, reset_delay=False), 2.0),
    _snn(_snntorch("Synaptic", 0.0, 0.75, reset_mechanism="zero", reset_delay=False)),
    _snn(_snntorch("Synaptic", 0.0, 0.75, reset_mechanism="none")),
]

_SNNTORCH_REFUSED = [
    _snn(_snntorch("Leaky", 0.0)),
    _snn(_snntorch("Leaky", torch.linspace(0.82, 0.97, CHANNELS))),
    _snn(_snntorch("Leaky", 0.5, threshold=-1.0)),
    _snn(_snntorch("Leaky", 0.5, inhibition=True)),
    _snn(_snntorch("Leaky", 0.5, state_quant=lambda mem: mem)),
    _snn(_snntorch("Leaky", 0.5, spike_grad=torch.sigmoid)),
    _snn(_snntorch("Leaky", 0.5, graded_spikes_factor=0.0)),
    _snn(_snntorch("Lapicque", R=2, C=2, reset_mechanism="zero")),
    _snn(_snntorch("RLeaky", 0.5, reset_mechanism="zero", **_ONE)),
    _snn(_snntorch("RLeaky", 0.5, V=1.5, all_to_all=False)),
    _snn(_snntorch("RLeaky", 0.5, linear_features=CHANNELS)),
    _snn(_snntorch("LeakyParallel", CHANNELS, CHANNELS, beta=0.5, weight_hh_enable=True)),
    _snn(_snntorch("Synaptic", 0.8, 0.5)),
    _snn(_snntorch("Synaptic", 0.0, 0.5, reset_mechanism="zero")),
    _snn(_snntorch("RSynaptic", 0.8, 0.5, linear_features=CHANNELS)),
    _snn(_snntorch("Alpha", 0.9, 0.8)),
    _snn(_snntorch("DeltaLeaky", 1.0, 0.5)),
    _snn(_snntorch("StateLeaky", 0.5, CHANNELS)),
    _snn(_snntorch("LinearLeaky", 0.5, CHANNELS, CHANNELS)),
    _snn(_snntorch("AssociativeLeaky", CHANNELS, 4, 4, 16)),
    _snn(_snntorch("SLSTM", CHANNELS, CHANNELS)),
    _snn(_snntorch("SConv2dLSTM", CHANNELS, CHANNELS, 3)),
]

# SpikingJelly -------------------------------------------------------------------------------------


def _spikingjelly(node: str, *arguments: Any, **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        from spikingjelly.activation_based import neuron

        k = options.pop("k", None) if node == "KLIFNode" else None
        module = getattr(neuron, node)(*arguments, **options)
        if k is not None:
            options["k"] = k
            module.k.data.fill_(k)
        return module
    return make


def _own_equation() -> nn.Module:
    from spikingjelly.activation_based import neuron

    class Mine(neuron.SimpleBaseNode):
        def neuronal_charge(self, x: torch.Tensor) -> None:
            self.v = self.v + x * x
    return Mine()


def _own_fire() -> nn.Module:
    from spikingjelly.activation_based import neuron

    class Mine(neuron.LIFNode):
        def single_step_functional_forward(self, inputs: Any, states: Any, **kwargs: Any) -> Any:
            return inputs, states
    return Mine()


def _not_spiking() -> nn.Module:
    from spikingjelly.activation_based import surrogate

    return _spikingjelly("LIFNode", surrogate_function=surrogate.ATan(spiking=False))()


def _noisy() -> nn.Module:
    from spikingjelly.activation_based import surrogate

    return _spikingjelly("LIFNode", surrogate_function=surrogate.PoissonPass())()


def _sj(make: Callable[[], nn.Module], top: float = 3.0, name: str = "") -> Row:
    return Row("spikingjelly", make, top, name)


_QIF: dict[str, Any] = {"tau": 2.0, "v_c": 0.75, "a0": 1.0}

_SPIKINGJELLY = [
    _sj(_spikingjelly("IFNode")),
    _sj(_spikingjelly("IFNode", v_reset=-0.5, v_threshold=0.5, step_mode="m"), name="step_mode m"),
    _sj(_spikingjelly("IFNode", v_reset=None)),
    _sj(_spikingjelly("SimpleIFNode", v_reset=0.25)),
    _sj(_spikingjelly("HalfThresholdIFNode")),
    _sj(_spikingjelly("ActivationAwareIFNode", per_channel(), per_channel(0.5)),
        name="threshold and offset a channel"),
    _sj(_spikingjelly("ActivationAwareIFNode", 1.0, 0.25, v_reset=-0.25, step_mode="m")),
    _sj(_spikingjelly("LIFNode", 4.0)),
    _sj(_spikingjelly("LIFNode", 2.0, v_reset=None, step_mode="m"), name="step_mode m"),
    _sj(_spikingjelly("LIFNode", 4.0, v_reset=0.25, step_mode="m", store_v_seq=True),
        name="store_v_seq"),
    _sj(_spikingjelly("LIFNode", 4.0, decay_input=False, v_reset=0.25)),
    _sj(_spikingjelly("LIFNode", 4.0, decay_input=False, v_reset=None)),
    _sj(_spikingjelly("SimpleLIFNode", 4.0, True, v_reset=0.25)),
    _sj(_spikingjelly("SimpleLIFNode", 4.0, False, v_reset=0.25)),
    _sj(_spikingjelly("ParametricLIFNode", 2.0, v_reset=-0.25)),
    _sj(_spikingjelly("ParametricLIFNode", 2.0, decay_input=False, v_reset=None, step_mode="m")),
    _sj(_spikingjelly("KLIFNode", False, 4.0, k=2.0)),
    _sj(_spikingjelly("KLIFNode", False, 4.0, k=0.5, v_reset=0.25)),
    _sj(_spikingjelly("KLIFNode", False, 4.0, k=0.5, v_reset=None, decay_input=False)),
    _sj(_spikingjelly("KLIFNode", True, 4.0, k=2.0, v_reset=0.25)),
    _sj(_spikingjelly("KLIFNode", True, 4.0, k=1.25, v_threshold=1.25, v_reset=None)),
    _sj(_spikingjelly("QIFNode", v_reset=-0.125, **_QIF)),
    _sj(_spikingjelly("QIFNode", v_reset=None, v_rest=-0.25, **_QIF)),
    _sj(_spikingjelly("QIFNode", v_threshold=2.0, v_reset=-0.5, step_mode="m", **_QIF)),
    _sj(_spikingjelly("IzhikevichNode", v_reset=0.0, v_rest=-0.25, **_QIF)),
    _sj(_spikingjelly("IzhikevichNode", v_reset=None, v_rest=-0.25, step_mode="m", **_QIF)),
    _sj(_spikingjelly("NonSpikingIFNode")),
    _sj(_spikingjelly("NonSpikingLIFNode", 4.0)),
]

_SPIKINGJELLY_REFUSED = [
    _sj(_own_equation), _sj(_own_fire), _sj(_not_spiking), _sj(_noisy),
    _sj(_spikingjelly("IFNode", v_threshold=-1.0, v_reset=None)),
    _sj(_spikingjelly("KLIFNode", v_reset=-0.25)),
    _sj(_spikingjelly("KLIFNode", k=-1.0)),
    _sj(_spikingjelly("IzhikevichNode", a=0.02)),
    _sj(_spikingjelly("IzhikevichNode", b=0.2)),
    _sj(_spikingjelly("IzhikevichNode", w_rest=0.5)),
    _sj(_spikingjelly("GatedLIFNode", T=4)),
    _sj(_spikingjelly("CUBALIFNode")),
    _sj(_spikingjelly("ComplementaryLIFNode")),
    _sj(_spikingjelly("RAFNode")),
    _sj(_spikingjelly("EIFNode")),
    _sj(_spikingjelly("PSN", T=4)),
    _sj(_spikingjelly("MaskedPSN", k=2, T=4)),
    _sj(_spikingjelly("SlidingPSN", k=2)),
    _sj(_spikingjelly("ILIFNode")),
    _sj(_spikingjelly("LIAFNode", torch.relu, False)),
    _sj(_spikingjelly("TernaryIFNode")),
    _sj(_spikingjelly("TernaryLIFNode")),
    _sj(_spikingjelly("STBIFNode", 1.0, 4)),
    _sj(_spikingjelly("MPBNLIFNode", out_features=CHANNELS)),
    _sj(_spikingjelly("NoisyNonSpikingIFNode", CHANNELS, 4)),
    _sj(_spikingjelly("DSRIFNode")),
    _sj(_spikingjelly("OTTTLIFNode")),
]

# Norse --------------------------------------------------------------------------------------------


def _norse(neuron: str, parameters: str, *, dt: float = 0.5, subtract: bool = False,
           **options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import norse.torch
        from norse.torch.functional.leaky_integrator_box import LIBoxParameters
        from norse.torch.functional.lif_box import LIFBoxParameters
        from norse.torch.functional.reset import reset_subtract

        kinds = {"LIFBoxParameters": LIFBoxParameters, "LIBoxParameters": LIBoxParameters}
        kind = kinds.get(parameters) or getattr(norse.torch, parameters)
        values: dict[str, Any] = {
            name: value if isinstance(value, (str, torch.Tensor)) else torch.tensor(value)
            for name, value in options.items()}
        if subtract:
            values["reset_method"] = reset_subtract
        return getattr(norse.torch, neuron)(kind(**values), dt=dt)
    return make


def _recurrent(neuron: str) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import norse.torch

        return getattr(norse.torch, neuron)(CHANNELS, CHANNELS)
    return make


def _own_reset() -> nn.Module:
    import norse.torch
    from norse.torch.functional.lif_box import LIFBoxParameters

    return norse.torch.LIFBoxCell(LIFBoxParameters(reset_method=lambda z, v, r, th: v - z * v / 2))


def _default(neuron: str, *arguments: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        import norse.torch

        return getattr(norse.torch, neuron)(*arguments)
    return make


def _izhikevich() -> nn.Module:
    import norse.torch
    from norse.torch.functional.izhikevich import tonic_spiking

    return norse.torch.IzhikevichCell(tonic_spiking)


def _no(make: Callable[[], nn.Module], top: float = 3.0, name: str = "") -> Row:
    return Row("norse", make, top, name)


_BOX: dict[str, Any] = {"tau_mem_inv": 0.5, "v_leak": 0.25}

_NORSE = [
    _no(_norse("LIFBoxCell", "LIFBoxParameters", tau_mem_inv=0.5)),
    _no(_norse("LIFBoxCell", "LIFBoxParameters", v_reset=-0.5, v_th=0.5, **_BOX)),
    _no(_norse("LIFBoxCell", "LIFBoxParameters", subtract=True, method="tanh", **_BOX)),
    _no(_norse("LIFBoxCell", "LIFBoxParameters", tau_mem_inv=0.5, v_leak=per_channel(),
               v_th=per_channel(2.0), v_reset=per_channel(0.0)), name="v_leak, v_th a channel"),
    _no(_norse("LIFCell", "LIFParameters", tau_syn_inv=2.0, v_reset=-0.25, v_th=0.75, **_BOX)),
    _no(_norse("LIF", "LIFParameters", tau_syn_inv=2.0, **_BOX)),
    _no(_norse("IAFCell", "IAFParameters")),
    _no(_norse("IAFCell", "IAFParameters", v_reset=-0.5, v_th=1.5)),
    _no(_norse("IAF", "IAFParameters", v_reset=0.25, v_th=1.25)),
    _no(_norse("LIBoxCell", "LIBoxParameters", **_BOX)),
    _no(_norse("LICell", "LIParameters", tau_syn_inv=2.0, **_BOX)),
    _no(_norse("LI", "LIParameters", tau_syn_inv=2.0, **_BOX)),
]

_NORSE_REFUSED = [
    _no(_own_reset),
    _no(_norse("LIFBoxCell", "LIFBoxParameters", method="logistic")),
    _no(_norse("LIFBoxCell", "LIFBoxParameters",
               tau_mem_inv=torch.linspace(0.25, 0.75, CHANNELS))),
    _no(_default("LIFCell")), _no(_default("LIF")), _no(_default("LICell")), _no(_default("LI")),
    _no(_default("LILinearCell", CHANNELS, CHANNELS)),
    _no(_recurrent("LIFRecurrentCell")), _no(_recurrent("LIFRecurrent")),
    _no(_default("LSNNCell")), _no(_default("LSNN")), _no(_default("LIFRefracCell")),
    _no(_default("LIFAdExCell")), _no(_default("LIFAdEx")), _no(_default("LIFExCell")),
    _no(_izhikevich),
]

# Sinabs -------------------------------------------------------------------------------------------


def _sinabs(layer: str, alpha: float | None = None, *, spikes: str | None = "SingleSpike",
            reset: float | None = None, subtract: float | None = None,
            **options: Any) -> Callable[[], nn.Module]:
    """alpha: exp(-1 / tau_mem), as a parameter; reset, subtract: values of the reset function."""
    def make() -> nn.Module:
        import sinabs.activation
        import sinabs.layers

        given = dict(options)
        if spikes is not None:
            given["spike_fn"] = sinabs.activation.MaxSpike(int(spikes[-1])) \
                if spikes[-1].isdigit() else getattr(sinabs.activation, spikes)
            given["reset_fn"] = sinabs.activation.MembraneSubtract(subtract) if reset is None \
                else sinabs.activation.MembraneReset(reset)
        if alpha is not None:
            given |= {"tau_mem": 2.0, "train_alphas": True}
        module = getattr(sinabs.layers, layer)(**given)
        if alpha is not None:
            module.alpha_mem.data.fill_(alpha)
        return module
    return make


def _own_spike() -> nn.Module:
    import sinabs.layers

    class Mine(torch.autograd.Function):
        required_states = ("v_mem",)
    return sinabs.layers.IAF(spike_fn=Mine)


def _si(make: Callable[[], nn.Module], top: float = 3.0, name: str = "") -> Row:
    return Row("sinabs", make, top, name)


_SINABS = [
    _si(_sinabs("IAF"), name="SingleSpike"),
    _si(_sinabs("IAF", spike_threshold=torch.tensor(0.5), min_v_mem=-0.25)),
    _si(_sinabs("IAF", spike_threshold=per_channel()), name="a threshold a channel"),
    _si(_sinabs("IAF", reset=0.0)),
    _si(_sinabs("IAF", spikes="MaxSpike1"), name="MaxSpike(1)"),
    _si(_sinabs("IAF", spikes="MultiSpike"), 127 / 64, name="MultiSpike"),
    _si(_sinabs("IAFSqueeze", batch_size=128), name="[N T, ...]"),
    _si(_sinabs("LIF", 0.75)),
    _si(_sinabs("LIF", 0.75, norm_input=False)),
    _si(_sinabs("LIF", 0.75, norm_input=False, min_v_mem=-0.5)),
    _si(_sinabs("LIF", 0.75, subtract=0.5)),
    _si(_sinabs("LIF", 0.75, reset=0.0, min_v_mem=-0.25)),
    _si(_sinabs("LIF", 0.75, reset=0.25)),
    _si(_sinabs("LIF", 0.75, reset=-0.25, norm_input=False, min_v_mem=-0.5)),
    _si(_sinabs("LIF", 0.75, reset=-0.5, min_v_mem=-0.25)),
    _si(_sinabs("LIF", 0.75, spikes="MultiSpike"), 127 / 64, name="MultiSpike"),
    _si(_sinabs("LIF", 0.75, spikes="MultiSpike", reset=0.25), 127 / 64, name="MultiSpike"),
    _si(_sinabs("LIF", 0.75, spikes="MaxSpike4"), 127 / 64, name="MaxSpike(4)"),
    _si(_sinabs("LIFSqueeze", 0.75, num_timesteps=100), name="[N T, ...]"),
    _si(_sinabs("ExpLeak", 0.75, spikes=None)),
    _si(_sinabs("ExpLeak", 0.75, spikes=None, norm_input=True)),
]

_SINABS_REFUSED = [
    _si(_own_spike),
    _si(_sinabs("IAF", spike_threshold=torch.tensor(-1.0))),
    _si(_sinabs("IAF", subtract=2.0, min_v_mem=-0.5)),
    _si(_sinabs("IAF", min_v_mem=0.5)),
    _si(_sinabs("IAF", spikes="MaxSpike0")),
    _si(_sinabs("ExpLeak", 0.75, spikes=None, min_v_mem=-0.5)),
    _si(_sinabs("LIF", tau_mem=torch.linspace(2, 9, CHANNELS))),
    _si(_sinabs("LIF", tau_mem=10.0, tau_syn=3.0)),
    _si(_sinabs("IAF", tau_syn=3.0)),
    _si(_sinabs("ALIF", tau_mem=10.0, tau_adapt=10.0)),
    _si(_sinabs("LIFRecurrent", tau_mem=10.0, rec_connect=nn.Identity())),
    _si(_sinabs("IAFRecurrent", rec_connect=nn.Identity())),
]

ROWS = _SNNTORCH + _SPIKINGJELLY + _NORSE + _SINABS
REFUSED = _SNNTORCH_REFUSED + _SPIKINGJELLY_REFUSED + _NORSE_REFUSED + _SINABS_REFUSED
