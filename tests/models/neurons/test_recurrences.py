"""All neurons against recurrences written out plainly, and the forms of QIF against each other."""

import math
from dataclasses import replace

import pytest
import torch

from quadfire.models.networks.mlp import SpikingMLP
from quadfire.models.neurons import (
    ARLIF,
    CLIF,
    GLIF,
    IF,
    KINDS,
    LIF,
    PLIF,
    QIF,
    ConstantLeakIF,
    QIFCanonical,
    QIFEuler,
    euler_to_root,
    make_neuron,
    root_to_euler,
)
from quadfire.models.quantize.quantize import quantize
from quadfire.models.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    write,
)


def soft_spike(x, w=0.5):
    """A step with the derivative of a rectangle, by autograd of an ordinary function."""
    ramp = ((x + w) / (2 * w)).clamp(0, 1)
    return ramp + ((x >= 0).to(x.dtype) - ramp).detach()


def run_plain(recurrence, x, *state):
    spikes = []
    for step, current in enumerate(x):
        s, *state = recurrence(step, current, *state)
        spikes.append(s)
    return torch.stack(spikes), state


def reset(v, s, v_reset, detach, threshold=1.0):
    s = s.detach() if detach else s
    return v - threshold * s if v_reset is None else (1 - s) * v + v_reset * s


def logistic(x):
    return 1 / (1 + torch.exp(-x))


def compare(neuron, recurrence, parameters=(), state=1, shape=(9, 6, 5), scale=1.0):
    """Spikes, state and gradients of the module and of the recurrence, in float64."""
    neuron.double()
    generator = torch.Generator().manual_seed(4)
    x = (0.4 + 1.2 * scale * torch.randn(shape, generator=generator, dtype=torch.float64))
    x.requires_grad_()
    readout = torch.randn(shape, generator=generator, dtype=torch.float64)
    start = [torch.full_like(x[0], neuron.v_initial if i == 0 else 0.0) for i in range(state)]
    expected, last = run_plain(recurrence, x, *start)
    found = neuron(x)
    assert torch.equal(found.detach(), expected.detach())
    assert 0.02 < found.mean() < 0.9
    for ours, theirs in zip(neuron.state, last, strict=False):
        torch.testing.assert_close(ours, theirs)
    wanted = [x, *parameters]
    ours = torch.autograd.grad((found * readout).sum() + neuron.v.sum(), wanted, allow_unused=True)
    theirs = torch.autograd.grad((expected * readout).sum() + last[0].sum(), wanted,
                                 allow_unused=True)
    for mine, plain in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, plain)
    return found


RESETS = [(0.0, False), (0.0, True), (-0.25, False), (None, False), (None, True)]
resets = pytest.mark.parametrize(("v_reset", "detach"), RESETS)


@resets
@pytest.mark.parametrize("learn", [False, True])
def test_qif(v_reset, detach, learn):
    neuron = QIF(0.25, 0.1, 0.5, v_reset=v_reset, detach_reset=detach, learn=learn)

    def recurrence(step, x, v):
        v = neuron.a * (v - neuron.u1) * (v - neuron.u2) + x
        s = soft_spike(v - 1)
        return s, reset(v, s, v_reset, detach)

    compare(neuron, recurrence, tuple(neuron.parameters()))


@resets
def test_qif_euler(v_reset, detach):
    def recurrence(step, x, v):
        v = v + (x + 0.5 * (v - 0.1) * (v - 0.8)) / 1.5
        s = soft_spike(v - 1)
        return s, reset(v, s, v_reset, detach)

    compare(QIFEuler(1.5, 0.5, 0.1, 0.8, v_reset=v_reset, detach_reset=detach), recurrence)


@resets
@pytest.mark.parametrize("decay_input", [True, False])
def test_plif(v_reset, detach, decay_input):
    neuron = PLIF(1.6, decay_input=decay_input, v_reset=v_reset, detach_reset=detach)
    rest = v_reset or 0.0

    def recurrence(step, x, v):
        k = logistic(neuron.w)
        v = v + k * ((x if decay_input else 0) - (v - rest)) + (0 if decay_input else x)
        s = soft_spike(v - 1)
        return s, reset(v, s, v_reset, detach)

    assert 1 / torch.sigmoid(neuron.w).item() == pytest.approx(1.6)
    compare(neuron, recurrence, (neuron.w,))


@resets
@pytest.mark.parametrize("towards_rest", [False, True])
def test_constant_leak(v_reset, detach, towards_rest):
    def recurrence(step, x, v):
        if towards_rest:
            v = torch.where(v > 0.3, v - 0.3, torch.where(v < -0.3, v + 0.3, torch.zeros_like(v)))
        else:
            v = v - 0.3
        v = v + x
        s = soft_spike(v - 1)
        return s, reset(v, s, v_reset, detach)

    compare(ConstantLeakIF(0.3, towards_rest=towards_rest, v_reset=v_reset, detach_reset=detach),
            recurrence)


@pytest.mark.parametrize("detach", [False, True])
def test_clif(detach):
    def recurrence(step, x, v, m):
        v = v * (1 - 1 / 1.8) + x
        s = soft_spike(v - 1)
        m = m * logistic(v / 1.8) + s
        return s, v - (s.detach() if detach else s) * (1 + logistic(m)), m

    compare(CLIF(1.8, detach_reset=detach), recurrence, state=2)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("channels", [None, 6])
@pytest.mark.parametrize("gates", ["hard", "soft"])
def test_glif(detach, channels, gates):
    torch.manual_seed(2)
    neuron = GLIF(5, channels=channels, gates=gates, detach_reset=detach)

    def gate(p):
        share = logistic(p)
        return share if gates == "soft" else (share > 0.5) + share - share.detach()

    def recurrence(step, x, v, s):
        reset = s.detach() if detach else s
        alpha, beta, gamma = gate(neuron.logit_gates)
        tau, conduct = logistic(neuron.logit_tau), logistic(neuron.logit_conduct)[min(step, 4)]
        leak, subtract, threshold = (logistic(getattr(neuron, f"logit_{name}"))
                                     for name in ("leak", "subtract", "threshold"))
        # exponential and linear decay, hard and soft reset, gated each by its own share
        v = (v * (1 - gamma * reset) * (alpha * tau + 1 - alpha) - leak * (1 - alpha)
             + x * (beta * conduct + 1 - beta) - subtract * reset * (1 - gamma))
        s = soft_spike(v - threshold)
        return s, v, s

    compare(neuron, recurrence, tuple(neuron.parameters()), state=2,
            shape=(9, 4, 6))


def test_glif_gates_are_the_four_neurons():
    """alpha 1: exponential leak, 0: linear; gamma 1: hard reset, 0: soft. Small logits suffice."""
    x = torch.randn(12, 4, 6, generator=torch.Generator().manual_seed(7), dtype=torch.float64)

    def glif(alpha, gamma):
        neuron = GLIF(4, tau=0.5, leak=0.125, subtract=0.5, v_threshold=0.5).double()
        with torch.no_grad():
            neuron.logit_gates.copy_(0.01 * torch.tensor([alpha, -1, gamma]))
        return neuron

    half = {"v_threshold": 0.5}
    for alpha, gamma, peer in ((1, 1, LIF(0.5, **half)), (-1, 1, ConstantLeakIF(0.125, **half)),
                               (-1, -1, ConstantLeakIF(0.125, v_reset=None, **half))):
        assert torch.equal(glif(alpha, gamma)(x), peer(x))


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("channels", [None, 6])
def test_arlif(detach, channels):
    """The lines of the authors' code, one by one."""
    neuron = ARLIF(0.6, channels=channels, detach_reset=detach)
    assert (neuron.a == 0).all() and (neuron.c == 1).all()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in neuron.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))

    def recurrence(step, x, v, m):
        a, c = neuron.a, neuron.c
        v = 0.6 * v + x
        s = soft_spike(v - 1 - a.tanh() * x.tanh())
        m = m.relu() * logistic(c * x) + -(-m).relu() * (1 - logistic(c * x))
        m = m + s * logistic(x) - (1 - s) * logistic(x)
        return s, v - (s.detach() if detach else s) * (1 + logistic(m) + a.tanh() * x.tanh()), m

    compare(neuron, recurrence, tuple(neuron.parameters()), state=2, shape=(9, 4, 6))


def test_arlif_subtracts_more_the_more_it_fires():
    """By hand: x = 1.5 fires always; m is sigmoid(1.5), then 2 k sigmoid(1.5) with k the same."""
    neuron, share = ARLIF().double(), 1 / (1 + math.exp(-1.5))
    neuron(torch.full((2, 1, 1), 1.5, dtype=torch.float64))
    first = 1.5 - 1 - 1 / (1 + math.exp(-share))
    m = share * share + share
    assert neuron.state[1].item() == pytest.approx(m)
    assert neuron.v.item() == pytest.approx(first / 2 + 1.5 - 1 - 1 / (1 + math.exp(-m)))


@pytest.mark.parametrize(("kind", "former"), [("arlif", "logit_memory"), ("glif", "log_threshold")])
def test_weights_of_former_equations_are_refused(kind, former, tmp_path):
    network = SpikingMLP([6, 5, 3], make_neuron(kind), 4)
    state = network.state_dict()
    config = network.config()
    config["neuron"] = {name: value for name, value in config["neuron"].items() if name != "gates"}
    old = {name: value for name, value in state.items() if ".neuron." not in name}
    write(tmp_path / "old.safetensors", "quadfire-checkpoint",
          {**old, f"hidden.0.neuron.{former}": torch.zeros(())}, {"config": config, "about": {}})
    with pytest.raises(CheckpointError, match=f"hidden.0.neuron: its weights were trained with the "
                                              f"former equations of '{kind}'.*train it anew"):
        load_checkpoint(tmp_path / "old.safetensors")


# What every neuron does ---------------------------------------------------------------------------

ALL = [{"kind": kind, "window": 0.7, "surrogate": "arctan", "detach_reset": True}
       for kind in KINDS if kind != "qif_canonical"]
ALL += [{"kind": "qif_canonical", "v_threshold": 0.4, "gain": 0.25, "v_start": -0.05},
        {"kind": "qif", "learn": True, "channels": 5}, {"kind": "plif", "channels": 5},
        {"kind": "glif", "channels": 5, "steps": 3, "gates": "soft"},
        {"kind": "glif", "channels": 5}, {"kind": "arlif", "channels": 5},
        {"kind": "lif", "limits": (-2.0, 2.0), "v_reset": None}]


@pytest.mark.parametrize("config", ALL, ids=lambda config: config["kind"])
def test_single_steps_are_the_sequence(config):
    torch.manual_seed(1)
    whole = make_neuron(**config)
    single = make_neuron(**{**config, "step_mode": "s"})
    single.load_state_dict(whole.state_dict())
    assert make_neuron(**whole.config()).config() == whole.config()
    x = torch.randn(7, 4, 5, generator=torch.Generator().manual_seed(6))
    spikes = whole(x)
    assert torch.equal(torch.stack([single(current) for current in x]), spikes)
    assert 0 < whole.rate < 1
    whole.reset()
    state, pure = whole.initial(x[0]), []
    for current in x:
        fired, *state = whole.step(current, *state)
        whole.elapsed += 1
        pure.append(fired)
    assert torch.equal(torch.stack(pure), spikes)
    whole.reset()
    assert whole.v is None
    parts = torch.cat([whole(x[:3]), whole(x[3:])])
    assert torch.equal(parts, spikes)


@pytest.mark.parametrize("config", ALL, ids=lambda config: config["kind"])
def test_convolutional_shapes(config):
    torch.manual_seed(1)
    flat, square = make_neuron(**config), make_neuron(**config)
    square.load_state_dict(flat.state_dict())
    x = torch.randn(4, 3, 5, 2, 2)
    ours = square(x).permute(0, 1, 3, 4, 2).reshape(4, 12, 5)
    assert torch.equal(ours, flat(x.permute(0, 1, 3, 4, 2).reshape(4, 12, 5)))


@pytest.mark.parametrize("config", ALL, ids=lambda config: config["kind"])
def test_checkpoint_holds_any_neuron(config, tmp_path):
    torch.manual_seed(1)
    network = SpikingMLP([6, 5, 3], make_neuron(**config), 4).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01 * torch.rand(parameter.shape))
    save_checkpoint(tmp_path / "net.safetensors", network, {})
    again, _ = load_checkpoint(tmp_path / "net.safetensors")
    pixels = torch.randint(0, 256, (20, 6), dtype=torch.uint8)
    assert torch.equal(again(pixels), network(pixels))


# Forms of QIF -------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
@pytest.mark.parametrize("window", [0.6, "analytic"])
@pytest.mark.parametrize("neuron", [QIF, QIFEuler])
def test_canonical_form_has_the_same_spikes_and_gradients(neuron, v_reset, window):
    ours = neuron(v_reset=v_reset, window=window, limits=(-3.0, 3.0))
    form = QIFCanonical.of(ours)
    x = torch.randn(9, 6, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    x.requires_grad_()
    c = ours.canonical()
    assert form.canonical() == replace(c, scale=1.0, center=0.0)
    expected, found = ours(x), form(x)
    assert torch.equal(found, expected) and 0.05 < found.mean() < 0.7
    torch.testing.assert_close(form.v / c.scale + c.center, ours.v)
    readout = torch.randn(x.shape, dtype=torch.float64)
    one, = torch.autograd.grad((expected * readout).sum(), x)
    # the surrogate of w is that of u divided by the scale
    two, = torch.autograd.grad((found * readout).sum(), x)
    torch.testing.assert_close(one, two)


def test_root_and_euler_forms_convert_exactly():
    x = torch.randn(9, 6, 5, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    a, u1, u2, tau = 0.25, 0.0, 0.5, 1.6
    a0, v_rest, v_c = root_to_euler(a, u1, u2, tau)
    root, euler = QIF(a, u1, u2), QIFEuler(tau, a0, v_rest, v_c)
    assert torch.equal(root(x), euler(tau * x))
    torch.testing.assert_close(root.v, euler.v)
    points = root.quadratic_map().fixed_points()
    assert (v_rest, v_c) == pytest.approx((points.rest, points.escape))
    assert euler_to_root(tau, a0, v_rest, v_c) == pytest.approx((a, u1, u2, 1 / tau))
    # the identity of the study: Euler(k, 0, uc) is root(k, 0, uc - 1/k)
    assert euler_to_root(1.0, 0.25, 0.0, 2.0) == pytest.approx((0.25, -2.0, 0.0, 1.0))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: root_to_euler(0.25, 0.0, -4.5), None),
    (lambda: root_to_euler(0.5, -1.0, -2.0), "complex"),
    (lambda: euler_to_root(2.0, 1.0, 0.5, 0.8), "roots u1 and u2 are complex"),
])
def test_conversions_refuse_what_is_complex(make, message):
    if message is None:
        assert all(math.isfinite(value) for value in make())
    else:
        with pytest.raises(ValueError, match=message):
            make()


# To the array -------------------------------------------------------------------------------------


@pytest.mark.parametrize("neuron", [
    QIFEuler(2.0, 1.0, 0.0, 0.8), PLIF(2.0), ConstantLeakIF(0.125), QIF(0.25, learn=True),
    QIFCanonical.of(QIF()), IF(), LIF(0.5, gain=0.5, v_rest=-0.1)])
def test_quantizes(neuron):
    torch.manual_seed(1)
    network = SpikingMLP([8, 6, 3], neuron, 4, alpha=0.8).eval()
    assert len(quantize(network).layers) == 2


@pytest.mark.parametrize("neuron", [CLIF(), GLIF(), ARLIF(), ConstantLeakIF(towards_rest=True)])
def test_no_canonical_form(neuron):
    with pytest.raises(ValueError, match="has no canonical form: the array cannot run it"):
        neuron.canonical()


@pytest.mark.parametrize("neuron", [QIF(learn=True, channels=3), PLIF(channels=3)])
def test_no_canonical_form_per_channel(neuron):
    with pytest.raises(ValueError, match="no canonical form with a parameter per channel"):
        neuron.canonical()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: CLIF(v_reset=0.0), "v_reset must be None"),
    (lambda: GLIF(v_reset=0.0), "v_reset must be None"),
    (lambda: ARLIF(v_reset=0.0), "v_reset must be None"),
    (lambda: PLIF(1.0), "tau must be above 1"), (lambda: CLIF(0.5), "tau must be above 1"),
    (lambda: QIFEuler(a0=0.0), "a0 must be above 0"),
    (lambda: ConstantLeakIF(-0.1), "leak must not be below 0"),
    (lambda: GLIF(tau=1.0), "tau must be in 0..1"), (lambda: GLIF(0), "steps must be above 0"),
    (lambda: GLIF(v_threshold=1.0), "v_threshold must be in 0..1"),
    (lambda: GLIF(leak=1.5), "leak must be in 0..1"), (lambda: GLIF(gates="firm"), "hard or soft"),
    (lambda: LIF(step_mode="x"), "step_mode must be 'm' or 's'"),
    (lambda: LIF(alpha=0), "alpha must be above 0"),
    (lambda: QIFCanonical.of(LIF()), "is linear"),
    (lambda: CLIF().quadratic_map(), "no map of the line"),
])
def test_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
