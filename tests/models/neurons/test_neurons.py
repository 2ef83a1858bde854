"""Spiking neurons: steps by hand, gradients, state, and the canonical form."""

import copy

import pytest
import torch

from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import IF, LIF, PLIF, QIF, lif_step, make_neuron, qif_step
from quadfire.models.neurons.canonical import canonical_root


def test_qif_step_by_hand():
    x, v = torch.tensor([0.5, 1.0, 1.0]), torch.tensor([2.0, 0.25, 2.0])
    # 0.5 v (v - 0.5) = 1.5, -0.03125, 1.5
    spike, after = qif_step(x, v)
    assert spike.tolist() == [1, 0, 1]
    assert after.tolist() == [0, 0.96875, 0]
    assert qif_step(x, v, v_reset=-0.5)[1].tolist() == [-0.5, 0.96875, -0.5]
    assert qif_step(x, v, v_reset=None)[1].tolist() == [1.0, 0.96875, 1.5]
    assert qif_step(x, v, v_reset=None, limits=(-1, 2.25))[1].tolist() == [1.0, 0.96875, 1.25]


def test_lif_step_by_hand():
    x, v = torch.tensor([0.5, 0.25]), torch.tensor([1.0, 0.5])
    assert [part.tolist() for part in lif_step(x, v)] == [[1, 0], [0, 0.5]]
    assert [part.tolist() for part in lif_step(x, v, beta=1.0, v_reset=None)] == \
        [[1, 0], [0.5, 0.75]]


@pytest.mark.parametrize("step", [qif_step, lif_step])
@pytest.mark.parametrize("v_reset", [-0.25, None])
def test_step_gradient_is_that_of_the_surrogate(step, v_reset):
    """Away from the threshold a step is smooth, so finite differences give its derivatives."""
    x = torch.tensor([-2.0, -0.4, 0.1], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([0.3, -0.2, 0.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x, v: step(x, v, v_reset=v_reset, window=0.01)[1], (x, v))


def test_a_network_in_the_middle_of_training_can_be_copied():
    network = SpikingMLP([6, 5, 3], PLIF(), 2)
    network(torch.randint(0, 256, (4, 6), dtype=torch.uint8)).sum().backward()
    again = copy.deepcopy(network)
    assert network.layers[0].neuron.v is not None
    assert torch.equal(again.layers[0].neuron.v, network.layers[0].neuron.v)
    assert not again.layers[0].neuron.v.requires_grad


@pytest.mark.parametrize("neuron", [QIF(), QIF(a=0.25, u1=-0.5), LIF(0.75), IF(),
                                    QIF(v_reset=None, limits=(-2.0, 2.0)), LIF(v_reset=None)])
def test_state_lasts_until_reset(neuron):
    currents = torch.randn(9, 4, 5, generator=torch.Generator().manual_seed(1))
    whole = neuron(currents)
    neuron.reset()
    parts = torch.cat([neuron(currents[:4]), neuron(currents[4:])])
    assert torch.equal(whole, parts)
    assert not torch.equal(neuron(currents), whole)
    neuron.reset()
    assert torch.equal(neuron(currents), whole)
    assert neuron.rate == pytest.approx(whole.mean().item())


@pytest.mark.parametrize("options", [{}, {"v_reset": -0.25}, {"v_threshold": 1.5},
                                     {"v_reset": None, "limits": (-2.0, 2.5)}])
@pytest.mark.parametrize("neuron", [QIF, LIF, IF])
def test_canonical_form_spikes_alike(neuron, options):
    currents = torch.randn(30, 8, 50, dtype=torch.float64,
                           generator=torch.Generator().manual_seed(2))
    neuron = neuron(**options)
    expected = neuron(currents)
    c = neuron.canonical()
    w = torch.full_like(currents[0], c.initial)
    for x, spikes in zip(currents, expected, strict=True):
        v = w * (w if c.factor is None else c.factor) + c.gain * x + c.offset
        found = v >= c.theta
        assert torch.equal(found.double(), spikes)
        v = v.clamp(c.lo, c.hi)
        w = torch.where(found, v - c.delta if c.soft else torch.full_like(v, c.reset), v)
    assert 0.03 < expected.mean() < 0.6
    torch.testing.assert_close(w / c.scale + c.center, neuron.v)


def test_canonical_of_the_default_neuron():
    c = QIF().canonical()
    assert c == canonical_root(0.5, 0.0, 0.5)
    assert (c.scale, c.center, c.theta, c.reset, c.factor) == (0.5, 0.25, 0.375, -0.125, None)


def test_config_makes_the_neuron_again():
    neuron = QIF(a=0.25, u1=-0.5, u2=0.5, v_reset=None, limits=(-2.0, 2.0), window=0.8)
    again = make_neuron(**neuron.config())
    assert again.config() == neuron.config()
    assert repr(again) == repr(neuron) and "a=0.25" in repr(again)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: make_neuron("izhikevich"), "no neuron is called 'izhikevich'; there are qif, lif, if"),
    (lambda: make_neuron("lif", tau=2.0), "neuron 'lif': .*tau"),
    (lambda: QIF(a=0.0), "a must be above 0"),
    (lambda: LIF(limits=(-1.0, 0.5)), "limits must enclose v_threshold"),
    (lambda: LIF(v_threshold=torch.tensor([0.5, 1.5])),  # pyright: ignore[reportArgumentType]
     r"v_threshold must be one number for the layer, not a tensor of \[2\]"),
    (lambda: QIF(v_reset=[0.0, 0.1]),  # pyright: ignore[reportArgumentType]
     r"v_reset must be one number for the layer, not \[0.0, 0.1\]"),
    (lambda: LIF(v_threshold=float("nan")), "v_threshold must be finite, not nan"),
])
def test_neurons_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()
