"""What is read of a neuron beside its equation: shapes, subclasses, surrogates, its call."""

from typing import Any

import pytest
import torch
from torch import nn

from quadfire.models.frontends.neurons import (
    call_form,
    check_states,
    is_neuron,
    read,
    reset_state,
    snntorch,
    spikingjelly,
)
from quadfire.models.neurons import surrogate as surrogates

from tests.models.frontends.peers import peer


def snn(name: str, *arguments: Any, **options: Any) -> Any:
    return getattr(peer("snntorch"), name)(*arguments, **options)


def sj(name: str, *arguments: Any, **options: Any) -> Any:
    return getattr(peer("spikingjelly.activation_based.neuron"), name)(*arguments, **options)


# Values of channels -------------------------------------------------------------------------------


def test_a_vector_is_a_value_of_each_channel():
    form = read(snn("Leaky", 0.5, threshold=torch.tensor([1.0, 2.0])), (2,)).form
    assert form.scale == (0.5, 0.25) and form.theta == 0.5


def test_equal_values_are_one():
    ones = torch.ones(3, dtype=torch.int)
    form = read(snn("Leaky", torch.full((3,), 0.5), threshold=ones), (3,)).form
    assert form.factor == 0.5 and form.scale == 0.5


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 2, 1, 1), (2, 4, 4)])
def test_channels_of_maps(shape: tuple[int, ...]):
    threshold = torch.tensor([1.0, 2.0]).reshape(2, 1, 1).expand(2, *shape[-2:]).reshape(shape)
    for told in ((2, 4, 4), None):
        assert read(snn("Leaky", 0.5, threshold=threshold), told).form.scale == (0.5, 0.25)


def test_a_vector_on_maps_lies_along_their_width():
    neuron = snn("Leaky", 0.5, threshold=torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match=r"threshold differs within a channel \(1..2\)"):
        read(neuron, (3, 2, 2))
    with pytest.raises(ValueError, match=r"threshold of shape \(2,\) does not fit .*\(2, 3, 3\)"):
        read(neuron, (2, 3, 3))


def test_values_within_a_channel_are_refused():
    with pytest.raises(ValueError, match="threshold differs within a channel"):
        read(snn("Leaky", 0.5, threshold=torch.rand(2, 3, 3) + 1))


def test_a_time_constant_of_each_channel_is_refused():
    with pytest.raises(ValueError, match=r"beta differs between channels \(0.5..0.75\).*one beta"):
        read(snn("Leaky", torch.tensor([0.5, 0.75])))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers(value: float):
    with pytest.raises(ValueError, match=f"threshold is {value}"):
        read(snn("Leaky", 0.5, threshold=torch.tensor([1.0, value])))


def test_python_numbers_are_read_in_full():
    assert read(sj("LIFNode", 3.0)).form.factor == 1 - 1 / 3


def test_learnt_values_are_read_as_they_stand():
    neuron = snn("Leaky", 0.5, learn_beta=True, learn_threshold=True)
    with torch.no_grad():
        neuron.beta.fill_(-0.25)
        neuron.threshold.fill_(2.0)
    with pytest.raises(ValueError, match="a decay of 0"):       # clamped, as in its forward
        read(neuron)
    with torch.no_grad():
        neuron.beta.fill_(0.75)
    assert read(neuron).form.factor == 0.75 and read(neuron).form.scale == 0.25
    parametric = sj("ParametricLIFNode")
    with torch.no_grad():
        parametric.w.fill_(2.0)
    k = torch.sigmoid(torch.tensor(2.0, dtype=torch.float64)).item()
    assert read(parametric).form.factor == 1 - k


def test_graded_spikes_are_a_factor_of_their_readers():
    neuron = snn("Leaky", 0.5, graded_spikes_factor=torch.tensor([0.5, 2.0]))
    assert read(neuron).spike_value == (0.5, 2.0)
    assert read(sj("IFNode")).spike_value == 1.0


def test_the_linear_layer_inside_of_a_neuron_comes_before_it():
    neuron = snn("LeakyParallel", 5, 3, beta=0.5)
    before = read(neuron, (5,)).before
    assert before is not None
    x = torch.rand(1, 4, 5)
    theirs = neuron.rnn(x)[0]           # the first potential is the rectified current
    torch.testing.assert_close(before(x).relu(), theirs)
    assert read(snn("Leaky", 0.5)).before is None


# Changed modules ----------------------------------------------------------------------------------


def test_a_subclass_with_further_attributes_is_read():
    class Named(peer("snntorch").Leaky):
        def __init__(self) -> None:
            super().__init__(0.5)
            self.note = "mine"

        def extra_repr(self) -> str:
            return self.note

    assert read(Named()).form == read(snn("Leaky", 0.5)).form


@pytest.mark.parametrize("method", ["forward", "fire", "mem_reset", "_base_sub"])
def test_a_subclass_with_a_method_of_its_own_is_refused(method: str):
    leaky = peer("snntorch").Leaky
    mine = type("Mine", (leaky,), {method: lambda self, *x: getattr(leaky, method)(self, *x)})
    assert is_neuron(mine(0.5))
    with pytest.raises(ValueError, match=f"Mine has a {method} of its own"):
        read(mine(0.5))


def test_a_property_of_its_own_is_refused():
    lif = peer("sinabs.layers").LIF
    mine = type("Mine", (lif,), {"alpha_mem_calculated": property(lambda self: torch.tensor(0.5))})
    with pytest.raises(ValueError, match="Mine has a alpha_mem_calculated of its own"):
        read(mine(10.0))


def test_a_patched_module_is_refused():
    neuron = sj("LIFNode")
    neuron.single_step_forward = lambda x: x
    with pytest.raises(ValueError, match="this LIFNode has a single_step_forward of its own"):
        read(neuron)


def test_a_reset_that_was_changed_afterwards_is_refused():
    """The update is chosen when the module is made; a state dict changes the note of it alone."""
    neuron = snn("Leaky", 0.5)
    neuron.load_state_dict(snn("Leaky", 0.5, reset_mechanism="zero").state_dict())
    with pytest.raises(ValueError, match="made with reset_mechanism 'subtract' and .* 'zero'"):
        read(neuron)
    neuron = snn("Leaky", 0.5)
    neuron.state_function = lambda x: x
    with pytest.raises(ValueError, match="state_function of its own"):
        read(neuron)


def test_a_step_of_the_users_own_is_refused():
    cell = peer("norse.torch").LIFBoxCell()
    cell.activation = lambda x, state, p, dt: (x, state)
    with pytest.raises(ValueError, match="not Norse's lif_box_feed_forward_step"):
        read(cell)


def test_other_modules_are_no_neurons():
    recurrent = snn("RLeaky", 0.5, all_to_all=False).recurrent
    for module in (nn.Linear(1, 1), nn.RNN(1, 1), recurrent, peer("norse.torch").SequentialState(),
                   peer("sinabs.layers").SumPool2d(2)):
        assert not is_neuron(module)
        with pytest.raises(ValueError, match="is no neuron of snnTorch, SpikingJelly, Norse or"):
            read(module)


@pytest.mark.parametrize(("library", "module", "abstract"), [
    (snntorch, "snntorch", {"SpikingNeuron", "LIF"}),
    (spikingjelly, "spikingjelly.activation_based.neuron",
     {"BaseNode", "SimpleBaseNode", "AdaptBaseNode", "NonSpikingBaseNode", "MPBNBaseNode",
      "ILCBaseNode", "NoisyBaseNode", "NoisyILCBaseNode", "NoisyNonSpikingBaseNode"})])
def test_every_neuron_of_a_library_has_its_row(library: Any, module: str, abstract: set[str]):
    """A neuron that a new version brings is noticed; until then its refusal has no remedy."""
    there = {name: cls for name, cls in vars(peer(module)).items() if isinstance(cls, type)
             and issubclass(cls, nn.Module) and not name.startswith("_")}
    neurons = {name for name, cls in there.items() if name not in abstract
               and library.is_neuron(cls.__new__(cls))}
    assert len(neurons) > 10
    assert neurons == (set(library._READERS) | set(library._REFUSED)) & set(there) - abstract


# Surrogates ---------------------------------------------------------------------------------------


def _theirs() -> list[tuple[str, Any]]:
    """(what it becomes, neuron) of surrogates that have a counterpart."""
    there = peer("spikingjelly.activation_based.surrogate")
    snn_there = peer("snntorch.surrogate")
    return [("arctan", snn("Leaky", 0.5)),
            ("arctan", snn("Leaky", 0.5, spike_grad=snn_there.atan(alpha=3.0))),
            ("sigmoid", snn("Leaky", 0.5, spike_grad=snn_there.sigmoid(slope=5))),
            ("arctan", snn("LeakyParallel", 4, 4, 0.5)),
            ("sigmoid", sj("LIFNode", surrogate_function=there.Sigmoid(alpha=3.0))),
            ("arctan", sj("LIFNode", surrogate_function=there.ATan(alpha=3.0))),
            ("rectangular", sj("LIFNode", surrogate_function=there.Rect(alpha=0.8))),
            ("triangular", sj("LIFNode", surrogate_function=there.PiecewiseQuadratic(alpha=0.7)))]


def test_surrogates_have_the_derivative_of_the_library():
    for name, neuron in _theirs():
        found = read(neuron)
        assert found.surrogate == name
        function = getattr(neuron, "spike_grad", None) or neuron.surrogate_function
        x = torch.linspace(-1.37, 1.37, 101, dtype=torch.float64)
        theirs, ours = x.clone().requires_grad_(), x.clone().requires_grad_()
        function(theirs).sum().backward()
        surrogates.spike(ours, found.window, found.surrogate).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_other_surrogates_become_a_rectangle_of_half_the_threshold():
    there = peer("snntorch.surrogate")
    for neuron in (snn("Leaky", 0.5, threshold=3.0, spike_grad=there.fast_sigmoid()),
                   peer("sinabs.layers").IAF(spike_threshold=torch.tensor(3.0))):
        assert (read(neuron).surrogate, read(neuron).window) == ("rectangular", 1.5)


# How a module is called ---------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"init_hidden": True},
                                     {"init_hidden": True, "output": True}])
def test_calls_of_snntorch(options: dict[str, bool]):
    for neuron in (snn("Leaky", 0.5, **options), snn("RLeaky", 0.5, all_to_all=False, **options),
                   snn("Lapicque", R=1, C=1, **options), snn("Synaptic", 0.0, 0.5, **options)):
        form = call_form(neuron)
        got = neuron(torch.full((2, 3), 0.25))
        assert (form.time, form.layout) == ("step", "N")
        assert isinstance(got, tuple) == form.states
        if form.states:
            assert form.membrane is not None
            assert (got[0] == 0).all() and (got[form.membrane] == 0.25).all()


def test_calls_of_spikingjelly():
    assert call_form(sj("IFNode")).time == "step"
    assert call_form(sj("IFNode", step_mode="m")).layout == "TN"
    for decode, name in (("max-mem", "max"), ("last_mem", "last"), ("mean-mem", "mean"),
                         ("max-abs-mem", "max-abs"), (None, None)):
        form = call_form(sj("NonSpikingLIFNode", decode=decode))
        assert (form.returns, form.membrane, form.decoded) == ("membrane", 0, name)


def test_calls_of_norse_and_sinabs():
    norse, sinabs = peer("norse.torch"), peer("sinabs.layers")
    assert call_form(norse.LIFBoxCell()).time == "step"
    assert call_form(norse.LIF()).layout == "TN"
    assert call_form(norse.LI()).returns == "membrane"
    assert call_form(sinabs.IAF()).layout == "NT"
    squeezed = call_form(sinabs.IAFSqueeze(batch_size=4))
    assert (squeezed.layout, squeezed.batch_size, squeezed.num_timesteps) == ("(NT)", 4, -1)
    assert call_form(sinabs.ExpLeak(2.0)).returns == "membrane"


def test_states_passed_by_hand_must_be_the_start():
    neuron = snn("Leaky", 0.5)
    for state in (None, neuron.reset_mem(), torch.zeros(2, 3)):
        check_states(neuron, state)
    with pytest.raises(ValueError, match="Leaky starts at 0.5: .* start it at 0"):
        check_states(neuron, torch.full((2, 3), 0.5))
    norse = peer("norse.torch")
    box = norse.LIFBoxCell(peer("norse.torch.functional.lif_box").LIFBoxParameters(
        v_leak=torch.tensor(0.25)))
    state = box.initial_state(torch.zeros(2, 3))
    check_states(box, state)
    with pytest.raises(ValueError, match="LIFBoxCell starts at 0: .* start it at 0.25"):
        check_states(box, state._replace(v=torch.zeros(2, 3)))
    with pytest.raises(ValueError, match="takes its input alone"):
        check_states(sj("IFNode"), torch.zeros(2, 3))


def test_a_reset_forgets_what_earlier_calls_left():
    x = torch.full((2, 3), 0.75)
    for neuron in (snn("Leaky", 0.5), snn("Leaky", 0.5, init_hidden=True),
                   snn("RLeaky", 0.5, V=0.5, all_to_all=False), snn("LeakyParallel", 3, 3, 0.5),
                   sj("IFNode"), sj("NonSpikingIFNode"), peer("norse.torch").IAFCell(),
                   peer("sinabs.layers").IAF()):
        given = x if call_form(neuron).time == "step" else x.expand(1, 2, 3)
        with torch.no_grad():
            results = []
            for _ in range(2):
                result = neuron(given)
                results.append(result[0] if isinstance(result, (tuple, list)) else result)
                reset_state(neuron)
        torch.testing.assert_close(*results)


def test_snntorch_before_0_8_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(peer("snntorch"), "__version__", "0.7.1")
    with pytest.raises(ValueError, match="Leaky of snnTorch 0.7.1: before 0.8 it reset otherwise"):
        read(snn("Leaky", 0.5))


# Peers --------------------------------------------------------------------------------------------


def test_a_missing_library_is_skipped_or_required(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("QUADFIRE_PEERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no_such_library is not installed"):
        peer("no_such_library")
    monkeypatch.setenv("QUADFIRE_PEERS", "required")
    with pytest.raises(pytest.fail.Exception, match="no_such_library cannot be imported"):
        peer("no_such_library")
