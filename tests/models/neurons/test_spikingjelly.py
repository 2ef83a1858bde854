"""Our neurons against SpikingJelly's: values and gradients in float64, up to rounding.

Only these tests need spikingjelly 2.0.0 (requirements-peers.txt). test_recurrences.py checks the
same neurons against recurrences written out.
"""

import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate

from quadfire.models.neurons import CLIF, GLIF, IF, LIF, PLIF, QIFEuler
from quadfire.models.neurons.surrogate import spike

# their surrogate, our name for it and the window that makes it the same function
SURROGATES = [("Sigmoid", 4.0, "sigmoid", 0.75), ("ATan", 2.0, "arctan", 1.0),
              ("Rect", 1.0, "rectangular", 0.5)]
RESETS = [(0.0, False), (0.0, True), (-0.1, False), (None, False), (None, True)]


def compare(ours, theirs, shape=(8, 5, 6), parameters=()):
    ours.double()
    theirs.double()
    generator = torch.Generator().manual_seed(9)
    x = 0.5 + 1.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    readout = torch.randn(shape, generator=generator, dtype=torch.float64)
    gradients = []
    for module, learnt in ((ours, [mine for mine, _ in parameters]),
                           (theirs, [plain for _, plain in parameters])):
        inputs = x.clone().requires_grad_()
        spikes = module(inputs)
        gradients.append((spikes.detach(), module.v.detach(), torch.autograd.grad(
            (spikes * readout).sum() + module.v.square().sum(), [inputs, *learnt])))
    (one, v_one, g_one), (two, v_two, g_two) = gradients
    assert torch.equal(one, two) and 0.05 < one.mean() < 0.8
    torch.testing.assert_close(v_one, v_two)
    for mine, plain in zip(g_one, g_two, strict=True):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize(("cls", "alpha", "name", "window"), SURROGATES)
def test_surrogates(cls, alpha, name, window):
    x = torch.linspace(-2.003, 1.999, 500, dtype=torch.float64, requires_grad=True)
    one, = torch.autograd.grad(spike(x, window, name).sum(), x)
    two, = torch.autograd.grad(getattr(surrogate, cls)(alpha)(x).sum(), x)
    torch.testing.assert_close(one, two)


@pytest.fixture(params=SURROGATES, ids=lambda row: row[2])
def pair(request):
    """(our options, their options) for the same surrogate."""
    cls, alpha, name, window = request.param
    return ({"surrogate": name, "window": window},
            {"surrogate_function": getattr(surrogate, cls)(alpha), "step_mode": "m"})


@pytest.mark.parametrize(("v_reset", "detach"), RESETS)
def test_qif(pair, v_reset, detach):
    ours, theirs = pair
    compare(QIFEuler(2.0, 1.0, 0.0, 0.8, v_reset=v_reset, detach_reset=detach, **ours),
            neuron.QIFNode(tau=2.0, v_c=0.8, a0=1.0, v_threshold=1.0, v_rest=0.0, v_reset=v_reset,
                           detach_reset=detach, **theirs))


@pytest.mark.parametrize(("v_reset", "detach"), RESETS)
@pytest.mark.parametrize("decay_input", [True, False])
def test_lif(pair, v_reset, detach, decay_input):
    ours, theirs = pair
    compare(LIF(1 - 1 / 1.5, gain=1 / 1.5 if decay_input else 1.0, v_rest=v_reset or 0.0,
                v_reset=v_reset, detach_reset=detach, **ours),
            neuron.LIFNode(tau=1.5, decay_input=decay_input, v_reset=v_reset,
                           detach_reset=detach, **theirs))


@pytest.mark.parametrize(("v_reset", "detach"), RESETS)
@pytest.mark.parametrize("decay_input", [True, False])
def test_plif(pair, v_reset, detach, decay_input):
    ours, theirs = pair
    one = PLIF(1.5, decay_input=decay_input, v_reset=v_reset, detach_reset=detach, **ours)
    two = neuron.ParametricLIFNode(init_tau=1.5, decay_input=decay_input, v_reset=v_reset,
                                   detach_reset=detach, **theirs)
    one.double()
    two.double()
    with torch.no_grad():       # the same to the last bit, not only to that of a float32
        one.w.copy_(two.w)
    compare(one, two, parameters=[(one.w, two.w)])


@pytest.mark.parametrize(("v_reset", "detach"), RESETS)
def test_if(pair, v_reset, detach):
    ours, theirs = pair
    compare(IF(v_reset=v_reset, detach_reset=detach, **ours),
            neuron.IFNode(v_reset=v_reset, detach_reset=detach, **theirs))


def test_clif(pair):
    ours, theirs = pair
    compare(CLIF(2.0, **ours), neuron.ComplementaryLIFNode(tau=2.0, **theirs))


@pytest.fixture
def glifs(pair):
    """(our GLIF with soft gates, theirs) with the same values, and the pairs of parameters."""
    ours, theirs = pair
    torch.manual_seed(3)
    one, two = GLIF(8, channels=5, gates="soft", **ours), neuron.GatedLIFNode(8, 5, **theirs)
    one.double()
    two.double()
    pairs = [(one.logit_tau, two.tau), (one.logit_conduct, two.conduct),
             (one.logit_threshold, two.v_threshold), (one.logit_leak, two.linear_decay),
             (one.logit_subtract, two.v_subreset)]
    gates = 0.4 * torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for gate, value in zip((two.alpha, two.beta, two.gamma), gates, strict=True):
            gate.copy_(value)
        one.logit_gates.copy_(gates)
        for mine, plain in pairs:
            plain.add_(0.3 * torch.randn_like(plain))
            mine.copy_(plain)
    return one, two, pairs


def test_glif_with_soft_gates(glifs):
    one, two, pairs = glifs
    compare(one, two, shape=(8, 3, 5, 2, 2), parameters=pairs)
    # one parameter of gates here, three there
    x = 0.5 + 1.5 * torch.randn(8, 3, 5, 2, 2, dtype=torch.float64)
    mine, = torch.autograd.grad(_fresh(one)(x).square().sum() + one.v.sum(), one.logit_gates)
    plain = torch.autograd.grad(_fresh(two)(x).square().sum() + two.v.sum(),
                                (two.alpha, two.beta, two.gamma))
    torch.testing.assert_close(mine, torch.stack(plain))


def _fresh(module):
    module.reset()
    return module


def test_glif_with_hard_gates(glifs):
    """Its step with gates of 0 and 1; their gradient goes through the step to sigmoid(p)."""
    one, two, pairs = glifs
    one.gates = "hard"
    shares = one.logit_gates.detach().sigmoid()
    gates = (shares > 0.5).double().requires_grad_()
    assert 0 < gates.mean() < 1
    x = (0.5 + 1.5 * torch.randn(8, 3, 5, 2, 2, dtype=torch.float64)).requires_grad_()
    tau, conduct, threshold, leak, subtract = (
        plain.sigmoid().unflatten(-1, (5, 1, 1)) for _, plain in pairs)
    spike, v = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    spikes = []
    for t, current in enumerate(x):
        alpha, beta, gamma = gates.unflatten(-1, (5, 1, 1))
        spike, v = functional.gated_lif_step(
            current, v, spike, alpha, beta, gamma, tau, threshold, leak, subtract, conduct[t],
            two.surrogate_function)
        spikes.append(spike)
    theirs, ours = torch.stack(spikes), one(x)
    assert torch.equal(ours, theirs) and 0.05 < ours.mean() < 0.8
    readout = torch.randn(x.shape, dtype=torch.float64)
    mine = torch.autograd.grad((ours * readout).sum() + one.v.square().sum(),
                               [x, one.logit_gates, *(mine for mine, _ in pairs)])
    plain = torch.autograd.grad((theirs * readout).sum() + v.square().sum(),
                                [x, gates, *(plain for _, plain in pairs)])
    for place, (got, wanted) in enumerate(zip(mine, plain, strict=True)):
        torch.testing.assert_close(got, wanted * shares * (1 - shares) if place == 1 else wanted)
