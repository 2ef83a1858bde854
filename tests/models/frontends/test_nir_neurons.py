"""Neurons of NIR files: their equations step by step, what speaks for itself, what is refused."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from quadfire.models.frontends.nir_file import NirNode
from quadfire.models.frontends.nir_neurons import HELP, WRITERS, Dynamics, map_neuron
from quadfire.models.frontends.nir_values import Unmapped

pytestmark = pytest.mark.fast

CHANNELS = 3
KNOWN = {"dt": 1e-3, "solver": "euler", "reset": "zero", "fires": "at"}
LIF = {"tau": 0.004, "r": 1.5, "v_leak": [0.1, -0.2, 0.0], "v_threshold": [0.5, 1.0, 2.0]}


def node(kind: str, metadata: dict[str, Any] | None = None, **values: Any) -> NirNode:
    arrays = {key: np.asarray(value, np.float64) for key, value in values.items()}
    return NirNode(name="n", kind=kind, values=arrays, metadata=metadata or {})


def mapped(made: NirNode, **options: Any):
    return map_neuron(made, (CHANNELS,), CHANNELS, Dynamics(**options))


def reasons(made: NirNode, **options: Any) -> tuple[str, ...]:
    with pytest.raises(Unmapped) as caught:
        mapped(made, **options)
    return caught.value.args


def spikes_of(neuron: Any, currents: np.ndarray) -> np.ndarray:
    """Spikes [T, N, channels] of a canonical form in float64."""
    form = neuron.canonical()
    gain, offset = np.broadcast_to(form.gain, CHANNELS), np.broadcast_to(form.offset, CHANNELS)
    w, made = np.full(currents.shape[1:], form.initial), []
    for current in currents:
        v = form.factor * w + gain * current + offset
        made.append(v > form.theta if form.strict else v >= form.theta)
        w = np.where(made[-1], v - form.delta if form.soft else form.reset, v)
    return np.array(made)


def spikes_by_the_equation(p: dict[str, Any], dt: float, solver: str, reset: str, fires: str,
                           currents: np.ndarray) -> np.ndarray:
    """The same, of the differential equation in time steps."""
    leak, r, threshold = (np.asarray(p.get(key, 0.0)) for key in ("v_leak", "r", "v_threshold"))
    loads = np.asarray(p.get("v_reset", 0.0))
    v, late, made = np.zeros(currents.shape[1:]), 0.0, []
    for current in currents:
        if "tau" not in p:
            v = v + dt * r * current
        elif solver == "euler":
            v = v + dt / p["tau"] * (leak - v + r * current)
        else:
            rest = leak + r * current
            v = rest + (v - rest) * np.exp(-dt / p["tau"])
        v = v - late
        spikes = v > threshold if fires == "above" else v >= threshold
        made.append(spikes)
        late = threshold * spikes if reset == "subtract-delayed" else 0.0
        if reset == "zero":
            v = np.where(spikes, loads, v)
        elif reset == "subtract":
            v = v - threshold * spikes
    return np.array(made)


@pytest.mark.parametrize(("solver", "reset", "fires"), product(
    ("euler", "exact"), ("zero", "subtract", "subtract-delayed"), ("above", "at")))
@pytest.mark.parametrize("kind", ["LIF", "IF"])
def test_follows_the_equation(kind, solver, reset, fires):
    p = {**LIF} if kind == "LIF" else {"r": [200.0, 400.0, 300.0], "v_threshold": 1.0}
    if reset != "zero":
        p |= {"v_threshold": 1.0}       # else 0, where it starts, differs in thresholds
    currents = np.random.default_rng(1).normal(1.0, 3.0, (60, 200, CHANNELS))
    neuron = mapped(node(kind, **p), dt=1e-3, solver=solver, reset=reset, fires=fires)
    found = spikes_of(neuron, currents)
    assert np.array_equal(found, spikes_by_the_equation(p, 1e-3, solver, reset, fires, currents))
    assert 0.02 < found.mean() < 0.6
    assert neuron.canonical().strict == (fires == "above")


def test_thresholds_and_resets_of_each_channel():
    p = {"tau": 0.004, "r": [1.0, 2.0, 3.0], "v_leak": 0.0, "v_threshold": [0.5, 1.0, 3.0],
         "v_reset": [-0.5, -1.0, -3.0]}
    currents = np.random.default_rng(2).normal(2.0, 4.0, (60, 200, CHANNELS))
    neuron = mapped(node("LIF", **p), dt=1e-3, solver="exact", fires="at")
    assert np.array_equal(spikes_of(neuron, currents),
                          spikes_by_the_equation(p, 1e-3, "exact", "zero", "at", currents))
    assert "reset to -3..-0.5" in neuron.text       # a v_reset that is not 0 is loaded


@pytest.mark.parametrize("threshold", [0.7, 0.0, -2.0])
@pytest.mark.parametrize("options", [{}, {"fires": "at"}])
def test_threshold_has_no_memory_and_nirs_comparison(threshold, options):
    currents = np.random.default_rng(3).normal(threshold, 1.0, (20, 50, CHANNELS))
    currents[::3] = threshold
    found = spikes_of(mapped(node("Threshold", threshold=threshold), **options), currents)
    assert np.array_equal(found, currents >= threshold if options else currents > threshold)


def test_an_infinite_time_constant_is_no_leak():
    neuron = mapped(node("LIF", tau=np.inf, r=np.inf, v_leak=0.5, v_threshold=1.0),
                    reset="subtract", fires="above")
    form = neuron.canonical()
    assert (form.factor, form.gain / form.scale, form.offset) == (1.0, 1.0, 0.0)
    assert reasons(node("LIF", tau=np.inf, r=1.0, v_leak=0.5, v_threshold=1.0), **KNOWN) == (
        "tau is infinite with r = 1: a current has no effect on it",)


@pytest.mark.parametrize(("made", "gain", "factor"), [
    (node("LIF", tau=4e-4, r=4.0, v_leak=0.0, v_threshold=1.0), 1.0, 0.75),
    (node("IF", r=1e4, v_threshold=1.0), 1.0, 1.0),
    (node("IF", r=1.0, v_threshold=1.0), 1.0, 1.0),
])
def test_speaks_for_its_time_step(made, gain, factor):
    form = mapped(made, reset="zero", fires="at").canonical()
    np.testing.assert_allclose([form.gain / form.scale, form.factor], [gain, factor], rtol=1e-12)


def test_a_gain_that_is_not_1_is_told():
    """--dt in seconds for a file in steps makes an IF deaf: nobody should have to guess it."""
    made = node("IF", r=1.0, v_threshold=1.0)
    assert mapped(made, reset="zero", fires="at", dt=1e-3).text == (
        "IF(r=1, v_threshold=1), dt = 0.001, a current counts 0.001, reset to 0, fires at its "
        "threshold")
    assert "counts" not in mapped(made, reset="zero", fires="at").text


def test_options_count_more_than_metadata_and_metadata_more_than_the_writer():
    made = node("LIF", {"dt": 1e-3, "solver": "exact", "reset": "subtract", "fires": "above",
                        "unit": "mV"}, **LIF | {"v_leak": 0.0})
    assert mapped(made).text.endswith("dt = 0.001, exact, subtract, fires above its threshold")
    assert mapped(made, dt=2e-3, solver="euler", fires="at").text.endswith(
        "dt = 0.002, euler, subtract, fires at its threshold")
    made = node("LIF", {"writer": "snntorch", "reset": "zero"}, tau=4e-4, r=4.0, v_leak=0.0,
                v_threshold=1.0)
    assert mapped(made).text.endswith("dt = 0.0001, euler, reset to 0, fires above its threshold")
    wrong = node("LIF", {"reset": "soft"}, **LIF)
    assert reasons(wrong) == ("metadata: reset must be zero, subtract or subtract-delayed, not "
                              "'soft'",)


def test_all_that_is_not_known_is_told_at_once():
    assert reasons(node("LIF", tau=8.0, r=1.0, v_leak=0.0, v_threshold=1.0)) == (
        "tau = 8 with r = 1: dt is not known: say --dt; if Sinabs wrote it, use --writer sinabs",
        "how it was solved is not known: say --solver euler or exact",
        "has no v_reset (written before NIR 1.0.6): say --reset zero, subtract or "
        "subtract-delayed",
        "whether it fires at its threshold is not known: say --fires above or at")
    assert reasons(node("LIF", tau=1e-5, r=1.0, v_leak=0.0, v_threshold=1.0), solver="euler",
                   reset="zero", fires="at") == (
        "tau = 1e-05 with r = 1: dt is not known: say --dt; if Norse wrote it, use --writer norse",)
    assert reasons(node("IF", r=0.5, v_threshold=1.0, v_reset=0.0), fires="at") == (
        "r = 0.5: dt is not known: say --dt, or --writer and the library that wrote the file",
        "v_reset = 0 is written for resets of all kinds: say --reset zero, subtract or "
        "subtract-delayed")


SNNTORCH = {"tau": 4e-4, "r": 4.0, "v_leak": 0.0, "v_threshold": 1.0}


@pytest.mark.parametrize(("made", "options", "reason"), [
    (node("LIF", **LIF | {"tau": [0.002, 0.004, 0.003]}), KNOWN,
     "tau differs between channels (0.002..0.004): the array holds one for each layer; train with "
     "one"),
    (node("LIF", **LIF | {"tau": -1.0}), KNOWN, "tau must be above 0, not -1"),
    (node("LIF", **LIF | {"r": np.inf}), KNOWN, "r is infinite with tau = 0.004"),
    (node("LIF", **LIF | {"r": [1.0, 2.0]}), KNOWN, "r has shape [2], its map [3]"),
    (node("LIF", **LIF), KNOWN | {"dt": 5e-3},
     "dt = 0.005 is too long for tau = 0.004: nothing is left of a potential after one step; say "
     "the --dt and --solver of the training"),
    (node("LIF", **LIF), KNOWN | {"dt": 5e-2, "solver": "exact"},
     "dt = 0.05 is too long for tau = 0.004: nothing is left of a potential after one step; say "
     "the --dt and --solver of the training"),
    (node("LIF", **LIF), KNOWN | {"reset": "subtract-delayed", "dt": 4e-3},
     "keeps nothing of a potential, so that nothing is left to subtract from in the next step: say "
     "--reset subtract, or train with a decay above 0"),
    (node("LIF", **LIF, v_reset=0.25), KNOWN | {"reset": "subtract-delayed"},
     "v_reset = 0.25 is what a spike loads: it is no reset that would subtract, delayed"),
    (node("IF", r=1.0, v_threshold=[1.0, 2.0, 3.0], v_reset=[0.5, 0.5, 0.5]), KNOWN | {"dt": 1.0},
     "the initial potential, measured in thresholds, differs between channels (-0.25..-0.05): the "
     "array holds one a layer"),
    (node("IF", r=1.0, v_threshold=0.0), KNOWN,
     "the threshold must be on one side of the reset potential, not 0.0"),
    # A writer that did not write the file would give wrong numbers without a word.
    (node("IF", r=1.0, v_threshold=1.0), {"writer": "snntorch"},
     "snnTorch writes no IF: another --writer wrote the file"),
    (node("LIF", **SNNTORCH), {"writer": "norse"},
     "dt = 1e-06, euler gives its current a gain of 0.01, as no neuron of Norse has: another "
     "--writer wrote the file, or another --dt"),
    (node("LIF", **SNNTORCH), {"writer": "sinabs"},
     "dt = 1 is too long for tau = 0.0004: nothing is left of a potential after one step; say the "
     "--dt and --solver of the training"),
    (node("IF", r=1.0, v_threshold=1.0), {"writer": "spikingjelly"},
     "dt = 0.0001 gives its current a gain of 0.0001, as no neuron of SpikingJelly has: another "
     "--writer wrote the file, or another --dt"),
])
def test_refused(made, options, reason):
    assert reasons(made, **options) == (reason,)


@pytest.mark.parametrize(("options", "message"), [
    ({"dt": 0.0}, "dt must be above 0, not 0.0"), ({"dt": "1"}, "dt must be above 0, not '1'"),
    ({"dt": float("inf")}, "dt must be above 0, not inf"),
    ({"solver": "rk4"}, "solver must be euler or exact, not 'rk4'"),
    ({"reset": "soft"}, "reset must be zero, subtract or subtract-delayed, not 'soft'"),
    ({"fires": ">"}, "fires must be above or at, not '>'"),
    ({"writer": "nest"}, "writer must be snntorch, spikingjelly, norse, sinabs, rockpool or lava, "
                         "not 'nest'"),
])
def test_options_that_mean_nothing(options, message):
    with pytest.raises(ValueError) as caught:
        Dynamics(**options)
    assert str(caught.value) == message


def test_parameters_of_a_map_are_those_of_its_channels():
    values = np.broadcast_to(np.array([1.0, 2.0, 3.0])[:, None, None], (3, 2, 4))
    made = node("IF", r=np.ones((3, 2, 4)), v_threshold=values)
    form = map_neuron(made, (3, 2, 4), 3, Dynamics(reset="subtract", fires="at")).canonical()
    assert np.allclose(1 / np.array(form.gain), np.array([1.0, 2.0, 3.0]) / form.gain[0])
    uneven = values.copy()
    uneven[1, 1, 1] = 2.5
    with pytest.raises(Unmapped, match=r"v_threshold differs inside of a channel \(2..2.5\)"):
        map_neuron(node("IF", r=1.0, v_threshold=uneven), (3, 2, 4), 3, Dynamics())


def test_delayed_membranes_are_a_threshold_higher_before_the_subtraction():
    """The library's potential after a spike, before the reset of the next step, is v itself."""
    neuron = mapped(node("LIF", **SNNTORCH), writer="snntorch")
    assert neuron.membrane_delta == neuron.canonical().delta > 0
    assert mapped(node("LIF", **SNNTORCH), writer="snntorch", reset="zero").membrane_delta == 0


def test_rockpools_integrator_says_its_time_step():
    """r = tau / dt exp(-dt / tau); the current decays in the step that brings it."""
    tau, dt = 0.02, 0.003
    made = node("LI", tau=tau, r=tau / dt * np.exp(-dt / tau), v_leak=0.0)
    neuron = mapped(made, writer="rockpool")
    form, decay = neuron.canonical(), np.exp(-dt / tau)
    np.testing.assert_allclose([form.factor, form.gain / form.scale], [decay, decay], rtol=1e-9)
    assert not neuron.spiking


def test_sinabs_integrator_does_not_norm_its_current():
    form = mapped(node("LI", tau=4.0, r=1.0, v_leak=0.0), writer="sinabs").canonical()
    np.testing.assert_allclose([form.factor, form.gain / form.scale], [np.exp(-0.25), 1.0])


def test_every_writer_and_option_has_a_help():
    assert set(HELP) == {"dt", "solver", "reset", "fires", "writer"}
    assert all(writer.known.writer is None and writer.label for writer in WRITERS.values())
