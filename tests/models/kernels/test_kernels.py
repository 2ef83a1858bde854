"""The kernels against plain PyTorch: spikes, states, gradients, statistics."""

import copy
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from quadfire.models import kernels
from quadfire.models.kernels import Affine, Quadratic, convolution, events, native, winograd
from quadfire.models.networks import make_network
from quadfire.models.neurons import LIF, make_neuron
from quadfire.models.neurons.surrogate import SURROGATES
from quadfire.models.quantize.quantize import to_grid

pytestmark = [pytest.mark.fast, pytest.mark.skipif(
    native.library() is None, reason="the kernels of C++ are not built: no compiler")]

#: Where kernels are chosen.
MODULES = [sys.modules[f"quadfire.models.kernels.{name}"]
           for name in ("neuron", "convolution", "pool")]

FORMS = {
    "qif": {"a": 0.25, "u1": 0.0, "u2": -2.0}, "qif_euler": {}, "qif_canonical": {"gain": 0.5},
    "lif": {"beta": 0.5, "gain": 0.8, "v_rest": 0.1}, "plif": {}, "if": {},
    "constant_leak": {}}


@pytest.fixture
def plain(monkeypatch):
    """A function that switches the kernels off."""
    def off():
        for module in MODULES:
            monkeypatch.setattr(module, "library", lambda: None)
    return off


def parts(count, shape, given, own, generator):
    """Inputs of a layer of neurons, each with its parameters as leaves."""
    found = []
    for _ in range(count):
        x = torch.randn(given, *shape, generator=generator).requires_grad_()
        weight = (0.5 + torch.rand(shape[1], generator=generator)).requires_grad_()
        bias = (0.4 * torch.randn(shape[1], generator=generator)).requires_grad_()
        mean, var = torch.randn(shape[1], generator=generator), \
            torch.rand(shape[1], generator=generator) + 0.5
        found.append(Affine(x, weight, bias, None if own else mean, None if own else var, 1e-5))
    return found


@pytest.mark.parametrize(
    ("surrogate", "reset", "limits", "detach", "shape", "given", "own", "inputs"),
    [*((surrogate, reset, None, False, (2, 11, 3, 5), 3, True, 1)
       for surrogate in SURROGATES for reset in (0.0, -0.1, None)),
     ("rectangular", None, (-1.0, 1.2), False, (2, 16, 3, 3), 3, True, 1),
     ("arctan", 0.2, (-1.0, 1.2), True, (2, 9), 3, False, 1),
     ("rectangular", 0.0, None, False, (3, 8, 4, 4), 1, True, 1),
     ("triangular", None, None, False, (3, 13), 1, False, 2),
     ("sigmoid", 0.0, None, False, (2, 24, 5, 5), 3, True, 2)])
@pytest.mark.parametrize("begun", [False, True])
def test_fused_is_the_reference(surrogate, reset, limits, detach, shape, given, own, inputs, begun):
    """Spikes, state, running moments, and gradients by everything that has one: within 1e-5."""
    check_fused(surrogate, reset, limits, detach, shape, given, own, inputs, begun)


def check_fused(surrogate, reset, limits, detach, shape, given, own, inputs, begun):
    """`fused` against `reference`."""
    generator = torch.Generator().manual_seed(3)
    results = []
    for run in (kernels.fused, kernels.reference):
        generator.manual_seed(3)
        given_parts = parts(inputs, shape, given, own, generator)
        seen: list = []
        given_parts = [part._replace(observe=lambda *found, to=seen: to.append(found))
                       for part in given_parts]
        c2, c1, c0, gain = (value.requires_grad_() for value in (
            torch.rand(shape[1], generator=generator) * 0.3,
            torch.rand(shape[1], generator=generator), torch.tensor(0.05), torch.tensor(0.9)))
        begin = torch.randn(shape, generator=generator).requires_grad_() if begun else None
        neuron = Quadratic(c2, c1, c0, gain, 1.0, 0.7, 0.1, reset, 0.8 if reset is None else None,
                           limits, surrogate, detach)
        found = run(given_parts, neuron, 3, begin)
        assert found.spikes.shape == (3, *shape) and found.end.shape == shape
        by_spikes, by_end = (torch.randn(t.shape, generator=generator)
                             for t in (found.spikes, found.end))
        leaves = [t for part in given_parts for t in part[:3]] + [c2, c1, c0, gain]
        leaves += [] if begin is None else [begin]
        grads = torch.autograd.grad((found.spikes * by_spikes).sum() + (found.end * by_end).sum(),
                                    leaves)
        results.append((found, grads, seen))
    (mine, my_grads, my_seen), (theirs, their_grads, their_seen) = results
    assert torch.equal(mine.spikes, theirs.spikes)
    assert 0.02 < mine.spikes.mean() < 0.98
    assert mine.rate == pytest.approx(float(theirs.rate), abs=1e-6)
    assert torch.allclose(mine.end, theirs.end, atol=1e-5)
    for one, other in zip(my_grads, their_grads, strict=True):
        assert (one - other).abs().max() < 1e-5 * max(1.0, other.abs().max().item())
    assert len(my_seen) == len(their_seen) == (inputs if own else 0)
    for one, other in zip(my_seen, their_seen, strict=True):
        assert torch.allclose(one[0], other[0], atol=1e-6) and one[2] == other[2]
        assert torch.allclose(one[1], other[1], rtol=1e-5)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("soft", [False, True])
def test_a_neuron_fused_is_the_neuron(kind, soft, plain):
    """Over two calls, so that the state goes on: spikes, potentials, gradients, learnt ones too."""
    neuron = make_neuron(kind, **FORMS[kind], window=0.8, v_reset=None if soft else 0.0)
    other = copy.deepcopy(neuron)
    torch.manual_seed(1)
    x, weights = torch.randn(2, 3, 4, 7, 3, 3), torch.randn(2, 3, 4, 7, 3, 3)
    found = []
    for each in (neuron, other):
        if each is other:
            plain()
        current = x.clone().requires_grad_()
        assert each.fusible(current) == (each is neuron)
        out = torch.stack([each(half) for half in current])
        (out * weights).sum().backward()
        found.append((out, each.v, current.grad, [p.grad for p in each.parameters()], each.rate))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
    assert torch.allclose(found[0][2], found[1][2], atol=1e-5)
    for one, two in zip(found[0][3], found[1][3], strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-5)
    assert found[0][4] == pytest.approx(found[1][4])


def test_empty_and_odd_currents(plain):
    """No images, one neuron, no step at all, values that are no numbers: as without kernels."""
    found = []
    for fast in (True, False):
        if not fast:
            plain()
        neuron = make_neuron("lif")
        assert neuron(torch.zeros(4, 0, 7)).shape == (4, 0, 7)
        neuron.reset()
        with pytest.raises(ValueError, match="needs a time step"):
            neuron(torch.zeros(0, 2, 7))
        spikes = neuron(torch.tensor([[[torch.nan], [2.0]], [[0.0], [1.0]]]))
        found.append((spikes, neuron.v))
        single = make_neuron("qif", step_mode="s")
        found[-1] += (single(torch.ones(2, 3)), single(torch.ones(2, 3)), single.v)
        x = torch.ones(3, 2, 3, 4, requires_grad=True)
        make_neuron("qif", window=2.0)(x).mean().backward()     # a gradient without memory
        found[-1] += (x.grad,)
    for one, two in zip(*found, strict=True):
        assert torch.allclose(one, two, equal_nan=True)


class _Always(LIF):
    """A subclass with a step of its own: it always fires."""

    kind = "always"

    @staticmethod
    def function(x, v, **options):
        return torch.ones_like(x), v


def test_what_is_no_quadratic_map_runs_its_own_step():
    """Without a map of their own: a leak that stops at 0, and a step that a subclass changes."""
    x = torch.randn(3, 2, 8)
    assert torch.equal(_Always()(x), torch.ones_like(x))
    neuron = make_neuron("constant_leak", towards_rest=True)
    assert not neuron.fusible(x)
    state, spikes = (torch.zeros(2, 8),), []
    for current in x:
        fired, *state = neuron.step(current, *state)
        spikes.append(fired)
    assert torch.equal(neuron(x), torch.stack(spikes))
    for kind, options in FORMS.items():
        assert make_neuron(kind, **options).fusible(x), kind


def test_a_state_of_another_kind_is_no_state_of_the_kernel():
    """Of double precision: computed in it. Of other images: refused, as without the kernel."""
    neuron = make_neuron("lif")
    neuron(torch.randn(2, 4, 8).double())
    neuron(torch.randn(2, 4, 8))
    assert neuron.v.dtype == torch.float64
    for channels in (None, 8):
        neuron = make_neuron("qif", learn=True, channels=channels)
        neuron(torch.randn(2, 4, 8))
        with pytest.raises(RuntimeError, match="must match"):
            neuron(torch.randn(2, 4000, 8))
    x = torch.randn(2, 4, 8)
    quadratic = Quadratic(0.0, 0.5, 0.0, 1.0, 1.0, 0.5, 0.0)
    for inputs, begin, told in (
            ([Affine.identity(x), Affine.identity(x[:1])], None, "alike"),
            ([Affine.identity(x)], torch.zeros(5, 8), "the state must be"),
            ([Affine.identity(x)], torch.zeros(4, 8).double(), "the state must be")):
        with pytest.raises(ValueError, match=told):
            kernels.fused(inputs, quadratic, 2, begin)


def test_there_are_no_wrong_second_derivatives(plain):
    x = torch.randn(3, 2, 8, requires_grad=True)
    neuron = make_neuron("qif")
    with pytest.raises(RuntimeError, match="no second derivatives.*QUADFIRE_NATIVE=0"):
        torch.autograd.grad(neuron(x).sum(), x, create_graph=True)
    plain()
    neuron.reset()
    (once,) = torch.autograd.grad(neuron(x).sum(), x, create_graph=True)
    assert once.requires_grad


def test_threads_change_nothing():
    torch.manual_seed(2)
    x, before, found = torch.randn(4, 30, 16, 9, 9), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            part = Affine(x.clone().requires_grad_(), torch.ones(16, requires_grad=True),
                          torch.zeros(16), None, None)
            make_neuron("qif").fused([part], 4).square().sum().backward()
            found.append((part.x.grad, part.weight.grad))
    finally:
        torch.set_num_threads(before)
    for grads in found[1:]:
        assert all(map(torch.equal, grads, found[0]))


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("learn", [False, True])
def test_a_network_with_and_without_kernels(steps, learn, plain):
    """Whole networks, plain and residual: logits, gradients, running means, rates."""
    for text in ("16C3-P2-24C3S2-AP2-12-10", "resnet"):
        torch.manual_seed(0)
        neuron = make_neuron("qif", a=0.25, u1=0.0, u2=-2.0, window=1.0, learn=learn)
        name, width = ("resnet19", 0.125) if text == "resnet" else (text, 1.0)
        net = make_network(name, neuron, input_shape=(3, 12, 12), classes=10, steps=steps,
                           width=width)
        images, labels = torch.randint(256, (6, 3, 12, 12), dtype=torch.uint8), torch.arange(6)
        found = []
        for fast in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                if not fast:
                    for module in MODULES:
                        patch.setattr(module, "library", lambda: None)
                each = copy.deepcopy(net)
                logits = each(images)
                functional.cross_entropy(logits, labels).backward()
                found.append((logits, each.state_dict(),
                              {key: p.grad for key, p in each.named_parameters()}, each.rates))
        (mine, my_state, my_grads, my_rates), (other, state, grads, rates) = found
        assert torch.allclose(mine, other, atol=1e-4)
        assert my_rates == pytest.approx(rates, abs=1e-4)
        for key, value in state.items():
            assert torch.allclose(my_state[key], value, atol=1e-4), key
        for key, value in grads.items():
            assert (my_grads[key] - value).abs().max() < 1e-4 * max(1, value.abs().max()), key


@pytest.mark.parametrize(("shape", "outputs", "kernel", "stride"), [
    ((3, 16, 9, 7), 64, 3, 1), ((10, 8, 4, 4), 32, 3, 1), ((2, 24, 8, 8), 16, 5, 1),
    ((3, 16, 9, 7), 8, 3, 2), ((5, 16, 6, 6), 96, 1, 1), ((5, 16, 7, 6), 8, 1, 2)])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.9])
def test_convolve_is_the_convolution(shape, outputs, kernel, stride, density):
    """With few and with many spikes, values other than 1 among them; border, stride and tile."""
    torch.manual_seed(4)
    conv = nn.Conv2d(shape[1], outputs, kernel, stride, kernel // 2, bias=False)
    x = ((torch.rand(shape) < density) * (1 + (torch.rand(shape) < 0.2)).float())
    x = x.contiguous(memory_format=torch.channels_last)
    results = []
    for run in (convolution.convolve, lambda c, x: c(x)):
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        conv.zero_grad()
        out = run(conv, leaf)
        by_out = torch.randn(out.shape, generator=torch.Generator().manual_seed(5))
        by_out = by_out * (torch.rand(out.shape,
                                      generator=torch.Generator().manual_seed(6)) < density)
        out.backward(by_out)
        results.append((out, leaf.grad, conv.weight.grad))
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize(("shape", "outputs"), [
    ((3, 9, 7, 16), 24), ((70, 4, 4, 8), 8), ((2, 8, 8, 64), 32), ((1, 1, 1, 8), 16)])
def test_both_ways_of_a_convolution(shape, outputs):
    """Outputs and gradients of events and of Winograd's way, on dense and signed values."""
    torch.manual_seed(6)
    x, weight = torch.randn(shape), torch.randn(outputs, shape[-1], 3, 3)
    by_out = torch.randn(*shape[:3], outputs)
    leaf = weight.clone().requires_grad_()
    want = functional.conv2d(x.permute(0, 3, 1, 2), leaf, padding=1)
    want.backward(by_out.permute(0, 3, 1, 2))
    for way, forward in ((events, lambda x, w: events.forward(x, w, 1)),
                         (winograd, winograd.forward)):
        out = forward(x, weight).permute(0, 3, 1, 2)
        assert (out - want).abs().max() < 2e-5 * want.abs().max()
        grad = way.by_weights(x, by_out, *((3,) if way is events else ()))
        assert (grad - leaf.grad).abs().max() < 2e-5 * leaf.grad.abs().max()


def test_what_the_kernel_of_convolutions_does_not_know_is_left_to_pytorch():
    for conv in (nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 3),
                 nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"),
                 nn.Conv2d(8, 8, (3, 1), padding=(1, 0)), nn.Conv2d(8, 8, 3, padding=1).double(),
                 nn.Conv2d(8, 8, 3, padding=2, dilation=2)):
        x = torch.randn(2, 8, 6, 6, dtype=conv.weight.dtype)
        assert not convolution._suited(conv, x)
        assert torch.equal(convolution.convolve(conv, x), conv(x))
    with_bias = nn.Conv2d(8, 8, 3, padding=1)
    x = (torch.rand(2, 8, 6, 6) < 0.1).float()
    assert torch.allclose(convolution.convolve(with_bias, x), with_bias(x), atol=1e-6)


@pytest.mark.parametrize(("size", "height", "width"), [(2, 8, 6), (2, 7, 5), (3, 9, 10)])
def test_pool_is_max_pool(size, height, width):
    torch.manual_seed(5)
    x = (torch.rand(3, 5, height, width) < 0.3).float().contiguous(
        memory_format=torch.channels_last)
    one, two = (x.clone(memory_format=torch.preserve_format).requires_grad_() for _ in range(2))
    mine, theirs = kernels.pool(one, size), functional.max_pool2d(two, size)
    by_out = torch.randn(mine.shape)
    mine.backward(by_out)
    theirs.backward(by_out)
    assert torch.equal(mine, theirs) and torch.equal(one.grad, two.grad)


def test_without_a_compiler_there_is_a_warning_and_plain_pytorch(monkeypatch, tmp_path):
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho 'no such flag' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(UserWarning, match="plain PyTorch trains instead.*no such flag"):
        assert native.library.__wrapped__() is None
    broken.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("CXX", f"{broken} -pipe")
    with pytest.warns(UserWarning, match="plain PyTorch trains instead.*exit status 1"):
        assert native.library.__wrapped__() is None
    monkeypatch.setenv("CXX", "g++ -pipe")
    assert native.library.__wrapped__() is not None
    monkeypatch.setenv("QUADFIRE_NATIVE", "0")
    assert native.library.__wrapped__() is None


@pytest.mark.parametrize("neuron", [
    {"kind": "qif", "a": 0.25, "u1": 0.0, "u2": -2.0, "window": 1.0}, {"kind": "lif"},
    {"kind": "lif", "v_reset": None, "limits": (-3.0, 3.0), "surrogate": "arctan"}])
@pytest.mark.parametrize("text", ["16C3-16C3-P2-24C3-10", "resnet19"])
def test_training_on_the_grid_is_the_same(neuron, text, plain):
    """Spikes to the bit, as they are integers; gradients and rates."""
    torch.manual_seed(0)
    network = make_network(text, make_neuron(**neuron), input_shape=(3, 12, 12), classes=10,
                           width=1.0 if "-" in text else 0.125)
    images, labels = torch.randint(256, (6, 3, 12, 12), dtype=torch.uint8), torch.arange(6)
    with torch.no_grad():
        for _ in range(30):
            network(images)
    grid = to_grid(network.eval()).float()
    assert grid.fits_float32
    found = []
    for fast in (True, False):
        if not fast:
            plain()
        each = copy.deepcopy(grid).train()
        spikes = [*each.run(images)]
        functional.cross_entropy(spikes[-1].flatten(2).mean(0), labels).backward()
        found.append((spikes, {key: p.grad for key, p in each.named_parameters()
                               if p.grad is not None}, each.rates))
    (mine, my_grads, my_rates), (other, grads, rates) = found
    assert len(my_grads) == len(grads) > 5
    assert all(torch.equal(one, two) for one, two in zip(mine, other, strict=True))
    assert my_rates == pytest.approx(rates, abs=1e-6) and max(rates) > 0.05
    for key, value in grads.items():
        assert (my_grads[key] - value).abs().max() < 1e-4 * value.abs().max() + 1e-9, key
